#!/usr/bin/env bash
# Compares two builds: rate, median and 99th percentile in µs, and the servers' CPU in µs per acknowledged message.
#
# Method:  three replicas of each on fresh disks, in turn, so that what else the machine does touches both; $ROUNDS
#          rounds (3), a line each. The load generator is $LG: `lg chat --eps … --n … --conns … --pids …`, one JSON line.
# Usage:   LG=lg scripts/perf_vs.sh PROGRAM_A PROGRAM_B [IN_FLIGHT:CONNECTIONS…]   (1:1 16:16 1000:1000 1000:10)
# Prints:  perf|plainsong-a|1000:1000|rate=31200|p50_us=28166|p99_us=84795|srv_us_op=41.4
#          and for each load vs|1000:1000|rate=1.55|srv_us_op=0.71, which is B by A, the medians.
set -euo pipefail
a=$1 b=$2; shift 2
[ $# -gt 0 ] || set -- 1:1 16:16 1000:1000 1000:10
work=$(mktemp -d) pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

run() { # PROGRAM LOAD
  local dir; dir=$(mktemp -d -p "$work"); local file=$dir/config.yaml; pids=()
  { echo "data_dir: $dir/data"; echo "replicas:"
    for id in 1 2 3; do echo "  - { id: $id, host: 127.0.0.1, port: 2100$id, internal_port: 2110$id }"; done; } >"$file"
  for id in 1 2 3; do RUST_LOG=error "$1" --config "$file" server -i $id & pids+=($!); done
  until "$1" --config "$file" status >/dev/null 2>&1; do sleep 0.1; done
  local all=${pids[*]}
  "$LG" chat --eps 127.0.0.1:21001,127.0.0.1:21002,127.0.0.1:21003 --n "${2%:*}" --conns "${2#*:}" --secs 4 --warm 1.5 \
    --pids "${all// /,}" | tr -d '{}"' | tr ',' '\n' | grep -E '^(rate|p50_us|p99_us|srv_us_op):' | tr ':\n' '=|' >"$dir/out"
  kill -9 "${pids[@]}"; wait "${pids[@]}" 2>/dev/null || true
  sed "s/^/perf|$(basename "$1")|$2|/; s/|$//" "$dir/out" | tee -a "$work/$3"; echo | tee -a "$work/$3"
}
median() { grep -o "$1=[0-9.]*" "$2" | cut -d= -f2 | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
for load; do
  rm -f "$work/a" "$work/b"
  for _ in $(seq "${ROUNDS:-3}"); do run "$a" "$load" a; run "$b" "$load" b; done
  for key in rate srv_us_op; do
    echo "$key=$(echo "$(median $key "$work/b") $(median $key "$work/a")" | awk '{ printf "%.2f", $1 / $2 }')"
  done | paste -sd '|' | sed "s/^/vs|$load|/"
done
