-- Idempotency keys of postings: what is a repeat of a call and what is another call, whether the entry's row tells the
-- arguments or a fingerprint does; with tables that are plain, and by statements.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
SELECT loyalty.create_currency('rolling', expiry_policy => 'rolling', expiry_interval => '1 year'),
	loyalty.create_currency('sliding', expiry_policy => 'sliding', expiry_interval => '1 year'),
	loyalty.create_currency('lasting', expiry_policy => 'sliding', expiry_interval => '1 year', qualifying_kinds => '{redeem}') \g /dev/null

-- What a call comes to: posted, replayed, or an SQLSTATE.
CREATE FUNCTION pg_temp.outcome(call text, member bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	replayed boolean;
BEGIN
	EXECUTE 'SELECT replayed FROM loyalty.' || replace(replace(call, '(', format('(%s, ', member)), ')', ', idempotency_key => ''k'')') INTO replayed;
	RETURN CASE WHEN replayed THEN 'replayed' ELSE 'posted' END;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;

-- $1 is said, then $2; the row of the first has a fingerprint or none
CREATE TEMP TABLE repeat (n serial, first text, fingerprint boolean, again text, want text);
INSERT INTO repeat (first, fingerprint, again, want) VALUES
	('earn(10)', false, 'earn(10)', 'replayed'),
	('earn(10)', false, 'earn(10.0, pending => false)', 'replayed'),
	('earn(10)', false, 'earn(11)', 'LY004'),
	('earn(10)', false, 'earn(10, effective_at => ''2024-01-01'')', 'LY004'),
	('earn(10)', false, 'earn(10, available_at => ''2100-01-01'')', 'LY004'),
	('earn(10)', false, 'earn(10, pending => true)', 'LY004'),
	('earn(10)', false, 'earn(10, expires_at => ''2100-01-01'')', 'LY004'),
	('earn(10)', false, 'earn(10, expires_at => ''infinity'')', 'LY004'),
	('earn(10)', false, 'earn(10, reference => '''')', 'LY004'),
	('earn(10)', false, 'earn(10, details => ''{}'')', 'LY004'),
	('earn(10)', false, 'redeem(10)', 'LY004'),
	('earn(10)', false, 'adjust(10, ''why'')', 'LY004'),
	('earn(10, expires_at => ''2100-01-01'')', false, 'earn(10, expires_at => ''2100-01-01'')', 'replayed'),
	('earn(10, expires_at => ''2100-01-01'')', false, 'earn(10, expires_at => ''2100-01-02'')', 'LY004'),
	('earn(10, expires_at => ''2100-01-01'')', false, 'earn(10)', 'LY004'),
	('earn(10, expires_at => ''infinity'')', false, 'earn(10, expires_at => ''infinity'')', 'replayed'),
	('earn(10, expires_at => ''infinity'')', false, 'earn(10)', 'LY004'),
	('earn(10, ''rolling'')', false, 'earn(10, ''rolling'')', 'replayed'),
	('earn(10, ''sliding'', expires_at => ''2100-01-01'')', false, 'earn(10, ''sliding'', expires_at => ''2100-01-01'')', 'replayed'),
	('earn(10, ''sliding'', expires_at => ''2100-01-01'')', false, 'earn(10, ''sliding'')', 'LY004'),
	('earn(10, ''lasting'')', false, 'earn(10, ''lasting'')', 'replayed'),
	('earn(10, reference => ''r'', details => ''{"a": 1, "b": null}'')', false, 'earn(10, reference => ''r'', details => ''{"b":null,"a":1}'')', 'replayed'),
	('earn(10, reference => ''r'')', false, 'earn(10, reference => ''s'')', 'LY004'),
	('earn(10, reference => ''r'')', false, 'earn(10)', 'LY004'),
	('earn(10, details => ''{"a": 1}'')', false, 'earn(10, details => ''{"a": 2}'')', 'LY004'),
	('earn(10, effective_at => ''2024-01-01'')', true, 'earn(10, effective_at => ''2024-01-01'')', 'replayed'),
	('earn(10, effective_at => ''2024-01-01'')', true, 'earn(10, effective_at => ''2024-01-02'')', 'LY004'),
	('earn(10, effective_at => ''2024-01-01'')', true, 'earn(10)', 'LY004'),
	('earn(10, available_at => ''2100-01-01'')', true, 'earn(10, available_at => ''2100-01-01'')', 'replayed'),
	('earn(10, available_at => ''2100-01-01'')', true, 'earn(10)', 'LY004'),
	('earn(10, pending => true)', true, 'earn(10, pending => true)', 'replayed'),
	('earn(10, pending => true)', true, 'earn(10)', 'LY004'),
	('redeem(10)', false, 'redeem(10)', 'replayed'),
	('redeem(10)', false, 'redeem(9)', 'LY004'),
	('redeem(10)', false, 'hold(10, ''2100-01-01'')', 'LY004'),
	('redeem(10)', false, 'adjust(-10, ''why'')', 'LY004'),
	('redeem(10)', false, 'transfer(-1, 10)', 'LY004'),
	('hold(10, ''2100-01-01'')', false, 'hold(10, ''2100-01-01'')', 'replayed'),
	('hold(10, ''2100-01-01'')', false, 'hold(10, ''2100-01-02'')', 'LY004'),
	('adjust(10, ''why'')', false, 'adjust(10, ''why'')', 'replayed'),
	('adjust(10, ''why'')', false, 'adjust(10, ''why not'')', 'LY004'),
	('adjust(10, ''why'')', false, 'adjust(-10, ''why'')', 'LY004'),
	('adjust(-10, ''why'')', false, 'adjust(-10, ''why'')', 'replayed'),
	('adjust(-10, ''why'')', false, 'adjust(-9, ''why'')', 'LY004'),
	('transfer(-1, 10)', true, 'transfer(-1, 10)', 'replayed'),
	('transfer(-1, 10)', true, 'transfer(-2, 10)', 'LY004'),
	('transfer(-1, 10)', true, 'redeem(10)', 'LY004');

-- each case has a member of its own, with 100 points of each currency
CREATE FUNCTION pg_temp.said(OUT n integer, OUT access boolean, OUT first text, OUT fingerprint boolean, OUT again text, OUT entries bigint)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
	r record;
	member bigint := 0;
BEGIN
	FOREACH access IN ARRAY '{true,false}'::boolean[] LOOP
		PERFORM set_config('loyalty.table_access', access::text, false);
		FOR r IN SELECT * FROM repeat ORDER BY repeat.n LOOP
			member := member + 1;
			n := r.n;
			PERFORM loyalty.earn(member, 100, c.code) FROM loyalty.currency c;
			first := pg_temp.outcome(r.first, member);
			again := pg_temp.outcome(r.again, member);
			SELECT bool_and(l.fingerprint IS NOT NULL), count(*) INTO fingerprint, entries
			FROM loyalty.ledger l WHERE l.member_id = member AND l.idempotency_key = 'k';
			RETURN NEXT;
		END LOOP;
	END LOOP;
END
$$;
SELECT is(ROW(s.first, s.fingerprint, s.again, s.entries)::text, ROW('posted', r.fingerprint, r.want, 1)::text,
	format('%s, then %s, table access %s', r.first, r.again, s.access))
FROM pg_temp.said() s JOIN repeat r USING (n) ORDER BY s.access, r.n;
RESET loyalty.table_access;

-- no locale has a say in what is looked up, and entries are shown as the ledger has them
SELECT is_empty($$SELECT attrelid::regclass, attname FROM pg_attribute WHERE attcollation <> 'pg_catalog."C"'::regcollation
	AND (attrelid, attname::text) IN (('loyalty.currency'::regclass, 'code'), ('loyalty.wallet'::regclass, 'currency'),
		('loyalty.ledger'::regclass, 'currency'), ('loyalty.ledger'::regclass, 'kind'), ('loyalty.ledger'::regclass, 'idempotency_key'),
		('loyalty.request'::regclass, 'call'), ('loyalty.request'::regclass, 'idempotency_key'),
		('loyalty.tier_state'::regclass, 'ladder'), ('loyalty.tier_history'::regclass, 'ladder'), ('loyalty.tier_event'::regclass, 'measure'))$$,
	'codes and keys are in collation C');
SELECT results_eq(format('SELECT attname, atttypid, attcollation FROM pg_attribute WHERE attrelid = %s AND attnum > 0 ORDER BY attnum', rel::oid),
	$$SELECT attname, atttypid, attcollation FROM pg_attribute WHERE attrelid = 'loyalty.ledger'::regclass AND attnum > 0 ORDER BY attnum$$, rel || ' has the columns of the ledger')
FROM unnest('{loyalty.ledger_entry,loyalty.ledger_archive}'::regclass[]) rel;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
