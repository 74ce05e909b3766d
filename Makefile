# Everything a newcomer needs; the details are in README.md and CONTRIBUTING.md.
.DEFAULT_GOAL := help
.PHONY: help install install-dev run test pytest lint types defs dev bench lock clean

SUITABLE := (3, 11) <= sys.version_info < (3, 14)
ifndef PYTHON
# The first that dbt-core 1.11 runs on: what is newer than 3.13 can't import it.
PYTHON := $(firstword $(foreach python,python3 python3.13 python3.12 python3.11,$(shell $(python) -c 'import sys; print("$(python)" if $(SUITABLE) else "")' 2>/dev/null)) python3)
endif
EVENTS ?= 1e6
VENV := .venv
BIN := $(VENV)/bin
export DAGSTER_HOME := $(CURDIR)

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; $(SUITABLE) or sys.exit("Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is " + sys.version.split()[0] + ": install one of them beside it, or name it: make PYTHON=/path/to/python3.13 run")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[bench]'
	touch $@

install: $(VENV)/.installed ## install what running needs into .venv

install-dev: $(VENV)/.installed-dev ## install what testing needs as well

run: install ## demo data if the landing folder is empty, then the whole pipeline once
	@$(BIN)/pls demo-data --if-empty
	@$(BIN)/pls run
	@echo
	@echo "Open the Dagster UI with 'make dev', then http://localhost:3000"

dev: install ## open the Dagster UI
	$(BIN)/dagster dev -w workspace.yaml

test: install-dev lint defs ## lint, definitions, types and all tests
	@$(MAKE) --no-print-directory -j 2 types pytest

pytest: install-dev ## all tests and nothing else
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: $(VENV)/.installed-bench ## how long what takes; EVENTS=1e7 for more
	$(BIN)/python -m tests.bench --events $(EVENTS)
	$(BIN)/python -m tests.bench.sync

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-dev
	$(BIN)/mypy

defs: install-dev
	@$(BIN)/dg check defs

lock: ## renew the locked dependencies (needs uv)
	uv pip compile pyproject.toml --extra build --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-strip-extras --no-annotate --custom-compile-command "make lock" -q -o requirements.lock
	uv pip compile pyproject.toml --extra build --extra dev --extra postgres --extra assistant --extra calibration --extra salesforce --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-strip-extras --no-annotate --custom-compile-command "make lock" -c requirements.lock -q -o requirements-dev.lock

clean: ## remove what runs have made, also the ledger, which knows what was handed over; landing files stay
	rm -rf data/*.duckdb data/*.duckdb.* data/*.sqlite data/*.sqlite-* data/warehouse.keys data/outbox
	rm -rf data/.serving.duckdb* data/.dbt data/.crm_pages* data/.run.* data/.watch.lock .dagster dbt_models/target dbt_models/logs
