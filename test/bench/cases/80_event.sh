# Events: an order with an event that one consumer wants, against the same order
# that nobody wants to hear of, and against the outbox that one writes by hand;
# earn() with points_changed subscribed to; polls of 1,000 against the SELECT by key
# that loses what commits late, and against a horizon of transactions, which does not;
# four workers that drain; notices against the scan of the instants that they stand on.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
events=$((ENTRIES / 10))
psql -Xq -v ON_ERROR_STOP=1 -v members="$MEMBERS" -v events="$events" -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	CREATE TABLE event_order (order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, member_id bigint NOT NULL, amount numeric NOT NULL, body jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now());
	CREATE TABLE outbox (xid xid8 NOT NULL DEFAULT pg_current_xact_id(), id bigint GENERATED ALWAYS AS IDENTITY, kind text NOT NULL, payload jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (xid, id));
	CREATE FUNCTION place_order(member_id bigint, kind text) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		placed bigint;
	BEGIN
		INSERT INTO event_order AS o (member_id, amount, body) VALUES ($1, 12.5, jsonb_build_object('lines', jsonb_build_array(jsonb_build_object('sku', 'tea', 'amount', 12.5)))) RETURNING o.order_id INTO placed;
		IF loyalty.is_heard($2) THEN
			PERFORM loyalty.happen($2, $1, now(), jsonb_build_object('version', 1, 'order_id', placed, 'amount', 12.5));
		END IF;
		RETURN placed;
	END $$;
	CREATE FUNCTION place_order_by_hand(member_id bigint) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		placed bigint;
	BEGIN
		INSERT INTO event_order AS o (member_id, amount, body) VALUES ($1, 12.5, jsonb_build_object('lines', jsonb_build_array(jsonb_build_object('sku', 'tea', 'amount', 12.5)))) RETURNING o.order_id INTO placed;
		INSERT INTO outbox (kind, payload) VALUES ('order', jsonb_build_object('order_id', placed, 'member_id', $1, 'amount', 12.5));
		RETURN placed;
	END $$;
	SELECT loyalty.subscribe('bench', '{member_created}');
SQL
printf '%s\n' '\set member random(1, :members)' "SELECT place_order(:member, 'member_created');" >"$dir/heard.sql"
printf '%s\n' '\set member random(1, :members)' "SELECT place_order(:member, 'member_forgotten');" >"$dir/unheard.sql"
printf '%s\n' '\set member random(1, :members)' 'SELECT place_order_by_hand(:member);' >"$dir/hand.sql"
printf '%s\n' '\set member random(1, :members)' "SELECT * FROM loyalty.earn(:member, 5, idempotency_key => gen_random_uuid()::text);" >"$dir/earn.sql"
measure() { paired --rounds "$ROUNDS" --set members="$MEMBERS" --pgbench '-c 8 -j 2 -T 10 -M prepared' "$@"; }
for sync in off on; do
	psql -Xq -c "ALTER SYSTEM SET synchronous_commit = $sync" -c 'SELECT pg_reload_conf()' -o /dev/null
	measure --what "order with an event, synchronous_commit $sync" --rival 'the order alone' --target '>= 0.69' "$dir/heard.sql" "$dir/unheard.sql"
	measure --what "order with an event, synchronous_commit $sync" --rival 'an outbox by hand' "$dir/heard.sql" "$dir/hand.sql"
done
psql -Xq -c 'ALTER SYSTEM SET synchronous_commit = off' -c 'SELECT pg_reload_conf()' -o /dev/null

# subscribed or not before each side of each round
printf '%s\n' "SELECT loyalty.subscribe('points', '{points_changed}') \\g /dev/null" >"$dir/on.sql"
printf '%s\n' "SELECT loyalty.unsubscribe(consumer) FROM loyalty.event_consumer WHERE consumer = 'points' \\g /dev/null" >"$dir/off.sql"
measure --what 'earn() with points_changed subscribed to' --rival 'nobody subscribed' --target '>= 0.95' --before "$dir/on.sql" --rival-before "$dir/off.sql" "$dir/earn.sql" "$dir/earn.sql"

