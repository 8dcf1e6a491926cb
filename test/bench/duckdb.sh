# DuckDB as a second yardstick, on the same data in the same run.  Sourced by
# cases.  Its rows have no target; without node or npm they are left out, and
# one line says so.
#
#	have_duckdb						is it there?  The first call fetches it from npm
#	duckdb_load FILE.db 'SELECT'	copies member, instant (UTC) and amount into table orders (member_id, ordered_at, amount)
#	duckdb_agrees FILE.db FILE.sql ANSWER
#									does it answer so?  A rival with another answer is none
#	duckdb_row WHAT FILE.db THREADS OURS.sql THEIRS.sql
#									measures both in turn and adds a row

# Into a folder of the run's own, which goes when the run ends.
have_duckdb()
{
	[ -f "$DUCKDB_DIR/state" ] || fetch_duckdb >"$DUCKDB_DIR/state"
	[ -s "$DUCKDB_DIR/state" ] || return 1
	export NODE_PATH=$DUCKDB_DIR/node_modules
}

fetch_duckdb()
{
	if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
		echo '    DuckDB: left out, there is no node or npm here' >&2
	elif ! timeout 300 npm install --silent --no-audit --no-fund --no-save --prefix "$DUCKDB_DIR" @duckdb/node-api \
			>"$DUCKDB_DIR/log" 2>&1 </dev/null ||
		! NODE_PATH=$DUCKDB_DIR/node_modules node -p "require('@duckdb/node-api').version()" 2>>"$DUCKDB_DIR/log"; then
		echo '    DuckDB: left out, npm could not install @duckdb/node-api' >&2
		tail -n 3 "$DUCKDB_DIR/log" | sed 's/^/        /' >&2
	fi
}

duckdb_load()
{
	cat >"$1.sql" <<-'SQL'
		CREATE TABLE orders (member_id BIGINT, ordered_at TIMESTAMP, amount DECIMAL(12, 2));
		INSERT INTO orders SELECT * FROM read_csv('/dev/stdin', header = false,
			columns = {'member_id': 'BIGINT', 'ordered_at': 'TIMESTAMP', 'amount': 'DECIMAL(12, 2)'});
	SQL
	rm -f "$1"
	psql -Xqc "COPY ($2) TO STDOUT (FORMAT csv)" | node "$BENCH/duckdb.js" "$1" 2 "$1.sql" load
}

duckdb_agrees()
{
	local answer
	answer=$(node "$BENCH/duckdb.js" "$1" 2 "$2" | head -n 1)
	[ "$answer" = "$3" ] || { echo "    DuckDB: left out, it answers $answer instead of $3" >&2; return 1; }
}

duckdb_row()
{
	paired --what "$1" --rival "DuckDB $(cat "$DUCKDB_DIR/state"), $3 thread$([ "$3" = 1 ] || echo s)" --rounds "$ROUNDS" \
		--rival-command "node $BENCH/duckdb.js $2 $3" "$4" "$5" ||
		echo "    DuckDB: no row for $1" >&2
}
