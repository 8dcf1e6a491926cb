/*
 * bi: views of segments and cohorts, of what members answer, and of how often
 * they are written to.
 */

CREATE FUNCTION setup_segment_views() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CREATE OR REPLACE VIEW loyalty_bi.member_segment AS
	SELECT t.member::bigint AS member_id, t.segment, loyalty.lifecycle_stage(s.summary, statement_timestamp(), '{}', p.time_zone) AS stage,
		t.recency, t.frequency, t.monetary, t.r, t.f, t.m, s.first_at, s.last_at
	FROM loyalty.rfm_table('loyalty_bi.purchase', as_of => statement_timestamp()) t
	JOIN (SELECT x.member_id, loyalty.rfm_agg(x.at, x.amount) AS summary, min(x.at) AS first_at, max(x.at) AS last_at
		FROM loyalty_bi.purchase x WHERE x.at <= statement_timestamp() AND x.amount IS NOT NULL GROUP BY x.member_id) s ON s.member_id = t.member::bigint
	CROSS JOIN loyalty.program p;
	COMMENT ON VIEW loyalty_bi.member_segment IS 'Who is in which segment, now: a row for each member who bought. Amounts of several currencies are added up as they are: where there are several, call rfm_table() for a view of yours.';
	COMMENT ON COLUMN loyalty_bi.member_segment.member_id IS 'The member.';
	COMMENT ON COLUMN loyalty_bi.member_segment.segment IS 'Its segment, by rfm_table(): quantiles, scheme code125; NULL: none takes it.';
	COMMENT ON COLUMN loyalty_bi.member_segment.stage IS 'Its stage of life, by lifecycle_stage(): new, active, loyal, won_back, at_risk, dormant or lost.';
	COMMENT ON COLUMN loyalty_bi.member_segment.recency IS 'Days since the last order.';
	COMMENT ON COLUMN loyalty_bi.member_segment.frequency IS 'How many orders.';
	COMMENT ON COLUMN loyalty_bi.member_segment.monetary IS 'What they add up to.';
	COMMENT ON COLUMN loyalty_bi.member_segment.r IS 'Score of recency, 5 the best.';
	COMMENT ON COLUMN loyalty_bi.member_segment.f IS 'Score of frequency.';
	COMMENT ON COLUMN loyalty_bi.member_segment.m IS 'Score of monetary.';
	COMMENT ON COLUMN loyalty_bi.member_segment.first_at IS 'The first order.';
	COMMENT ON COLUMN loyalty_bi.member_segment.last_at IS 'The last order.';

	CREATE OR REPLACE VIEW loyalty_bi.segment_size AS
	SELECT s.segment, s.members, s.orders_placed AS orders, s.revenue AS amount, s.mean_recency, s.member_share, s.revenue_share AS amount_share
	FROM loyalty.rfm_segment_sizes('loyalty_bi.purchase', as_of => statement_timestamp()) s;
	COMMENT ON VIEW loyalty_bi.segment_size IS 'How large segments are, now: a row for each segment that somebody is in. Who moved between them says rfm_transitions().';
	COMMENT ON COLUMN loyalty_bi.segment_size.segment IS 'The segment; NULL: those whom none takes.';
	COMMENT ON COLUMN loyalty_bi.segment_size.members IS 'How many members.';
	COMMENT ON COLUMN loyalty_bi.segment_size.orders IS 'Their orders.';
	COMMENT ON COLUMN loyalty_bi.segment_size.amount IS 'What these add up to.';
	COMMENT ON COLUMN loyalty_bi.segment_size.mean_recency IS 'Mean of the days since the last order.';
	COMMENT ON COLUMN loyalty_bi.segment_size.member_share IS 'Part of all members who bought, from 0 to 1.';
	COMMENT ON COLUMN loyalty_bi.segment_size.amount_share IS 'Part of all amounts, from 0 to 1.';

	CREATE OR REPLACE VIEW loyalty_bi.retention AS
	SELECT r.cohort, r.cohort_size, r.offset_periods AS months_later, r.period_start AS month, r.active, r.rate, r.finished
	FROM loyalty.program p
	CROSS JOIN LATERAL (SELECT loyalty.retention_events_agg(x.member_id, x.at, 'month', p.time_zone) AS cohorts FROM loyalty_bi.purchase x WHERE x.at <= statement_timestamp()) c
	CROSS JOIN LATERAL loyalty.retention_matrix(c.cohorts, (statement_timestamp() AT TIME ZONE p.time_zone)::date) r;
	COMMENT ON VIEW loyalty_bi.retention IS 'Who comes back: a row for each month of first orders and each month since.';
	COMMENT ON COLUMN loyalty_bi.retention.cohort IS 'First day of the month of the first order.';
	COMMENT ON COLUMN loyalty_bi.retention.cohort_size IS 'How many members bought first in it.';
	COMMENT ON COLUMN loyalty_bi.retention.months_later IS 'How many months later; 0: the month itself.';
	COMMENT ON COLUMN loyalty_bi.retention.month IS 'First day of that month.';
	COMMENT ON COLUMN loyalty_bi.retention.active IS 'How many of them bought in it.';
	COMMENT ON COLUMN loyalty_bi.retention.rate IS 'active / cohort_size, from 0 to 1.';
	COMMENT ON COLUMN loyalty_bi.retention.finished IS 'Whether the month is over.';

	CREATE OR REPLACE VIEW loyalty_bi.buyers_by_month AS
	SELECT g.period_start AS month, g.active AS buyers, g.new_members, g.kept, g.won_back, g.churned, g.finished
	FROM loyalty.program p
	CROSS JOIN LATERAL (SELECT loyalty.retention_events_agg(x.member_id, x.at, 'month', p.time_zone) AS cohorts FROM loyalty_bi.purchase x WHERE x.at <= statement_timestamp()) c
	CROSS JOIN LATERAL loyalty.activity_growth(c.cohorts, (statement_timestamp() AT TIME ZONE p.time_zone)::date) g;
	COMMENT ON VIEW loyalty_bi.buyers_by_month IS 'Growth: a row for each month from the first order to now. buyers is new_members, kept and won_back.';
	COMMENT ON COLUMN loyalty_bi.buyers_by_month.month IS 'First day of the month.';
	COMMENT ON COLUMN loyalty_bi.buyers_by_month.buyers IS 'Members who bought in it.';
	COMMENT ON COLUMN loyalty_bi.buyers_by_month.new_members IS 'Those who did so for the first time.';
	COMMENT ON COLUMN loyalty_bi.buyers_by_month.kept IS 'Those who had bought in the month before, too.';
	COMMENT ON COLUMN loyalty_bi.buyers_by_month.won_back IS 'Those who had bought, but not in the month before.';
	COMMENT ON COLUMN loyalty_bi.buyers_by_month.churned IS 'Members who had bought in the month before and did not in this one.';
	COMMENT ON COLUMN loyalty_bi.buyers_by_month.finished IS 'Whether the month is over.';

	CREATE OR REPLACE VIEW loyalty_bi.survey_answer AS
	SELECT coalesce(c.canonical_id, a.member_id) AS member_id, a.activity_id, a.at, a.local_day, a.channel, coalesce(a.document ->> 'survey', 'survey') COLLATE "C" AS survey,
		CASE WHEN jsonb_typeof(a.document -> 'score') = 'number' THEN (a.document ->> 'score')::numeric END AS score
	FROM loyalty.activity a LEFT JOIN loyalty.member_alias c ON c.member_id = a.member_id
	WHERE a.kind = 'survey' AND NOT a.cancelled AND NOT a.returned;
	COMMENT ON VIEW loyalty_bi.survey_answer IS 'What members answered: a row for each activity of kind survey that stands. Texts, which may be personal, are left out.';
	COMMENT ON COLUMN loyalty_bi.survey_answer.member_id IS 'The member, or who stands for it now.';
	COMMENT ON COLUMN loyalty_bi.survey_answer.activity_id IS 'Number of the activity.';
	COMMENT ON COLUMN loyalty_bi.survey_answer.at IS 'When it was.';
	COMMENT ON COLUMN loyalty_bi.survey_answer.local_day IS 'On which day that was.';
	COMMENT ON COLUMN loyalty_bi.survey_answer.channel IS 'Where it was.';
	COMMENT ON COLUMN loyalty_bi.survey_answer.survey IS 'survey of the document; where it has none: survey.';
	COMMENT ON COLUMN loyalty_bi.survey_answer.score IS 'score of the document, a number; NULL: it has none.';

	CREATE OR REPLACE VIEW loyalty_bi.survey_result AS
	SELECT n.survey, n.month, n.answers, n.mean_score, n.promoters, n.passives, n.detractors,
		CASE WHEN n.promoters + n.passives + n.detractors = n.answers THEN round(100.0 * (n.promoters - n.detractors) / n.answers, 1) END AS nps
	FROM (SELECT s.survey, date_trunc('month', s.local_day)::date AS month, count(*) AS answers, round(avg(s.score), 4) AS mean_score,
			count(*) FILTER (WHERE s.score IN (9, 10)) AS promoters, count(*) FILTER (WHERE s.score IN (7, 8)) AS passives,
			count(*) FILTER (WHERE s.score IN (0, 1, 2, 3, 4, 5, 6)) AS detractors
		FROM loyalty_bi.survey_answer s WHERE s.score IS NOT NULL GROUP BY 1, 2) n;
	COMMENT ON VIEW loyalty_bi.survey_result IS 'What surveys found: a row for each survey and month in which somebody gave a score.';
	COMMENT ON COLUMN loyalty_bi.survey_result.survey IS 'The survey.';
	COMMENT ON COLUMN loyalty_bi.survey_result.month IS 'First day of the month.';
	COMMENT ON COLUMN loyalty_bi.survey_result.answers IS 'How many scores there are.';
	COMMENT ON COLUMN loyalty_bi.survey_result.mean_score IS 'Their mean.';
	COMMENT ON COLUMN loyalty_bi.survey_result.promoters IS 'How many are 9 or 10.';
	COMMENT ON COLUMN loyalty_bi.survey_result.passives IS 'How many are 7 or 8.';
	COMMENT ON COLUMN loyalty_bi.survey_result.detractors IS 'How many are 0 to 6.';
	COMMENT ON COLUMN loyalty_bi.survey_result.nps IS 'Net promoter score: promoters less detractors, in percent of all; NULL where a score is no whole number from 0 to 10.';

	CREATE OR REPLACE VIEW loyalty_bi.contact_by_day AS
	SELECT a.local_day, a.channel, a.document ->> 'purpose' AS purpose, count(*) AS contacts, count(DISTINCT coalesce(c.canonical_id, a.member_id)) AS members
	FROM loyalty.activity a LEFT JOIN loyalty.member_alias c ON c.member_id = a.member_id
	WHERE a.kind = 'contact' AND NOT a.cancelled AND NOT a.returned
	GROUP BY 1, 2, 3;
	COMMENT ON VIEW loyalty_bi.contact_by_day IS 'How much members were written to: a row for each day, channel and purpose of activities of kind contact. Members of several rows are not to be added up.';
	COMMENT ON COLUMN loyalty_bi.contact_by_day.local_day IS 'The day.';
	COMMENT ON COLUMN loyalty_bi.contact_by_day.channel IS 'The channel.';
	COMMENT ON COLUMN loyalty_bi.contact_by_day.purpose IS 'purpose of the document.';
	COMMENT ON COLUMN loyalty_bi.contact_by_day.contacts IS 'How many contacts.';
	COMMENT ON COLUMN loyalty_bi.contact_by_day.members IS 'With how many members.';

	CREATE OR REPLACE VIEW loyalty_bi.contact_frequency AS
	SELECT n.contacts, count(*) AS members
	FROM (SELECT m.member_id, count(a.activity_id) AS contacts
		FROM loyalty_bi.member m
		LEFT JOIN (SELECT coalesce(c.canonical_id, x.member_id) AS member_id, x.activity_id
			FROM loyalty.activity x LEFT JOIN loyalty.member_alias c ON c.member_id = x.member_id
			WHERE x.kind = 'contact' AND NOT x.cancelled AND NOT x.returned AND x.at > statement_timestamp() - interval '30 days' AND x.at <= statement_timestamp()) a
			ON a.member_id = m.member_id
		WHERE m.status = 'active' GROUP BY m.member_id) n
	GROUP BY 1;
	COMMENT ON VIEW loyalty_bi.contact_frequency IS 'How many members were written to how often in the last 30 days: a row for each number of contacts, 0 among them. Members are those of loyalty_bi.member who are active.';
	COMMENT ON COLUMN loyalty_bi.contact_frequency.contacts IS 'How many contacts.';
	COMMENT ON COLUMN loyalty_bi.contact_frequency.members IS 'How many members had so many.';
END
$$;
COMMENT ON FUNCTION setup_segment_views() IS 'Makes the views member_segment, segment_size, retention, buyers_by_month, survey_answer, survey_result, contact_by_day and contact_frequency of schema loyalty_bi. Part of setup().';
