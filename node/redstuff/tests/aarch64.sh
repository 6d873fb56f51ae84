#!/usr/bin/env bash
# Lints the code's crate for AArch64 and runs its tests on an emulator: on x86-64, nothing else compiles what it does with NEON.
#
# A compiler that knows the target, a linker and the emulator are Debian's packages. They are unpacked into the user's cache
# folder (850 MB, of 180 MB to download) and not installed: that needs no root, and the machine stays as it is. What is there
# already is left alone; without the folder, the next run gets the packages of its day.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weft/aarch64
target=aarch64-unknown-linux-gnu
packages=(rustc-web rust-web-clippy gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)
foreign=(libstd-rust-web-dev:arm64)
root=$cache/$(printf '%s\n' "${packages[@]}" "${foreign[@]}" | sha256sum | head -c 12)
scratch=

fail() {
  printf 'aarch64.sh: %s\n' "$*" >&2
  exit 1
}

# With package lists of its own, which know arm64.
apt() {
  apt-get -qq -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o Dir::State="$scratch" \
    -o Dir::State::status="$scratch/status" -o Dir::Cache="$scratch" "$@"
}

# Its caller asks whether it failed, and inside of that the shell's own watch over failures is off.
download() {
  mkdir -p "$scratch"/{archives,lists}/partial || return
  # The libraries that the machine lacks are downloaded too. What is wanted here passes for missing, installed or not, and what
  # else is installed for needing nothing, so that it can't stand against that.
  awk -v RS= -v ORS='\n\n' '!/^Package: [^\n]*(aarch64|arm64|cargo|qemu-user|rust)/' /var/lib/dpkg/status |
    sed -E '/^(Pre-Depends|Depends|Conflicts|Breaks):/d' >"$scratch/status" || return
  # Of the machine's sources, some may be out of order that aren't needed.
  apt update || true
  apt install -y --no-install-recommends --download-only "${packages[@]}" || return
  cd "$scratch/archives" && apt download "${foreign[@]}"
}

unpack() {
  local package
  printf 'unpacking packages to compile and run for AArch64 (the first time takes minutes)\n'
  (download) >"$scratch/log" 2>&1 || {
    tail -n 40 "$scratch/log" >&2
    fail 'could not download the packages'
  }
  for package in "$scratch"/archives/*.deb; do
    dpkg-deb --extract "$package" "$scratch/root"
  done
  mv "$scratch/root" "$root"
}

check() {
  local name=${target//-/_}
  local cargo_name=CARGO_TARGET_${name^^}
  # They win over the target's.
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
  # Rust links its build scripts with the machine's own compiler.
  export PATH=$root/usr/bin:$PATH LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu RUSTC=$root/usr/bin/rustc
  export "CC_$name=aarch64-linux-gnu-gcc" "CFLAGS_$name=--sysroot=$root"
  export "${cargo_name}_LINKER=aarch64-linux-gnu-gcc" "${cargo_name}_RUSTFLAGS=-C link-arg=--sysroot=$root"
  export "${cargo_name}_RUNNER=qemu-aarch64 -L $root/usr/aarch64-linux-gnu"
  # Another compiler's files are no use to the machine's own.
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$(make --silent target-dir)}/aarch64
  cargo-clippy clippy --package weft-redstuff --all-targets --target "$target" -- --deny warnings
  # What is passed over takes minutes on an emulator, and says nothing of the arithmetic that the crate's own tests don't.
  cargo test --package weft-redstuff --target "$target" --lib --test code --test golden -- \
    --skip every_code_survives_its_worst_loss
}

main() {
  local command
  if [[ ! -d $root ]]; then
    [[ $(uname -m) == x86_64 && -f /etc/debian_version ]] ||
      fail 'what compiles for AArch64 is unpacked by itself only on Debian on x86-64; on AArch64, make check does'
    for command in apt-get dpkg-deb cargo cc; do
      command -v "$command" >/dev/null || fail "$command is missing"
    done
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    # On the cache's own file system, so that a rename is atomic.
    scratch=$(mktemp -d "$cache/.unpack-XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    [[ -d $root ]] || unpack
    exec 9>&-
  fi
  check
}

main "$@"
