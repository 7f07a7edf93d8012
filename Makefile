# Everything a contributor does. `make demo` and `make test` set up what they need by themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo cluster-demo test check format lint types coverage schemas crash fuzz bench clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(READY)

demo: $(READY) ## Install, then run the Quick Start to its end, showing each answer
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tests/demo.sh

cluster-demo: $(READY) ## A workflow on a cluster of this machine: a worker is killed, a person answers
	@$(BIN)/python -m tests.temporal.demo

PYTEST := $(BIN)/python -m pytest -q -n 2

# For an answer in some three minutes: one worker more, as some tests wait; searches try less; and what is `long`
# is left out.
QUICKLY := CPF_FUZZ_EXAMPLES=10 $(BIN)/python -m pytest -q -n 3 --dist worksteal -m 'not long'

# The pure rooms, which the tests of tests/unit alone must cover branch by branch.
PURE := checkpointflow/patterns.py,checkpointflow/expressions/*,checkpointflow/shells/*,checkpointflow/schemas/*,checkpointflow/documents/*,checkpointflow/engine/*,checkpointflow/explore/*,checkpointflow/rehearse/*,checkpointflow/diagnostics.py,checkpointflow/errors.py

test: $(READY) ## The quick tests, with a part of each that takes long: for while one works
	$(QUICKLY)

check: lint types coverage ## What a change must pass: format, lint, types, reading order, every test once
	$(PYTEST) --ignore tests/unit

format: $(READY) ## Rewrite the code in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(READY) ## Formatting and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY) ## Strict types
	$(BIN)/mypy

coverage: $(READY) ## The tests of the pure rooms, which they must cover branch by branch
	$(PYTEST) tests/unit --cov --cov-report=
	$(BIN)/coverage report --include='$(PURE)' --fail-under=100

schemas: $(READY) ## Write schemas/ anew from the Structs
	$(BIN)/python -m tests.write_schemas

crash: $(READY) ## The long search for lost or doubled work: every crash point, CPF_CHAOS_KILLS=3000 times kill -9, the faults of a cluster
	CPF_LONG=1 $(PYTEST) tests/crash tests/mcp/test_mcp_kills.py tests/temporal

fuzz: $(READY) ## The long search for input that breaks something
	CPF_FUZZ_EXAMPLES=20000 $(PYTEST) tests/unit tests/drivers/test_values_in_shells.py tests/cli/test_fuzz.py

bench: $(READY) ## Start-up and step costs, as ratios measured side by side
	$(BIN)/python -m tests.bench

clean: ## Remove what the other targets made
	rm -rf $(VENV) .demo .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
