/*
 * benefit: definitions and codes.
 */

CREATE FUNCTION require_parts(definition jsonb) RETURNS void
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	missing text;
BEGIN
	SELECT format('%s: there is no %s "%s"', p.path, p.kind, p.name) INTO missing
	FROM (VALUES ('payment', definition ->> 'payment', 'payment'),
			('goods.coupon', definition #>> '{goods,coupon}', 'coupon'), ('gives.coupon', definition #>> '{gives,coupon}', 'coupon'),
			('goods.entitlement', definition #>> '{goods,entitlement}', 'entitlement'), ('gives.entitlement', definition #>> '{gives,entitlement}', 'entitlement')) p (path, name, kind)
	WHERE p.name IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty.benefit b WHERE b.benefit = p.name AND b.kind = p.kind)
	UNION ALL
	SELECT format('%s: there is no currency "%s"', p.path, p.name)
	FROM (VALUES ('currency', CASE WHEN definition ->> 'kind' IN ('reward', 'payment', 'card') THEN coalesce(definition ->> 'currency', 'points') END),
			('goods.currency', CASE WHEN definition #> '{goods,points}' IS NOT NULL THEN coalesce(definition #>> '{goods,currency}', 'points') END),
			('gives.currency', CASE WHEN definition #> '{gives,points}' IS NOT NULL THEN coalesce(definition #>> '{gives,currency}', 'points') END)) p (path, name)
	WHERE p.name IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty.currency c WHERE c.code = p.name)
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'invalid definition of a benefit' USING ERRCODE = 'LY602', DETAIL = missing || '.', HINT = 'Define it first.';
	END IF;
END
$$;
COMMENT ON FUNCTION require_parts(jsonb) IS 'LY602 where a definition names a benefit or currency that is not there. Part of define_benefit().';

CREATE FUNCTION define_benefit(benefit text, definition jsonb, effective_from timestamptz DEFAULT NULL, name text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	last loyalty.benefit_version;
	total bigint;
	total_before bigint;
	limited text;
	codes text;
	wrong text;
BEGIN
	IF benefit IS NULL OR benefit !~ '^[a-z][a-z0-9_]{0,62}$' THEN
		RAISE EXCEPTION 'invalid name of a benefit: "%"', benefit
			USING ERRCODE = 'LY003', DETAIL = 'A name has up to 63 characters and begins with a letter.',
				HINT = 'Use lower-case letters, digits and underscores.';
	END IF;
	IF NOT isfinite(effective_from) THEN
		RAISE EXCEPTION 'effective_from must be finite'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', effective_from), HINT = 'Leave it out: the first version is in force always, a later one from now on.';
	END IF;
	definition := loyalty.check_benefit_definition(definition);
	-- of a reward it is its stock
	limited := CASE definition ->> 'kind' WHEN 'reward' THEN 'stock' ELSE 'total' END;
	total := (definition ->> limited)::numeric;
	codes := coalesce(definition ->> 'codes', 'unique');
	PERFORM loyalty.require_parts(definition);
	INSERT INTO loyalty.benefit AS b (benefit, kind, name) VALUES (benefit, definition ->> 'kind', coalesce(name, initcap(replace(benefit, '_', ' '))))
	ON CONFLICT DO NOTHING;
	PERFORM FROM loyalty.benefit b WHERE b.benefit = define_benefit.benefit FOR UPDATE;
	UPDATE loyalty.benefit b SET name = define_benefit.name WHERE b.benefit = define_benefit.benefit AND b.name <> define_benefit.name;
	SELECT * INTO last FROM loyalty.benefit_version v WHERE v.benefit = define_benefit.benefit ORDER BY v.version DESC LIMIT 1;
	total_before := (last.definition ->> limited)::numeric;
	-- asked for again: the version that there is
	IF last.definition = definition AND (last.effective_from < effective_from) IS NOT TRUE THEN
		RETURN last.version;
	END IF;
	effective_from := coalesce(effective_from, CASE WHEN last.version IS NOT NULL THEN statement_timestamp() END);
	wrong := CASE
		WHEN effective_from < last.effective_from THEN format('It would begin at %s, before version %s at %s.', effective_from, last.version, last.effective_from)
		WHEN codes <> coalesce(last.definition ->> 'codes', 'unique') AND last.version IS NOT NULL
			THEN format('Its codes are %s, and those of version %s %s.', codes, last.version, coalesce(last.definition ->> 'codes', 'unique'))
		WHEN (total IS NULL) <> (total_before IS NULL) AND last.version IS NOT NULL
			THEN format('It has %s %s, and version %s has %s.', CASE WHEN total IS NULL THEN 'no' ELSE 'a' END, limited, last.version,
				CASE WHEN total IS NULL THEN 'one' ELSE 'none' END)
		WHEN definition ->> 'kind' <> last.definition ->> 'kind' THEN format('It is of kind %s, and version %s of kind %s.', definition ->> 'kind',
			last.version, last.definition ->> 'kind') END;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'benefit "%" cannot have this version', benefit
			USING ERRCODE = 'LY602', DETAIL = wrong, HINT = 'A version begins no earlier than the one before, and keeps its kind, its kind of codes and whether there is a total or stock; otherwise define another benefit.';
	END IF;
	INSERT INTO loyalty.benefit_version AS v (benefit, version, effective_from, definition)
	VALUES (benefit, coalesce(last.version, 0) + 1, effective_from, definition);
	IF last.version IS NULL THEN
		PERFORM loyalty.open_escrow(format('benefit/%s/%s', benefit, limited), total) WHERE total IS NOT NULL;
		PERFORM loyalty.open_escrow(format('benefit/%s/unused_codes', benefit), 0) WHERE codes = 'pool';
	ELSIF total <> total_before THEN
		PERFORM loyalty.change_escrow(format('benefit/%s/%s', benefit, limited), total - total_before);
	END IF;
	RETURN coalesce(last.version, 0) + 1;
END
$$;
COMMENT ON FUNCTION define_benefit(text, jsonb, timestamptz, text) IS
'Defines what members can get, or a new version of it from effective_from on (default: always, of the first; now, of a later one), which is not before the last one begins. Coupons keep the version that was in force when they were issued; total is that of the last version, at once. Returns the version; the same again makes no new one. The definition: {"kind": "coupon", "discount": {"percent": 10, "at_most": 50}, {"amount": 20, "every": 100} (every: once for each 100 there is; without: once), {"percent": 50, "every": 2, "pick": "cheapest" | "dearest"} (of one of every two units) or {"free": {"sku": "gift", "quantity": 1}} (what of it is in the order); "class": "lines", "order" (default) or "shipping" (what the order has beyond its lines): in this order they come off; "lines", "except": which lines are meant, as "lines" in the conditions of campaigns ({"sku": [...], "category": [...], "brand": [...]}); "minimum": of these lines, before coupons, or, with "minimum_after": true, after the classes before; "available": a condition on the activity; "on_return": "keep" (default: it takes off what it took off the lines that are left) or "reevaluate" (what it gives on them); "valid": interval, from "valid_after" on, to the end of a "day", "month" or "year" ("valid_to_end_of"); "between": [from, until], either null, of all; "grace": interval from a restoring, where its time is over; "time_zone" (none: the program''s); "codes": "unique" (default), "generic" (everybody uses the same) or "pool" (brought along by add_codes()); "times" it may be redeemed (1); "member", "total": how many a member may have, and all; "exclusive": of several with the same name one an order ("coupon"; null: beside all); "priority" (100): who comes first where a line has too little left; "money": the only one that it is for}. What is no coupon has "available" (a condition on the member at the instant at which it is asked), "time_zone" and: {"kind": "entitlement", "quota": 4, {"club": {"gold": 4, "platinum": 8}} (by level of a ladder) or [{"when": condition, "uses": 4}] (the most of those that hold; null: as many as one likes); "period": "day", "week", "month", "quarter", "year" or "lifetime" (default), or "rolling": interval; "anchor": "calendar" (default), "joined" or "membership" (the grants that give the level); "level": "current" (default), "best" (of the period so far) or "joined" (at its beginning), and the level of the instant must have a right all the same; "carry_over": how many of what is left go to the next period}; {"kind": "access", "lines": goods that nobody else may buy}; {"kind": "price", "lines": ..., "price" | "percent" | "amount" (less), "money"}; {"kind": "payment", "points": 100, "currency", "worth": 1.00, "step", "least", "most", "share": percent of the amount, "money"}; {"kind": "reward", "points", "currency", "price", "money", or "price" and "payment"; "stock"; "member", "period", "rolling": limit of a member; "between"; "hold": how long an order waits for its money; "goods": {"coupon": benefit}, {"entitlement": benefit, "uses": 2}, {"points": 7, "currency"} or {"item": text}}; {"kind": "gift", "window": {"birthday" | "joined" | "welcome": {"before", "after": days, "leap_day": "feb28" or "mar1"}}, {"yearly": {"on": "11-11", ...}}, {"monthly": {"on": 8, ...}}, {"holiday": {"on": list, ...}} or {"days": [from, until]}; "gives": as goods}; {"kind": "card", "currency", "valid": interval, "money"}. Errors: LY602 a mistake, with its place, or a version that cannot follow; LY003.';

CREATE FUNCTION existing_benefit(benefit text, codes text) RETURNS text
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	has text;
BEGIN
	SELECT coalesce(v.definition ->> 'codes', 'unique') INTO has FROM loyalty.benefit_version v
	WHERE v.benefit = $1 AND v.definition ->> 'kind' = 'coupon' ORDER BY v.version DESC LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no benefit "%" with codes', benefit
			USING ERRCODE = 'LY601', DETAIL = 'The table loyalty.benefit_version has no coupon of this name.', HINT = 'Define it with loyalty.define_benefit().';
	ELSIF NOT has = ANY (string_to_array(codes, ' ')) THEN
		RAISE EXCEPTION 'benefit "%" has codes of another kind', benefit
			USING ERRCODE = 'LY602', DETAIL = format('Its codes are %s; this is for %s.', has, replace(codes, ' ', ' or ')),
				HINT = 'add_codes() is for pools and generic codes, generate_codes() for unique ones.';
	END IF;
	RETURN has;
END
$$;
COMMENT ON FUNCTION existing_benefit(text, text) IS
'What kind of codes a benefit has, of those that are allowed. Errors: LY601 no such benefit, LY602 another kind. Part of add_codes() and generate_codes().';

CREATE FUNCTION add_codes(benefit text, codes text[]) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	has CONSTANT text := loyalty.existing_benefit(benefit, 'pool generic');
	pool CONSTANT text := CASE has WHEN 'pool' THEN format('benefit/%s/unused_codes', benefit) END;
	added bigint;
BEGIN
	IF EXISTS (SELECT FROM unnest(codes) c WHERE coalesce(loyalty.normalize_code(c), '') = '' OR octet_length(c) > 200) THEN
		RAISE EXCEPTION 'a code must have from 1 to 200 bytes'
			USING ERRCODE = 'LY003', DETAIL = 'Blanks and dashes do not count, and one of these has nothing else, or too much.', HINT = 'Leave such codes out.';
	END IF;
	-- whoever draws waits, and who adds comes after
	PERFORM FROM (SELECT FROM loyalty.escrow e WHERE e.name = pool ORDER BY e.slot FOR UPDATE) x;
	WITH new AS (
		SELECT n.code, n.shown, row_number() OVER (ORDER BY n.code) - 1 AS n
		FROM (SELECT DISTINCT ON (loyalty.normalize_code(c)) loyalty.normalize_code(c) AS code, c AS shown
			FROM unnest(codes) WITH ORDINALITY u (c, o) ORDER BY loyalty.normalize_code(c), u.o) n
		WHERE NOT EXISTS (SELECT FROM loyalty.coupon_code k WHERE k.code = n.code)
	), slots AS (
		SELECT e.slot, e.remaining, row_number() OVER (ORDER BY e.remaining, e.slot) - 1 AS o, count(*) OVER () AS of
		FROM loyalty.escrow e WHERE e.name = pool
	)
	INSERT INTO loyalty.coupon_code (code, shown, benefit, slot, place)
	SELECT n.code, n.shown, benefit, s.slot, s.remaining + 1 + n.n / s.of FROM new n LEFT JOIN slots s ON s.o = n.n % s.of;
	GET DIAGNOSTICS added = ROW_COUNT;
	UPDATE loyalty.escrow e SET remaining = k.n
	FROM (SELECT k.slot, max(k.place) AS n FROM loyalty.coupon_code k WHERE k.benefit = add_codes.benefit AND k.place IS NOT NULL GROUP BY k.slot) k
	WHERE e.name = pool AND e.slot = k.slot AND e.remaining < k.n;
	RETURN added;
END
$$;
COMMENT ON FUNCTION add_codes(text, text[]) IS
'Brings codes along: for the pool of a benefit, whose coupons get one each, or generic ones, which everybody uses. Returns how many are new; those that are there already, of whichever benefit, are left as they are, so a load may be repeated. Errors: LY601 benefit, LY602 its codes are unique, LY003.';

CREATE FUNCTION generate_codes(benefit text, number integer) RETURNS SETOF text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	missing integer := number;
	made integer;
BEGIN
	PERFORM loyalty.existing_benefit(benefit, 'unique');
	IF number IS NULL OR number < 1 THEN
		RAISE EXCEPTION 'number must be positive'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(number::text, 'NULL')), HINT = 'Give how many codes are wanted.';
	END IF;
	WHILE missing > 0 LOOP
		RETURN QUERY
		INSERT INTO loyalty.coupon_code AS k (code, shown, benefit)
		SELECT loyalty.normalize_code(c.code), c.code, benefit FROM (SELECT loyalty.make_code() AS code FROM generate_series(1, missing)) c
		ON CONFLICT DO NOTHING RETURNING k.shown;
		GET DIAGNOSTICS made = ROW_COUNT;
		missing := missing - made;
	END LOOP;
END
$$;
COMMENT ON FUNCTION generate_codes(text, integer) IS
'Makes codes of vouchers to be printed: whoever claims one first, or uses it, has the coupon. Returns them. Errors: LY601 benefit, LY602 its codes are not unique, LY003.';
