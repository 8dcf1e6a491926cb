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
'The state of the fold of a points ledger: open lots, debt, lifetime totals, head of the hash chain. Text form: a JSON object. Read it with available(), pending(), held(), balance_lots() and the other accessors, as of any instant not before its last entry.';

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

CREATE FUNCTION expiring_points(balance points_balance, until timestamptz, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_expiring_points';
COMMENT ON FUNCTION expiring_points(points_balance, timestamptz, timestamptz) IS
'Points that have not expired as of as_of and will have expired by until if nobody touches them. Raises LY110 for an as_of before the last entry.';

CREATE FUNCTION balance_lots(balance points_balance, as_of timestamptz DEFAULT now(),
	OUT lot_id bigint, OUT points bigint, OUT state text, OUT earned_at timestamptz,
	OUT available_at timestamptz, OUT expires_at timestamptz, OUT hold_id bigint) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'loyalty_balance_lots';
COMMENT ON FUNCTION balance_lots(points_balance, timestamptz) IS
'The lots of a balance that have points left, in consumption order. state is available, pending, held or expired as of as_of; expires_at NULL is never; available_at NULL waits for activate(); of held points, available_at is when the hold lapses. Raises LY110 for an as_of before the last entry.';

CREATE FUNCTION debt(balance points_balance, as_of timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_debt';
COMMENT ON FUNCTION debt(points_balance, timestamptz) IS
'Points owed as of an instant: burns or reversals beyond what was there. Whatever becomes available repays it first, at that instant. Raises LY110 for an instant before the last entry.';

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
	OUT available_at timestamptz, OUT expires_at timestamptz, OUT hold_id bigint, OUT joined boolean) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 3 AS 'MODULE_PATHNAME', 'loyalty_unnest_lots';
COMMENT ON FUNCTION unnest_lots(points_lots) IS
'The lots of a list as rows; expires_at NULL is never, available_at NULL waits for activate(); a joined lot holds points of others with its expiry, and has the id and the origin of the first of them.';

CREATE FUNCTION total_points(lots points_lots) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_total_points';
COMMENT ON FUNCTION total_points(points_lots) IS 'The sum of the points of a list of lots.';

-- ---------------------------------------------------------------------------
-- points_ledger
-- ---------------------------------------------------------------------------

CREATE FUNCTION ledger_entry(kind text, points bigint DEFAULT NULL, effective_at timestamptz DEFAULT now(),
	available_at timestamptz DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
	hold_until timestamptz DEFAULT NULL, target bigint DEFAULT NULL,
	extends_to timestamptz DEFAULT NULL, lots points_lots DEFAULT NULL,
	expires_by timestamptz DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('kind', kind, 'points', points, 'effective_at', effective_at,
		'available_at', available_at, 'expires_at', expires_at, 'hold_until', hold_until,
		'target', target, 'extends_to', extends_to, 'lots', lots::jsonb, 'expires_by', expires_by))
$$;
COMMENT ON FUNCTION ledger_entry(text, bigint, timestamptz, timestamptz, timestamptz, timestamptz, bigint, timestamptz, points_lots, timestamptz) IS
'An entry to append to a points_ledger with ||. target is the number of the earlier entry that a capture, release, reverse or activate refers to (the first is 1); lots are those of a transfer_in; extends_to is the instant until which every open lot lives on, but none beyond the expires_by with which it was opened. expires_at of an activate is the new end of what becomes available, of a reverse that of what had expired when it came back.';

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
	OUT extends_to timestamptz, OUT target bigint, OUT lots points_lots, OUT expires_by timestamptz) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 50 AS 'MODULE_PATHNAME', 'loyalty_entries';
COMMENT ON FUNCTION entries(points_ledger) IS
'The entries of a ledger as rows, numbered from 1; expires_at NULL is never, available_at NULL waits for an activate.';

CREATE FUNCTION append_only() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_append_only';
COMMENT ON FUNCTION append_only() IS
'Trigger function (BEFORE UPDATE OR DELETE OR TRUNCATE). Without arguments, FOR EACH STATEMENT: protects a table. With names of points_ledger columns, FOR EACH ROW: these columns only grow, by ||.';

-- ---------------------------------------------------------------------------
-- Aggregates
-- ---------------------------------------------------------------------------

CREATE FUNCTION entry_run_combine(aggregate_state, aggregate_state) RETURNS aggregate_state
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_entry_run_combine';
COMMENT ON FUNCTION entry_run_combine(aggregate_state, aggregate_state) IS 'Combines two states of balance_agg or ledger_agg.';

CREATE FUNCTION balance_agg_transfn(aggregate_state, bigint, timestamptz, timestamptz) RETURNS aggregate_state
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_balance_agg_transfn';
COMMENT ON FUNCTION balance_agg_transfn(aggregate_state, bigint, timestamptz, timestamptz) IS 'Transition function of balance_agg.';

CREATE FUNCTION balance_agg_finalfn(aggregate_state) RETURNS points_balance
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_balance_agg_finalfn';
COMMENT ON FUNCTION balance_agg_finalfn(aggregate_state) IS 'Final function of balance_agg.';

CREATE AGGREGATE balance_agg(points bigint, at timestamptz, expires_at timestamptz) (
	SFUNC = balance_agg_transfn, STYPE = aggregate_state, SSPACE = 1024, FINALFUNC = balance_agg_finalfn,
	COMBINEFUNC = entry_run_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE balance_agg(bigint, timestamptz, timestamptz) IS
'Folds signed rows of any table into a points_balance: positive points earn a lot that is open from at up to, and not at, expires_at (NULL: never expires); negative points burn the earliest-expiring lots open at their time; a burn with nothing left becomes debt that the next earn repays. At one instant earns go before burns, then by expiry, then by amount. Rows without points are ignored. Needs no ORDER BY; the same bits in any order and with any number of workers.';

CREATE FUNCTION ledger_agg_transfn(aggregate_state, text, bigint, timestamptz, timestamptz, timestamptz) RETURNS aggregate_state
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_ledger_agg_transfn';
COMMENT ON FUNCTION ledger_agg_transfn(aggregate_state, text, bigint, timestamptz, timestamptz, timestamptz) IS 'Transition function of ledger_agg.';

CREATE FUNCTION ledger_agg_finalfn(aggregate_state) RETURNS points_ledger
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_ledger_agg_finalfn';
COMMENT ON FUNCTION ledger_agg_finalfn(aggregate_state) IS 'Final function of ledger_agg.';

CREATE AGGREGATE ledger_agg(kind text, points bigint, effective_at timestamptz, available_at timestamptz, expires_at timestamptz) (
	SFUNC = ledger_agg_transfn, STYPE = aggregate_state, SSPACE = 1024, FINALFUNC = ledger_agg_finalfn,
	COMBINEFUNC = entry_run_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE ledger_agg(text, bigint, timestamptz, timestamptz, timestamptz) IS
'Packs rows of any table into a points_ledger, sorted by effective_at (at one instant what comes in first, then by expiry, then by amount). available_at NULL is effective_at, expires_at NULL is never; of a hold, expires_at is its hold_until. Kinds that refer to other entries are appended with ||. Needs no ORDER BY; the same bits in any order and with any number of workers.';
