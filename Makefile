# Morphgres. The two commands: make run, make test.
PYTHON ?= python3
PORT ?= 6432
DATA ?= .morphgres
BIN := .venv/bin

.PHONY: run test check format lint types test-slow test-services bench bench-stores bench-changes docs clean

run: .venv/.run-stamp
	@$(BIN)/morphgres serve --data "$(DATA)" --port "$(PORT)" --sample shop

test: .venv/.dev-stamp
	$(BIN)/python -m pytest -q

check: .venv/.dev-stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev-stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-slow: .venv/.dev-stamp
	$(BIN)/python -m pytest -q -m slow --timeout 3000

test-services: .venv/.dev-stamp
	$(BIN)/python -m pytest -q -m services --timeout 1200

bench: .venv/.dev-stamp
	$(BIN)/python -m bench $(BENCH)

bench-stores: .venv/.dev-stamp
	$(BIN)/python -m bench.stores $(BENCH) $(if $(TRINO),--trino)

bench-changes: .venv/.dev-stamp
	$(BIN)/python -m bench.changes $(BENCH)

docs: .venv/.dev-stamp
	$(BIN)/python -m config.reference > docs/configuration.md

.venv/bin/python:
	@echo "setting up .venv (once)"
	@$(PYTHON) -c 'import sys; sys.exit("Morphgres needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv

.venv/.run-stamp: .venv/bin/python requirements.lock pyproject.toml
	@echo "installing locked dependencies"
	@$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev-stamp: .venv/.run-stamp requirements-dev.lock
	@echo "installing locked test dependencies"
	@$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements-dev.lock
	@touch $@

clean:
	rm -rf .venv build *.egg-info
