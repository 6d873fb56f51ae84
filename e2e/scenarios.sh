#!/usr/bin/env bash
# usage: scenarios.sh NOTES. Prints which test has played which scenario, in how many seconds. One that none has played fails.
set -euo pipefail
names=$(dirname "${BASH_SOURCE[0]}")/scenarios.txt
awk -F'\t' '
  NR == FNR { played[$1] = played[$1] sprintf("      %4d s  %s\n", $3, $2); next }
  { printf "%4d  %s\n%s", $1, $2, $1 in played ? played[$1] : "              no test has played it\n" }
  !($1 in played) { missing++ }
  END { exit missing > 0 }
' "$1" "$names"
