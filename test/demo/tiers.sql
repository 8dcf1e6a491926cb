-- Three levels by the points of six months.  Each holds for six months, is
-- renewed by what was earned in them, and falls by one level at a time.
CREATE TABLE shop.ladder AS
SELECT jsonb_build_object(
	'time_zone', 'Europe/London',
	'measures', jsonb_build_array(jsonb_build_object('measure', 'earned', 'window', 'rolling', 'interval', '6 months')),
	'validity', 'interval', 'validity_interval', '6 months', 'at_end', 'soft_landing',
	'levels', jsonb_build_array(
		jsonb_build_object('level', 'silver', 'name', 'Silver', 'all', jsonb_build_object('earned', 500)),
		jsonb_build_object('level', 'gold', 'name', 'Gold', 'all', jsonb_build_object('earned', 1500)),
		jsonb_build_object('level', 'platinum', 'name', 'Platinum', 'all', jsonb_build_object('earned', 5000)))) AS definition;
SELECT loyalty.define_measure('earned', 'points', 'rewards');
SELECT loyalty.define_ladder('club', definition) FROM shop.ladder;
SELECT closing FROM shop.calendar \gset
CALL loyalty.evaluate_tiers(as_of => :'closing');
ANALYZE loyalty.tier_state, loyalty.tier_history;

SELECT format('%s members climb, %s fall again; %s platinum at the end',
			  to_char(count(DISTINCT member_id) FILTER (WHERE event IN ('enrolled', 'upgraded')), 'FM999,999,999'),
			  to_char(count(DISTINCT member_id) FILTER (WHERE event IN ('downgraded', 'expired')), 'FM999,999,999'),
			  to_char(count(*) FILTER (WHERE ends_at IS NULL AND level = 'platinum'), 'FM999,999,999'))
FROM loyalty.tier_history;
