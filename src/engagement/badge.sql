/*
 * engagement: badges, by thresholds of what members did, or given by hand.
 */

CREATE FUNCTION define_badge(badge text, definition jsonb, effective_from timestamptz DEFAULT NULL) RETURNS integer
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.put_engagement('badge', $1, $2, $3)
$$;
COMMENT ON FUNCTION define_badge(text, jsonb, timestamptz) IS
'Defines a badge, or a new version of it, by which it is earned from then on (default: always, of the first; now, of a later one); what was earned stays. Returns the version. The definition: {"kind": kinds of activities, "when": a condition on the activity, "money": of which alone, "measure": "count" (default), "amount" or "days" (different local days), "whole": true: each amount is rounded down; or "streak": the length of that streak; "levels": [1, 5, 25]: level 1 is earned at the first of these, and so on, "revocable": true: it is lost when what it was earned by is returned, from then on, or undone}. A badge with neither kind nor streak is given by give_badge() and campaigns. Members who qualify already have it after refresh_engagement(), or with their next activity. Errors: LY752, LY501 kind, LY751 streak, LY003.';

CREATE FUNCTION badge_crossings(member_id bigint, definition jsonb, as_of timestamptz, known_at timestamptz, OUT level integer, OUT earned_at timestamptz, OUT activity_id bigint) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	terms jsonb;
BEGIN
	IF definition ->> 'streak' IS NOT NULL THEN
		-- before the streak begins nobody has one
		IF NOT EXISTS (SELECT FROM loyalty.engagement_version v WHERE v.what = 'streak' AND v.name = definition ->> 'streak'
			AND (v.effective_from IS NULL OR v.effective_from <= coalesce(as_of, statement_timestamp()))) THEN
			RETURN;
		END IF;
		terms := loyalty.engagement_in_force('streak', definition ->> 'streak', as_of);
		RETURN QUERY
		SELECT l.level, x.at, x.activity_id
		FROM (SELECT n.level::integer AS level, (SELECT min(s.start) FROM unnest(w.starts, w.lengths) s (start, length) WHERE s.length >= n.threshold) AS start
				FROM loyalty.streak_walk(member_id, definition ->> 'streak', coalesce(as_of, statement_timestamp()), known_at) w,
					(SELECT e.value::numeric AS threshold, e.level FROM jsonb_array_elements_text(definition -> 'levels') WITH ORDINALITY e (value, level)) n) l,
			-- the activity by which the period counted
			LATERAL (SELECT f.at, f.activity_id FROM (
					SELECT f.at, f.activity_id, f.recorded_at, count(*) OVER w AS n, sum(f.amount) OVER w AS amount
					FROM loyalty.engagement_facts(member_id, terms, as_of, known_at) f
					WHERE date_trunc(coalesce(terms ->> 'period', 'day'), f.local_day::timestamp)::date = l.start
					WINDOW w AS (ORDER BY f.at, f.recorded_at, f.activity_id)) f
				WHERE f.n >= coalesce((terms ->> 'at_least')::numeric, 1) AND f.amount >= coalesce((terms ->> 'amount')::numeric, 0)
				ORDER BY f.at, f.recorded_at, f.activity_id LIMIT 1) x;
		RETURN;
	END IF;
	RETURN QUERY
	SELECT n.level::integer, x.at, x.activity_id
	FROM jsonb_array_elements_text(definition -> 'levels') WITH ORDINALITY n (threshold, level),
		LATERAL (SELECT f.at, f.activity_id FROM (
				SELECT f.at, f.activity_id, f.recorded_at, sum(f.value) OVER (ORDER BY f.at, f.recorded_at, f.activity_id) AS have
				FROM loyalty.engagement_facts(member_id, definition, as_of, known_at) f) f
			WHERE f.have >= n.threshold::numeric ORDER BY f.at, f.recorded_at, f.activity_id LIMIT 1) x;
END
$$;
COMMENT ON FUNCTION badge_crossings(bigint, jsonb, timestamptz, timestamptz) IS
'Which levels of a badge a member''s activities reach, as of an instant and as known at another (NULL: all), and which activity, at which instant, crossed each line. Part of badges().';

