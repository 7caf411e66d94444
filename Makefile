# Cofactor. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo serve test check format proto lock clean

PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
BOOTSTRAP := .bootstrap
UV := $(BOOTSTRAP)/bin/uv
LOCK := requirements/dev.txt
INSTALLED := $(VENV)/.installed

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-14s %s\n", $$1, $$2}'

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "error: Python 3.11 or newer is needed as '$(PYTHON)'; install it, or name another: make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -m venv $(BOOTSTRAP) || { echo "error: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	@$(BOOTSTRAP)/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# Hashed lock first, then this project itself, editable and without resolving anything again.
$(INSTALLED): $(UV) $(LOCK) pyproject.toml
	@echo "setting up $(VENV) (the first time downloads torch: several GB)"
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@VIRTUAL_ENV=$(VENV) $(UV) pip sync --quiet --require-hashes $(LOCK)
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lock: $(UV) ## Pin every dependency again, with hashes and without naming an index
	$(UV) pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --upgrade --quiet --custom-compile-command 'make lock' --output-file $(LOCK)

PROTOS := $(sort $(wildcard proto/cofactor/v1/*.proto))

proto: $(INSTALLED) ## Generate the Python stubs from proto/
	@rm -f proto/cofactor/v1/*_pb2*.py proto/cofactor/v1/*_pb2*.pyi
	@$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=proto --pyi_out=proto $(PROTOS)
	@$(BIN)/python -m grpc_tools.protoc -Iproto --grpc_python_out=proto $(filter %recommender.proto %catalog.proto,$(PROTOS))
