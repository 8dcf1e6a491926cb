-- tier: windows, clocks, program.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
SELECT no_plan();

-- ---------------------------------------------------------------------------
-- The timeline of a few facts, as one line: "level@start event/reason, ..."
-- ---------------------------------------------------------------------------

CREATE FUNCTION line(facts text, definition text, as_of timestamptz) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s@%s %s', coalesce(t.level, '-'),
		to_char(t.starts_at AT TIME ZONE coalesce(definition::jsonb->>'time_zone', 'UTC'), 'YYYY-MM-DD HH24:MI'), t.event), ', ' ORDER BY t.starts_at)
	FROM loyalty.tier_timeline(
		-- "2024-01-31 00:00 100; ..."; a return: "2024-02-01 00:00 -100 of 2024-01-31 00:00"
		(SELECT loyalty.tier_facts_agg('m', p[1]::timestamp AT TIME ZONE z, p[2]::numeric, p[3]::timestamp AT TIME ZONE z)
			FROM (SELECT coalesce(definition::jsonb->>'time_zone', 'UTC')) q(z),
				regexp_split_to_table(facts, '\s*;\s*') f, LATERAL regexp_match(f, '^(\S+ \S+) (-?[\d.]+)(?: of (.*))?$') p),
		definition::jsonb || '{"levels": [{"level": "a", "all": {"m": 100}}, {"level": "b", "all": {"m": 200}}]}'
			|| CASE WHEN definition::jsonb ? 'measures' THEN '{}' ELSE '{"measures": [{"measure": "m", "window": "rolling", "interval": "1 year"}]}' END::jsonb, as_of) t
