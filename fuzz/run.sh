#!/usr/bin/env bash
# Fuzzes one target after the other, for `make fuzz`. What they have learnt is kept from run to run; an input that fails is
# kept in fuzz/found, where it becomes a test.
#
#   run.sh SECONDS [TARGET ...]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
most=$1
shift
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weft/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
built=${CARGO_TARGET_DIR:-$here/libfuzzer/target}/fuzz

# What cargo-fuzz does, with the compiler that is here.
RUSTC_BOOTSTRAP=1 RUSTC_WRAPPER=$here/rustc.sh RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=$built \
  cargo build --locked --manifest-path "$here/libfuzzer/Cargo.toml" --target "$triple"
program=$built/$triple/debug/weft-libfuzzer

targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || mapfile -t targets < <("$program")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=()
for target in "${targets[@]}"; do
  known=$cache/$target
  found=$here/found/$target
  mkdir -p "$known" "$found"
  # Leaks aren't looked for: what lives as long as the process is meant to.
  if WEFT_FUZZ=$target WEFT_FUZZ_SEEDS=$known ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 "$program" \
    -max_total_time="$most" -timeout=20 -entropic_scale_per_exec_time=1 -rss_limit_mb=4096 -artifact_prefix="$found/" "$known" "$found" >"$log" 2>&1; then
    printf '%-18s %s\n' "$target" "$(grep -E 'DONE' "$log" | tail -n 1)"
  else
    failed+=("$target")
    grep -v '^#' "$log" | tail -n 60 >&2
    printf '%-18s failed\n' "$target"
  fi
  rmdir --ignore-fail-on-non-empty "$found"
done
rmdir --ignore-fail-on-non-empty "$here/found" 2>/dev/null || true
[[ ${#failed[@]} -eq 0 ]] || {
  printf 'failed: %s\n' "${failed[*]}" >&2
  exit 1
}
