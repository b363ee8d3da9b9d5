#!/bin/sh
# Prints the coverage of each package: by its own unit tests, and with the programs that the
# integration tests run, as root. test/cover.sh [SUITE...] takes the suites of test/, by default
# those that run most of the code. Tests that fail with coverage are ignored: some programs are
# killed, or may not write files.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- toolkit userns remap authz integration
dir=$PWD/dist/cover tags=integration,urfave_cli_no_docs
rm -rf "$dir"
mkdir -p "$dir/unit" "$dir/programs"
chmod 777 "$dir/programs" # some programs do not run as root
${GO:-go} test -tags $tags -vet=off -count=1 -cover ./internal/... ./cmd/... -args -test.gocoverdir="$dir/unit" \
	>"$dir/unit.log" 2>&1 || grep -E '^(FAIL|---)' "$dir/unit.log" >&2
for suite in "$@"; do
	GOCOVERDIR=$dir/programs ${GO:-go} test -tags $tags -vet=off -count=1 -timeout 20m "./test/$suite" \
		>"$dir/$suite.log" 2>&1 || echo "test/$suite: some tests fail with coverage, see $dir/$suite.log" >&2
done
percent() { # PACKAGE PERCENT of the data in the directories
	${GO:-go} tool covdata percent -i="$1" | sed -n 's/^[[:space:]]*palisade\/\([^[:space:]]*\).*coverage: \([0-9.]*\)%.*/\1 \2/p' | sort
}
percent "$dir/unit" >"$dir/unit.txt"
percent "$dir/unit,$dir/programs" >"$dir/all.txt"
printf '%-32s %6s %6s\n' package unit all
join -a 2 -e - -o 0,1.2,2.2 "$dir/unit.txt" "$dir/all.txt" | while read -r package unit all; do
	printf '%-32s %6s %6s\n' "$package" "$unit" "$all"
done
