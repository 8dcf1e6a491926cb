#!/usr/bin/env bash
# Builds the extension for each server that it is given, with warnings as errors,
# and runs the tests there:
#
#	test/versions.sh PG_CONFIG...
#
# Without one: for all that Debian puts aside.  Each is built out of tree, in
# tmp_check/versions/<version>, installed into its server, and tested on a
# private cluster, one after another; ONLY=pattern as for make test.  A server
# needs its headers, contrib, pgTAP and the modules for TAP tests
# (--enable-tap-tests).  One line each: version, with assertions or not, passed,
# failed, seconds; the rest is in the file output beside what was built.
set -uo pipefail
HERE=$(cd "$(dirname "$0")/.." && pwd -P)
out=$PWD/tmp_check/versions
failures=0

[ $# -gt 0 ] || set -- $(ls -v /usr/lib/postgresql/*/bin/pg_config 2>/dev/null)
[ $# -gt 0 ] || { echo 'usage: versions.sh PG_CONFIG...' >&2; exit 2; }

for pg_config; do
	version=$("$pg_config" --version | sed 's/^PostgreSQL \([^ ]*\).*/\1/') && [ -n "$version" ] || { failures=$((failures + 1)); continue; }
	assertions=without
	! grep -q '^#define USE_ASSERT_CHECKING 1' "$("$pg_config" --includedir-server)/pg_config.h" || assertions=with
	dir=$out/$version-$assertions-assertions
	rm -rf "$dir"
	mkdir -p "$dir"
	SECONDS=0
	(cd "$dir" && "${MAKE:-make}" -f "$HERE/Makefile" test PG_CONFIG="$pg_config") >"$dir/output" 2>&1 </dev/null || failures=$((failures + 1))
	result=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$dir/output" | tail -n 1)
	printf 'PostgreSQL %-8s %-7s assertions  %s, %d s\n' "$version" "$assertions" "${result:-not built (see $dir/output)}" "$SECONDS"
	grep ' FAILED' "$dir/output" | sed 's/^/    /'
done
[ "$failures" -eq 0 ]
