#!/usr/bin/env bash
# Runs every test on a private cluster and ends with one line, "N passed, N
# failed".  make test builds the extension and then calls this.
#
#	goldens		sql/<room>.sql against expected/<room>.out		1 each
#	pgTAP		test/pgtap/*.sql, each in an empty database		its assertions
#	isolation	test/isolation/specs/*.spec, each in a database
#				with the extension set up						1 each
#	TAP			test/tap/*.pl, as the server's user				its assertions
#
# Two lanes run side by side: TAP tests, which start servers of their own, and
# the others, one after another in the private cluster.  Who has ended first
# takes TAP tests from the other.
#
# Real data beside the checkout: pgTAP files find its directory in the psql
# variable data, TAP tests in LOYALTY_DATA; empty where there is none.  TAP
# tests find a readable copy of the checkout in LOYALTY_TOP, and the socket of
# the private cluster in LOYALTY_TEST_HOST, what was compiled in LOYALTY_OBJECTS.
#
# ONLY=pattern runs those whose kind/name matches.  LOYALTY_SOAK=1 makes long
# tests long (they look at it).  KEEP=1 leaves the cluster for a look.
# PARTITIONS=8 lets pgTAP files have tables in 8 partitions.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

out=$PWD/tmp_check
base=$(cluster_dir test)
cluster=$HERE/test/cluster.sh
time_limit=${LOYALTY_TIME_LIMIT:-${LOYALTY_SOAK:+1}1800}		# seconds for one file; long tests have more
passed=0
failed=0
finished=

# However this script ends, it ends with what failed and the line, and takes the
# cluster along.
finish()
{
	[ -n "$finished" ] || { say "The test run died."; failed=$((failed + 1)); kill $(jobs -p) 2>/dev/null; }
	[ -n "${KEEP:-}" ] || "$cluster" test remove
	[ $((passed + failed)) -gt 0 ] || { say "No test was run."; failed=1; }
	[ ! -s "$out/failed" ] || cat "$out/failed"
	say "$passed passed, $failed failed"
	exit $((failed > 0))		# a bare exit would repeat what led here
}
trap finish EXIT
trap 'exit 130' INT TERM

psql_in() { "$cluster" test psql -Xq -v ON_ERROR_STOP=1 -d "$@" </dev/null; }
wanted() { [ -z "${ONLY:-}" ] || [[ $1 =~ $ONLY ]]; }

# lane FUNCTION...: runs them in the background; what they count is left in a file.
lane()
{
	(
		trap - EXIT INT TERM
		passed=0
		failed=0
		for step in "$@"; do "$step"; done
		echo "$passed $failed" >"$out/lane.$1"
	) &
}

# Waits for the lanes and adds up what they counted.
join_lanes()
{
	local first p f
	wait
	for first in "$@"; do
		read -r p f 2>/dev/null <"$out/lane.$first" || { p=0; f=1; say "The lane of $first died."; }
		passed=$((passed + p))
		failed=$((failed + f))
	done
}

# heading NAME, verdict PASSED FAILED NOTE: one line for each test when it has ended.
heading() { title=$1; began=$EPOCHREALTIME; }
verdict()
{
	local broken=
	passed=$((passed + $1))
	failed=$((failed + $2))
	[ "$2" -eq 0 ] || { broken=", $2 FAILED"; say "FAILED: $title${3:+  ($3)}" >>"$out/failed"; }
	printf '%-32s %5d passed%s  %6s s%s\n' "$title" "$1" "$broken" "$(seconds_since "$began")" "${3:+  ($3)}"
}

