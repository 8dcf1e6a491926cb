# What activities earn: record_activity() with 20 campaigns, of which 5 match,
# against the best function in PL/pgSQL that was found with the same rules
# written out; against the bare INSERT; with 200 campaigns.  campaign_points()
# over orders as documents, and a back-test with a cap and a budget, against the
# SELECTs that a good engineer would write, the latter without them.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
psql -Xq -v ON_ERROR_STOP=1 -v members="$MEMBERS" -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	DROP SCHEMA IF EXISTS rec CASCADE;
	CREATE SCHEMA rec;
	SET search_path = rec, public;
	CREATE TABLE activity (activity_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, member_id bigint NOT NULL, kind text NOT NULL,
		external_id text NOT NULL, at timestamptz NOT NULL, recorded_at timestamptz NOT NULL DEFAULT now(), amount numeric NOT NULL,
		lines jsonb NOT NULL, attributes jsonb NOT NULL, idempotency_key uuid NOT NULL, UNIQUE (member_id, idempotency_key));
	CREATE TABLE bare (LIKE activity INCLUDING ALL);
	CREATE TABLE wallet (member_id bigint PRIMARY KEY, balance bigint NOT NULL DEFAULT 0, orders int NOT NULL DEFAULT 0, tier text NOT NULL) WITH (fillfactor = 70);
	CREATE TABLE entry (entry_id bigint GENERATED ALWAYS AS IDENTITY, member_id bigint NOT NULL, day date NOT NULL, points bigint NOT NULL,
		balance_after bigint NOT NULL, activity_id bigint NOT NULL, PRIMARY KEY (member_id, day, entry_id));
	CREATE TABLE award (activity_id bigint, rule_no int, wanted bigint NOT NULL, given bigint NOT NULL, PRIMARY KEY (activity_id, rule_no));
	CREATE TABLE budget (rule_no int, slice int, spent bigint NOT NULL DEFAULT 0, total bigint NOT NULL, PRIMARY KEY (rule_no, slice)) WITH (fillfactor = 20);
	INSERT INTO budget SELECT 19, s, 0, 1000000000 FROM generate_series(0, 15) s;
	INSERT INTO wallet SELECT i, 0, 1, 'basic' FROM generate_series(1, :members) i;
	-- the wallets of either side are there before
	SELECT count(*) FROM (SELECT loyalty.earn(i, 1) FROM generate_series(1, :members) i WHERE NOT EXISTS (SELECT FROM loyalty.wallet w WHERE w.member_id = i)) x;
SQL
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null <<'SQL'
SET search_path = rec, public;
create function record_order(m bigint, key uuid, ext text, t timestamptz, amt numeric, ln jsonb, att jsonb,
  out activity_id bigint, out points bigint, out replayed boolean) language plpgsql as $$
#variable_conflict use_column
declare v_id bigint; tier text; n int; room bigint; g bigint; dow int; d date := (t at time zone 'UTC')::date; x text;
  tea numeric; coffee numeric; mug numeric; acme numeric; qty numeric; p bigint[]; rs int[]; ws bigint[]; gs bigint[];
