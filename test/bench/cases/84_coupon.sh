# Coupons: a unique one redeemed with its order, against the same order written
# by hand with one UPDATE of the coupon and a row of the redemption, in one
# statement; a code drawn from a pool of a million, at its beginning and after
# most of it is gone, and against a counter row by hand; and a total that
# everybody draws on, with synchronous commit, against the rows alone.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
coupons=${COUPONS:-200000}
pool=${POOL:-1000000}
psql -Xq -v ON_ERROR_STOP=1 -v pool="$pool" -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	SELECT loyalty.define_benefit('bench_unique', '{"kind": "coupon", "discount": {"amount": 5}}');
	SELECT loyalty.define_benefit('bench_total', '{"kind": "coupon", "discount": {"amount": 5}, "codes": "generic", "total": 1000000}');
	SELECT loyalty.add_codes('bench_total', '{BENCHTOTAL}');
	SELECT loyalty.define_benefit('bench_pool', '{"kind": "coupon", "discount": {"amount": 5}, "codes": "pool"}');
	-- what a good engineer would write by hand
	CREATE TABLE hand_order (member_id bigint NOT NULL, order_id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL DEFAULT now(),
		amount numeric NOT NULL, discount numeric NOT NULL, PRIMARY KEY (member_id, order_id));
	CREATE TABLE hand_coupon (code text PRIMARY KEY, state text NOT NULL DEFAULT 'issued', member_id bigint NOT NULL,
		valid_until timestamptz NOT NULL DEFAULT '2099-01-01', redeemed_at timestamptz) WITH (fillfactor = 80);
	CREATE TABLE hand_redemption (redemption_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code text NOT NULL, member_id bigint NOT NULL,
		order_id bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
	CREATE INDEX ON hand_redemption (member_id);
	CREATE TABLE hand_pool_head (pool int PRIMARY KEY, next bigint NOT NULL, n bigint NOT NULL) WITH (fillfactor = 10);
	CREATE TABLE hand_pool (pool int, pos bigint, code text NOT NULL, PRIMARY KEY (pool, pos));
	CREATE TABLE hand_claim (claim_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code text NOT NULL, member_id bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
SQL

# Both sides begin each round with the same coupons, none of them used.
cat >"$dir/reset.sql" <<-'SQL'
	SET client_min_messages = warning;
	SET session_replication_role = replica;
	TRUNCATE loyalty.coupon, loyalty.coupon_act, loyalty.activity, hand_order, hand_coupon, hand_redemption;
	DELETE FROM loyalty.coupon_code WHERE benefit = 'bench_unique';
	INSERT INTO loyalty.coupon (member_id, coupon_id, benefit, version, code, valid_from)
	SELECT 1 + i % 100000, i, 'bench_unique', 1, 'C' || i, '2020-01-01' FROM generate_series(1, :coupons) i;
	INSERT INTO loyalty.coupon_act (member_id, coupon_id, act, kind, at) SELECT 1 + i % 100000, i, 1, 'issued', '2020-01-01' FROM generate_series(1, :coupons) i;
	INSERT INTO loyalty.coupon_code (code, shown, benefit, member_id, coupon_id) SELECT 'C' || i, 'C' || i, 'bench_unique', 1 + i % 100000, i FROM generate_series(1, :coupons) i;
	INSERT INTO hand_coupon (code, member_id) SELECT 'C' || i, 1 + i % 100000 FROM generate_series(1, :coupons) i;
	SELECT setval(pg_get_serial_sequence('loyalty.coupon', 'coupon_id'), :coupons) \g /dev/null
	VACUUM ANALYZE loyalty.coupon, loyalty.coupon_act, loyalty.coupon_code, hand_coupon;
SQL
cat >"$dir/redeem.sql" <<-'SQL'
	\set n :n + 1
	\set i :client_id * :coupons / 8 + :n
	\set m 1 + :i % 100000
	SELECT activity_id, discount FROM loyalty.record_activity(:m, 'order', amount => 50, codes => ARRAY['C' || :i]);
SQL
cat >"$dir/redeem_by_hand.sql" <<-'SQL'
	\set n :n + 1
	\set i :client_id * :coupons / 8 + :n
	\set m 1 + :i % 100000
	WITH c AS (UPDATE hand_coupon SET state = 'redeemed', redeemed_at = now() WHERE code = 'C' || :i AND member_id = :m AND state = 'issued' AND valid_until > now() RETURNING code),
		o AS (INSERT INTO hand_order (member_id, amount, discount) SELECT :m, 45, 5 FROM c RETURNING order_id)
	INSERT INTO hand_redemption (code, member_id, order_id) SELECT c.code, :m, o.order_id FROM c, o RETURNING redemption_id;
SQL
for commit in off on; do
	clients=$([ $commit = off ] && echo 1 || echo 8)
	PGOPTIONS="-c synchronous_commit=$commit" paired --what "coupon: a unique one redeemed with its order, $clients clients, synchronous_commit $commit" \
		--rival 'UPDATE and two INSERTs, one statement' --target '>= 0.80' --rounds "$ROUNDS" --before "$dir/reset.sql" \
		--set coupons="$coupons" --set n=0 --pgbench "-c $clients -j 2 -T 3 -M prepared" "$dir/redeem.sql" "$dir/redeem_by_hand.sql"
done

cat >"$dir/total.sql" <<-'SQL'
	\set m random(1, 100000)
	SELECT activity_id, discount FROM loyalty.record_activity(:m, 'order', amount => 50, codes => '{BENCHTOTAL}');
SQL
cat >"$dir/total_by_hand.sql" <<-'SQL'
	\set m random(1, 100000)
	WITH o AS (INSERT INTO hand_order (member_id, amount, discount) VALUES (:m, 45, 5) RETURNING order_id)
	INSERT INTO hand_redemption (code, member_id, order_id) SELECT 'BENCHTOTAL', :m, o.order_id FROM o RETURNING redemption_id;
SQL
PGOPTIONS='-c synchronous_commit=on' paired --what 'coupon: one total for everybody, synchronous, 8 clients' --rival 'the two INSERTs alone' --target '>= 0.75' \
	--rounds "$ROUNDS" --pgbench '-c 8 -j 2 -T 3 -M prepared' "$dir/total.sql" "$dir/total_by_hand.sql"

psql -Xq -v ON_ERROR_STOP=1 -v pool="$pool" -o /dev/null <<-'SQL'
	SELECT loyalty.add_codes('bench_pool', (SELECT array_agg('P' || md5(i::text)) FROM generate_series(1, :pool) i));
	INSERT INTO hand_pool SELECT 1, row_number() OVER (ORDER BY md5(i::text)), 'P' || md5(i::text) FROM generate_series(1, :pool) i;
	INSERT INTO hand_pool_head VALUES (1, 1, :pool);
	VACUUM ANALYZE loyalty.coupon_code, hand_pool;
SQL
cat >"$dir/draw.sql" <<-'SQL'
	\set m random(1, 100000)
	SELECT coupon_id, code FROM loyalty.issue_coupon(:m, 'bench_pool');
SQL
cat >"$dir/draw_by_hand.sql" <<-'SQL'
	\set m random(1, 100000)
	WITH u AS (UPDATE hand_pool_head SET next = next + 1 WHERE pool = 1 AND next <= n RETURNING next - 1 AS pos)
	INSERT INTO hand_claim (code, member_id) SELECT p.code, :m FROM u JOIN hand_pool p ON p.pool = 1 AND p.pos = u.pos RETURNING code;
SQL
draws()
{
	pgbench -n -c 8 -j 2 -T 5 -M prepared -f "$dir/draw.sql" | awk '/^tps/ { print $3 }'
}
first=$(draws)
paired --what 'coupon: a code drawn from a pool, 8 clients' --rival 'a counter row and two rows by hand' --rounds "$ROUNDS" \
	--pgbench '-c 8 -j 2 -T 3 -M prepared' "$dir/draw.sql" "$dir/draw_by_hand.sql"
PGOPTIONS='-c synchronous_commit=off' pgbench -n -c 8 -j 2 -t $((pool * 6 / 80)) -M prepared -f "$dir/draw.sql" >"$dir/log"
psql -Xq -v ON_ERROR_STOP=1 -c 'VACUUM loyalty.coupon_code, loyalty.coupon, loyalty.coupon_act, loyalty.escrow'
paired --what "coupon: a code of a pool, when most of $pool are gone, against the first" --value "$(draws)" --against "$first" --unit tps --rival 'the first' --target '>= 0.90'
psql -Xq -v ON_ERROR_STOP=1 -c 'DROP TABLE hand_order, hand_coupon, hand_redemption, hand_pool_head, hand_pool, hand_claim'