# count_tap FILE STATUS: reads TAP output and prints "passed failed note".  A
# file without a plan, with another number of assertions than planned, or
# whose runner ended badly has failed, whatever it printed.
count_tap()
{
	awk -v status="$2" '
		/^1\.\.[0-9]+/		{ planned = 1; plan = substr($1, 4) + 0 }
		/^ok/				{ if (toupper($0) ~ /# *SKIP/) skipped++; else passed++ }
		/^not ok/			{ if (toupper($0) ~ /# *TODO/) passed++; else failed++ }
		/^Bail out!/		{ failed++; note = note " bailed out;" }
		END {
			seen = passed + failed + skipped
			if (!planned) { failed++; note = note " no plan;" }
			else if (seen != plan)
			{
				failed += seen < plan ? plan - seen : seen - plan
				note = note " planned " plan ", ran " seen ";"
			}
			if (status != 0 && !failed) failed++
			if (status != 0) note = note " exit status " status ";"
			if (skipped) note = note " " skipped " skipped;"
			sub(/;$/, "", note); sub(/^ /, "", note)
			print passed + 0, failed + 0, note
		}' "$1"
}

# tap_verdict FILE STATUS: counts and, where something failed, shows it.
tap_verdict()
{
	local p f note
	read -r p f note < <(count_tap "$1" "$2")
	verdict "$p" "$f" "$note"
	grep -hi '^ok.*# *skip\|^1\.\.0.*# *skip' "$1" | sed 's/^/    /' | sort -u | head -n 20
	[ "$f" -eq 0 ] || {
		grep '^not ok' "$1" | head -n 20 | sed 's/^/    /' >>"$out/failed"
		grep -v '^ok' "$1" | tail -n 150 | sed 's/^/    /'
		say "    (all of it: $1)"
	}
	[ "$f" -eq 0 ]
}

# regress_verdict STATUS DIRECTORY: the same for one run of pg_regress.
regress_verdict()
{
	if [ "$1" -eq 0 ]; then verdict 1 0; return; fi
	verdict 0 1 "exit status $1"
	if [ -s "$2/regression.diffs" ]; then
		head -n 300 "$2/regression.diffs"
		grep '^[-+]' "$2/regression.diffs" | head -n 20 | sed 's/^/    /' >>"$out/failed"
	else
		tail -n 50 "$2/output"
	fi
	say "    (what came out: $2/results)"
}

run_goldens()
{
	local room dir
	for room in $LOYALTY_ROOMS; do
		[ -f "$HERE/sql/$room.sql" ] && wanted "golden/$room" || continue
		heading "golden/$room"
		dir=$out/golden/$room
		mkdir -p "$dir"
		(cd "$dir" && timeout "$time_limit" "$PGXS_TEST/regress/pg_regress" --bindir="$BINDIR" \
			--inputdir="$HERE" --outputdir="$dir" --host="$base" --user=postgres \
			--dbname="golden_$room" "$room") >"$dir/output" 2>&1 </dev/null
		regress_verdict $? "$dir"
	done
}

run_pgtap()
{
	local file name files=$HERE/test/pgtap
	mkdir -p "$out/pgtap"
	[ -z "${PARTITIONS:-}" ] || partition_pgtap
	for file in "$files"/*.sql; do
		name=$(basename "$file" .sql)
		[ -f "$file" ] && wanted "pgtap/$name" || continue
		heading "pgtap/$name"
		psql_in postgres -c "CREATE DATABASE \"pgtap_$name\""
		(cd "$HERE" && timeout "$time_limit" "$cluster" test psql -XqAt -P pager=off -v ON_ERROR_STOP=1 \
			-v data="$data" -d "pgtap_$name" -f "$file") >"$out/pgtap/$name" 2>&1 </dev/null
		tap_verdict "$out/pgtap/$name" $?
	done
}

# Copies of the pgTAP files, in which the first setup() is followed by partition_tables().
partition_pgtap()
{
	cp -R "$files" "$out/pgtap.partitioned"
	files=$out/pgtap.partitioned
	sed -i "0,/^SELECT .*loyalty\\.setup()/{/^SELECT .*loyalty\\.setup()/a SELECT * FROM loyalty.partition_tables($PARTITIONS) \\\\g /dev/null
	}" "$files"/*.sql
}

run_isolation()
{
	local file name dir
	for file in "$HERE"/test/isolation/specs/*.spec; do
		name=$(basename "$file" .spec)
		[ -f "$file" ] && wanted "isolation/$name" || continue
		heading "isolation/$name"
		dir=$out/isolation/$name
		mkdir -p "$dir"
		isolation_template
		psql_in postgres -c "CREATE DATABASE \"isolation_$name\" TEMPLATE isolation_template"
		(cd "$dir" && timeout "$time_limit" "$PGXS_TEST/isolation/pg_isolation_regress" --bindir="$BINDIR" \
			--inputdir="$HERE/test/isolation" --outputdir="$dir" --host="$base" --user=postgres \
			--use-existing --dbname="isolation_$name" "$name") >"$dir/output" 2>&1 </dev/null
		regress_verdict $? "$dir"
	done
}

# Made once: a database with the extension set up.
isolation_template()
{
	[ -z "${have_template:-}" ] || return 0
	have_template=1
	psql_in postgres -c 'CREATE DATABASE isolation_template'
	psql_in isolation_template -o /dev/null -c 'SET client_min_messages = warning' -c 'CREATE EXTENSION loyalty CASCADE' -c 'SELECT loyalty.setup()'
}

# The server's user may be unable to read the checkout: it gets a copy, and one
# of what was compiled, for a test that builds.
copy_checkout()
{
	rm -rf "$base/checkout" "$base/objects"
	mkdir "$base/checkout" "$base/objects"
	(cd "$HERE" && cp -R Makefile README.md LICENSE NOTICE CONTRIBUTING.md CHANGELOG.md META.json loyalty.control debian doc src test upgrade "$base/checkout/")
	(cd "$HERE" && tar cf - --exclude=node_modules --exclude=dist --exclude=.observablehq dashboard examples) | tar xf - -C "$base/checkout"
	[ ! -d "$HERE/examples/node_modules" ] || ln -s "$HERE/examples/node_modules" "$base/checkout/examples/node_modules"
	find "$base/checkout" \( -name '*.o' -o -name '*.d' \) -delete
	tar cf - .built-for src/*/*.o | tar xf - -C "$base/objects"
	chmod -R a+rX "$base/checkout" "$base/objects"
}

run_tap()
{
	local file name work data=$data
	[ -z "$data" ] || as_server test -r "$data/README.md" || data=
	for file in "$HERE"/test/tap/*.pl; do
		name=$(basename "$file" .pl)
		[ -f "$file" ] && wanted "tap/$name" && mkdir "$out/tap/$name.taken" 2>/dev/null || continue
		heading "tap/$name"
		work=$base/tap/$name
		as_server mkdir -p "$work"
		as_server env -C "$work" TESTDIR="$work" TESTDATADIR="$work/tmp_check" TESTLOGDIR="$work/tmp_check/log" \
			PATH="$BINDIR:$PATH" PERL5LIB="$PGXS_TEST/perl:$base/checkout/test/tap" \
			PG_REGRESS="$PGXS_TEST/regress/pg_regress" PGPORT=65432 \
			LOYALTY_TOP="$base/checkout" LOYALTY_OBJECTS="$base/objects" LOYALTY_DATA="$data" LOYALTY_TEST_HOST="$base" \
			timeout "$time_limit" perl -w "$base/checkout/test/tap/$name.pl" \
			>"$out/tap/$name" 2>&1 </dev/null
		tap_verdict "$out/tap/$name" $? || keep_logs "$work/tmp_check/log" "$out/tap/$name.log"
		stop_servers "$work"
	done
}

# What PostgreSQL::Test::Cluster has to say stands in a log of its own.
keep_logs()
{
	[ -d "$1" ] || return
	cp -R "$1" "$2"
	tail -n 30 "$2"/regress_log_* 2>/dev/null | sed 's/^/    /'
}

# A TAP test that died may have left servers behind.
stop_servers()
{
	local pid
	find "$1" -name postmaster.pid 2>/dev/null | while read -r pid; do
		as_server "$BINDIR/pg_ctl" -D "${pid%/*}" -m immediate stop >/dev/null 2>&1
	done
}

# A crash that nobody noticed is one all the same.
check_server_log()
{
	heading 'no crash in the server log'
	if grep -E 'terminated by signal|PANIC:|TRAP:' "$base/log" >"$out/crashes"; then
		verdict 0 1
		head -n 20 "$out/crashes"
		cp "$base/log" "$out/server.log"
	else
		verdict 1 0
	fi
}

say "PostgreSQL: $("$PG_CONFIG" --version) at $BINDIR"
data=$(data_dir)
say "Real data:  ${data:-none beside the checkout (../shared/data); tests that need it say that they skip}"
install_extension || exit 1
rm -rf "$out"
mkdir -p "$out"
"$cluster" test start || exit 1
copy_checkout
mkdir -p "$out/tap"

lane run_tap
lane run_goldens run_pgtap run_isolation run_tap
join_lanes run_tap run_goldens
[ $((passed + failed)) -eq 0 ] || check_server_log
finished=1
