"""A file that is written whole or not at all, and that its owner alone reads."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from jobforge_sa.errors import ConfigurationError


def free(out: Path, *, force: bool) -> Path:
    """Where a file will be.

    Raises:
        ConfigurationError: it is there already, or is no file.
    """
    place = Path(os.path.realpath(out))  # what a link leads to is replaced, not the link
    if place.exists() and not place.is_file():
        raise ConfigurationError(f"{out} is no file", cure="write to the standard output: > or |")
    if place.exists() and not force:
        raise ConfigurationError(f"{out} is there already", cure="choose another name, or overwrite it: --force")
    return place


@contextmanager
def written(place: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file that gets its name when all of it is on the disk; readable by its owner only.

    Raises:
        ConfigurationError: it cannot be written, or the name was taken meanwhile.
    """
    part = place.with_name(f".{place.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _name(part, place, force=force)
    except OSError as error:
        raise ConfigurationError(
            f"{place} cannot be written: {error.strerror or error}", cure="choose another place, with room enough"
        ) from error
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _name(part: Path, place: Path, *, force: bool) -> None:
    if force:
        part.replace(place)
    else:
        try:
            os.link(part, place)  # unlike a rename it refuses where somebody was quicker
        except FileExistsError:
            raise
        except OSError:  # a file system that has no links
            part.replace(place)
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
