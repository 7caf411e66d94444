# Cofactor. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo serve test test-faults test-floors check format proto check-proto lock audit sbom image clean

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

demo: $(INSTALLED) ## Train on MovieLens, export, serve, and call every RPC
	@$(BIN)/python -m examples.demo

serve: $(INSTALLED) ## The same, and keep the server up
	@$(BIN)/python -m examples.demo --serve

test: $(INSTALLED) ## Run every test that needs no other language's toolchain
	@$(BIN)/python -m pytest -q -m 'not clients' $(PYTEST_ARGS)

test-faults: $(INSTALLED) ## The fault tests at full length
	@FAULTS=full $(BIN)/python -m pytest -q tests/faults

# The stubs and the client on the oldest and the newest grpcio and protobuf that pyproject.toml admits.
FLOORS := --with grpcio==1.72.1 --with protobuf==6.30.0 --with googleapis-common-protos==1.70.0 --with rich==14.0.0
CEILINGS := --with grpcio --with 'protobuf>=7' --with googleapis-common-protos --with rich
test-floors: $(UV) ## Try the client on the oldest and newest libraries it admits
	@for libraries in "$(FLOORS)" "$(CEILINGS)"; do \
	  PYTHONPATH=proto:client eval "$(UV) run --quiet --no-project --isolated --python $(PYTHON) $$libraries \
	    python tests/compatibility/round_trip.py" || exit 1; done

check: $(INSTALLED) check-proto ## Lint, types, API style, generated code up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/buf lint
	@$(BIN)/buf breaking --against $(lastword $(sort $(wildcard proto/releases/*.binpb)))

format: $(INSTALLED) ## Format the Python code and the protos
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet . ; $(BIN)/buf format --write

PROTOS := $(sort $(wildcard proto/cofactor/v1/*.proto proto/cofactor/admin/v1/*.proto))

generate = $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=$(1) --pyi_out=$(1) $(PROTOS) \
  && $(BIN)/python -m grpc_tools.protoc -Iproto --grpc_python_out=$(1) $(shell grep -l '^service ' $(PROTOS))

proto: $(INSTALLED) ## Generate the Python stubs from proto/
	@find proto -name '*_pb2.py' -o -name '*_pb2.pyi' -o -name '*_pb2_grpc.py' | xargs rm -f
	@$(call generate,proto)

check-proto: $(INSTALLED)
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call generate,$$fresh) \
	  && diff -r --exclude='*.proto' --exclude=__pycache__ --exclude=py.typed proto/cofactor "$$fresh/cofactor" \
	  || { echo "error: the generated code is not what proto/ says; run 'make proto' and commit"; exit 1; }

COMPILE = $(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --upgrade --quiet --custom-compile-command 'make lock'
lock: $(UV) ## Pin every dependency again, with hashes and without naming an index
	$(COMPILE) --extra dev --output-file $(LOCK)
	$(COMPILE) --extra server --output-file requirements/server.txt
	$(COMPILE) --extra server --extra cuda --output-file requirements/server-cuda.txt
	$(COMPILE) --extra server --extra approximate --output-file requirements/server-approximate.txt

audit: $(UV) ## Look the server's pinned dependencies up in the advisory databases
	@$(UV) tool run pip-audit --disable-pip --require-hashes --requirement requirements/server.txt

sbom: $(UV) ## Write the server's bill of materials, CycloneDX
	@$(UV) tool run --from cyclonedx-bom cyclonedx-py requirements requirements/server.txt --output-file sbom.json
	@echo "wrote sbom.json"

image: ## Build the server's image (docker or podman; BASE and REQUIREMENTS as in the Dockerfile)
	@builder=$$(command -v docker || command -v podman || command -v buildah) \
	  || { echo "error: no docker, podman or buildah here"; exit 2; }; \
	$$builder build --tag cofactor-server .

include client/clients.mk

clean: ## Remove what make has made
	@rm -rf $(VENV) $(BOOTSTRAP) .demo dist build client/go/gen client/go/cofactor-example client/java/target \
	  client/typescript/gen client/typescript/dist client/typescript/node_modules client/rust/target client/cpp/build
