#!/usr/bin/env bash
# Installs the Debian packages that the local Kubernetes and the tests need, those that are missing and no others.
# Without root, or on another system, says what to install and fails.
set -euo pipefail

missing=()
need() { # need PACKAGE COMMAND
  PATH=$PATH:/usr/sbin:/sbin command -v "$2" >/dev/null || missing+=("$1")
}

need runc runc
need iptables iptables
need iproute2 ip
need util-linux nsenter
need util-linux setpriv
need mount mount
need mount losetup
need e2fsprogs mkfs.ext4
need strace strace
need xfsprogs xfs_io
# Rust links with it.
need gcc cc
# Helper pods and the pause image have no C library: a busybox that names a loader in its first page won't do.
if ! busybox=$(command -v busybox) || head -c 4096 "$busybox" | grep -qa 'ld-linux'; then
  missing+=(busybox-static)
fi

if [[ ${#missing[@]} -eq 0 ]]; then
  exit 0
fi
if [[ $(id -u) -ne 0 || ! -f /etc/debian_version ]]; then
  printf 'missing on this machine: %s\nThey are installed by itself only on Debian, as root.\n' "${missing[*]}" >&2
  exit 1
fi
printf 'installing %s\n' "${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install_missing() { apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; }
# A fresh machine has no package lists yet, and old lists name versions that are gone.
install_missing 2>/dev/null || { apt-get update -qq && install_missing; }
