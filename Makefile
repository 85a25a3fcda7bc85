# One command each for the people who use the project; `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
EXTRAS ?= dev
VENV_ARGS ?=
ARGS ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EVERY_POINT := scalars=1000000,images=1000000,histograms=1000000,audio=1000000,text=1000000,pr_curves=1000000
# Two test files at a time, with one core each; imports and compiling take much of their time.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup run test test-all lint bench audit tensorboard clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

setup: $(STAMP) ## Create .venv with the tested versions (EXTRAS, PIP_ARGS and VENV_ARGS are passed on)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV_ARGS) $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

run: setup ## Train both stages (ARGS="seed=1 experiment=report")
	$(BIN)/python train.py $(ARGS)

test: setup ## Run the quick tests
	$(PYTEST) $(ARGS)

test-all: setup ## Run every test, the slow ones too
	$(PYTEST) -m 'slow or not slow' $(ARGS)

lint: setup ## Check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: setup ## Measure steps, epochs and start-up, compared with plain loops (ARGS="--quick", "--full", "--scale")
	$(BIN)/python -m bench $(ARGS)

audit: ## Look the tested versions up in a database of known vulnerabilities (needs the internet)
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet $(PIP_ARGS) pip-audit
	.venv-audit/bin/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip --strict $(ARGS) \
		|| { echo "audit: found something above, or could not reach the database"; exit 1; }

# TensorBoard by itself shows 1,000 points of a curve and 10 images of a tag, chosen at random; 0 would show none.
tensorboard: setup ## Show the curves of every run in outputs/, on localhost
	$(BIN)/tensorboard --logdir outputs --host localhost --samples_per_plugin $(EVERY_POINT) $(ARGS)

clean: ## Remove .venv, caches and build products; outputs/ and data/ stay
	rm -rf $(VENV) .venv-audit build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
