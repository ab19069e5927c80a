#!/usr/bin/env bash
# Claim:   replicas can be restarted one after the other, as for an upgrade, without a client being refused anything.
# Method:  SIGTERM (a leader hands over first), start, wait until it is up and votes with no lag; the leader last. A
#          client writes keyed messages through the others meanwhile, one after the other.
# Pass:    as kill_leader; and no request at a replica that was not restarted was refused (refused=0).
#
# Usage:   scripts/rolling_restart.sh [OPTION…]     the drill, on a cluster of its own; see kill_leader.sh
#          scripts/rolling_restart.sh --live        restarts the replicas of $CONFIG that run on this machine with the
#          binary that is there now, judged by nobody. CONFIG, DATA: see replicas.inc.sh.
. "$(dirname -- "${BASH_SOURCE[0]}")/replicas.inc.sh"
[ "${1:-}" = --live ] || { drill rolling_restart "$@"; exit; }
leader=$(ps_ status | awk '$2 == "leader" { print $1 }')
for id in $(ids | grep -vx "$leader" || true) $leader; do
  runs "$id" || { say "replica $id does not run here: left alone"; continue; }
  await "the cluster survives no further failure: scripts/start_followers.sh starts what is down" can_spare_one
  pid=$(pid "$id")
  kill -TERM "$pid"
  await "replica $id does not end (process $pid)" gone "$pid"
  launch "$id"
  await "replica $id has not caught up; see $DATA/$id.log" caught_up "$id"
  say "replica $id is up and has caught up"
done
ps_ status
