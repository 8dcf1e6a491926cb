-- Conditions, as src/activity/condition.h has them: what is refused where they
-- are read, and of what they hold.  They are asked for through campaigns, which
-- need no tables for it.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();

CREATE FUNCTION campaign(part jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"then": [{"points": 1}]}'::jsonb || part $$;
CREATE FUNCTION problems(definition jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(concat_ws(' ', nullif(severity, 'error'), path) || ': ' || problem, ', '), 'good') FROM loyalty.check_campaign($1)
$$;
CREATE FUNCTION holds(condition jsonb, activity jsonb DEFAULT '{}', member jsonb DEFAULT '{}') RETURNS boolean LANGUAGE sql AS $$
	SELECT loyalty.campaign_points(jsonb_build_object('c', campaign(jsonb_build_object('when', $1))), $2, $3, 'points') = 1
$$;
-- What cannot be told: neither it holds nor its negation
CREATE FUNCTION truth(condition jsonb, activity jsonb DEFAULT '{}', member jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN holds($1, $2, $3) THEN 'yes' WHEN holds(jsonb_build_object('not', $1), $2, $3) THEN 'no' ELSE 'unknown' END
$$;

-- ---------------------------------------------------------------------------
-- Reading
-- ---------------------------------------------------------------------------

\set comparison 'needs a comparison: >=, >, <=, < or ='
\set number 'and must be from 0 to 999999999999, with at most 6 decimals'
SELECT is(problems(campaign(jsonb_build_object('when', condition::jsonb))), problems, condition)
FROM (VALUES
	-- objects and lists
	('5', 'when: must be an object'), ('[]', 'when: must be an object'), ('{}', 'when: asks for nothing'),
	('{"amount": null}', 'when: asks for nothing'),
	('{"amount": null, "channel": ["app"]}', 'good'),
	('{"chanel": ["app"]}', 'when.chanel: is no predicate'),
	('{"activities": {">=": 1}}', 'when.activities: is no predicate'),
	('{"all": {}}', 'when.all: must be an array'), ('{"all": 5}', 'when.all: must be an array'), ('{"all": []}', 'when.all: is empty'),
	('{"any": [5]}', 'when.any[0]: must be an object'),
	('{"any": [{"channel": "app"}, {}]}', 'when.any[1]: asks for nothing'),
	('{"not": [{"channel": "app"}]}', 'when.not: must be an object'),
	('{"not": {"all": [{"channel": "app"}, {"chanel": "app"}]}}', 'when.not.all[1].chanel: is no predicate'),
	-- numbers
	('{"amount": 5}', 'when.amount: must be an object'),
	('{"amount": {}}', 'when.amount: ' || :'comparison'),
	('{"amount": {"=>": 5}}', 'when.amount.=>: is not known here, when.amount: ' || :'comparison'),
	('{"amount": {">=": "5"}}', 'when.amount.>=: must be a number'),
	('{"amount": {">=": -1}}', 'when.amount.>=: is -1, ' || :'number'),
	('{"amount": {">=": 0.0000001}}', 'when.amount.>=: is 0.0000001, ' || :'number'),
	('{"amount": {">=": 1000000000000}}', 'when.amount.>=: is 1000000000000, ' || :'number'),
	('{"amount": {">=": 1000000000000.5}}', 'when.amount.>=: is 1000000000000.5, ' || :'number'),
	('{"amount": {">=": 999999999999.999999}}', 'good'), ('{"amount": {">=": 0.000001}}', 'good'), ('{"amount": {">=": 0}}', 'good'),
	('{"amount": {">=": 5, "<=": 5}}', 'good'), ('{"amount": {">=": 5, "=": 5}}', 'good'), ('{"amount": {"<=": 5, "=": 5}}', 'good'),
	('{"amount": {">": 5, "<=": 5}}', 'when.amount: can never hold'), ('{"amount": {">=": 5, "<": 5}}', 'when.amount: can never hold'),
	('{"amount": {">": 5, "=": 5}}', 'when.amount: can never hold'), ('{"amount": {"<": 5, "=": 5}}', 'when.amount: can never hold'),
	('{"amount": {">": 5, "<": 6}}', 'good'), ('{"amount": {">=": 6, "<=": 5}}', 'when.amount: can never hold'),
	('{"all": [{"amount": {">=": 5}}, {"amount": {"<": 5}}]}', 'when: can never hold: its parts contradict each other'),
	('{"all": [{"amount": {">": 5}}, {"amount": {">=": 5, "<=": 5}}]}', 'when: can never hold: its parts contradict each other'),
	('{"all": [{"amount": {"<=": 5}}, {"amount": {">=": 5}}]}', 'good'),
	('{"any": [{"amount": {">=": 5}}, {"amount": {"<": 5}}]}', 'good'),
	-- days and times
	('{"weekday": 7}', 'good'), ('{"weekday": [1, 7]}', 'good'), ('{"month_day": 31}', 'good'), ('{"month_day": [1, 31]}', 'good'),
	('{"weekday": 0}', 'when.weekday: must be a whole number from 1 to 7'), ('{"weekday": 8}', 'when.weekday: must be a whole number from 1 to 7'),
	('{"weekday": 1.5}', 'when.weekday: must be a whole number from 1 to 7'), ('{"weekday": [1, 8]}', 'when.weekday[1]: must be a whole number from 1 to 7'),
	('{"month_day": 32}', 'when.month_day: must be a whole number from 1 to 31'), ('{"month_day": [0]}', 'when.month_day[0]: must be a whole number from 1 to 31'),
	('{"weekday": "monday"}', 'when.weekday: must be a number'),
	('{"weekday": []}', 'when.weekday: is empty, so it can never hold'),
	('{"all": [{"weekday": [1, 2]}, {"weekday": [3]}]}', 'when: can never hold: its parts contradict each other'),
	('{"all": [{"weekday": [1, 2]}, {"weekday": [2, 3]}]}', 'good'),
	('{"all": [{"month_day": [1, 2]}, {"month_day": [3]}]}', 'when: can never hold: its parts contradict each other'),
	('{"all": [{"month_day": [1, 2]}, {"month_day": [2, 3]}]}', 'good'),
	('{"any": [{"weekday": 1}, {"weekday": 2}]}', 'good'),
	('{"hours": "20:00"}', 'when.hours: must be an array of two: from, and until'), ('{"hours": ["20:00"]}', 'when.hours: must be an array of two: from, and until'),
	('{"hours": ["20:00", "21:00", "22:00"]}', 'when.hours: must be an array of two: from, and until'),
	('{"hours": ["20:00", "20:00:00"]}', 'when.hours: is empty, so it can never hold'),
	('{"hours": ["0:30", "9:30"]}', 'good'), ('{"hours": ["20:00", "19:59"]}', 'good'),
	('{"hours": [20, "21:00"]}', 'when.hours[0]: must be a text'),
	('{"hours": ["now", "21:00"]}', 'when.hours[0]: is "now", which is no time of the day'),
	('{"hours": ["20:00", "allballs"]}', 'when.hours[1]: is "allballs", which is no time of the day'),
	('{"hours": [" 20:00", "21:00"]}', 'when.hours[0]: is " 20:00", which is no time of the day'),
	('{"hours": ["27:00", "21:00"]}', 'when.hours[0]: is "27:00", which is no time of the day'),
	('{"between": "2026-06-01"}', 'when.between: must be an array of two: from, and until'),
	('{"between": ["2026-06-01"]}', 'when.between: must be an array of two: from, and until'),
	('{"between": ["2026-06-01", "2026-06-01"]}', 'when.between: ends before it begins, so it can never hold'),
	('{"between": ["2026-06-02", "2026-06-01"]}', 'when.between: ends before it begins, so it can never hold'),
	('{"between": ["2026-06-01", "2026-06-01 00:00:00.000001"]}', 'good'), ('{"between": [null, null]}', 'good'),
	('{"between": ["2026-06-01", 5]}', 'when.between[1]: must be a text'),
	('{"between": ["today", null]}', 'when.between[0]: is "today", which is no date'), ('{"between": ["05/10/2026", null]}', 'when.between[0]: is "05/10/2026", which is no date'),
	('{"between": ["20260601", null]}', 'when.between[0]: is "20260601", which is no date'), ('{"between": ["2026-6-01", null]}', 'when.between[0]: is "2026-6-01", which is no date'),
	('{"between": ["2026-02-29", null]}', 'when.between[0]: is "2026-02-29", which is no date'), ('{"between": ["2026-02-011", null]}', 'when.between[0]: is "2026-02-011", which is no date'),
	('{"between": [null, "infinity"]}', 'when.between[1]: is "infinity", which is no date'), ('{"between": ["2026-06-01 infinity", null]}', 'when.between[0]: is "2026-06-01 infinity", which is no date'),
	-- lines
	('{"lines": []}', 'when.lines: must be an object'), ('{"lines": {}}', 'when.lines: asks for nothing'),
	('{"lines": {"colour": "red"}}', 'when.lines.colour: is not known here, when.lines: asks for nothing'),
	('{"lines": {"sku": "T1"}}', 'good'), ('{"lines": {"category": ["tea"]}}', 'good'), ('{"lines": {"brand": "b"}}', 'good'), ('{"lines": {"grade": "g"}}', 'good'),
	('{"lines": {"quantity": {">=": 2}}}', 'good'), ('{"lines": {"amount": {">=": 2}}}', 'good'),
	('{"lines": {"quantity": 2}}', 'when.lines.quantity: must be an object'), ('{"lines": {"amount": {}}}', 'when.lines.amount: ' || :'comparison'),
	('{"lines": {"sku": []}}', 'when.lines.sku: is empty, so nothing can ever be in it'),
	('{"lines": {"sku": ["T1", 5]}}', 'when.lines.sku[1]: must be a text'), ('{"lines": {"sku": 5}}', 'when.lines.sku: must be a text'),
	('{"channel": ""}', 'when.channel: must be a text'),
	-- what is known of the member
	('{"tier": "gold"}', 'when.tier: must be an object'), ('{"tier": {}}', 'when.tier: asks for nothing'), ('{"attribute": {}}', 'when.attribute: asks for nothing'),
	('{"tier": {"club": []}}', 'when.tier.club: is empty, so nothing can ever be in it'),
	('{"tier": {"club": "gold", "other": "gold"}}', 'when.tier.other: is one too many; write {"all": [...]}'),
	('{"reached": {"club": "gold", "other": "gold"}}', 'when.reached.other: is one too many; write {"all": [...]}'),
	('{"attribute": {"city": "Bonn"}}', 'good'),
	('{"count": 5}', 'when.count: must be an object'), ('{"count": {">=": 1}}', 'when.count: needs a kind of activities'),
	('{"count": {"kind": "order"}}', 'when.count: ' || :'comparison'), ('{"count": {"kind": "order", "=": 0}}', 'good'),
	('{"spent": {"kind": "order", "=": 0, "by": 1}}', 'when.spent.by: is not known here'),
	('{"count": {"kind": "order", "=": 0, "within": "decade"}}', 'when.count.within: is "decade", and must be one of: day, week, month, quarter, year, lifetime'),
	('{"holiday": ["de"]}', 'when.holiday: must be a text'),
	('{"birthday": "today"}', 'when.birthday: must be an object'), ('{"birthday": {"before": 180, "after": 180, "leap_day": "mar1"}}', 'good'),
	('{"birthday": {"before": 181}}', 'when.birthday.before: must be a whole number from 0 to 180'), ('{"birthday": {"after": 181}}', 'when.birthday.after: must be a whole number from 0 to 180'),
	('{"birthday": {"leap_day": "mar2"}}', 'when.birthday.leap_day: is "mar2", and must be one of: feb28, mar1'),
	('{"birthday": {"befor": 1}}', 'when.birthday.befor: is not known here'),
	('{"audience": 5}', 'when.audience: must be a text'), ('{"trial": {}}', 'when.trial: is empty'),
	-- paths
	('{"path": 5}', 'when.path: must be a text'), ('{"path": "$.a >"}', 'when.path: is no jsonpath: $.a >'), ('{"path": "$.a"}', 'when.path: is no predicate: it must be true or false'),
	('{"path": "$.a > 1"}', 'good'), ('{"path": "$.a != 1"}', 'good'), ('{"path": "!exists($.a)"}', 'good'), ('{"path": "exists($.a) && !($.a > 1)"}', 'good'),
	('{"path": "strict !($.a > 1)"}', 'good'), ('{"path": "$.a == \"so!\""}', 'good'),
	('{"path": "STRICT !($.a > 1)"}', 'good'), ('{"path": "/* all of it */ strict !($.a > 1)"}', 'good'), ('{"path": "EXISTS($.a) && !($.a > 1)"}', 'good'),
	-- a field of that name is no question
	('{"path": "!($.exists > 1)"}', 'warning when.path: has a negation that holds where the field is missing; ask exists() as well, or use "strict"'),
	('{"path": "$.a != 1 && ! ($.b > 1)"}', 'warning when.path: has a negation that holds where the field is missing; ask exists() as well, or use "strict"')
) v (condition, problems);
-- of a window
SELECT is(problems(campaign(jsonb_build_object('window', 'month', 'having', condition::jsonb))), problems, 'having ' || condition)
FROM (VALUES
	('{"activities": {">=": 3}}', 'good'), ('{"amount": {">=": 3}}', 'good'), ('{"lines": {"sku": "T1"}}', 'good'), ('{"any": [{"activities": {">=": 3}}, {"not": {"amount": {">=": 3}}}]}', 'good'),
	('{"activities": 3}', 'having.activities: must be an object'), ('{"activities": {"=": 3, "!": 4}}', 'having.activities.!: is not known here'),
	('{"channel": ["app"]}', 'having.channel: is not known of a window'), ('{"any": [{"weekday": 1}]}', 'having.any[0].weekday: is not known of a window'),
	('{"not": {"tier": {"club": "gold"}}}', 'having.not.tier: is not known of a window')
) v (condition, problems);
-- texts, numbers and spans of definitions
SELECT is(problems(campaign(part::jsonb)), problems, part)
FROM (VALUES
	('{"on": "order"}', 'good'), ('{"on": []}', 'on: is empty, so nothing can ever be in it'), ('{"on": [5]}', 'on[0]: must be a text'),
	('{"stop": "yes"}', 'stop: must be true or false'), ('{"stop": true}', 'good'),
	('{"priority": 1000000}', 'good'), ('{"priority": 0}', 'good'), ('{"priority": 1000001}', 'priority: must be a whole number from 0 to 1000000'),
	('{"lane": 5}', 'lane: must be a text'), ('{"lane": "extra"}', 'lane: is "extra", and must be one of: base, bonus'),
	('{"expires_after": "1000 years"}', 'good'), ('{"expires_after": "365000 days"}', 'good'), ('{"expires_after": "8760000 hours"}', 'good'), ('{"expires_after": "1 second"}', 'good'),
	('{"expires_after": "1000 years 1 month"}', 'expires_after: is "1000 years 1 month", and must be positive and at most 1000 years'),
	('{"expires_after": "365001 days"}', 'expires_after: is "365001 days", and must be positive and at most 1000 years'),
	('{"expires_after": "8760000:00:01"}', 'expires_after: is "8760000:00:01", and must be positive and at most 1000 years'),
	('{"expires_after": "0 days"}', 'expires_after: is "0 days", and must be positive and at most 1000 years'),
	('{"expires_after": "1 month -1 day"}', 'expires_after: is "1 month -1 day", and must be positive and at most 1000 years'),
	('{"expires_after": "1 day -1 hour"}', 'expires_after: is "1 day -1 hour", and must be positive and at most 1000 years'),
	('{"expires_after": "-1 month 1 day"}', 'expires_after: is "-1 month 1 day", and must be positive and at most 1000 years'),
	('{"expires_after": "soon"}', 'expires_after: is "soon", which is no interval'), ('{"expires_after": 5}', 'expires_after: must be a text'),
	('{"time_zone": 5}', 'time_zone: must be a text'), ('{"time_zone": "Mars/Crater"}', 'time_zone: is "Mars/Crater", which is no time zone'), ('{"time_zone": "member"}', 'good'),
	('{"then": {"points": 1}}', 'then: must be an array'), ('{"limits": []}', 'limits: must be an object')
) v (part, problems);

-- ---------------------------------------------------------------------------
-- Yes, no, or unknown
-- ---------------------------------------------------------------------------

SELECT is(truth(condition::jsonb, activity::jsonb, member::jsonb), expected, condition || ' of ' || activity || ' and ' || member)
FROM (VALUES
	-- the ends of ranges, which are narrowed by whatever stands beside
	('{"amount": {">": 5}}', '{"amount": 5}', '{}', 'no'), ('{"amount": {">": 5}}', '{"amount": 5.000001}', '{}', 'yes'),
	('{"amount": {">=": 5}}', '{"amount": 5}', '{}', 'yes'), ('{"amount": {">=": 5}}', '{"amount": 4.999999}', '{}', 'no'),
	('{"amount": {"<": 5}}', '{"amount": 5}', '{}', 'no'), ('{"amount": {"<": 5}}', '{"amount": 4.999999}', '{}', 'yes'),
	('{"amount": {"<=": 5}}', '{"amount": 5}', '{}', 'yes'), ('{"amount": {"<=": 5}}', '{"amount": 5.000001}', '{}', 'no'),
	('{"amount": {"=": 5}}', '{"amount": 5.000001}', '{}', 'no'), ('{"amount": {"=": 5}}', '{"amount": 4.999999}', '{}', 'no'), ('{"amount": {"=": 0}}', '{}', '{}', 'unknown'),
	('{"amount": {">=": 5, ">": 5}}', '{"amount": 5}', '{}', 'no'), ('{"amount": {">=": 6, ">": 5}}', '{"amount": 5.5}', '{}', 'no'), ('{"amount": {">=": 6, ">": 5}}', '{"amount": 6}', '{}', 'yes'),
	('{"amount": {">=": 4, ">": 5}}', '{"amount": 4.5}', '{}', 'no'),
	('{"amount": {"<=": 5, "<": 5}}', '{"amount": 5}', '{}', 'no'), ('{"amount": {"<=": 4, "<": 5}}', '{"amount": 4.5}', '{}', 'no'), ('{"amount": {"<=": 4, "<": 5}}', '{"amount": 4}', '{}', 'yes'),
	('{"amount": {"<=": 6, "<": 5}}', '{"amount": 5.5}', '{}', 'no'),
	-- the smallest that is missing, and what the others make of it
	('{"all": [{"channel": "app"}, {"amount": {">": 5}}]}', '{"amount": 6}', '{}', 'unknown'), ('{"all": [{"channel": "app"}, {"amount": {">": 5}}]}', '{"amount": 5}', '{}', 'no'),
	('{"all": [{"amount": {">": 5}}, {"channel": "app"}]}', '{"channel": "web"}', '{}', 'no'),
	('{"any": [{"channel": "app"}, {"amount": {">": 5}}]}', '{"amount": 6}', '{}', 'yes'), ('{"any": [{"channel": "app"}, {"amount": {">": 5}}]}', '{"amount": 5}', '{}', 'unknown'),
	('{"any": [{"amount": {">": 5}}, {"channel": "app"}]}', '{"amount": 5, "channel": "web"}', '{}', 'no'),
	('{"not": {"channel": "app"}}', '{}', '{}', 'unknown'), ('{"not": {"channel": "app"}}', '{"channel": "app"}', '{}', 'no'), ('{"not": {"not": {"channel": "app"}}}', '{"channel": "app"}', '{}', 'yes'),
	('{"channel": "app", "amount": {">": 5}}', '{"channel": "app", "amount": 6}', '{}', 'yes'), ('{"channel": "app", "amount": {">": 5}}', '{"channel": "web", "amount": 6}', '{}', 'no'),
	-- days
	('{"weekday": 6}', '{"at": "2026-05-02T12:00Z"}', '{}', 'yes'), ('{"weekday": 7}', '{"at": "2026-05-02T12:00Z"}', '{}', 'no'), ('{"weekday": [1, 6]}', '{"at": "2026-05-02T12:00Z"}', '{}', 'yes'),
	('{"weekday": 1}', '{"at": "2026-05-04T00:00Z"}', '{}', 'yes'), ('{"weekday": 7}', '{"at": "2026-05-03T23:59Z"}', '{}', 'yes'),
	('{"weekday": 5}', '{"at": "1999-12-31T12:00Z"}', '{}', 'yes'), ('{"weekday": 7}', '{"at": "1969-07-20T12:00Z"}', '{}', 'yes'), ('{"weekday": 6}', '{"at": "2000-01-01T00:00Z"}', '{}', 'yes'),
	('{"month_day": 31}', '{"at": "2026-05-31T12:00Z"}', '{}', 'yes'), ('{"month_day": 1}', '{"at": "2026-05-31T12:00Z"}', '{}', 'no'), ('{"month_day": [1, 15]}', '{"at": "2026-05-01T12:00Z"}', '{}', 'yes'),
	-- hours: from is in, until is not; before 2000, too
	('{"hours": ["17:00", "20:00"]}', '{"at": "2026-05-02T16:59:59.999999Z"}', '{}', 'no'), ('{"hours": ["17:00", "20:00"]}', '{"at": "2026-05-02T17:00Z"}', '{}', 'yes'),
	('{"hours": ["17:00", "20:00"]}', '{"at": "2026-05-02T20:00Z"}', '{}', 'no'), ('{"hours": ["17:00", "20:00"]}', '{"at": "1999-05-02T19:59:59Z"}', '{}', 'yes'),
	('{"hours": ["00:00", "01:00"]}', '{"at": "1999-05-02T00:00Z"}', '{}', 'yes'), ('{"hours": ["22:00", "02:00"]}', '{"at": "2026-05-02T02:00Z"}', '{}', 'no'),
	('{"hours": ["22:00", "02:00"]}', '{"at": "2026-05-02T01:59:59Z"}', '{}', 'yes'), ('{"hours": ["22:00", "02:00"]}', '{"at": "2026-05-02T22:00Z"}', '{}', 'yes'),
	('{"hours": ["22:00", "02:00"]}', '{"at": "2026-05-02T21:59:59Z"}', '{}', 'no'),
	-- the day on which such hours began, for all that asks for days beside them
	('{"hours": ["22:00", "02:00"], "weekday": 6}', '{"at": "2026-05-03T01:00Z"}', '{}', 'yes'), ('{"hours": ["22:00", "02:00"], "weekday": 7}', '{"at": "2026-05-03T22:00Z"}', '{}', 'yes'),
	('{"hours": ["22:00", "02:00"], "month_day": 2}', '{"at": "2026-05-03T01:00Z"}', '{}', 'yes'), ('{"hours": ["00:00", "02:00"], "weekday": 7}', '{"at": "2026-05-03T01:00Z"}', '{}', 'yes'),
	('{"hours": ["22:00", "02:00"], "holiday": "de"}', '{"at": "2026-12-26T01:00Z"}', '{"holidays": {"de": ["2026-12-25"]}}', 'yes'),
	('{"hours": ["22:00", "02:00"], "holiday": "de"}', '{"at": "2026-12-25T01:00Z"}', '{"holidays": {"de": ["2026-12-25"]}}', 'no'),
	('{"hours": ["22:00", "02:00"], "birthday": {}}', '{"at": "2026-05-03T01:00Z"}', '{"attributes": {"birthday": "1990-05-02"}}', 'yes'),
	('{"all": [{"hours": ["22:00", "02:00"]}, {"weekday": 6}]}', '{"at": "2026-05-03T01:00Z"}', '{}', 'no'),
	-- spans
	('{"between": ["2026-06-01 10:00", "2026-06-01 11:00"]}', '{"at": "2026-06-01T09:59:59.999999Z"}', '{}', 'no'), ('{"between": ["2026-06-01 10:00", "2026-06-01 11:00"]}', '{"at": "2026-06-01T10:00Z"}', '{}', 'yes'),
	('{"between": ["2026-06-01 10:00", "2026-06-01 11:00"]}', '{"at": "2026-06-01T11:00Z"}', '{}', 'no'), ('{"between": [null, "2026-06-01"]}', '{"at": "1990-06-01T11:00Z"}', '{}', 'yes'),
	('{"between": [null, null]}', '{"at": "1990-06-01T11:00Z"}', '{}', 'yes'),
	-- lines
	('{"lines": {"sku": "T1"}}', '{}', '{}', 'unknown'), ('{"lines": {"sku": "T1"}}', '{"lines": []}', '{}', 'no'), ('{"lines": {"sku": "T1"}}', '{"lines": [{"sku": "T1"}]}', '{}', 'yes'),
	('{"lines": {"sku": ["T0", "T1"]}}', '{"lines": [{"sku": "T2"}, {"sku": "T1"}]}', '{}', 'yes'), ('{"lines": {"sku": "T1"}}', '{"lines": [{"sku": "T2"}]}', '{}', 'no'),
	('{"lines": {"sku": "T1"}}', '{"lines": [{"brand": "b"}]}', '{}', 'unknown'), ('{"lines": {"sku": "T1", "brand": "b"}}', '{"lines": [{"sku": "T1", "brand": "c"}]}', '{}', 'no'),
	('{"lines": {"sku": "T1", "brand": "b"}}', '{"lines": [{"brand": "c"}]}', '{}', 'no'), ('{"lines": {"sku": "T1", "brand": "b"}}', '{"lines": [{"sku": "T1"}]}', '{}', 'unknown'),
	('{"lines": {"grade": "a"}}', '{"lines": [{"grade": "a"}]}', '{}', 'yes'), ('{"lines": {"grade": "a"}}', '{"lines": [{"grade": "ab"}]}', '{}', 'no'),
	('{"lines": {"brand": "b"}}', '{"lines": [{"brand": "b/c"}]}', '{}', 'no'), ('{"lines": {"category": "tea"}}', '{"lines": [{"category": "tea"}]}', '{}', 'yes'),
	('{"lines": {"category": ["milk", "tea"]}}', '{"lines": [{"category": "tea/green/sencha"}]}', '{}', 'yes'), ('{"lines": {"category": "tea/green"}}', '{"lines": [{"category": "tea"}]}', '{}', 'no'),
	('{"lines": {"category": "tea"}}', '{"lines": [{"category": "teapot"}]}', '{}', 'no'),
	-- one of which nothing is left is not there
	('{"lines": {"sku": "T1"}}', '{"lines": [{"sku": "T1", "quantity": 0, "amount": 0}]}', '{}', 'no'), ('{"lines": {"sku": "T1"}}', '{"lines": [{"sku": "T1", "quantity": 0, "amount": 1}]}', '{}', 'yes'),
	('{"lines": {"sku": "T1"}}', '{"lines": [{"sku": "T1", "quantity": 1, "amount": 0}]}', '{}', 'yes'), ('{"lines": {"sku": "T1"}}', '{"lines": [{"quantity": 0, "amount": 0}]}', '{}', 'no'),
	-- sums over those that are selected; what nobody knows can only add to them
	('{"lines": {"quantity": {">=": 3}}}', '{"lines": [{"quantity": 2}, {}]}', '{}', 'yes'), ('{"lines": {"quantity": {">=": 4}}}', '{"lines": [{"quantity": 2}, {}]}', '{}', 'no'),
	('{"lines": {"quantity": {"<=": 3}}}', '{"lines": [{"quantity": 2}, {}]}', '{}', 'yes'), ('{"lines": {"quantity": {"<": 3}}}', '{"lines": [{"quantity": 2}, {}]}', '{}', 'no'),
	('{"lines": {"sku": "T1", "quantity": {"=": 0}}}', '{"lines": [{"sku": "T2"}]}', '{}', 'yes'),
	('{"lines": {"sku": "T1", "quantity": {">=": 2}}}', '{"lines": [{"sku": "T1", "quantity": 2}, {}]}', '{}', 'yes'),
	('{"lines": {"sku": "T1", "quantity": {">=": 3}}}', '{"lines": [{"sku": "T1", "quantity": 2}, {}]}', '{}', 'unknown'),
	('{"lines": {"sku": "T1", "quantity": {"<=": 2}}}', '{"lines": [{"sku": "T1", "quantity": 2}, {}]}', '{}', 'unknown'),
	('{"lines": {"amount": {">=": 3}}}', '{"lines": [{"amount": 2}, {"amount": 1}]}', '{}', 'yes'), ('{"lines": {"amount": {"<": 3}}}', '{"lines": [{"amount": 2}, {"amount": 1}]}', '{}', 'no'),
	('{"lines": {"amount": {">=": 3}}}', '{"lines": [{"amount": 2}, {}]}', '{}', 'unknown'), ('{"lines": {"amount": {">=": 2}}}', '{"lines": [{"amount": 2}, {}]}', '{}', 'yes'),
	('{"lines": {"amount": {"<=": 2}}}', '{"lines": [{"amount": 2}, {}]}', '{}', 'unknown'), ('{"lines": {"quantity": {"=": 2}}}', '{"lines": [{"amount": 2}, {}]}', '{}', 'yes'),
	('{"lines": {"quantity": {">=": 2}, "amount": {">=": 5}}}', '{"lines": [{"amount": 5}]}', '{}', 'no'), ('{"lines": {"quantity": {">=": 1}, "amount": {">=": 6}}}', '{"lines": [{"amount": 5}]}', '{}', 'no'),
	-- documents
	('{"path": "$.a == 1"}', '{}', '{}', 'unknown'), ('{"path": "$.a == 1"}', '{"document": {"a": 1}}', '{}', 'yes'), ('{"path": "$.a == 1"}', '{"document": {"a": 2}}', '{}', 'no'),
	('{"path": "$.a > 1"}', '{"document": {"a": "x"}}', '{}', 'unknown'),
	('{"reached": {"club": "gold"}}', '{}', '{}', 'unknown'), ('{"reached": {"club": "gold"}}', '{"document": {"ladder": "club", "to": "gold", "event": "upgraded"}}', '{}', 'yes'),
	('{"reached": {"club": "gold"}}', '{"document": {"ladder": "club", "to": "gold", "event": "enrolled"}}', '{}', 'yes'), ('{"reached": {"club": "gold"}}', '{"document": {"ladder": "club", "to": "gold", "event": "downgraded"}}', '{}', 'no'),
	('{"reached": {"club": "gold"}}', '{"document": {"ladder": "other", "to": "gold", "event": "upgraded"}}', '{}', 'no'), ('{"reached": {"club": "gold"}}', '{"document": {"ladder": "club", "to": "silver", "event": "upgraded"}}', '{}', 'no'),
	('{"reached": {"club": ["silver", "gold"]}}', '{"document": {"ladder": "club", "to": "gold", "event": "upgraded"}}', '{}', 'yes'), ('{"reached": {"club": "gold"}}', '{"document": {"ladder": "club", "event": "upgraded"}}', '{}', 'no'),
	('{"reached": {"club": "gold"}}', '{"document": {"to": "gold", "event": "upgraded"}}', '{}', 'unknown'), ('{"reached": {"club": "gold"}}', '{"document": {"ladder": "club", "to": "gold"}}', '{}', 'unknown'),
	('{"reached": {"club": "gold"}}', '{"document": {"ladder": 5, "to": "gold", "event": "upgraded"}}', '{}', 'unknown'), ('{"reached": {"club": "gold"}}', '{"document": ["ladder"]}', '{}', 'unknown'),
	-- the member
	('{"tier": {"club": "gold"}}', '{}', '{}', 'unknown'), ('{"tier": {"club": "gold"}}', '{}', '{"tier": {"club": "silver"}}', 'no'), ('{"tier": {"club": ["silver", "gold"]}}', '{}', '{"tier": {"club": "gold"}}', 'yes'),
	('{"attribute": {"city": ["Ulm", "Bonn"]}}', '{}', '{"attributes": {"city": "Bonn"}}', 'yes'), ('{"attribute": {"size": "42"}}', '{}', '{"attributes": {"size": 42}}', 'yes'),
	('{"attribute": {"size": "42"}}', '{}', '{"attributes": {"size": 43}}', 'no'), ('{"attribute": {"vip": "true"}}', '{}', '{"attributes": {"vip": true}}', 'yes'), ('{"attribute": {"vip": "true"}}', '{}', '{"attributes": {"vip": false}}', 'no'),
	('{"attribute": {"vip": "false"}}', '{}', '{"attributes": {"vip": false}}', 'yes'), ('{"attribute": {"city": "Bonn"}}', '{}', '{"attributes": {"city": ["Bonn"]}}', 'unknown'), ('{"attribute": {"city": "Bonn"}}', '{}', '{"attributes": {"city": null}}', 'unknown'),
	('{"count": {"kind": "order", ">": 2}}', '{}', '{"count": {"order": {"lifetime": 3}}}', 'yes'), ('{"count": {"kind": "order", ">": 2}}', '{}', '{"count": {"order": {"lifetime": 2}}}', 'no'),
	('{"count": {"kind": "order", ">": 2}}', '{}', '{"count": {"order": {"month": 3}}}', 'unknown'), ('{"count": {"kind": "order", ">": 2}}', '{}', '{"spent": {"order": {"lifetime": 3}}}', 'unknown'),
	('{"spent": {"kind": "order", ">": 2}}', '{}', '{"spent": {"order": {"lifetime": 2.01}}}', 'yes'), ('{"spent": {"kind": "order", ">": 2, "within": "week"}}', '{}', '{"spent": {"order": {"week": 2}}}', 'no'),
	('{"holiday": "de"}', '{"at": "2026-12-25T12:00Z"}', '{"holidays": {"de": ["2026-12-25", "2026-12-26"]}}', 'yes'), ('{"holiday": "de"}', '{"at": "2026-12-24T12:00Z"}', '{"holidays": {"de": ["2026-12-25", 5]}}', 'no'),
	('{"holiday": "de"}', '{"at": "2026-12-25T12:00Z"}', '{"holidays": {"fr": ["2026-12-25"]}}', 'unknown'),
	-- what other rooms ask, by the name that stands for it where it is kept
	('{"audience": "vip"}', '{}', '{}', 'unknown'), ('{"audience": "vip"}', '{}', '{"facts": {"audience:audience vip": true}}', 'yes'), ('{"audience": "vip"}', '{}', '{"facts": {"audience:audience vip": false}}', 'no'), ('{"audience": "vip"}', '{}', '{"facts": {"audience:audience vip": "true"}}', 'unknown'),
	('{"audience": "vip"}', '{}', '{"facts": {"audience:audience vip": null, "audience:audience all": true}}', 'unknown'), ('{"trial": "spring"}', '{}', '{"facts": {"trial:spring": true}}', 'yes'), ('{"trial": "spring"}', '{}', '{"facts": ["trial:spring"]}', 'unknown'),
	-- birthdays, over the end of a year and in years without a leap day
	('{"birthday": {}}', '{"at": "2026-05-02T12:00Z"}', '{"attributes": {"birthday": "1990-05-02"}}', 'yes'), ('{"birthday": {}}', '{"at": "2026-05-03T12:00Z"}', '{"attributes": {"birthday": "1990-05-02"}}', 'no'),
	('{"birthday": {}}', '{"at": "2026-05-01T12:00Z"}', '{"attributes": {"birthday": "1990-05-02"}}', 'no'), ('{"birthday": {"before": 1}}', '{"at": "2026-05-01T12:00Z"}', '{"attributes": {"birthday": "1990-05-02"}}', 'yes'),
	('{"birthday": {"before": 1}}', '{"at": "2026-05-03T12:00Z"}', '{"attributes": {"birthday": "1990-05-02"}}', 'no'), ('{"birthday": {"after": 1}}', '{"at": "2026-05-03T12:00Z"}', '{"attributes": {"birthday": "1990-05-02"}}', 'yes'),
	('{"birthday": {"after": 3}}', '{"at": "2026-01-02T12:00Z"}', '{"attributes": {"birthday": "1990-12-30"}}', 'yes'), ('{"birthday": {"after": 3}}', '{"at": "2026-01-03T12:00Z"}', '{"attributes": {"birthday": "1990-12-30"}}', 'no'),
	('{"birthday": {"before": 3}}', '{"at": "2026-12-29T12:00Z"}', '{"attributes": {"birthday": "1990-01-01"}}', 'yes'), ('{"birthday": {"before": 3}}', '{"at": "2026-12-28T12:00Z"}', '{"attributes": {"birthday": "1990-01-01"}}', 'no'),
	('{"birthday": {}}', '{"at": "2027-02-28T12:00Z"}', '{"attributes": {"birthday": "2000-02-29"}}', 'yes'), ('{"birthday": {}}', '{"at": "2028-02-28T12:00Z"}', '{"attributes": {"birthday": "2000-02-29"}}', 'no'),
	('{"birthday": {"leap_day": "mar1"}}', '{"at": "2027-03-01T12:00Z"}', '{"attributes": {"birthday": "2000-02-29"}}', 'yes'), ('{"birthday": {"leap_day": "mar1"}}', '{"at": "2027-02-28T12:00Z"}', '{"attributes": {"birthday": "2000-02-29"}}', 'no'),
	('{"birthday": {"leap_day": "mar1"}}', '{"at": "2028-02-29T12:00Z"}', '{"attributes": {"birthday": "2000-02-29"}}', 'yes'), ('{"birthday": {}}', '{"at": "2026-05-02T12:00Z"}', '{"attributes": {"birthday": "05/02/1990"}}', 'unknown'),
	('{"birthday": {}}', '{"at": "2026-03-29T12:00Z"}', '{"attributes": {"birthday": "1990-03-29"}}', 'yes'), ('{"birthday": {}}', '{"at": "2026-02-28T12:00Z"}', '{"attributes": {"birthday": "1990-02-28"}}', 'yes')
) v (condition, activity, member, expected);

-- The clock is that of the activity, or of the campaign's zone
SELECT is(loyalty.campaign_points(jsonb_build_object('c', campaign(jsonb_build_object('when', condition::jsonb, 'time_zone', 'Asia/Tokyo'))),
	'{"at": "2026-05-02T16:00Z", "time_zone": "America/New_York"}'), expected::bigint, 'in Tokyo: ' || condition)
FROM (VALUES ('{"weekday": 7}', 1), ('{"weekday": 6}', 0), ('{"hours": ["01:00", "02:00"]}', 1), ('{"hours": ["12:00", "13:00"]}', 0), ('{"hours": ["22:00", "02:00"], "weekday": 6}', 1)) v (condition, expected);

-- Which lines an effect over matching lines counts: those of a predicate that holds, and under no "not"
SELECT is(loyalty.campaign_points(jsonb_build_object('c', jsonb_build_object('when', condition::jsonb, 'then', '[{"points": {"give": 1, "per": 1}, "over": "matching_lines"}]'::jsonb)),
	'{"lines": [{"sku": "T1", "amount": 1}, {"sku": "T2", "brand": "b", "amount": 10}, {"sku": "T3", "brand": "c", "amount": 100}]}'), expected::bigint, 'over ' || condition)
FROM (VALUES ('{"lines": {"sku": "T1"}}', 1), ('{"any": [{"lines": {"sku": "T1"}}, {"lines": {"brand": "c"}}]}', 101), ('{"any": [{"lines": {"sku": "T1"}}, {"lines": {"brand": "b", "quantity": {">=": 2}}}]}', 1),
	('{"all": [{"lines": {"sku": "T1"}}, {"not": {"lines": {"sku": "T9"}}}]}', 1), ('{"all": [{"lines": {"sku": "T2"}}, {"lines": {"brand": "b"}}]}', 10), ('{"lines": {"sku": ["T1", "T2"]}, "amount": {">": 5}}', 11),
	('{"any": [{"lines": {"brand": "b"}}, {"not": {"lines": {"sku": "T3", "quantity": {">=": 2}}}}]}', 10)) v (condition, expected);

-- Instants: as jsonb writes them, and in whatever other way PostgreSQL reads them
SELECT is(loyalty.campaign_points(jsonb_build_object('c', campaign(jsonb_build_object('time_zone', 'UTC', 'between', jsonb_build_array(to_char(utc, 'YYYY-MM-DD HH24:MI:SS.US'), to_char(utc + interval '1 microsecond', 'YYYY-MM-DD HH24:MI:SS.US'))))),
	jsonb_build_object('at', at)), 1::bigint, at || ' is ' || utc)
FROM (VALUES ('2026-05-02T10:20:30+00:00', timestamp '2026-05-02 10:20:30'), ('2026-05-02T10:20:30.5+00:00', '2026-05-02 10:20:30.5'), ('2026-05-02T10:20:30.123456+00:00', '2026-05-02 10:20:30.123456'),
	('2026-05-02T10:20:30.1234567+00:00', '2026-05-02 10:20:30.123457'), ('2026-05-02T10:20:30.000001+00', '2026-05-02 10:20:30.000001'), ('2026-05-02 10:20:30+00:00', '2026-05-02 10:20:30'),
	('2026-05-02T10:20:30+05', '2026-05-02 05:20:30'), ('2026-05-02T10:20:30-05', '2026-05-02 15:20:30'), ('2026-05-02T10:20:30+05:45', '2026-05-02 04:35:30'), ('2026-05-02T10:20:30-03:30', '2026-05-02 13:50:30'),
	('2026-05-02T10:20:30+0545', '2026-05-02 04:35:30'), ('2026-05-02T10:20:30+15:59', '2026-05-01 18:21:30'), ('2026-05-02T10:20:30+05:45:30', '2026-05-02 04:35:00'), ('2026-05-02T10:20:30Z', '2026-05-02 10:20:30'),
	('2026-01-01T00:00:00+00:00', '2026-01-01'), ('2026-12-31T23:59:59+00:00', '2026-12-31 23:59:59'), ('2026-12-31T24:00:00+00:00', '2027-01-01'), ('2026-12-31T23:59:60+00:00', '2027-01-01'),
	('2028-02-29T00:00:00+00:00', '2028-02-29'), ('1999-02-28T12:34:56+00:00', '1999-02-28 12:34:56'), ('0001-01-02T00:00:00+00:00', '0001-01-02'), ('2026-05-02 10:20', '2026-05-02 10:20'),
	('2026-05-02T10:20:30 +05:00', '2026-05-02 05:20:30'), ('2026-05-02T10:20:30.+05:00', '2026-05-02 05:20:30')) v (at, utc);
SELECT throws_ok(format($$SELECT loyalty.campaign_points('{}', '{"at": %s}')$$, to_json(at)), sqlstate, NULL, 'no instant: ' || at)
FROM (VALUES ('2026-00-01T00:00:00+00:00', '22008'), ('2026-01-00T00:00:00+00:00', '22008'), ('2026-04-31T00:00:00+00:00', '22008'), ('2026-01-32T00:00:00+00:00', '22008'), ('2026-01-01T25:00:00+00:00', '22008'),
	('2026-01-01T00:60:00+00:00', '22008'), ('2026-01-01T00:00:61+00:00', '22008'), ('2026-01-01T00:00:00+16:00', '22009'), ('2026-01-01T00:00:00+00:60', '22009'), ('2026-01-01T00:00:00+0x:00', '22007'),
	('2026-0x-01T00:00:00+00:00', '22007'), ('2026-01-01T0x:00:00+00:00', '22007'), ('2026-01-01T00:00:00+00:0x', '22007'), ('2026-01-01T00.00:00+00:00', '22007'), ('0000-01-01T00:00:00+00:00', '22008')) v (at, sqlstate);

-- ---------------------------------------------------------------------------
-- What failed first, and periods of the calendar: with tables
-- ---------------------------------------------------------------------------

SELECT loyalty.setup() \g /dev/null
SELECT loyalty.create_currency('points') \g /dev/null
-- cheap ones are looked at first, those that cost the same as they stand; a part of lists costs what it has
SELECT loyalty.define_campaign('c' || n, campaign(jsonb_build_object('on', 'like', 'when', condition::jsonb)), '2026-01-01')
FROM (VALUES (1, '{"channel": "app", "amount": {">": 5}}'), (2, '{"all": [{"path": "$.a == 1"}, {"lines": {"sku": "T1"}}]}'), (3, '{"all": [{"tier": {"club": "gold"}}, {"holiday": "de"}, {"weekday": 1}]}'),
	(4, '{"all": [{"any": [{"attribute": {"city": "Bonn"}}, {"channel": "app"}]}, {"path": "$.a == 1"}]}'), (5, '{"not": {"weekday": 6}}'), (6, '{"all": [{"not": {"path": "$.a == 2"}}, {"any": [{"amount": {">": 5}}, {"channel": "app"}]}]}'),
	(7, '{"all": [{"weekday": 6}, {"any": [{"amount": {">": 5}}, {"hours": ["10:00", "11:00"]}]}, {"month_day": 3}]}')) v (n, condition) \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(1, 'like', '2026-05-02 12:00', 5, '[{"sku": "T2"}]', channel => 'web', document => '{"a": 2}') \gset
SELECT results_eq(format('SELECT campaign, matched, failed_at FROM loyalty.explain_award(1, %s) ORDER BY 1', :a), $$VALUES ('c1', false, 'when.amount'), ('c2', false, 'when.all[1].lines'), ('c3', false, 'when.all[2].weekday'),
	('c4', false, 'when.all[1].path'), ('c5', false, 'when.not'), ('c6', false, 'when.all[1].any'), ('c7', false, 'when.all[2].month_day')$$, 'what failed first');

-- Orders of 2025 and 2026, recorded in their order: how many came before in the period of each
SELECT loyalty.define_campaign(period || '_' || n, campaign(jsonb_build_object('on', 'order', 'when', jsonb_build_object('count', jsonb_build_object('kind', 'order', 'within', period, '=', n)), 'then', jsonb_build_array(jsonb_build_object('points', n + 1)))), '2025-01-01')
FROM unnest('{day,week,month,quarter,year,lifetime}'::text[]) period, generate_series(0, 7) n \g /dev/null
CREATE FUNCTION before(member bigint, instant timestamptz) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg((w.points - 1)::text, ' ' ORDER BY array_position('{day,week,month,quarter,year,lifetime}', split_part(w.campaign, '_', 1)))
	FROM loyalty.activity a JOIN loyalty.award w USING (activity_id) WHERE a.member_id = $1 AND a.at = $2 AND a.kind = 'order'
$$;
SELECT loyalty.record_activity(2, 'order', at, 10, time_zone => zone) FROM (VALUES (1, '2025-12-28 12:00'::timestamptz, 'UTC'), (2, '2025-12-29 12:00', 'UTC'), (3, '2025-12-31 23:59:59', 'UTC'), (4, '2026-01-01 00:00', 'UTC'),
	(5, '2026-01-04 23:00', 'UTC'), (6, '2026-03-31 15:00', 'Asia/Tokyo'), (7, '2026-03-31 16:00', 'UTC'), (8, '2026-04-01 00:00', 'UTC')) v (n, at, zone) ORDER BY n \g /dev/null
-- 2025-12-28 is a Sunday; the order of Tokyo is of April there
SELECT is(before(2, at), expected, 'before ' || at) FROM (VALUES ('2025-12-28 12:00'::timestamptz, '0 0 0 0 0 0'), ('2025-12-29 12:00', '0 0 1 1 1 1'), ('2025-12-31 23:59:59', '0 1 2 2 2 2'), ('2026-01-01 00:00', '0 2 0 0 0 3'),
	('2026-01-04 23:00', '0 3 1 1 1 4'), ('2026-03-31 15:00', '0 0 0 0 2 5'), ('2026-03-31 16:00', '0 1 0 2 3 6'), ('2026-04-01 00:00', '1 2 1 1 4 7')) v (at, expected);
-- and as limits count them
SELECT loyalty.define_campaign('l_' || period, campaign(jsonb_build_object('on', 'share', 'limits', jsonb_build_object('member', jsonb_build_object('points', 5, 'within', period)))), '2025-01-01')
FROM unnest('{day,week,month,quarter,year,lifetime}'::text[]) period \g /dev/null
SELECT loyalty.record_activity(m, 'share', at) FROM (VALUES (10, '2026-01-04 23:00'::timestamptz), (11, '2025-12-31 23:00'), (12, '2026-06-30 12:00'), (13, '2026-11-15 12:00')) v (m, at) \g /dev/null
SELECT is((SELECT string_agg(period::text, ' ' ORDER BY array_position('{day,week,month,quarter,year,lifetime}', split_part(split_part(counter, '/', 1), '_', 2))) FROM loyalty.award_counter c WHERE member_id = m AND used = 1), periods, 'periods of ' || m)
FROM (VALUES (10, '2026-01-04 2025-12-29 2026-01-01 2026-01-01 2026-01-01 2000-01-01'), (11, '2025-12-31 2025-12-29 2025-12-01 2025-10-01 2025-01-01 2000-01-01'),
	(12, '2026-06-30 2026-06-29 2026-06-01 2026-04-01 2026-01-01 2000-01-01'), (13, '2026-11-15 2026-11-09 2026-11-01 2026-10-01 2026-01-01 2000-01-01')) v (m, periods);
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
