# Every target does its own set-up in .venv: a fresh clone needs nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2
SOAK := $(BIN)/python -m benchmarks.dynamics --resume --max-drift 0.1

# One thread per process: the tests run side by side.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-gpu fuzz soak check docs links gallery clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch goes first and alone: with it in place no other package picks a build of its own.
$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing ase-mlwave and its dependencies into $(VENV) (some minutes the first time)"
	@$(BIN)/python -m pip install -qq --constraint constraints.txt torch
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable ".[dev]"
	@touch $@

setup: $(READY)  ## install everything into .venv

demo: $(READY)  ## relax a molecule, show its orbitals, warm-start PySCF, run dynamics (below 3 minutes)
	@$(BIN)/mlwave demo

test: $(READY)  ## the quick tests
	@$(BIN)/python -m pytest -q -n $(WORKERS)

test-all: $(READY)  ## all tests, the slow ones too
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m ""

test-gpu: $(READY)  ## the tests that need a CUDA device; fails where there is none
	@$(BIN)/python -c "import sys, torch; sys.exit(None if torch.cuda.is_available() else \
	'no CUDA device that PyTorch can use on this machine: nothing was tested')"
	@$(BIN)/python -m pytest -q -m gpu

fuzz: $(READY)  ## 1,000 random inputs (FUZZ_INPUTS=..., others with FUZZ_SEED=1): results or documented errors (minutes)
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m fuzz -rP tests/fuzz

soak: $(READY)  ## dynamics at constant energy, 100 ps of water and 10 ps of ethanol (hours; goes on where it stopped)
	@$(SOAK) phisnet-water --molecule H2O --length 100 --output runs/soak/water; water=$$?; \
	$(SOAK) qdf-ethanol --length 10 --output runs/soak/ethanol && exit $$water

check: $(READY) docs  ## style, types, import rules, the site's links
	@echo "ruff";          $(BIN)/ruff check --quiet .
	@echo "mypy --strict"; $(BIN)/mypy --no-error-summary
	@echo "import-linter"; $(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

docs: $(READY)  ## build/site, the documentation; dead links and pages that nothing leads to are errors
	@echo "sphinx";        $(BIN)/sphinx-build -q -W --keep-going -c docs/site . build/site

links: $(READY)  ## ask the network whether the addresses of other sites answer; by hand, no part of the checks
	@$(BIN)/sphinx-build -q -b linkcheck -c docs/site . build/links

gallery: $(READY)  ## draw the pictures of docs/gallery.md anew by its examples (minutes)
	@$(BIN)/python docs/site/gallery.py

clean:  ## remove what the tools made, but not .venv
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
