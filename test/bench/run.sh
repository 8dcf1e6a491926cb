#!/usr/bin/env bash
# make bench: each promise about speed as a ratio against the SQL that a good
# engineer would write by hand, side by side on a private cluster.
#
# test/bench/cases/*.sh run in order, each with PGHOST, PGDATABASE and the like
# set, ENTRIES and MEMBERS to say how much, and "paired" (see there) to measure
# and to add a row.  ONLY=pattern runs those whose name matches; ENTRIES=200000
# is a quick look; ORDERS and BUYERS, where orders are measured, follow it.
# A row without a target is for comparison only.
set -uo pipefail
. "$(dirname "$0")/../lib.sh"

export ENTRIES=${ENTRIES:-5000000} MEMBERS=${MEMBERS:-100000} ROUNDS=${ROUNDS:-5}
export ORDERS=${ORDERS:-$((ENTRIES * 2))} BUYERS=${BUYERS:-$((MEMBERS * 5))}
export BENCH=$HERE/test/bench BENCH_TABLE DUCKDB_DIR
cluster=$HERE/test/cluster.sh
BENCH_TABLE=$(mktemp)
DUCKDB_DIR=$(mktemp -d)
died=0

finish()
{
	[ -n "${KEEP:-}" ] || "$cluster" bench remove
	rm -rf "$BENCH_TABLE" "$DUCKDB_DIR"
}
trap finish EXIT
trap 'exit 130' INT TERM

install_extension || exit 1
FSYNC=on SETTINGS='max_parallel_workers_per_gather = 2
max_parallel_workers = 8
autovacuum_vacuum_cost_delay = 0' "$cluster" bench start || exit 1
eval "$("$cluster" bench env)"
export PATH="$BENCH:$PATH" PGDATABASE=bench
psql -Xq -d postgres -c 'CREATE DATABASE bench' || exit 1
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -c 'SET client_min_messages = warning' -c 'CREATE EXTENSION loyalty CASCADE' -c 'SELECT loyalty.setup()' || exit 1

say "$("$PG_CONFIG" --version), $(nproc) cores, $(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo) memory; $ENTRIES entries, $MEMBERS members; $ORDERS orders, $BUYERS buyers; $ROUNDS rounds"
for case in "$BENCH"/cases/*.sh; do
	name=$(basename "$case" .sh)
	[[ $name =~ ${ONLY:-} ]] || continue
	say "$name"
	began=$EPOCHREALTIME
	if ! bash -euo pipefail "$case"; then
		died=$((died + 1))
		printf '%s\t-\t-\t-\t-\tDIED\n' "$name" >>"$BENCH_TABLE"
	fi
	say "    $(seconds_since "$began") s"
done

# tab-separated rows into aligned columns, figures to the right
say
awk -F'\t' '
	function line(a, i) { for (i = 1; i <= 6; i++) printf "%s%-" width[i] "s", (i > 1 ? " | " : ""), a[i]; print "" }
	BEGIN { split("what\tours\trival\tratio\ttarget\tmet", cell0); for (i = 1; i <= 6; i++) width[i] = length(cell0[i]) }
	{ rows++; for (i = 1; i <= 6; i++) { cell[rows, i] = $i; if (length($i) > width[i]) width[i] = length($i) } if ($6 == "yes") met++; if ($6 != "-") targets++ }
	END {
		line(cell0)
		for (i = 1; i <= 6; i++) { dash[i] = sprintf("%" width[i] "s", ""); gsub(/ /, "-", dash[i]) }
		line(dash)
		for (r = 1; r <= rows; r++) { for (i = 1; i <= 6; i++) row[i] = cell[r, i]; line(row) }
		printf "\n%d of %d targets met\n", met, targets
	}' "$BENCH_TABLE"
[ "$died" -eq 0 ]
