#!/usr/bin/env bash
# Installs the Debian packages that the benchmark of the code links with, those that are missing and no others.
# Without root, or on another system, says what to install and fails.
set -euo pipefail

missing=()
[[ -e /usr/include/isa-l/erasure_code.h ]] || missing+=(libisal-dev)
# reed-solomon-erasure compiles its C, and Rust links with it.
command -v cc >/dev/null || missing+=(gcc libc6-dev)

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
