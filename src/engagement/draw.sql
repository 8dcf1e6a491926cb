/*
 * engagement: draws: committed to, drawn, revealed, verified.
 */

CREATE FUNCTION define_draw(draw text, definition jsonb, seed text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	last loyalty.draw_commitment;
	version integer;
BEGIN
	-- stock and places are nobody's, and would be spread over machines
	PERFORM loyalty.refuse_distributed('define_draw');
	SELECT * INTO last FROM loyalty.draw_commitment s WHERE s.draw = define_draw.draw;
	IF FOUND THEN
		IF (SELECT v.definition FROM loyalty.engagement_version v WHERE v.what = 'draw' AND v.name = draw) IS DISTINCT FROM definition
			OR seed IS NOT NULL AND loyalty.commit_seed(seed) <> last.commitment THEN
			RAISE EXCEPTION 'draw "%" is committed to', draw
				USING ERRCODE = 'LY752', DETAIL = format('Its commitment is %s; prizes, weights and seed never change.', last.commitment), HINT = 'Define another draw.';
		END IF;
		RETURN last.commitment;
	END IF;
	version := loyalty.put_engagement('draw', draw, definition, NULL);
	seed := lower(coalesce(seed, replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')));
	INSERT INTO loyalty.draw_commitment (draw, commitment) VALUES (draw, loyalty.commit_seed(seed)) RETURNING * INTO last;
	INSERT INTO loyalty.draw_seed (draw, seed) VALUES (draw, seed);
	PERFORM loyalty.open_escrow(format('draw/%s/%s', draw, p ->> 'prize'), (p ->> 'stock')::numeric::bigint)
	FROM jsonb_array_elements(definition -> 'prizes') p WHERE p ->> 'stock' IS NOT NULL;
	IF definition ->> 'tickets' IS NOT NULL THEN
		PERFORM loyalty.open_escrow(format('draw/%s/tickets', draw), (definition ->> 'tickets')::numeric::bigint);
		INSERT INTO loyalty.draw_place (draw, place, prize)
		SELECT draw, t.place - 1, loyalty.prize_of_ticket(definition, t.ticket)
		FROM unnest(loyalty.shuffle_deck(seed, draw, (definition ->> 'tickets')::numeric::integer)) WITH ORDINALITY t (ticket, place)
		WHERE loyalty.prize_of_ticket(definition, t.ticket) IS NOT NULL;
	END IF;
	RETURN last.commitment;
END
$$;
COMMENT ON FUNCTION define_draw(text, jsonb, text) IS
'Defines a draw for ever, and commits to its seed (hexadecimal digits; NULL: a random one): returns the commitment, its SHA-256, to be published. The definition: of a wheel {"prizes": [{"prize": "none", "weight": 5000}, {"prize": "10 points", "weight": 3000, "points": 10, "currency": "points"}, {"prize": "coupon", "weight": 499, "stock": 500, "benefit": "tea_5_off"}], "client_seed": true: each spin needs a seed of the member''s}; where the stock of the drawn prize is gone, the one before it in the list is given, and so on down. Of a deck {"tickets": 1000, "prizes": [{"prize": "car", "count": 1}, ...]}: of so many tickets exactly these win, and the others are blanks. "from", "until": local times of "time_zone" (default: the program''s). Errors: LY752, also for another definition of one that is there, LY601 benefit, LY102 currency, LY003.';

CREATE FUNCTION engagement_benefit(benefit text) RETURNS boolean
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM loyalty.benefit b WHERE b.benefit = $1 AND b.kind = 'coupon') THEN
		RAISE EXCEPTION 'there is no benefit "%" of kind coupon', benefit
			USING ERRCODE = 'LY601', DETAIL = 'The table loyalty.benefit has no such row of it.', HINT = 'Define it with loyalty.define_benefit().';
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION engagement_benefit(text) IS 'Refuses a benefit that there is not, or that is no coupon. Error: LY601. Part of define_draw() and define_journey().';

CREATE FUNCTION put_spin(member_id bigint, draw text, quantity integer, at timestamptz, reference text) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	grant_id bigint;
BEGIN
	IF member_id IS NULL OR at IS NULL OR NOT isfinite(at) OR coalesce(quantity NOT BETWEEN 1 AND 1000000, true) THEN
		RAISE EXCEPTION 'a grant of spins needs a member, an instant and a quantity from 1 to 1000000'
			USING ERRCODE = 'LY003', DETAIL = format('%s at %s.', quantity, at), HINT = 'Correct the argument.';
	END IF;
	PERFORM loyalty.refuse_distributed('grant_spin');
	PERFORM loyalty.engagement_in_force('draw', draw, 'infinity');
	INSERT INTO loyalty.draw_grant AS g (member_id, draw, quantity, at, reference) VALUES (member_id, draw, quantity, at, reference) RETURNING g.grant_id INTO grant_id;
	RETURN grant_id;
END
$$;
COMMENT ON FUNCTION put_spin(bigint, text, integer, timestamptz, text) IS
'Keeps spins that a member is granted; returns the number of the grant. Errors: LY751 draw, LY003. Part of grant_spin(), and of what campaigns and journeys give.';

CREATE FUNCTION grant_spin(member_id bigint, draw text, quantity integer DEFAULT 1, at timestamptz DEFAULT statement_timestamp(), reference text DEFAULT NULL,
	idempotency_key text DEFAULT NULL, OUT grant_id bigint, OUT spins_left bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('grant_spin', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(draw, quantity, extract(epoch FROM nullif(at, statement_timestamp())), reference));
		IF earlier IS NOT NULL THEN
			grant_id := earlier ->> 'grant_id'; spins_left := earlier ->> 'spins_left'; replayed := true;
			RETURN;
		END IF;
	END IF;
	grant_id := loyalty.put_spin(member_id, draw, quantity, at, reference);
	PERFORM loyalty.keep_act('grant_spin', member_id, grant_id, format('%s %s', draw, quantity));
	spins_left := loyalty.spins_left(member_id, draw);
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('grant_spin', member_id, idempotency_key, jsonb_build_object('grant_id', grant_id, 'spins_left', spins_left));
	END IF;
END
$$;
COMMENT ON FUNCTION grant_spin(bigint, text, integer, timestamptz, text, text) IS
'Grants spins of a draw to a member. An act by hand, which may need approval. Returns the number of the grant, how many spins the member has left, and whether this is the first result of a repeated idempotency_key. Errors: LY751 draw, LY003, LY004, LY115.';

CREATE FUNCTION spins_left(member_id bigint, draw text) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce((SELECT sum(g.quantity) FROM loyalty.draw_grant g WHERE g.member_id = ANY (n.numbers) AND g.draw = $2), 0)::bigint
		- (SELECT count(*) FROM loyalty.draw_spin s WHERE s.member_id = ANY (n.numbers) AND s.draw = $2)
	FROM (SELECT loyalty.member_tree(loyalty.canonical_member($1)) AS numbers) n
$$;
COMMENT ON FUNCTION spins_left(bigint, text) IS
'How many spins of a draw a member has left, under whichever number: what was granted to all of them, less what was drawn.';

CREATE FUNCTION draw(member_id bigint, draw text, client_seed text DEFAULT NULL, at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL,
	OUT nonce bigint, OUT ticket bigint, OUT drawn text, OUT prize text, OUT entry_id bigint, OUT coupon_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_draw';
COMMENT ON FUNCTION draw(bigint, text, text, timestamptz, text) IS
'A spin, or a ticket of a deck: draws, and gives the prize in the same commit. Returns the number of the spin (nonce) of the member who stands for all its numbers, the ticket, which draw_ticket() recomputes once the seed is revealed, or the place in the deck, the prize that it draws, the one that is given (another only where the stock of that one is gone), the entry of its points, its coupon, and whether this is the first result of a repeated idempotency_key. Errors: LY751 draw, LY755 no spins left, LY756 closed, or not open yet, LY003, LY004, LY115.';

CREATE FUNCTION reveal_draw(draw text) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	secret loyalty.draw_commitment;
BEGIN
	PERFORM loyalty.engagement_in_force('draw', draw, 'infinity');
	PERFORM pg_advisory_xact_lock(hashtextextended('loyalty draw ' || draw, 0));
	SELECT c.* INTO secret FROM loyalty.draw_commitment c WHERE c.draw = reveal_draw.draw;
	IF secret.closed_at IS NOT NULL THEN
		RETURN secret.seed;
	END IF;
	UPDATE loyalty.draw_commitment c SET closed_at = clock_timestamp(), seed = s.seed FROM loyalty.draw_seed s
	WHERE c.draw = reveal_draw.draw AND s.draw = c.draw RETURNING c.* INTO secret;
	RETURN secret.seed;
END
$$;
COMMENT ON FUNCTION reveal_draw(text) IS
'Closes a draw for ever, and returns its seed, to be published: whoever has it can recompute every spin; see audit_draw() and verify_draw(). Waits for spins that are under way. Asked for again, it is the same. Error: LY751.';

CREATE FUNCTION audit_draw(draw text, OUT member_id bigint, OUT nonce bigint, OUT problem text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	secret loyalty.draw_commitment;
	definition CONSTANT jsonb := loyalty.engagement_in_force('draw', $1, 'infinity');
BEGIN
	SELECT s.* INTO secret FROM loyalty.draw_commitment s WHERE s.draw = $1;
	IF secret.closed_at IS NULL THEN
		RAISE EXCEPTION 'the seed of draw "%" is not revealed', draw
			USING ERRCODE = 'LY757', DETAIL = 'Whoever knew it would know what the next spins draw.', HINT = 'Close the draw with loyalty.reveal_draw().';
	END IF;
	RETURN QUERY
	SELECT v.member_id, v.nonce, v.problem
	FROM (SELECT coalesce(array_agg(s.member_id ORDER BY s.member_id, s.nonce), '{}') AS m, coalesce(array_agg(s.nonce ORDER BY s.member_id, s.nonce), '{}') AS n,
			coalesce(array_agg(s.ticket ORDER BY s.member_id, s.nonce), '{}') AS t, coalesce(array_agg(s.drawn ORDER BY s.member_id, s.nonce), '{}') AS d,
			coalesce(array_agg(s.prize ORDER BY s.member_id, s.nonce), '{}') AS p, coalesce(array_agg(s.client_seed ORDER BY s.member_id, s.nonce), '{}') AS c
		FROM loyalty.draw_spin s WHERE s.draw = $1) x,
		LATERAL loyalty.verify_draw($1, definition, secret.commitment, secret.seed, x.m, x.n, x.t, x.d, x.p, x.c) v;
END
$$;
COMMENT ON FUNCTION audit_draw(text) IS
'verify_draw() of a draw that was revealed, with its commitment and all its spins: no row, nothing is wrong. The member of a spin is the number that it was drawn for, whoever stands for that now. Errors: LY751 draw, LY757 not revealed.';

CREATE FUNCTION secret_tables() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT '{draw_seed,draw_place,consent_secret}'::text[]
$$;
COMMENT ON FUNCTION secret_tables() IS 'Our tables that none but admins may read: whoever knows a seed knows what the next spins draw, and whoever knows the key of hashes can try addresses. Part of grant_access().';
