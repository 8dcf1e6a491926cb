# Entitlements, rewards and households: what a member may use, against a look-up
# by primary key in a table of counters that somebody would have to reset; an
# order of a reward with stock, against earn(); points of a household, against
# redeem().
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	SELECT loyalty.define_measure('bench_visits');
	SELECT loyalty.define_ladder('bench_club', '{"measures": [{"measure": "bench_visits", "window": "lifetime"}], "levels": [{"level": "gold", "any": {"bench_visits": 1}}]}');
	SELECT loyalty.define_benefit('bench_lounge', '{"kind": "entitlement", "quota": {"bench_club": {"gold": 4}}, "period": "year"}');
	SELECT loyalty.define_benefit('bench_any', '{"kind": "entitlement", "quota": 4, "period": "year"}');
	SELECT loyalty.define_benefit('bench_mug', '{"kind": "reward", "points": 1, "stock": 100000000}');
	SELECT count(loyalty.record_qualification(m, 'bench_visits', 1)) FROM generate_series(1, 5000) m;
	SELECT count(loyalty.earn(m, 1000000)) FROM generate_series(1, 5000) m;
	SELECT count(loyalty.use_entitlement(m, 'bench_any', 1)) FROM generate_series(1, 5000) m, generate_series(1, 3);
	CREATE TABLE hand_quota (member_id bigint, benefit text, allowed bigint NOT NULL, used bigint NOT NULL, period_end timestamptz NOT NULL, PRIMARY KEY (member_id, benefit));
	INSERT INTO hand_quota SELECT m, b, 4, 3, '2099-01-01' FROM generate_series(1, 5000) m, unnest('{bench_lounge,bench_any}'::text[]) b;
	CREATE TABLE hand_household AS SELECT (loyalty.create_household('H', (SELECT r.member_id FROM loyalty.resolve_member(jsonb_build_object('email', m || '@bench.example')) r))).household_id
		FROM generate_series(1, 200) m;
	SELECT count(loyalty.earn(household_id, 1000000)) FROM hand_household;
	-- where nobody was ever merged there would be less to ask
	SELECT loyalty.merge_members(a.member_id, b.member_id, 'one person') FROM loyalty.resolve_member('{"email": "a@merged.example"}') a,
		loyalty.resolve_member('{"email": "b@merged.example"}') b;
	VACUUM ANALYZE hand_quota, loyalty.entitlement_act, loyalty.wallet;
SQL
cat >"$dir/entitlements.sql" <<-'SQL'
	\set m random(1, 5000)
	SELECT benefit, remaining, period_end FROM loyalty.entitlements(:m);
SQL
cat >"$dir/entitlements_by_hand.sql" <<-'SQL'
	\set m random(1, 5000)
	SELECT benefit, allowed - used, period_end FROM hand_quota WHERE member_id = :m AND period_end > now();
SQL
paired --what 'entitlements() of two benefits, one by level' --rival 'SELECT of two counters by primary key' --target '>= 0.70' --rounds "$ROUNDS" \
	--pgbench '-c 1 -T 3 -M prepared' "$dir/entitlements.sql" "$dir/entitlements_by_hand.sql"
cat >"$dir/order.sql" <<-'SQL'
	\set m random(1, 5000)
	SELECT order_id, points_taken FROM loyalty.order_reward(:m, 'bench_mug');
SQL
cat >"$dir/earn.sql" <<-'SQL'
	\set m random(1, 5000)
	SELECT entry_id, available FROM loyalty.earn(:m, 1);
SQL
PGOPTIONS='-c synchronous_commit=off' paired --what 'order_reward() with stock, asynchronous' --rival 'earn()' --target '>= 0.60' --rounds "$ROUNDS" \
	--pgbench '-c 1 -T 3 -M prepared' "$dir/order.sql" "$dir/earn.sql"
PGOPTIONS='-c synchronous_commit=on' paired --what 'order_reward() with stock, synchronous, 8 clients' --rival 'earn()' --target '>= 0.60' --rounds "$ROUNDS" \
	--pgbench '-c 8 -j 2 -T 3 -M prepared' "$dir/order.sql" "$dir/earn.sql"
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -c 'DROP TABLE hand_quota, hand_household'
