# Thin targets; .ci/run calls the same ones. `make help` lists them.
#
#   PYTHON=python3.12   which interpreter to make the environment from (default: the first of 3.12, 3.11 found)
#   VENV=.venv          where it goes
#   PARALLEL=        run the tests one after another instead of in a process for each core
#   ARGS="..."          more options for `recon run` (demo) or pytest (test), e.g. make demo ARGS="--quality draft"
#   TORCH_INDEX=URL     package index that torch alone is taken from. On a machine without a GPU, PyTorch's index of CPU
#                       wheels saves a download of several GB; see "Get started locally" on PyTorch's site for its URL.
#                       pip's own settings (PIP_INDEX_URL, PIP_FIND_LINKS, pip.conf) are respected as always.

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help venv demo test check pytest bench bench-gate clean

VENV ?= .venv
# By file, because files share what is costly to make. No more than four, because each can take 2 GB of memory.
PARALLEL ?= -n logical --maxprocesses 4 --dist loadfile
BIN := $(VENV)/bin
CHECKED := recon viewer tests hatch_build.py
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -qq -c constraints.txt

# The first interpreter that runs and is 3.11 or newer; the versions that are tested come first.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)

help:
	@echo "make demo    install into $(VENV), reconstruct the six photos of assets/demo, say where the viewer is"
	@echo "make test    install what tests need, lint, types, import rules, all tests"
	@echo "make check   lint, types and import rules alone"
	@echo "make pytest  the tests alone (ARGS='-k name')"
	@echo "make bench   the short benchmarks"
	@echo "make bench-gate  a small set against datasets/baseline.json: fails if anything got worse"
	@echo "make venv    install only"
	@echo "make clean   remove results, caches and $(VENV)"

venv: $(VENV)/installed

# The stamps are older than pyproject.toml or constraints.txt exactly when something must be installed again.
$(VENV)/installed: pyproject.toml constraints.txt hatch_build.py
	@test -n "$(PYTHON)" || { echo "Need Python 3.11 or newer, found none. Install it, or set PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Installing torch into $(VENV) (one to a few minutes)"
	@$(PIP_INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@echo "Installing recon and its other packages (one to a few minutes)"
	@$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "Installing what the tests need"
	@$(PIP_INSTALL) -e '.[test]'
	@touch $@

demo: $(VENV)/installed
	$(BIN)/recon run --images assets/demo $(ARGS)
	@echo "To look around in it:  $(BIN)/recon view assets/demo/recon"

test: check pytest

check: $(VENV)/installed-test
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	$(BIN)/lint-imports

pytest: $(VENV)/installed-test
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

bench: $(VENV)/installed
	$(BIN)/recon bench raster
	$(BIN)/recon bench demo

bench-gate: $(VENV)/installed
	$(BIN)/recon bench gate

clean:
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache assets/demo/recon recon/native/lib
	find recon viewer tests -name __pycache__ -type d -prune -exec rm -rf {} +
