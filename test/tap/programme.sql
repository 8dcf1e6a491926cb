-- A program with something of everything: for tests that need rows in every
-- room.  Statements end at the end of a line.
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup();
CREATE SCHEMA shop;
SET search_path = shop, loyalty;
SELECT create_currency('miles', 'Miles', 'rolling', '12 months', 'month');
SELECT create_currency('slide', expiry_policy => 'sliding', expiry_interval => '1 year', refund_grace => '10 days');
SELECT create_currency('fifo', consumption_order => 'oldest_first', clawback_policy => 'within_lot', expiry_policy => 'calendar', expiry_month => 12, expiry_day => 31);
SELECT configure_namespace('shop', max_per_member => 2), configure_namespace('tablet', shared => true), configure_namespace('openid', fold_case => false, merge_unverified => true);
SELECT member_id FROM generate_series(1, 12) i, resolve_member(jsonb_build_array(jsonb_build_object('namespace', 'email', 'value', format('m%s@x.example', i), 'verified', true),
	jsonb_build_object('namespace', 'shop', 'value', format('s%s', i)), jsonb_build_object('namespace', 'tablet', 'value', 't')), 'till', jsonb_build_object('name', format('Member %s', i)));
CREATE FUNCTION visits(member_id bigint, as_of timestamptz) RETURNS numeric LANGUAGE sql STABLE SET search_path = pg_catalog AS 'SELECT member_id % 5';
SELECT define_measure('miles_points', 'points', 'miles'), define_measure('spend', 'event'), define_measure('visits', 'function', function_name => 'shop.visits');
SELECT define_ladder('club', '{"measures": [{"measure": "miles_points", "window": "rolling", "interval": "12 months"}, {"measure": "spend", "window": "lifetime"}],
	"validity": "interval", "validity_interval": "12 months", "at_end": "soft_landing", "grace": "30 days",
	"levels": [{"level": "blue"}, {"level": "silver", "any": {"miles_points": 100, "spend": 50}}, {"level": "gold", "any": {"miles_points": 1000, "spend": 500}}]}');
