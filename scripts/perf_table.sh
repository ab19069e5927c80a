#!/usr/bin/env bash
# The throughput table of docs/PERFORMANCE.md: rates and latencies, and the servers' CPU, beside the ceiling.
#
# Method:  for each number of replicas, a fresh cluster of the release build ($PLAINSONG, or target/release/plainsong)
#          and, for three, the ceiling, loaded in turn, so that what else the machine does touches both; $ROUNDS rounds
#          (3), of which the median by rate is shown. The load generator is $LG (`lg chat`, `lg line`, `lg mini-leader`,
#          `lg mini-follower`, one JSON line a run); requests in flight (connections).
# Usage:   LG=lg scripts/perf_table.sh [REPLICAS…]   (3 5)
# Prints:  | 3 | 1000 (10) | 52,000 | 18.2 | 25.0 | 16.1 | 0.31 |   and the load average before and after
set -euo pipefail
bin=${PLAINSONG:-$(dirname -- "$0")/../target/release/plainsong}
loads="1:1 16:16 256:256 1000:1000 1000:10"
work=$(mktemp -d) pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

lg() { "$LG" "$@" --secs 4 --warm 1.5 --pids "$(IFS=,; echo "${pids[*]}")"; }
field() { grep -o "\"$1\":[0-9.]*" | cut -d: -f2; }
row() { # SYSTEM REPLICAS LOAD: one line "rate p50 p99 cpu"
  local dir eps="" id; dir=$(mktemp -d -p "$work"); pids=()
  if [ "$1" = ceiling ]; then
    for id in 1 2; do "$LG" mini-follower --addr 127.0.0.1:2120$id --file "$dir/$id.db" & pids+=($!); done; sleep 0.3
    "$LG" mini-leader --addr 127.0.0.1:21200 --followers 127.0.0.1:21201,127.0.0.1:21202 --file "$dir/0.db" & pids+=($!)
    sleep 0.5; lg line --eps 127.0.0.1:21200 --n "${3%:*}" --conns "${3#*:}"
  else
    { echo "data_dir: $dir/data"; echo "replicas:"; for id in $(seq "$2"); do
      echo "  - { id: $id, host: 127.0.0.1, port: 2100$id, internal_port: 2110$id }"; eps+=,127.0.0.1:2100$id; done; } >"$dir/c.yaml"
    for id in $(seq "$2"); do RUST_LOG=error "$bin" --config "$dir/c.yaml" server -i "$id" & pids+=($!); done
    until "$bin" --config "$dir/c.yaml" status >/dev/null 2>&1; do sleep 0.1; done
    lg chat --eps "${eps#,}" --n "${3%:*}" --conns "${3#*:}"
  fi >"$dir/out"
  kill -9 "${pids[@]}"; wait "${pids[@]}" 2>/dev/null || true
  for key in rate p50_us p99_us srv_us_op; do field $key <"$dir/out"; done | paste -sd ' '
}
echo "load average before: $(cut -d' ' -f1-3 /proc/loadavg)"
for n in "${@:-3 5}"; do for count in $n; do for load in $loads; do
  rm -f "$work"/*.rows
  for _ in $(seq "${ROUNDS:-3}"); do
    row plainsong "$count" "$load" >>"$work/p.rows"; row ceiling 3 "$load" >>"$work/c.rows"; done
  best() { sort -n "$1" | awk '{ v[NR] = $0 } END { print v[int((NR + 1) / 2)] }'; }
  echo "$(best "$work/p.rows") $(best "$work/c.rows")" | awk -v n="$count" -v load="${load%:*} (${load#*:})" \
    '{ printf "| %s | %s | %d | %.1f | %.1f | %.1f | %d | %.2f |\n", n, load, $1, $2/1000, $3/1000, $4, $5, $1/$5 }'
done; done; done
