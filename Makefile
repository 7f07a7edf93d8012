# Everything a contributor does. `make demo` and `make test` set up what they need by themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test check format lint types coverage schemas crash fuzz bench clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

demo: $(READY) ## Install, then run the Quick Start to its end, showing each envelope
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tests/demo.sh

test: $(READY) ## All tests, with a quick part of each long search
	$(BIN)/python -m pytest -n 2

check: lint types test coverage ## What a change must pass

format: $(READY) ## Rewrite the code in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(READY) ## Formatting and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY) ## Strict types
	$(BIN)/mypy

coverage: $(READY) ## The pure rooms, which their own tests must cover branch by branch
	$(BIN)/python -m pytest -n 2 tests/unit --cov --cov-report=
	$(BIN)/coverage report --include='checkpointflow/expressions/*,checkpointflow/shells/*,checkpointflow/schemas/*,checkpointflow/documents/*,checkpointflow/engine/*' --fail-under=100

schemas: $(READY) ## Write schemas/ anew from the Structs
	$(BIN)/python -m tests.write_schemas

crash: $(READY) ## The long search for lost or doubled work: every crash point, real kill -9
	CPF_LONG=1 $(BIN)/python -m pytest -n 2 tests/crash

fuzz: $(READY) ## The long search for input that breaks something
	CPF_FUZZ_EXAMPLES=20000 $(BIN)/python -m pytest -n 2 tests/unit tests/drivers/test_values_in_shells.py tests/cli/test_fuzz.py

bench: $(READY) ## Start-up and step costs, as ratios measured side by side
	$(BIN)/python -m tests.bench

clean: ## Remove what the other targets made
	rm -rf $(VENV) .demo .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
