/*
 * ledger: digests of a ledger that is spread over several machines.
 *
 * Each machine draws ids with a remainder of its own, when they are divided by
 * 1024, so that what is settled is an id for each remainder: its horizon.  The
 * entries are hashed in ranges of members by their hash, which are the parts of
 * the tables when the digest is taken, each where it is; wherever the members are
 * when it is verified, the ranges stay.
 */

CREATE FUNCTION read_horizons(horizons text) RETURNS bigint[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT array_agg(coalesce(m.id, split_part($1, ';', 1)::bigint) ORDER BY r)
	FROM generate_series(0, 1023) r LEFT JOIN (SELECT split_part(x, '=', 1)::integer AS machine, split_part(x, '=', 2)::bigint AS id
		FROM unnest((string_to_array($1, ';'))[2:]) x) m ON m.machine = r
$$;
COMMENT ON FUNCTION read_horizons(text) IS
'Horizons, written as one for all remainders of ids and then those that differ (9;2=5: 5 for those of machine 2), as an array with one for each. Part of ledger_digest().';

CREATE FUNCTION settled_on_machines() RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	number bigint;
	horizons text;
	last bigint;
	beyond bigint;
BEGIN
	-- a machine would wait for what this transaction has locked there
	EXECUTE 'SELECT t.transaction_number FROM pg_catalog.get_current_transaction_id() t' INTO number;
	IF number <> 0 THEN
		RAISE EXCEPTION 'ledger_digest() cannot run in a transaction that has used other machines'
			USING ERRCODE = 'active_sql_transaction', DETAIL = 'Each machine waits for those who post there at this moment.', HINT = 'Call it by itself, or first.';
	END IF;
	SELECT string_agg(a.answer, ';' ORDER BY a.answer), max(split_part(a.answer, '=', 2)::bigint) INTO horizons, last
	FROM loyalty.ask_machines($q$SELECT l.groupid || '=' || loyalty.settled_entry_id() FROM pg_catalog.pg_dist_local_group l$q$) a;
	-- ids of machines that are no more, which nobody draws
	SELECT max(e.entry_id) INTO beyond FROM loyalty.all_entries() e WHERE e.entry_id > last;
	RETURN greatest(last, beyond) || ';' || horizons;
END
$$;
COMMENT ON FUNCTION settled_on_machines() IS
'What is settled on each machine, as read_horizons() reads it: whatever will ever be recorded up to there is recorded. Waits, on each, for those who post there at this moment. Error: 25001 the transaction has used other machines. Part of ledger_digest().';

CREATE FUNCTION part_digests(after bigint, up_to bigint, width bigint, behind text, ahead text, ranges text DEFAULT NULL,
	OUT low integer, OUT high integer, OUT block bigint, OUT entries bigint, OUT digest bytea) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	r record;
	asked integer[] := '{}';
BEGIN
	IF loyalty.tables_are_spread() THEN
		FOR r IN SELECT * FROM loyalty.ask_parts(format($q$
			SELECT b.block, b.entries, encode(b.digest, 'base64') AS digest
			FROM loyalty.block_digests(%s, %s, %s, loyalty.read_horizons(%L), loyalty.read_horizons(%L)) b$q$, after, up_to, width, behind, ahead)) p
		LOOP
			CONTINUE WHEN ranges <> '' AND format('%s/%s', r.low, r.high) <> ALL (string_to_array(ranges, ','));
			asked := asked || r.low;
			RETURN QUERY SELECT r.low, r.high, NULL::bigint, 0::bigint, NULL::bytea
			UNION ALL
			SELECT r.low, r.high, (x ->> 'block')::bigint, (x ->> 'entries')::bigint, decode(x ->> 'digest', 'base64') FROM jsonb_array_elements(r.answer) x;
		END LOOP;
	END IF;
	-- ranges that are no parts any more: their members may be on several machines
	FOR r IN SELECT split_part(x, '/', 1)::integer AS low, split_part(x, '/', 2)::integer AS high FROM unnest(string_to_array(ranges, ',')) x LOOP
		CONTINUE WHEN r.low = ANY (asked);
		RETURN QUERY SELECT r.low, r.high, NULL::bigint, 0::bigint, NULL::bytea
		UNION ALL
		SELECT r.low, r.high, b.block, b.entries, b.digest
		FROM loyalty.block_digests(after, up_to, width, loyalty.read_horizons(behind), loyalty.read_horizons(ahead), r.low, r.high) b;
	END LOOP;
END
$$;
COMMENT ON FUNCTION part_digests(bigint, bigint, bigint, text, text, text) IS
'block_digests() of the members of each range of hashes, such as -100/99 (NULL: of each part), on the machine where they are, and a row without a block for the range itself. Part of ledger_digest() and verify_ledger().';

CREATE FUNCTION spread_digest(previous text, blocks integer, at_most bigint) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	before record;
	settled text := loyalty.settled_on_machines();
	behind text := '0';
	too_far bigint[];
	after bigint;
	up_to bigint;
	width bigint;
	result text;
BEGIN
	IF previous IS NOT NULL THEN
		before := loyalty.read_digest(previous);
		behind := coalesce(before.ahead, before.up_to::text);
	END IF;
	SELECT ARRAY[b.id, s.id] INTO too_far
	FROM unnest(loyalty.read_horizons(behind)) WITH ORDINALITY b (id, n) JOIN unnest(loyalty.read_horizons(settled)) WITH ORDINALITY s (id, n) ON s.n = b.n
	-- the next id of a machine lies 1024 behind its last one
	WHERE b.id >= s.id + CASE WHEN s.id = split_part(settled, ';', 1)::bigint THEN 1 ELSE 1024 END ORDER BY b.n LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'the previous digest reaches beyond this ledger'
			USING ERRCODE = 'LY113', DETAIL = format('It covers ids up to %s, the last one here is %s.', too_far[1], too_far[2]),
				HINT = 'Entries were lost since it was taken, or it is of another ledger: see verify_ledger().';
	END IF;
	IF at_most IS NOT NULL THEN
		-- of each machine as far as there, and no less than before
		SELECT string_agg(CASE WHEN x.n = 0 THEN '' ELSE split_part(x.item, '=', 1) || '=' END || greatest(b.id[1 + x.machine], least(at_most, x.id)), ';' ORDER BY x.n)
		INTO settled
		FROM (SELECT i.n - 1 AS n, i.item, CASE WHEN i.n = 1 THEN 1023 ELSE split_part(i.item, '=', 1)::integer END AS machine,
				CASE WHEN i.n = 1 THEN i.item ELSE split_part(i.item, '=', 2) END::bigint AS id
			FROM unnest(string_to_array(settled, ';')) WITH ORDINALITY i (item, n)) x, (SELECT loyalty.read_horizons(behind) AS id) b;
	END IF;
	SELECT min(b) INTO after FROM unnest(loyalty.read_horizons(behind)) b;
	SELECT max(s) INTO up_to FROM unnest(loyalty.read_horizons(settled)) s;
	width := greatest(1, (up_to - after + blocks - 1) / blocks);
	WITH digest AS MATERIALIZED (
		SELECT d.*, dense_rank() OVER (ORDER BY d.low) - 1 AS part FROM loyalty.part_digests(after, up_to, width, behind, settled) d
	)
	SELECT format('loyalty-digest-2:%s:%s:%s:%s:%s:%s:%s:%s', behind, settled, sum(d.entries), width,
			coalesce(encode(sha256(convert_to(previous, 'UTF8')), 'hex'), '-'),
			encode(sha256(coalesce(string_agg(int8send(d.part) || int8send(d.block) || d.digest, ''::bytea ORDER BY d.part, d.block) FILTER (WHERE d.block IS NOT NULL), ''::bytea)), 'hex'),
			string_agg(d.low || '/' || d.high, ',' ORDER BY d.low) FILTER (WHERE d.block IS NULL),
			coalesce(string_agg(format('%s/%s=%s', d.part, d.block, left(encode(d.digest, 'hex'), 16)), ',' ORDER BY d.low, d.block) FILTER (WHERE d.block IS NOT NULL), ''))
	INTO result FROM digest d;
	RETURN result;
END
$$;
COMMENT ON FUNCTION spread_digest(text, integer, bigint) IS 'What ledger_digest() does where tables are spread over several machines. Part of ledger_digest().';

CREATE FUNCTION broken_chains(up_to bigint, ahead text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	IF loyalty.tables_are_spread() THEN
		RETURN QUERY SELECT x.member_id, x.currency, x.entry_id, x.detail
		FROM loyalty.ask_parts(format('SELECT v.member_id, v.currency, v.entry_id, v.detail FROM loyalty.verify_chain(%s, loyalty.read_horizons(%L)) v', up_to, ahead)) p,
			jsonb_to_recordset(p.answer) x (member_id bigint, currency text, entry_id bigint, detail text);
	ELSE
		RETURN QUERY SELECT v.member_id, v.currency, v.entry_id, v.detail FROM loyalty.verify_chain(up_to, loyalty.read_horizons(ahead)) v;
	END IF;
END
$$;
COMMENT ON FUNCTION broken_chains(bigint, text) IS 'The first broken entry of each wallet up to an id, and not beyond horizons, as read_horizons() reads them; each machine looks at its own. Part of verify_ledger().';
