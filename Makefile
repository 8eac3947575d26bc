# Everything happens in .venv beside this file; `make` alone lists what there is.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

PYTHON ?= python3
PYTEST_ARGS ?=
MINUTES ?= 10
JOBS ?= 1000000
SEED ?=
BIN := .venv/bin
PY := $(BIN)/python
STAMP := .venv/.made
# what the oldest Postgres runs again: what depends on the server
AGAIN := tests/sql tests/migration tests/security tests/testing tests/integration/test_jobs.py \
	tests/integration/test_models.py tests/integration/test_tenants.py tests/integration/test_worker.py \
	tests/integration/test_worker_life.py tests/integration/test_worker_upkeep.py
# of these folders, what the server has no part in
AGAIN += $(foreach name,migration/test_models security/test_assertions security/test_signed_assertions \
	security/test_plugin security/test_case_numbers security/test_errortext security/test_guard security/test_pooled \
	security/test_egress_targets security/test_egress_wire security/test_egress_payloads testing/test_page,\
	--ignore=tests/$(name).py)
# three processes, each with a server of its own, for some tests wait: 16 minutes on two cores where two took 28. In the
# order of the files, long ones first: by the number of their tests a storm would come last, and others have nothing to do
SPREAD := -n 3 --dist loadfile --no-loadscope-reorder
OLD := .venv/oldest
PEERS := build/peers
BENCH_ARGS ?=
OLDEST := sqlalchemy==2.0.36 alembic==1.16.0 'psycopg[binary]==3.2.2' pydantic==2.9.2

.PHONY: help env demo test oldest properties chaos faults flat check docs bench release format clean

