# shellcheck shell=bash
# What the drill scripts share: `drill NAME [OPTION…]` runs one against $PLAINSONG, or else against the release
# binary, which is built first (quick when it is up to date). Options and output: see kill_leader.sh.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${PLAINSONG:-}" ]; then
  cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml" --bin plainsong >&2 || exit 1
  PLAINSONG=${CARGO_TARGET_DIR:-$root/target}/release/plainsong
fi
export PLAINSONG

drill() {
  "$PLAINSONG" drill "$@" || exit 1
}
