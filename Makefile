# All of this works on a fresh clone with Go, git, make and a network. What is expensive to build (servers, tools) is kept
# in the user's cache directory under a name made from its pinned versions, so a second clone finds it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## Show what there is to make.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What --version and the metric workload_build_info tell: the release, or the commit since the last one.
COMMIT = $(shell git rev-parse --short=12 HEAD)
VERSION = $(shell git describe --tags --match 'v*' --dirty 2>/dev/null || echo v0.0.0-$(COMMIT))
LDFLAGS = -X k8s.io/component-base/version.gitVersion=$(VERSION) -X k8s.io/component-base/version.gitCommit=$(COMMIT)

.PHONY: build
build: ## Build the commands into bin/.
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: demo
demo: ## See two teams' work run, move and survive on two clusters. DEMO_KEEP=1 keeps it running.
	@go build -o bin/ ./test/demo
	@exec bin/demo

.PHONY: test
test: ## Run all tests, those on real servers included. ARGS="-phase unit", ARGS="-- -run TestA07": only some.
	@go build -o bin/test-runner ./hack/test
	@exec bin/test-runner $(ARGS)

.PHONY: chaos
chaos: ## Break everything for 20 minutes; nothing may be lost. SEED=7: that script again. DURATION=5m. REPORT=file.json.
	@CHAOS_DURATION=$(or $(DURATION),20m) CHAOS_SEED=$(SEED) CHAOS_REPORT=$(abspath $(or $(REPORT),bin/chaos.json)) \
		go test ./test/chaos -count=1 -v -timeout=6h -run '$(or $(RUN),.)'

.PHONY: bench
bench: ## Measure speed and scale; writes docs/benchmarks.md. QUICK=1: three minutes, nothing kept. ARGS="-help": what there is.
	@go build -o bin/ ./test/bench
	@exec bin/bench $(if $(QUICK),-quick) $(ARGS)

.PHONY: profile
profile: ## Write CPU and heap profiles of a start with everything to do and of one with nothing to do into bin/profiles/.
	@go build -o bin/ ./test/bench
	@exec bin/bench -only drain,restart -docs= -profiles bin/profiles $(ARGS)

.PHONY: pictures
pictures: ## Run the demo under a real Prometheus and draw the dashboards of config/grafana from it into docs/images.
	@go build -o bin/ ./test/demo ./test/monitoring
	@exec bin/monitoring $(ARGS)

.PHONY: lint
lint: ## Run the linters.
	@linter=$$(hack/tools/tool golangci-lint) && exec "$$linter" run

.PHONY: generate
generate: ## Generate code, manifests and references into place.
	go run ./hack/generate
	go run ./hack/reference

.PHONY: verify
verify: ## Generate everything and fail if that changes a file.
	@hack/verify

.PHONY: servers
servers: ## Build the servers that tests and demo run, unless the cache has them.
	go run ./test/env/cmd/servers

.PHONY: clean
clean: ## Remove what was built in this tree; caches outside of it stay.
	rm -rf bin
