-- The shop as an API: what PostGraphile makes GraphQL of, and PostgREST would make REST of.
--
--	psql -X -v ON_ERROR_STOP=1 -f examples/shop_api.sql shop
--
-- Publish a schema of yours, which says what callers may ask: of schema loyalty there would be the tables and no
-- function, since those belong to an extension.  A mutation is one function, and so one transaction: the order
-- and its points are one commit.  The functions have the rights of the role that the server connects as.
--
-- This one is for a back end that knows who asks.  Where callers are the members themselves, let functions take
-- the member from what the server has verified (current_setting('jwt.claims.member_id')), never as an argument.
CREATE SCHEMA IF NOT EXISTS shop_api;
GRANT USAGE ON SCHEMA shop_api TO shop;

CREATE OR REPLACE FUNCTION shop_api.join_member(email text, name text) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
	SELECT member_id FROM loyalty.resolve_member(jsonb_build_object('email', email), 'web', jsonb_build_object('name', name));
$$;
COMMENT ON FUNCTION shop_api.join_member IS 'The number of the member with this address, who is made where there is none.';

CREATE OR REPLACE FUNCTION shop_api.member(member_id bigint) RETURNS jsonb
LANGUAGE sql STABLE AS $$
	SELECT m.attributes FROM loyalty.member m WHERE m.member_id = $1;
$$;
COMMENT ON FUNCTION shop_api.member IS 'What is known of a member.';

CREATE OR REPLACE FUNCTION shop_api.place_order(member_id bigint, order_id bigint, total numeric, placed_at timestamptz, lines jsonb,
	OUT points bigint, OUT replayed boolean)
LANGUAGE sql VOLATILE AS $$
	INSERT INTO public.shop_order (order_id, member_id, total, placed_at)
	VALUES ($2, $1, $3, $4) ON CONFLICT (order_id) DO NOTHING;
	SELECT r.points, r.replayed
	FROM loyalty.record_activity($1, 'order', $4, lines => $5, external_id => $2::text, idempotency_key => format('order %s', $2)) r;
$$;
COMMENT ON FUNCTION shop_api.place_order IS 'Takes an order, and says what it earned. The same call again gets the same answer.';

CREATE OR REPLACE FUNCTION shop_api.pay_with_points(member_id bigint, order_id bigint, total numeric, placed_at timestamptz, points bigint)
RETURNS bigint
LANGUAGE sql VOLATILE AS $$
	INSERT INTO public.shop_order (order_id, member_id, total, placed_at)
	VALUES ($2, $1, $3, $4) ON CONFLICT (order_id) DO NOTHING;
	SELECT r.available FROM loyalty.redeem($1, $5, reference => $2::text, idempotency_key => format('payment %s', $2)) r;
$$;
COMMENT ON FUNCTION shop_api.pay_with_points IS 'Takes an order that is paid with points: without the points there is no order. Returns what is left of them.';

CREATE OR REPLACE FUNCTION shop_api.orders() RETURNS TABLE (order_id bigint, total numeric)
LANGUAGE sql STABLE AS $$
	SELECT o.order_id, o.total FROM public.shop_order o ORDER BY o.order_id;
$$;
COMMENT ON FUNCTION shop_api.orders IS 'All orders.';

CREATE OR REPLACE FUNCTION shop_api.balance(member_id bigint, OUT available bigint, OUT held bigint, OUT next_expiry_at timestamptz)
LANGUAGE sql STABLE AS $$
	SELECT b.available, b.held, b.next_expiry_at FROM loyalty.balance($1) b;
$$;
COMMENT ON FUNCTION shop_api.balance IS 'What a member can redeem, what is set aside, and when the next points expire: null is never.';

CREATE OR REPLACE FUNCTION shop_api.statement(member_id bigint)
RETURNS TABLE (effective_at timestamptz, kind text, points bigint, reference text)
LANGUAGE sql STABLE AS $$
	SELECT s.effective_at, s.kind, s.points, s.reference FROM loyalty.statement($1) s;
$$;
COMMENT ON FUNCTION shop_api.statement IS 'A member''s entries.';

CREATE OR REPLACE FUNCTION shop_api.hold(member_id bigint, points bigint, until timestamptz, key text, OUT hold_id bigint, OUT available bigint)
LANGUAGE sql VOLATILE AS $$
	SELECT r.entry_id, r.available FROM loyalty.hold($1, $2, $3, idempotency_key => $4) r;
$$;
COMMENT ON FUNCTION shop_api.hold IS 'Sets points aside until an instant. Nobody has to release them: a hold lapses by itself.';

CREATE OR REPLACE FUNCTION shop_api.capture(member_id bigint, hold_id bigint, points bigint, key text) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
	SELECT r.available FROM loyalty.capture($1, $2, $3, idempotency_key => $4) r;
$$;
COMMENT ON FUNCTION shop_api.capture IS 'Takes what was set aside; what is not taken is free again. Returns what can be redeemed then.';
