#!/usr/bin/env bash
# Claim:   with `drop_silent_after_ms` two sides of a cluster that is cut in two may serve at once; when they meet, one gives
#          up what it acknowledged, and says so: nothing is lost silently.
# Method:  `replication: primary-backup`, five replicas, a network namespace each; two are cut off from three, and a client
#          writes on either side until both have served. When the links are back, all must be in one view. Needs root and
#          iproute2, else it is skipped.
# Pass:    as kill_leader, where a message counts as lost if it was acknowledged and is neither read, from every replica,
#          nor printed by `plainsong log --orphans` of any (orphaned: how many were, given_up_by: of whom); and some were.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill orphans "$@"
