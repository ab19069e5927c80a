#!/usr/bin/env bash
# Runs every fault drill, one after the other; prints each verdict line as it comes, and a table at the end.
#
# Usage:   scripts/drill_all.sh [FOLDER] [OPTION…]
#          FOLDER (default: drills) gets NAME.svg for each drill, and drills.md with the table and the pictures.
#          Options go to every drill; see kill_leader.sh.
# Exit:    0 when none failed, else 1. A skipped drill fails nothing, and stands in the table with its reason.
. "$(dirname -- "${BASH_SOURCE[0]}")/drill.inc.sh"
folder=drills
case ${1:-} in '' | -*) ;; *) folder=$1 && shift ;; esac
mkdir -p "$folder"

lines=()
failed=0
for name in kill_leader kill_follower kill_two kill_all two_of_three cold_start_orders rolling_restart \
  join_under_load remove_leader replace_all pause_leader partition partition_one_way orphans slow_disk disk_full torn_log \
  flip_a_bit wipe_one wipe_first snapshot_kill slow_reader half_dead_reader \
  reconnect_storm; do
  line=$("$root/scripts/$name.sh" --svg "$folder/$name.svg" "$@") || failed=1
  printf '%s\n' "$line"
  lines+=("$line")
done

printf '%s\n' "${lines[@]}" | awk -F'|' '
  BEGIN {
    print "| drill | verdict | sent | acked | lost | doubled | reordered | gap ms | more |"
    print "|---|---|---|---|---|---|---|---|---|"
  }
  {
    row = "| " $2 " | " $3
    for (i = 4; i <= 9; i++) { value = $i; sub(/^[a-z_]*=/, "", value); row = row " | " ($3 == "skip" ? "" : value) }
    more = $3 == "skip" ? $4 : ""
    for (i = 10; i <= NF; i++) more = more (more == "" ? "" : ", ") $i
    print row " | " more " |"
  }' >"$folder/drills.md"
cat "$folder/drills.md"
for picture in "$folder"/*.svg; do
  printf '\n![%s](%s)\n' "$(basename "$picture" .svg)" "$(basename "$picture")" >>"$folder/drills.md"
done
exit "$failed"