CREATE FUNCTION badge_acts(member_id bigint, as_of timestamptz, known_at timestamptz,
	OUT home bigint, OUT badge text, OUT level integer, OUT earned_at timestamptz, OUT given_at timestamptz) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT b.member_id, b.badge, b.level,
		-- merges count as they stand now, whenever it is asked about
		min(b.earned_at) FILTER (WHERE b.act = 'earned' AND NOT EXISTS (SELECT FROM loyalty.member_badge l
			WHERE l.member_id = b.member_id AND l.act_id > b.act_id AND l.badge = b.badge AND l.level = b.level AND l.act = 'lost' AND l.earned_at = b.earned_at)),
		-- what was taken ends all that was given by then
		min(b.earned_at) FILTER (WHERE b.act = 'given' AND NOT EXISTS (SELECT FROM loyalty.member_badge t
			WHERE t.member_id = b.member_id AND t.badge = b.badge AND t.level = b.level AND t.act = 'taken' AND (t.at, t.act_id) > (b.at, b.act_id)
				AND t.at <= coalesce($2, 'infinity') AND t.recorded_at <= coalesce($3, 'infinity')))
	FROM loyalty.member_badge b
	WHERE b.member_id = ANY (loyalty.member_tree(loyalty.canonical_member($1))) AND b.at <= coalesce($2, 'infinity') AND b.recorded_at <= coalesce($3, 'infinity')
	GROUP BY b.member_id, b.badge, b.level
$$;
COMMENT ON FUNCTION badge_acts(bigint, timestamptz, timestamptz) IS
'What the acts of member_badge come to, for each number of a member, badge and level: when it was earned by what the member did, and when it was given; NULL where it is not. Part of badges().';

CREATE FUNCTION badges(member_id bigint, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT badge text, OUT level integer, OUT earned_at timestamptz) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT x.badge, x.level, min(x.earned_at)
	FROM (SELECT b.badge, b.level, least(b.earned_at, b.given_at) AS earned_at FROM loyalty.badge_acts($1, coalesce($2, statement_timestamp()), $3) b
		UNION ALL
		-- what can be lost follows from what stands
		SELECT d.name, c.level, c.earned_at
		FROM (SELECT DISTINCT ON (v.name) v.name, v.definition FROM loyalty.engagement_version v
				WHERE v.what = 'badge' AND (v.effective_from IS NULL OR v.effective_from <= coalesce($2, statement_timestamp())) ORDER BY v.name, v.version DESC) d,
			LATERAL loyalty.badge_crossings($1, d.definition, coalesce($2, statement_timestamp()), $3) c
		WHERE (d.definition ->> 'revocable')::boolean) x
	WHERE x.earned_at <= coalesce($2, statement_timestamp())
	GROUP BY x.badge, x.level ORDER BY x.badge, x.level
$$;
COMMENT ON FUNCTION badges(bigint, timestamptz, timestamptz) IS
'The badges of a member, under whichever number, at an instant (NULL: now), as known at another (NULL: now): a row for each level, with the instant of the activity that crossed its line, or at which it was given.';

