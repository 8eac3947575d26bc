"""What an installation of the wheel brings along: names, versions, licences."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

INSTALLER = {"pip", "setuptools"}  # the environment's own
LIST = """
import json
from importlib.metadata import distributions

def licence(meta):
    told = [one.rpartition(" :: ")[2] for one in meta.get_all("Classifier", []) if one.startswith("License ::")]
    short = (meta.get("License") or "").strip().splitlines()[:1]
    return meta.get("License-Expression") or ", ".join(told) or (short[0] if short else "not told")

names = {one.metadata["Name"].lower().replace("_", "-"): one for one in distributions()}
print(json.dumps({name: (one.version, licence(one.metadata)) for name, one in names.items()}))
"""


def written(dist: Path, home: Path) -> str:
    """Write the two files about an environment into the folder; say so."""
    python = home / "venv/bin/python"
    found = json.loads(subprocess.check_output([python, "-c", LIST], text=True))
    rows = [(name, *found[name]) for name in sorted(found) if name not in INSTALLER]
    table = "\n".join(f"| {name} | {version} | {licence} |" for name, version, licence in rows)
    text = f"# Licences of what an installation has\n\n| package | version | licence |\n|---|---|---|\n{table}\n"
    (dist / "licences.md").write_text(text, encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", "environment", "--of", "JSON", "-o", dist / "sbom.cdx.json", python],
        check=True, capture_output=True,
    )  # fmt: skip
    untold = [name for name, _, licence in rows if licence == "not told"]
    told = f"; not told by {', '.join(untold)}" if untold else ""
    return f"licences of {len(rows)} packages in licences.md{told}, and sbom.cdx.json"
