/*
 * activity: definitions, and recording.
 */

CREATE FUNCTION define_activity_kind(kind text, name text DEFAULT NULL, same_when text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF kind IS NULL OR kind !~ '^[a-z][a-z0-9_]{0,62}$' THEN
		RAISE EXCEPTION 'invalid kind of activity'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(quote_ident(kind), 'NULL')),
				HINT = 'A kind is a short word of a-z, 0-9 and _, such as review.';
	ELSIF same_when NOT IN ('never', 'external_id', 'external_id_and_day') THEN
		RAISE EXCEPTION 'invalid same_when "%"', same_when
			USING ERRCODE = 'LY003', DETAIL = 'It says when two activities of the kind are the same thing.',
				HINT = 'Give external_id, external_id_and_day or never.';
	END IF;
	INSERT INTO loyalty.activity_kind AS k (kind, name, same_when)
	VALUES (kind, coalesce(name, kind), coalesce(same_when, 'external_id'))
	ON CONFLICT ON CONSTRAINT activity_kind_pkey DO UPDATE SET name = coalesce(define_activity_kind.name, k.name),
		same_when = coalesce(define_activity_kind.same_when, k.same_when)
	-- asked for again
	WHERE define_activity_kind.name <> k.name OR define_activity_kind.same_when <> k.same_when;
	RETURN kind;
END
$$;
COMMENT ON FUNCTION define_activity_kind(text, text, text) IS
'Defines a kind of activity, or changes what is given of one. same_when: when two activities of a member are the same thing, of which there is one: external_id (default), where they have that in common, such as the number of an order; external_id_and_day, where they have it on one local day, such as the place of a check-in; never. A change of same_when holds for what is recorded from then on. Returns the kind. Error: LY003.';

