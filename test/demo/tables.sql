-- The shop's own tables, as they might be before anybody thought of points.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE SCHEMA shop;

-- what the file says, line by line
CREATE UNLOGGED TABLE shop.staging (
	invoice text,
	stock_code text,
	description text,
	quantity integer,
	at timestamptz,
	unit_price numeric,
	customer_id numeric,
	country text
);

CREATE TABLE shop.orders (
	invoice text PRIMARY KEY,
	member_id bigint NOT NULL,
	at timestamptz NOT NULL,
	amount numeric NOT NULL
);

CREATE TABLE shop.order_line (
	invoice text NOT NULL,
	member_id bigint NOT NULL,
	at timestamptz NOT NULL,
	stock_code text NOT NULL,
	quantity integer NOT NULL,
	amount numeric NOT NULL
);

-- one row for each line that came back, with the order it is held to be of
CREATE TABLE shop.return_line (
	invoice text NOT NULL,
	member_id bigint NOT NULL,
	at timestamptz NOT NULL,
	stock_code text NOT NULL,
	quantity integer NOT NULL,
	amount numeric NOT NULL,
	of_invoice text
);

-- the points to take back, one row for each return and order
CREATE TABLE shop.clawback (
	invoice text NOT NULL,
	of_invoice text NOT NULL,
	member_id bigint NOT NULL,
	at timestamptz NOT NULL,
	points bigint NOT NULL
);