$$;
CREATE TABLE timeline_case (name text, facts text, definition text, as_of text, expected text);
INSERT INTO timeline_case VALUES
	-- boundaries: half-open
	('the end is exact', '2024-01-10 08:30 100', '{"validity": "interval", "validity_interval": "1 year"}', '2025-01-10 08:29:59.999999',
		'a@2024-01-10 08:30 enrolled'),
	('at the end it is over; its own fact is out of the window', '2024-01-10 08:30 100', '{"validity": "interval", "validity_interval": "1 year"}', '2025-01-10 08:30',
		'a@2024-01-10 08:30 enrolled, -@2025-01-10 08:30 expired'),
	('a fact a microsecond before the end renews', '2024-01-10 08:30 100; 2025-01-10 08:29:59.999999 100', '{"validity": "interval", "validity_interval": "1 year"}', '2025-02-01',
		'a@2024-01-10 08:30 enrolled, b@2025-01-10 08:29 upgraded'),
	('a fact at the end belongs to the time after it', '2024-01-10 08:30 100; 2025-01-10 08:30 100', '{"validity": "interval", "validity_interval": "1 year"}', '2025-02-01',
		'a@2024-01-10 08:30 enrolled, a@2025-01-10 08:30 enrolled'),
	('facts of one instant count together', '2024-01-10 08:30 60; 2024-01-10 08:30 60', '{}', '2024-02-01', 'a@2024-01-10 08:30 enrolled'),
	('a year''s last microsecond is in it', '2024-12-31 23:59:59.999999 100', '{"measures": [{"measure": "m", "window": "year"}], "period": "year", "validity": "period"}', '2026-06-01',
		'a@2024-12-31 23:59 enrolled, -@2026-01-01 00:00 expired'),
	('a year''s first instant is in the next', '2024-12-31 12:00 60; 2025-01-01 00:00 60', '{"measures": [{"measure": "m", "window": "year"}]}', '2026-06-01', NULL),
	-- month ends and leap days
	('months from the 31st do not drift', '2024-01-31 10:00 100; 2024-02-20 10:00 1; 2024-03-20 10:00 1; 2024-04-20 10:00 1',
		'{"measures": [{"measure": "m", "window": "lifetime"}], "validity": "interval", "validity_interval": "1 month"}', '2024-06-15',
		'a@2024-01-31 10:00 enrolled, a@2024-02-29 10:00 renewed, a@2024-03-31 10:00 renewed, a@2024-04-30 10:00 renewed, a@2024-05-31 10:00 renewed'),
	('a leap day''s years end on the 28th', '2024-02-29 10:00 100', '{"measures": [{"measure": "m", "window": "lifetime"}], "validity": "interval", "validity_interval": "1 year"}', '2028-03-01',
		'a@2024-02-29 10:00 enrolled, a@2025-02-28 10:00 renewed, a@2026-02-28 10:00 renewed, a@2027-02-28 10:00 renewed, a@2028-02-29 10:00 renewed'),
	('anniversaries of a leap day', '2024-02-29 10:00 100; 2025-02-28 09:00 60; 2025-02-28 11:00 60', '{"measures": [{"measure": "m", "window": "anniversary"}], "period": "anniversary", "validity": "period"}', '2027-01-01',
		'a@2024-02-29 10:00 enrolled, -@2026-02-28 10:00 expired'),
	-- daylight saving: days by the wall clock
	('a day over the spring change', '2024-03-30 12:00 100', '{"time_zone": "Europe/Berlin", "validity": "interval", "validity_interval": "1 day", "measures": [{"measure": "m", "window": "rolling", "interval": "1 day"}]}', '2024-04-02',
		'a@2024-03-30 12:00 enrolled, -@2024-03-31 12:00 expired'),
	('an hour that is not there moves on, and only for that day', '2024-03-30 02:30 100', '{"time_zone": "Europe/Berlin", "validity": "interval", "validity_interval": "1 day", "measures": [{"measure": "m", "window": "lifetime"}]}', '2024-04-01 03:00',
		'a@2024-03-30 02:30 enrolled, a@2024-03-31 03:30 renewed, a@2024-04-01 02:30 renewed'),
	('24 hours by the stop-watch', '2024-03-30 12:00 100', '{"time_zone": "Europe/Berlin", "validity": "interval", "validity_interval": "24 hours", "measures": [{"measure": "m", "window": "rolling", "interval": "24 hours"}]}', '2024-04-02',
		'a@2024-03-30 12:00 enrolled, -@2024-03-31 13:00 expired'),
	('the autumn change', '2024-10-26 12:00 100', '{"time_zone": "America/New_York", "validity": "interval", "validity_interval": "10 days", "measures": [{"measure": "m", "window": "rolling", "interval": "10 days"}]}', '2024-11-20',
		'a@2024-10-26 12:00 enrolled, -@2024-11-05 12:00 expired'),
	-- zones east and west: the year ends at their own midnight
	('far east', '2024-12-31 23:30 100', '{"time_zone": "Pacific/Kiritimati", "measures": [{"measure": "m", "window": "month"}], "period": "month", "validity": "period"}', '2025-03-01',
		'a@2024-12-31 23:30 enrolled, -@2025-02-01 00:00 expired'),
	('far west', '2024-12-31 23:30 100', '{"time_zone": "Pacific/Pago_Pago", "measures": [{"measure": "m", "window": "month"}], "period": "month", "validity": "period"}', '2025-03-01',
		'a@2024-12-31 23:30 enrolled, -@2025-02-01 00:00 expired'),
	-- zones that have always been as far from UTC as they are
	('always five hours east', '2024-12-31 23:30 100', '{"time_zone": "Etc/GMT-5", "measures": [{"measure": "m", "window": "month"}], "period": "month", "validity": "period"}', '2025-03-01',
		'a@2024-12-31 23:30 enrolled, -@2025-02-01 00:00 expired'),
	('always eleven hours west', '2024-12-31 23:30 60; 2025-01-01 00:00 60; 2025-01-31 23:30 60', '{"time_zone": "Etc/GMT+11", "measures": [{"measure": "m", "window": "month"}], "validity": "interval", "validity_interval": "1 month"}', '2025-03-31',
		'a@2025-01-31 23:30 enrolled, -@2025-02-28 23:30 expired'),
	-- before 2000, where days count downwards
	('months of last century', '1999-11-30 23:59 99; 1999-12-01 00:00 50; 1999-12-31 23:59 50', '{"measures": [{"measure": "m", "window": "month"}]}', '2000-06-01', 'a@1999-12-31 23:59 enrolled'),
	('and at its end', '1999-12-31 23:59 99; 2000-01-01 00:00 99', '{"measures": [{"measure": "m", "window": "month"}]}', '2000-06-01', NULL),
	('terms of last century', '1998-12-31 23:30 100', '{"validity": "interval", "validity_interval": "6 months"}', '1999-07-01', 'a@1998-12-31 23:30 enrolled, a@1999-06-30 23:30 renewed'),
	-- returns
	('a return takes back what was reached through it', '2024-01-10 00:00 150; 2024-02-10 00:00 60; 2024-03-10 00:00 -60 of 2024-02-10 00:00', '{}', '2024-06-01',
		'a@2024-01-10 00:00 enrolled, b@2024-02-10 00:00 upgraded, a@2024-03-10 00:00 downgraded'),
	('two returns, each from its own date on', '2024-01-10 00:00 150; 2024-02-10 00:00 60; 2024-03-10 00:00 -60 of 2024-02-10 00:00; 2024-04-10 00:00 -100 of 2024-01-10 00:00', '{}', '2024-06-01',
		'a@2024-01-10 00:00 enrolled, b@2024-02-10 00:00 upgraded, a@2024-03-10 00:00 downgraded, -@2024-04-10 00:00 expired'),
	('two at one date', '2024-01-10 00:00 150; 2024-02-10 00:00 60; 2024-03-10 00:00 -60 of 2024-02-10 00:00; 2024-03-10 00:00 -100 of 2024-01-10 00:00; 2024-03-20 00:00 60', '{}', '2024-06-01',
		'a@2024-01-10 00:00 enrolled, b@2024-02-10 00:00 upgraded, -@2024-03-10 00:00 expired, a@2024-03-20 00:00 enrolled'),
	('or is kept', '2024-01-10 00:00 150; 2024-02-10 00:00 60; 2024-03-10 00:00 -60 of 2024-02-10 00:00', '{"returns": "keep"}', '2024-06-01',
		'a@2024-01-10 00:00 enrolled, b@2024-02-10 00:00 upgraded'),
	('what was kept does not renew', '2024-01-10 00:00 150; 2024-02-10 00:00 -60 of 2024-01-10 00:00', '{"returns": "keep", "validity": "interval", "validity_interval": "6 months"}', '2024-09-01',
		'a@2024-01-10 00:00 enrolled, -@2024-07-10 00:00 expired'),
	('a return that leaves enough changes nothing', '2024-01-10 00:00 150; 2024-02-10 00:00 -20 of 2024-01-10 00:00', '{}', '2024-06-01', 'a@2024-01-10 00:00 enrolled'),
	('what was taken off is given back', '2024-01-10 00:00 -100; 2024-01-20 00:00 150; 2024-03-10 00:00 100 of 2024-01-10 00:00', '{}', '2024-06-01',
		'a@2024-03-10 00:00 enrolled'),
	('and lifts, also whoever fell meanwhile', '2024-01-10 00:00 -150; 2024-01-20 00:00 300; 2024-02-05 00:00 -60 of 2024-01-20 00:00; 2024-02-20 00:00 40 of 2024-01-10 00:00; 2024-03-10 00:00 110 of 2024-01-10 00:00', '{}', '2024-06-01',
		'a@2024-01-20 00:00 enrolled, -@2024-02-05 00:00 expired, a@2024-02-20 00:00 enrolled, b@2024-03-10 00:00 upgraded'),
	('a return of last year lowers last year', '2023-06-01 00:00 150; 2024-01-10 00:00 120; 2024-02-10 00:00 -150 of 2023-06-01 00:00',
		'{"measures": [{"measure": "m", "window": "year"}], "period": "year", "validity": "period"}', '2024-06-01', 'a@2023-06-01 00:00 enrolled'),
	-- carry-over
	('without carry-over a year stands alone', '2023-06-01 00:00 160; 2024-06-01 00:00 60', '{"measures": [{"measure": "m", "window": "year"}], "period": "year", "validity": "period"}', '2025-06-01',
		'a@2023-06-01 00:00 enrolled, -@2025-01-01 00:00 expired'),
	('what was too much counts next year', '2023-06-01 00:00 160; 2024-06-01 00:00 60', '{"carry_over": true, "measures": [{"measure": "m", "window": "year"}], "period": "year", "validity": "period"}', '2025-06-01',
		'a@2023-06-01 00:00 enrolled, a@2025-01-01 00:00 renewed'),
	('but not for ever', '2023-06-01 00:00 160; 2024-06-01 00:00 60', '{"carry_over": true, "measures": [{"measure": "m", "window": "year"}], "period": "year", "validity": "period"}', '2026-06-01',
		'a@2023-06-01 00:00 enrolled, a@2025-01-01 00:00 renewed, -@2026-01-01 00:00 expired'),
	('and what was brought into a year stays there when a month ends', '2023-06-01 00:00 160; 2024-06-01 00:00 40', '{"carry_over": true, "measures": [{"measure": "m", "window": "year"}, {"measure": "n", "window": "month"}], "period": "year", "validity": "period"}', '2026-06-01',
		'a@2023-06-01 00:00 enrolled, a@2025-01-01 00:00 renewed, -@2026-01-01 00:00 expired'),
	-- terms
	('without carry-over a term stands alone', '2024-01-01 00:00 160; 2024-03-01 00:00 40', '{"measures": [{"measure": "m", "window": "term"}], "validity": "interval", "validity_interval": "6 months"}', '2024-09-01',
		'a@2024-01-01 00:00 enrolled, -@2024-07-01 00:00 expired'),
	('what was too much for a term counts in the next', '2024-01-01 00:00 160; 2024-03-01 00:00 40', '{"carry_over": true, "measures": [{"measure": "m", "window": "term"}], "validity": "interval", "validity_interval": "6 months"}', '2024-09-01',
		'a@2024-01-01 00:00 enrolled, a@2024-07-01 00:00 renewed'),
	('and no more than that', '2024-01-01 00:00 160; 2024-03-01 00:00 39', '{"carry_over": true, "measures": [{"measure": "m", "window": "term"}], "validity": "interval", "validity_interval": "6 months"}', '2024-09-01',
		'a@2024-01-01 00:00 enrolled, -@2024-07-01 00:00 expired'),
	('each term must be earned anew', '2024-01-01 00:00 100; 2024-03-01 00:00 99', '{"measures": [{"measure": "m", "window": "term"}], "validity": "interval", "validity_interval": "6 months"}', '2024-09-01',
		'a@2024-01-01 00:00 enrolled, -@2024-07-01 00:00 expired'),
	('a cheap renewal does not reset a better level', '2024-01-01 00:00 200; 2024-05-01 00:00 100', '{"measures": [{"measure": "m", "window": "rolling", "interval": "1 month"}], "validity": "interval", "validity_interval": "1 year"}', '2024-12-31',
		'b@2024-01-01 00:00 enrolled'),
	('what renewed in a grace belongs to the term before', '2024-01-01 00:00 100; 2024-08-10 00:00 100', '{"measures": [{"measure": "m", "window": "term"}], "validity": "interval", "validity_interval": "6 months", "grace": "60 days"}', '2025-04-01',
		'a@2024-01-01 00:00 enrolled, a@2024-07-01 00:00 grace_started, a@2024-08-10 00:00 renewed, a@2025-01-01 00:00 grace_started, -@2025-03-02 00:00 expired'),
	('grace, used', '2024-01-01 00:00 100; 2025-01-10 00:00 100', '{"validity": "interval", "validity_interval": "1 year", "grace": "30 days"}', '2025-06-01',
		'a@2024-01-01 00:00 enrolled, a@2025-01-01 00:00 grace_started, a@2025-01-10 00:00 renewed'),
	('a term that waited begins when it is reached', '2024-01-10 00:00 100; 2024-02-10 00:00 250; 2024-05-01 00:00 100',
		'{"upgrade": "next_period", "period": "quarter", "measures": [{"measure": "m", "window": "term"}], "validity": "interval", "validity_interval": "1 year"}', '2025-06-01',
		'a@2024-01-10 00:00 enrolled, b@2024-04-01 00:00 upgraded, a@2025-04-01 00:00 downgraded'),
	('an upgrade at the next period', '2024-01-10 00:00 100; 2024-02-10 00:00 100', '{"upgrade": "next_period", "period": "quarter"}', '2024-06-01',
		'a@2024-01-10 00:00 enrolled, b@2024-04-01 00:00 upgraded');
