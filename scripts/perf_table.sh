#!/usr/bin/env bash
# The throughput table of docs/PERFORMANCE.md: rates, latencies and the servers' CPU, beside the ceiling.
#
# Method:  for each load a fresh cluster of $PLAINSONG (target/release/plainsong) and the ceiling of three replicas, in
#          turn, so that what else the machine does touches both; of $ROUNDS rounds (3) the median by rate. The load
#          generator is $LG: `lg chat`, `lg line`, `lg mini-leader`, `lg mini-follower`, one JSON line a run.
# Usage:   LG=lg scripts/perf_table.sh [REPLICAS…]   (3 5)
# Prints:  | 3 | 1000 (10) | 52000 | 18.2 | 25.0 | 16.1 | 161000 | 0.31 |: replicas, in flight (connections), a second,
#          p50 and p99 in ms, µs of all servers' CPU a message; the ceiling a second, and the share of it
set -euo pipefail
bin=${PLAINSONG:-$(dirname -- "$0")/../target/release/plainsong} work=$(mktemp -d) pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT
measure() { # chat|line REPLICAS IN_FLIGHT:CONNECTIONS: prints "rate p50 p99 cpu"
  local dir id eps=(); dir=$(mktemp -d -p "$work"); pids=()
  if [ "$1" = line ]; then
    for id in 1 2; do "$LG" mini-follower --addr 127.0.0.1:2120$id --file "$dir/$id" >&2 & pids+=($!); done; sleep 0.5
    "$LG" mini-leader --addr 127.0.0.1:21200 --followers 127.0.0.1:21201,127.0.0.1:21202 --file "$dir/0" >&2 &
    pids+=($!) eps=(127.0.0.1:21200); sleep 0.5
  else
    { echo "data_dir: $dir/data"; echo "replicas:"; for id in $(seq "$2"); do
      echo "  - { id: $id, host: 127.0.0.1, port: 2100$id, internal_port: 2110$id }"; done; } >"$dir/config"
    for id in $(seq "$2"); do
      eps+=("127.0.0.1:2100$id"); RUST_LOG=error "$bin" --config "$dir/config" server -i "$id" & pids+=($!); done
    until "$bin" --config "$dir/config" status >/dev/null 2>&1; do sleep 0.1; done
  fi
  "$LG" "$1" --eps "$(IFS=,; echo "${eps[*]}")" --n "${3%:*}" --conns "${3#*:}" --secs 4 --warm 1.5 \
    --pids "$(IFS=,; echo "${pids[*]}")" >"$dir/out"
  kill -9 "${pids[@]}"; wait "${pids[@]}" 2>/dev/null || true
  for key in rate p50_us p99_us srv_us_op; do grep -o "\"$key\":[0-9.]*" "$dir/out" | cut -d: -f2; done | paste -sd ' '
}
median() { sort -n | awk '{ v[NR] = $0 } END { print v[int((NR + 1) / 2)] }'; }
[ $# -gt 0 ] || set -- 3 5
echo "load average before: $(cut -d' ' -f1-3 /proc/loadavg)"
for replicas; do for load in 1:1 16:16 256:256 1000:1000 1000:10; do
  rm -f "$work"/own "$work"/ceiling
  for _ in $(seq "${ROUNDS:-3}"); do
    measure chat "$replicas" $load >>"$work/own"; measure line 3 $load >>"$work/ceiling"; done
  echo "$(median <"$work/own") $(median <"$work/ceiling")" | awk -v n="$replicas" -v l="${load%:*} (${load#*:})" \
    '{ printf "| %s | %s | %d | %.1f | %.1f | %.1f | %d | %.2f |\n", n, l, $1, $2/1000, $3/1000, $4, $5, $1/$5 }'
done; done
