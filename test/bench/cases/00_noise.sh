# The same statement on both sides: how far a ratio is from 1 by chance alone
# on this machine.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
psql -Xq -v ON_ERROR_STOP=1 -v members="$MEMBERS" <<-'SQL'
	CREATE TABLE noise AS SELECT i::bigint AS member_id, i AS points FROM generate_series(1, :members) i;
	ALTER TABLE noise ADD PRIMARY KEY (member_id);
	VACUUM ANALYZE noise;
SQL
cat >"$dir/select.sql" <<-'SQL'
	\set member random(1, :members)
	SELECT points FROM noise WHERE member_id = :member;
SQL
paired --what 'noise: a primary-key SELECT, twice' --rival 'itself' --target '>= 0.90' --rounds "$ROUNDS" \
	--set members="$MEMBERS" --pgbench '-c 8 -j 2 -T 2 -M prepared' "$dir/select.sql" "$dir/select.sql"
cat >"$dir/sum.sql" <<-'SQL'
	\timing on
	SELECT sum(points), count(*), avg(points) FROM noise, generate_series(1, 10);
SQL
paired --what 'noise: an aggregate, twice' --rival 'itself' --target '<= 1.10' --rounds "$ROUNDS" "$dir/sum.sql" "$dir/sum.sql"
