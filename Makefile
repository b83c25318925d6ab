# Every target sets up what it needs; on a bare machine only Python 3.11, make and git have to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VELO_DATA ?= data
# Not make's abspath, which takes a blank for the end of a path.
export VELO_DATA := $(shell $(PYTHON) -c 'import os, sys; print(os.path.abspath(sys.argv[1]))' "$(VELO_DATA)")
export DAGSTER_HOME := $(CURDIR)
export VELO_DAGSTER_STORAGE := $(VELO_DATA)/dagster
export PYTHONUNBUFFERED := 1
PORT ?= 3000

.PHONY: install run test dev bench lint status clean train backtest daily analyze docs-check

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "velo_assets needs Python 3.11 or newer; name one: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

run: install
	$(BIN)/velo run

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

dev: install
	@mkdir -p "$(VELO_DAGSTER_STORAGE)"
	$(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p $(PORT)

bench: install
	$(BIN)/python -m benchmarks

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/velo lint
	$(BIN)/python -m benchmarks.audit

status: install
	$(BIN)/velo status

clean: install
	$(BIN)/velo clean

train: install
	$(BIN)/velo run --to models

backtest: install
	$(BIN)/velo run --to backtest

daily: install
	$(BIN)/velo nightly

analyze: install
	$(BIN)/velo analyze

docs-check: install
	$(BIN)/python -m pytest -m "docs_check or not docs_check" velo_assets_tests/test_docs.py