SELECT is(line(c.facts, c.definition, c.as_of::timestamptz AT TIME ZONE 'UTC' AT TIME ZONE coalesce(c.definition::jsonb->>'time_zone', 'UTC')), c.expected, c.name)
FROM timeline_case c;

SELECT is_empty($$SELECT c.name, t.* FROM timeline_case c, LATERAL loyalty.tier_timeline((SELECT loyalty.tier_facts_agg('m', p[1]::timestamptz, p[2]::numeric, p[3]::timestamptz)
		FROM regexp_split_to_table(c.facts, '\s*;\s*') f, LATERAL regexp_match(f, '^(\S+ \S+) (-?[\d.]+)(?: of (.*))?$') p),
		'{"measures": [{"measure": "m", "window": "rolling", "interval": "1 year"}], "validity": "interval", "validity_interval": "1 year", "levels": [{"level": "a", "all": {"m": 100}}]}', '2030-01-01') t
	WHERE (t.level IS NULL) <> (t.valid_until IS NULL)$$, 'who has no tier has none until some time');

-- One history under another session time zone is the same.
CREATE TABLE instant AS
SELECT c.name, t.starts_at, t.valid_until FROM timeline_case c,
	LATERAL loyalty.tier_timeline('[{"measure": "m", "at": "2024-03-30T12:00:00+00", "amount": 100}]',
		c.definition::jsonb || '{"measures": [{"measure": "m", "window": "lifetime"}], "levels": [{"level": "a", "all": {"m": 100}}]}', '2024-06-01 00:00+00') t;
SET timezone = 'Pacific/Auckland';
SELECT is_empty($$SELECT c.name, t.starts_at, t.valid_until FROM timeline_case c,
	LATERAL loyalty.tier_timeline('[{"measure": "m", "at": "2024-03-30T12:00:00+00", "amount": 100}]',
		c.definition::jsonb || '{"measures": [{"measure": "m", "window": "lifetime"}], "levels": [{"level": "a", "all": {"m": 100}}]}', '2024-06-01 00:00+00') t
	EXCEPT SELECT * FROM instant$$, 'a session''s time zone does not matter');
SET timezone = 'UTC';

SELECT throws_ok(format($$SELECT * FROM line('%s', '%s', '294276-12-31')$$, facts, definition), '22008', NULL, facts) FROM (VALUES
	('294276-01-10 00:00 100', '{"time_zone": "UTC", "validity": "interval", "validity_interval": "1000 years"}'),
	('294276-01-10 00:00 100', '{"time_zone": "Europe/Berlin", "validity": "interval", "validity_interval": "365000 days"}'),
	('294276-12-01 00:00 100', '{"validity": "interval", "validity_interval": "8760000:00"}')) v(facts, definition);

SELECT is_empty(format('SELECT * FROM loyalty.tier_timeline(%s)', arguments), 'no rows of ' || arguments) FROM unnest(ARRAY[
	$$NULL, '{"measures": [], "levels": [{"level": "a"}]}', '2024-06-01'$$, $$'[]', NULL, '2024-06-01'$$, $$'[]', '{"measures": [], "levels": [{"level": "a"}]}', NULL$$]) arguments;

SELECT throws_ok($$SELECT loyalty.tier_at('[{"measure": "m", "at": "4714-11-24 00:00+00 BC", "amount": 1}]',
	'{"time_zone": "Etc/GMT+12", "measures": [{"measure": "m", "window": "month"}], "levels": [{"level": "a"}]}', '2024-01-01')$$, '22008', NULL, 'before there were dates');
SELECT is(loyalty.qualified_level('[{"measure": "m", "at": "4714-11-24 12:00+00 BC", "amount": 1}]',
	'{"measures": [{"measure": "m", "window": "rolling", "interval": "1 day"}], "levels": [{"level": "a", "all": {"m": 1}}]}', '4714-11-25 00:00+00 BC'), 'a', 'on the first day there is');

SELECT is(loyalty.tier_at(format('[{"measure": "%s", "at": "2024-01-01", "amount": 1}]', measure)::loyalty.tier_facts, '{"measures": [{"measure": "m"}], "levels": [{"level": "a"}]}', '2024-06-01'), expected,
	'a level that asks for nothing is for whoever has a fact, and has ' || measure) FROM (VALUES ('m', 'a'), ('other', NULL)) v(measure, expected);

-- The same facts are the same bits, whichever measure came first.
SELECT is((SELECT loyalty.tier_facts_agg(m, '2024-01-01', 1, NULL ORDER BY m)::text FROM unnest(ARRAY['a', 'b', 'c']) m),
	(SELECT loyalty.tier_facts_agg(m, '2024-01-01', 1, NULL ORDER BY m DESC)::text FROM unnest(ARRAY['a', 'b', 'c']) m), 'measures in another order');
SELECT is((SELECT jsonb_agg(f->>'measure') FROM jsonb_array_elements((SELECT loyalty.tier_facts_agg(m, '2024-01-01', 1, NULL)::jsonb FROM unnest(ARRAY['c', 'a', 'b']) m)) f),
	'["a", "b", "c"]', 'of one instant, by name');
SELECT is((SELECT jsonb_object_agg(f->>'measure', f->'amount') FROM jsonb_array_elements((SELECT loyalty.tier_facts_agg(m, '2024-01-01', amount, NULL ORDER BY n)::jsonb FROM (VALUES (1, 'c', 3), (2, 'a', 1), (3, 'b', 2)) v(n, m, amount))) f),
	'{"a": 1, "b": 2, "c": 3}', 'each with its own amount');

-- What is collected goes on being so after it was looked at.
SELECT is((SELECT string_agg((SELECT string_agg(f->>'measure' || (f->>'amount'), ' ') FROM jsonb_array_elements(facts::jsonb) f), ', ' ORDER BY n)
	FROM (SELECT n, loyalty.tier_facts_agg(m, at::timestamptz, n, NULL) OVER (ORDER BY n) AS facts FROM (VALUES (1, 'c', '2024-03-01'), (2, 'b', '2024-01-01'), (3, 'c', '2024-02-01'), (4, 'a', '2024-01-01')) v(n, m, at)) x),
	'c1, b2 c1, b2 c3 c1, a4 b2 c3 c1', 'up to each row');

