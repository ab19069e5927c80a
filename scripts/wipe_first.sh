#!/usr/bin/env bash
# Claim:   an emptied replica that starts before the others does not begin a new cluster over the old one.
# Method:  kill -9 all; remove the data of replica 1, which is the one that founds; start it alone for 2 s and ask it
#          for an account; start the others.
# Pass:    as kill_leader; it answers retry while alone; the cluster id of every greeting is the old one.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill wipe_first "$@"
