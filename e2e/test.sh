#!/usr/bin/env bash
# Runs all tests, for `make test`. Most of those that take long wait for others' clocks; the simulation has a clock of its own,
# and gets the processor time that they leave.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all=(cargo test --workspace --all-features)
# Twice as many at once as there are processors, for the same reason.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}

"${all[@]}" --no-run
log=$(mktemp)
told=$(mktemp)
export WEFT_SCENARIOS
WEFT_SCENARIOS=$(mktemp)
# What is idle in a session of its own is so among its own alone, where the kernel shares processors out by sessions: so the
# session is nice as well.
idle='{ echo 19 >/proc/self/autogroup; } 2>/dev/null || true; exec chrt --idle 0 "$@"'
SEEDS=${SEEDS:-100} setsid bash -c "$idle" idle "${all[@]}" --test sim -- --nocapture >"$log" 2>&1 &
simulation=$!
# With all that it has started: it is a group of its own.
trap 'kill -- -"$simulation" 2>/dev/null || true; rm -f "$log" "$told" "$WEFT_SCENARIOS"' EXIT

"${all[@]}" --no-fail-fast --config "target.'cfg(all())'.runner = ['$here/all-but.sh', 'sim']" 2>&1 | tee "$told" && others=yes || others=no
echo 'what befalls fleets:'
"$here/scenarios.sh" "$WEFT_SCENARIOS" && played=yes || played=no
echo 'the simulation, which began before the other tests:'
wait "$simulation" && code=0 || code=$?
cat "$log"
# What failed is said at the end, where one looks.
[[ $others == yes ]] || { echo 'of the other tests, some have failed:'; sed -n '/^failures:$/,/^test result:/p' "$told" | tail --lines=200; } >&2
[[ $code == 0 && $others == yes && $played == yes ]]