begin
  replayed := false; points := 0;
  insert into activity (member_id, kind, external_id, at, amount, lines, attributes, idempotency_key)
    values (m, 'order', ext, t, amt, ln, att, key) on conflict (member_id, idempotency_key) do nothing returning activity_id into v_id;
  if v_id is null then
    replayed := true;
    select a.activity_id, coalesce((select sum(given) from award w where w.activity_id = a.activity_id), 0)
      into activity_id, points from activity a where member_id = m and idempotency_key = key;
    return;
  end if;
  activity_id := v_id;
  select w.tier, w.orders into strict tier, n from wallet w where member_id = m for update;
  select 500 - coalesce(sum(e.points), 0) into room from entry e where member_id = m and day = d;
  select coalesce(sum(amount) filter (where category = 'tea'), 0), coalesce(sum(amount) filter (where category = 'coffee'), 0),
         coalesce(sum(amount) filter (where category = 'mug'), 0), coalesce(sum(amount) filter (where brand = 'acme'), 0), coalesce(sum(quantity), 0)
    into tea, coffee, mug, acme, qty from jsonb_to_recordset(ln) l(category text, brand text, quantity numeric, amount numeric);
  dow := extract(isodow from d); x := att->>'channel';
  p := array[floor(amt),
    case when tier = 'gold' then floor(amt) end,
    case when amt >= 100 then 50 end,
    floor(tea * 2), floor(coffee * 3),
    case when mug > 0 then 20 end,
    case when dow = 2 then floor(amt * .5) end,
    case when n = 0 then 200 end,
    case when dow = 6 then 10 end,
    floor(acme),
    case when amt >= 500 then 300 end,
    case when amt >= 1000 then 800 end,
    case when tier = 'silver' then floor(amt * .5) end,
    case when tier = 'platinum' then floor(amt * 2) end,
    case when x = 'app' then 15 end,
    case when x = 'store' then 5 end,
    case when att->>'store' = 'berlin' then 25 end,
    case when qty >= 10 then 40 end,
    case when amt >= 50 and tea > 0 then 30 end,
    case when amt >= 20 and att->>'payment' = 'card' and att->>'country' = 'DE' then 5 end];
  for i in 1..20 loop
    if p[i] > 0 then
      g := greatest(0, least(p[i], room));
      if i = 19 and g > 0 then
        update budget set spent = spent + g where rule_no = 19 and slice = m & 15 and spent + g <= total;
        if not found then g := 0; end if;
      end if;
      room := room - g; points := points + g; rs := rs || i; ws := ws || p[i]; gs := gs || g;
    end if;
  end loop;
  with u as (update wallet set balance = balance + points, orders = orders + 1 where member_id = m returning balance),
       a as (insert into award select v_id, * from unnest(rs, ws, gs))
  insert into entry (member_id, day, points, balance_after, activity_id) select m, d, points, balance, v_id from u;
end $$;

SQL
# the same rules as campaigns; the cap is one limit that they share
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	SELECT loyalty.define_activity_kind(k) FROM unnest('{bench_order,bench_many}'::text[]) k;
	CREATE TABLE rec.campaign AS
	SELECT * FROM (VALUES
		('r01', NULL, '{"points": {"give": 1, "per": 1}}'), ('r02', '{"attribute": {"tier": ["gold"]}}', '{"points": {"give": 1, "per": 1}}'),
		('r03', '{"amount": {">=": 100}}', '{"points": 50}'), ('r04', '{"lines": {"category": ["tea"]}}', '{"points": {"give": 2, "per": 1}, "over": "matching_lines"}'),
		('r05', '{"lines": {"category": ["coffee"]}}', '{"points": {"give": 3, "per": 1}, "over": "matching_lines"}'), ('r06', '{"lines": {"category": ["mug"]}}', '{"points": 20}'),
		('r07', '{"weekday": [2]}', '{"points": {"give": 0.5, "per": 1}}'), ('r08', '{"count": {"kind": "bench_order", "within": "lifetime", "=": 0}, "channel": ["kiosk"]}', '{"points": 200}'),
		('r09', '{"weekday": [6]}', '{"points": 10}'), ('r10', '{"lines": {"brand": ["acme"]}}', '{"points": {"give": 1, "per": 1}, "over": "matching_lines"}'),
		('r11', '{"amount": {">=": 500}}', '{"points": 300}'), ('r12', '{"amount": {">=": 1000}}', '{"points": 800}'),
		('r13', '{"attribute": {"tier": ["silver"]}}', '{"points": {"give": 0.5, "per": 1}}'), ('r14', '{"attribute": {"tier": ["platinum"]}}', '{"points": {"give": 2, "per": 1}}'),
		('r15', '{"channel": ["app"]}', '{"points": 15}'), ('r16', '{"channel": ["store"]}', '{"points": 5}'), ('r17', '{"path": "$.store == \"berlin\""}', '{"points": 25}'),
		('r18', '{"lines": {"quantity": {">=": 10}}}', '{"points": 40}'), ('r19', '{"amount": {">=": 50}, "lines": {"category": ["tea"]}}', '{"points": 30}'),
		('r20', '{"amount": {">=": 20}, "path": "$.payment == \"card\" && $.country == \"DE\""}', '{"points": 5}')) v (code, cond, effect);
	SELECT loyalty.define_campaign(code, jsonb_strip_nulls(jsonb_build_object('on', '["bench_order"]'::jsonb, 'when', cond::jsonb, 'then', jsonb_build_array(effect::jsonb),
		'limits', CASE code WHEN 'r19' THEN '{"member": {"points": 500, "within": "day", "name": "bench"}, "total": {"points": 16000000000}}'::jsonb
			ELSE '{"member": {"points": 500, "within": "day", "name": "bench"}}' END)), '2020-01-01') FROM rec.campaign;
	SELECT loyalty.define_campaign(code || '_' || n, jsonb_strip_nulls(jsonb_build_object('on', '["bench_many"]'::jsonb,
		'when', CASE WHEN n = 1 THEN cond::jsonb ELSE jsonb_build_object('all', jsonb_build_array('{"channel": ["nowhere"]}'::jsonb, coalesce(cond::jsonb, '{"amount": {">=": 0}}'))) END,
		'then', jsonb_build_array(effect::jsonb), 'limits', '{"member": {"points": 500, "within": "day", "name": "bench"}}'::jsonb)), '2020-01-01')
	FROM rec.campaign, generate_series(1, 10) n;