help: ## this list
	@printf '\n  \033[1mjobforge_sa\033[0m: background jobs that commit with your data\n\n'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  \033[36mmake %-10s\033[0m %s\n", $$1, $$2 }' Makefile
	@printf '\n  PYTHON=python3.13            the Python of the environment\n'
	@printf '  PYTEST_ARGS="-k lease -x"    more arguments for pytest\n'
	@printf '  MINUTES=2 SEED=4711          of make chaos\n'
	@printf '  JOBS=100000                  so many are many for make flat; JOBFORGE_SOAK=5000000 for its soak\n'
	@printf '  BENCH_ARGS="--only drain"    of make bench, in place of --write\n'
	@printf '  JOBFORGE_PROPERTIES=5000     so many examples of make properties\n'
	@printf '  JOBFORGE_TEST_DATABASE_URL   test on this server only\n\n'

env: $(STAMP) ## make the environment (.venv); again when pyproject.toml changes

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON) here; say which: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$$($(PYTHON) --version) is too old, 3.11 or later is needed; say which: make PYTHON=python3.12" >&2; exit 1; }
	@echo 'making .venv …'
	@if command -v uv >/dev/null; then \
		[ -x $(PY) ] || uv venv --quiet --python "$$(command -v $(PYTHON))" .venv; \
		uv pip install --quiet --python $(PY) -e '.[dev]'; \
	else \
		[ -x $(PY) ] && $(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || \
			{ echo "$(PYTHON) has no venv; on Debian: apt install python3-venv" >&2; exit 1; }; \
		$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]'; \
	fi
	@touch $@

oldest: $(OLD)/.made ## run the suite on the oldest libraries that pyproject.toml admits
	@$(OLD)/bin/python -m pytest $(SPREAD) $(PYTEST_ARGS)

$(OLD)/.made: $(STAMP)
	@echo 'making $(OLD) …'
	@if command -v uv >/dev/null; then \
		[ -x $(OLD)/bin/python ] || uv venv --quiet --python $(PY) $(OLD); \
		uv pip install --quiet --python $(OLD)/bin/python -e '.[dev]' $(OLDEST); \
	else \
		[ -x $(OLD)/bin/python ] || $(PY) -m venv $(OLD); \
		$(OLD)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' $(OLDEST); \
	fi
	@touch $@

demo: $(STAMP) ## run the example application on a Postgres of its own, or on JOBFORGE_DATABASE_URL's
	@$(PY) -m examples.orders

# A server that the caller chose is the only one. Else the newest Postgres of this machine and then, where there is
# one, the oldest, for AGAIN. All of it on one server: make test JOBFORGE_PG_BINDIR=... Where there is no Postgres pytest finds Docker, or says what to do.
test: $(STAMP) ## run the suite on the newest Postgres found, and on the oldest
	@run() { echo "the $$1 Postgres: $$2"; JOBFORGE_PG_BINDIR=$$2 $(PY) -m pytest $(SPREAD) $$3 $(PYTEST_ARGS); }; \
	if [ -n "$$JOBFORGE_TEST_DATABASE_URL$$JOBFORGE_POSTGRES$$JOBFORGE_PG_BINDIR" ]; then \
		exec $(PY) -m pytest $(SPREAD) $(PYTEST_ARGS); \
	fi; \
	newest=$$($(PY) -m jobforge_sa.testing.server newest 2>/dev/null || true); \
	oldest=$$($(PY) -m jobforge_sa.testing.server oldest 2>/dev/null || true); \
	status=0; run newest "$$newest" || status=$$?; \
	[ "$$oldest" = "$$newest" ] || run oldest "$$oldest" "$(AGAIN)" || status=$$?; \
	exit $$status

# The suite runs 50 examples and shrinks none; here a test may take as long as it likes.
properties: $(STAMP) ## let hypothesis look for a sequence that breaks the protocol of leases; minutes
	@JOBFORGE_PROPERTIES=$${JOBFORGE_PROPERTIES:-1000} $(PY) -m pytest tests/properties -o faulthandler_timeout=0 $(PYTEST_ARGS)

check: $(STAMP) docs ## lint, check types, build the site
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(PY)

# NO_MKDOCS_2_WARNING: the theme's advertisement, which is no warning of ours. Seconds; its code is run by the suite
docs: $(STAMP) ## build the site into build/site; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The suite leaves out what takes longer than ten seconds each.
faults: $(STAMP) ## the fault cases, the long ones too; servers that fail over, fill up, go away
	@JOBFORGE_FAULTS=1 $(PY) -m pytest tests/faults -o faulthandler_timeout=0 $(PYTEST_ARGS)

# pages that are read, never times: it may run beside other work. -s: it tells what it read
flat: $(STAMP) ## whether claims read the same pages with a million jobs, and tables stop growing; half an hour
	@JOBFORGE_FLAT=$(JOBS) $(PY) -m pytest tests/flat -o faulthandler_timeout=0 -s $(PYTEST_ARGS)

# All of it runs in this one, so that everybody has the same Python and the same driver. Oban needs Python 3.12
bench: $(PEERS)/.made ## measure, compare with the peers, write a report with pictures; half an hour
	@$(PEERS)/bin/python -m benchmarks $(or $(BENCH_ARGS),--write)

$(PEERS)/.made: benchmarks/peers.txt pyproject.toml
	@echo 'making $(PEERS) …'
	@[ -x $(PEERS)/bin/python ] || for python in python3.13 python3.12 $(PYTHON); do \
		$$python -m venv --clear $(PEERS) 2>/dev/null && exit; \
	done; [ -x $(PEERS)/bin/python ] || { echo "no Python with venv; say which: make bench PYTHON=python3.12" >&2; exit 1; }
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[binary,cli,embedded]' -r benchmarks/peers.txt
	@touch $@

release: $(STAMP) ## build a wheel and an archive, and try them on every Python that is here; uploads nothing
	@$(PY) -m tests.release

chaos: $(STAMP) ## break workers, server and wire for ten minutes, then count what is left
	@$(PY) -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

format: $(STAMP) ## format the code and cure what lint can cure
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

clean: ## remove the environment and all that was made
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
