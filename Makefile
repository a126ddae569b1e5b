# Every target makes its own set-up first: see packaging/setup.sh.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON := .venv/bin/python
STAMP := .venv/.installed

# A folder that was moved or copied has scripts and links that point to the old place.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

.PHONY: help demo test test-all check bench natlab agreement lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP) ## two peers that know only a key meet and exchange a file, twice
	@$(PYTHON) -m node.demo

test: $(STAMP) ## the tests that take no more than a few seconds each, one on each processor
	@$(PYTHON) -m pytest -q -m "not slow" -n logical --dist worksteal

test-all: $(STAMP) ## every test, the slow ones too
	@$(PYTHON) -m pytest -q

check: $(STAMP) ## style, format and types
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m ruff format --check --quiet
	@$(PYTHON) -m mypy

# A measurement may rightly take longer than any test.
bench: $(STAMP) ## measure; results are also saved as JSON under .benchmarks/
	@$(PYTHON) -m pytest tests/benchmarks --benchmark-only --benchmark-autosave --timeout=1800

natlab: $(STAMP) ## who meets whom behind which routers, with real nodes; as root or with user namespaces
	@$(PYTHON) -m tests.natlab --out docs/results/nat-matrix.md

agreement: $(STAMP) ## hold both simulation engines against each other and the papers: an hour
	@$(PYTHON) -m simulations.agreement --out docs/results/agreement.md

lock: $(STAMP) ## write the lock files anew from pyproject.toml
	@packaging/lock.sh

clean: ## remove whatever make and the tools made
	@rm -rf .venv .make .benchmarks build dist htmlcov .coverage .coverage.* \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml requirements-dev.lock packaging/setup.sh
	@packaging/setup.sh
