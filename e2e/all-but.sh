#!/usr/bin/env bash
# usage: all-but.sh NAMES PROGRAM [ARGUMENT ...]. Runs a test program, as Cargo's runner, unless it is that of one of the tests
# NAMES, which blanks separate.
set -euo pipefail
for name in $1; do
  if [[ ${2##*/} == "$name"-* ]]; then
    echo "$name: runs apart"
    exit
  fi
done
exec "${@:2}"