psql -Xq -v ON_ERROR_STOP=1 -v events="$events" -v members="$MEMBERS" -o /dev/null <<-'SQL'
	SELECT loyalty.unsubscribe('bench');
	DELETE FROM loyalty.event;
	TRUNCATE outbox;
	SELECT loyalty.subscribe('bench', '{member_created}');
	INSERT INTO loyalty.event SELECT 1 + i % :members, nextval('loyalty.ledger_entry_id_seq'), 'member_created', now(), now(),
		jsonb_build_object('version', 1, 'order_id', i, 'amount', 12.5) FROM generate_series(1, :events) i;
	INSERT INTO outbox (kind, payload) SELECT 'order', jsonb_build_object('order_id', i, 'member_id', 1 + i % :members, 'amount', 12.5) FROM generate_series(1, :events) i;
	CREATE TABLE cursor_ (consumer text PRIMARY KEY, xid xid8 NOT NULL DEFAULT '0', id bigint NOT NULL DEFAULT 0);
	INSERT INTO cursor_ VALUES ('crm');
	CREATE FUNCTION poll(c text, n int) RETURNS SETOF outbox LANGUAGE sql AS $$
		SELECT o.* FROM (SELECT xid, id FROM cursor_ WHERE consumer = c FOR UPDATE SKIP LOCKED) k,
			LATERAL (SELECT * FROM outbox o WHERE (o.xid, o.id) > (k.xid, k.id) AND o.xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY o.xid, o.id LIMIT n) o $$;
	VACUUM ANALYZE loyalty.event, outbox;
SQL
# rows are sent, and thrown away
repeat() { printf '\\timing on\n'; for _ in $(seq 100); do printf '%s \\g /dev/null\n' "$1"; done; }
repeat "SELECT * FROM loyalty.poll_events('bench', 1000)" >"$dir/poll.sql"
repeat "SELECT * FROM loyalty.event WHERE event_id > (SELECT done_to FROM loyalty.event_position WHERE consumer = 'bench') ORDER BY event_id LIMIT 1000" >"$dir/select.sql"
repeat "SELECT * FROM poll('crm', 1000)" >"$dir/horizon.sql"
paired --what '100 polls of 1,000 events' --rival 'SELECT by key' --target '<= 1.3' --rounds "$ROUNDS" "$dir/poll.sql" "$dir/select.sql"
paired --what '100 polls of 1,000 events' --rival 'a horizon of transactions' --rounds "$ROUNDS" "$dir/poll.sql" "$dir/horizon.sql"
count() { sed "s/SELECT \* FROM \(.*\) \\\\g/SELECT count(payload) FROM (SELECT * FROM \1) x \\\\g/" "$1"; }
count "$dir/poll.sql" >"$dir/poll_count.sql"
count "$dir/select.sql" >"$dir/select_count.sql"
paired --what '100 polls of 1,000 events, counted on the server' --rival 'SELECT by key' --rounds "$ROUNDS" "$dir/poll_count.sql" "$dir/select_count.sql"

# four workers, each event into a table
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null <<-SQL
	SELECT loyalty.unsubscribe('bench');
	SELECT loyalty.subscribe('bench', '{member_created}', 4, 0);
	CREATE TABLE drained (event_id bigint);
	CREATE PROCEDURE drain(slot integer) LANGUAGE plpgsql AS \$\$
	BEGIN
		LOOP
			INSERT INTO drained SELECT event_id FROM loyalty.consume_events('bench', 1000, slot);
			EXIT WHEN NOT FOUND;
			COMMIT;
		END LOOP;
	END \$\$;
SQL
began=$(date +%s.%N)
for slot in 0 1 2 3; do psql -Xq -v ON_ERROR_STOP=1 -c "CALL drain($slot)" & done
wait
took=$(echo "$(date +%s.%N) - $began" | bc)
[ "$(psql -XAtq -c 'SELECT count(DISTINCT event_id) FROM drained')" -eq "$events" ]
paired --what "consume_events(), 4 workers, $events events" --value "$(echo "$events / $took / 1000" | bc -l)" --unit 'thousand a second' --target '>= 20'

printf '\\timing on\n%s\n' 'SELECT count(*) FROM loyalty.due_notices();' >"$dir/due.sql"
printf '\\timing on\n%s\n' "SELECT count(*) FROM loyalty.wallet WHERE loyalty.next_expiry_at(balance, greatest(now(), loyalty.last_effective_at(balance))) <= now() + interval '30 days';" >"$dir/scan.sql"
psql -Xq -c "SELECT loyalty.define_notice('bench_expiring', 'points_expiring', '30 days')" -c 'VACUUM ANALYZE loyalty.wallet' -o /dev/null
paired --what "due_notices() of points that expire, all wallets" --rival 'scan of the next instants' --target '<= 1.2' --rounds "$ROUNDS" "$dir/due.sql" "$dir/scan.sql"
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -c "SELECT loyalty.unsubscribe('bench')" -c "SELECT loyalty.drop_notice('bench_expiring')" -c 'DROP TABLE event_order, outbox, cursor_, drained CASCADE'
