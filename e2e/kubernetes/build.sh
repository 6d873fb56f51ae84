#!/usr/bin/env bash
# Builds the parts of a Kubernetes cluster from published Go modules; nothing else than Go and a module proxy is needed.
#
#   build.sh [all | api | growth | PART ...]
#   build.sh bin                       prints where the binaries lie
#
# `api` is what a test against a bare API server needs (etcd, kube-apiserver, kubectl, and kube-controller-manager for single
# controllers); `growth`, which isn't among `all`, what volumes that grow need; `kwok` plays Nodes for the operator's bench,
# `minio` is what the node's is compared with, and `cert-manager` signs what the operator asks it to.
# What is built already is left alone.
# Kubernetes itself lies in <cache>/<version>/bin, everything else in <cache>/parts/<part>-<version>/bin, and the former
# holds links to the latter, so that one folder has all. KUBERNETES_VERSION chooses another version than the pinned one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weft/kubernetes

# The environment wins over the file.
while IFS='=' read -r key value; do
  [[ $key == *_VERSION && -z ${!key:-} ]] && declare "$key=$value"
done <"$here/versions"

kubernetes_commands=(kube-apiserver kubectl kube-controller-manager kube-scheduler kubelet kube-proxy)
all=(etcd kube-apiserver kubectl helm kube-controller-manager kube-scheduler kubelet kube-proxy containerd cni coredns local-path)
api=(etcd kube-apiserver kubectl kube-controller-manager)
growth=(csi-resizer csi-loop)
bin=$cache/$KUBERNETES_VERSION/bin

# The compiler's own garbage collection is rare: it takes a tenth of the time of a build.
export GOFLAGS='-buildvcs=false -trimpath' GOWORK=off CGO_ENABLED=0 GOGC=${GOGC:-400}
scratch=

fail() {
  printf 'build.sh: %s\n' "$*" >&2
  exit 1
}

