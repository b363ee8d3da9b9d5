#!/bin/sh
# Lists the links in the documents in a directory to files or headings that do not exist, and the
# pages to which no other page links: test/links.sh DIR
set -eu
cd "$1"
links() { # prints PAGE FILE HEADING of each link outside code
	for page in *.md docs/*.md docs/engines/*.md; do
		sed -E '/^    /d; s/`[^`]*`//g; s/\]\(([^) ]+)\)/\n@\1\n/g' "$page" | sed -n '/:\/\//!s/^@//p' |
			while IFS='#' read -r path heading; do
				file=$page
				[ -z "$path" ] || file=$(realpath --canonicalize-missing --relative-to=. "${page%"${page##*/}"}$path")
				echo "$page $file $heading"
			done
	done
}
headings() { # FILE: as forges make anchors of them
	sed -n 's/^##* //p' "$1" | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9 _-]//g; s/ /-/g'
}
all=$(links)
problems=$(
	echo "$all" | while read -r page file heading; do
		if [ ! -f "$file" ] || [ -n "$heading" ] && ! headings "$file" | grep -qxFe "$heading"; then
			echo "$page: dead link to $file${heading:+#$heading}"
		fi
	done
	for page in docs/*.md docs/engines/*.md C*.md; do
		echo "$all" | grep -vF "$page $page" | grep -qF " $page " || echo "no page links to $page"
	done
)
[ -z "$problems" ] || { echo "$problems"; exit 1; }
