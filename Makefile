# Everything from nothing but Python 3.11 to 3.14 and make: `make demo`, then `make dev` or `make app`.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NEEDED_GB := 12

.DEFAULT_GOAL := help
.PHONY: help setup demo dev app test bench screenshots lint typecheck check constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## the virtual environment, the default model, the home, the embedded Neo4j, sample pictures
	@$(BIN)/imgret setup

demo: setup ## the whole chain on the sample pictures, and how good its answers are
	@$(BIN)/imgret demo

dev: setup ## Dagster's webserver and daemon, and the web page; Ctrl-C stops them
	@exec $(BIN)/imgret dev

app: setup ## the web page
	@exec $(BIN)/imgret app

# A worker for each core, a file's tests in one of them. Each starts a Neo4j of its own: one that is given can't be shared.
WORKERS := $(if $(IMGRET_TEST_NEO4J_URI),,-n auto --maxprocesses 4 --dist loadfile)

test: setup ## all tests, on a Neo4j of their own
	$(BIN)/python -m pytest $(WORKERS)

bench: setup ## how fast it is here, beside what it is compared with (half an hour; a quiet machine)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group bench
	$(BIN)/python -m bench

screenshots: setup ## the documentation's pictures of the page, from the demo's home; needs chromium
	$(BIN)/python scripts/screenshots

lint: $(READY) ## style, and the import rules of pyproject.toml
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

typecheck: $(READY) ## types
	$(BIN)/basedpyright

check: lint typecheck test ## style, types and tests

constraints: $(READY) ## resolve constraints.txt anew, for all supported Pythons
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --no-emit-index-url --no-header \
	  --no-annotate --all-extras --group dev --group bench pyproject.toml --output-file constraints.txt

clean: ## stop the embedded Neo4j, remove the environment (data/ stays)
	-@[ ! -x $(BIN)/imgret ] || $(BIN)/imgret db stop
	rm -rf $(VENV)

$(READY): pyproject.toml constraints.txt scripts/find-python
	@scripts/find-python --check-disk $(NEEDED_GB) .
	@if [ ! -x $(BIN)/python ]; then python=$$(scripts/find-python) && echo "Making $(VENV) with $$python" && $$python -m venv $(VENV); fi
	@echo "Installing (about 7 GB with torch; a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --constraint constraints.txt pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . --group dev
	@touch $@
