# Everything that is built lies in the user's cache folder, so that a second run takes seconds.
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/weft
export CARGO_TARGET_DIR ?= $(CACHE)/target

# Chooses another Kubernetes than the one of e2e/kubernetes/versions.
ifdef KUBERNETES_VERSION
export KUBERNETES_VERSION
endif

TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p')
STATIC = $(CARGO_TARGET_DIR)/static
IMAGE ?= localhost/weft:dev
LOCAL = cargo run --quiet --package weft-e2e --bin weft-cluster --

.DEFAULT_GOAL := help
.PHONY: help prepare kubernetes kubernetes-api image cluster-up cluster-down check test-api test generate

help: ## Say what there is.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

cluster-up: kubernetes ## Start a local cluster (root on Debian; WORKERS=4, KUBERNETES_VERSION).
	@trap '$(LOCAL) down; exit 130' INT TERM; $(LOCAL) up

cluster-down: ## End it, and leave nothing.
	@$(LOCAL) down

check: ## Format, lints, unit and property tests (no root).
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- --deny warnings
	cargo test --workspace

test-api: kubernetes-api ## Tests against a real API server (no root).
	cargo test --package weft-e2e --package weft-operator --features weft-e2e/api,weft-operator/api --tests

test: kubernetes ## All tests, those on a local cluster too (root on Debian).
	cargo test --workspace --all-features

generate: ## Write the files that are generated from the code.
	cargo run --quiet --package weft-crds --bin generate-crds

image: ## Make the image of static binaries, without a container engine.
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --target $(TRIPLE) --target-dir $(STATIC) \
		--package weft-operator --package weft-node --package weft-client --bins
	@$(LOCAL) image --image $(IMAGE) --from $(STATIC)/$(TRIPLE)/release $(CACHE)/weft.tar
	@echo "$(IMAGE) is in $(CACHE)/weft.tar"

prepare: ## Install the Debian packages that are missing.
	@e2e/prepare.sh

kubernetes: prepare ## Build Kubernetes from Go modules.
	@e2e/kubernetes/build.sh all

kubernetes-api:
	@e2e/kubernetes/build.sh api
