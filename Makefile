# Every chore, each in one word. Needs Python 3.11 or newer, make, and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python

# Stamps: an environment is made and filled once, and again when its wishes change.
MADE := $(VENV)/.made
CORE := $(VENV)/.core
FULL := $(VENV)/.full
DOCS := $(VENV)/.docs
WISHES := pyproject.toml constraints.txt
BENCHMARKS := $(sort $(wildcard benchmarks/bench_*.py))

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types format unit slow coverage fuzz bench reference docs wheel clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.12 chooses the Python, VENV=folder the environment."

demo: $(CORE) ## make a short film, compose for it, and say where the MIDI file and the picture are
	$(BIN)/emsync demo -o demo

test: lint ## ruff, mypy, and all tests but the slow ones
	@$(MAKE) -j 2 types unit

check: test

lint: $(FULL) ## style only (ruff)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: $(FULL) ## types only (mypy)
	$(RUN) -m mypy

unit: $(FULL) ## all tests but the slow ones (pytest)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n auto --dist worksteal -m "not slow"

slow: $(FULL) ## the slow tests only (pytest)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n auto --dist worksteal -m slow

format: $(FULL) ## rewrite the code in the project's style
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

coverage: $(FULL) ## tests with the lines they miss
	$(RUN) -m pytest -q --cov --cov-report=term

fuzz: $(FULL) ## feed damaged files to every reader for SECONDS (default: 600)
	$(RUN) -m tests.fuzz.harness --seconds $(or $(SECONDS),600)

bench: $(FULL) ## the list of benchmarks
	@echo "Benchmarks:"
	@for file in $(BENCHMARKS); do echo "  $(RUN) $$file"; done

reference: $(FULL) ## write docs/cli.md from the commands
	$(RUN) -m emsync.cli.reference > docs/cli.md.part && mv docs/cli.md.part docs/cli.md

docs: $(DOCS) ## build the documentation as a site in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Open site/index.html."

wheel: $(FULL) ## build dist/*.tar.gz and, from it, dist/*.whl
	rm -rf build dist
	$(RUN) -m build
	@ls -l dist

clean: ## remove what was built (not the environment, not your music)
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -not -path './.venv*/*' -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(MADE):
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "emsync needs Python 3.11 or newer and $(PYTHON) is $$($(PYTHON) -V 2>&1): name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make environments: install them (Debian, Ubuntu: sudo apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(CORE): $(MADE) $(WISHES)
	$(RUN) -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(FULL): $(MADE) $(WISHES)
	$(RUN) -m pip install --quiet -c constraints.txt -e '.[train,vision,dev]'
	@touch $(CORE) $@

$(DOCS): $(MADE) $(WISHES)
	$(RUN) -m pip install --quiet -c constraints.txt -e '.[docs]'
	@touch $@
