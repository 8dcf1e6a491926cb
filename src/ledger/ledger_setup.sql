/*
 * ledger: tables and currencies.
 */

CREATE FUNCTION guard() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_guard';
COMMENT ON FUNCTION guard() IS
'Trigger function (BEFORE, FOR EACH STATEMENT) on wallet and ledger: refuses every statement that is not a posting''s, with LY005.';

CREATE FUNCTION empty_balance(consumption_order integer DEFAULT 0) RETURNS points_balance
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_empty_balance';
COMMENT ON FUNCTION empty_balance(integer) IS
'A balance without entries; consumption_order 0 is earliest_expiry, 1 is oldest_first.';

-- These three are told by the statement in which they stand which posting it is
-- of.  A distributed engine takes nothing but immutable functions of a column into
-- an UPDATE, and nothing volatile into an INSERT whose plan it is to keep; and
-- PostgreSQL computes neither ahead: one has a column to wait for, the others
-- are stable.
CREATE FUNCTION wallet_apply(balance points_balance, has_kin boolean, keys_erased boolean) RETURNS points_balance
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'loyalty_wallet_apply';
COMMENT ON FUNCTION wallet_apply(points_balance, boolean, boolean) IS
'The balance after a posting; part of the writing functions, cannot be called by itself.';

CREATE FUNCTION wallet_unapply() RETURNS points_balance
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'loyalty_wallet_unapply';
COMMENT ON FUNCTION wallet_unapply() IS
'The balance before a posting; part of the writing functions, cannot be called by itself.';

CREATE FUNCTION posted_lots() RETURNS points_lots
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'loyalty_posted_lots';
COMMENT ON FUNCTION posted_lots() IS
'The lots of a posting; part of the writing functions, cannot be called by itself.';

CREATE FUNCTION currency_is_sound() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NEW.time_zone IS NULL AND NEW.expiry_policy <> 'none' THEN
		NEW.time_zone := loyalty.program_time_zone();
	ELSIF NEW.time_zone IS NOT NULL THEN
		NEW.time_zone := loyalty.require_time_zone(NEW.time_zone);
	END IF;
	IF TG_OP = 'UPDATE' AND (NEW.code <> OLD.code OR NEW.consumption_order <> OLD.consumption_order) THEN
		RAISE EXCEPTION 'code and consumption_order of currency "%" cannot be changed', OLD.code
			USING ERRCODE = 'LY003', DETAIL = 'The balances of its wallets stand in that order.',
				HINT = 'Create another currency and transfer the points.';
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION currency_is_sound() IS
'Trigger function on currency: the time zone exists, and is the program''s where points expire and none is named; code and consumption_order stay what they are.';

CREATE FUNCTION texts_hash(salt bytea, reference text, reason text, details jsonb, idempotency_key text, fingerprint bytea) RETURNS bytea
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_texts_hash';
COMMENT ON FUNCTION texts_hash(bytea, text, text, jsonb, text, bytea) IS
'SHA-256 of the texts of an entry and their salt, as the hash of the entry takes it; NULL where there are no texts.';

CREATE FUNCTION mark_erased(member_ids bigint[]) RETURNS bigint
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_mark_erased';
COMMENT ON FUNCTION mark_erased(bigint[]) IS
'Locks the wallets of members and notes on them that keys are gone; returns how many. Part of forget_member(), before erase_entries(). Error: 42501 not the owner of the tables.';

CREATE FUNCTION erase_entries(member_ids bigint[], entry_ids bigint[]) RETURNS bigint
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_erase_entries';
COMMENT ON FUNCTION erase_entries(bigint[], bigint[]) IS
'Erases reference, reason, details, idempotency_key and fingerprint of entries, each named by the member of its wallet and its id; returns how many had any. The chain stays whole by texts_hash. Part of forget_member(). Error: 42501 not the owner of the tables.';

-- A type with collations, so that conditions on all_entries() find the indexes of its tables.
CREATE TYPE ledger_entry AS (member_id bigint, entry_id bigint, currency text COLLATE "C", kind text COLLATE "C", points bigint,
	requested bigint, available bigint, effective_at timestamptz, recorded_at timestamptz, available_at timestamptz,
	expires_at timestamptz, hold_until timestamptz, extends_to timestamptz, target_entry_id bigint, counterparty_id bigint,
	reference text, reason text, details jsonb, idempotency_key text COLLATE "C", fingerprint bytea, salt bytea, texts_hash bytea,
	lots points_lots, hash bytea, home_id bigint, expires_by timestamptz, never_expires boolean);
