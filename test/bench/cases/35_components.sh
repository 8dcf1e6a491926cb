# Connected components of random edges: components_agg against pgRouting, against
# a recursive CTE, and beside the least that reading the edges costs.  EDGES and
# NODES say how many.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
EDGES=${EDGES:-$ENTRIES}
NODES=${NODES:-$((EDGES * 2 / 5))}
psql -Xq -v ON_ERROR_STOP=1 -v edges="$EDGES" -v nodes="$NODES" <<-'SQL'
	SET seed = 0.42;
	CREATE UNLOGGED TABLE bench_edge AS
	SELECT i AS id, floor(random() * :nodes)::bigint AS a, floor(random() * :nodes)::bigint AS b
	FROM generate_series(1, :edges) i;
	-- as dense, and small enough for the recursive CTE, whose work is the square of a component
	CREATE UNLOGGED TABLE bench_few_edges AS
	SELECT i AS id, floor(random() * 1000)::bigint AS a, floor(random() * 1000)::bigint AS b
	FROM generate_series(1, 2500) i;
	CREATE INDEX ON bench_few_edges (a);
	CREATE INDEX ON bench_few_edges (b);
	VACUUM ANALYZE bench_edge, bench_few_edges;
SQL

# The components in one process; count(DISTINCT) has no parallel plan anyway.
settings="SET work_mem = '64MB'; SET max_parallel_workers_per_gather = 0;"
cat >"$dir/ours.sql" <<-SQL
	$settings
	\timing on
	SELECT count(*), sum(component) FROM (SELECT loyalty.components_agg(a, b) AS v FROM bench_edge) e, loyalty.expand_components(e.v);
SQL
cat >"$dir/distinct.sql" <<-SQL
	$settings
	\timing on
	SELECT count(DISTINCT a) FROM bench_edge;
SQL
paired --what "components_agg, $EDGES edges, $NODES nodes" --rival 'count(DISTINCT a)' --target '<= 2.0' --rounds "$ROUNDS" \
	"$dir/ours.sql" "$dir/distinct.sql"

# pgRouting's function itself: the SQL around it only puts the query's text
# together, and comes with an extension that needs PostGIS.
pgrouting=$(ls "$("$PG_CONFIG" --pkglibdir)"/libpgrouting-*.so 2>/dev/null | sort -V | tail -n 1)
if [ -n "$pgrouting" ]; then
	psql -Xq -v ON_ERROR_STOP=1 <<-SQL
		CREATE FUNCTION bench_pgr(edges_sql text, OUT seq bigint, OUT component bigint, OUT node bigint)
		RETURNS SETOF record LANGUAGE c STRICT AS '\$libdir/$(basename "$pgrouting" .so)', '_pgr_connectedcomponents';
	SQL
	cat >"$dir/pgrouting.sql" <<-SQL
		$settings
		\timing on
		SELECT count(*), sum(component) FROM bench_pgr('SELECT id, a AS source, b AS target, 1::float8 AS cost FROM bench_edge');
	SQL
	diff <(sed 's/\\timing on//' "$dir/ours.sql" | psql -XAtq) <(sed 's/\\timing on//' "$dir/pgrouting.sql" | psql -XAtq) ||
		{ echo "pgRouting finds other components" >&2; exit 1; }
	paired --what "components_agg, $EDGES edges, $NODES nodes" --rival pgr_connectedComponents --target '<= 0.20' \
		--rounds "$((ROUNDS < 2 ? ROUNDS : 2))" --warmup 0 "$dir/ours.sql" "$dir/pgrouting.sql"
	psql -Xq -v ON_ERROR_STOP=1 -c 'DROP FUNCTION bench_pgr'
else
	echo "pgr_connectedComponents is not measured: no libpgrouting in $("$PG_CONFIG" --pkglibdir)" >&2
fi

sed 's/bench_edge/bench_few_edges/' "$dir/ours.sql" >"$dir/few.sql"
cat >"$dir/recursive.sql" <<-SQL
	$settings
	\timing on
	WITH RECURSIVE link AS (SELECT a, b FROM bench_few_edges UNION SELECT b, a FROM bench_few_edges),
		reach (node, other) AS (SELECT a, a FROM link UNION SELECT r.node, l.b FROM reach r JOIN link l ON l.a = r.other)
	SELECT count(*), sum(component) FROM (SELECT node, min(other) AS component FROM reach GROUP BY node) c;
SQL
paired --what 'components_agg, 2500 edges, 1000 nodes' --rival 'recursive CTE, which does not end on many' --target '<= 0.20' \
	--rounds "$((ROUNDS < 2 ? ROUNDS : 2))" --warmup 0 "$dir/few.sql" "$dir/recursive.sql"

# what a column of identifiers costs to normalize
cat >"$dir/email.sql" <<-'SQL'
	\timing on
	SELECT count(loyalty.normalize_identifier('email', 'User.' || i || '@Example.com')) FROM generate_series(1, 500000) i;
SQL
cat >"$dir/lower.sql" <<-'SQL'
	\timing on
	SELECT count(lower(btrim('User.' || i || '@Example.com'))) FROM generate_series(1, 500000) i;
SQL
paired --what 'normalize_identifier, 500000 e-mail addresses' --rival 'lower(btrim())' --rounds "$ROUNDS" "$dir/email.sql" "$dir/lower.sql"
cat >"$dir/phone.sql" <<-'SQL'
	\timing on
	SELECT count(loyalty.normalize_identifier('phone', '0151 ' || i + 1000000, 'DE')) FROM generate_series(1, 500000) i;
SQL
cat >"$dir/replace.sql" <<-'SQL'
	\timing on
	SELECT count(regexp_replace(regexp_replace('0151 ' || i + 1000000, '[^0-9+]', '', 'g'), '^0', '+49')) FROM generate_series(1, 500000) i;
SQL
paired --what 'normalize_identifier, 500000 telephone numbers' --rival 'two regexp_replace()' --rounds "$ROUNDS" "$dir/phone.sql" "$dir/replace.sql"

psql -Xq -v ON_ERROR_STOP=1 -c 'DROP TABLE bench_edge, bench_few_edges'