CREATE FUNCTION put_badges(member_id bigint, badges text[], merge_id bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	name text;
	definition jsonb;
	new record;
BEGIN
	FOREACH name IN ARRAY badges LOOP
		definition := loyalty.engagement_in_force('badge', name);
		IF (definition ->> 'revocable')::boolean THEN
			CONTINUE;
		END IF;
		INSERT INTO loyalty.member_badge (member_id, badge, level, act, earned_at, at)
		SELECT b.member_id, name, b.level, 'lost', b.earned_at, b.earned_at FROM loyalty.member_merge x, loyalty.member_badge b
		WHERE x.merge_id = put_badges.merge_id AND b.recorded_at >= x.recorded_at
			-- by those whom the merge joined, and not by others who came later
			AND b.member_id = loyalty.canonical_then(x.absorbed_id, b.recorded_at)
			AND b.member_id = ANY (loyalty.member_tree(loyalty.canonical_member(member_id))) AND b.badge = name AND b.act = 'earned'
			AND NOT EXISTS (SELECT FROM loyalty.badge_crossings(member_id, definition, NULL, NULL) c WHERE c.level = b.level AND c.earned_at = b.earned_at)
		ORDER BY b.act_id;
		FOR new IN
			INSERT INTO loyalty.member_badge AS b (member_id, badge, level, act, earned_at, at, activity_id)
			SELECT member_id, name, c.level, 'earned', c.earned_at, c.earned_at, c.activity_id
			FROM loyalty.badge_crossings(member_id, definition, NULL, NULL) c
			WHERE NOT EXISTS (SELECT FROM loyalty.badge_acts(member_id, NULL, NULL) a WHERE a.badge = name AND a.level = c.level AND a.earned_at <= c.earned_at)
			ORDER BY c.level RETURNING b.level, b.earned_at
		LOOP
			IF loyalty.is_heard('badge_earned') THEN
				PERFORM loyalty.happen('badge_earned', member_id, new.earned_at, jsonb_build_object('version', 1, 'badge', name, 'level', new.level));
			END IF;
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON FUNCTION put_badges(bigint, text[], bigint) IS
'Keeps levels of badges that a member''s activities reach, at the earliest instant at which they ever did, but for revocable ones, which badges() reads from the activities. merge_id: a merge that is undone; what those whom it joined earned since, and what is not reached now, is lost. Part of engage().';

CREATE FUNCTION put_badge_act(member_id bigint, badge text, level integer, act text, at timestamptz, reason text, idempotency_key text,
	OUT act_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
	call CONSTANT text := CASE act WHEN 'given' THEN 'give_badge' ELSE 'take_badge' END;
BEGIN
	IF member_id IS NULL OR at IS NULL OR NOT isfinite(at) OR coalesce(level NOT BETWEEN 1 AND 1000, true) THEN
		RAISE EXCEPTION 'a badge needs a member, an instant and a level from 1 to 1000'
			USING ERRCODE = 'LY003', DETAIL = format('Level %s at %s.', level, at), HINT = 'Correct the argument.';
	END IF;
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request(call, loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(badge, level, extract(epoch FROM nullif(at, statement_timestamp())), reason));
		IF earlier IS NOT NULL THEN
			act_id := earlier ->> 'act_id'; replayed := true;
			RETURN;
		END IF;
	END IF;
	PERFORM loyalty.engagement_in_force('badge', badge, at);
	PERFORM loyalty.lock_engagement(loyalty.canonical_member(member_id));
	IF act = 'taken' AND NOT EXISTS (SELECT FROM loyalty.badge_acts(member_id, at, NULL) a
		WHERE a.home = member_id AND a.badge = badge AND a.level = level AND a.given_at IS NOT NULL) THEN
		RAISE EXCEPTION 'member % was not given level % of badge "%"', member_id, level, badge
			USING ERRCODE = 'LY003', DETAIL = format('It has none at %s that was given; what was earned follows from what the member did.', at), HINT = 'See loyalty.badges() and loyalty.member_badge.';
	END IF;
	INSERT INTO loyalty.member_badge AS b (member_id, badge, level, act, earned_at, at, reason, recorded_at)
	VALUES (member_id, badge, level, act, at, at, reason, clock_timestamp()) RETURNING b.act_id INTO act_id;
	IF act = 'given' AND loyalty.is_heard('badge_earned') THEN
		PERFORM loyalty.happen('badge_earned', member_id, at, jsonb_build_object('version', 1, 'badge', badge, 'level', level));
	END IF;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request(call, member_id, idempotency_key, jsonb_build_object('act_id', act_id));
	END IF;
END
$$;
COMMENT ON FUNCTION put_badge_act(bigint, text, integer, text, timestamptz, text, text) IS 'Keeps that a badge is given or taken. Part of give_badge(), of take_badge(), and of what campaigns and journeys give.';

CREATE FUNCTION give_badge(member_id bigint, badge text, level integer DEFAULT 1, at timestamptz DEFAULT statement_timestamp(), reason text DEFAULT NULL,
	idempotency_key text DEFAULT NULL, OUT act_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	SELECT a.act_id, a.replayed INTO act_id, replayed FROM loyalty.put_badge_act($1, $2, $3, 'given', $4, $5, $6) a;
	PERFORM loyalty.keep_act('give_badge', $1, act_id, format('%s %s', $2, $3)) WHERE NOT replayed;
END
$$;
COMMENT ON FUNCTION give_badge(bigint, text, integer, timestamptz, text, text) IS
'Gives a level of a badge to a member, whatever it did; it is kept until take_badge(). An act by hand, which may need approval. Returns the number of the act, and whether it is the first result of a repeated idempotency_key. Errors: LY751 badge, LY003, LY004, LY115.';

CREATE FUNCTION take_badge(member_id bigint, badge text, level integer DEFAULT 1, at timestamptz DEFAULT statement_timestamp(), reason text DEFAULT NULL,
	idempotency_key text DEFAULT NULL, OUT act_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	SELECT a.act_id, a.replayed INTO act_id, replayed FROM loyalty.put_badge_act($1, $2, $3, 'taken', $4, $5, $6) a;
	PERFORM loyalty.keep_act('take_badge', $1, act_id, format('%s %s', $2, $3)) WHERE NOT replayed;
END
$$;
COMMENT ON FUNCTION take_badge(bigint, text, integer, timestamptz, text, text) IS
'Takes back, from an instant on, a level that give_badge() gave by then, however often; what was earned, or is given later, stays. An act by hand, which may need approval. Returns the number of the act, and whether it is the first result of a repeated idempotency_key. Errors: LY751 badge, LY003 it was not given, LY004, LY115.';
