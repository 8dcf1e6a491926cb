# check_all() of everything: every entry folded and hashed again.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/check.sql" <<-'SQL'
	SET work_mem = '512MB';
	\timing on
	SELECT * FROM loyalty.check_all();
SQL
[ -z "$(psql -XAt -f "$dir/check.sql" | grep '|')" ] || { echo "check_all() found violations"; exit 1; }
paired --what 'check_all() of everything' --alone "$dir/check.sql" --target '<= 60' --rounds 3
