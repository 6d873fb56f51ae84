#!/usr/bin/env bash
# The compiler as run.sh has Cargo call it: LLVM's instruments for coverage are in what is ours, and in the database that reads the
# store's pages. In all else they cost more than they tell.
set -euo pipefail
instruments=()
if [[ ${CARGO_PKG_NAME:-} == @(weft-*|redb) && " $* " == *' --target '* ]]; then
  instruments=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
  )
fi
exec "$@" "${instruments[@]}"
