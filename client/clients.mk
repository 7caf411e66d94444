# Example clients, stubs for further languages, and their tests. Included by the Makefile at the top.
.PHONY: stubs stubs-go stubs-typescript stubs-java stubs-rust stubs-protoc protoset \
  clients client-go client-java client-typescript client-rust client-cpp clients-debian test-clients

BUF_VERSION := 1.75.0
BUF := $(BOOTSTRAP)/bin/buf
GRPCURL := $(BOOTSTRAP)/bin/grpcurl
GRPCURL_VERSION := v1.9.4
PROTOSET := dist/cofactor.binpb
GRPC_KOTLIN_VERSION := 1.5.0
GRPC_KOTLIN := $(BOOTSTRAP)/bin/protoc-gen-grpc-kotlin

need = @command -v $(1) >/dev/null || { echo "error: $(2)"; exit 2; }

# The package buf-bin contains the buf executable.
$(BUF): | $(UV)
	@$(UV) pip install --quiet --python $(BOOTSTRAP)/bin/python buf-bin==$(BUF_VERSION)

$(GRPCURL): | $(UV)
	$(call need,go,grpcurl is built with Go 1.26 or newer)
	@GOBIN=$(abspath $(BOOTSTRAP)/bin) go install github.com/fullstorydev/grpcurl/cmd/grpcurl@$(GRPCURL_VERSION)

# The Kotlin plugin is a jar, but protoc needs a command, so wrap it in a script.
$(GRPC_KOTLIN): | $(UV)
	$(call need,mvn,Maven is needed for the Kotlin plugin; on Debian: apt-get install maven default-jdk)
	@mvn --batch-mode --quiet dependency:copy -DoutputDirectory=$(abspath $(BOOTSTRAP)/lib) \
	  -Dartifact=io.grpc:protoc-gen-grpc-kotlin:$(GRPC_KOTLIN_VERSION):jar:jdk8
	@printf '#!/bin/sh\nexec java -jar %s\n' \
	  "$(abspath $(BOOTSTRAP)/lib)/protoc-gen-grpc-kotlin-$(GRPC_KOTLIN_VERSION)-jdk8.jar" >$@ && chmod +x $@

stubs-go: $(BUF) ## Generate the Go stubs
	$(call need,go,Go 1.26 or newer is needed)
	@cd client/go && $(abspath $(BUF)) generate

stubs-typescript: $(BUF) client/typescript/node_modules ## Generate the TypeScript stubs
	@cd client/typescript && $(abspath $(BUF)) generate

stubs-java: ## Generate the Java stubs
	$(call need,mvn,Maven 3.8 and a JDK 17 or newer are needed; on Debian: apt-get install maven default-jdk)
	@mvn --batch-mode --quiet --file client/java/pom.xml generate-sources

stubs-rust: ## Generate the Rust stubs, and build the Rust client
	$(call need,cargo,Rust 1.88 or newer is needed)
	@cd client/rust && cargo build --quiet

# Stubs of the languages without an example client, in build/stubs/<language>.
stubs-protoc: $(GRPC_KOTLIN) ## Generate the stubs of languages without an example client
	$(call need,protoc,protoc is needed; make clients-debian installs it)
	@PATH=$(abspath $(BOOTSTRAP)/bin):$$PATH client/generate-stubs.sh build/stubs

stubs: stubs-go stubs-typescript stubs-java stubs-rust stubs-protoc ## Generate the stubs of every language

protoset: $(BUF) ## Write the API as a descriptor set, for grpcurl and other tools
	@mkdir -p $(dir $(PROTOSET))
	@$(BUF) build --as-file-descriptor-set --output $(PROTOSET)
	@echo "wrote $(PROTOSET)"

client/typescript/node_modules: client/typescript/package-lock.json
	$(call need,npm,Node.js 20 or newer with npm is needed)
	@cd client/typescript && npm ci --silent && touch node_modules

client-go: stubs-go ## Build the Go client
	@cd client/go && go build -o cofactor-example .

client-typescript: stubs-typescript ## Build the TypeScript client
	@cd client/typescript && npm run --silent build

client-java: ## Build the Java client
	$(call need,mvn,Maven 3.8 and a JDK 17 or newer are needed; on Debian: apt-get install maven default-jdk)
	@mvn --batch-mode --quiet --file client/java/pom.xml package

client-rust: stubs-rust ## Build the Rust client

client-cpp: ## Build the C++ client
	$(call need,cmake,cmake is needed; make clients-debian installs it)
	@cmake -S client/cpp -B client/cpp/build -DCMAKE_BUILD_TYPE=Release >/dev/null
	@cmake --build client/cpp/build

clients: client-go client-java client-typescript client-rust client-cpp ## Build the example clients

clients-debian: ## Install protoc and the C++ client's dependencies on Debian or Ubuntu (as root)
	@apt-get update -qq
	@apt-get install -y -qq cmake g++ pkg-config libgrpc++-dev protobuf-compiler protobuf-compiler-grpc

test-clients: $(INSTALLED) ## Run the clients of all languages and compare their output
	@$(BIN)/python -m pytest -q -rs -m clients tests/clients $(PYTEST_ARGS)
