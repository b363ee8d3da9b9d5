#!/bin/bash
# Runs two commands at the same time: beside.sh LOG BACKGROUND FOREGROUND. The output of the first
# goes to LOG, and is shown when both have ended, also if one fails.
set -u
log=$1 background=$2 foreground=$3
mkdir -p "$(dirname "$log")"
set -m # process groups, so that all of a command can be killed
bash -c "$background" </dev/null >"$log" 2>&1 &
pid=$!
bash -c "$foreground" </dev/null &
front=$!
trap 'kill -- -$pid -$front 2>/dev/null; exit 130' INT TERM
wait $front
result=$?
wait $pid
code=$?
if [ $code != 0 ]; then
	cat "$log" >&2
	echo "failed: $background" >&2
	exit $code
fi
grep -E '^(ok|the report)' "$log"
[ $result = 0 ] || echo "failed: $foreground" >&2
exit $result
