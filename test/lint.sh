#!/usr/bin/env bash
# Reads the C with tools that look for faults.  make lint builds it with warnings
# as errors, then calls this:
#
#	cppcheck		warnings and portability
#	clang-tidy		the checks chosen in .clang-tidy; with DEEP=1 also those of
#					clang's analyzer, which takes ten times as long
#	layout			what pgindent's layout has that needs no knowledge of C
#
# ONLY=pattern: files whose name matches.  What is no fault is marked in its
# place, with the reason: cppcheck-suppress, NOLINT.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

out=$PWD/tmp_check/lint
failed=0
mkdir -p "$out"

files=$(cd "$HERE" && ls src/*/*.c | grep -E -- "${ONLY:-}") || die "no file matches ONLY=$ONLY"

# step NAME COMMAND...: what it prints are findings.
step()
{
	local name=$1 began=$EPOCHREALTIME
	shift
	"$@" >"$out/$name" 2>&1 || true
	if [ -s "$out/$name" ]; then
		failed=1
		cat "$out/$name"
		say "$name: findings ($(seconds_since "$began") s)"
	else
		say "$name: clean ($(seconds_since "$began") s)"
	fi
}

# The server's headers stay unread: cppcheck would look for faults in them.
run_cppcheck()
{
	(cd "$HERE" && printf '%s\n' $files | cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr \
		--template='{file}:{line}: {severity}: {message} [{id}]' -I src --file-list=-)
}

deep=${DEEP:+,clang-analyzer-core.*,clang-analyzer-deadcode.*,clang-analyzer-security.FloatLoopCounter,clang-analyzer-unix.*}

# clang-tidy reads the flags of each file where make says them.
run_clang_tidy()
{
	"${MAKE:-make}" -nB -f "${LOYALTY_MAKEFILE:-$HERE/Makefile}" all PG_CONFIG="$PG_CONFIG" |
		"$HERE/test/compile_commands.pl" "$PWD" >"$out/compile_commands.json"
	(cd "$HERE" && printf '%s\n' $files | xargs -P "$(nproc)" -n 4 clang-tidy -p "$out" --quiet ${deep:+--checks="$deep"} 2>&1) |
		grep -vE '^[0-9]+ warnings? (generated|treated as errors?)|^Suppressed |^Use -header-filter' || true
}

# Tabs indent, nothing trails, a file ends with its last line, and has at most a thousand.
run_layout()
{
	(cd "$HERE" && awk '
		function say(what) { printf "%s:%d: %s\n", FILENAME, FNR, what }
		FNR == 1			{ if (last != "" && tail == "") printf "%s: ends with an empty line\n", last; last = FILENAME }
		/[ \t]$/			{ say("trailing blank") }
		/\r/				{ say("carriage return") }
		/^\t*    +[^ *]/		{ say("blanks where a tab belongs") }
		/^[ \t]*(if|for|while|switch) .*\) \{$/	{ say("opening brace on the line of its statement") }
		/pg_attribute_noreturn/	{ say("gone in PostgreSQL 18: write pg_noreturn in front") }
		/\/\/ /&& !/"[^"]*\/\/ /	{ say("comment with //") }
		FNR == 1001 && FILENAME !~ /_plans\.c$/	{ say("more than a thousand lines") }
							{ tail = $0 }
	' $files $(ls src/*/*.h))
}

step cppcheck run_cppcheck
step layout run_layout
step clang-tidy run_clang_tidy
[ "$failed" -eq 0 ]
