/*
 * activity: tables.
 */

CREATE FUNCTION activity_triggers(OUT table_name text, OUT trigger_name text, OUT fired text, OUT level text, OUT function_name text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	VALUES ('activity_kind', 'forget_cached', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'forget_cached'),
		('activity_kind', 'forget_all_cached', 'AFTER TRUNCATE', 'STATEMENT', 'forget_cached')
$$;
COMMENT ON FUNCTION activity_triggers() IS 'The triggers of the tables of room activity; see program_triggers().';

CREATE FUNCTION setup_activity(have integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF have < 1 THEN
		CREATE TABLE loyalty.activity_kind (
			kind text COLLATE "C" PRIMARY KEY,
			name text NOT NULL,
			same_when text NOT NULL DEFAULT 'external_id' CHECK (same_when IN ('never', 'external_id', 'external_id_and_day')),
			created_at timestamptz NOT NULL DEFAULT now()
		);
		COMMENT ON TABLE loyalty.activity_kind IS 'Kinds of activities; made by define_activity_kind().';
		COMMENT ON COLUMN loyalty.activity_kind.kind IS 'Short name that applications and campaigns use.';
		COMMENT ON COLUMN loyalty.activity_kind.name IS 'Name that people read.';
		COMMENT ON COLUMN loyalty.activity_kind.same_when IS 'When two activities of a member are the same thing, of which there is one: external_id, where they have that in common; external_id_and_day, where they have it on one local day; never.';
		COMMENT ON COLUMN loyalty.activity_kind.created_at IS 'When it was defined.';
		INSERT INTO loyalty.activity_kind (kind, name, same_when)
		VALUES ('order', 'Order', 'external_id'), ('registration', 'Registration', 'external_id'),
			('profile', 'Profile completed', 'external_id'), ('survey', 'Survey', 'external_id'),
			('check_in', 'Check-in', 'external_id_and_day'), ('app_use', 'Use of the app', 'external_id_and_day'),
			('comment', 'Comment', 'external_id'), ('review', 'Review', 'external_id'), ('like', 'Like', 'external_id'),
			('share', 'Share', 'external_id_and_day'), ('invite', 'Invitation', 'external_id'), ('game', 'Round of a game', 'external_id');

		CREATE TABLE loyalty.holiday (
			holidays text,
			day date,
			PRIMARY KEY (holidays, day)
		);
		COMMENT ON TABLE loyalty.holiday IS 'Days of lists of holidays; made by define_holidays().';
		COMMENT ON COLUMN loyalty.holiday.holidays IS 'Name of the list, such as de.';
		COMMENT ON COLUMN loyalty.holiday.day IS 'The day, in whatever time zone it is asked for.';

		CREATE TABLE loyalty.product (
			sku text COLLATE "C",
			version integer,
			effective_from timestamptz,
			category text,
			brand text,
			grade text,
			earns boolean NOT NULL,
			recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			PRIMARY KEY (sku, version)
		);
		COMMENT ON TABLE loyalty.product IS 'The catalogue, an option: what is known of a product that a line names by its sku, by versions; made by define_product().';
		COMMENT ON COLUMN loyalty.product.sku IS 'Number of the article.';
		COMMENT ON COLUMN loyalty.product.version IS 'Number of the version, from 1.';
		COMMENT ON COLUMN loyalty.product.effective_from IS 'From when on it is so, until the next version; NULL: from ever.';
		COMMENT ON COLUMN loyalty.product.category IS 'Category, or a path such as food/tea/green.';
		COMMENT ON COLUMN loyalty.product.brand IS 'Brand.';
		COMMENT ON COLUMN loyalty.product.grade IS 'Grade that the brand gives it.';
		COMMENT ON COLUMN loyalty.product.earns IS 'Whether it earns anything; a gift card does not.';
		COMMENT ON COLUMN loyalty.product.recorded_at IS 'When this version was defined.';

		CREATE SEQUENCE loyalty.activity_activity_id_seq;
		COMMENT ON SEQUENCE loyalty.activity_activity_id_seq IS 'Ids of activities.';
		CREATE TABLE loyalty.activity (
			member_id bigint NOT NULL,
			activity_id bigint NOT NULL DEFAULT nextval('loyalty.activity_activity_id_seq'),
			revision integer NOT NULL DEFAULT 0,
			kind text COLLATE "C" NOT NULL,
			at timestamptz NOT NULL,
			local_day date NOT NULL,
			time_zone text NOT NULL,
			channel text,
			amount numeric,
			money text,
			lines jsonb,
			document jsonb,
			confirmed boolean NOT NULL DEFAULT true,
			cancelled boolean NOT NULL DEFAULT false,
			returned boolean NOT NULL DEFAULT false,
			revised_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			external_id text,
			same_key text COLLATE "C",
			recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			idempotency_key text COLLATE "C",
			fingerprint bytea,
			moved_to bigint,
			PRIMARY KEY (member_id, activity_id)
		);
		ALTER SEQUENCE loyalty.activity_activity_id_seq OWNED BY loyalty.activity.activity_id;
		CREATE INDEX activity_at ON loyalty.activity (member_id, kind, at);
		CREATE UNIQUE INDEX activity_same ON loyalty.activity (member_id, kind, same_key) WHERE same_key IS NOT NULL;
		CREATE UNIQUE INDEX activity_key ON loyalty.activity (member_id, kind, idempotency_key) WHERE idempotency_key IS NOT NULL;
		COMMENT ON TABLE loyalty.activity IS 'What members did, as it is now; written by record_activity(), record_many(), revise_activity(), record_return() and record_from_row().';
		COMMENT ON COLUMN loyalty.activity.member_id IS 'The member, under the number that was given; see member_tree().';
		COMMENT ON COLUMN loyalty.activity.activity_id IS 'Number of the activity.';
		COMMENT ON COLUMN loyalty.activity.revision IS 'How often it was revised; see activity_revision.';
		COMMENT ON COLUMN loyalty.activity.kind IS 'Kind, of table activity_kind.';
		COMMENT ON COLUMN loyalty.activity.at IS 'When it happened.';
		COMMENT ON COLUMN loyalty.activity.local_day IS 'The day on which that was, in time_zone; fixed when it was recorded.';
		COMMENT ON COLUMN loyalty.activity.time_zone IS 'Time zone of the local day.';
		COMMENT ON COLUMN loyalty.activity.channel IS 'Where it happened, such as app or store.';
		COMMENT ON COLUMN loyalty.activity.amount IS 'What it is worth in money, less discounts and what was returned.';
		COMMENT ON COLUMN loyalty.activity.money IS 'Currency of the amount (ISO 4217).';
		COMMENT ON COLUMN loyalty.activity.lines IS 'Its lines, less what was returned; read them with the view activity_line.';
		COMMENT ON COLUMN loyalty.activity.document IS 'Whatever else is to be kept of it.';
		COMMENT ON COLUMN loyalty.activity.confirmed IS 'Whether it is final: paid, shipped, approved.';
		COMMENT ON COLUMN loyalty.activity.cancelled IS 'Whether it does not count: it was cancelled, its row is gone, or it moved to another member.';
		COMMENT ON COLUMN loyalty.activity.returned IS 'Whether all of it was returned.';
		COMMENT ON COLUMN loyalty.activity.revised_at IS 'Since when it has been known to be like this.';
		COMMENT ON COLUMN loyalty.activity.external_id IS 'What it is outside, such as the number of an order.';
		COMMENT ON COLUMN loyalty.activity.same_key IS 'What no other activity of this kind of the member has, by same_when of the kind; NULL: anything.';
		COMMENT ON COLUMN loyalty.activity.recorded_at IS 'When the database learned of it.';
		COMMENT ON COLUMN loyalty.activity.idempotency_key IS 'Key of the call that recorded it, unique within member and kind.';
		COMMENT ON COLUMN loyalty.activity.fingerprint IS 'Fingerprint of the arguments of a call with a key.';
		COMMENT ON COLUMN loyalty.activity.moved_to IS 'The member to whom it was moved, under whose number it goes on; otherwise NULL.';

		CREATE TABLE loyalty.activity_revision (
			member_id bigint NOT NULL,
			activity_id bigint NOT NULL,
			revision integer NOT NULL,
			is_return boolean NOT NULL,
			at timestamptz NOT NULL,
			reference text,
			from_member_id bigint,
			to_member_id bigint,
			recorded_at timestamptz NOT NULL,
			idempotency_key text COLLATE "C",
			fingerprint bytea,
			was_at timestamptz,
			was_local_day date,
			was_time_zone text,
			was_channel text,
			was_amount numeric,
			was_money text,
			was_lines jsonb,
			was_document jsonb,
			was_confirmed boolean,
			was_cancelled boolean,
			was_returned boolean,
			was_revised_at timestamptz,
			PRIMARY KEY (member_id, activity_id, revision)
		);
		CREATE UNIQUE INDEX activity_revision_key ON loyalty.activity_revision (member_id, activity_id, idempotency_key)
			WHERE idempotency_key IS NOT NULL;
		COMMENT ON TABLE loyalty.activity_revision IS 'Changes of activities, returns included, and what the activity was before each; a row is never changed. Read it with activities().';
		COMMENT ON COLUMN loyalty.activity_revision.member_id IS 'The member under whose number the activity stands; with one that was moved the revisions before go along.';
		COMMENT ON COLUMN loyalty.activity_revision.activity_id IS 'The activity.';
		COMMENT ON COLUMN loyalty.activity_revision.revision IS 'Number of the revision, from 1.';
		COMMENT ON COLUMN loyalty.activity_revision.is_return IS 'Whether something was returned; otherwise what was known of the activity was corrected.';
		COMMENT ON COLUMN loyalty.activity_revision.at IS 'When that happened; of a correction, when it was recorded.';
		COMMENT ON COLUMN loyalty.activity_revision.reference IS 'What it is outside, such as the number of the return.';
		COMMENT ON COLUMN loyalty.activity_revision.from_member_id IS 'Of an activity that was moved here: the member from whom, or, of a revision before, who had it then; otherwise NULL.';
		COMMENT ON COLUMN loyalty.activity_revision.to_member_id IS 'The member to whom it was moved; otherwise NULL.';
		COMMENT ON COLUMN loyalty.activity_revision.recorded_at IS 'When the database learned of it.';
		COMMENT ON COLUMN loyalty.activity_revision.idempotency_key IS 'Key of the call, unique within the activity.';
		COMMENT ON COLUMN loyalty.activity_revision.fingerprint IS 'Fingerprint of the arguments of a call with a key.';
		COMMENT ON COLUMN loyalty.activity_revision.was_at IS 'Before: when it happened; NULL of the move by which it came here, as all of these.';
		COMMENT ON COLUMN loyalty.activity_revision.was_local_day IS 'Before: the day on which that was.';
		COMMENT ON COLUMN loyalty.activity_revision.was_time_zone IS 'Before: time zone of the local day.';
		COMMENT ON COLUMN loyalty.activity_revision.was_channel IS 'Before: where it happened.';
		COMMENT ON COLUMN loyalty.activity_revision.was_amount IS 'Before: what it was worth.';
		COMMENT ON COLUMN loyalty.activity_revision.was_money IS 'Before: currency of the amount.';
		COMMENT ON COLUMN loyalty.activity_revision.was_lines IS 'Before: its lines.';
		COMMENT ON COLUMN loyalty.activity_revision.was_document IS 'Before: its document.';
		COMMENT ON COLUMN loyalty.activity_revision.was_confirmed IS 'Before: whether it was final.';
		COMMENT ON COLUMN loyalty.activity_revision.was_cancelled IS 'Before: whether it did not count.';
		COMMENT ON COLUMN loyalty.activity_revision.was_returned IS 'Before: whether all of it was returned.';
		COMMENT ON COLUMN loyalty.activity_revision.was_revised_at IS 'Before: since when it had been known to be like that.';

		CREATE VIEW loyalty.activity_line AS
		SELECT a.member_id, a.activity_id, coalesce((l.line ->> 'line')::integer, l.place::integer) AS line, a.kind, a.at, a.local_day, a.cancelled,
			l.line ->> 'sku' AS sku, l.line ->> 'category' AS category, l.line ->> 'brand' AS brand, l.line ->> 'grade' AS grade,
			coalesce((l.line ->> 'earns')::boolean, true) AS earns, coalesce((l.line ->> 'quantity')::numeric, 1) AS quantity,
			(l.line ->> 'amount')::numeric AS amount, a.money,
			(l.line -> 'sold' ->> 'quantity')::numeric - (l.line ->> 'quantity')::numeric AS returned_quantity, l.line AS details
		FROM loyalty.activity a, LATERAL jsonb_array_elements(a.lines) WITH ORDINALITY l (line, place)
		WHERE a.moved_to IS NULL;
		COMMENT ON VIEW loyalty.activity_line IS 'The lines of activities, as they are now: one row for each.';
		COMMENT ON COLUMN loyalty.activity_line.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.activity_line.activity_id IS 'The activity.';
		COMMENT ON COLUMN loyalty.activity_line.line IS 'Number of the line.';
		COMMENT ON COLUMN loyalty.activity_line.kind IS 'Kind of the activity.';
		COMMENT ON COLUMN loyalty.activity_line.at IS 'When it happened.';
		COMMENT ON COLUMN loyalty.activity_line.local_day IS 'The day on which that was.';
		COMMENT ON COLUMN loyalty.activity_line.cancelled IS 'Whether the activity does not count.';
		COMMENT ON COLUMN loyalty.activity_line.sku IS 'Number of the article.';
		COMMENT ON COLUMN loyalty.activity_line.category IS 'Category of the product, as it was then.';
		COMMENT ON COLUMN loyalty.activity_line.brand IS 'Brand of the product.';
		COMMENT ON COLUMN loyalty.activity_line.grade IS 'Grade of the product, as it was then.';
		COMMENT ON COLUMN loyalty.activity_line.earns IS 'Whether the product earned anything then.';
		COMMENT ON COLUMN loyalty.activity_line.quantity IS 'Quantity, less what was returned.';
		COMMENT ON COLUMN loyalty.activity_line.amount IS 'Amount, less discounts and what was returned.';
		COMMENT ON COLUMN loyalty.activity_line.money IS 'Currency of the amount (ISO 4217).';
		COMMENT ON COLUMN loyalty.activity_line.returned_quantity IS 'Quantity that was returned; NULL: nothing.';
		COMMENT ON COLUMN loyalty.activity_line.details IS 'The line as it is stored.';
	END IF;
	PERFORM loyalty.put_merge_handler('activity', '{activity,activity_revision}', NULL, NULL, NULL, 'loyalty.forget_activities');
	RETURN 1;
END
$$;
COMMENT ON FUNCTION setup_activity(integer) IS 'Creates and migrates the tables of room activity; called by setup().';

CREATE FUNCTION activity_growing() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT '{activity, activity_revision}'::text[]
$$;
COMMENT ON FUNCTION activity_growing() IS 'The tables of room activity that grow with members and what they do; see growing_tables(). Part of partition_tables().';
