/*
 * activity: bringing a history in.
 */

CREATE FUNCTION record_history(member_ids bigint[], kinds text[], ats timestamptz[], amounts numeric[], lines jsonb[], channels text[],
	documents jsonb[], external_ids text[], moneys text[], time_zones text[], confirmed boolean[], idempotency_keys text[],
	of_rows boolean, evaluate boolean) RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_record_history';
COMMENT ON FUNCTION record_history(bigint[], text[], timestamptz[], numeric[], jsonb[], text[], jsonb[], text[], text[], text[], boolean[], text[], boolean, boolean) IS
'Records activities as record_many() does, but for those that are there already, and returns how many. of_rows: external_ids are names of rows, as record_from_row() gives them; evaluate: they earn. Error: 42501 for whoever may not define. Part of backfill_activities().';

CREATE FUNCTION history_query(history regclass, source text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	known CONSTANT jsonb := '{"kind": "text", "at": "timestamptz", "amount": "numeric", "lines": "jsonb", "channel": "text", "document": "jsonb", "external_id": "text",
		"money": "text", "time_zone": "text", "confirmed": "boolean", "idempotency_key": "text"}';
	types CONSTANT jsonb := (SELECT jsonb_object_agg(a.attname, format_type(a.atttypid, NULL)) FROM pg_attribute a
		WHERE a.attrelid = history AND a.attnum > 0 AND NOT a.attisdropped);
	columns text;
	arrays text;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = history AND c.relkind IN ('r', 'p', 'v', 'm', 'f')) THEN
		RAISE EXCEPTION 'history must be a table or view'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(history::text, 'NULL')), HINT = 'Name one with the columns that backfill_activities() knows.';
	ELSIF NOT types ?& '{member_id,at}' OR (source IS NOT NULL AND NOT types ? 'external_id') THEN
		RAISE EXCEPTION 'history lacks a column'
			USING ERRCODE = 'LY003', DETAIL = 'It needs member_id and at, and with a source external_id, the key of the row.',
				HINT = 'Give a table or view with these columns.';
	END IF;
	SELECT string_agg(CASE
			WHEN k.name = 'external_id' AND source IS NOT NULL AND types ->> k.name = 'text[]'
			THEN format('loyalty.row_key(%L, VARIADIC h.external_id)', source)
			WHEN k.name = 'external_id' AND source IS NOT NULL THEN format('loyalty.row_key_of(%L, ROW(h.external_id))', source)
			WHEN types ? k.name THEN format('h.%I::pg_catalog.%s', k.name, CASE k.type WHEN 'boolean' THEN 'bool' ELSE k.type END)
			WHEN k.name = 'kind' THEN '''order''::pg_catalog.text'
			ELSE format('NULL::pg_catalog.%s', CASE k.type WHEN 'boolean' THEN 'bool' ELSE k.type END) END || format(' AS %I', k.name), ', '),
		string_agg(format('pg_catalog.array_agg(b.%1$I ORDER BY b.n) AS %1$I', k.name), ', ')
	INTO columns, arrays FROM jsonb_each_text(known) k (name, type);
	-- a batch has all rows of its members
	RETURN format($q$
		SELECT pg_catalog.max(b.member_id) AS last_member, pg_catalog.count(*) AS rows,
			pg_catalog.array_agg(b.member_id ORDER BY b.n) AS member_id, %s
		FROM (SELECT x.*, pg_catalog.min(x.n) OVER (PARTITION BY x.member_id) OPERATOR(pg_catalog./) $2 AS batch
			FROM (SELECT h.member_id::pg_catalog.int8, %s, pg_catalog.row_number() OVER (ORDER BY h.member_id, h.at) OPERATOR(pg_catalog.-) 1 AS n
				FROM %s h WHERE $1 IS NULL OR h.member_id OPERATOR(pg_catalog.>) $1) x) b
		GROUP BY b.batch ORDER BY b.batch$q$, arrays, columns, history);
END
$$;
COMMENT ON FUNCTION history_query(regclass, text) IS
'The statement that reads a history in batches, behind a member ($1, NULL: all) and of about so many rows ($2). Part of backfill_activities(). Error: LY003 a column is missing.';

CREATE PROCEDURE backfill_activities(history regclass, source text DEFAULT NULL, evaluate boolean DEFAULT true, batch_size integer DEFAULT 1000)
LANGUAGE plpgsql
AS $$
DECLARE
	run record;
	batch record;
	query pg_catalog.text;
BEGIN
	PERFORM loyalty.require_autocommit('backfill_activities');
	query := loyalty.history_query(history, source);
	SELECT * INTO run FROM loyalty.begin_job('backfill_activities', NULL, batch_size, 'activities',
		pg_catalog.jsonb_build_object('history', history::pg_catalog.text, 'source', source, 'evaluate', evaluate));
	IF NOT run.resumed THEN
		PERFORM loyalty.note_job(run.run_id, total => loyalty.estimated_rows(history));
	END IF;
	COMMIT;

	FOR batch IN EXECUTE query USING run.last_key, batch_size LOOP
		PERFORM loyalty.note_job(run.run_id, batch.rows, batch.last_member, loyalty.record_history(batch.member_id, batch.kind, batch.at,
			batch.amount, batch.lines, batch.channel, batch.document, batch.external_id, batch.money, batch.time_zone, batch.confirmed,
			batch.idempotency_key, source IS NOT NULL, evaluate));
		COMMIT;
	END LOOP;

	PERFORM loyalty.end_job(run.run_id, 'activities recorded');
	COMMIT;
	PERFORM loyalty.unlock_job('backfill_activities');
END
$$;
COMMENT ON PROCEDURE backfill_activities(regclass, text, boolean, integer) IS
'Records a whole history, of a table or view with the columns member_id and at and, where wanted, kind (default order), amount, lines, channel, document, external_id, money, time_zone, confirmed, idempotency_key: see record_activity(). Members go one after the other, the activities of a member by at; what is there already is left as it is, so it is safe to repeat. With source, external_id (of the type of the row''s key, or text[] for several columns) is the key of a row as record_from_row() with the same source knows it. evaluate => false: they earn nothing, and nobody is told of them. Commits after about batch_size activities; can be stopped at any time, and the same call goes on where it was; progress is in the table job_run: result is the number recorded. Errors: LY006 it is running already, 25001 inside a transaction, LY003, and those of record_activity(), whose context names the element of the batch.';
