#!/usr/bin/env bash
# usage: all-but.sh NAME PROGRAM [ARGUMENT ...]. Runs a test program, as Cargo's runner, unless it is that of the test NAME.
set -euo pipefail
name=$1
shift
if [[ ${1##*/} == "$name"-* ]]; then
  echo "$name: runs apart"
  exit
fi
exec "$@"
