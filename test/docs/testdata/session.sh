#!/bin/bash
# Executes the blocks of a page, one after the other, in one shell. What fails ends it. /run/session has: lib.sh; blocks, NUMBER.sh each, whose
# output goes to NUMBER.out; current, the one that runs; done, at the end, the exit code.
export HOME=/root USER=root TERM=dumb LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin
session=/run/session
trap 'echo $? >$session/done.new; mv $session/done.new $session/done' EXIT
set -eE -o pipefail
. $session/lib.sh
cd /root
for block in $session/blocks/*.sh; do
	basename "$block" .sh >$session/current
	. "$block" >>"${block%.sh}.out" 2>&1 </dev/null
done