CREATE FUNCTION define_product(sku text, category text DEFAULT NULL, brand text DEFAULT NULL, grade text DEFAULT NULL,
	earns boolean DEFAULT true, effective_from timestamptz DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	last loyalty.product;
	from_at timestamptz := effective_from;
BEGIN
	IF sku IS NULL OR sku = '' OR octet_length(sku) > 1000 OR earns IS NULL OR NOT isfinite(effective_from) THEN
		RAISE EXCEPTION 'sku and earns must be given'
			USING ERRCODE = 'LY003', DETAIL = 'A sku has from 1 to 1000 bytes; effective_from is a finite instant.', HINT = 'Give the number of the article.';
	END IF;
	PERFORM loyalty.lock_key('product ' || sku);
	SELECT p.* INTO last FROM loyalty.product p WHERE p.sku = define_product.sku ORDER BY p.version DESC LIMIT 1;
	IF FOUND THEN
		from_at := coalesce(effective_from, now());
		IF last.effective_from IS NOT DISTINCT FROM effective_from AND (last.category, last.brand, last.grade, last.earns) IS NOT DISTINCT FROM (category, brand, grade, earns) THEN
			RETURN last.version;
		END IF;
		IF last.effective_from > from_at THEN
			RAISE EXCEPTION 'version % of product "%" would begin before version %', last.version + 1, sku, last.version
				USING ERRCODE = 'LY003', DETAIL = format('That begins at %s.', last.effective_from), HINT = 'Give that instant to replace it, or a later one.';
		END IF;
	END IF;
	INSERT INTO loyalty.product AS p (sku, version, effective_from, category, brand, grade, earns)
	VALUES (sku, coalesce(last.version, 0) + CASE WHEN last.effective_from = from_at THEN 0 ELSE 1 END, from_at, category, brand, grade, earns)
	ON CONFLICT ON CONSTRAINT product_pkey DO UPDATE SET category = excluded.category, brand = excluded.brand,
		grade = excluded.grade, earns = excluded.earns, recorded_at = excluded.recorded_at
	RETURNING p.version INTO last.version;
	RETURN last.version;
END
$$;
COMMENT ON FUNCTION define_product(text, text, text, text, boolean, timestamptz) IS
'Says what a product is, by versions: the first one from ever, later ones from now, where effective_from is not given; one from the same instant replaces the last. A line that names it by its sku takes what is so at the instant of its activity, where the line does not say it itself, and keeps it. earns => false: it counts in the amount of an activity, and earns nothing. Returns the number of the version. Error: LY003, also for one that would begin before the last.';

CREATE FUNCTION define_holidays(holidays text, days date[]) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	n bigint;
BEGIN
	IF holidays IS NULL OR holidays = '' OR days IS NULL OR array_position(days, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'holidays and days must be given'
			USING ERRCODE = 'LY003', DETAIL = 'A list has a name and days.', HINT = 'An empty array of days ends a list.';
	END IF;
	DELETE FROM loyalty.holiday h WHERE h.holidays = define_holidays.holidays AND h.day <> ALL (days);
	INSERT INTO loyalty.holiday (holidays, day) SELECT DISTINCT holidays, d FROM unnest(days) d ORDER BY d ON CONFLICT DO NOTHING;
	SELECT count(*) INTO n FROM loyalty.holiday h WHERE h.holidays = define_holidays.holidays;
	RETURN n;
END
$$;
COMMENT ON FUNCTION define_holidays(text, date[]) IS
'Makes a list of holidays, such as de, these days and no others. Returns how many. Error: LY003.';

CREATE FUNCTION record_activity(member_id bigint, kind text, at timestamptz DEFAULT statement_timestamp(), amount numeric DEFAULT NULL,
	lines jsonb DEFAULT NULL, channel text DEFAULT NULL, document jsonb DEFAULT NULL, external_id text DEFAULT NULL, money text DEFAULT NULL,
	time_zone text DEFAULT NULL, codes text[] DEFAULT NULL, basket text DEFAULT NULL, confirmed boolean DEFAULT true,
	idempotency_key text DEFAULT NULL,
	OUT activity_id bigint, OUT discount numeric, OUT points bigint, OUT awards integer, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_record_activity';
COMMENT ON FUNCTION record_activity(bigint, text, timestamptz, numeric, jsonb, text, jsonb, text, text, text, text[], text, boolean, text) IS
'Records what a member did, with all that it earns, in one commit. kind: of activity_kind. lines: [{"sku": "T1", "quantity": 2, "amount": 8.50}, ...]; amount of a line is for all of its quantity, less discounts, and may be given as price (of one) and discount; line is its number, otherwise its place; category, brand, grade and earns come from the catalogue where they are not given; what else a line has is kept. amount: of the whole, less discounts; NULL is the sum of the lines. external_id: what it is outside, such as the number of the order. time_zone: of its local day; NULL is the program''s. codes: of coupons that are redeemed with it; basket: those that are reserved for it. confirmed => false: it is not final yet. Returns its number, the discount of coupons, the points of currency points that it earned, how many awards there are, and whether this is the first result of a repeated idempotency_key, which is unique within member and kind. Errors: LY501 kind, LY505 amount, line, instant or the like, LY506 the same was recorded before (see define_activity_kind()), LY003, LY004, LY115 keys of a forgotten member, LY202.';

CREATE FUNCTION record_many(member_ids bigint[], kinds text[], ats timestamptz[] DEFAULT NULL, amounts numeric[] DEFAULT NULL,
	lines jsonb[] DEFAULT NULL, channels text[] DEFAULT NULL, documents jsonb[] DEFAULT NULL, external_ids text[] DEFAULT NULL,
	moneys text[] DEFAULT NULL, time_zones text[] DEFAULT NULL, confirmed boolean[] DEFAULT NULL, idempotency_keys text[] DEFAULT NULL,
	OUT ordinal bigint, OUT activity_id bigint, OUT discount numeric, OUT points bigint, OUT awards integer, OUT replayed boolean)
RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 100 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_record_many';
COMMENT ON FUNCTION record_many(bigint[], text[], timestamptz[], numeric[], jsonb[], text[], jsonb[], text[], text[], text[], boolean[], text[]) IS
'Records one activity for each element, all or none, as record_activity() does; a NULL element means the default. Those of a member are recorded in the order given; what they could post to is locked first, by members ascending. Returns one row for each element, in the order given. Errors are those of record_activity().';

CREATE FUNCTION record_many_apart(member_ids bigint[], kinds text[], ats timestamptz[], amounts numeric[],
	lines jsonb[], channels text[], documents jsonb[], external_ids text[], moneys text[], time_zones text[], confirmed boolean[], idempotency_keys text[],
	OUT ordinal bigint, OUT activity_id bigint, OUT discount numeric, OUT points bigint, OUT awards integer, OUT replayed boolean)
RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 100 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_by_member';
COMMENT ON FUNCTION record_many_apart(bigint[], text[], timestamptz[], numeric[], jsonb[], text[], jsonb[], text[], text[], text[], boolean[], text[]) IS
'What record_many() does where tables are spread: record_many_of() for each member, ascending. Part of record_many().';

CREATE FUNCTION record_many_of(member_id bigint, ordinals bigint[], kinds text[], ats timestamptz[], amounts numeric[],
	lines jsonb[], channels text[], documents jsonb[], external_ids text[], moneys text[], time_zones text[], confirmed boolean[], idempotency_keys text[],
	OUT ordinal bigint, OUT activity_id bigint, OUT discount numeric, OUT points bigint, OUT awards integer, OUT replayed boolean)
RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 100 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_of_one_member';
COMMENT ON FUNCTION record_many_of(bigint, bigint[], text[], timestamptz[], numeric[], jsonb[], text[], jsonb[], text[], text[], text[], boolean[], text[]) IS
'record_many() with elements of one member, which have these numbers in the whole call. Sent to the machine of the member, where tables are spread. Part of record_many().';

CREATE FUNCTION revise_activity(member_id bigint, activity_id bigint, amount numeric DEFAULT NULL, lines jsonb DEFAULT NULL,
	document jsonb DEFAULT NULL, at timestamptz DEFAULT NULL, channel text DEFAULT NULL, money text DEFAULT NULL,
	cancelled boolean DEFAULT NULL, confirmed boolean DEFAULT NULL, to_member_id bigint DEFAULT NULL, reference text DEFAULT NULL,
	idempotency_key text DEFAULT NULL, codes text[] DEFAULT NULL, basket text DEFAULT NULL,
	OUT revision integer, OUT points bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_revise_activity';
COMMENT ON FUNCTION revise_activity(bigint, bigint, numeric, jsonb, jsonb, timestamptz, text, text, boolean, boolean, bigint, text, text, text[], text) IS
'Says what an activity is: NULL stays as it is. Its awards become those of what it is now, and the difference is posted. amount, lines: raised or lowered; lines without amount make it their sum. cancelled: true, it does not count; false, it does again. confirmed: it is final. at: another instant, whose local day is that of the zone that it was recorded in. to_member_id: it is that member''s, under the same activity_id. amount and lines are before coupons; those that it has follow it, and it keeps them: codes says of all that it is to have, so an empty array takes them out. Returns the number of the revision, the difference in points of currency points, and whether this is the first result of a repeated idempotency_key, which is unique within the activity. Errors: LY502 no such activity, LY505, LY506 the member has the same already, LY003, LY004, LY115, LY202.';

CREATE FUNCTION record_return(member_id bigint, activity_id bigint, lines jsonb DEFAULT NULL, amount numeric DEFAULT NULL,
	at timestamptz DEFAULT statement_timestamp(), reference text DEFAULT NULL, idempotency_key text DEFAULT NULL,
	OUT revision integer, OUT points bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_record_return';
COMMENT ON FUNCTION record_return(bigint, bigint, jsonb, numeric, timestamptz, text, text) IS
'Records that something of an activity came back: the activity becomes what is left of it, its awards those of that, and the difference is posted. lines: [{"line": 2, "quantity": 1}] or [{"line": 2, "amount": 5.00}]; a line with neither comes back whole. amount: of an activity without lines, or beyond them, such as shipping; amounts of lines are before coupons. Both NULL: all that is left. What is left of a line is its amount as sold, times quantity left, by quantity sold, half up to the decimals of its money, or, where none is named, to two, or as many as its amounts have. Returns the number of the revision, the difference in points of currency points, and whether this is the first result of a repeated idempotency_key, which is unique within the activity. Errors: LY502 no such activity, LY503 no such line, LY504 more than is left, LY505, LY003, LY004, LY115.';

CREATE FUNCTION record_from_row() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_record_from_row';
COMMENT ON FUNCTION record_from_row() IS
'Trigger function (AFTER INSERT OR UPDATE OR DELETE, FOR EACH ROW): the row as it stands is an activity, in the same commit, whatever became of the row and in whatever order. Arguments are terms ''name=value''; a value is a column or an expression over the row''s columns, found in pg_catalog and the table''s schema. source (needed): the name under which the rows are known, one for each trigger of a kind, never changed. member (needed): NULL is nobody, such as a guest; the row is recorded, with its own time, once it has a member. kind: a kind of activity (order). at: when it happened; NULL or not given is when it is recorded, and so is what lies ahead. amount, lines, channel, document, money, time_zone, confirmed: as in record_activity(); an amount below 0 counts as 0. when: whether the row counts; where it does not, or is gone, its activity is cancelled. key: what names the row in its source, one or several values, unique and lasting (the primary key, of the topmost partitioned table). external_id of the activity is row_key(source, key). Times without zone are in time_zone, or the program''s. Errors: LY003 a term that is missing, not known, or a source that two triggers share; 42703, 42804 and the like name the term; those of record_activity() and revise_activity().';