SQL
lines='[{"sku": "T1", "category": "tea", "brand": "zeta", "quantity": 2, "amount": 80.00}, {"sku": "B7", "category": "book", "brand": "zeta", "quantity": 1, "amount": 40.00}]'
attributes='{"channel": "app", "store": "wien", "payment": "cash", "country": "DE"}'
at="'2025-01-01 10:00+00'::timestamptz + :week * interval '7 days'"
cat >"$dir/hand.sql" <<-SQL
	\set member random(1, :members)
	\set week random(0, 90)
	SELECT * FROM rec.record_order(:member, gen_random_uuid(), gen_random_uuid()::text, $at, 120.00, '$lines', '$attributes');
SQL
cat >"$dir/bare.sql" <<-SQL
	\set member random(1, :members)
	\set week random(0, 90)
	INSERT INTO rec.bare (member_id, kind, external_id, at, amount, lines, attributes, idempotency_key)
	VALUES (:member, 'order', gen_random_uuid()::text, $at, 120.00, '$lines', '$attributes', gen_random_uuid()) RETURNING activity_id;
SQL
for kind in bench_order bench_many; do
	cat >"$dir/$kind.sql" <<-SQL
		\set member random(1, :members)
		\set week random(0, 90)
		SELECT * FROM loyalty.record_activity(:member, '$kind', $at, 120.00, '$lines', 'app', '$attributes', gen_random_uuid()::text, idempotency_key => gen_random_uuid()::text);
	SQL
done
measure() { PGOPTIONS='-c search_path=rec,public' paired --rounds "$ROUNDS" --set members="$MEMBERS" --pgbench '-c 8 -j 2 -T 10 -M prepared' "$@"; }
psql -Xq -c 'ALTER SYSTEM SET synchronous_commit = off' -c 'SELECT pg_reload_conf()' -o /dev/null
measure --what 'record_activity(), 20 campaigns, 5 match' --rival 'the rules in PL/pgSQL' --target '>= 1.4' "$dir/bench_order.sql" "$dir/hand.sql"
measure --what 'record_activity(), 20 campaigns, 5 match' --rival 'bare INSERT' --target '>= 0.33' "$dir/bench_order.sql" "$dir/bare.sql"
measure --what 'record_activity(), 200 campaigns, 5 match' --rival 'with 20' --target '>= 0.8' "$dir/bench_many.sql" "$dir/bench_order.sql"
psql -Xq -c 'ALTER SYSTEM SET synchronous_commit = on' -c 'SELECT pg_reload_conf()' -o /dev/null