COMMENT ON TYPE ledger_entry IS 'An entry, with the columns of ledger that are ours.';

-- Not pinned, so that the planner can inline it: every name is qualified.
CREATE FUNCTION all_entries() RETURNS SETOF ledger_entry
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000000 SUPPORT require_setup
AS $$
	SELECT e.member_id, e.entry_id, e.currency, e.kind, e.points, e.requested, e.available, e.effective_at, e.recorded_at, e.available_at,
		e.expires_at, e.hold_until, e.extends_to, e.target_entry_id, e.counterparty_id, e.reference, e.reason, e.details,
		e.idempotency_key, e.fingerprint, e.salt, e.texts_hash, e.lots, e.hash, e.home_id, e.expires_by, e.never_expires
	FROM loyalty.ledger e
	UNION ALL
	SELECT a.member_id, a.entry_id, a.currency, a.kind, a.points, a.requested, a.available, a.effective_at, a.recorded_at, a.available_at,
		a.expires_at, a.hold_until, a.extends_to, a.target_entry_id, a.counterparty_id, a.reference, a.reason, a.details,
		a.idempotency_key, a.fingerprint, a.salt, a.texts_hash, a.lots, a.hash, a.home_id, a.expires_by, a.never_expires
	FROM loyalty.ledger_archive a
$$;
COMMENT ON FUNCTION all_entries() IS
'The entries of all wallets, those in the ledger and those that archive_entries() has moved to ledger_archive, with the columns of ours. In a query it is as good as a table: conditions and joins use the indexes of both.';

