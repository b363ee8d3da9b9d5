#!/bin/sh
# Runs the tests that call ctr.Repeat with their large numbers, as root: all parts, or one. The
# number of a part is taken modulo the number of parts.
set -eu
cd "$(dirname "$0")/.."
part_0="integration ^Test(ContainersLeaveNothing|ThousandContainers|DaemonStaysSmall)$"
part_1="userns ^Test(Crash|CrashTakenBack)$"
part_2="integration ^Test(WorkerKilled|Upgrade|KeptMount|ManyReaders|ManyNamespaces|ContainersComeAndGo|FiguresSurvive|CallsSurvive|CallsKept|HostileCalls)$"
part_3="toolkit ^Test(HostileContainers|Many|NothingLeaks|Degradation|RemountIsAtomic|KilledRemount|ShortProcesses)$
userns ^Test(CrashTwice|CrashSettled|Wide)$"
part_4="remap ^TestAutoMany$
authz ^TestFront(ManyConnections|Restart|Docker|Docker29|Podman)$
install ^TestKilledAgents$
nri ^TestAgentKilledAgain$"
parts=5

run() {
	echo "soak: part $1 of 0 to $((parts - 1))"
	eval "list=\$part_$1"
	echo "$list" | while read -r package tests; do
		PALISADE_SOAK=1 ${GO:-go} test -tags integration,urfave_cli_no_docs -count=1 -timeout 20m \
			-run "$tests" "./test/$package"
	done
}

if [ $# -gt 0 ]; then
	run $(($1 % parts))
else
	for part in $(seq 0 $((parts - 1))); do run "$part"; done
fi
