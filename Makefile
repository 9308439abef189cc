# Headrace on one machine. `make demo` and `make test` set everything up by themselves.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
MANIFESTS := $(wildcard protos/pyproject.toml libs/*/pyproject.toml services/*/pyproject.toml deploy/embedded/pyproject.toml)
PACKAGES := $(MANIFESTS:/pyproject.toml=)
SOURCES := libs services deploy tests bench docs protos/generate.py conftest.py

help: ## Show what can be done
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: .venv/.installed protos/gen/.made ## Make .venv, with every dependency pinned by hash

.venv/bin/uv: requirements/uv.txt
	@echo "==> Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Headrace needs Python 3.11 or newer: set PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/.installed: .venv/bin/uv requirements/dev.txt $(MANIFESTS)
	@echo "==> Installing the pinned dependencies (about 6 GB on disk, torch and its CUDA packages most of it; some minutes the first time)"
	@if [ -t 2 ]; then loud=; else loud=--quiet; fi; $(BIN)/uv pip sync $$loud --python $(BIN)/python --require-hashes requirements/dev.txt
	@echo "==> Installing Headrace's own packages in place"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES))
	@touch $@

protos/gen/.made: .venv/.installed protos/generate.py protos/access.yaml $(shell find protos/headrace protos/topics -type f)
	@echo "==> Generating the messages and gRPC stubs from protos/"
	@PATH="$$PWD/$(BIN):$$PATH" $(BIN)/python protos/generate.py
	@touch $@

check: setup ## Hold the shape: format, lint, types, imports, contracts, generated pages
	@echo "==> ruff"; $(BIN)/ruff format --check --quiet $(SOURCES); $(BIN)/ruff check --quiet $(SOURCES)
	@echo "==> mypy --strict"; $(BIN)/mypy $(addsuffix /src,$(filter-out protos,$(PACKAGES)))
	@echo "==> import-linter"; $(BIN)/lint-imports --no-cache --verbose | tail -n 12
	@echo "==> buf"; cd protos; ../$(BIN)/buf lint; ../$(BIN)/buf format --diff --exit-code; ../$(BIN)/buf breaking --against released.binpb
	@echo "==> topic policy"; $(BIN)/pytest -q --no-header tests/contracts
	@echo "==> generated pages"; for page in docs/generate_*.py; do $(BIN)/python $$page --check; done

# Two at a time: each brings up servers of its own, some 5 GiB, and most of a test's time is waiting. One thread for each
# model, for two that spin on the same cores take many times as long.
test: setup ## Run every test: units, contracts, and end to end on a real Kafka and Postgres with the real models
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m "not long" --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-faults: setup ## Run the long ones: services, Kafka and Postgres killed under queries and an erasure, a dataset asked of the model
	@$(BIN)/pytest -m "long or faults"

bench: setup .venv/.bench ## Measure each part beside a peer; BENCH="--quick" or BENCH="--only query" for less
	@$(BIN)/python -m bench $(BENCH)

bench-privacy: setup .venv/.bench ## Measure detection on a frozen hold-out beside a stock presidio; PRIVACY="--strict" or "--json PATH"
	@OMP_NUM_THREADS=2 $(BIN)/python -W ignore -m bench.privacy $(PRIVACY)

.venv/.bench: requirements/bench.txt .venv/.installed
	@echo "==> Installing the peers that are measured beside us"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements/bench.txt
	@touch $@

up: setup ## Bring up Kafka, PostgreSQL and every service, and leave them running
	@$(BIN)/headrace up

down: ## End everything that `make up` started; what was stored stays
	@if [ -x $(BIN)/headrace ]; then $(BIN)/headrace down; fi

status: ## Show what runs, where, what it takes, and how far the consumers are behind
	@$(BIN)/headrace status

demo: setup ## Take a tour: documents, the bus, gRPC, a trace, feedback; nothing is left running
	@$(BIN)/headrace demo

demo-loop: setup ## Let the questions drift, train a model, gate it, and bring it into service; some 15 minutes
	@$(BIN)/headrace demo loop

demo-variants: setup ## Put two prompts on the same questions, judge the answers, and end with a report; some minutes
	@$(BIN)/headrace demo variants

doctor: setup ## Check what Headrace needs on this machine
	@$(BIN)/headrace doctor

traces: setup .traces-venv/.installed ## Open Arize Phoenix on the spans that are kept
	@$(BIN)/python -m headrace_embedded.phoenix .traces-venv

.traces-venv/.installed: requirements/traces.txt
	@echo "==> Making .traces-venv for Arize Phoenix"
	@$(BIN)/uv venv --quiet --python $(BIN)/python --allow-existing .traces-venv
	@$(BIN)/uv pip sync --python .traces-venv/bin/python --require-hashes requirements/traces.txt
	@touch $@

lock: ## Pin every requirement again, with its hashes
	@requirements/lock.sh

.PHONY: help setup check test test-faults bench bench-privacy up down status demo demo-loop demo-variants doctor traces lock