-- qualified_level: windows over rows
CREATE TABLE purchase (at timestamptz, amount numeric);
INSERT INTO purchase VALUES ('2023-12-31', 500), ('2024-02-01', 300), ('2024-06-01', 250);
SELECT is(loyalty.qualified_level(loyalty.tier_facts_agg('spend', at, amount, NULL),
	format('{"measures": [{"measure": "spend", "window": "%s"%s}], "levels": [{"level": "low"}, {"level": "mid", "any": {"spend": 500}}, {"level": "top", "any": {"spend": 1000}}]}', w, i)::jsonb, '2024-06-30'), expected, w)
FROM (VALUES ('year', '', 'mid'), ('lifetime', '', 'top'), ('quarter', '', 'low'), ('rolling', ', "interval": "1 year"', 'top'), ('latest', '', 'low'), ('anniversary', '', 'top')) v(w, i, expected), purchase
GROUP BY w, i, expected;

-- Values: what is none is said, at the limits nothing is.
CREATE FUNCTION facts_problem(facts text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	RETURN facts::loyalty.tier_facts::text;
EXCEPTION
	WHEN SQLSTATE 'LY407' THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
		RETURN detail;
END
$$;
SELECT is(facts_problem(facts), expected, left(facts, 150)) FROM (VALUES
	('{}', 'It must be an array of objects.'), ('1', 'It must be an array of objects.'), ('[1]', 'It must be an array of objects.'), ('[[1]]', 'It must be an array of objects.'),
	('[{"at": "2024-01-01", "amount": 1}]', '"measure" must be a text.'), ('[{"measure": 1, "at": "2024-01-01", "amount": 1}]', '"measure" must be a text.'),
	('[{"measure": "", "at": "2024-01-01", "amount": 1}]', 'The name of a measure has 1 to 63 bytes.'),
	(format('[{"measure": "%s", "at": "2024-01-01", "amount": 1}]', repeat('m', 64)), 'The name of a measure has 1 to 63 bytes.'),
	(format('[{"measure": "%s", "at": "2024-01-01T00:00:00.000000Z", "amount": 1}]', repeat('m', 63)), format('[{"measure": "%s", "at": "2024-01-01 00:00:00+00", "amount": 1}]', repeat('m', 63))),
	('[{"measure": "m", "at": "2024-01-01"}]', '"amount" must be a number.'), ('[{"measure": "m", "at": "2024-01-01", "amount": "1"}]', '"amount" must be a number.'),
	('[{"measure": "m", "amount": 1}]', '"at" must be an instant.'), ('[{"measure": "m", "at": 1, "amount": 1}]', '"at" must be an instant.'),
	('[{"measure": "m", "at": "now", "amount": 1}]', '"at" must be an instant.'), ('[{"measure": "m", "at": "infinity", "amount": 1}]', '"at" must be an instant.'),
	('[{"measure": "m", "at": "2024-01-01", "amount": 1, "counts_at": "today"}]', '"counts_at" must be an instant.'),
	('[{"measure": "m", "at": "2024-01-01 00:00:00.123456+00", "amount": 1}]', '[{"measure": "m", "at": "2024-01-01 00:00:00.123456+00", "amount": 1}]'),
	('[]', '[]'), ('[{"measure": "m", "at": "2024-01-02", "amount": -1.5, "counts_at": "2024-01-02"}, {"measure": "m", "at": "2024-01-01", "amount": 0.00015, "counts_at": "2023-01-01"}]',
		'[{"measure": "m", "at": "2024-01-01 00:00:00+00", "amount": 0.0002, "counts_at": "2023-01-01 00:00:00+00"}, {"measure": "m", "at": "2024-01-02 00:00:00+00", "amount": -1.5}]')) v(facts, expected);
SELECT throws_ok(format('SELECT loyalty.tier_facts_agg(%s)', arguments), state, NULL, arguments) FROM (VALUES
	($$'m', 'infinity', 1, NULL$$, 'LY407'), ($$'m', '2024-01-01', 1, '-infinity'$$, 'LY407'), ($$'', '2024-01-01', 1, NULL$$, 'LY407'),
	($$'m', '2024-01-01', 'NaN', NULL$$, 'LY003'), ($$'m', '2024-01-01', 'Infinity', NULL$$, 'LY003'), ($$'m', '2024-01-01', 1e30, NULL$$, '22003')) v(arguments, state);
SELECT throws_ok(format($$SELECT loyalty.tier_points_agg('m', '2024-01-01', %s, NULL)$$, points), 'LY407', NULL, points || ' points') FROM unnest(ARRAY['922337203685478', '-922337203685478']) points;
SELECT is(loyalty.tier_points_agg('m', '2024-01-01', points, NULL)::text, format('[{"measure": "m", "at": "2024-01-01 00:00:00+00", "amount": %s}]', points), points || ' points')
FROM unnest(ARRAY[922337203685477, -922337203685477]) points GROUP BY points;
SELECT throws_ok($$SELECT loyalty.tier_facts_agg('m' || i, '2024-01-01', 1, NULL) FROM generate_series(1, 33) i$$, 'LY407', NULL, '33 measures');
SELECT is((SELECT count(*) FROM jsonb_array_elements((SELECT loyalty.tier_facts_agg('m' || i, '2024-01-01', 1, NULL) FROM generate_series(1, 32) i)::jsonb)), 32::bigint, '32 measures');
-- Bytes as they may be stored, by a function of the server's own that takes them as they are; and as they are received.
CREATE FUNCTION stored_facts(bytea, int) RETURNS loyalty.tier_facts LANGUAGE internal IMMUTABLE AS 'bytea_substr_no_len';
CREATE FUNCTION stored_problem(bytes bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	RETURN stored_facts(bytes, 1)::text;
EXCEPTION
	WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
		RETURN SQLSTATE || ' ' || coalesce(nullif(detail, ''), SQLERRM);
END
$$;
CREATE FUNCTION received(bytes bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	file text := current_setting('data_directory') || '/tier_facts.copy';
	facts text;
BEGIN
	EXECUTE format('COPY (SELECT %L::bytea) TO %L (FORMAT binary)', bytes, file);
	CREATE TEMP TABLE received_facts (facts loyalty.tier_facts);
	EXECUTE format('COPY received_facts FROM %L (FORMAT binary)', file);
	SELECT r.facts::text INTO facts FROM received_facts r;
	DROP TABLE received_facts;
	RETURN facts;
EXCEPTION
	WHEN OTHERS THEN RETURN SQLSTATE;
END
$$;
CREATE TABLE bytes_case (name text, bytes bytea, stored text, received text);
INSERT INTO bytes_case VALUES
	-- version 1; one measure, of one letter, m; one fact: measure 0, one day after 2000-01-01, 10000 ten-thousandths
	('a fact', '\x0101016d01000ba09c01', '[{"measure": "m", "at": "2000-01-02 00:00:00+00", "amount": 1}]', '[{"measure": "m", "at": "2000-01-02 00:00:00+00", "amount": 1}]'),
	('one that counts a day earlier', '\x0101016d01010b07a09c01', '[{"measure": "m", "at": "2000-01-02 00:00:00+00", "amount": 1, "counts_at": "2000-01-01 00:00:00+00"}]', '[{"measure": "m", "at": "2000-01-02 00:00:00+00", "amount": 1, "counts_at": "2000-01-01 00:00:00+00"}]'),
	('no facts', '\x010000', '[]', '[]'), ('none of a measure', '\x0101016d00', '[]', '22P03'),
	('nothing', '\x', 'LY407 It is of an unknown version.', 'LY407'), ('another version', '\x020000', 'LY407 It is of an unknown version.', 'LY407'), ('a version alone', '\x01', 'LY407 It is damaged.', 'LY407'),
	('33 measures', '\x0121', 'LY407 It is damaged.', 'LY407'), ('no number of facts', '\x0101016d', 'LY407 It is damaged.', 'LY407'), ('a measure without a name', '\x01010000', 'LY407 It is damaged.', 'LY407'), ('no length of a name', '\x0101', 'LY407 It is damaged.', 'LY407'), ('half a name', '\x0101036d6d', 'LY407 It is damaged.', 'LY407'),
	('five facts that are not there', '\x0101016d05', 'LY407 It is damaged.', 'LY407'), ('more facts than memory', '\x0101016dffffffffffff7f', 'LY407 It is damaged.', 'LY407'), ('a fact without an instant', '\x0101016d0100', 'LY407 It is damaged.', 'LY407'), ('a fact without an amount', '\x0101016d01000b', 'LY407 It is damaged.', 'LY407'), ('half an amount', '\x0101016d01000ba09c', 'LY407 It is damaged.', 'LY407'),
	('a measure that is not there', '\x0101016d01020ba09c01', 'LY407 It is damaged.', 'LY407'), ('a fact at infinity', '\x0101016d010000a09c01', 'LY407 It is damaged.', 'LY407'), ('at -infinity', '\x0101016d010004a09c01', 'LY407 It is damaged.', 'LY407'), ('one that counts at infinity', '\x0101016d01010b00a09c01', 'LY407 It is damaged.', 'LY407'),
	('a byte behind', '\x0101016d01000ba09c0100', 'LY407 It is damaged.', 'LY407'), ('a byte behind none', '\x01000000', 'LY407 It is damaged.', 'LY407'),
	('facts that are not in order', '\x0101016d02000b02000302', '[{"measure": "m", "at": "2000-01-02 00:00:00+00", "amount": 0.0001}, {"measure": "m", "at": "2000-01-02 00:00:00+00", "amount": 0.0001}]', '[{"measure": "m", "at": "2000-01-02 00:00:00+00", "amount": 0.0001}, {"measure": "m", "at": "2000-01-02 00:00:00+00", "amount": 0.0001}]'),
	('a later one first', '\x0101016d02000b02000702', '[{"measure": "m", "at": "2000-01-02 00:00:00+00", "amount": 0.0001}, {"measure": "m", "at": "2000-01-01 00:00:00+00", "amount": 0.0001}]', '22P03'),
	('measures that are not in order', '\x0102016d016102000b02020302', '[{"measure": "m", "at": "2000-01-02 00:00:00+00", "amount": 0.0001}, {"measure": "a", "at": "2000-01-02 00:00:00+00", "amount": 0.0001}]', '22P03'),
	('measures in order', '\x01020161016d02000b02020302', '[{"measure": "a", "at": "2000-01-02 00:00:00+00", "amount": 0.0001}, {"measure": "m", "at": "2000-01-02 00:00:00+00", "amount": 0.0001}]', '[{"measure": "a", "at": "2000-01-02 00:00:00+00", "amount": 0.0001}, {"measure": "m", "at": "2000-01-02 00:00:00+00", "amount": 0.0001}]'),
	('one that counts when it happened', '\x0101016d01010b03a09c01', '[{"measure": "m", "at": "2000-01-02 00:00:00+00", "amount": 1}]', '22P03');
UPDATE bytes_case SET name = 'twice the same' WHERE name = 'facts that are not in order';
INSERT INTO bytes_case SELECT n || ' measures, of no facts', '\x01' || set_byte('\x00', 0, n) || decode(string_agg('01' || to_hex(64 + i), ''), 'hex') || '\x00', '[]', '22P03' FROM unnest(ARRAY[1, 32]) n, generate_series(1, n) i GROUP BY n
	UNION ALL SELECT n || ' bytes of a name', '\x0101' || set_byte('\x00', 0, n) || convert_to(repeat('m', n), 'UTF8') || '\x0100070f'::bytea, CASE WHEN n < 64 THEN format('[{"measure": "%s", "at": "1999-12-31 00:00:00+00", "amount": -0.0008}]', repeat('m', n)) ELSE 'LY407 It is damaged.' END,
		CASE WHEN n < 64 THEN format('[{"measure": "%s", "at": "1999-12-31 00:00:00+00", "amount": -0.0008}]', repeat('m', n)) ELSE 'LY407' END FROM unnest(ARRAY[63, 64]) n;
SELECT is(stored_problem(bytes), stored, 'stored: ' || name) FROM bytes_case;
SELECT is(received(bytes), received, 'received: ' || name) FROM bytes_case;
SELECT is(loyalty.tier_facts_send(received::loyalty.tier_facts), bytes, 'sent: ' || name) FROM bytes_case WHERE received ~ '^\[';
-- In one worker or several
CREATE TABLE fact AS SELECT 'm' || i % 7 AS measure, '2024-01-01'::timestamptz + i * interval '7 hours' AS at, i AS amount, CASE i % 5 WHEN 0 THEN '2023-06-01'::timestamptz END AS counts_at FROM generate_series(1, 3000) i;
ALTER TABLE fact SET (parallel_workers = 2);
SET max_parallel_workers_per_gather = 0;
CREATE TABLE together AS SELECT loyalty.tier_facts_agg(measure, at, amount, counts_at) AS facts, loyalty.tier_points_agg(measure, at, amount, counts_at) AS points FROM fact;
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET parallel_leader_participation = off;
SELECT is(a.facts::text, t.facts::text, 'several workers make the same') FROM (SELECT loyalty.tier_facts_agg(measure, at, amount, counts_at) AS facts FROM fact) a, together t;
SELECT is(a.points::text, t.facts::text, 'of points too') FROM (SELECT loyalty.tier_points_agg(measure, at, amount, counts_at) AS points FROM fact) a, together t;
RESET max_parallel_workers_per_gather;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET parallel_leader_participation;

-- Returns at dates of no order, before and between: each ten count as a level.
SELECT is(loyalty.qualified_level((SELECT loyalty.tier_facts_agg('m', at::timestamptz, amount, counts_at::timestamptz) FROM (VALUES
		('2024-01-10', 100, NULL), ('2024-02-10', 60, NULL), ('2024-03-10', 50, NULL),
		('2024-04-01', -20, '2024-01-20'), ('2024-04-02', -10, '2024-01-05'), ('2024-04-03', -30, '2024-02-10')) f(at, amount, counts_at)),
	jsonb_build_object('measures', format('[{"measure": "m", "window": "rolling", "interval": "%s"}]', span)::jsonb,
		'levels', (SELECT jsonb_agg(jsonb_build_object('level', i::text, 'all', jsonb_build_object('m', i * 10)) ORDER BY i) FROM generate_series(1, 32) i)), as_of::timestamptz),
	expected, format('in the %s up to %s', span, as_of))
FROM (SELECT '1 year' AS span, y.* FROM (VALUES ('2024-01-09', NULL), ('2024-01-10', '10'), ('2024-03-31', '21'), ('2024-04-01', '19'), ('2024-05-01', '15'), ('2025-01-04 23:59:59.999999', '15'), ('2025-01-05', '16'),
	('2025-01-09 23:59:59.999999', '16'), ('2025-01-10', '6'), ('2025-01-25', '8'), ('2025-02-15', '5'), ('2025-03-09', '5'), ('2025-03-10', NULL), ('2030-01-01', NULL)) y(as_of, expected)
	-- by the stop-watch, a day less in a leap year
	UNION ALL VALUES ('8760:00', '2024-05-01', '15'), ('8760:00', '2025-01-08 23:59:59.999999', '16'), ('8760:00', '2025-01-09', '6'), ('8760:00', '2025-02-15', '5'), ('8760:00', '2030-01-01', NULL),
		('366 days', '2025-01-09 23:59:59.999999', '16'), ('366 days', '2025-01-10', '6'), ('366 days', '2030-01-01', NULL)) v;

-- ---------------------------------------------------------------------------
-- Program
-- ---------------------------------------------------------------------------

SELECT throws_ok($$SELECT loyalty.tier_of(1, 'club')$$, 'LY001', NULL, 'before setup()');
SELECT ok(loyalty.setup() IS NOT NULL, 'setup()');
SELECT loyalty.create_currency('status');
SELECT loyalty.define_measure('status_points', 'points', 'status');
SELECT loyalty.define_measure('orders');
CREATE TABLE early_order (member_id bigint, at timestamptz);
CREATE TRIGGER evaluate_tier AFTER INSERT ON early_order FOR EACH ROW EXECUTE FUNCTION loyalty.evaluate_tier('member_id', 'at', 'orders=1');
INSERT INTO early_order VALUES (91, '2022-01-01'), (91, '2022-01-02');
SELECT loyalty.define_ladder('visitors', '{"measures": [{"measure": "orders", "window": "lifetime"}], "levels": [{"level": "regular", "any": {"orders": 10}}]}');
SELECT is((SELECT have FROM loyalty.tier_progress(91, 'visitors')), 2::numeric, 'rows of own tables are facts, also before there is a ladder');
SELECT loyalty.earn(90, 1, 'status', '2022-02-01');
SELECT is_empty('SELECT FROM loyalty.tier_state WHERE member_id = 90', 'no ladder counts points: nothing is stored');
SELECT loyalty.earn(90, 149, 'status', '2022-03-01');
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "status_points", "window": "rolling", "interval": "1 year"}, {"measure": "orders", "window": "lifetime"}],
	"validity": "interval", "validity_interval": "1 year",
	"levels": [{"level": "blue"}, {"level": "silver", "any": {"status_points": 100, "orders": 3}}, {"level": "gold", "all": {"status_points": 300}}]}');

