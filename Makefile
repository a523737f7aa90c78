# The first target prints the others.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Where it is set, each process of the tests compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test check lint types quick format system lock audit bench clean

help: ## print the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: $(VENV)/.runtime ## set up what is missing and serve the dashboard on http://127.0.0.1:8765
	@exec $(BIN)/python server.py

test: system lint types ## set up what is missing and run everything: lint, types, all tests
	$(BIN)/python -m pytest -n 4

check: lint types quick ## the inner loop: lint, types, quick tests

lint: $(VENV)/.test ## style and format, edits nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test ## static types
	$(BIN)/mypy

quick: $(VENV)/.test ## tests that need nothing but Python
	$(BIN)/python -m pytest -n 2 --hypothesis-profile quick -p no:schemathesis -m "not slow and not sshd and not nginx and not postgres"

format: $(VENV)/.test ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

system: ## install the system packages of the tests where that is allowed, else say which
	@sh tests/system.sh

lock: $(VENV)/.test ## write the lock files anew from pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --extra oidc --extra azure pyproject.toml -o requirements.lock --generate-hashes --no-emit-index-url --no-header
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --extra oidc --extra azure --extra postgres --group test pyproject.toml -o requirements-test.lock --generate-hashes --no-emit-index-url --no-header

audit: $(VENV)/.test ## look the locked packages up among the known vulnerabilities (needs the network: pypi.org)
	@test -x build/audit/bin/pip-audit || { $(BIN)/python -m venv build/audit && build/audit/bin/pip install --quiet --disable-pip-version-check pip-audit; }
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock

bench: $(VENV)/.test system ## run the benchmarks (several minutes)
	$(BIN)/python bench/fanout.py
	$(BIN)/python bench/latency.py
	$(BIN)/python bench/imports.py
	$(BIN)/python bench/predictions.py

clean: ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build templates/__pycache__

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 -m venv does not work here; on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.runtime: requirements.lock | $(BIN)/python
	$(PIP) install --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.test: requirements-test.lock $(VENV)/.runtime
	$(PIP) install --require-hashes -r requirements-test.lock
	@touch $@