# The version and the packages of a part that isn't Kubernetes. A package followed by `:name` gives a binary of that name;
# what is in <name>.go here takes its place. A part that is all here, in a folder, has no packages but names its own, and has
# the hash of all that it is made of for its version. One that uses what is internal to a module is a module below that one.
describe() {
  needs=() module=local/$1
  local containerd=github.com/containerd/containerd/v2/cmd
  local plugins=github.com/containernetworking/plugins/plugins
  case $1 in
    etcd) version=$ETCD_VERSION packages=(go.etcd.io/etcd/server/v3:etcd) ;;
    helm) version=$HELM_VERSION packages=(helm.sh/helm/v3/cmd/helm:helm) ;;
    containerd)
      version=$CONTAINERD_VERSION
      packages=("$containerd/containerd:containerd" "$containerd/containerd-shim-runc-v2:containerd-shim-runc-v2" "$containerd/ctr:ctr")
      ;;
    cni)
      version=$CNI_VERSION
      packages=("$plugins/main/ptp:ptp" "$plugins/main/loopback:loopback" "$plugins/ipam/host-local:host-local" "$plugins/meta/portmap:portmap")
      ;;
    coredns) version=$COREDNS_VERSION packages=(github.com/coredns/coredns:coredns) ;;
    minio) version=$MINIO_VERSION packages=(github.com/minio/minio:minio) ;;
    kwok) version=$KWOK_VERSION packages=(sigs.k8s.io/kwok/cmd/kwok:kwok) ;;
    local-path) version=$LOCAL_PATH_VERSION packages=(github.com/rancher/local-path-provisioner:local-path-provisioner) ;;
    csi-resizer)
      version=$CSI_RESIZER_VERSION
      packages=(github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer:csi-resizer)
      ;;
    csi-loop)
      packages=(:csi-loop)
      needs=(
        "github.com/container-storage-interface/spec/lib/go/csi@v$CSI_SPEC_VERSION"
        "k8s.io/kubelet/pkg/apis/pluginregistration/v1@v0.${KUBERNETES_VERSION#1.}"
        "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller@v$PROVISIONER_LIBRARY_VERSION"
      )
      version=$({ printf '%s\n' "${needs[@]}" && cat "$here"/csi-loop/*.go; } | sha256sum | head -c 12)
      ;;
    cert-manager)
      module=github.com/cert-manager/cert-manager/weft
      packages=(:cert-manager)
      needs=("${module%/*}@v$CERT_MANAGER_VERSION")
      version=$CERT_MANAGER_VERSION-$(sha256sum <"$here/cert-manager/main.go" | head -c 12)
      ;;
    *) fail "no such part: $1 (parts: ${all[*]} ${growth[*]} kwok minio cert-manager)" ;;
  esac
}

is_kubernetes() {
  local command
  for command in "${kubernetes_commands[@]}"; do
    [[ $1 == "$command" ]] && return 0
  done
  return 1
}

is_built() {
  local version packages needs module package
  if is_kubernetes "$1"; then
    [[ -x $bin/$1 ]]
    return
  fi
  describe "$1"
  for package in "${packages[@]}"; do
    # Through the link: it may be another version's.
    [[ "$bin/${package##*:}" -ef "$cache/parts/$1-$version/bin/${package##*:}" ]] || return 1
  done
}

# The published k8s.io/kubernetes replaces its staging modules by folders that its archive doesn't hold;
# they are published too, as v0.<minor>.<patch>.
kubernetes_module() {
  local source staging=v0.${KUBERNETES_VERSION#1.}
  [[ -f go.mod ]] && return
  go mod download "k8s.io/kubernetes@v$KUBERNETES_VERSION" || fail "no Kubernetes $KUBERNETES_VERSION in the module proxy"
  source=$(go env GOMODCACHE)/k8s.io/kubernetes@v$KUBERNETES_VERSION/go.mod
  {
    printf 'module local/kubernetes\n\n'
    grep -E '^go ' "$source"
    printf '\nreplace (\n'
    awk -v version="$staging" '$2 == "=>" && $3 ~ /^\.\/staging\// { print "\t" $1 " => " $1 " " version }' "$source"
    printf ')\n'
  } >go.mod.new
  mv go.mod.new go.mod
}

build_kubernetes() {
  local stamp=k8s.io/component-base/version minor=${KUBERNETES_VERSION#1.}
  mkdir -p "$cache/$KUBERNETES_VERSION/module"
  cd "$cache/$KUBERNETES_VERSION/module"
  kubernetes_module
  go get -tool "k8s.io/kubernetes/cmd/$1@v$KUBERNETES_VERSION"
  # Without the stamp nodes and clients report v0.0.0, which helm and version checks refuse.
  go build -ldflags "-s -w -X $stamp.gitVersion=v$KUBERNETES_VERSION -X $stamp.gitMajor=1 -X $stamp.gitMinor=${minor%%.*}" \
    -o "$scratch/$1" "k8s.io/kubernetes/cmd/$1"
  mv "$scratch/$1" "$bin/$1"
}

# Into the present module, with the definitions, which its binary holds: files that are named one by one, from elsewhere, are
# of no module, and may embed nothing. Prints the package.
cert_manager_source() {
  local source
  source=$(go list -m -f '{{.Dir}}' "${module%/*}")
  mkdir -p crds
  install -m 644 "$source"/deploy/crds/cert-manager.io_{certificaterequests,issuers,clusterissuers}.yaml crds
  install -m 644 "$here/cert-manager/main.go" .
  printf .
}

build_part() {
  local version packages needs module package main
  describe "$1"
  local home=$cache/parts/$1-$version
  mkdir -p "$home/module" "$home/bin"
  cd "$home/module"
  [[ -f go.mod ]] || go mod init "$module" 2>/dev/null
  for package in "${packages[@]}"; do
    [[ -x $home/bin/${package##*:} ]] && continue
    main=("${package%:*}")
    if [[ -n ${main[0]} ]]; then
      go get -tool "${main[0]}@v$version"
    else
      go get "${needs[@]}"
      main=("$here/$1"/*.go)
    fi
    [[ $1 != cert-manager ]] || main=("$(cert_manager_source)")
    [[ ! -f $here/$1.go ]] || main=("$here/$1.go")
    # What only the files here import is looked up in the same modules.
    go build -mod=mod -ldflags '-s -w' -o "$scratch/${package##*:}" "${main[@]}"
    mv "$scratch/${package##*:}" "$home/bin/${package##*:}"
  done
  for package in "${packages[@]}"; do
    ln -sfn "../../parts/$1-$version/bin/${package##*:}" "$bin/${package##*:}"
  done
}

build() {
  local started=$SECONDS how=build_part status
  ! is_kubernetes "$1" || how=build_kubernetes
  # As part of a condition it would go on after what fails.
  set +e
  (
    set -e
    "$how" "$1"
  ) >"$scratch/log" 2>&1
  status=$?
  set -e
  if ((status != 0)); then
    tail -n 40 "$scratch/log" >&2
    fail "could not build $1"
  fi
  printf '  %-24s %4d s\n' "$1" $((SECONDS - started))
}

main() {
  local wanted=() missing=() part version packages needs module
  if [[ ${1:-} == bin ]]; then
    printf '%s\n' "$bin"
    return
  fi
  for part in "${@:-all}"; do
    case $part in
      all) wanted+=("${all[@]}") ;;
      api) wanted+=("${api[@]}") ;;
      growth) wanted+=("${growth[@]}") ;;
      *)
        is_kubernetes "$part" || describe "$part"
        wanted+=("$part")
        ;;
    esac
  done
  for part in "${wanted[@]}"; do
    is_built "$part" || missing+=("$part")
  done
  [[ ${#missing[@]} -eq 0 ]] && return

  command -v go >/dev/null || fail 'go is missing: install Go 1.26 or newer (https://go.dev/dl)'
  mkdir -p "$bin"
  exec 9>"$cache/lock"
  flock --nonblock 9 || {
    printf 'waiting for another build of the local Kubernetes\n'
    flock 9
  }
  # On the cache's own file system, so that a rename is atomic.
  scratch=$(mktemp -d "$cache/.build-XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  printf 'building Kubernetes %s from Go modules (the first time takes minutes)\n' "$KUBERNETES_VERSION"
  for part in "${missing[@]}"; do
    is_built "$part" || build "$part"
  done
}

main "$@"