SELECT is(loyalty.tier_of(90, 'club', '2022-04-01'), 'silver', 'what was earned before counts');
SELECT loyalty.earn(90, 150, 'status', '2022-04-01');
SELECT is((SELECT level FROM loyalty.tier_state WHERE member_id = 90 AND ladder = 'club'), 'gold', 'and is in the first tier that is stored');
SELECT set_eq('SELECT invariant FROM loyalty.check_tier()', '{}'::text[], 'all is well');
SELECT is_empty($$SELECT FROM pg_trigger t WHERE t.tgrelid = 'loyalty.ledger'::regclass AND t.tgfoid = 'loyalty.evaluate_tier'::regproc$$, 'without a trigger on the ledger');

SELECT throws_ok(sql, state, NULL, sql) FROM (VALUES
	($$SELECT loyalty.tier_of(1, 'nowhere')$$, 'LY402'),
	($$SELECT loyalty.tier_of(NULL, 'club')$$, 'LY003'),
	($$SELECT loyalty.tier_of(1, 'club', 'infinity')$$, 'LY003'),
	($$SELECT loyalty.define_measure('m', 'points', 'gems')$$, 'LY102'),
	($$SELECT loyalty.define_measure('orders', 'points', 'status')$$, 'LY003'),
	($$SELECT loyalty.define_measure('status_points', 'points', 'status', pending => true)$$, 'LY003'),
	($$SELECT loyalty.define_measure('orders', pending => true)$$, 'LY003'),
	($$SELECT loyalty.define_measure('f', 'function', function_name => 'no_such_function')$$, 'LY003'),
	($$SELECT loyalty.define_ladder('x', '{"measures": [{"measure": "unheard"}], "levels": [{"level": "a"}]}')$$, 'LY404'),
	($$SELECT loyalty.define_ladder('X', '{"measures": [], "levels": [{"level": "a"}]}')$$, 'LY003'),
	($$SELECT loyalty.define_ladder('club', '{"measures": [], "levels": [{"level": "a"}]}', '-infinity')$$, 'LY003'),
	($$SELECT loyalty.record_qualification(1, 'status_points', 1)$$, 'LY404'),
	($$SELECT loyalty.record_qualification(1, 'orders', 1, now() + interval '1 day')$$, 'LY003'),
	($$SELECT loyalty.grant_tier(1, 'club', 'diamond')$$, 'LY403'),
	($$SELECT loyalty.grant_tier(1, 'club', 'gold', 'stolen')$$, 'LY003'),
	($$SELECT loyalty.grant_tier(1, 'club', 'gold', 'paid', fee => 10)$$, 'LY003'),
	($$SELECT loyalty.end_grant(1, 99)$$, 'LY405'),
	($$SELECT loyalty.evaluate_member_tiers(1, as_of => now() + interval '1 hour')$$, 'LY003'),
	($$SELECT loyalty.evaluate_member_tiers(1, 'nowhere')$$, 'LY402'),
	($$SELECT loyalty.step_tier(NULL)$$, '42501'),
	($$UPDATE loyalty.ladder_version SET version = 2$$, 'LY005'),
	($$DELETE FROM loyalty.tier_event$$, 'LY005')) t(sql, state);

