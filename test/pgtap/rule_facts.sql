-- What was known of a member when an award was decided is kept with it, and
-- decides again whenever the activity changes.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
SELECT loyalty.create_currency('points') \g /dev/null
CREATE FUNCTION define(campaign text, definition text, since timestamptz DEFAULT '2026-01-01') RETURNS integer
LANGUAGE sql AS $$ SELECT loyalty.define_campaign($1, $2::jsonb, $3) $$;
CREATE FUNCTION known(member bigint, campaign text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT a.inputs FROM loyalty.award a WHERE a.member_id = $1 AND a.campaign = $2 ORDER BY a.award_id DESC LIMIT 1
$$;
CREATE FUNCTION held(member bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(campaign || ' ' || points, ', ' ORDER BY campaign) FROM (SELECT campaign, sum(points) AS points FROM loyalty.award WHERE member_id = $1 GROUP BY 1) a WHERE points <> 0
$$;
SELECT loyalty.create_currency('status'), loyalty.define_measure('status', 'points', 'status') \g /dev/null
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "status"}], "levels": [{"level": "silver", "all": {"status": 500}}]}', '2026-01-01') \g /dev/null
SELECT loyalty.define_holidays('de', '{2026-05-01}') \g /dev/null
SELECT member_id AS m FROM loyalty.resolve_member('{"email": "a@example.com"}', attributes => '{"city": "Bonn", "birthday": "1990-05-05"}', effective_at => '2025-01-01') \gset
SELECT member_id AS n FROM loyalty.resolve_member('{"email": "b@example.com"}', effective_at => '2025-01-01') \gset

