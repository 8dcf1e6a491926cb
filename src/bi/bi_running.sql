/*
 * bi: views of how the program runs, and how the views hang together.
 */

CREATE FUNCTION bi_views() RETURNS SETOF text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT unnest('{wallet,movement,points_by_day,expiry,member,purchase,member_activity,activity_by_day,active_members,top_member,
		member_level,level_now,level_move,campaign_result,coupon_funnel,
		liability,liability_by_month,liability_forecast,points_by_channel,channel_cost,trial_result,
		member_segment,segment_size,retention,buyers_by_month,survey_answer,survey_result,contact_by_day,contact_frequency,
		audience_size,audience_move,board_period,board_leader,reward_by_day,benefit_use,purchase_line,global_limit,
		goal,goal_crossing,job,consumer,relation}'::text[])
$$;
COMMENT ON FUNCTION bi_views() IS 'The views that setup() makes in schema loyalty_bi.';

CREATE FUNCTION setup_running_views() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CREATE OR REPLACE VIEW loyalty_bi.job AS
	SELECT j.job, l.status, l.started_at, l.updated_at, l.done, l.total, l.unit, round(100.0 * l.done / nullif(l.total, 0), 1) AS percent, l.message,
		max(j.finished_at) FILTER (WHERE j.status = 'finished') AS last_finished_at,
		statement_timestamp() - max(j.as_of) FILTER (WHERE j.status = 'finished') AS behind
	FROM loyalty.job_run j
	JOIN (SELECT DISTINCT ON (x.job) x.job, x.status, x.started_at, x.updated_at, x.done, x.total, x.unit, x.message
		FROM loyalty.job_run x ORDER BY x.job, x.run_id DESC) l ON l.job = j.job
	GROUP BY j.job, l.status, l.started_at, l.updated_at, l.done, l.total, l.unit, l.message;
	COMMENT ON VIEW loyalty_bi.job IS 'How jobs are doing: a row for each job, with its last run.';
	COMMENT ON COLUMN loyalty_bi.job.job IS 'Name of the procedure.';
	COMMENT ON COLUMN loyalty_bi.job.status IS 'running, finished or interrupted.';
	COMMENT ON COLUMN loyalty_bi.job.started_at IS 'When the last run began.';
	COMMENT ON COLUMN loyalty_bi.job.updated_at IS 'When it last committed a batch.';
	COMMENT ON COLUMN loyalty_bi.job.done IS 'How many units are done.';
	COMMENT ON COLUMN loyalty_bi.job.total IS 'How many there were to do.';
	COMMENT ON COLUMN loyalty_bi.job.unit IS 'What is counted.';
	COMMENT ON COLUMN loyalty_bi.job.percent IS 'done of total, from 0 to 100.';
	COMMENT ON COLUMN loyalty_bi.job.message IS 'What the run has to say.';
	COMMENT ON COLUMN loyalty_bi.job.last_finished_at IS 'When a run last came to its end; NULL: never.';
	COMMENT ON COLUMN loyalty_bi.job.behind IS 'How long ago the instant is as of which that run worked.';

	CREATE OR REPLACE VIEW loyalty_bi.consumer AS
	SELECT p.consumer, p.slot, p.done_to, count(e.event_id) AS waiting, statement_timestamp() - min(e.recorded_at) AS oldest
	FROM loyalty.event_position p
	LEFT JOIN loyalty.event_subscription s ON s.consumer = p.consumer
	LEFT JOIN loyalty.event e ON e.event_id > p.done_to AND e.kind = s.kind AND loyalty.slot_of(e.member_id, p.slots) = p.slot
		AND (p.until_id IS NULL OR e.event_id <= p.until_id)
	WHERE p.slots > 0
	GROUP BY p.consumer, p.generation, p.slot, p.done_to;
	COMMENT ON VIEW loyalty_bi.consumer IS 'How far consumers of events are: a row for each slot. Points changes, which are read from the ledger, are not counted.';
	COMMENT ON COLUMN loyalty_bi.consumer.consumer IS 'Name of the consumer.';
	COMMENT ON COLUMN loyalty_bi.consumer.slot IS 'Number of the slot, from 0.';
	COMMENT ON COLUMN loyalty_bi.consumer.done_to IS 'All its events up to this id are done.';
	COMMENT ON COLUMN loyalty_bi.consumer.waiting IS 'How many events are not.';
	COMMENT ON COLUMN loyalty_bi.consumer.oldest IS 'How long the oldest of them has waited.';

	CREATE OR REPLACE VIEW loyalty_bi.relation AS
	SELECT r.view_name, r.column_name, r.refers_to, r.refers_column
	FROM (VALUES
		('wallet', 'member_id', 'member', 'member_id'),
		('movement', 'member_id', 'member', 'member_id'),
		('movement', 'counterparty_id', 'member', 'member_id'),
		('purchase', 'member_id', 'member', 'member_id'),
		('member_activity', 'member_id', 'member', 'member_id'),
		('top_member', 'member_id', 'member', 'member_id'),
		('member_level', 'member_id', 'member', 'member_id'),
		('level_move', 'member_id', 'member', 'member_id'),
		('member_segment', 'member_id', 'member', 'member_id'),
		('survey_answer', 'member_id', 'member', 'member_id'),
		('board_leader', 'member_id', 'member', 'member_id'),
		('purchase_line', 'member_id', 'member', 'member_id'),
		('purchase_line', 'activity_id', 'purchase', 'activity_id'),
		('member_segment', 'segment', 'segment_size', 'segment'),
		('liability_by_month', 'currency', 'liability', 'currency'),
		('liability_forecast', 'currency', 'liability', 'currency'),
		('wallet', 'currency', 'liability', 'currency'),
		('movement', 'currency', 'liability', 'currency'),
		('points_by_day', 'currency', 'liability', 'currency'),
		('points_by_channel', 'currency', 'liability', 'currency'),
		('expiry', 'currency', 'liability', 'currency'),
		('audience_move', 'audience', 'audience_size', 'audience'),
		('benefit_use', 'benefit', 'coupon_funnel', 'benefit')) r (view_name, column_name, refers_to, refers_column);
	COMMENT ON VIEW loyalty_bi.relation IS 'Which columns refer to which view, for tools that draw joins: a row for each. Members who never were told to the room of members have no row in loyalty_bi.member: join it from the left.';
	COMMENT ON COLUMN loyalty_bi.relation.view_name IS 'The view that refers.';
	COMMENT ON COLUMN loyalty_bi.relation.column_name IS 'Its column.';
	COMMENT ON COLUMN loyalty_bi.relation.refers_to IS 'The view that it refers to.';
	COMMENT ON COLUMN loyalty_bi.relation.refers_column IS 'The column there, unique in that view.';
END
$$;
COMMENT ON FUNCTION setup_running_views() IS 'Makes the views job, consumer and relation of schema loyalty_bi. Part of setup().';