# 200,000 orders as documents, and beside them what is known of the member, for
# either side as it wants it; both add up the points of all, and come to the same
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	SET search_path = rec, public;
	CREATE FUNCTION h(i bigint, k bigint) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $$ SELECT (hashint8extended(i, k) & 9007199254740991) / 9007199254740992.0::double precision $$;
	CREATE TABLE doc AS
	SELECT i::bigint AS order_id, 1 + (h(i, 9) * 99999)::bigint AS member_id, timestamptz '2025-01-01 10:00+00' + i * interval '2 minutes' AS at,
		jsonb_build_object('amount', round((h(i, 1) * h(i, 2) * 1500)::numeric, 2), 'channel', (ARRAY['app','store','web'])[1 + i % 3], 'lines', jsonb_build_array(
			jsonb_build_object('category', (ARRAY['tea','coffee','mug','book'])[1 + (h(i, 3) * 4)::int % 4], 'brand', (ARRAY['acme','zeta'])[1 + i % 2], 'quantity', 1 + i % 12, 'amount', 0.01 + round((h(i, 4) * 90)::numeric, 2)),
			jsonb_build_object('category', 'book', 'brand', 'zeta', 'quantity', 1, 'amount', 10))) AS head,
		jsonb_build_object('store', (ARRAY['berlin','wien'])[1 + i % 2], 'payment', (ARRAY['card','cash'])[1 + i % 2], 'country', 'DE') AS rest
	FROM generate_series(1, 200000) i;
	ALTER TABLE doc ADD COLUMN tier text, ADD COLUMN n bigint, ADD COLUMN body jsonb, ADD COLUMN activity jsonb, ADD COLUMN member jsonb;
	UPDATE doc SET body = head || rest, activity = head || jsonb_build_object('at', at, 'time_zone', 'UTC', 'document', rest), tier = k.tier, n = k.n,
		member = jsonb_build_object('attributes', jsonb_build_object('tier', k.tier), 'count', jsonb_build_object('order', jsonb_build_object('lifetime', k.n)))
	FROM (SELECT order_id, (ARRAY['basic','silver','gold','platinum'])[1 + member_id % 4] AS tier, row_number() OVER (PARTITION BY member_id ORDER BY at, order_id) - 1 AS n FROM doc) k
	WHERE doc.order_id = k.order_id;
	ALTER TABLE doc DROP COLUMN head, DROP COLUMN rest, ADD PRIMARY KEY (order_id);
	VACUUM FULL ANALYZE doc;
	CREATE FUNCTION rules(amt numeric, tea numeric, coffee numeric, mug numeric, acme numeric, qty numeric, tier text, dow int, n bigint, channel text, store text, payment text, country text)
	RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY[floor(amt), CASE WHEN tier = 'gold' THEN floor(amt) END,
		CASE WHEN amt >= 100 THEN 50 END, floor(tea * 2), floor(coffee * 3), CASE WHEN mug > 0 THEN 20 END, CASE WHEN dow = 2 THEN floor(amt * .5) END,
		CASE WHEN n = 0 THEN 200 END, CASE WHEN dow = 6 THEN 10 END, floor(acme), CASE WHEN amt >= 500 THEN 300 END, CASE WHEN amt >= 1000 THEN 800 END,
		CASE WHEN tier = 'silver' THEN floor(amt * .5) END, CASE WHEN tier = 'platinum' THEN floor(amt * 2) END, CASE WHEN channel = 'app' THEN 15 END,
		CASE WHEN channel = 'store' THEN 5 END, CASE WHEN store = 'berlin' THEN 25 END, CASE WHEN qty >= 10 THEN 40 END, CASE WHEN amt >= 50 AND tea > 0 THEN 30 END,
		CASE WHEN amt >= 20 AND payment = 'card' AND country = 'DE' THEN 5 END]::bigint[] $$;
	CREATE VIEW d_jsonb AS
	SELECT order_id, rules(amt, tea, coffee, mug, acme, qty, tier, dow, n, body->>'channel', body->>'store', body->>'payment', body->>'country') AS p FROM (
		SELECT order_id, body, (body->>'amount')::numeric AS amt, tier, extract(isodow FROM at AT TIME ZONE 'UTC')::int AS dow, n, l.*
		FROM doc, LATERAL (SELECT coalesce(sum(amount) FILTER (WHERE category = 'tea'), 0) AS tea, coalesce(sum(amount) FILTER (WHERE category = 'coffee'), 0) AS coffee,
			coalesce(sum(amount) FILTER (WHERE category = 'mug'), 0) AS mug, coalesce(sum(amount) FILTER (WHERE brand = 'acme'), 0) AS acme, sum(quantity) AS qty
			FROM jsonb_to_recordset(body->'lines') l (category text, brand text, quantity numeric, amount numeric)) l OFFSET 0) q;
	CREATE TABLE definitions AS
	SELECT jsonb_object_agg(code, jsonb_strip_nulls(jsonb_build_object('then', jsonb_build_array(effect::jsonb), 'when',
		CASE code WHEN 'r08' THEN '{"count": {"kind": "order", "within": "lifetime", "=": 0}}' ELSE cond::jsonb END))) AS definitions FROM campaign;