-- No job has run, and every instant has its tier.
SELECT loyalty.earn(1, 150, 'status', '2022-03-01');
SELECT loyalty.earn(1, 200, 'status', '2022-06-01');
SELECT is(loyalty.tier_of(1, 'club', as_of::timestamptz), expected, 'tier_of on ' || as_of)
FROM (VALUES ('2022-02-28', NULL), ('2022-03-01', 'silver'), ('2022-05-31', 'silver'), ('2022-06-01', 'gold'),
	('2023-05-31 23:59:59.999999', 'gold'), ('2023-06-01', 'blue'), ('2040-01-01', 'blue')) v(as_of, expected);
SELECT is((SELECT level FROM loyalty.tier_state WHERE member_id = 1), 'gold', 'what is stored is as of the last fact');
CALL loyalty.book_tiers();
SELECT is((SELECT level FROM loyalty.tier_state WHERE member_id = 1), 'blue', 'until the clock is booked');
SELECT is((SELECT count(*) FROM loyalty.job_run WHERE job = 'book_tiers' AND status = 'finished'), 1::bigint, 'which is recorded');

-- Known then, and known now
SELECT clock_timestamp() AS before_late
\gset
SELECT pg_sleep(0.01);
SELECT loyalty.earn(1, 150, 'status', '2023-04-01');
SELECT is(loyalty.tier_of(1, 'club', '2023-07-01'), 'silver', 'a late fact is in its own period');
SELECT is(loyalty.tier_of(1, 'club', '2023-07-01', :'before_late'), 'blue', 'and was not known before');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- Progress
SELECT results_eq($$SELECT goal, level, measure, have, missing, due_at::date FROM loyalty.tier_progress(1, 'club', '2022-04-01')$$,
	$$VALUES ('reach', 'gold', 'status_points', 150.0000, 150.0000, NULL::date),
		('keep', 'silver', 'status_points', 0.0000, 100.0000, '2023-03-01'), ('keep', 'silver', 'orders', 0.0000, 3.0000, '2023-03-01')$$,
	'progress');
