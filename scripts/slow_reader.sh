#!/usr/bin/env bash
# Claim:   a reader that does not read costs no memory and nobody's time, and misses nothing once it reads.
# Method:  a reader with a tiny receive buffer logs in and stops reading while 8 MB are sent to it; then it reads on.
# Pass:    as kill_leader, judged by what was pushed to that very connection; its replica grew by at most 64 MiB
#          (grown_kib).
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill slow_reader "$@"
