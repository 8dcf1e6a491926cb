--
-- tier: a ladder, members who climb it, hold and land softly
--
CREATE EXTENSION loyalty CASCADE;
SET timezone = 'UTC';
SET datestyle = 'iso, ymd';
-- primitives: the tiers of any rows under a definition
CREATE TABLE purchase (member_id bigint, at timestamptz, amount numeric);
INSERT INTO purchase VALUES (1, '2023-01-20', 600), (1, '2023-05-01', 500), (1, '2024-02-01', 300), (2, '2023-07-01', 90);
SELECT p.member_id, t.level, t.starts_at, t.ends_at, t.event, t.reason
FROM (SELECT member_id, loyalty.tier_facts_agg('spend', at, amount, NULL) AS facts FROM purchase GROUP BY member_id) p,
	LATERAL loyalty.tier_timeline(p.facts, '{
		"measures": [{"measure": "spend", "window": "year"}],
		"period": "year", "validity": "period", "at_end": "soft_landing",
		"levels": [{"level": "blue"}, {"level": "silver", "all": {"spend": 500}}, {"level": "gold", "all": {"spend": 1000}}]}', '2026-02-01') t
ORDER BY 1, t.starts_at;
SELECT * FROM loyalty.tier_evaluate('{"measures": [], "levels": [{"level": "blue"}, {"level": "gold"}], "validity": "interval", "validity_interval": "1 year", "grace": "30 days"}',
	'2025-03-01', level => 'gold', since => '2024-03-01', valid_until => '2025-03-01', qualified => 'blue') \gx
SELECT loyalty.tier_facts_agg('spend', at, amount, NULL) FROM purchase;
-- the program
SELECT loyalty.setup() IS NOT NULL AS done;
SELECT loyalty.create_currency('status');
SELECT loyalty.define_measure('status_points', 'points', 'status');
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "status_points", "window": "rolling", "interval": "1 year"}],
	"validity": "interval", "validity_interval": "1 year", "at_end": "soft_landing",
	"levels": [{"level": "blue"}, {"level": "silver", "all": {"status_points": 100}}, {"level": "gold", "all": {"status_points": 300}}]}');
SELECT available FROM loyalty.earn(1, 150, 'status', '2022-03-01');
SELECT entry_id, available FROM loyalty.earn(1, 200, 'status', '2022-06-01');
SELECT loyalty.tier_of(1, 'club', '2022-05-31') AS may, loyalty.tier_of(1, 'club', '2022-06-01') AS june, loyalty.tier_of(1, 'club', '2023-06-01') AS next_june;
SELECT * FROM loyalty.tier_progress(1, 'club', '2022-04-01');
SELECT level, starts_at, ends_at, valid_until, event, reason FROM loyalty.member_tiers(1, 'club', '2025-01-01');
SELECT available FROM loyalty.reverse(1, 2, effective_at => '2022-08-01');
SELECT level, starts_at, ends_at, valid_until, event, reason FROM loyalty.tier_history ORDER BY starts_at;
-- a return of own facts that lies at none of its order, and one that takes its order's
SELECT loyalty.define_measure('spend');
SELECT loyalty.record_qualification(2, 'spend', 90, '2022-07-01 10:00', reference => 'o-1');
SELECT loyalty.record_qualification(2, 'spend', -10, '2022-08-01', counts_at => '2022-07-01');
SELECT loyalty.record_qualification(2, 'spend', -20, '2022-08-02', counts_at => '2022-07-01 10:00');
SELECT loyalty.record_qualification(2, 'spend', -30, '2022-08-03', return_of => 'o-1');
SELECT at, counts_at, amount FROM loyalty.tier_event ORDER BY at;
-- a definition of before is none of now
SELECT loyalty.define_ladder('club', definition) FROM loyalty.ladder_version;
SELECT loyalty.define_ladder('own', '{"measures": [{"measure": "spend"}], "levels": [{"level": "a"}]}');
SELECT loyalty.define_ladder('own', '{"measures": [{"measure": "spend"}], "levels": [{"level": "b"}]}');
SELECT loyalty.define_ladder('own', '{"measures": [{"measure": "spend"}], "levels": [{"level": "a"}]}');
SELECT * FROM loyalty.preview_ladder('club', '{"measures": [{"measure": "status_points", "window": "lifetime"}], "levels": [{"level": "blue"}, {"level": "silver", "all": {"status_points": 50}}]}', '2022-09-01');
SELECT * FROM loyalty.check_all();