SELECT define_ladder('guests', '{"measures": [{"measure": "visits", "window": "lifetime"}], "levels": [{"level": "guest"}, {"level": "friend", "all": {"visits": 3}}]}');
SELECT entry_id FROM unnest('{points,miles,slide,fifo}'::text[]) c, generate_series(1, 6) m, generate_series(1, 3) i, earn(m, 100 * i + m, c, timestamptz '2024-01-01' + i * interval '40 days' + m * interval '1 hour', idempotency_key => 'k' || i);
SELECT entry_id FROM unnest('{points,miles}'::text[]) c, generate_series(1, 4) m, earn(m, 50, c, '2024-05-01', pending => true);
SELECT entry_id FROM unnest('{points,miles,fifo}'::text[]) c, generate_series(1, 4) m, redeem(m, 30 + m, c, '2024-06-01', idempotency_key => 'r');
SELECT entry_id FROM unnest('{points,miles}'::text[]) c, generate_series(1, 4) m, generate_series(1, 2) i, hold(m, 10, '2040-01-01', c, effective_at => '2024-06-15');
SELECT record_qualification(m, 'spend', 100 * m, '2024-02-01', reference => 'order ' || m) FROM generate_series(3, 8) m;
SELECT grant_tier(5, 'club', 'gold', 'paid', now() - interval '30 days', period => '1 year', fee => 365), grant_tier(6, 'club', 'silver', 'manual'), grant_tier(7, 'club', 'gold', 'matched', period => '1 month', idempotency_key => 'g');
SELECT merge_members(1, 2, 'the same'), merge_members(3, 4);
SELECT unmerge_members(2);
SELECT merge_members(8, 9);
CREATE TABLE orders (order_id bigint PRIMARY KEY, member_id bigint, amount numeric, at timestamptz, status text);
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=orders', 'member=member_id', 'points=amount', 'at=at', 'currency=miles');
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION loyalty.record_from_row('source=orders', 'member=member_id', 'amount=amount', 'at=at');
SELECT define_product('T', 'drinks/tea', 'zeta', 'a');
SELECT define_campaign('base', '{"then": [{"points": {"give": 1, "per": 1}}]}', '2024-01-01');
SELECT record_activity(m, 'order', timestamptz '2024-02-01' + m * interval '1 hour', lines => '[{"sku": "T", "quantity": 3, "amount": 10}, {"sku": "B", "price": 2.5, "quantity": 2}]', external_id => 'o' || m, money => 'EUR', idempotency_key => 'a' || m) FROM generate_series(1, 8) m;
SELECT revise_activity(6, find_activity(6, 'order', 'o6'), to_member_id => 7);
SELECT define_benefit('tea', '{"kind": "coupon", "discount": {"percent": 10}, "valid": "60 years"}'), define_benefit('drawn', '{"kind": "coupon", "discount": {"amount": 5, "every": 20}, "codes": "pool"}'), define_benefit('generic', '{"kind": "coupon", "discount": {"free": {"sku": "T"}}, "codes": "generic", "times": 3, "total": 1000}');
SELECT add_codes('drawn', '{D1,D2,D3,D4,D5,D6,D7,D8}'), add_codes('generic', '{GENERIC}');
SELECT issue_coupon(m, b, '2024-01-01') FROM generate_series(1, 8) m, unnest('{tea,generic}'::text[]) b;
SELECT reserve_coupons(7, 'b', '{generic}', '2041-01-01', '2024-01-02');
SELECT record_activity(8, 'order', '2024-01-03', lines => '[{"sku": "T", "quantity": 1, "amount": 5}]', codes => '{generic}');
INSERT INTO orders SELECT i, 1 + i % 7, (i * 37 % 100) + 0.5, timestamptz '2024-01-01' + i * interval '30 hours', 'paid' FROM generate_series(1, 60) i;
CREATE TABLE history AS SELECT m AS member_id, 'points' AS currency, 10 * m AS points, timestamptz '2024-03-01' AS effective_at, 'h' || m AS idempotency_key FROM generate_series(20, 30) m;
CREATE VIEW done AS SELECT member_id, effective_at AS at, idempotency_key AS external_id FROM history;
CREATE TABLE series AS SELECT i FROM generate_series(1, 3000) i;
CREATE TABLE loyalty.brought (member_id bigint, note text);
CREATE FUNCTION on_merge(merge_id bigint, survivor_id bigint, absorbed_id bigint) RETURNS jsonb LANGUAGE sql SET search_path = pg_catalog AS $$ SELECT '{}'::jsonb $$;
SELECT register_merge_handler('brought', '{brought}', 'shop.on_merge');
SELECT define_rfm_scheme('mine', (SELECT definition FROM builtin_rfm_schemes() WHERE scheme = 'cn_8_quadrant'));
SELECT book_expiry(1, 'miles', now());
SELECT define_notice('soon', 'points_expiring', '30 days'), define_notice('other', 'hold_lapsing', '1 day');
SELECT define_goal('watched', '{"view": "wallet", "column": "available"}', '{1000}'), define_goal('unwatched', '{"view": "wallet", "of": "count"}', '{1}');
SELECT subscribe('reader', '{points_changed,member_created,soon}', 2), subscribe('leaver', '{member_created}');
SELECT define_benefit('uses', '{"kind": "entitlement", "quota": 100}'), define_benefit('lounge', '{"kind": "access"}'), define_benefit('mall', '{"kind": "payment", "points": 1, "worth": 1, "money": "EUR"}'),
	define_benefit('mug', '{"kind": "reward", "points": 1}'), define_benefit('kettle', '{"kind": "reward", "points": 1, "price": 5, "money": "EUR", "hold": "60 years"}'),
	define_benefit('member_day', '{"kind": "gift", "window": {"welcome": {"after": 150}}, "gives": {"points": 1}}'), define_benefit('card', '{"kind": "card", "currency": "slide"}');
