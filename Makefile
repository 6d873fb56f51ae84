# Everything that is built lies in the user's cache folder, so that a second run takes seconds. What Cargo makes of one clone it
# would take for fresh in another, so each has a folder of its own.
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/weft
export CARGO_TARGET_DIR ?= $(CACHE)/target$(CURDIR)

# Chooses another Kubernetes than the one of e2e/kubernetes/versions.
ifdef KUBERNETES_VERSION
export KUBERNETES_VERSION
endif

TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p')
STATIC = $(CARGO_TARGET_DIR)/static
TAR = $(CARGO_TARGET_DIR)/weft.tar
IMAGE ?= localhost/weft:dev
LOCAL = cargo run --quiet --package weft-e2e --bin weft-cluster --
DEMO = cargo run --quiet --package weft-e2e --features demo --bin weft-demo --
# Signatures are checked in two thirds of the time by AVX-512 IFMA; whether the processor has it is found out at run time.
SIGNATURES = $(if $(filter x86_64-%,$(TRIPLE)), --cfg curve25519_dalek_backend="avx512")
# Kernels for AArch64 have pages of up to 64 KiB, and jemalloc needs to know it when it is made.
PAGES = $(if $(filter aarch64-%,$(TRIPLE)),JEMALLOC_SYS_WITH_LG_PAGE=16)
SHIPPED = env -u MAKEFLAGS $(PAGES) RUSTFLAGS='-C target-feature=+crt-static$(SIGNATURES)'
STATICALLY = $(SHIPPED) cargo build --release --target $(TRIPLE) \
	--package weft-operator --package weft-node --package weft-client --bins
ALL = cargo test --workspace --all-features
PREVIOUS = $(CACHE)/previous
WEFT = $(STATIC)/$(TRIPLE)/release/weft
# Two builds at a time: each has long steps that take one processor.
BUILT = @$(MAKE) --no-print-directory prepare && $(MAKE) --no-print-directory --jobs=2 kubernetes image

.DEFAULT_GOAL := help
.PHONY: help demo demo-down demo-able demo-tools prepare kubernetes kubernetes-api bench-codec bench-node bench-open bench-operator bench-stream fuzz asan target-dir image previous-image cluster-up cluster-down check model sim test-aarch64 test-api test test-long test-versions test-version generate

help: ## Say what there is.
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

# A cluster of the user's own takes kubectl and helm, one of this machine's own everything.
demo: $(if $(filter current,$(CLUSTER)),demo-tools image,demo-able) ## A fleet on a real Kubernetes loses a worker and mends itself (CLUSTER=current: on yours).
	$(if $(filter current,$(CLUSTER)),,$(BUILT))
	@$(DEMO) run --weft $(WEFT) --image $(IMAGE) --image-tar $(TAR)

demo-down: ## End the demonstration, and leave nothing.
	@$(DEMO) down

demo-able:
	@if [ "$$(id -u)" != 0 ] || [ ! -f /etc/debian_version ]; then \
		printf '%s\n' 'A cluster of this machine needs root on Debian. With Docker and kind it is:' \
			'  kind create cluster --name weft' '  kubectl config use-context kind-weft' '  make demo CLUSTER=current' >&2; exit 1; fi

demo-tools:
	@e2e/kubernetes/build.sh kubectl
	@e2e/kubernetes/build.sh helm

cluster-up: kubernetes ## Start a local cluster (root on Debian; WORKERS=4, KUBERNETES_VERSION).
	@trap '$(LOCAL) down; exit 130' INT TERM; $(LOCAL) up

cluster-down: ## End it, and leave nothing.
	@$(LOCAL) down

check: ## Format, lints, unit and property tests (no root).
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- --deny warnings
	cargo test --workspace

sim: ## Simulate fleets: SEEDS=100 of them, or SEED=17 again, telling everything (no root).
	SEEDS='$(SEEDS)' FROM='$(FROM)' SEED='$(SEED)' cargo test --package weft-sim --features sim --test sim -- --nocapture \
		$(if $(SEEDS)$(SEED),nothing_acknowledged)

test-aarch64: ## Lints and tests of the code's arithmetic for AArch64, on an emulator (Debian on x86-64, no root).
	@node/redstuff/tests/aarch64.sh

fuzz: ## Fuzz what takes bytes from others, each of TARGETS for SECONDS=60 (no root).
	@fuzz/run.sh $(or $(SECONDS),60) $(TARGETS)

asan: ## The code's own tests under the address sanitizer (no root).
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --package weft-redstuff --lib --tests --target $(TRIPLE) \
		--target-dir $(CARGO_TARGET_DIR)/asan

test-api: kubernetes-api ## Tests against a real API server (no root).
	cargo test --package weft-client --package weft-e2e --package weft-operator \
		--features weft-client/api,weft-e2e/api,weft-operator/api --tests

