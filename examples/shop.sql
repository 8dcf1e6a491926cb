-- The shop that the programs here talk to: loyalty with one campaign, a table of
-- orders, and a role for the application.
--
--	createdb shop && psql -X -v ON_ERROR_STOP=1 -f examples/shop.sql shop
--
-- It may be run again, as any migration.  Each program expects the database as this
-- file leaves it; another run wants another database.
CREATE EXTENSION IF NOT EXISTS loyalty CASCADE;
SELECT loyalty.setup();
SELECT loyalty.configure_program(time_zone => 'Europe/London');
-- a point for each whole unit of money of an order
SELECT loyalty.define_campaign('base', '{"then": [{"points": {"give": 1, "per": 1}}]}', effective_from => '2026-01-01Z');

CREATE TABLE IF NOT EXISTS public.shop_order (
	order_id bigint PRIMARY KEY,
	member_id bigint NOT NULL,
	total numeric(12, 2) NOT NULL,
	placed_at timestamptz NOT NULL
);

-- What the application is: it may post, and take orders; no more.
DO $$
BEGIN
	CREATE ROLE shop LOGIN;
EXCEPTION WHEN duplicate_object THEN
	NULL;
END $$;
SELECT loyalty.grant_access('shop', 'app');
GRANT SELECT, INSERT ON public.shop_order TO shop;
