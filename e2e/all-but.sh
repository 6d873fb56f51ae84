#!/usr/bin/env bash
# usage: all-but.sh NAME PROGRAM [ARGUMENT ...]. Runs a test program, as Cargo's runner, unless it is that of the test NAME.
set -euo pipefail
name=$1
shift
if [[ ${1##*/} == "$name"-* ]]; then
  echo "$name: runs apart"
  exit
fi
# A fleet in one process waits for its members' clocks most of the time: more of them fit side by side.
if [[ ${CARGO_PKG_NAME:-} == weft-node && -n ${RUST_TEST_THREADS:-} ]]; then
  export RUST_TEST_THREADS=$((2 * RUST_TEST_THREADS))
fi
exec "$@"