bench-operator: kubernetes-api ## How the operator does with COMMITTEES="10 100 1000" of ten members each, at rest for REST=600 seconds (no root).
	@e2e/kubernetes/build.sh kwok
	COMMITTEES='$(COMMITTEES)' REST='$(REST)' cargo bench --package weft-operator --features api --bench operator

bench-codec: ## How fast the code is beside every other library: ARGS="--quick --shards 10,31" (root on Debian, once).
	@node/redstuff/bench/prepare.sh
	cargo build --release --workspace --manifest-path node/redstuff/bench/Cargo.toml
	$(CARGO_TARGET_DIR)/release/codec-table $(ARGS)

bench-node: ## How fast a fleet of eight members stores and mends, beside MinIO: SIZES="4096 1048576 67108864" CLIENTS="1 16" SECONDS=10 (no root, with unshare and ip).
	@e2e/kubernetes/build.sh minio
	MINIO="$$(e2e/kubernetes/build.sh bin)/minio" $(SHIPPED) cargo bench --target $(TRIPLE) --target-dir $(STATIC) \
		--package weft-node --bench node

bench-open: ## How long a member takes to open a volume with ENTRIES=1000000 of ACKS=5 in its registry (no root).
	ENTRIES='$(ENTRIES)' ACKS='$(ACKS)' cargo bench --package weft-node --bench open

bench-stream: ## A put of GIB=20 of generated content, and the memory that it takes (no root).
	GIB='$(GIB)' cargo bench --package weft-client --bench stream

test-long: ## What takes long: each of the operator's writes broken off, each path through the spec, the long stories (root on Debian).
	$(BUILT)
	@$(MAKE) --no-print-directory previous-image
	@e2e/kubernetes/build.sh growth cert-manager
	cargo test --package weft-node --lib -- --ignored
	WEFT_CRASHES=all WEFT_PATHS=all WEFT_RIGHTS=all $(ALL) --test api -- --include-ignored
	WEFT=$(WEFT) WEFT_IMAGE_TAR=$(TAR) WEFT_PREVIOUS_IMAGE_TAR=$(PREVIOUS)/weft.tar $(ALL) --test fleet -- --ignored

test: ## All tests, those on a local cluster too, and 100 simulations (root on Debian).
	$(BUILT)
	WEFT=$(WEFT) WEFT_IMAGE_TAR=$(TAR) e2e/test.sh

# The oldest and the newest Kubernetes that are supported.
VERSIONS ?= 1.34.4 1.37.2
test-versions: ## Tests against the API server, and a worker lost and mended, on each of VERSIONS (root on Debian).
	@set -e; for version in $(VERSIONS); do $(MAKE) --no-print-directory KUBERNETES_VERSION=$$version test-version; done

test-version:
	$(BUILT)
	$(ALL) --test api_server --test refusals --test kubectl --test api
	WEFT=$(WEFT) WEFT_IMAGE_TAR=$(TAR) $(ALL) --test fleet -- the_demonstration
	WEFT=$(WEFT) WEFT_IMAGE_TAR=$(TAR) $(ALL) --test fleet -- the_chart
	@echo "passed with Kubernetes $(or $(KUBERNETES_VERSION),of e2e/kubernetes/versions)"

generate: ## Write the files that are generated from the code.
	cargo run --quiet --package weft-crds --bin generate-crds

image: ## Make the image of static binaries, without a container engine.
	$(STATICALLY) --target-dir $(STATIC)
	@$(LOCAL) image --image $(IMAGE) --from $(STATIC)/$(TRIPLE)/release $(TAR)
	@echo "$(IMAGE) is in $(TAR)"

# The release before is a commit until there are releases.
previous-image:
	@git cat-file -e "$$(cat e2e/previous)^{commit}" || { echo 'this clone lacks the commit in e2e/previous: git fetch --unshallow' >&2; exit 1; }
	@rm -rf $(PREVIOUS)/tree && mkdir -p $(PREVIOUS)/tree
	@git --work-tree=$(PREVIOUS)/tree restore --source="$$(cat e2e/previous)" --worktree -- :/
	cd $(PREVIOUS)/tree && $(STATICALLY) --target-dir $(PREVIOUS)/target
	@$(LOCAL) image --image localhost/weft:previous --from $(PREVIOUS)/target/$(TRIPLE)/release $(PREVIOUS)/weft.tar

# MODEL=part-of-a-test's-name chooses some of them.
model: ## Walk through every state of the protocol's models (minutes; no root).
	cargo test --package weft-protocol --test model -- --nocapture --include-ignored $(MODEL)

prepare: ## Install the Debian packages that are missing.
	@e2e/prepare.sh

kubernetes: prepare ## Build Kubernetes from Go modules.
	@e2e/kubernetes/build.sh all

target-dir:
	@echo $(CARGO_TARGET_DIR)

kubernetes-api:
	@e2e/kubernetes/build.sh api
