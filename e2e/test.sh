#!/usr/bin/env bash
# Runs all tests, for `make test`, in three parts at a time. Those on the local cluster come first: they mostly wait for its
# clocks. All others have what they leave of the processors, and the simulation, which has a clock of its own, what is left then.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all=(cargo test --workspace --all-features)
apart=(sim cluster fleet)
logs=$(mktemp -d)
declare -A parts

begin() { # begin PART COMMAND [ARGUMENT ...]
  setsid "${@:2}" >"$logs/$1" 2>&1 &
  parts[$1]=$!
}

end() { # end PART: what it printed, and its exit code
  local code=0
  wait "${parts[$1]}" || code=$?
  unset "parts[$1]"
  printf '\n%s, which began with the tests on the cluster:\n' "$1"
  cat "$logs/$1"
  return "$code"
}

# Each with all that it has started: it is a group of its own.
finish() {
  local part
  for part in "${parts[@]}"; do kill -- -"$part" 2>/dev/null || true; done
  rm -rf "$logs"
}
trap finish EXIT

"${all[@]}" --no-run
SEEDS=${SEEDS:-100} begin 'the simulation' chrt --idle 0 "${all[@]}" --test sim -- --nocapture
begin 'all other tests' nice "${all[@]}" --config "target.'cfg(all())'.runner = ['$here/all-but.sh', '${apart[*]}']"

code=0
"${all[@]}" --test cluster --test fleet || code=$?
end 'all other tests' || code=$?
end 'the simulation' || code=$?
exit "$code"
