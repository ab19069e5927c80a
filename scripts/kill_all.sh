#!/usr/bin/env bash
# Claim:   what was acknowledged survives the death of every replica at once, in whatever order they return.
# Method:  three replicas; kill -9 to all while a client writes; start them in each of the six orders; the client goes
#          on.
# Pass:    as kill_leader; and all three vote again each time (recovered_ms).
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill kill_all "$@"
