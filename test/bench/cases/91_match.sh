# The same person without a shared identifier.  A million records of persons,
# one in ten with errors: all of it by find_matches(), with nine fields and the
# blocks that it chooses, up to 20 million pairs.  Comparing and counting a million pairs, against the same
# comparisons called from SQL over pairs that are made already.  The fit to
# counts of six fields of four levels.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
perl "$BENCH/../people.pl" 1000000 100000 7 >"$dir/people.csv"
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null <<-SQL
	SET client_min_messages = warning;
	DROP SCHEMA IF EXISTS mat CASCADE;
	CREATE SCHEMA mat;
	CREATE TABLE mat.person (rec_id text PRIMARY KEY, given_name text, surname text, street_number text, address_1 text, address_2 text, suburb text,
		postcode text, state text, date_of_birth text);
	\copy mat.person FROM '$dir/people.csv' WITH (FORMAT csv, HEADER)
	ANALYZE mat.person;
	CREATE TABLE mat.some AS SELECT * FROM mat.person ORDER BY rec_id COLLATE "C" LIMIT 100000;
	ALTER TABLE mat.some ADD PRIMARY KEY (rec_id);
	CREATE TABLE mat.pair AS SELECT x, y FROM loyalty.match_pairs('mat.some', '{"fields": {"surname": "name", "given_name": "name"}, "largest_key": 100000,
		"blocks": [["surname", "given_name"]]}') p JOIN mat.some x ON x.rec_id = p.a JOIN mat.some y ON y.rec_id = p.b;
	INSERT INTO mat.pair SELECT x, y FROM mat.some x JOIN mat.some y ON y.postcode = x.postcode AND y.state = x.state AND x.rec_id < y.rec_id
	LIMIT greatest(0, 1000000 - (SELECT count(*) FROM mat.pair));
	VACUUM ANALYZE mat.pair;
	CREATE TABLE mat.blocked AS SELECT * FROM mat.some;
	ALTER TABLE mat.blocked ADD PRIMARY KEY (rec_id);
SQL
fields='"given_name": "name", "surname": "name", "address_1": "address", "suburb": "address", "postcode": "code", "date_of_birth": "date"'
cat >"$dir/all.sql" <<SQL
\timing on
SELECT count(*) FROM loyalty.find_matches('mat.person', '{"fields": {$fields, "street_number": "code", "address_2": "address", "state": "category"}, "largest_key": 5000}');
SQL
paired --what 'a million records, 9 fields: read, blocked, compared, fitted, weighed' --target '<= 60' --rounds 1 --warmup 0 --alone "$dir/all.sql"
cat >"$dir/pairs.sql" <<SQL
\timing on
SELECT loyalty.match_patterns('mat.some', '{"fields": {$fields}, "largest_key": 100000, "blocks": [["postcode"], ["surname", "given_name"]]}');
SQL
cat >"$dir/sql.sql" <<SQL
\timing on
SELECT loyalty.compare_values((x).given_name, (y).given_name, 'name'), loyalty.compare_values((x).surname, (y).surname, 'name'),
	loyalty.compare_values((x).address_1, (y).address_1, 'address'), loyalty.compare_values((x).suburb, (y).suburb, 'address'),
	loyalty.compare_values((x).postcode, (y).postcode, 'code'), loyalty.compare_values((x).date_of_birth, (y).date_of_birth, 'date'), count(*)
FROM mat.pair GROUP BY 1, 2, 3, 4, 5, 6;
SQL
paired --what 'a million pairs of 6 fields, compared and counted (ours: read and blocked, too)' --target '<= 0.3' --rounds 3 \
	--rival 'the same comparisons from SQL' "$dir/pairs.sql" "$dir/sql.sql"
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null <<-'SQL'
	-- every pattern of six fields of four levels, by a model of independent fields
	CREATE TABLE mat.counted AS
	SELECT jsonb_build_object('patterns', jsonb_object_agg(p, greatest(1, n))) AS patterns FROM (
		SELECT string_agg(l::text, '' ORDER BY f) AS p,
			round(1e7 * (0.01 * exp(sum(ln((ARRAY[0.05, 0.1, 0.15, 0.7])[1 + l]))) + 0.99 * exp(sum(ln((ARRAY[0.9, 0.06, 0.03, 0.01])[1 + l])))))::bigint AS n
		FROM generate_series(0, 4095) i, generate_series(0, 5) f, LATERAL (SELECT (i >> (2 * f)) & 3 AS l) x GROUP BY i) c;
SQL
cat >"$dir/fit.sql" <<'SQL'
\timing on
SELECT loyalty.match_fit(patterns) FROM mat.counted;
SQL
paired --what 'the fit to 4,096 patterns of 6 fields of 4 levels' --target '<= 0.05' --alone "$dir/fit.sql"
psql -Xq -c 'DROP SCHEMA mat CASCADE' 2>/dev/null