SQL
cat >"$dir/decide.sql" <<-'SQL'
	SELECT definitions FROM rec.definitions \gset
	\timing on
	SELECT sum(loyalty.campaign_points(:'definitions', activity, member)) FROM rec.doc;
SQL
cat >"$dir/written_out.sql" <<-'SQL'
	\timing on
	SELECT sum((SELECT sum(x) FROM unnest(p) x)) FROM rec.d_jsonb;
SQL
[ "$(psql -XqAt -f "$dir/decide.sql" | head -1)" = "$(psql -XqAt -f "$dir/written_out.sql" | head -1)" ]
paired --what 'campaign_points(), 20 campaigns, 200,000 orders' --rival 'the rules in one SELECT' --target '<= 0.35' --rounds "$ROUNDS" \
	"$dir/decide.sql" "$dir/written_out.sql"

# a million orders, some of members who come several times a day
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null <<-'SQL'
	TRUNCATE loyalty.activity, loyalty.activity_revision;
	INSERT INTO loyalty.activity (member_id, kind, at, local_day, time_zone, amount, recorded_at, revised_at)
	SELECT CASE WHEN i % 10 = 0 THEN 1 + (1 + (rec.h(i, 1) ^ 2 * 99999)::bigint) % 300 ELSE 1 + (rec.h(i, 1) ^ 2 * 99999)::bigint END,
		'order', t, t::date, 'UTC', round((10 + rec.h(i, 3) * rec.h(i, 4) * 600)::numeric, 2), t, t
	FROM generate_series(1, 1000000) i, LATERAL (SELECT timestamptz '2025-01-01' + floor(rec.h(i, 2) * 365 * 86400) * interval '1 second' AS t) x;
	VACUUM ANALYZE loyalty.activity;
SQL
cat >"$dir/backtest.sql" <<-'SQL'
	\timing on
	SELECT count(*), sum(points_then) FROM loyalty.backtest_campaigns('{"base": {"limits": {"member": {"points": 500, "within": "day"}, "total": {"points": 100000000}},
		"then": [{"points": {"give": 1, "per": 1}}]}, "bonus": {"when": {"amount": {">=": 100}}, "then": [{"points": 50}]}}', kinds => '{order}');
SQL
cat >"$dir/uncapped.sql" <<-'SQL'
	\timing on
	SELECT count(*), sum(points) FROM (SELECT member_id, sum(floor(amount) + CASE WHEN amount >= 100 THEN 50 ELSE 0 END) AS points
		FROM loyalty.activity WHERE kind = 'order' AND NOT cancelled GROUP BY member_id) t;
SQL
paired --what 'backtest_campaigns(), a million orders, a cap and a budget' --rival 'SELECT without them' --target '<= 1.5' --rounds "$ROUNDS" \
	"$dir/backtest.sql" "$dir/uncapped.sql"
psql -Xq -o /dev/null -c 'TRUNCATE loyalty.activity, loyalty.award, loyalty.award_counter, loyalty.award_state' -c 'DROP SCHEMA rec CASCADE'
