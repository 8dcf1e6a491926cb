/*
 * ledger: points, currencies, wallets, and the ledger.
 *
 * First the primitives, which need no tables: the types points_balance,
 * points_lots and points_ledger, their accessors, the aggregates, and the
 * trigger function append_only().  Then the program.
 */

-- ---------------------------------------------------------------------------
-- Types
-- ---------------------------------------------------------------------------

CREATE TYPE points_lots;

CREATE FUNCTION points_lots_in(cstring) RETURNS points_lots
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_points_lots_in';
COMMENT ON FUNCTION points_lots_in(cstring) IS 'Input of points_lots: its JSON text form.';

CREATE FUNCTION points_lots_out(points_lots) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_points_lots_out';
COMMENT ON FUNCTION points_lots_out(points_lots) IS 'Output of points_lots: its JSON text form.';

CREATE FUNCTION points_lots_recv(internal) RETURNS points_lots
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_points_lots_recv';
COMMENT ON FUNCTION points_lots_recv(internal) IS 'Binary input of points_lots: a version byte and packed fields.';

CREATE FUNCTION points_lots_send(points_lots) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_packed_send';
COMMENT ON FUNCTION points_lots_send(points_lots) IS 'Binary output of points_lots.';

CREATE TYPE points_lots (
	INPUT = points_lots_in, OUTPUT = points_lots_out, RECEIVE = points_lots_recv, SEND = points_lots_send,
	INTERNALLENGTH = VARIABLE, STORAGE = extended
);
COMMENT ON TYPE points_lots IS
'A list of lots: id, points, when earned, available and expiring. Text form: a JSON array; instants in UTC.';

CREATE CAST (points_lots AS jsonb) WITH INOUT;
COMMENT ON CAST (points_lots AS jsonb) IS 'The JSON text form of points_lots as jsonb.';

CREATE TYPE points_balance;

CREATE FUNCTION points_balance_in(cstring) RETURNS points_balance
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_points_balance_in';
COMMENT ON FUNCTION points_balance_in(cstring) IS 'Input of points_balance: its JSON text form.';

CREATE FUNCTION points_balance_out(points_balance) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_points_balance_out';
COMMENT ON FUNCTION points_balance_out(points_balance) IS 'Output of points_balance: its JSON text form.';

CREATE FUNCTION points_balance_recv(internal) RETURNS points_balance
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_points_balance_recv';
COMMENT ON FUNCTION points_balance_recv(internal) IS 'Binary input of points_balance: a version byte and packed fields.';

CREATE FUNCTION points_balance_send(points_balance) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_packed_send';
COMMENT ON FUNCTION points_balance_send(points_balance) IS 'Binary output of points_balance.';

CREATE TYPE points_balance (
	INPUT = points_balance_in, OUTPUT = points_balance_out, RECEIVE = points_balance_recv, SEND = points_balance_send,
	INTERNALLENGTH = VARIABLE, STORAGE = extended
);
COMMENT ON TYPE points_balance IS
'The state of the fold of a points ledger: open lots, debt, lifetime totals, head of the hash chain. Text form: a JSON object. Read it with available(), pending(), held(), lots() and the other accessors, as of any instant not before its last entry.';

CREATE CAST (points_balance AS jsonb) WITH INOUT;
COMMENT ON CAST (points_balance AS jsonb) IS 'The JSON text form of points_balance as jsonb.';

CREATE TYPE points_ledger;

CREATE FUNCTION points_ledger_in(cstring) RETURNS points_ledger
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_points_ledger_in';
COMMENT ON FUNCTION points_ledger_in(cstring) IS 'Input of points_ledger: its JSON text form.';

CREATE FUNCTION points_ledger_out(points_ledger) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_points_ledger_out';
COMMENT ON FUNCTION points_ledger_out(points_ledger) IS 'Output of points_ledger: its JSON text form.';

CREATE FUNCTION points_ledger_recv(internal) RETURNS points_ledger
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_points_ledger_recv';
COMMENT ON FUNCTION points_ledger_recv(internal) IS 'Binary input of points_ledger: a version byte and packed fields.';

CREATE FUNCTION points_ledger_send(points_ledger) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_packed_send';
COMMENT ON FUNCTION points_ledger_send(points_ledger) IS 'Binary output of points_ledger.';

CREATE TYPE points_ledger (
	INPUT = points_ledger_in, OUTPUT = points_ledger_out, RECEIVE = points_ledger_recv, SEND = points_ledger_send,
	INTERNALLENGTH = VARIABLE, STORAGE = extended
);
COMMENT ON TYPE points_ledger IS
'A packed, append-only history of points entries, about ten bytes an entry. Text form: a JSON array of entries. It grows by ||, is built from rows by ledger_agg(), listed by entries(), and folded by fold().';

CREATE CAST (points_ledger AS jsonb) WITH INOUT;
COMMENT ON CAST (points_ledger AS jsonb) IS 'The JSON text form of points_ledger as jsonb.';

-- ---------------------------------------------------------------------------
-- points_balance: accessors
-- ---------------------------------------------------------------------------

