#!/usr/bin/env bash
# Claim:   with `replication: primary-backup` three replicas survive two crashes, one after the other, whichever they are.
# Method:  for each of the six orders: kill -9 to one, then to another, while a client writes; what it writes must be
#          acknowledged by the last one alone. Then that one dies too, and all are started, the last to die as the last.
# Pass:    as kill_leader: nothing acknowledged is lost, doubled or reordered, read back from every replica; and all three
#          are in one view again after each order (recovered_ms).
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill two_of_three "$@"
