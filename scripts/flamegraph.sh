#!/usr/bin/env bash
# Where the time goes: a flame graph of three replicas under 1,000 connections of one request each, by thread.
#
# Method:  $PLAINSONG (target/release/plainsong), loaded by `plainsong bench`, sampled by `perf record` with the stacks'
#          bytes, so that no frame pointers are needed; folded and drawn by the programs of the crate inferno
#          (`cargo install inferno`). Left out: samples taken while a thread was being switched to, which are those of its
#          neighbours' timers. Needs perf, and the right to use it.
# Usage:   scripts/flamegraph.sh docs/flamegraph.svg
# Prints:  the result of the bench, and the share of each thread in percent
# Exit:    0 drawn; 2 something is missing, which the last line names, and nothing was started.
set -euo pipefail

missing() { printf 'flamegraph|missing|%s\n' "$1" >&2; exit 2; }
[ $# -eq 1 ] || missing 'the file to draw into: scripts/flamegraph.sh docs/flamegraph.svg'
command -v perf >/dev/null || missing 'perf: install the package linux-perf (Debian), linux-tools-generic (Ubuntu) or perf'
for program in inferno-collapse-perf inferno-flamegraph; do
  command -v "$program" >/dev/null || missing "$program: cargo install inferno --locked"
done
[ -x "${PLAINSONG:-$(dirname -- "$0")/../target/release/plainsong}" ] || missing 'plainsong: cargo build --release'
perf record --quiet -o /dev/null -e cpu-clock -- true >/dev/null 2>&1 ||
  missing 'the right to use perf: sysctl kernel.perf_event_paranoid=1, or run this as root'
out=$1 bin=${PLAINSONG:-$(dirname -- "$0")/../target/release/plainsong} work=$(mktemp -d) pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

{ echo "data_dir: $work/data"; echo "replicas:"; for id in 1 2 3; do
  echo "  - { id: $id, host: 127.0.0.1, port: 2100$id, internal_port: 2110$id }"; done; } >"$work/config"
for id in 1 2 3; do RUST_LOG=error "$bin" --config "$work/config" server -i $id & pids+=($!); done
until "$bin" --config "$work/config" status >/dev/null 2>&1; do sleep 0.1; done
"$bin" --config "$work/config" bench -n 1000 --in-flight 1 --warmup 3 --duration 40 | tail -n 1 & bench=$!
sleep 5
perf record --quiet -o "$work/perf" -e cpu-clock -F 499 --call-graph dwarf,8192 -p "$(IFS=,; echo "${pids[*]}")" -- sleep 30
perf script --no-inline -i "$work/perf" 2>/dev/null | inferno-collapse-perf 2>/dev/null |
  grep -v ';finish_task_switch[^;]* [0-9]*$' | sed -E 's/^plainsong[^;]*/serving/; s/^actix-rt[^;]*/pulse/' |
  sed -E 's/;(clone3|start_thread|main|_start|__libc_start[a-z_]*|\[unknown\])//g' >"$work/folded"
wait $bench
awk '{ split($1, frames, ";"); share[frames[1]] += $NF; all += $NF }
  END { for (thread in share) printf "%s %.0f %%\n", thread, 100 * share[thread] / all }' "$work/folded"
inferno-flamegraph --title "Three replicas, 1,000 connections of one request each" --minwidth 0.3 --hash \
  "$work/folded" >"$out"