SELECT is((SELECT missing FROM loyalty.tier_progress(2, 'club') WHERE goal = 'reach' AND level = 'blue'), NULL, 'nothing is asked for the first level');

-- A table of one's own
CREATE TABLE shop_order (id int PRIMARY KEY, member_id bigint, at timestamptz, amount numeric);
CREATE TRIGGER evaluate_tier AFTER INSERT OR UPDATE OR DELETE ON shop_order FOR EACH ROW
	EXECUTE FUNCTION loyalty.evaluate_tier('member_id', 'at', 'orders=1');
INSERT INTO shop_order SELECT i, 3, '2024-01-01'::timestamptz + i * interval '1 day', 10 FROM generate_series(1, 3) i;
SELECT is(loyalty.tier_of(3, 'club', '2024-02-01'), 'silver', 'three orders in one statement');
BEGIN;
INSERT INTO shop_order VALUES (4, 4, '2024-01-01', 1), (5, 4, '2024-01-02', 1), (6, 4, '2024-01-03', 1);
ROLLBACK;
SELECT is(loyalty.tier_of(4, 'club'), NULL, 'rolled back with the order');
DELETE FROM shop_order WHERE id = 2;
SELECT is(loyalty.tier_of(3, 'club'), 'blue', 'a deleted order is taken back');
CREATE TRIGGER wrong AFTER INSERT ON shop_order FOR EACH ROW EXECUTE FUNCTION loyalty.evaluate_tier('member_id');
SELECT throws_ok($$INSERT INTO shop_order VALUES (9, 4, now(), 1)$$, 'LY003', NULL, 'a trigger without measures');
DROP TRIGGER wrong ON shop_order;
CREATE TRIGGER wrong AFTER INSERT ON shop_order FOR EACH ROW EXECUTE FUNCTION loyalty.evaluate_tier();
SELECT throws_ok($$INSERT INTO shop_order VALUES (9, 4, now(), 1)$$, 'LY003', NULL, 'a trigger without arguments');
DROP TRIGGER wrong ON shop_order;

