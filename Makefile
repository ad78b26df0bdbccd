# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1
export DS_ACCELERATOR ?= cpu

.PHONY: demo test test-all check audit format clean

demo: .venv/installed  ## privacy distillation of the embedded faces, to runs/faces/
	$(BIN)/pd run configs/faces.yaml

test: .venv/installed  ## every test (browser tests need Debian's chromium)
	@command -v chromium >/dev/null || echo "NOTE: no chromium on this machine, so the browser tests of the report cannot run (apt-get install chromium chromium-driver)"
	@echo "NOTE: trainings on many layouts, whole runs that are killed or changed, servers that fail, and memory at scale (marked exhaustive) are left to make test-all"
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 40 -m "not exhaustive"

test-all: .venv/installed  ## the same, and what is marked exhaustive: many layouts, kills of whole runs, failing servers, memory at scale
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 40

check: .venv/installed  ## lint, format, types, import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: .venv/installed  ## known vulnerabilities of what constraints.txt pins; asks a public service, so it needs a network
	$(BIN)/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off

docs: .venv/installed  ## settings.md, commands.md and errors.md of docs/, from the code
	$(BIN)/python -m pd.cli.reference docs

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pd needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	touch $@
