#!/usr/bin/env bash
# Ends every replica of the config that runs on this machine, in good order (SIGTERM), the leader last.
#
# Usage:   scripts/stop_all.sh      CONFIG, DATA: see replicas.inc.sh.
. "$(dirname -- "${BASH_SOURCE[0]}")/replicas.inc.sh"
leader=$(ps_ status 2>/dev/null | awk '$2 == "leader" { print $1 }' || true)
for id in $(ids | grep -vx "${leader:-none}" || true) $leader; do
  runs "$id" || continue
  pid=$(pid "$id")
  kill -TERM "$pid"
  await "replica $id does not end (process $pid)" gone "$pid"
  say "replica $id has ended"
done
