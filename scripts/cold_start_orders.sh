#!/usr/bin/env bash
# Claim:   with `replication: primary-backup` nothing acknowledged is lost by a total stop, in whatever order three
#          replicas failed, and in whatever order they return: the last to fail is the first to lead.
# Method:  each of the three once as the last to fail, for each of the six orders of return: kill -9 to one after the other
#          while a client writes; then start them one after the other.
# Pass:    as kill_leader; nobody acknowledges anything before the last to fail is back; it leads first; and all three are
#          in one view again each time (recovered_ms).
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill cold_start_orders "$@"