SELECT use_entitlement(5, 'uses', 2, '2024-01-01', u) FROM unnest('{2040-01-01,NULL}'::timestamptz[]) u;
SELECT order_reward(5, r, 2, at => '2024-05-01') FROM unnest('{mug,kettle}'::text[]) r;
SELECT r.entry_id FROM issue_card('card', 500, '2024-01-01') c, redeem_card(c.code, 5, '2024-01-02') r;
SELECT join_household(household_id, 6, at => '2023-01-02'), earn(household_id, 100, effective_at => '2023-02-01') FROM create_household('Home', 5, '2023-01-01');
SELECT define_streak('daily', '{"kind": "order"}'), define_badge('founder', '{}'), define_badge('buyer', '{"kind": "order", "levels": [1, 2]}'), define_challenge('sprint', '{"kind": "order", "target": 2, "enrol": true, "within": "7 days"}'),
	define_board('top', '{"kind": "order", "measure": "amount", "period": "month", "time_zone": "UTC"}'), define_club('runners', '{}'), define_referral('friends', '{"within": "30 days"}'),
	define_draw('wheel', '{"prizes": [{"prize": "none", "weight": 3}, {"prize": "one", "weight": 1, "points": 1}]}', '00112233'), define_draw('drawn', '{"prizes": [{"prize": "none", "weight": 3}]}', '00'),
	define_journey('welcome', '{"start": {"kind": "order"}, "steps": [{"step": "a", "after": "3 days", "do": [{"points": 5}]}, {"step": "b", "after": "7 days", "list": true}]}');
SELECT enrol(m, 'sprint', '2023-12-01'), join_club(m, 'runners', '2023-12-01'), give_badge(m, 'founder', at => '2023-12-01'), grant_spin(m, 'wheel', 5, '2023-12-01'), grant_spin(m, 'drawn', 1, '2023-12-01') FROM generate_series(5, 8) m;
SELECT draw(5, d, at => '2024-01-02') FROM unnest('{wheel,drawn}'::text[]) d;
SELECT reveal_draw('drawn'), create_referral_code(5, 'friends', 'ANNA');
SELECT refer(7, 'ANNA', '2024-01-01');
SELECT define_label('vegan'), define_label('city', 'single'), define_label_rule('came', '{"label": "city", "from": "joined_via"}'), define_purpose('news', '{"*": "opt_out"}'), define_list('guests', '{5,6,7}', at => '2023-01-01');
SELECT set_label(5, 'vegan', valid_from => '2023-01-01'), set_consent(6, 'email', 'news', false, '2023-01-01'), define_audience('vip', '{"label": "vegan"} | guests', '2023-01-01');
SELECT define_trial('spring', '{"shares": [0.5, 0.5]}', '2023-01-01', '2025-01-01');
SELECT expose(5, 'spring', 'till', '2023-06-01'), set_channel_cost('till', '2023-01-01', '2025-01-01', 10);
SELECT set_point_value('points', 0.01), set_redemption_estimate('points', 0.8);
SELECT close_month('points', '2024-01-01');
SELECT configure_namespace('crm'), define_match('person', '{"fields": {"given": "name", "surname": "name", "born": "date"}}');
SELECT member_id FROM generate_series(1, 90) i, resolve_member(jsonb_build_object('crm', i), 'till', jsonb_build_object('given', substr(md5('g' || i % 60 % 20), 1, 6), 'surname', substr(md5('s' || i % 60 % 43), 1, 7), 'born', date '1950-01-01' + i % 60 * 137));
CREATE TABLE persons AS SELECT m.member_id, m.attributes ->> 'given' AS given, m.attributes ->> 'surname' AS surname, m.attributes ->> 'born' AS born FROM loyalty.member m WHERE m.attributes ? 'given';
CALL refresh_engagements();
CALL find_duplicates('person');
CALL refresh_audience('vip', '2024-01-01');
CALL evaluate_tiers();
CALL book_expiries();
