# The two commands of the README are `make demo` and `make test`.
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-lowest test-newest lint bench bench-gpu reliability mutation clean
.DELETE_ON_ERROR:

demo: $(VENV)/.core
	$(BIN)/biascon demo --out demo

# A process a core, of one thread each; a file's tests stay together, for they share what they train.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# The lowest versions that pyproject.toml allows, on the lowest Python. TESTS chooses the tests.
TESTS := tests/losses tests/metrics tests/models tests/training tests/runs tests/studies tests/utils
TOOLS := pytest pytest-timeout pytest-xdist hypothesis fairlearn kornia pytorch-metric-learning
test-lowest:
	@command -v python3.11 > /dev/null || { echo "error: python3.11 is not on the PATH"; exit 1; }
	python3.11 -m venv .venv-lowest
	python3.11 tests/lowest_versions.py tune > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet -r .venv-lowest/lowest.txt $(TOOLS)
	.venv-lowest/bin/python -m pip install --quiet --no-deps -e .
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -W default $(TESTS)

# The newest versions, on each newer Python that is there.
test-newest:
	@for python in python3.12 python3.13; do \
	  if ! $$python --version > /dev/null 2>&1; then echo "$$python is not here: not tested"; continue; fi; \
	  $$python -m venv .venv-$$python && .venv-$$python/bin/python -m pip install --quiet -e '.[dev]' \
	    && OMP_NUM_THREADS=1 .venv-$$python/bin/python -m pytest -W default $(TESTS) || exit 1; \
	done

lint: $(VENV)/.dev
	$(BIN)/ruff check biascon tests
	$(BIN)/ruff format --check biascon tests
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python -m pytest tests/benchmarks -o addopts= --benchmark-only
	$(BIN)/python tests/benchmarks/performance

# Faults by the hundred, injected into whole commands; writes the table of docs/reliability.md.
reliability: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.reliability

# A random sample of changes of the losses and metrics: which of them does no test find?
mutation: $(VENV)/.dev
	$(PIP) 'mutmut>=3.8'
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.reliability.mutation --sample 300

bench-gpu: $(VENV)/.dev
	$(BIN)/python tests/benchmarks/performance --device cuda

$(VENV)/bin/python:
	@for python in python3 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "creating $(VENV) with $$($$python --version)"; \
	    $$python -m venv $(VENV) || { echo "error: $$python cannot create a virtual environment; on Debian install python3-venv"; rm -rf $(VENV); exit 1; }; \
	    exit 0; \
	  fi; \
	done; echo "error: biascon needs Python 3.11 or newer on the PATH"; exit 1

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing biascon (PyTorch is large: this takes some minutes)"
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.core
	$(PIP) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .venv-* build dist demo mutants .pytest_cache .mypy_cache .ruff_cache