-- Idempotency
SELECT loyalty.define_measure('visits') \g /dev/null
SELECT is(loyalty.record_qualification(5, 'orders', 3, '2024-01-01', idempotency_key => 'k'), true, 'first');
SELECT is(loyalty.record_qualification(5, 'orders', 3, '2024-01-01', idempotency_key => 'k'), false, 'again');
SELECT throws_ok(format('SELECT loyalty.record_qualification(5, %s, idempotency_key => ''k'')', given), 'LY004', 'idempotency key "k" was used with other arguments', given)
FROM (VALUES ('''orders'', 4, ''2024-01-01'''), ('''visits'', 3, ''2024-01-01'''), ('''orders'', 3, ''2024-01-02'''), ('''orders'', 3'),
	('''orders'', 3, ''2024-01-01'', ''2023-12-31'''), ('''orders'', 3, ''2024-01-01'', reference => ''o'''),
	('''orders'', 3, ''2024-01-01'', return_of => ''o''')) v (given);
SELECT is(loyalty.record_qualification(5, 'orders', 3.00, '2024-01-01 01:00+01', idempotency_key => 'k'), false, 'spelled otherwise it is the same');
SELECT is(loyalty.record_qualification(5, 'orders', 3, idempotency_key => 'now'), true, 'at the instant of the call');
SELECT pg_sleep(0.01) \g /dev/null
SELECT is(loyalty.record_qualification(5, 'orders', 3, idempotency_key => 'now'), false, 'a later call with the same key');

-- Grants
SELECT is((SELECT valid_until FROM loyalty.grant_tier(6, 'club', 'gold', 'paid', '2104-01-01', period => '1 year', fee => 366)), '2105-01-01'::timestamptz, 'paid for a year');
SELECT is(loyalty.tier_of(6, 'club', '2104-12-31'), 'gold', 'until its end');
SELECT is(loyalty.tier_of(6, 'club', '2105-01-01'), NULL, 'and not at it');
SELECT is((SELECT valid_until FROM loyalty.renew_grant(6, (SELECT max(grant_id) FROM loyalty.tier_grant WHERE member_id = 6))), '2106-01-01'::timestamptz, 'renewed');
SELECT is(loyalty.tier_of(6, 'club', '2105-06-01'), 'gold', 'for another');
SELECT is((SELECT refunded FROM loyalty.end_grant(6, (SELECT min(grant_id) FROM loyalty.tier_grant WHERE member_id = 6), 'pro_rata', '2104-12-31')), 1.00::numeric, 'a day of 366 is paid back');
SELECT is(loyalty.tier_of(6, 'club', '2104-12-31 12:00'), NULL, 'and gone');
SELECT throws_ok($$SELECT loyalty.end_grant(6, (SELECT min(grant_id) FROM loyalty.tier_grant WHERE member_id = 6))$$, 'LY406', NULL, 'once');
SELECT is(loyalty.refund_due(100, '2024-01-01', '2024-01-11', at::timestamptz, mode), due, mode || ' ' || at)
FROM (VALUES ('2024-01-01', 'full', 100), ('2024-01-10', 'full', 100), ('2024-01-01', 'pro_rata', 100.00), ('2024-01-06', 'pro_rata', 50.00),
	('2024-01-11', 'pro_rata', 0.00), ('2023-01-01', 'pro_rata', 100.00), ('2024-01-06', 'none', 0)) v(at, mode, due);

-- Merging takes the better of both; unmerging restores them.
SELECT loyalty.record_qualification(7, 'orders', 2, '2024-01-01');
SELECT loyalty.earn(8, 120, 'status', '2024-02-01');
CREATE TABLE before_merge AS SELECT * FROM loyalty.tier_history WHERE member_id IN (7, 8);
SELECT loyalty.merge_tier(1, 7, 8, '2024-03-01');
SELECT is(loyalty.tier_of(7, 'club', '2024-03-01'), 'silver', 'the better of both');
SELECT is(loyalty.tier_of(8, 'club', '2024-03-01'), 'silver', 'under either number');
SELECT is(loyalty.tier_of(7, 'club', '2024-02-29'), 'blue', 'not before');
SELECT loyalty.record_qualification(8, 'orders', 1, '2024-04-01');
SELECT is((SELECT have FROM loyalty.tier_progress(7, 'club', '2024-05-01') WHERE goal = 'keep' AND measure = 'orders'), 3::numeric, 'facts of both count together');
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'all is well');
SELECT throws_ok($$SELECT loyalty.merge_tier(2, 9, 8)$$, '23505', NULL, 'absorbed once');
SELECT loyalty.unmerge_tier(1);
SELECT is_empty('(SELECT member_id, starts_at, ends_at, level, event FROM before_merge EXCEPT SELECT member_id, starts_at, ends_at, level, event FROM loyalty.tier_history WHERE starts_at < now() - interval ''1 day'')
	EXCEPT SELECT member_id, starts_at, ends_at, level, event FROM before_merge WHERE ends_at IS NULL', 'both histories are back');
SELECT is(loyalty.tier_of(7, 'club', '2024-05-01'), 'blue', 'and both tiers');
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'all is well');

-- An order of an absorbed member that is returned to the one who stands for it
-- counts at its date, and goes back with it.
CREATE FUNCTION somebody(email text) RETURNS bigint LANGUAGE sql AS $$
	SELECT member_id FROM loyalty.resolve_member(jsonb_build_object('email', email))
$$;
INSERT INTO loyalty.member (member_id) SELECT DISTINCT member_id FROM loyalty.wallet;
CREATE TABLE person AS SELECT somebody('ann@example.org') AS ann, somebody('bea@example.org') AS bea;
SELECT ann, bea FROM person
\gset
SELECT entry_id AS order_id FROM loyalty.earn(:bea, 150, 'status', now() - interval '100 days')
\gset
SELECT loyalty.earn(:bea, 200, 'status', now() - interval '50 days');
SELECT loyalty.earn(:ann, 60, 'status', now() - interval '40 days');
SELECT is((SELECT item FROM loyalty.preview_merge(:ann, :bea) WHERE room = 'tier'),
	'{"club": {"survivor": "blue", "absorbed": "gold", "together": "gold"}}'::jsonb, 'a merge is previewed');
SELECT merge_id FROM loyalty.merge_members(:ann, :bea)
\gset
SELECT is(loyalty.tier_of(:ann, 'club') || loyalty.tier_of(:bea, 'club'), 'goldgold', 'the better of both');
SELECT loyalty.reverse(:ann, :order_id);
SELECT is(loyalty.tier_of(:ann, 'club'), 'silver', 'gold was reached only through what is returned');
SELECT is((SELECT have FROM loyalty.tier_progress(:ann, 'club') WHERE goal = 'reach' AND measure = 'status_points'), 260::numeric, 'which counts no more');
SELECT loyalty.earn(:bea, 45, 'status');
SELECT is(loyalty.tier_of(:ann, 'club'), 'gold', 'what is earned under the old number counts');
SELECT set_eq('SELECT detail FROM loyalty.check_all()', '{}'::text[], 'all is well');
CREATE FUNCTION pg_temp.stored() RETURNS bigint LANGUAGE sql AS
$$SELECT coalesce(r.result, 0) FROM loyalty.job_run r WHERE r.job = 'evaluate_tiers' AND r.status = 'finished' ORDER BY r.run_id DESC LIMIT 1$$;
CALL loyalty.evaluate_tiers(ladder => 'club');
SELECT is(loyalty.tier_of(:ann, 'club'), 'gold', 'evaluating all finds the same');
SELECT loyalty.unmerge_members(:merge_id);
SELECT is((SELECT array_agg(have ORDER BY m.member_id) FROM unnest(ARRAY[:ann, :bea]::bigint[]) m(member_id), LATERAL loyalty.tier_progress(m.member_id, 'club') p
	WHERE goal = 'reach' AND measure = 'status_points'), '{60,245}'::numeric[], 'unmerged, the return is with the order, and the rest with whom it was earned by');
SELECT is(loyalty.tier_of(:ann, 'club') || loyalty.tier_of(:bea, 'club'), 'bluesilver', 'and the tiers');
SELECT entry_id AS order_id FROM loyalty.ledger WHERE home_id = :bea AND kind = 'earn' AND requested = 45
\gset
SELECT loyalty.reverse(:bea, :order_id);
SELECT is((SELECT have FROM loyalty.tier_progress(:bea, 'club') WHERE goal = 'reach' AND measure = 'status_points'), 200::numeric, 'what was earned while merged is returned likewise');
SELECT set_eq('SELECT detail FROM loyalty.check_all()', '{}'::text[], 'all is well');
SELECT loyalty.grant_tier(:ann, 'club', 'gold', reason => 'a friend of Bea');
SELECT loyalty.forget_member(:ann);
SELECT is((SELECT reason FROM loyalty.tier_grant WHERE member_id = :ann), NULL, 'forgetting a member deletes why a level was granted');

-- Merges of merged members: everybody counts for the one at the root.
CREATE TABLE trio AS SELECT somebody('cia@example.org') AS cia, somebody('dea@example.org') AS dea, somebody('eva@example.org') AS eva;
SELECT cia, dea, eva FROM trio
\gset
SELECT loyalty.earn(m, 90, 'status') FROM unnest(ARRAY[:cia, :dea, :eva]::bigint[]) m;
SELECT merge_id AS first_merge FROM loyalty.merge_members(:dea, :cia)
\gset
SELECT merge_id AS second_merge FROM loyalty.merge_members(:eva, :dea)
\gset
SELECT set_eq('SELECT detail FROM loyalty.check_all()', '{}'::text[], 'all is well after a merge of merged members');
SELECT is((SELECT have FROM loyalty.tier_progress(:cia, 'club') WHERE goal = 'reach' AND measure = 'status_points'), 270::numeric, 'the facts of all three count');
SELECT loyalty.unmerge_members(:first_merge);
SELECT is((SELECT have FROM loyalty.tier_progress(:eva, 'club') WHERE goal = 'reach' AND measure = 'status_points'), 180::numeric, 'one goes back out of the middle');
SELECT set_eq('SELECT detail FROM loyalty.check_all()', '{}'::text[], 'all is well');
SELECT loyalty.unmerge_members(:second_merge);
SELECT set_eq('SELECT detail FROM loyalty.check_all()', '{}'::text[], 'and after all is undone');

-- A measure that is a function
CREATE FUNCTION score(member_id bigint, as_of timestamptz) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT member_id * 100';
SELECT loyalty.define_measure('score', 'function', function_name => 'public.score');
SELECT loyalty.define_ladder('value', '{"measures": [{"measure": "score", "window": "latest"}], "levels": [{"level": "good", "any": {"score": 300}}, {"level": "best", "any": {"score": 500}}]}');
CALL loyalty.evaluate_tiers(ladder => 'value');
SELECT cmp_ok(pg_temp.stored(), '>=', 0::bigint, 'sampled');
SELECT is(loyalty.tier_of(3, 'value') || loyalty.tier_of(5, 'value'), 'goodbest', 'by the function''s values');

-- A new version: previewed, then in force; nobody falls at once.
SELECT is((SELECT string_agg(member_id || ' ' || move, ', ' ORDER BY member_id) FROM loyalty.preview_ladder('club',
	'{"measures": [{"measure": "orders", "window": "lifetime"}], "levels": [{"level": "blue"}, {"level": "gold", "any": {"orders": 2}}]}') WHERE member_id IN (1, 3, 7)),
	'1 stays, 3 up, 7 up', 'previewed');
SELECT is(loyalty.define_ladder('club', '{"measures": [{"measure": "orders", "window": "lifetime"}], "levels": [{"level": "blue"}, {"level": "gold", "any": {"orders": 2}}]}'), 2, 'version 2');
SELECT is(loyalty.tier_of(7, 'club') || loyalty.tier_of(7, 'club', '2024-06-01'), 'goldblue', 'from now on, not before, and without any job');
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'all is well before it is booked');
CALL loyalty.evaluate_tiers();
SELECT cmp_ok(pg_temp.stored(), '>', 0::bigint, 'booked');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'and after');

-- Histories cannot overlap.
SELECT throws_ok($$INSERT INTO loyalty.tier_history (member_id, ladder, starts_at, level, event, reason)
	SELECT member_id, ladder, starts_at + interval '1 hour', level, event, reason FROM loyalty.tier_history ORDER BY member_id, starts_at LIMIT 1$$,
	'23P01', NULL, 'an overlapping row');
-- What somebody changes by hand is found.
UPDATE loyalty.tier_history SET level = 'gold' WHERE member_id = 1 AND starts_at = '2022-03-01';
SELECT is((SELECT count(*) FROM loyalty.check_tier() WHERE member_id = 1), 1::bigint, 'a forged history');
SELECT cmp_ok(loyalty.evaluate_member_tiers(1, 'club')::int, '>=', 0, 'evaluated again');
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'it is right again');

SELECT * FROM finish();
