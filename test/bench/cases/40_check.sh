# check() of everything: every entry folded and hashed again.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/check.sql" <<-'SQL'
	SET work_mem = '512MB';
	\timing on
	SELECT * FROM loyalty.check();
SQL
[ -z "$(psql -XAt -f "$dir/check.sql" | grep '|')" ] || { echo "check() found violations"; exit 1; }
paired --what 'check() of everything' --alone "$dir/check.sql" --target '<= 60' --rounds 3