CREATE FUNCTION available(balance points_balance, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_available';
COMMENT ON FUNCTION available(points_balance, timestamptz) IS
'Points that can be redeemed as of an instant. Raises LY110 for an instant before the last entry.';

CREATE FUNCTION pending(balance points_balance, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_pending';
COMMENT ON FUNCTION pending(points_balance, timestamptz) IS
'Points that become available later, or wait for activate(), as of an instant. Raises LY110 for an instant before the last entry.';

CREATE FUNCTION held(balance points_balance, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_held';
COMMENT ON FUNCTION held(points_balance, timestamptz) IS
'Points set aside by holds as of an instant. Raises LY110 for an instant before the last entry.';

CREATE FUNCTION expired(balance points_balance, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_expired';
COMMENT ON FUNCTION expired(points_balance, timestamptz) IS
'Points that have expired since the beginning, as of an instant. Raises LY110 for an instant before the last entry.';

CREATE FUNCTION next_expiry_at(balance points_balance, as_of timestamptz DEFAULT now()) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_next_expiry_at';
COMMENT ON FUNCTION next_expiry_at(points_balance, timestamptz) IS
'When available points expire next, as of an instant; NULL when none will. Raises LY110 for an instant before the last entry.';

CREATE FUNCTION next_expiry_points(balance points_balance, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_next_expiry_points';
COMMENT ON FUNCTION next_expiry_points(points_balance, timestamptz) IS
'How many available points expire at next_expiry_at(), as of an instant; 0 when none will. Raises LY110 for an instant before the last entry.';

CREATE FUNCTION expiring(balance points_balance, until timestamptz, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_expiring';
COMMENT ON FUNCTION expiring(points_balance, timestamptz, timestamptz) IS
'Points that have not expired as of as_of and will have expired by until if nobody touches them. Raises LY110 for an as_of before the last entry.';

CREATE FUNCTION lots(balance points_balance, as_of timestamptz DEFAULT now(),
	OUT lot_id bigint, OUT points bigint, OUT state text, OUT earned_at timestamptz,
	OUT available_at timestamptz, OUT expires_at timestamptz, OUT hold_id bigint) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'loyalty_balance_lots';
COMMENT ON FUNCTION lots(points_balance, timestamptz) IS
'The lots of a balance that have points left, in consumption order. state is available, pending, held or expired as of as_of; expires_at NULL is never; available_at infinity waits for activate(); of held points, available_at is when the hold lapses. Raises LY110 for an as_of before the last entry.';

CREATE FUNCTION debt(balance points_balance) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_debt';
COMMENT ON FUNCTION debt(points_balance) IS 'Points owed: burns or reversals beyond what was there. The next earn repays it.';

CREATE FUNCTION earned(balance points_balance) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_earned';
COMMENT ON FUNCTION earned(points_balance) IS 'Points earned since the beginning.';

CREATE FUNCTION adjusted_up(balance points_balance) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_adjusted_up';
COMMENT ON FUNCTION adjusted_up(points_balance) IS 'Points added by corrections since the beginning.';

CREATE FUNCTION transferred_in(balance points_balance) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_transferred_in';
COMMENT ON FUNCTION transferred_in(points_balance) IS 'Points received by transfer since the beginning.';

CREATE FUNCTION restored(balance points_balance) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_restored';
COMMENT ON FUNCTION restored(points_balance) IS 'Points given back by reversals of redemptions since the beginning.';

CREATE FUNCTION redeemed(balance points_balance) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_redeemed';
COMMENT ON FUNCTION redeemed(points_balance) IS 'Points redeemed (captures included) since the beginning.';

CREATE FUNCTION revoked(balance points_balance) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_revoked';
COMMENT ON FUNCTION revoked(points_balance) IS 'Points taken back by reversals of earns since the beginning.';

CREATE FUNCTION adjusted_down(balance points_balance) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_adjusted_down';
COMMENT ON FUNCTION adjusted_down(points_balance) IS 'Points taken by corrections since the beginning.';

CREATE FUNCTION transferred_out(balance points_balance) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_transferred_out';
COMMENT ON FUNCTION transferred_out(points_balance) IS 'Points sent by transfer since the beginning.';

CREATE FUNCTION expiry_booked(balance points_balance) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_expiry_booked';
COMMENT ON FUNCTION expiry_booked(points_balance) IS 'Points whose expiry was booked by expire entries.';

CREATE FUNCTION entry_count(balance points_balance) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_entry_count';
COMMENT ON FUNCTION entry_count(points_balance) IS 'How many entries the balance is the fold of.';

CREATE FUNCTION last_effective_at(balance points_balance) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_last_effective_at';
COMMENT ON FUNCTION last_effective_at(points_balance) IS
'The latest effective_at among the entries of a balance, the earliest instant it can be asked as of; NULL when it has none.';

CREATE FUNCTION next_unbooked_expiry(balance points_balance) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_next_unbooked_expiry';
COMMENT ON FUNCTION next_unbooked_expiry(points_balance) IS
'The first instant at which book_expiries() has something to do for this balance; NULL when there is nothing.';

-- ---------------------------------------------------------------------------
-- points_lots
-- ---------------------------------------------------------------------------

CREATE FUNCTION unnest_lots(lots points_lots,
	OUT lot_id bigint, OUT points bigint, OUT earned_at timestamptz,
	OUT available_at timestamptz, OUT expires_at timestamptz, OUT hold_id bigint) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 3 AS 'MODULE_PATHNAME', 'loyalty_unnest_lots';
COMMENT ON FUNCTION unnest_lots(points_lots) IS
'The lots of a list as rows; expires_at NULL is never, available_at infinity waits for activate().';

CREATE FUNCTION total_points(lots points_lots) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_total_points';
COMMENT ON FUNCTION total_points(points_lots) IS 'The sum of the points of a list of lots.';

-- ---------------------------------------------------------------------------
-- points_ledger
-- ---------------------------------------------------------------------------

CREATE FUNCTION ledger_entry(kind text, points bigint DEFAULT NULL, effective_at timestamptz DEFAULT now(),
	available_at timestamptz DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
	hold_until timestamptz DEFAULT NULL, target bigint DEFAULT NULL,
	extends_to timestamptz DEFAULT NULL, lots points_lots DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
RETURN jsonb_strip_nulls(jsonb_build_object('kind', kind, 'points', points, 'effective_at', effective_at,
	'available_at', available_at, 'expires_at', expires_at, 'hold_until', hold_until,
	'target', target, 'extends_to', extends_to, 'lots', lots::jsonb));
COMMENT ON FUNCTION ledger_entry(text, bigint, timestamptz, timestamptz, timestamptz, timestamptz, bigint, timestamptz, points_lots) IS
'An entry to append to a points_ledger with ||. target is the number of the earlier entry that a capture, release, reverse or activate refers to (the first is 1); lots are those of a transfer_in; extends_to is the instant until which every open lot lives on.';

CREATE FUNCTION ledger_append(ledger points_ledger, entry jsonb) RETURNS points_ledger
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_ledger_append';
COMMENT ON FUNCTION ledger_append(points_ledger, jsonb) IS
'The ledger with one more entry; behind the operator ||. Refuses an entry that cannot be, such as a hold of more points than are available.';

CREATE OPERATOR || (LEFTARG = points_ledger, RIGHTARG = jsonb, FUNCTION = ledger_append);
COMMENT ON OPERATOR || (points_ledger, jsonb) IS 'Appends an entry, made by ledger_entry(), to a ledger.';

CREATE FUNCTION fold(ledger points_ledger, consumption_order text DEFAULT 'earliest_expiry',
	clawback_policy text DEFAULT 'allow_debt') RETURNS points_balance
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_fold';
COMMENT ON FUNCTION fold(points_ledger, text, text) IS
'The balance of a ledger. consumption_order: earliest_expiry or oldest_first; clawback_policy: allow_debt, within_balance or within_lot. A burn with nothing left becomes debt.';

CREATE FUNCTION ledger_length(ledger points_ledger) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_ledger_length';
COMMENT ON FUNCTION ledger_length(points_ledger) IS 'How many entries a ledger has.';

CREATE FUNCTION entries(ledger points_ledger,
	OUT entry_id bigint, OUT kind text, OUT points bigint, OUT effective_at timestamptz,
	OUT available_at timestamptz, OUT expires_at timestamptz, OUT hold_until timestamptz,
	OUT extends_to timestamptz, OUT target bigint, OUT lots points_lots) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 50 AS 'MODULE_PATHNAME', 'loyalty_entries';
COMMENT ON FUNCTION entries(points_ledger) IS
'The entries of a ledger as rows, numbered from 1; expires_at NULL is never, available_at infinity waits for an activate.';

CREATE FUNCTION append_only() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_append_only';
COMMENT ON FUNCTION append_only() IS
'Trigger function (BEFORE UPDATE OR DELETE OR TRUNCATE). Without arguments, FOR EACH STATEMENT: protects a table. With names of points_ledger columns, FOR EACH ROW: these columns only grow, by ||.';

-- ---------------------------------------------------------------------------
-- Aggregates
-- ---------------------------------------------------------------------------

CREATE FUNCTION entry_run_combine(internal, internal) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_entry_run_combine';
COMMENT ON FUNCTION entry_run_combine(internal, internal) IS 'Combines two states of balance_agg or ledger_agg.';

CREATE FUNCTION entry_run_serialize(internal) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_entry_run_serialize';
COMMENT ON FUNCTION entry_run_serialize(internal) IS 'A state of balance_agg or ledger_agg as bytes.';

CREATE FUNCTION entry_run_deserialize(bytea, internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_entry_run_deserialize';
COMMENT ON FUNCTION entry_run_deserialize(bytea, internal) IS 'A state of balance_agg or ledger_agg from bytes.';

CREATE FUNCTION balance_agg_transfn(internal, bigint, timestamptz, timestamptz) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_balance_agg_transfn';
COMMENT ON FUNCTION balance_agg_transfn(internal, bigint, timestamptz, timestamptz) IS 'Transition function of balance_agg.';

CREATE FUNCTION balance_agg_finalfn(internal) RETURNS points_balance
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_balance_agg_finalfn';
COMMENT ON FUNCTION balance_agg_finalfn(internal) IS 'Final function of balance_agg.';

CREATE AGGREGATE balance_agg(points bigint, at timestamptz, expires_at timestamptz) (
	SFUNC = balance_agg_transfn, STYPE = internal, SSPACE = 1024, FINALFUNC = balance_agg_finalfn,
	COMBINEFUNC = entry_run_combine, SERIALFUNC = entry_run_serialize, DESERIALFUNC = entry_run_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE balance_agg(bigint, timestamptz, timestamptz) IS
'Folds signed rows of any table into a points_balance: positive points earn a lot that is open from at up to, and not at, expires_at (NULL: never expires); negative points burn the earliest-expiring lots open at their time; a burn with nothing left becomes debt that the next earn repays. At one instant earns go before burns, then by expiry, then by amount. Rows without points are ignored. Needs no ORDER BY; the same bits in any order and with any number of workers.';

CREATE FUNCTION ledger_agg_transfn(internal, text, bigint, timestamptz, timestamptz, timestamptz) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_ledger_agg_transfn';
COMMENT ON FUNCTION ledger_agg_transfn(internal, text, bigint, timestamptz, timestamptz, timestamptz) IS 'Transition function of ledger_agg.';

CREATE FUNCTION ledger_agg_finalfn(internal) RETURNS points_ledger
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_ledger_agg_finalfn';
COMMENT ON FUNCTION ledger_agg_finalfn(internal) IS 'Final function of ledger_agg.';

CREATE AGGREGATE ledger_agg(kind text, points bigint, effective_at timestamptz, available_at timestamptz, expires_at timestamptz) (
	SFUNC = ledger_agg_transfn, STYPE = internal, SSPACE = 1024, FINALFUNC = ledger_agg_finalfn,
	COMBINEFUNC = entry_run_combine, SERIALFUNC = entry_run_serialize, DESERIALFUNC = entry_run_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE ledger_agg(text, bigint, timestamptz, timestamptz, timestamptz) IS
'Packs rows of any table into a points_ledger, sorted by effective_at (at one instant what comes in first, then by expiry, then by amount). available_at NULL is effective_at, expires_at NULL is never; of a hold, expires_at is its hold_until. Kinds that refer to other entries are appended with ||. Needs no ORDER BY; the same bits in any order and with any number of workers.';

-- ---------------------------------------------------------------------------
-- Program: tables
-- ---------------------------------------------------------------------------

CREATE FUNCTION guard() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_guard';
COMMENT ON FUNCTION guard() IS
'Trigger function (BEFORE, FOR EACH STATEMENT) on wallet and ledger: refuses every statement that is not a posting''s, with LY005.';

CREATE FUNCTION empty_balance(consumption_order integer DEFAULT 0) RETURNS points_balance
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_empty_balance';
COMMENT ON FUNCTION empty_balance(integer) IS
'A balance without entries; consumption_order 0 is earliest_expiry, 1 is oldest_first.';

CREATE FUNCTION wallet_apply(balance points_balance, has_kin boolean) RETURNS points_balance
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_wallet_apply';
COMMENT ON FUNCTION wallet_apply(points_balance, boolean) IS
'The balance after a posting; part of the writing functions, cannot be called by itself.';

CREATE FUNCTION wallet_unapply() RETURNS points_balance
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_wallet_unapply';
COMMENT ON FUNCTION wallet_unapply() IS
'The balance before a posting; part of the writing functions, cannot be called by itself.';

CREATE FUNCTION posted_lots() RETURNS points_lots
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_posted_lots';
COMMENT ON FUNCTION posted_lots() IS
'The lots of a posting; part of the writing functions, cannot be called by itself.';

CREATE FUNCTION currency_is_sound() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = NEW.time_zone) THEN
		RAISE EXCEPTION 'unknown time zone "%"', NEW.time_zone
			USING ERRCODE = 'LY003', HINT = 'See the view pg_timezone_names.';
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
'Trigger function on currency: the time zone exists; code and consumption_order stay what they are.';

CREATE FUNCTION setup_ledger() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM loyalty.layout l WHERE l.room = 'ledger') THEN
		CREATE TABLE loyalty.currency (
			code text PRIMARY KEY CHECK (code ~ '^[a-z][a-z0-9_]{0,62}$'),
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
			time_zone text NOT NULL DEFAULT 'UTC',
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
		COMMENT ON COLUMN loyalty.currency.refund_grace IS 'Least life of points that the reversal of a redemption gives back, from the reversal on.';
		COMMENT ON COLUMN loyalty.currency.qualifying_kinds IS 'Kinds of entries that extend the lots (sliding).';
		COMMENT ON COLUMN loyalty.currency.time_zone IS 'Time zone of all calendar arithmetic.';
		COMMENT ON COLUMN loyalty.currency.created_at IS 'When the currency was created.';
		CREATE TRIGGER currency_is_sound BEFORE INSERT OR UPDATE ON loyalty.currency
			FOR EACH ROW EXECUTE FUNCTION loyalty.currency_is_sound();
		CREATE TRIGGER forget_cached AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON loyalty.currency
			FOR EACH STATEMENT EXECUTE FUNCTION loyalty.forget_cached();

		CREATE TABLE loyalty.wallet (
			member_id bigint NOT NULL,
			currency text NOT NULL,
			balance loyalty.points_balance NOT NULL,
			opened_at timestamptz NOT NULL DEFAULT now(),
			moved boolean,
			PRIMARY KEY (member_id, currency)
		) WITH (fillfactor = 70);
		COMMENT ON TABLE loyalty.wallet IS 'One member''s holding of one currency: the fold of its ledger entries. Read it with balance().';
		COMMENT ON COLUMN loyalty.wallet.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.wallet.currency IS 'Code of the currency.';
		COMMENT ON COLUMN loyalty.wallet.balance IS 'The state of the fold, with the head of the hash chain.';
		COMMENT ON COLUMN loyalty.wallet.opened_at IS 'When the wallet was opened.';
		COMMENT ON COLUMN loyalty.wallet.moved IS 'True while the member is absorbed in another, where its points are; false when it once took part in a merge; otherwise NULL.';
		CREATE TRIGGER guard BEFORE INSERT OR UPDATE OF balance, moved OR DELETE OR TRUNCATE ON loyalty.wallet
			FOR EACH STATEMENT EXECUTE FUNCTION loyalty.guard();

		CREATE SEQUENCE loyalty.ledger_entry_id_seq;
		COMMENT ON SEQUENCE loyalty.ledger_entry_id_seq IS 'Ids of ledger entries, drawn under the lock of the wallet. Keep CACHE 1.';
		CREATE TABLE loyalty.ledger (
			member_id bigint NOT NULL,
			entry_id bigint NOT NULL,
			currency text NOT NULL,
			kind text NOT NULL,
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
			idempotency_key text,
			fingerprint bytea,
			lots loyalty.points_lots,
			hash bytea NOT NULL,
			home_id bigint,
			PRIMARY KEY (member_id, entry_id)
		);
		CREATE UNIQUE INDEX ledger_idempotency_key ON loyalty.ledger (member_id, idempotency_key)
			WHERE idempotency_key IS NOT NULL;
		CREATE INDEX ledger_target ON loyalty.ledger (member_id, target_entry_id)
			WHERE target_entry_id IS NOT NULL;
		CREATE INDEX ledger_entry_id ON loyalty.ledger USING brin (entry_id) WITH (pages_per_range = 32);
		ALTER SEQUENCE loyalty.ledger_entry_id_seq OWNED BY loyalty.ledger.entry_id;
		COMMENT ON TABLE loyalty.ledger IS 'The entries of all wallets. Never updated, never deleted; written by earn(), redeem() and the other writing functions only.';
		COMMENT ON COLUMN loyalty.ledger.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.ledger.entry_id IS 'Id of the entry, unique in the ledger, rising within a wallet.';
		COMMENT ON COLUMN loyalty.ledger.currency IS 'Code of the currency.';
		COMMENT ON COLUMN loyalty.ledger.kind IS 'earn, redeem, hold, capture, release, reverse, activate, transfer_out, transfer_in, adjust or expire.';
		COMMENT ON COLUMN loyalty.ledger.points IS 'Signed points posted; their sum is available + pending + held + expired but not booked - debt. 0 for hold, release, activate.';
		COMMENT ON COLUMN loyalty.ledger.requested IS 'Points asked for, or concerned; signed for adjust and expire. More than posted where a reversal could not reach them.';
		COMMENT ON COLUMN loyalty.ledger.available IS 'Available points of the wallet right after the entry was recorded.';
		COMMENT ON COLUMN loyalty.ledger.effective_at IS 'When it happened in the business.';
		COMMENT ON COLUMN loyalty.ledger.recorded_at IS 'When the database learned of it; never runs backwards within a wallet.';
		COMMENT ON COLUMN loyalty.ledger.available_at IS 'When the lot that it opens becomes available; infinity waits for activate().';
		COMMENT ON COLUMN loyalty.ledger.expires_at IS 'When the lot that it opens expires, NULL for never; of a reverse, until when what it gives back lives at least.';
		COMMENT ON COLUMN loyalty.ledger.hold_until IS 'When a hold lapses by itself.';
		COMMENT ON COLUMN loyalty.ledger.extends_to IS 'Sliding expiry: until when every open lot lives at least.';
		COMMENT ON COLUMN loyalty.ledger.target_entry_id IS 'The entry that a capture, release, reverse or activate refers to.';
		COMMENT ON COLUMN loyalty.ledger.counterparty_id IS 'The other member of a transfer.';
		COMMENT ON COLUMN loyalty.ledger.reference IS 'The caller''s own reference, such as an order number.';
		COMMENT ON COLUMN loyalty.ledger.reason IS 'Why an operator made an adjustment.';
		COMMENT ON COLUMN loyalty.ledger.details IS 'Whatever else the caller wants to keep.';
		COMMENT ON COLUMN loyalty.ledger.idempotency_key IS 'Unique within a member, for ever.';
		COMMENT ON COLUMN loyalty.ledger.fingerprint IS 'Of the arguments of a call with an idempotency key.';
		COMMENT ON COLUMN loyalty.ledger.lots IS 'The lots that the entry took, set aside, gave back, or moved.';
		COMMENT ON COLUMN loyalty.ledger.hash IS 'SHA-256 of this entry and of the hash of the one before it in its wallet.';
		COMMENT ON COLUMN loyalty.ledger.home_id IS 'The member that the posting addressed, where that one is absorbed in member_id: the points came to it first. Of a transfer that moves debt in a merge: whose debt.';
		CREATE TRIGGER guard BEFORE INSERT ON loyalty.ledger
			FOR EACH STATEMENT EXECUTE FUNCTION loyalty.guard();
		CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.ledger
			FOR EACH STATEMENT EXECUTE FUNCTION loyalty.append_only();

		INSERT INTO loyalty.layout (room, version) VALUES ('ledger', 1);
		INSERT INTO loyalty.currency (code, name) VALUES ('points', 'Points');
	END IF;
END
$$;
COMMENT ON FUNCTION setup_ledger() IS 'Creates and migrates the tables of room ledger (currency, wallet, ledger); called by setup().';

-- ---------------------------------------------------------------------------
-- Program: currencies
-- ---------------------------------------------------------------------------

CREATE FUNCTION create_currency(code text, name text DEFAULT NULL,
	expiry_policy text DEFAULT 'none', expiry_interval interval DEFAULT NULL,
	expiry_rounding text DEFAULT 'none', expiry_month integer DEFAULT NULL,
	expiry_day integer DEFAULT NULL, minimum_life interval DEFAULT '0',
	consumption_order text DEFAULT 'earliest_expiry', clawback_policy text DEFAULT 'allow_debt',
	refund_grace interval DEFAULT '0', qualifying_kinds text[] DEFAULT '{earn,redeem}',
	time_zone text DEFAULT current_setting('TimeZone')) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	constraint_name text;
BEGIN
	INSERT INTO loyalty.currency AS c (code, name, expiry_policy, expiry_interval, expiry_rounding,
		expiry_month, expiry_day, minimum_life, consumption_order, clawback_policy, refund_grace,
		qualifying_kinds, time_zone)
	VALUES (code, coalesce(name, initcap(replace(code, '_', ' '))), expiry_policy, expiry_interval,
		expiry_rounding, expiry_month, expiry_day, minimum_life, consumption_order, clawback_policy,
		refund_grace, qualifying_kinds, time_zone);
	RETURN code;
EXCEPTION
	WHEN unique_violation THEN
		RAISE EXCEPTION 'currency "%" exists already', code
			USING ERRCODE = 'LY111', HINT = 'Change its policies by UPDATE of loyalty.currency.';
	WHEN check_violation OR not_null_violation THEN
		GET STACKED DIAGNOSTICS constraint_name = CONSTRAINT_NAME;
		RAISE EXCEPTION 'invalid policy for currency "%"', code
			USING ERRCODE = 'LY003', DETAIL = format('It violates %s.', coalesce(nullif(constraint_name, ''), SQLERRM)),
				HINT = 'rolling and sliding need expiry_interval, calendar needs expiry_month and expiry_day; see the comments of loyalty.currency.';
END
$$;
COMMENT ON FUNCTION create_currency(text, text, text, interval, text, integer, integer, interval, text, text, interval, text[], text) IS
'Creates a kind of points. expiry_policy: none; rolling (expiry_interval after the earn, rounded up by expiry_rounding to the end of a day, month, quarter, year or named month); calendar (the end of day expiry_month/expiry_day, after at least minimum_life); sliding (expiry_interval after the last entry of qualifying_kinds). Calendar arithmetic is in time_zone. Returns the code. Errors: LY111 exists already, LY003 invalid policy.';

-- ---------------------------------------------------------------------------
-- Program: writing
-- ---------------------------------------------------------------------------

CREATE FUNCTION earn(member_id bigint, points bigint, currency text DEFAULT 'points', effective_at timestamptz DEFAULT statement_timestamp(),
	available_at timestamptz DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL,
	OUT entry_id bigint, OUT available bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_earn';
COMMENT ON FUNCTION earn(bigint, bigint, text, timestamptz, timestamptz, timestamptz, text, text, jsonb) IS
'Earns points: opens a lot, repaying debt first. The lot is open from available_at (default: effective_at; infinity: until activate()) up to, and not at, expires_at (default: by the currency''s policy; infinity: never). Errors: LY003 argument, LY004 key, LY102 currency, LY109 overflow. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION redeem(member_id bigint, points bigint, currency text DEFAULT 'points', effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL,
	OUT entry_id bigint, OUT available bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_redeem';
COMMENT ON FUNCTION redeem(bigint, bigint, text, timestamptz, text, text, jsonb) IS
'Redeems points out of the lots that are available at effective_at, in the currency''s consumption order. Errors: LY101 not enough points, LY003, LY004, LY102. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION hold(member_id bigint, points bigint, hold_until timestamptz, currency text DEFAULT 'points', effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL,
	OUT entry_id bigint, OUT available bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_hold';
COMMENT ON FUNCTION hold(bigint, bigint, timestamptz, text, timestamptz, text, text, jsonb) IS
'Sets available points aside until hold_until, when the hold lapses by itself. Held points do not expire. Settle it with capture() or release(). Errors: LY101 not enough points, LY106 hold_until not after effective_at, LY003, LY004, LY102. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION capture(member_id bigint, entry_id bigint, points bigint DEFAULT NULL, effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL,
	OUT entry_id bigint, OUT available bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_capture';
COMMENT ON FUNCTION capture(bigint, bigint, bigint, timestamptz, text, text, jsonb) IS
'Redeems all (points NULL) or part of a hold and releases the rest. Errors: LY103 no such entry, LY104 not a hold, LY106 lapsed, LY107 captured or released before, LY101 more than is held, LY003, LY004. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION release(member_id bigint, entry_id bigint, effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL,
	OUT entry_id bigint, OUT available bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_release';
COMMENT ON FUNCTION release(bigint, bigint, timestamptz, text, text, jsonb) IS
'Gives a hold back to its lots; what has expired meanwhile is expired. Errors: LY103 no such entry, LY104 not a hold, LY106 lapsed, LY107 captured or released before, LY003, LY004. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION reverse(member_id bigint, entry_id bigint, points bigint DEFAULT NULL, effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL,
	OUT entry_id bigint, OUT available bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_reverse';
COMMENT ON FUNCTION reverse(bigint, bigint, bigint, timestamptz, text, text, jsonb) IS
'Undoes all that is left (points NULL) or part of an earn, redeem, capture or adjust. Of an earn, takes the points out of its own lot, then as far as the currency''s clawback_policy reaches out of other lots and into debt. Of a redeem, gives the points back to the very lots they came from, with their expiry (or refund_grace). Errors: LY103 no such entry, LY104 wrong kind, LY105 more than is left to reverse, LY003, LY004. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION activate(member_id bigint, entry_id bigint, effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL,
	OUT entry_id bigint, OUT available bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_activate';
COMMENT ON FUNCTION activate(bigint, bigint, timestamptz, text, text, jsonb) IS
'Makes the pending points of an earn or adjust available from effective_at on. Errors: LY103 no such entry, LY104 neither earn nor adjust, LY108 nothing pending, LY003, LY004. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION adjust(member_id bigint, points bigint, reason text, currency text DEFAULT 'points', effective_at timestamptz DEFAULT statement_timestamp(),
	available_at timestamptz DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL,
	OUT entry_id bigint, OUT available bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_adjust';
COMMENT ON FUNCTION adjust(bigint, bigint, text, text, timestamptz, timestamptz, timestamptz, text, text, jsonb) IS
'An operator''s correction: positive points open a lot, negative ones are taken out of available lots. Errors: LY101 not enough points, LY003, LY004, LY102. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION transfer(from_member_id bigint, to_member_id bigint, points bigint, currency text DEFAULT 'points', effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL,
	OUT entry_id bigint, OUT available bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_transfer';
COMMENT ON FUNCTION transfer(bigint, bigint, bigint, text, timestamptz, text, text, jsonb) IS
'Moves available points to another member''s wallet; lots keep their identity, origin and expiry. Posts a transfer_out and a transfer_in; returns the sender''s. The idempotency_key is the sender''s. Errors: LY101 not enough points, LY112 same member, LY003, LY004, LY102. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION post_many(member_ids bigint[], kinds text[], points bigint[], currencies text[] DEFAULT NULL,
	effective_ats timestamptz[] DEFAULT NULL, available_ats timestamptz[] DEFAULT NULL,
	expires_ats timestamptz[] DEFAULT NULL, hold_untils timestamptz[] DEFAULT NULL,
	target_entry_ids bigint[] DEFAULT NULL, reasons text[] DEFAULT NULL, refs text[] DEFAULT NULL,
	idempotency_keys text[] DEFAULT NULL, details jsonb[] DEFAULT NULL,
	OUT ordinal bigint, OUT entry_id bigint, OUT available bigint, OUT replayed boolean) RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 100 AS 'MODULE_PATHNAME', 'loyalty_post_many';
COMMENT ON FUNCTION post_many(bigint[], text[], bigint[], text[], timestamptz[], timestamptz[], timestamptz[], timestamptz[], bigint[], text[], text[], text[], jsonb[]) IS
'Posts one entry for each element, all or none: earn, redeem, hold, capture, release, reverse, activate or adjust. A NULL element means the default. Entries of one wallet are posted in the order given; wallets are locked in the order of their ids. Returns one row for each element, in the order given.';

CREATE FUNCTION backfill(source regclass,
	OUT entries bigint, OUT wallets bigint, OUT first_entry_id bigint, OUT last_entry_id bigint) RETURNS record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_backfill';
COMMENT ON FUNCTION backfill(regclass) IS
'Posts a whole history in one statement, keeping every rule and the hash chain. source is a table or view with the columns member_id bigint, points bigint, effective_at timestamptz and, where wanted, kind text (default earn), currency text (default points), available_at, expires_at, hold_until timestamptz, target_key text (idempotency_key of the row of the same wallet that a capture, release, reverse or activate refers to), reference, reason, idempotency_key text, details jsonb. Rows of a wallet are posted by effective_at, at one instant what comes in first. Errors are those of the single functions; nothing is posted then.';

-- ---------------------------------------------------------------------------
-- Program: reading
-- ---------------------------------------------------------------------------

CREATE FUNCTION wallet_as_of(balance points_balance, member_id bigint, currency text,
	as_of timestamptz, known_at timestamptz) RETURNS points_balance
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_wallet_as_of';
COMMENT ON FUNCTION wallet_as_of(points_balance, bigint, text, timestamptz, timestamptz) IS
'The balance of a wallet as of an instant and as known at another (NULL: as known now): its present balance where that tells it, otherwise the fold of the entries effective and recorded by then. A NULL balance is that of a wallet that does not exist.';

CREATE FUNCTION asked_instant(balance points_balance, as_of timestamptz) RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_asked_instant';
COMMENT ON FUNCTION asked_instant(points_balance, timestamptz) IS
'as_of, except that now() means now or the last entry, whichever is later (an entry of the same transaction is effective after now()).';

CREATE TYPE balance_summary AS (available bigint, pending bigint, held bigint, debt bigint,
	next_expiry_at timestamptz, next_expiry_points bigint, earned bigint, redeemed bigint,
	expired bigint, revoked bigint, restored bigint, adjusted_up bigint, adjusted_down bigint,
	transferred_in bigint, transferred_out bigint);
COMMENT ON TYPE balance_summary IS 'The columns of balance().';

CREATE FUNCTION summarize(balance points_balance, as_of timestamptz) RETURNS balance_summary
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_summarize';
COMMENT ON FUNCTION summarize(points_balance, timestamptz) IS
'All figures of a balance as of an instant, in one row.';

-- The tables of the program do not exist yet when this script runs.
SET LOCAL check_function_bodies = off;

-- Not pinned, so that the planner can inline it: every name is qualified.
CREATE FUNCTION balance(member_id bigint, currency text DEFAULT 'points',
	as_of timestamptz DEFAULT now(), known_at timestamptz DEFAULT NULL)
RETURNS TABLE (available bigint, pending bigint, held bigint, debt bigint,
	next_expiry_at timestamptz, next_expiry_points bigint, earned bigint, redeemed bigint,
	expired bigint, revoked bigint, restored bigint, adjusted_up bigint, adjusted_down bigint,
	transferred_in bigint, transferred_out bigint)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
AS $$
	SELECT (s.figures).available, (s.figures).pending, (s.figures).held, (s.figures).debt,
		(s.figures).next_expiry_at, (s.figures).next_expiry_points, (s.figures).earned,
		(s.figures).redeemed, (s.figures).expired, (s.figures).revoked, (s.figures).restored,
		(s.figures).adjusted_up, (s.figures).adjusted_down, (s.figures).transferred_in,
		(s.figures).transferred_out
	FROM (SELECT loyalty.summarize(loyalty.wallet_as_of(
			(SELECT w.balance FROM loyalty.wallet w
			 WHERE w.member_id OPERATOR(pg_catalog.=) $1 AND w.currency OPERATOR(pg_catalog.=) $2),
			$1, $2, $3, $4), $3) AS figures
		OFFSET 0) s
$$;
COMMENT ON FUNCTION balance(bigint, text, timestamptz, timestamptz) IS
'The balance of a member in a currency, as of an instant and as known at another (NULL: now): points available, pending, held, owed (debt); when available points expire next, and how many; lifetime totals. One row, zeros where there is no wallet. Right even when no job ever ran. Reads only. Errors: LY102 unknown currency, LY003 infinite instant.';

CREATE FUNCTION lots(member_id bigint, currency text DEFAULT 'points',
	as_of timestamptz DEFAULT now(), known_at timestamptz DEFAULT NULL)
RETURNS TABLE (lot_id bigint, points bigint, state text, earned_at timestamptz,
	available_at timestamptz, expires_at timestamptz, hold_id bigint)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT l.*
	FROM (SELECT loyalty.wallet_as_of(
			(SELECT w.balance FROM loyalty.wallet w WHERE w.member_id = $1 AND w.currency = $2),
			$1, $2, $3, $4) AS balance
		OFFSET 0) s,
		loyalty.lots(s.balance, loyalty.asked_instant(s.balance, $3)) l
$$;
COMMENT ON FUNCTION lots(bigint, text, timestamptz, timestamptz) IS
'The lots of a member in a currency that have points left, in consumption order, with their state (available, pending, held, expired) as of an instant; expires_at NULL is never. lot_id is the id of the entry that opened it.';

CREATE FUNCTION running_balance(member_id bigint, currency text, known_at timestamptz,
	OUT entry_id bigint, OUT available bigint) RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 50 AS 'MODULE_PATHNAME', 'loyalty_running_balance';
COMMENT ON FUNCTION running_balance(bigint, text, timestamptz) IS
'For each entry of a wallet recorded by known_at, in that order, what was available after it, as of the latest effective_at so far. Error: LY102 unknown currency.';

CREATE FUNCTION statement(member_id bigint, currency text DEFAULT 'points',
	from_at timestamptz DEFAULT '-infinity', until_at timestamptz DEFAULT 'infinity',
	known_at timestamptz DEFAULT 'infinity')
RETURNS TABLE (entry_id bigint, effective_at timestamptz, recorded_at timestamptz, kind text,
	points bigint, available bigint, target_entry_id bigint, counterparty_id bigint, reference text, reason text)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT e.entry_id, e.effective_at, e.recorded_at, e.kind, e.points, r.available,
		e.target_entry_id, e.counterparty_id, e.reference, e.reason
	FROM loyalty.running_balance($1, $2, $5) r
	JOIN loyalty.ledger e ON e.member_id = $1 AND e.entry_id = r.entry_id
	WHERE e.effective_at >= $3 AND e.effective_at < $4
	ORDER BY e.entry_id
$$;
COMMENT ON FUNCTION statement(bigint, text, timestamptz, timestamptz, timestamptz) IS
'The entries of a member in a currency that are effective from from_at up to, and not at, until_at, recorded by known_at, in the order in which they were recorded. available is what could be redeemed after the entry, as of the latest effective_at so far.';

CREATE FUNCTION expiring(member_id bigint, currency text DEFAULT 'points',
	until timestamptz DEFAULT 'infinity', as_of timestamptz DEFAULT now(), known_at timestamptz DEFAULT NULL)
RETURNS TABLE (expires_at timestamptz, points bigint, lots bigint)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT l.expires_at, sum(l.points)::bigint, count(*)
	FROM loyalty.lots($1, $2, $4, $5) l
	WHERE l.state IN ('available', 'pending') AND l.expires_at <= $3
	GROUP BY l.expires_at
	ORDER BY l.expires_at
$$;
COMMENT ON FUNCTION expiring(bigint, text, timestamptz, timestamptz, timestamptz) IS
'When the available and pending points of a member will expire, and how many, up to an instant. Held points are left out: they do not expire while they are held.';

CREATE FUNCTION explain_entry(member_id bigint, entry_id bigint)
RETURNS TABLE (step bigint, lot_id bigint, points bigint, effect text, earned_at timestamptz, expires_at timestamptz, why text)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	WITH entry AS (
		SELECT e.*, c.consumption_order, c.clawback_policy,
			coalesce(loyalty.total_points(e.lots), CASE WHEN e.kind IN ('earn', 'adjust') AND e.points > 0 THEN e.points ELSE 0 END) AS in_lots
		FROM loyalty.ledger e JOIN loyalty.currency c ON c.code = e.currency
		WHERE e.member_id = $1 AND e.entry_id = $2
	), steps AS (
		-- the lots that were touched
		SELECT 1 AS part, u.ordinality, u.lot_id, u.points, u.earned_at, u.expires_at, u.hold_id
		FROM entry e, loyalty.unnest_lots(e.lots) WITH ORDINALITY u
	)
	SELECT row_number() OVER (ORDER BY x.part, x.ordinality), x.lot_id, x.points, x.effect, x.earned_at, x.expires_at, x.why
	FROM (
		SELECT 1 AS part, s.ordinality, s.lot_id, s.points,
			CASE
				WHEN e.kind IN ('redeem', 'capture') THEN 'consumed'
				WHEN e.kind = 'hold' THEN 'set aside'
				WHEN e.kind = 'release' THEN 'released'
				WHEN e.kind = 'transfer_out' THEN 'sent'
				WHEN e.kind = 'transfer_in' THEN 'received'
				WHEN e.kind = 'reverse' AND e.points > 0 THEN 'given back'
				WHEN e.kind = 'reverse' THEN 'taken back'
				WHEN e.points > 0 THEN 'opened'
				ELSE 'consumed'
			END AS effect,
			s.earned_at, s.expires_at,
			CASE
				WHEN e.kind IN ('redeem', 'hold', 'transfer_out') OR (e.kind = 'adjust' AND e.points < 0) THEN
					format('available at %s; %s', e.effective_at,
						CASE e.consumption_order WHEN 'oldest_first' THEN 'the oldest is consumed first'
						ELSE 'the earliest to expire is consumed first' END)
				WHEN e.kind = 'capture' THEN format('set aside by hold %s', e.target_entry_id)
				WHEN e.kind = 'release' THEN format('back from hold %s', e.target_entry_id)
				WHEN e.kind = 'transfer_in' THEN format('sent by member %s; keeps its origin and expiry', e.counterparty_id)
				WHEN e.kind = 'reverse' AND e.points > 0 AND e.expires_at IS NOT NULL THEN
					format('came from this lot in entry %s; lives at least until %s', e.target_entry_id, e.expires_at)
				WHEN e.kind = 'reverse' AND e.points > 0 THEN
					format('came from this lot in entry %s; keeps its expiry', e.target_entry_id)
				WHEN e.kind = 'reverse' AND s.lot_id = e.target_entry_id THEN 'the lot of the entry that is reversed'
				WHEN e.kind = 'reverse' THEN format('that lot had no more; clawback policy %s', e.clawback_policy)
				ELSE 'what is left after debt was repaid'
			END AS why
		FROM steps s, entry e
		UNION ALL
		SELECT 0, 0, e.entry_id, e.points, 'opened', e.effective_at, e.expires_at,
			CASE
				WHEN e.available_at = 'infinity' THEN 'pending until it is activated'
				WHEN e.available_at > e.effective_at THEN format('pending until %s', e.available_at)
				ELSE 'available at once'
			END
		FROM entry e
		WHERE e.points > 0 AND e.kind IN ('earn', 'adjust') AND e.lots IS NULL
		UNION ALL
		SELECT 0, 0, NULL, e.points - e.in_lots, 'repaid debt', NULL, NULL, 'debt is repaid before a lot is opened'
		FROM entry e
		WHERE e.kind IN ('earn', 'adjust') AND e.points > e.in_lots
		UNION ALL
		SELECT 2, 0, NULL, -e.points - e.in_lots, 'became debt', NULL, NULL,
			format('no lot had it; clawback policy %s', e.clawback_policy)
		FROM entry e
		WHERE e.kind = 'reverse' AND e.points < 0 AND -e.points > e.in_lots
		UNION ALL
		SELECT 3, 0, NULL, e.requested + e.points, 'not taken', NULL, NULL,
			format('clawback policy %s reaches no further', e.clawback_policy)
		FROM entry e
		WHERE e.kind = 'reverse' AND e.points <= 0 AND e.requested > -e.points
		UNION ALL
		SELECT 0, 0, e.target_entry_id, e.requested, 'activated', NULL, NULL, 'pending points are available from now on'
		FROM entry e
		WHERE e.kind = 'activate'
		UNION ALL
		SELECT 0, 0, NULL, e.requested, 'booked', NULL, NULL,
			format('expired by %s; the balance had it so already', e.effective_at)
		FROM entry e
		WHERE e.kind = 'expire'
		UNION ALL
		SELECT 4, 0, NULL, NULL, 'extended', NULL, e.extends_to, 'sliding expiry: every open lot lives at least until then'
		FROM entry e
		WHERE e.extends_to IS NOT NULL
	) x
	ORDER BY 1
$$;
COMMENT ON FUNCTION explain_entry(bigint, bigint) IS
'Which lots an entry touched, what it did to them, and why, one row for each. No rows when the member has no such entry.';

-- ---------------------------------------------------------------------------
-- Program: moving points between members that are merged
-- ---------------------------------------------------------------------------

CREATE FUNCTION balance_homes(balance points_balance, OUT home_id bigint, OUT points bigint, OUT debt bigint) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 2 AS 'MODULE_PATHNAME', 'loyalty_balance_homes';
COMMENT ON FUNCTION balance_homes(points_balance) IS
'To whom the points and the debt of a balance first came: one row for each home, 0 for the wallet''s own member; points in lots of any state, those that have expired included.';

CREATE FUNCTION lock_wallets(live_ids bigint[], moved_ids bigint[] DEFAULT '{}') RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_lock_wallets';
COMMENT ON FUNCTION lock_wallets(bigint[], bigint[]) IS
'Opens, where they are missing, and locks the wallets of members in every currency: first those of moved_ids, whose points are elsewhere, then those of live_ids, ascending by member and currency. Returns how many. Part of merge_members() and unmerge_members(), before move_points().';

CREATE FUNCTION move_points(from_id bigint, to_id bigint, homes bigint[] DEFAULT NULL, opened_by bigint[] DEFAULT NULL,
	settle boolean DEFAULT false, reason text DEFAULT NULL,
	OUT currency text, OUT points bigint, OUT lots bigint, OUT debt bigint, OUT entry_id bigint) RETURNS SETOF record
LANGUAGE c VOLATILE CALLED ON NULL INPUT ROWS 2 AS 'MODULE_PATHNAME', 'loyalty_move_points';
COMMENT ON FUNCTION move_points(bigint, bigint, bigint[], bigint[], boolean, text) IS
'Moves lots of every state (available, pending, held, expired) and debt from all wallets of one member to those of another, by transfer_out and transfer_in entries effective now. Lots keep lot_id, origin, expiry, hold and home; debt is moved without being repaid. homes: only what first came to these members (NULL: everything); opened_by: only lots opened by these entries, and no debt (NULL: all). settle: what arrives belongs to to_id from now on and has no home elsewhere. One row for each currency in which something moved; entry_id is the last entry of the receiving wallet. Part of merge_members() and unmerge_members(); the wallets must be locked by lock_wallets().';

CREATE FUNCTION mark_wallets(member_id bigint, moved boolean) RETURNS bigint
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_mark_wallets';
COMMENT ON FUNCTION mark_wallets(bigint, boolean) IS
'Notes on all wallets of a member that their points are elsewhere (true) or here (false); postings to a wallet whose points are elsewhere go to the member who stands for it. Returns how many. Part of merge_members() and unmerge_members().';

-- ---------------------------------------------------------------------------
-- Program: expiry
-- ---------------------------------------------------------------------------

CREATE FUNCTION book_expiry(member_id bigint, currency text, as_of timestamptz) RETURNS bigint
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_book_expiry';
COMMENT ON FUNCTION book_expiry(bigint, text, timestamptz) IS
'Books what has expired in one wallet by as_of and was not booked yet; a negative result takes back what was booked too much after a late entry. Returns the points booked. No balance changes by it.';

CREATE PROCEDURE book_expiries(as_of timestamptz DEFAULT NULL, batch_size integer DEFAULT 1000)
LANGUAGE plpgsql
AS $$
DECLARE
	until CONSTANT timestamptz := coalesce(book_expiries.as_of, pg_catalog.now());
	run loyalty.job_run;
	last_member bigint;
	last_currency text := '';
	wallets bigint;
	booked bigint := 0;
	batch record;
BEGIN
	IF NOT pg_catalog.isfinite(until) OR until OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp() THEN
		RAISE EXCEPTION 'as_of must be a finite instant that is not in the future'
			USING ERRCODE = 'LY003', DETAIL = pg_catalog.format('It is %s.', until);
	END IF;
	IF batch_size IS NULL OR batch_size OPERATOR(pg_catalog.<=) 0 THEN
		RAISE EXCEPTION 'batch_size must be positive' USING ERRCODE = 'LY003';
	END IF;
	IF NOT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('loyalty.book_expiries', 0)) THEN
		RAISE EXCEPTION 'book_expiries is running in another session'
			USING ERRCODE = 'LY006', HINT = 'See the table loyalty.job_run.';
	END IF;

	-- a run that was stopped goes on where it was
	SELECT * INTO run FROM loyalty.job_run j
	WHERE j.job OPERATOR(pg_catalog.=) 'book_expiries' AND j.status OPERATOR(pg_catalog.=) 'running'
	ORDER BY j.run_id DESC LIMIT 1;
	IF FOUND AND run.as_of OPERATOR(pg_catalog.=) until THEN
		last_member := run.last_key;
		booked := coalesce((pg_catalog.regexp_match(run.message, '^(-?\d+) points'))[1]::bigint, 0);
	ELSE
		UPDATE loyalty.job_run j SET status = 'interrupted', finished_at = pg_catalog.clock_timestamp()
		WHERE j.job OPERATOR(pg_catalog.=) 'book_expiries' AND j.status OPERATOR(pg_catalog.=) 'running';
		INSERT INTO loyalty.job_run (job, as_of, unit, total)
		SELECT 'book_expiries', until, 'wallets', pg_catalog.count(*)
		FROM loyalty.wallet w WHERE loyalty.next_unbooked_expiry(w.balance) OPERATOR(pg_catalog.<=) until
		RETURNING * INTO run;
	END IF;
	COMMIT;

	LOOP
		SELECT pg_catalog.count(*) AS wallets,
			pg_catalog.sum(loyalty.book_expiry(d.member_id, d.currency, until))::bigint AS points,
			pg_catalog.max(d.member_id) AS member_id
		INTO batch
		FROM (SELECT w.member_id, w.currency FROM loyalty.wallet w
			WHERE loyalty.next_unbooked_expiry(w.balance) OPERATOR(pg_catalog.<=) until
				AND (last_member IS NULL OR w.member_id OPERATOR(pg_catalog.>=) last_member)
			ORDER BY w.member_id, w.currency COLLATE pg_catalog."C" LIMIT batch_size) d;
		EXIT WHEN batch.wallets OPERATOR(pg_catalog.=) 0;
		last_member := batch.member_id;
		booked := booked OPERATOR(pg_catalog.+) batch.points;
		UPDATE loyalty.job_run j
		SET done = j.done OPERATOR(pg_catalog.+) batch.wallets, last_key = last_member,
			updated_at = pg_catalog.clock_timestamp(),
			message = pg_catalog.format('%s points booked', booked)
		WHERE j.run_id OPERATOR(pg_catalog.=) run.run_id;
		COMMIT;
	END LOOP;

	UPDATE loyalty.job_run j
	SET status = 'finished', finished_at = pg_catalog.clock_timestamp(), updated_at = pg_catalog.clock_timestamp(),
		message = pg_catalog.format('%s points booked', booked)
	WHERE j.run_id OPERATOR(pg_catalog.=) run.run_id;
	PERFORM pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended('loyalty.book_expiries', 0));
	COMMIT;
END
$$;
COMMENT ON PROCEDURE book_expiries(timestamptz, integer) IS
'Books, as entries of kind expire, what has expired by as_of (default: now) in all wallets. No balance changes by it: expiry needs no job. Commits after each batch_size wallets; can be stopped at any time and goes on where it was; progress is in the table job_run. LY006 when it is running already.';

-- ---------------------------------------------------------------------------
-- Program: proof
-- ---------------------------------------------------------------------------

CREATE FUNCTION check_wallets(OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'loyalty_check_wallets';
COMMENT ON FUNCTION check_wallets() IS
'Folds and hashes every entry of every wallet again; a row for each violation: chain, order, fold, entry, conservation, wallet.';

CREATE FUNCTION check_ledger(OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT * FROM loyalty.check_wallets()
	UNION ALL
	SELECT 'target', e.member_id, e.currency, e.entry_id,
		format('%s refers to entry %s, which %s', e.kind, e.target_entry_id,
			CASE WHEN t.entry_id IS NULL THEN 'does not exist'
			ELSE format('is of kind %s and currency %s', t.kind, t.currency) END)
	FROM loyalty.ledger e LEFT JOIN loyalty.ledger t ON t.entry_id = e.target_entry_id
	WHERE e.target_entry_id IS NOT NULL
		AND (t.entry_id IS NULL OR t.currency <> e.currency OR t.entry_id >= e.entry_id
			OR NOT CASE e.kind WHEN 'capture' THEN t.kind = 'hold' WHEN 'release' THEN t.kind = 'hold'
				WHEN 'activate' THEN t.kind IN ('earn', 'adjust')
				WHEN 'reverse' THEN t.kind IN ('earn', 'redeem', 'capture', 'adjust') ELSE false END)
	UNION ALL
	SELECT 'reversal', t.member_id, t.currency, t.entry_id,
		format('%s of its %s points are reversed', r.points, abs(t.requested))
	FROM (SELECT e.target_entry_id, sum(e.requested) AS points
		FROM loyalty.ledger e WHERE e.kind = 'reverse' AND e.target_entry_id IS NOT NULL
		GROUP BY e.target_entry_id) r
	JOIN loyalty.ledger t ON t.entry_id = r.target_entry_id
	WHERE r.points > abs(t.requested)
	UNION ALL
	SELECT 'transfer', NULL, e.currency, NULL, format('%s points were received more than were sent', sum(e.points))
	FROM loyalty.ledger e WHERE e.kind IN ('transfer_in', 'transfer_out')
	GROUP BY e.currency
	HAVING sum(e.points) <> 0
$$;
COMMENT ON FUNCTION check_ledger() IS
'Every invariant of room ledger: a row for each violation; part of check().';

CREATE FUNCTION rebuilt_balance(bytes bytea) RETURNS points_balance
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rebuilt_balance';
COMMENT ON FUNCTION rebuilt_balance(bytea) IS 'A balance from its binary format; part of rebuild_wallets().';

CREATE FUNCTION rebuild_wallets() RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_rebuild_wallets';
COMMENT ON FUNCTION rebuild_wallets() IS
'Recomputes every wallet from the ledger and writes those that differ; returns how many. Postings wait meanwhile. Raises XX001 when the ledger itself cannot be folded.';

CREATE FUNCTION verify_chain(up_to bigint, OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'loyalty_verify_chain';
COMMENT ON FUNCTION verify_chain(bigint) IS
'Hashes every entry with an id up to up_to again; a row for the first broken entry of each wallet.';

CREATE FUNCTION settled_entry_id() RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_settled_entry_id';
COMMENT ON FUNCTION settled_entry_id() IS
'An entry id up to which nothing will be recorded any more: waits for the transactions that are posting at this moment, and blocks none. In READ COMMITTED only.';

CREATE FUNCTION block_digests(after bigint, up_to bigint, width bigint,
	OUT block bigint, OUT entries bigint, OUT digest bytea) RETURNS SETOF record
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'loyalty_block_digests';
COMMENT ON FUNCTION block_digests(bigint, bigint, bigint) IS
'SHA-256 over the hashes of the entries in each block of width ids behind after, as far as up_to, in the order of the ids; empty blocks are left out.';

CREATE FUNCTION ledger_digest(previous text DEFAULT NULL, blocks integer DEFAULT 256) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	after bigint := 0;
	up_to bigint;
	width bigint;
	result text;
BEGIN
	IF blocks IS NULL OR blocks NOT BETWEEN 1 AND 65536 THEN
		RAISE EXCEPTION 'blocks must be between 1 and 65536' USING ERRCODE = 'LY003';
	END IF;
	IF previous IS NOT NULL THEN
		after := (loyalty.read_digest(previous)).up_to;
	END IF;
	up_to := greatest(loyalty.settled_entry_id(), after);
	width := greatest(1, (up_to - after + blocks - 1) / blocks);
	SELECT format('loyalty-digest-1:%s:%s:%s:%s:%s:%s:%s', after, up_to, coalesce(sum(d.entries), 0), width,
			coalesce(encode(sha256(convert_to(previous, 'UTF8')), 'hex'), '-'),
			encode(sha256(coalesce(string_agg(int8send(d.block) || d.digest, ''::bytea ORDER BY d.block), ''::bytea)), 'hex'),
			coalesce(string_agg(d.block || '=' || left(encode(d.digest, 'hex'), 16), ',' ORDER BY d.block), ''))
	INTO result
	FROM loyalty.block_digests(after, up_to, width) d;
	RETURN result;
END
$$;
COMMENT ON FUNCTION ledger_digest(text, integer) IS
'A value to keep outside the database: proves later, by verify_ledger(), that no entry recorded before it was changed, removed or inserted. Waits for the transactions that are posting at this moment. With the previous digest it covers only the entries since, and is bound to it. More blocks make a longer digest that locates a difference more closely. Errors: LY113 previous is no digest, 0A000 outside READ COMMITTED, 25006 on a standby.';

CREATE FUNCTION read_digest(digest text, OUT after bigint, OUT up_to bigint, OUT entries bigint,
	OUT width bigint, OUT previous_hash text, OUT total_hash text, OUT blocks text) RETURNS record
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	parts text[] := regexp_match(digest,
		'^loyalty-digest-1:(\d{1,18}):(\d{1,18}):(\d{1,18}):([1-9]\d{0,17}):(-|[0-9a-f]{64}):([0-9a-f]{64}):((?:\d+=[0-9a-f]{16}(?:,|$))*)$');
BEGIN
	IF parts IS NULL OR parts[2]::bigint < parts[1]::bigint THEN
		RAISE EXCEPTION 'not a ledger digest: "%"', left(coalesce(digest, 'NULL'), 60)
			USING ERRCODE = 'LY113', HINT = 'Give a value that loyalty.ledger_digest() returned, whole.';
	END IF;
	after := parts[1]; up_to := parts[2]; entries := parts[3]; width := parts[4];
	previous_hash := parts[5]; total_hash := parts[6]; blocks := parts[7];
END
$$;
COMMENT ON FUNCTION read_digest(text) IS 'The parts of a ledger digest; LY113 when it is none.';

CREATE FUNCTION verify_ledger(digest text, OUT intact boolean, OUT first_entry_id bigint,
	OUT member_id bigint, OUT currency text, OUT detail text) RETURNS record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	d record;
	total_hash text;
	bad record;
	from_id bigint;
	to_id bigint;
BEGIN
	d := loyalty.read_digest(digest);
	intact := true;
	SELECT v.entry_id, v.member_id, v.currency, v.detail INTO bad
	FROM loyalty.verify_chain(d.up_to) v ORDER BY v.entry_id LIMIT 1;
	IF FOUND THEN
		intact := false;
		first_entry_id := bad.entry_id; member_id := bad.member_id; currency := bad.currency;
		detail := bad.detail;
	END IF;

	-- the blocks as they are now, against those of the digest
	SELECT encode(sha256(coalesce(string_agg(int8send(n.block) || n.digest, ''::bytea ORDER BY n.block), ''::bytea)), 'hex'),
		min(coalesce(n.block, o.block)) FILTER (WHERE left(encode(n.digest, 'hex'), 16) IS DISTINCT FROM o.digest)
	INTO total_hash, from_id
	FROM loyalty.block_digests(d.after, d.up_to, d.width) n
	FULL JOIN (SELECT split_part(b, '=', 1)::bigint AS block, split_part(b, '=', 2) AS digest
		FROM unnest(string_to_array(nullif(d.blocks, ''), ',')) b) o ON o.block = n.block;
	IF total_hash <> d.total_hash THEN
		intact := false;
		to_id := least(d.up_to, d.after + (from_id + 1) * d.width);
		from_id := d.after + from_id * d.width + 1;
		IF first_entry_id IS NULL OR first_entry_id > to_id THEN
			first_entry_id := from_id;
			member_id := NULL; currency := NULL;
			detail := format('an entry with an id from %s to %s was changed with its chain, removed, or inserted', from_id, to_id);
		ELSE
			detail := format('%s; the digest differs from id %s to %s on', detail, from_id, to_id);
		END IF;
	ELSIF intact THEN
		detail := format('%s entries with ids from %s to %s are as they were', d.entries, d.after + 1, d.up_to);
	END IF;
END
$$;
COMMENT ON FUNCTION verify_ledger(text) IS
'Whether every entry that a digest covers is as it was: intact, or the first entry that is not. An edited entry, or the one behind a removed one, is named by its chain; where a chain was written anew, or its end removed, the id is the first of a block of ids, which detail gives. Error: LY113 no digest.';

-- ---------------------------------------------------------------------------
-- Program: triggers for anybody's orders
-- ---------------------------------------------------------------------------

CREATE FUNCTION earn_on_insert() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_earn_on_insert';
COMMENT ON FUNCTION earn_on_insert() IS
'Trigger function (AFTER INSERT, FOR EACH ROW; arguments: member column, amount column, time column, points per unit = 1, currency = points): a row earns floor(amount * points per unit) in the same commit. The table needs a primary key, which becomes the entry''s reference and idempotency key.';

CREATE FUNCTION reverse_on_return() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_reverse_on_return';
COMMENT ON FUNCTION reverse_on_return() IS
'Trigger function (AFTER UPDATE OR DELETE, FOR EACH ROW; arguments as of earn_on_insert): a deleted row gives back all that it earned, a row whose amount becomes less the difference, any other update that WHEN lets through all of it.';

-- ---------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------

REVOKE EXECUTE ON FUNCTION
	earn(bigint, bigint, text, timestamptz, timestamptz, timestamptz, text, text, jsonb),
	redeem(bigint, bigint, text, timestamptz, text, text, jsonb),
	hold(bigint, bigint, timestamptz, text, timestamptz, text, text, jsonb),
	capture(bigint, bigint, bigint, timestamptz, text, text, jsonb),
	release(bigint, bigint, timestamptz, text, text, jsonb),
	reverse(bigint, bigint, bigint, timestamptz, text, text, jsonb),
	activate(bigint, bigint, timestamptz, text, text, jsonb),
	adjust(bigint, bigint, text, text, timestamptz, timestamptz, timestamptz, text, text, jsonb),
	transfer(bigint, bigint, bigint, text, timestamptz, text, text, jsonb),
	post_many(bigint[], text[], bigint[], text[], timestamptz[], timestamptz[], timestamptz[], timestamptz[], bigint[], text[], text[], text[], jsonb[]),
	backfill(regclass),
	create_currency(text, text, text, interval, text, integer, integer, interval, text, text, interval, text[], text),
	setup_ledger(),
	wallet_apply(points_balance, boolean),
	lock_wallets(bigint[], bigint[]), move_points(bigint, bigint, bigint[], bigint[], boolean, text), mark_wallets(bigint, boolean),
	posted_lots(), wallet_unapply(), book_expiry(bigint, text, timestamptz), rebuild_wallets(), settled_entry_id(), ledger_digest(text, integer),
	currency_is_sound(), guard(), earn_on_insert(), reverse_on_return()
	FROM PUBLIC;
REVOKE EXECUTE ON PROCEDURE book_expiries(timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	earn(bigint, bigint, text, timestamptz, timestamptz, timestamptz, text, text, jsonb),
	redeem(bigint, bigint, text, timestamptz, text, text, jsonb),
	hold(bigint, bigint, timestamptz, text, timestamptz, text, text, jsonb),
	capture(bigint, bigint, bigint, timestamptz, text, text, jsonb),
	release(bigint, bigint, timestamptz, text, text, jsonb),
	reverse(bigint, bigint, bigint, timestamptz, text, text, jsonb),
	activate(bigint, bigint, timestamptz, text, text, jsonb),
	adjust(bigint, bigint, text, text, timestamptz, timestamptz, timestamptz, text, text, jsonb),
	transfer(bigint, bigint, bigint, text, timestamptz, text, text, jsonb),
	post_many(bigint[], text[], bigint[], text[], timestamptz[], timestamptz[], timestamptz[], timestamptz[], bigint[], text[], text[], text[], jsonb[]),
	backfill(regclass),
	create_currency(text, text, text, interval, text, integer, integer, interval, text, text, interval, text[], text),
	setup_ledger(),
	wallet_apply(points_balance, boolean),
	lock_wallets(bigint[], bigint[]), move_points(bigint, bigint, bigint[], bigint[], boolean, text), mark_wallets(bigint, boolean),
	posted_lots(), wallet_unapply(), book_expiry(bigint, text, timestamptz), rebuild_wallets(), settled_entry_id(), ledger_digest(text, integer),
	currency_is_sound(), guard(), earn_on_insert(), reverse_on_return()
	TO @extowner@;
GRANT EXECUTE ON PROCEDURE book_expiries(timestamptz, integer) TO @extowner@;