-- Each question by what it asks; of birthdays and attributes the answer alone
SELECT define('all', '{"when": {"all": [{"attribute": {"city": ["Ulm", "Bonn"]}}, {"not": {"birthday": {"before": 1, "after": 2}}}, {"not": {"holiday": "de"}}, {"count": {"kind": "order", "within": "month", "=": 0}}, {"spent": {"kind": "order", "<": 100.5}}, {"not": {"tier": {"club": "silver"}}}]}, "then": [{"points": {"give": 1, "per": 1}}]}'),
	define('any', '{"when": {"any": [{"attribute": {"city": "Ulm"}}, {"birthday": {"leap_day": "mar1"}}, {"tier": {"club": "silver"}}, {"spent": {"kind": "order", "within": "year", ">=": 60}}, {"count": {"kind": "order", ">=": 0}}]}, "then": [{"points": 1}]}'),
	define('later', '{"when": {"attribute": {"city": "Bonn"}}, "then": [{"points": 30}]}'), define('none', '{"then": [{"points": 2}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(:m, 'order', '2026-05-02 12:00', 60.25) \gset
SELECT is(known(:m, 'all'), '{"attribute:city:Ulm:Bonn": true, "birthday:1:2:feb28": false, "holiday:de": false, "count:order:month": 0, "spent:order:lifetime": 0, "tier:club": ""}', 'all of it');
SELECT is(known(:m, 'any'), '{"attribute:city:Ulm": false, "birthday:0:0:mar1": false, "tier:club": "", "spent:order:year": 0, "count:order:lifetime": 0}', 'until one holds');
SELECT is(known(:m, 'none'), NULL, 'nothing, where nothing is asked');
SELECT loyalty.record_activity(:m, 'order', '2026-06-02 12:00', 10) \g /dev/null
SELECT is(known(:m, 'all') -> 'spent:order:lifetime', '60.25', 'sums');
SELECT is(known(:m, 'any'), '{"attribute:city:Ulm": false, "birthday:0:0:mar1": false, "tier:club": "", "spent:order:year": 60.25}', 'one holds');
SELECT activity_id AS b FROM loyalty.record_activity(:n, 'order', '2026-05-02 12:00', 60) \gset
SELECT is(known(:n, 'any'), '{"attribute:city:Ulm": null, "birthday:0:0:mar1": null, "tier:club": "", "spent:order:year": 0, "count:order:lifetime": 0}', 'also what nobody knew');
SELECT is(held(:n), 'any 1, none 2', 'which holds not');

-- It decides again, whatever is known by now
SELECT loyalty.resolve_member('{"email": "a@example.com"}', attributes => '{"city": "Kiel", "birthday": "1990-05-02"}'), loyalty.resolve_member('{"email": "b@example.com"}', attributes => '{"city": "Bonn", "birthday": "1990-08-08"}'), loyalty.define_holidays('de', '{2026-05-02}') \g /dev/null
SELECT loyalty.earn(:m, 600, 'status', '2026-01-02'), loyalty.record_activity(:m, 'order', '2026-05-01', 500) \g /dev/null
SELECT is((SELECT points FROM loyalty.revise_activity(:m, :a, amount => 70.25)), 10::bigint, 'as it was known');
SELECT is((SELECT points FROM loyalty.revise_activity(:n, :b, amount => 70)), 30::bigint, 'what gave nothing has kept nothing, and is asked again');
SELECT is((SELECT points FROM loyalty.revise_activity(:m, :a, cancelled => c)), points, 'cancelled: ' || c) FROM (VALUES (1, true, -103::bigint), (2, false, 103)) v (n, c, points);
SELECT is((SELECT string_agg(concat_ws(' ', campaign, matched, failed_at), ', ' ORDER BY campaign) FROM loyalty.explain_award(:m, :a)), 'all t, any t, later t, none t', 'and so it is explained');
SELECT is((SELECT inputs FROM loyalty.explain_award(:m, :a) WHERE campaign = 'all'), known(:m, 'all'), 'with what was known');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- Decided anew, a campaign knows what is known now, and it alone
SELECT define('anew', '{"on": ["review"], "when": {"attribute": {"city": "Kiel"}}, "then": [{"points": 5}]}'), define('stays', '{"on": ["review"], "when": {"attribute": {"city": "Kiel"}}, "then": [{"points": {"give": 1, "per": 1}}]}') \g /dev/null
SELECT activity_id AS c FROM loyalty.record_activity(:n, 'review', '2026-05-03', 20) \gset
SELECT activity_id AS d FROM loyalty.record_activity(:m, 'review', '2026-05-03', 20) \gset
SELECT loyalty.resolve_member('{"email": "b@example.com"}', attributes => '{"city": "Kiel"}'), loyalty.resolve_member('{"email": "a@example.com"}', attributes => '{"city": "Bonn"}') \g /dev/null
CALL loyalty.reapply_campaign('anew', '2026-05-01', 'infinity', 'moved', take_back => true);
SELECT is(held(:n), 'anew 5, any 1, later 30, none 2', 'one has moved there');
SELECT is((SELECT points FROM loyalty.revise_activity(:m, :d, amount => 30)), 10::bigint, 'to the other campaign the other one lives there still');
SELECT is((SELECT sum(points) FROM loyalty.award WHERE member_id = :m AND campaign = 'anew'), 0::numeric, 'but not to the one that was decided anew');
SELECT is((SELECT points FROM loyalty.revise_activity(:m, :d, channel => 'app')), 0::bigint, 'once and for all');

-- whatever of an answer is another one now: that there is one, a text, a number, or a truth
SELECT define('keeper', '{"on": ["game"], "when": {"any": [{"attribute": {"city": "Bonn"}}, {"tier": {"club": "silver"}}, {"count": {"kind": "order", ">=": 1}}, {"spent": {"kind": "order", ">": 5}}, {"birthday": {}}, {"count": {"kind": "game", "=": 0}}]}, "then": [{"points": 1}]}'),
	define('r_known', '{"on": ["game"], "when": {"not": {"attribute": {"city": "Bonn"}}}, "then": [{"points": 10}]}'), define('r_text', '{"on": ["game"], "when": {"tier": {"club": "silver"}}, "then": [{"points": 20}]}'), define('r_count', '{"on": ["game"], "when": {"count": {"kind": "order", ">=": 1}}, "then": [{"points": 40}]}'),
	define('r_spent', '{"on": ["game"], "when": {"spent": {"kind": "order", ">": 5}}, "then": [{"points": 80}]}'), define('r_truth', '{"on": ["game"], "when": {"birthday": {}}, "then": [{"points": 160}]}') \g /dev/null
SELECT member_id AS p FROM loyalty.resolve_member('{"email": "c@example.com"}', attributes => '{"birthday": "1990-01-01"}', effective_at => '2025-01-01') \gset
SELECT activity_id AS g, points AS first FROM loyalty.record_activity(:p, 'game', '2026-05-03 12:00') \gset
SELECT is(:first::bigint, 1::bigint, 'then nobody knew');
SELECT is(known(:p, 'keeper'), '{"attribute:city:Bonn": null, "tier:club": "", "count:order:lifetime": 0, "spent:order:lifetime": 0, "birthday:0:0:feb28": false, "count:game:lifetime": 0}', 'all of that');
SELECT loyalty.resolve_member('{"email": "c@example.com"}', attributes => '{"city": "Ulm", "birthday": "1990-05-03"}'), loyalty.earn(:p, 600, 'status', '2026-01-02'), loyalty.record_activity(:p, 'order', '2026-04-01', 50) \g /dev/null
CALL loyalty.reapply_campaign('r_known', '2026-05-01', 'infinity', 'known');
CALL loyalty.reapply_campaign('r_text', '2026-05-01', 'infinity', 'known');
CALL loyalty.reapply_campaign('r_count', '2026-05-01', 'infinity', 'known');
CALL loyalty.reapply_campaign('r_spent', '2026-05-01', 'infinity', 'known');
CALL loyalty.reapply_campaign('r_truth', '2026-05-01', 'infinity', 'known');
SELECT is((SELECT string_agg(campaign || ' ' || points, ', ' ORDER BY campaign) FROM loyalty.award WHERE activity_id = :g), 'keeper 1, r_count 40, r_known 10, r_spent 80, r_text 20, r_truth 160', 'now it is known to each that was decided anew');
SELECT is((SELECT points FROM loyalty.revise_activity(:p, :g, cancelled => c)), points, 'and stays: cancelled ' || c) FROM (VALUES (1, true, -311::bigint), (2, false, 311)) v (n, c, points);

-- By another clock it is another day, and another question
SELECT define('tokyo', '{"on": ["like"], "time_zone": "Asia/Tokyo", "when": {"all": [{"birthday": {}}, {"not": {"holiday": "de"}}, {"count": {"kind": "like", "=": 0}}]}, "then": [{"points": 3}]}'), define('here', '{"on": ["like"], "when": {"all": [{"not": {"birthday": {}}}, {"holiday": "de"}]}, "then": [{"points": 4}]}') \g /dev/null
SELECT loyalty.resolve_member('{"email": "b@example.com"}', attributes => '{"birthday": "1990-05-03"}') \g /dev/null
SELECT activity_id AS e FROM loyalty.record_activity(:n, 'like', '2026-05-02 18:00') \gset
SELECT is(known(:n, 'tokyo'), '{"birthday:0:0:feb28@9619": true, "holiday:de@9619": false, "count:like:lifetime": 0}', 'in Tokyo it is the birthday');
SELECT is(known(:n, 'here'), '{"birthday:0:0:feb28": false, "holiday:de": true}', 'here it is the day before');
SELECT loyalty.revise_activity(:n, :e, cancelled => c) FROM unnest('{t,f}'::boolean[]) c \g /dev/null
SELECT is((SELECT sum(points) FROM loyalty.award WHERE activity_id = :e), 7::numeric, 'also again');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
