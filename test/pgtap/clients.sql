-- What clients meet, whatever the room: settings of the program, definitions
-- that are given twice, values that every driver can read.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SELECT no_plan();

-- ---------------------------------------------------------------------------
-- The time zone of the program
-- ---------------------------------------------------------------------------

SELECT is(loyalty.program_time_zone(), 'UTC', 'before setup() the time zone is UTC');
SELECT FROM loyalty.setup();
SET timezone = 'Asia/Tokyo';	-- no answer below depends on it
SELECT is(loyalty.program_time_zone(), 'UTC', 'and after it, until it is set');

SELECT FROM loyalty.create_currency('before', expiry_policy => 'rolling', expiry_interval => '1 day', expiry_rounding => 'day');
SELECT FROM loyalty.define_measure('before_points', 'points', 'before');
SELECT FROM loyalty.define_ladder('before', '{"measures": [{"measure": "before_points", "window": "lifetime"}], "levels": [{"level": "base"}]}');
SELECT throws_ok($$SELECT loyalty.configure_program(time_zone => 'Mars/Olympus')$$, 'LY003', NULL, 'it must exist');
SELECT throws_ok($$UPDATE loyalty.program SET time_zone = 'Mars/Olympus'$$, 'LY003', NULL, 'also by UPDATE');
SELECT throws_ok($$INSERT INTO loyalty.program (only_one, time_zone) VALUES (false, 'UTC')$$, '23514', NULL, 'there is one row');
SELECT is(loyalty.configure_program(time_zone => 'America/New_York'), 'America/New_York', 'configure_program() sets it');
SELECT is(loyalty.configure_program(), 'America/New_York', 'and leaves what is not given');
SELECT is(loyalty.program_time_zone(), 'America/New_York', 'every session knows it');

SELECT FROM loyalty.create_currency('after', expiry_policy => 'rolling', expiry_interval => '1 day', expiry_rounding => 'day');
SELECT FROM loyalty.create_currency('own', expiry_policy => 'rolling', expiry_interval => '1 day', expiry_rounding => 'day', time_zone => 'Europe/Berlin');
UPDATE loyalty.currency SET expiry_policy = 'rolling', expiry_interval = '1 day', expiry_rounding = 'day' WHERE code = 'points';
-- 2024-01-15 23:30 in UTC is the 16th in Berlin and the 15th in New York: one
-- day later, rounded up to the end of that day
SELECT FROM unnest('{before,after,own,points}'::text[]) currency, loyalty.earn(1, 10, currency, '2024-01-15 23:30Z');
SELECT is((SELECT l.expires_at FROM loyalty.lots(1, currency, '2024-01-15 23:30Z') l),
	expires_at::timestamptz, 'currency ' || currency)
FROM (VALUES ('before', '2024-01-17 00:00Z'), ('after', '2024-01-17 05:00Z'), ('own', '2024-01-17 23:00Z'), ('points', '2024-01-17 05:00Z')) v (currency, expires_at);

SELECT FROM loyalty.define_ladder('after', '{"measures": [{"measure": "before_points", "window": "lifetime"}], "levels": [{"level": "base"}]}');
SELECT FROM loyalty.define_ladder('own', '{"time_zone": "Europe/Berlin", "measures": [{"measure": "before_points", "window": "lifetime"}], "levels": [{"level": "base"}]}');
SELECT results_eq($$SELECT ladder, definition ->> 'time_zone' FROM loyalty.ladder_version ORDER BY ladder COLLATE "C"$$,
	$$VALUES ('after', 'America/New_York'), ('before', 'UTC'), ('own', 'Europe/Berlin')$$, 'a ladder keeps the time zone that it was defined in');

-- 2024-01-15 03:00 in UTC is the evening of Sunday the 14th in New York
SELECT is(loyalty.first_active(loyalty.activity_agg('2024-01-15 03:00Z', 'day', NULL)), '2024-01-14', 'activity_agg() without a zone');
SELECT matches(loyalty.preferred_hour_agg('2024-01-15 03:00Z', NULL)::text, '^\(22,', 'preferred_hour_agg() without a zone');
SELECT matches(loyalty.preferred_weekday_agg('2024-01-15 03:00Z', NULL)::text, '^\(7,', 'preferred_weekday_agg() without a zone');
RESET timezone;

SELECT * FROM finish();
