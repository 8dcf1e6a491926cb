# What rows are in bytes, indexes and free space included, and a posting in WAL:
# MEMBERS / 10 members with an address, a telephone number and a card, a year of
# twelve orders each, which earn points and status, a level, a coupon, a label,
# and three redemptions.  doc/sizing.md has the figures.
members=$((MEMBERS / 10))
trap 'psql -Xq -d postgres -c "DROP DATABASE IF EXISTS sizes"' EXIT
psql -Xq -d postgres -c 'CREATE DATABASE sizes'
psql -Xq -d sizes -v ON_ERROR_STOP=1 -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	CREATE EXTENSION loyalty CASCADE;
	SET search_path = public, loyalty;
	SELECT setup();
	SELECT create_currency('status', expiry_policy => 'rolling', expiry_interval => '24 months'), configure_namespace('card'), define_measure('status', 'points', 'status'), define_label('regular');
	SELECT define_ladder('club', '{"measures": [{"measure": "status", "window": "rolling", "interval": "12 months"}], "validity": "interval", "validity_interval": "12 months", "at_end": "soft_landing",
		"levels": [{"level": "blue"}, {"level": "silver", "all": {"status": 200}}, {"level": "gold", "all": {"status": 450}}]}', '2025-01-01');
	SELECT define_benefit('tea_5', '{"kind": "coupon", "discount": {"amount": 5}, "valid": "90 days"}');
	SELECT define_campaign('base', '{"then": [{"points": {"give": 1, "per": 1}}, {"points": {"give": 1, "per": 1}, "currency": "status"}]}', '2025-01-01'),
		define_campaign('fifth', '{"when": {"count": {"kind": "order", "within": "lifetime", "=": 4}}, "then": [{"coupon": "tea_5"}, {"label": "regular"}]}', '2025-01-01');
	CREATE TABLE wal (what text, calls bigint, bytes numeric);
	CREATE PROCEDURE measured(what text, members bigint, calls bigint, statement text) LANGUAGE plpgsql AS $$
	DECLARE
		began pg_lsn;
		bytes numeric := 0;
	BEGIN
		FOR nth IN 1 .. calls LOOP
			FOR part IN 0 .. 9 LOOP
				began := pg_current_wal_insert_lsn();
				EXECUTE statement USING members * part / 10, members * (part + 1) / 10, nth;
				COMMIT;
				bytes := bytes + (pg_current_wal_insert_lsn() - began);
			END LOOP;
		END LOOP;
		INSERT INTO public.wal VALUES (what, members * calls, bytes);
		COMMIT;
	END $$;
SQL
measured() { psql -Xq -d sizes -v ON_ERROR_STOP=1 -c "SET search_path = public, loyalty" -c "CALL measured('$1', $members, $2, \$\$$3\$\$)"; }
measured 'resolve_member(), new, three identifiers' 1 "SELECT count(r.member_id) FROM generate_series(\$1 + 1, \$2) i, resolve_member(jsonb_build_object('email', 'somebody' || i || '@example.com', 'phone', '+44207' || (1000000 + i), 'card', 'card ' || i), 'shop', '{\"name\": \"Some Body\"}') r WHERE \$3 > 0"
measured 'record_activity(), two lines, two earns, tier' 12 "SELECT count(r.activity_id) FROM generate_series(\$1 + 1, \$2) i, record_activity(i, 'order', timestamptz '2025-01-01' + \$3 * interval '30 days' + i % 29 * interval '1 day', lines => jsonb_build_array(jsonb_build_object('sku', 'TEA', 'category', 'tea', 'amount', 5 + i % 50), jsonb_build_object('sku', 'CUP', 'category', 'cups', 'amount', 10 + (i + \$3) % 7)), external_id => 'order ' || \$3 * 100000000 + i) r"
measured 'redeem(), with a key' 3 "SELECT count(r.entry_id) FROM generate_series(\$1 + 1, \$2) i, redeem(i, 20, effective_at => timestamptz '2026-01-01' + \$3 * interval '1 day', reference => 'basket', idempotency_key => 'basket ' || \$3) r"
measured 'earn(), with a key' 3 "SELECT count(r.entry_id) FROM generate_series(\$1 + 1, \$2) i, earn(i, 20, effective_at => timestamptz '2026-02-01' + \$3 * interval '1 day', reference => 'order 4711', idempotency_key => 'order ' || \$3) r"
psql -Xq -d sizes -c 'VACUUM ANALYZE'
psql -Xq -d sizes -P footer=off -P pager=off -v members="$members" <<-'SQL'
	SELECT what, calls, round(bytes / calls) AS "WAL bytes a call" FROM wal ORDER BY what;
	SELECT c.relname AS "table", c.reltuples::bigint AS rows, round(c.reltuples::numeric / :members, 1) AS "a member", round((pg_table_size(c.oid) / c.reltuples)::numeric) AS "bytes a row",
		round((pg_indexes_size(c.oid) / c.reltuples)::numeric) AS "and in indexes", round(pg_total_relation_size(c.oid)::numeric / :members) AS "bytes a member"
	FROM pg_class c WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'r' AND c.reltuples > :members / 10 ORDER BY pg_total_relation_size(c.oid) DESC;
SQL
