#!/bin/sh
# Finds wording that the project avoids in sources and documents, and tests that the documents name
# but that do not exist: test/lint.sh [-c] [PATH...]. With -c it counts the lines per directory
# instead of listing them.
set -u
cd "$(dirname "$0")/.."
pattern="\b[Tt]ells? whether\b|\b([Ss]ome|[Nn]o|[Ee]very)body\b|\banew\b|\b[Ff]olders?\b|\bin vain\b|\b(is|are) to be\b|\bnot understood\b|\bgoes on with\b|\band the like\b"
# Identifiers of lxcfs-toolkit doctor, on which users depend; the user and the name of other
# programs.
allowed="hook-wrong-folder|isulad-folders-closed|USER=somebody|\"nobody\""
count=
[ "${1:-}" != -c ] || { count=1; shift; }
[ $# -gt 0 ] || set -- cmd internal docs rpm hooks completions test tools deploy README.md CHANGELOG.md CONTRIBUTING.md Makefile

found=$(grep -rInE --exclude-dir=testdata --exclude=lint.sh "$pattern" "$@" |
	grep -vE "($allowed)[^:]*$|^[^:]*:[0-9]*:.*($allowed)" || true)
for name in $(grep -ohE '\bTest[A-Z]\w*' ./*.md docs/*.md docs/engines/*.md | sort -u); do
	grep -rqwF --include='*_test.go' "func $name" cmd internal test ||
		found="$found${found:+
}documents: no test is named $name"
done
[ -n "$found" ] || exit 0
if [ -n "$count" ]; then
	echo "$found" | sed 's,/[^/:]*:.*,,; s,:.*,,' | sort | uniq -c
else
	echo "$found"
fi
exit 1