CREATE FUNCTION ledger_triggers(OUT table_name text, OUT trigger_name text, OUT fired text, OUT level text, OUT function_name text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	VALUES ('currency', 'currency_is_sound', 'BEFORE INSERT OR UPDATE', 'ROW', 'currency_is_sound'),
		('currency', 'forget_cached', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'forget_cached'),
		('currency', 'forget_all_cached', 'AFTER TRUNCATE', 'STATEMENT', 'forget_cached'),
		('wallet', 'guard', 'BEFORE INSERT OR DELETE OR UPDATE OF member_id, currency, opened_at, balance, moved, erased, archived, tiers OR TRUNCATE', 'STATEMENT', 'guard'),
		('ledger', 'guard', 'BEFORE INSERT', 'STATEMENT', 'guard'),
		('ledger', 'append_only', 'BEFORE DELETE OR UPDATE OR TRUNCATE', 'STATEMENT', 'append_only'),
		('ledger_archive', 'guard', 'BEFORE INSERT', 'STATEMENT', 'guard'),
		('ledger_archive', 'append_only', 'BEFORE DELETE OR UPDATE OR TRUNCATE', 'STATEMENT', 'append_only')
$$;
COMMENT ON FUNCTION ledger_triggers() IS 'The triggers of the tables of room ledger; see program_triggers().';

CREATE FUNCTION setup_ledger(have integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF have < 1 THEN
		CREATE TABLE loyalty.currency (
			code text COLLATE "C" PRIMARY KEY CHECK (code ~ '^[a-z][a-z0-9_]{0,62}$'),
			name text NOT NULL,
			expiry_policy text NOT NULL DEFAULT 'none'
				CHECK (expiry_policy IN ('none', 'rolling', 'calendar', 'sliding')),
			expiry_interval interval CHECK (expiry_interval > interval '0'),
			expiry_rounding text NOT NULL DEFAULT 'none'
				CHECK (expiry_rounding IN ('none', 'day', 'month', 'quarter', 'year',
					'january', 'february', 'march', 'april', 'may', 'june', 'july',
					'august', 'september', 'october', 'november', 'december')),
			expiry_month integer CHECK (expiry_month BETWEEN 1 AND 12),
			expiry_day integer CHECK (expiry_day BETWEEN 1 AND 31),
			minimum_life interval NOT NULL DEFAULT '0' CHECK (minimum_life >= interval '0'),
			consumption_order text NOT NULL DEFAULT 'earliest_expiry'
				CHECK (consumption_order IN ('earliest_expiry', 'oldest_first')),
			clawback_policy text NOT NULL DEFAULT 'allow_debt'
				CHECK (clawback_policy IN ('within_lot', 'within_balance', 'allow_debt')),
			refund_grace interval NOT NULL DEFAULT '0' CHECK (refund_grace >= interval '0'),
			qualifying_kinds text[] NOT NULL DEFAULT '{earn,redeem}'
				CHECK (qualifying_kinds <@ '{earn,redeem,capture,hold,adjust,transfer_in,transfer_out}'::text[]),
			time_zone text,
			life_from text NOT NULL DEFAULT 'available' CHECK (life_from IN ('available', 'earned')),
			created_at timestamptz NOT NULL DEFAULT now(),
			CONSTRAINT currency_interval_needed CHECK
				((expiry_policy IN ('rolling', 'sliding')) = (expiry_interval IS NOT NULL)),
			CONSTRAINT currency_day_needed CHECK
				((expiry_policy = 'calendar') = (expiry_month IS NOT NULL AND expiry_day IS NOT NULL)
				 AND (expiry_month IS NULL) = (expiry_day IS NULL))
		);
		COMMENT ON TABLE loyalty.currency IS 'Kinds of points and their policies; made by create_currency().';
		COMMENT ON COLUMN loyalty.currency.code IS 'Short name that applications use.';
		COMMENT ON COLUMN loyalty.currency.name IS 'Name that people read.';
		COMMENT ON COLUMN loyalty.currency.expiry_policy IS 'none; rolling: expiry_interval after the earn; calendar: the end of a fixed day of the year; sliding: expiry_interval after the last qualifying activity.';
		COMMENT ON COLUMN loyalty.currency.expiry_interval IS 'Life of a lot (rolling, sliding).';
		COMMENT ON COLUMN loyalty.currency.expiry_rounding IS 'Rounds the expiry up to the end of a day, month, quarter, year, or named month (rolling, sliding).';
		COMMENT ON COLUMN loyalty.currency.expiry_month IS 'Month of the yearly expiry day (calendar).';
		COMMENT ON COLUMN loyalty.currency.expiry_day IS 'Day of the yearly expiry day, the last on which points can be used (calendar).';
		COMMENT ON COLUMN loyalty.currency.minimum_life IS 'Least life of a lot (calendar): a lot younger than this on the expiry day lives until the next one.';
		COMMENT ON COLUMN loyalty.currency.consumption_order IS 'Which lots are consumed first: earliest_expiry or oldest_first.';
		COMMENT ON COLUMN loyalty.currency.clawback_policy IS 'How far the reversal of an earn reaches: within_lot, within_balance, allow_debt.';
		COMMENT ON COLUMN loyalty.currency.refund_grace IS 'How long points live from the reversal of a redemption on that had expired by then. Points that had not keep their expiry.';
		COMMENT ON COLUMN loyalty.currency.life_from IS 'From when the life of points is counted that wait for a date or for activate(): available, from when they become available; earned, from the earn.';
		COMMENT ON COLUMN loyalty.currency.qualifying_kinds IS 'Kinds of entries that extend the lots (sliding).';
		COMMENT ON COLUMN loyalty.currency.time_zone IS 'Time zone of all calendar arithmetic; NULL where points do not expire and none was named.';
		COMMENT ON COLUMN loyalty.currency.created_at IS 'When the currency was created.';

		CREATE TABLE loyalty.wallet (
			member_id bigint NOT NULL,
			currency text COLLATE "C" NOT NULL,
			opened_at timestamptz NOT NULL DEFAULT now(),
			-- nothing behind it needs alignment, so that its last bytes stay where they are in an UPDATE
			balance loyalty.points_balance NOT NULL,
			moved boolean,
			erased boolean,
			archived boolean,
			tiers bytea,
			PRIMARY KEY (member_id, currency)
		) WITH (fillfactor = 70);
		COMMENT ON TABLE loyalty.wallet IS 'One member''s holding of one currency: the fold of its ledger entries. Read it with balance().';
		COMMENT ON COLUMN loyalty.wallet.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.wallet.currency IS 'Code of the currency.';
		COMMENT ON COLUMN loyalty.wallet.opened_at IS 'When the wallet was opened.';
		COMMENT ON COLUMN loyalty.wallet.balance IS 'The state of the fold, with the head of the hash chain.';
		COMMENT ON COLUMN loyalty.wallet.moved IS 'True while the member is absorbed in another, where its points are; false when it once took part in a merge; otherwise NULL.';
		COMMENT ON COLUMN loyalty.wallet.erased IS 'True where the member was forgotten: keys of its entries are gone, so that new ones are refused (LY115); otherwise NULL.';
		COMMENT ON COLUMN loyalty.wallet.archived IS 'True where entries are in the archive, with their keys; otherwise NULL.';
		COMMENT ON COLUMN loyalty.wallet.tiers IS 'Which postings change no tier, as room tier notes it; NULL: any may.';

		CREATE SEQUENCE loyalty.ledger_entry_id_seq;
		COMMENT ON SEQUENCE loyalty.ledger_entry_id_seq IS 'Ids of ledger entries, drawn under the lock of the wallet. Keep CACHE 1.';
		CREATE TABLE loyalty.ledger (
			member_id bigint NOT NULL,
			entry_id bigint NOT NULL,
			currency text COLLATE "C" NOT NULL,
			kind text COLLATE "C" NOT NULL,
			points bigint NOT NULL,
			requested bigint NOT NULL,
			available bigint NOT NULL,
			effective_at timestamptz NOT NULL,
			recorded_at timestamptz NOT NULL,
			available_at timestamptz,
			expires_at timestamptz,
			hold_until timestamptz,
			extends_to timestamptz,
			target_entry_id bigint,
			counterparty_id bigint,
			reference text,
			reason text,
			details jsonb,
			idempotency_key text COLLATE "C",
			fingerprint bytea,
			salt bytea,
			texts_hash bytea,
			lots loyalty.points_lots,
			hash bytea NOT NULL,
			home_id bigint,
			expires_by timestamptz,
			never_expires boolean,
			PRIMARY KEY (member_id, entry_id)
		);
		CREATE UNIQUE INDEX ledger_idempotency_key ON loyalty.ledger (member_id, currency, idempotency_key)
			WHERE idempotency_key IS NOT NULL;
		CREATE INDEX ledger_target ON loyalty.ledger (member_id, target_entry_id)
			WHERE target_entry_id IS NOT NULL;
		CREATE INDEX ledger_entry_id ON loyalty.ledger USING brin (entry_id) WITH (pages_per_range = 32);
		ALTER SEQUENCE loyalty.ledger_entry_id_seq OWNED BY loyalty.ledger.entry_id;
		COMMENT ON TABLE loyalty.ledger IS 'The entries of all wallets, written by earn(), redeem() and the other writing functions only. Never updated, never deleted; but the texts of a forgotten member are erased.';
		COMMENT ON COLUMN loyalty.ledger.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.ledger.entry_id IS 'Id of the entry, unique in the ledger, rising within a wallet.';
		COMMENT ON COLUMN loyalty.ledger.currency IS 'Code of the currency.';
		COMMENT ON COLUMN loyalty.ledger.kind IS 'earn, redeem, hold, capture, release, reverse, activate, transfer_out, transfer_in, adjust or expire.';
		COMMENT ON COLUMN loyalty.ledger.points IS 'Signed points posted; their sum is available + pending + held + expired but not booked - debt. 0 for hold, release, activate.';
		COMMENT ON COLUMN loyalty.ledger.requested IS 'Points asked for, or concerned; signed for adjust and expire. More than posted where a reversal could not reach them.';
		COMMENT ON COLUMN loyalty.ledger.available IS 'Available points of the wallet right after the entry was recorded.';
		COMMENT ON COLUMN loyalty.ledger.effective_at IS 'When it happened in the business.';
		COMMENT ON COLUMN loyalty.ledger.recorded_at IS 'When the database learned of it; never runs backwards within a wallet.';
		COMMENT ON COLUMN loyalty.ledger.available_at IS 'When the lot that it opens becomes available, NULL for one that waits for activate() (kinds earn and adjust, positive points).';
		COMMENT ON COLUMN loyalty.ledger.expires_at IS 'When the lot that it opens expires, NULL for never; of an activate, when what becomes available expires, NULL for as it was; of a reverse, until when points live that had expired when it gave them back.';
		COMMENT ON COLUMN loyalty.ledger.hold_until IS 'When a hold lapses by itself.';
		COMMENT ON COLUMN loyalty.ledger.extends_to IS 'Sliding expiry: until when every open lot lives at least, as far as its expires_by allows.';
		COMMENT ON COLUMN loyalty.ledger.expires_by IS 'The expires_at that was given with the lot that it opens: the latest there is, whatever activity follows; NULL where the policy decides, or never was given.';
		COMMENT ON COLUMN loyalty.ledger.never_expires IS 'True where it was given that the lot that it opens never expires; otherwise NULL.';
		COMMENT ON COLUMN loyalty.ledger.target_entry_id IS 'The entry that a capture, release, reverse or activate refers to.';
		COMMENT ON COLUMN loyalty.ledger.counterparty_id IS 'The other member of a transfer.';
		COMMENT ON COLUMN loyalty.ledger.reference IS 'The caller''s own reference, such as an order number.';
		COMMENT ON COLUMN loyalty.ledger.reason IS 'Why an operator made an adjustment.';
		COMMENT ON COLUMN loyalty.ledger.details IS 'Whatever else the caller wants to keep.';
		COMMENT ON COLUMN loyalty.ledger.idempotency_key IS 'Unique within a member and currency, for ever.';
		COMMENT ON COLUMN loyalty.ledger.fingerprint IS 'Of the arguments of a call with an idempotency key, where the other columns do not tell them: which instants were given, and whether all there is was asked for; otherwise NULL.';
		COMMENT ON COLUMN loyalty.ledger.salt IS 'Random bytes in the hash of reference, reason, details, idempotency_key and fingerprint; NULL where there are none of these.';
		COMMENT ON COLUMN loyalty.ledger.texts_hash IS 'What the hash has in the place of these and the salt, once they were erased; otherwise NULL. See texts_hash().';
		COMMENT ON COLUMN loyalty.ledger.lots IS 'The lots that the entry took, set aside, gave back, or moved.';
		COMMENT ON COLUMN loyalty.ledger.hash IS 'SHA-256 of this entry and of the hash of the one before it in its wallet.';
		COMMENT ON COLUMN loyalty.ledger.home_id IS 'The member that the posting addressed, where that one is absorbed in member_id: the points came to it first. Of a transfer that moves debt in a merge: whose debt.';

		CREATE TABLE loyalty.ledger_archive (LIKE loyalty.ledger INCLUDING ALL);
		COMMENT ON TABLE loyalty.ledger_archive IS 'Entries that archive_entries() has moved out of the ledger, as they were there. Whoever reads entries reads both, by all_entries().';

		CREATE TABLE loyalty.queued_earn (
			member_id bigint NOT NULL,
			queued_id bigint GENERATED BY DEFAULT AS IDENTITY,
			currency text COLLATE "C" NOT NULL,
			points bigint NOT NULL CHECK (points > 0),
			effective_at timestamptz,
			reference text,
			idempotency_key text COLLATE "C",
			details jsonb,
			queued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			refused text,
			PRIMARY KEY (member_id, queued_id),
			CONSTRAINT queued_earn_key UNIQUE (member_id, currency, idempotency_key)
		);
		COMMENT ON TABLE loyalty.queued_earn IS 'Earns that wait to be posted, written by queue_earn(); post_queued_earns() takes them out.';
		COMMENT ON COLUMN loyalty.queued_earn.member_id IS 'The member whom the call addressed.';
		COMMENT ON COLUMN loyalty.queued_earn.queued_id IS 'Number of the call; those of a wallet are posted in this order.';
		COMMENT ON COLUMN loyalty.queued_earn.currency IS 'Code of the currency.';
		COMMENT ON COLUMN loyalty.queued_earn.points IS 'Points to earn.';
		COMMENT ON COLUMN loyalty.queued_earn.effective_at IS 'When it happened in the business; NULL: when it is posted.';
		COMMENT ON COLUMN loyalty.queued_earn.reference IS 'Of the entry to be.';
		COMMENT ON COLUMN loyalty.queued_earn.idempotency_key IS 'Of the entry to be.';
		COMMENT ON COLUMN loyalty.queued_earn.details IS 'Of the entry to be.';
		COMMENT ON COLUMN loyalty.queued_earn.queued_at IS 'When it was queued.';
		COMMENT ON COLUMN loyalty.queued_earn.refused IS 'Why it could not be posted, as SQLSTATE and message; it waits for post_queued_earns(retry => true). NULL: it is posted next.';
		INSERT INTO loyalty.currency (code, name) VALUES ('points', 'Points');
	END IF;
	RETURN 1;
END
$$;
COMMENT ON FUNCTION setup_ledger(integer) IS 'Creates and migrates the tables of room ledger (currency, wallet, ledger, ledger_archive, queued_earn); called by setup().';

-- ---------------------------------------------------------------------------
-- Program: currencies
-- ---------------------------------------------------------------------------

CREATE FUNCTION create_currency(code text, name text DEFAULT NULL,
	expiry_policy text DEFAULT 'none', expiry_interval interval DEFAULT NULL,
	expiry_rounding text DEFAULT 'none', expiry_month integer DEFAULT NULL,
	expiry_day integer DEFAULT NULL, minimum_life interval DEFAULT '0',
	consumption_order text DEFAULT 'earliest_expiry', clawback_policy text DEFAULT 'allow_debt',
	refund_grace interval DEFAULT '0', qualifying_kinds text[] DEFAULT '{earn,redeem}',
	time_zone text DEFAULT NULL, life_from text DEFAULT 'available') RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier record;
	differences text;
	violated text;
	missing text;
	row_given text;
BEGIN
	IF time_zone IS NOT NULL THEN
		time_zone := loyalty.require_time_zone(time_zone);
	END IF;
	INSERT INTO loyalty.currency AS c (code, name, expiry_policy, expiry_interval, expiry_rounding,
		expiry_month, expiry_day, minimum_life, consumption_order, clawback_policy, refund_grace,
		qualifying_kinds, time_zone, life_from)
	VALUES (code, coalesce(name, initcap(replace(code, '_', ' '))), expiry_policy, expiry_interval,
		expiry_rounding, expiry_month, expiry_day, minimum_life, consumption_order, clawback_policy,
		refund_grace, qualifying_kinds, time_zone, life_from)
	ON CONFLICT DO NOTHING;
	IF NOT FOUND THEN
		SELECT c.* INTO earlier FROM loyalty.currency c WHERE c.code = create_currency.code;
		differences := loyalty.list_differences(to_jsonb(earlier), jsonb_build_object('name', coalesce(name, earlier.name),
			'expiry_policy', expiry_policy, 'expiry_interval', expiry_interval, 'expiry_rounding', expiry_rounding,
			'expiry_month', expiry_month, 'expiry_day', expiry_day, 'minimum_life', minimum_life,
			'consumption_order', consumption_order, 'clawback_policy', clawback_policy, 'refund_grace', refund_grace,
			'qualifying_kinds', qualifying_kinds, 'time_zone', coalesce(time_zone, earlier.time_zone), 'life_from', life_from));
		IF differences IS NOT NULL THEN
			RAISE EXCEPTION 'currency "%" exists already, with other policies', code
				USING ERRCODE = 'LY111', DETAIL = format('Its %s.', differences),
					HINT = 'Choose another code, or change its policies by UPDATE of loyalty.currency.';
		END IF;
	END IF;
	RETURN code;
EXCEPTION
	WHEN check_violation OR not_null_violation THEN
		GET STACKED DIAGNOSTICS violated = CONSTRAINT_NAME, missing = COLUMN_NAME, row_given = PG_EXCEPTION_DETAIL;
		RAISE EXCEPTION 'invalid policy for currency "%"', code
			USING ERRCODE = 'LY003', DETAIL = concat_ws(' ', CASE WHEN SQLSTATE = '23502' THEN format('%s must not be NULL.', missing)
					ELSE format('It violates %s.', violated) END, row_given),
				HINT = 'A code has up to 63 small letters, digits and _, a letter first; rolling and sliding need expiry_interval, calendar needs expiry_month and expiry_day; see the comments of loyalty.currency.';
END
$$;
COMMENT ON FUNCTION create_currency(text, text, text, interval, text, integer, integer, interval, text, text, interval, text[], text, text) IS
'Creates a kind of points. expiry_policy: none; rolling (expiry_interval after the earn, rounded up by expiry_rounding to the end of a day, month, quarter, year or named month); calendar (the end of day expiry_month/expiry_day, after at least minimum_life); sliding (expiry_interval after the last entry of qualifying_kinds). Calendar arithmetic is in time_zone (default: the program''s). life_from: the life of points that wait for a date or for activate() is counted from when they become available, or from when they were earned. refund_grace: how long a refund lets points live that had expired meanwhile. Returns the code; with the same arguments it may be repeated. Errors: LY111 exists with other policies, LY003 invalid policy.';

CREATE FUNCTION ledger_growing() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT '{wallet, ledger, ledger_archive}'::text[]
$$;
COMMENT ON FUNCTION ledger_growing() IS 'The tables of room ledger that grow with members and what they do; see growing_tables(). Part of partition_tables().';
