#!/usr/bin/env bash
# Claim:   a slow disk of one replica, be it the leader's, costs nobody time; only a slow majority does.
# Method:  a cgroup of the drill's own holds back the block writes of a follower, then of the leader, then of three
#          replicas (cgroup v1 blkio.throttle or v2 io.max). Needs root and such a controller, else it is skipped.
# Pass:    as kill_leader; 100 messages beside a slow follower within 10 s; and the slow majority is seen to be slow,
#          which proves that the disks were.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
drill slow_disk "$@"
