#!/usr/bin/env bash
# Claim:   no bytes from a client, a peer, a log, a config file or a server make the reader of them panic, hang, grow or
#          contradict itself.
# Method:  libFuzzer over each body of fuzz/src, one after the other, on one core, from the inputs kept in fuzz/corpus.
#          What it makes up goes to fuzz/found; the kept inputs are not touched.
# Pass:    no target ends before its time. An input that breaks one is left in fuzz/artifacts, with the command to repeat it.
#
# Usage:   scripts/fuzz.sh [SECONDS]     for each target; 600 unless said. The first build takes minutes more.
# Exit:    0 passed; 1 an input was found; 2 something is missing, which the last line names.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
seconds=${1:-600}

missing() {
  printf 'fuzz|missing|%s\n' "$1" >&2
  exit 2
}
cargo +nightly --version >/dev/null 2>&1 || missing 'a nightly toolchain: rustup toolchain install nightly'
cargo +nightly fuzz --version >/dev/null 2>&1 || missing 'cargo-fuzz: cargo install cargo-fuzz --locked'

failed=0
for target in client_line peer_line log_row config server_line; do
  mkdir -p "fuzz/found/$target"
  if cargo +nightly fuzz run "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- -max_total_time="$seconds" \
    -rss_limit_mb=1024 -timeout=10 -print_final_stats=1; then
    printf 'fuzz|%s|pass\n' "$target"
  else
    printf 'fuzz|%s|fail\n' "$target"
    failed=1
  fi
done
exit "$failed"
