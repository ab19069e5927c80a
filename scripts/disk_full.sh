#!/usr/bin/env bash
# Claim:   a leader whose disk is full hands over or refuses by name; beside it reads and writes go on; with a
#          majority's disks full, writes are refused and reads go on; with room again all goes on by itself.
# Method:  each replica's data on a small disk in memory, in a mount namespace of the drill's own; ballast fills the
#          leader's, then two more; then it is removed. Needs root, else it is skipped.
# Pass:    as kill_leader; reads where there is room are answered, and none is ever stale; and all vote again
#          (recovered_ms).
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill disk_full "$@"
