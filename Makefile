# Everything a fresh machine needs: python3, make, git and the package registries. See CONTRIBUTING.md.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cat requirements.lock locks/uv.txt pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)

.PHONY: setup demo test check bench format lock clean

setup: $(READY)

$(READY):
	@tools/setup $(PYTHON) $(VENV)
	@rm -f $(VENV)/.ready-*
	@touch $@

demo: setup            ## The main job, live, on this machine
	@$(BIN)/python examples/demo/demo.py

test: setup check      ## Everything that must hold
	$(BIN)/python -m pytest

check: setup           ## Format, lint, imports, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: setup           ## The numbers in docs/reference/benchmarks.md
	$(BIN)/python -m benchmarks

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:                  ## Pins and hashes, no addresses
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) dist
