# Needs only Python 3.11 to 3.14 and make. Start with `make demo`, then `make dev` or `make app`.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NEEDED_GB := 12

.DEFAULT_GOAL := help
.PHONY: help setup demo dev app test test-all test-cluster test-compose bench screenshots lint typecheck check constraints clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## install the environment, the default model, the home, the embedded Neo4j, the sample images
	@$(BIN)/imgret setup

demo: setup ## refresh and query the sample images, measure the quality of the answers
	@$(BIN)/imgret demo

dev: setup ## start Dagster's webserver and daemon, and the web page; Ctrl-C stops them
	@exec $(BIN)/imgret dev

app: setup ## start the web page
	@exec $(BIN)/imgret app

# One worker per core; the tests of a file run in one worker. Each worker starts its own Neo4j, because a server named by
# IMGRET_TEST_NEO4J_URI cannot be shared.
WORKERS := $(if $(IMGRET_TEST_NEO4J_URI),,-n auto --maxprocesses 4 --dist loadfile)

test: setup ## run the tests; they start their own Neo4j
	$(BIN)/python -m pytest $(WORKERS) -m "not exhaustive and not ray"

test-all: setup ## run the tests with every point at which a run is killed
	$(BIN)/python -m pytest $(WORKERS) -m "not ray"

test-cluster: $(READY) ## run the tests of the engine on a Ray cluster, which they start on this machine
	IMGRET_TEST_REQUIRE_RAY=$(if $(CI),1) $(BIN)/python -m pytest -m ray imgret_tests/cluster

test-compose: $(READY) ## start, kill and restart the containers of docker-compose.yml; needs Docker
	@$(BIN)/python scripts/compose_round.py

bench: setup ## measure speed and quality (half an hour on an idle machine); `make bench quality` measures one part
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group bench
	$(BIN)/python -m bench $(PARTS)

# Words after `bench` are parts of the benchmark, not targets.
ifeq (bench,$(firstword $(MAKECMDGOALS)))
PARTS := $(wordlist 2,99,$(MAKECMDGOALS))
ifneq (,$(PARTS))
.PHONY: $(PARTS)
$(PARTS): ; @:
endif
endif

screenshots: setup ## take the screenshots of the documentation from the home of the demo; needs Chromium
	$(BIN)/python scripts/screenshots.py

lint: $(READY) ## check style, the import contracts of pyproject.toml, and the definitions of Dagster
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	DG_CLI_CONFIG=$(CURDIR)/scripts/dg.toml $(BIN)/dg check defs

typecheck: $(READY) ## check types
	$(BIN)/basedpyright

check: lint typecheck test ## check style and types, run the tests

constraints: $(READY) ## resolve constraints.txt again for all supported Python versions
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --no-emit-index-url --no-header \
	  --no-annotate --all-extras --group dev --group bench pyproject.toml --output-file constraints.txt

clean: ## stop the embedded Neo4j and remove the environment; data/ is kept
	-@[ ! -x $(BIN)/imgret ] || $(BIN)/imgret db stop
	rm -rf $(VENV)

$(READY): pyproject.toml constraints.txt scripts/find-python
	@scripts/find-python --check-disk $(NEEDED_GB) .
	@if [ ! -x $(BIN)/python ]; then python=$$(scripts/find-python) && echo "Making $(VENV) with $$python" && $$python -m venv $(VENV); fi
	@echo "Installing (about 7 GB with torch; a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --constraint constraints.txt pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . --group dev
	@touch $@
