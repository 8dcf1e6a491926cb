# Tables in 8 partitions by hash of the member: a program that is partitioned
# before it begins, one that is partitioned in the middle of its life, and one in
# one piece are told the same, and give the same answers and rows.  The life is
# the examples of pages of doc/, and every kind of posting, job and proof beside.
# Then what partition_tables() keeps, what it refuses, who may write, partitions
# that come later, dumps, and sessions that are posting meanwhile.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = $ENV{LOYALTY_TOP} || '.';
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', "autovacuum = off\ntimezone = 'UTC'\nmax_locks_per_transaction = 256");
$node->start;
my $partition = 'SELECT * FROM loyalty.partition_tables(8) \g /dev/null';

sub sql
{
	my ($database, $text) = @_;
	return $node->safe_psql($database, $text);
}

# What psql prints, errors included.
sub told
{
	my ($database, $text) = @_;
	my $output = '';
	IPC::Run::run([ 'psql', '-XqA', '-d', $node->connstr($database) ], '<', \$text, '>&', \$output);
	return told_alike($output);
}

# What differs between two runs: the clock, hashes, and what is drawn at random.
sub told_alike
{
	my ($text) = @_;
	$text =~ s/\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\.\d+(?:[+-]\d\d(?::\d\d)?)?/NOW/g;
	$text =~ s/(?:\\+x(?:[0-9a-f]{64}|[0-9a-f]{32})|\b[0-9a-f]{64})\b/HASH/g;
	$text =~ s/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/UUID/g;
	$text =~ s/\b(?:[A-Z0-9]{4}-){2}[A-Z0-9]{4}\b/CODE/g;
	$text =~ s/^(NOW\|\w+\|)\d+\.\d{6}\b/$1SECONDS/gm;
	return $text;
}

# All rows of all tables, those of partitions under the name of the whole: a line
# each, but for what tiers keep of transactions and of the clock.
sub contents
{
	my ($database) = @_;
	my $rows = told($database, <<'SQL');
\pset format unaligned
\pset tuples_only on
SELECT format('SELECT %L || (to_jsonb(t) - ''{replayed_in,machine}''::text[]) FROM %s t', c.relname || ' ', c.oid::regclass)
FROM pg_class c WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
	AND c.relname NOT IN ('layout', 'program_object', 'consent_secret', 'coupon_code', 'draw_seed') ORDER BY c.relname \gexec
SQL
	return join "\n", sort split /\n/, $rows;
}

# Compares long texts; shows the first lines that differ.
sub same
{
	my ($got, $expected, $name) = @_;
	return if ok($got eq $expected, $name);
	my (%got, %expected);
	$got{$_}++ for split /\n/, $got;
	$expected{$_}++ for split /\n/, $expected;
	diag("got only:      $_") for grep { defined } (grep { ($got{$_} // 0) != ($expected{$_} // 0) } sort keys %got)[0 .. 5];
	diag("expected only: $_") for grep { defined } (grep { ($got{$_} // 0) != ($expected{$_} // 0) } sort keys %expected)[0 .. 5];
}

# Rows that are not where a statement looks for them.
sub misplaced
{
	my ($database) = @_;
	return join ' ', grep { !/ 0\z/ } split /\n/, told($database, <<'SQL');
\pset tuples_only on
SELECT format('SELECT %L || count(*) FROM %s WHERE NOT (%s)', c.relname || ' ', c.oid::regclass, pg_get_partition_constraintdef(c.oid))
FROM pg_class c WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'r' AND c.relispartition \gexec
SQL
}

# What a page of doc/ has one type.
sub input_of
{
	my ($page) = @_;
	my ($kind, $text);
	open my $file, '<', "$top/doc/$page.md" or die "cannot read $page: $!";
	while (my $line = <$file>)
	{
		if ($line =~ /^```(.*?)\s*$/) { $kind = defined $kind ? undef : $1 }
		elsif (($kind // '') eq 'sql') { $text .= $line }
		elsif (($kind // '') eq 'psql' && $line =~ /^loyalty[=(*'"\$!^-][#>] ?(.*)/) { $text .= "$1\n" }
	}
	return $text;
}

# Databases to begin with
sql('postgres', $_) for 'CREATE DATABASE whole', 'CREATE DATABASE parts';
sql($_, q{SET client_min_messages = warning; CREATE EXTENSION loyalty CASCADE; SELECT loyalty.setup(); SELECT loyalty.configure_program(time_zone => 'Europe/London')})
	for qw(whole parts);
is(sql('parts', 'SELECT count(*), min(parts), max(parts), sum(moved) FROM loyalty.partition_tables()'), '23|8|8|0', 'the tables that grow are in 8 partitions each');

my @pages = $ENV{LOYALTY_SOAK} ? map { m{([^/]+)\.md$} } glob "$top/doc/*.md" : qw(campaigns coupons engagement members tutorial);
for my $page (@pages)
{
	my $input = eval { input_of($page) } or next;
	my %told;
	for my $kind (qw(whole parts))
	{
		sql('postgres', "CREATE DATABASE page_$kind TEMPLATE $kind");
		$told{$kind} = told("page_$kind", "SET search_path = public, loyalty;\n$input\nRESET SESSION AUTHORIZATION;\nSELECT * FROM loyalty.check_all() ORDER BY 1, 2, 3, 4, 5, 6;");
		# roles are of all databases: the other one makes them, too
		for my $role (grep { $_ ne '' } split /\n/, sql("page_$kind", "SELECT rolname FROM pg_roles WHERE oid > 16383 AND rolname <> current_user"))
		{
			sql("page_$kind", qq{REASSIGN OWNED BY "$role" TO CURRENT_USER; DROP OWNED BY "$role"; DROP ROLE "$role"});
		}
	}
	cmp_ok(length $told{whole}, '>', 100, "$page.md tells something");
	same($told{parts}, $told{whole}, "$page.md: the same answers");
	same(contents('page_parts'), contents('page_whole'), "$page.md: the same rows");
	is(misplaced('page_parts'), '', "$page.md: each row is in its partition");
	sql('postgres', $_) for 'DROP DATABASE page_whole', 'DROP DATABASE page_parts';
}
# Every kind of posting, and what goes over all members; members 1 to 24 are in all
# 8 partitions.
my @life = (<<'FIRST', <<'SECOND');
SET search_path = public, loyalty;
SELECT create_currency('stars', expiry_policy => 'rolling', expiry_interval => '6 months', clawback_policy => 'allow_debt'),
	define_measure('stars', 'points', 'stars'),
	define_measure('spend'), define_ladder('club', '{"measures": [{"measure": "stars", "window": "rolling", "interval": "12 months"}, {"measure": "spend"}], "validity": "interval", "validity_interval": "12 months",
		"at_end": "soft_landing", "levels": [{"level": "blue"}, {"level": "gold", "all": {"stars": 150}}, {"level": "black", "any": {"stars": 400, "spend": 100}}]}', '2024-01-01 00:00Z'),
	define_benefit('tea_5', '{"kind": "coupon", "discount": {"amount": 5}, "minimum": 20, "valid": "30 days"}'),
	define_benefit('tasting', '{"kind": "entitlement", "quota": {"club": {"gold": 2, "black": 4}}, "period": "year"}'),
	define_benefit('mug', '{"kind": "reward", "points": 50}'),
	define_label('tea_lover'), define_draw('spring', '{"prizes": [{"prize": "none", "weight": 7}, {"prize": "10 points", "weight": 3, "points": 10}]}', '00112233445566778899aabbccddeeff'),
	define_board('month', '{"kind": "order", "measure": "amount", "period": "month"}', '2024-01-01 00:00Z'),
	define_streak('days', '{"kind": "order"}', '2024-01-01 00:00Z'),
	define_audience('tea_ones', 'tea_lover & {"count": {"kind": "order", ">=": 2}}', '2024-01-01 00:00Z');
SELECT define_campaign(c, d::jsonb, '2024-01-01 00:00Z') FROM (VALUES
	('base', '{"then": [{"points": {"give": 1, "per": 1}}, {"points": {"give": 1, "per": 1}, "currency": "stars"}]}'),
	('weekend', '{"lane": "bonus", "when": {"weekday": [6, 7]}, "limits": {"member": {"points": 100, "within": "month"}}, "then": [{"multiply": 2, "lane": "base"}]}'),
	('welcome', '{"when": {"all": [{"amount": {">=": 50}}, {"count": {"kind": "order", "within": "lifetime", "=": 0}}]}, "then": [{"coupon": "tea_5"}, {"label": "tea_lover"}]}')) c (c, d);
SELECT r.outcome, r.member_id FROM generate_series(1, 49) i, resolve_member(jsonb_build_object('email', format('m%s@example.com', i)), effective_at => timestamptz '2024-01-01Z' + i * interval '1 day') r;
SELECT e.* FROM generate_series(1, 24) i, earn(i, 100 + i, effective_at => timestamptz '2024-01-02Z' + i * interval '1 hour', expires_at => CASE WHEN i % 3 = 0 THEN timestamptz '2024-09-01Z' END,
	available_at => CASE WHEN i % 5 = 0 THEN timestamptz '2024-02-01Z' END, reference => 'first', idempotency_key => 'k1') e;
SELECT e.* FROM generate_series(1, 24) i, earn(i, 100 + i, effective_at => timestamptz '2024-01-02Z' + i * interval '1 hour', expires_at => CASE WHEN i % 3 = 0 THEN timestamptz '2024-09-01Z' END,
	available_at => CASE WHEN i % 5 = 0 THEN timestamptz '2024-02-01Z' END, reference => 'first', idempotency_key => 'k1') e;
SELECT e.* FROM generate_series(1, 24) i, earn(i, 9 + 20 * i, 'stars', effective_at => timestamptz '2024-01-03Z' + i * interval '1 hour', pending => i % 7 = 0) e;
SELECT e.* FROM generate_series(1, 24) i, redeem(i, 30, effective_at => '2024-03-01Z', details => '{"shop": "A"}') e;
SELECT e.* FROM generate_series(1, 24) i, hold(i, 10, hold_until => '2024-03-03Z', effective_at => '2024-03-02Z', reference => 'held') e;
CREATE FUNCTION entries(of text, of_currency text DEFAULT 'points') RETURNS TABLE (member_id bigint, entry_id bigint) LANGUAGE sql AS
	$$ SELECT l.member_id, l.entry_id FROM loyalty.ledger l WHERE (l.kind = of OR l.reference = of) AND l.currency = of_currency ORDER BY l.member_id, l.entry_id $$;
SELECT e.* FROM entries('held') l, capture(l.member_id, l.entry_id, 5, effective_at => '2024-03-02 01:00Z') e WHERE l.member_id % 3 = 0;
SELECT e.* FROM entries('held') l, release(l.member_id, l.entry_id, effective_at => '2024-03-02 02:00Z') e WHERE l.member_id % 3 = 1;
SELECT e.* FROM entries('redeem') l, reverse(l.member_id, l.entry_id, 12, effective_at => '2024-03-04Z') e WHERE l.member_id % 2 = 0;
SELECT e.* FROM entries('earn', 'stars') l, activate(l.member_id, l.entry_id, effective_at => '2024-03-05Z') e WHERE l.member_id % 7 = 0;
SELECT e.* FROM generate_series(1, 23) i, transfer(i, i + 1, 7, effective_at => '2024-03-06Z') e;
SELECT e.* FROM generate_series(1, 24, 3) i, adjust(i, CASE WHEN i % 2 = 0 THEN 11 ELSE -11 END, 'found', effective_at => '2024-03-07Z') e;
SELECT redeem(3, 100000);
SELECT p.* FROM (SELECT array_agg(1 + i % 24 ORDER BY i) AS m, array_agg(CASE i % 3 WHEN 0 THEN 'redeem' ELSE 'earn' END ORDER BY i) AS k, array_agg(1 + i % 4 ORDER BY i) AS n FROM generate_series(1, 100) i) b,
	post_many(b.m, b.k, b.n) p;
SELECT e.* FROM generate_series(7, 12) i, earn(i, 70, effective_at => '2024-03-08Z') e;
CREATE VIEW past AS SELECT 30 + i % 20 AS member_id, 1 + i AS points, timestamptz '2023-01-01Z' + i * interval '1 day' AS effective_at FROM generate_series(1, 200) i;
SELECT entries, wallets FROM backfill('past');
SELECT r.points, r.discount FROM generate_series(1, 60) i, record_activity(1 + i % 24, 'order', timestamptz '2024-04-01 10:00Z' + i * interval '11 hours',
	lines => jsonb_build_array(jsonb_build_object('sku', 'TEA', 'category', 'tea', 'amount', 10 + i), jsonb_build_object('sku', 'CUP', 'amount', 50.5)), external_id => 'o' || i, idempotency_key => 'a' || i) r;
CREATE VIEW bought AS SELECT a.* FROM loyalty.activity a WHERE a.kind = 'order' ORDER BY a.activity_id OFFSET 0;
SELECT r.* FROM bought a, record_return(a.member_id, a.activity_id, '[{"line": 2}]', at => '2024-06-01Z') r WHERE a.activity_id % 4 = 0;
SELECT r.revision, r.points FROM bought a, revise_activity(a.member_id, a.activity_id, cancelled => true) r WHERE a.activity_id % 9 = 0;
SELECT * FROM merge_members(5, 6);
SELECT * FROM merge_members(5, 13);
SELECT available FROM earn(6, 60, 'stars', effective_at => '2024-06-02Z');
SELECT define_campaign('gift', '{"on": ["tier_changed"], "when": {"reached": {"club": ["black"]}}, "then": [{"points": 50}]}', '2024-06-02 00:00Z');
SELECT r.points FROM record_activity(7, 'order', '2024-06-02 10:00Z', 5) r;
SELECT r.points FROM record_activity(8, 'order', '2024-06-02 11:00Z', 2000, external_id => 'big') r;
SELECT merge_id IS NOT NULL FROM merge_members(7, 8);
SELECT r.points FROM bought a, record_return(a.member_id, a.activity_id, at => '2024-06-03Z') r WHERE a.external_id = 'big';
SELECT member_id FROM unmerge_members((SELECT max(merge_id) FROM member_merge));
SELECT * FROM forget_member(22, 'asked for it');
SELECT q.* FROM generate_series(1, 24, 5) i, record_qualification(i, 'spend', 10 * i, '2024-03-09Z', reference => 'bill') q;
SELECT define_trial('spring', '{"shares": [0.5, 0.5]}', '2024-06-01Z', '2024-07-01Z');
SELECT e.arm FROM generate_series(1, 21) i, expose(i, 'spring', 'e_mail', '2024-06-03Z') e WHERE i NOT IN (6, 13) AND trial_arm(i, 'spring') > 0;
SELECT entry_id IS NOT NULL, points_taken FROM generate_series(7, 12) i, order_reward(i, 'mug', at => '2024-06-03Z');
SELECT u.use_id, u.remaining FROM generate_series(18, 21) i, use_entitlement(i, 'tasting', at => '2024-05-03Z') u;
SELECT s.spins_left FROM generate_series(1, 12) i, grant_spin(i, 'spring', at => '2024-06-04Z') s;
SELECT d.* FROM generate_series(1, 12) i, draw(i, 'spring', at => '2024-06-05Z') d;
SELECT queue_earn(i, i, effective_at => '2024-06-05Z', idempotency_key => 'q') FROM generate_series(7, 12) i;
SELECT * FROM post_queued_earns();
CALL book_expiries('2024-07-01Z');
CALL book_tiers('2024-07-01Z');
CALL refresh_audience('tea_ones', '2024-07-01Z');
FIRST
SET search_path = public, loyalty;
SELECT * FROM unmerge_members((SELECT min(merge_id) FROM member_merge));
SELECT e.* FROM generate_series(1, 21) i, earn(i, 5, effective_at => '2024-07-02Z', idempotency_key => 'k2') e;
SELECT earn(1, 5, effective_at => '2024-07-02Z', idempotency_key => 'k1');
SELECT e.* FROM entries('first') l, reverse(l.member_id, l.entry_id, 3, effective_at => '2024-07-03Z') e WHERE l.member_id < 5;
SELECT r.points FROM generate_series(61, 90) i, record_activity(1 + i % 21, 'order', timestamptz '2024-07-04 10:00Z' + i * interval '11 hours', 30.25 + i, external_id => 'o' || i) r;
SELECT r.points FROM bought a, record_return(a.member_id, a.activity_id, amount => 5, at => '2024-09-01Z') r WHERE a.activity_id % 5 = 0 AND NOT a.cancelled AND a.lines IS NULL;
SELECT * FROM merge_members(1, 2);
CALL book_expiries('2024-12-01Z');
CALL book_tiers('2025-06-01Z');
CALL evaluate_tiers();
CALL archive_entries(clock_timestamp());
SELECT count(*) FROM ledger_archive;
SELECT b.* FROM generate_series(1, 24) i, unnest('{points,stars}'::text[]) c, balance(i, c, as_of => '2025-01-01Z') b;
SELECT s.entry_id, s.kind, s.points, s.available FROM generate_series(1, 24) i, statement(i) s;
SELECT i, tier_of(i, 'club', '2024-08-01Z') FROM generate_series(1, 21) i;
SELECT t.* FROM generate_series(1, 21) i, member_tiers(i, 'club') t;
SELECT a.campaign, a.effect, a.points FROM generate_series(1, 21) i, awards(i) a ORDER BY i, a.activity_id, a.campaign, a.effect;
SELECT c.benefit, c.state, c.valid_until FROM generate_series(1, 21) i, coupons(i, '2024-08-01Z') c;
SELECT x.key, x.value FROM generate_series(1, 21) i, LATERAL jsonb_each(export_member(i) -> 'tables') x WHERE x.key IN ('ledger_archive', 'tier_history', 'award_counter', 'board_score', 'engagement_state');
SELECT * FROM liability('points', '2024-08-01Z');
CALL refresh_summaries();
SELECT * FROM loyalty_bi.points_by_day ORDER BY 1, 2, 3;
SELECT count(*), sum(points) FROM loyalty_bi.movement;
SELECT * FROM loyalty_bi.member_level ORDER BY 1, 2;
CALL rebuild_wallets();
CALL run_checks();
SELECT count(*) FROM check_finding;
SELECT intact, detail FROM verify_ledger(ledger_digest());
SECOND
sql('postgres', $_) for 'CREATE DATABASE life_whole TEMPLATE whole', 'CREATE DATABASE life_parts TEMPLATE parts';
my %told = map { $_ => told("life_$_", $life[0]) } qw(whole parts);
same($told{parts}, $told{whole}, 'a life: the same answers');
same(contents('life_parts'), contents('life_whole'), 'the same rows');

# A program that has lived for a while in one piece
sql('postgres', 'CREATE DATABASE life_later TEMPLATE life_whole');
my $digest = sql('life_later', 'SELECT loyalty.ledger_digest()');
my $rows = contents('life_later');
my %moved = map { split /\|/ } split /\n/, sql('life_later', 'SELECT table_name, moved FROM loyalty.partition_tables(8)');
is($moved{$_}, sql('life_whole', "SELECT count(*) FROM loyalty.$_"), "$_: $moved{$_} rows were moved") for sort keys %moved;
same(contents('life_later'), $rows, 'and all are there');
is(sql('life_later', "SELECT intact FROM loyalty.verify_ledger('$digest')"), 't', 'the ledger is what it was before');
%told = map { $_ => told("life_$_", $life[1]) } qw(whole parts later);
for my $kind (qw(parts later))
{
	same($told{$kind}, $told{whole}, "$kind: the same answers for the rest of the life");
	same(contents("life_$kind"), contents('life_whole'), "$kind: the same rows");
	is(misplaced("life_$kind"), '', "$kind: each row is in its partition");
	is(sql("life_$kind", 'SELECT * FROM loyalty.check_all()'), '', "$kind: check_all() finds nothing");
}

# Nobody writes into a partition: those with a guard refuse all, the others who
# is not the owner, whatever was granted.
my $writes = <<'SQL';
CREATE FUNCTION pg_temp.refused(with_state text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	t record;
	statement text;
BEGIN
	FOR t IN SELECT p.relid::regclass AS relation, quote_ident(a.attname) AS member, quote_ident(b.attname) AS other
		FROM pg_class c JOIN pg_partition_tree(c.oid) p ON p.relid <> c.oid
		JOIN pg_attribute a ON a.attrelid = p.relid AND a.attnum = 1 JOIN pg_attribute b ON b.attrelid = p.relid AND b.attnum = 2
		WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'p' AND (with_state = '42501'
			OR EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgfoid = 'loyalty.guard'::regproc))
	LOOP
		FOREACH statement IN ARRAY ARRAY[format('UPDATE %s SET %s = %2$s', t.relation, t.other), format('DELETE FROM %s', t.relation), format('TRUNCATE %s', t.relation),
			format('INSERT INTO %s DEFAULT VALUES', t.relation), format('UPDATE %s SET %s = -1', t.relation, t.member)] LOOP
			BEGIN
				EXECUTE statement;
				RETURN NEXT 'done: ' || statement;
			EXCEPTION WHEN OTHERS THEN
				RETURN NEXT CASE WHEN SQLSTATE IN (with_state, 'LY005') THEN 'refused' ELSE concat(SQLSTATE, ' ', SQLERRM, ': ', statement) END;
			END;
		END LOOP;
	END LOOP;
END $$;
SQL
is(sql('life_later', "$writes SELECT r, count(*) >= 5 * 8 * 3 FROM pg_temp.refused('LY005') r GROUP BY r"), 'refused|t', 'guards are on every partition');
is(sql('life_later', "$writes CREATE ROLE guest; GRANT USAGE ON SCHEMA loyalty TO guest; GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA loyalty TO guest;
	SET ROLE guest; SELECT r, count(*) FROM pg_temp.refused('42501') r GROUP BY r"), 'refused|' . 5 * 8 * 23, 'and only the owner writes there, whatever was granted');
sql('life_later', 'DROP OWNED BY guest; DROP ROLE guest');

# Partitions of somebody's own: made without guards, attached, split
sql('life_later', $_) for 'ALTER TABLE loyalty.wallet DETACH PARTITION loyalty.wallet_p3', 'ALTER TABLE loyalty.tier_history DETACH PARTITION loyalty.tier_history_p5',
	'CREATE TABLE loyalty.wallet_new (LIKE loyalty.wallet INCLUDING ALL)', 'ALTER TABLE loyalty.wallet_p3 DISABLE TRIGGER USER', 'INSERT INTO loyalty.wallet_new SELECT * FROM loyalty.wallet_p3',
	'ALTER TABLE loyalty.wallet ATTACH PARTITION loyalty.wallet_new FOR VALUES WITH (MODULUS 8, REMAINDER 3)',
	'CREATE TABLE loyalty.history_a PARTITION OF loyalty.tier_history FOR VALUES WITH (MODULUS 16, REMAINDER 5)', 'CREATE TABLE loyalty.history_b PARTITION OF loyalty.tier_history FOR VALUES WITH (MODULUS 16, REMAINDER 13)',
	'INSERT INTO loyalty.tier_history (member_id, ladder, starts_at, ends_at, level, event, reason, valid_until, recorded_at) SELECT member_id, ladder, starts_at, ends_at, level, event, reason, valid_until, recorded_at FROM loyalty.tier_history_p5',
	'DROP TABLE loyalty.wallet_p3, loyalty.tier_history_p5';
my $found = sql('life_later', 'SELECT detail FROM loyalty.check_all() ORDER BY 1');
is($found, join("\n", map({ qq{constraint "tier_history_no_overlap" of table loyalty.history_$_ is missing; loyalty.setup() puts it right} } qw(a b)),
		map({ qq{trigger "$_->[1]" of table loyalty.$_->[0] is missing; loyalty.setup() puts it back} } [ wallet_new => 'guard' ], [ history_a => 'owner_only' ], [ history_b => 'owner_only' ])),
	'check_all() names partitions that lack something');
like(sql('life_later', 'SELECT loyalty.setup()'), qr/set up/, 'setup()');
is(sql('life_later', 'SELECT * FROM loyalty.check_all()'), '', 'puts it there');
same(contents('life_later'), contents('life_whole'), 'and nothing else was changed');
is(sql('life_later', q{SELECT string_agg(parts::text, ',' ORDER BY table_name) FROM loyalty.partition_tables(64, '{tier_history,wallet}')}), '9,8', 'what is partitioned stays as it is');

# Everything that a table may have
sql('postgres', 'CREATE DATABASE kept TEMPLATE life_whole');
sql('kept', <<'SQL');
CREATE ROLE analyst;
CREATE ROLE clerk;
SELECT loyalty.grant_access('analyst', 'reader'), loyalty.grant_access('clerk', 'clerk');
ALTER TABLE loyalty.ledger ADD COLUMN shop integer DEFAULT 7, ADD COLUMN cents bigint GENERATED ALWAYS AS (points * 100) STORED, ADD COLUMN mark serial;
ALTER TABLE loyalty.ledger_archive ADD COLUMN shop integer DEFAULT 7, ADD COLUMN cents bigint GENERATED ALWAYS AS (points * 100) STORED, ADD COLUMN mark integer;
COMMENT ON COLUMN loyalty.ledger.shop IS 'Ours.';
CREATE INDEX ours ON loyalty.ledger (shop, member_id) WITH (fillfactor = 60) WHERE shop > 3;
COMMENT ON INDEX loyalty.ours IS 'Our index.';
CREATE UNIQUE INDEX once ON loyalty.ledger (member_id, mark);
ALTER TABLE loyalty.ledger ADD CONSTRAINT shops CHECK (shop < 100);
COMMENT ON CONSTRAINT shops ON loyalty.ledger IS 'Few.';
COMMENT ON CONSTRAINT ledger_pkey ON loyalty.ledger IS 'Key.';
CREATE TABLE public.shop AS SELECT generate_series(1, 100) AS shop;
ALTER TABLE public.shop ADD PRIMARY KEY (shop);
ALTER TABLE loyalty.ledger ADD CONSTRAINT of_shop FOREIGN KEY (shop) REFERENCES public.shop ON DELETE RESTRICT;
CREATE STATISTICS loyalty.together (dependencies) ON currency, kind FROM loyalty.ledger;
ALTER TABLE loyalty.ledger ALTER COLUMN currency SET STATISTICS 321, ALTER COLUMN reason SET (n_distinct = 17), ALTER COLUMN details SET STORAGE EXTERNAL;
ALTER TABLE loyalty.wallet SET (fillfactor = 55, autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_enabled = off);
CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER told AFTER INSERT ON loyalty.ledger FOR EACH ROW EXECUTE FUNCTION public.tell();
COMMENT ON TRIGGER told ON loyalty.ledger IS 'Told.';
CREATE TRIGGER silent BEFORE UPDATE ON loyalty.wallet FOR EACH STATEMENT EXECUTE FUNCTION public.tell();
ALTER TABLE loyalty.wallet DISABLE TRIGGER silent;
CREATE RULE noted AS ON UPDATE TO loyalty.tier_event DO ALSO NOTIFY noted;
ALTER TABLE loyalty.tier_event DISABLE RULE noted;
ALTER TABLE loyalty.ledger ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_shop ON loyalty.ledger FOR SELECT TO analyst, clerk USING (shop = 7);
CREATE POLICY no_more ON loyalty.ledger AS RESTRICTIVE USING (shop > 0) WITH CHECK (shop > 1);
COMMENT ON POLICY own_shop ON loyalty.ledger IS 'Own.';
GRANT SELECT ON loyalty.coupon TO PUBLIC;
GRANT SELECT (member_id), REFERENCES (member_id) ON loyalty.activity TO clerk WITH GRANT OPTION;
GRANT USAGE ON SEQUENCE loyalty.coupon_coupon_id_seq TO clerk;
ALTER SEQUENCE loyalty.coupon_coupon_id_seq INCREMENT BY 5 CACHE 3;
COMMENT ON SEQUENCE loyalty.coupon_coupon_id_seq IS 'Numbers.';
ALTER TABLE loyalty.ledger REPLICA IDENTITY USING INDEX once;
ALTER TABLE loyalty.award REPLICA IDENTITY FULL;
CREATE PUBLICATION feed FOR TABLE loyalty.ledger, loyalty.wallet WITH (publish_via_partition_root = true);
ALTER DEFAULT PRIVILEGES IN SCHEMA loyalty GRANT SELECT ON TABLES TO PUBLIC;
CREATE VIEW public.totals WITH (security_barrier = true) AS SELECT l.member_id, w.currency AS of, count(*) AS n, w.opened_at FROM loyalty.ledger l JOIN loyalty.wallet w USING (member_id) GROUP BY l.member_id, w.member_id, w.currency;
COMMENT ON VIEW public.totals IS 'Totals.';
GRANT SELECT ON public.totals TO analyst;
CREATE VIEW public.of_totals AS SELECT sum(n) FROM public.totals;
SQL
my $shape = <<'SQL';
SELECT 'column', a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, a.attcompression, a.attstattarget,
	(SELECT array_agg(o) FROM unnest(a.attoptions) o WHERE o !~ 'attver'), a.attacl,
	a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace IN ('loyalty'::regnamespace, 'public'::regnamespace) AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
UNION ALL
SELECT 'table', c.oid::regclass, NULL, c.relowner::regrole::text, c.relrowsecurity, NULL, NULL, CASE WHEN c.oid = 'loyalty.ledger'::regclass THEN NULL ELSE c.relreplident END, NULL, NULL, NULL, 
	(SELECT array_agg(x ORDER BY x::text) FROM unnest(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) x), NULL, obj_description(c.oid), c.relforcerowsecurity::text
FROM pg_class c WHERE c.relnamespace IN ('loyalty'::regnamespace, 'public'::regnamespace) AND c.relkind IN ('r', 'p', 'v', 'S') AND NOT c.relispartition
UNION ALL
SELECT x.kind, x.relation, x.name, x.definition, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, x.comment, x.more FROM pg_class c, LATERAL (
	SELECT 'constraint', c.oid::regclass, o.conname, pg_get_constraintdef(o.oid), obj_description(o.oid, 'pg_constraint'), '' FROM pg_constraint o WHERE o.conrelid = c.oid AND o.contype <> 'x'
	UNION ALL SELECT 'index', c.oid::regclass, i.relname, replace(pg_get_indexdef(i.oid), ' ON ONLY ', ' ON '), obj_description(i.oid), '' FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = c.oid AND NOT x.indisexclusion
	UNION ALL SELECT 'trigger', c.oid::regclass, g.tgname, pg_get_triggerdef(g.oid), obj_description(g.oid, 'pg_trigger'), g.tgenabled::text FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal
	UNION ALL SELECT 'rule', c.oid::regclass, w.rulename, pg_get_ruledef(w.oid), NULL, w.ev_enabled::text FROM pg_rewrite w WHERE w.ev_class = c.oid
	UNION ALL SELECT 'policy', c.oid::regclass, p.polname, concat_ws(' / ', p.polcmd, p.polpermissive, p.polroles::regrole[], pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid)), obj_description(p.oid, 'pg_policy'), '' FROM pg_policy p WHERE p.polrelid = c.oid
	UNION ALL SELECT 'statistics', c.oid::regclass, s.stxname, pg_get_statisticsobjdef(s.oid), NULL, '' FROM pg_statistic_ext s WHERE s.stxrelid = c.oid
	UNION ALL SELECT 'sequence', c.oid::regclass, NULL, pg_get_serial_sequence(c.oid::regclass::text, a.attname), NULL, (SELECT concat_ws(' ', q.start_value, q.increment_by, q.max_value, q.cache_size, q.last_value) FROM pg_sequences q
		WHERE format('%I.%I', q.schemaname, q.sequencename) = pg_get_serial_sequence(c.oid::regclass::text, a.attname)) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND pg_get_serial_sequence(c.oid::regclass::text, a.attname) IS NOT NULL
	UNION ALL SELECT 'publication', c.oid::regclass, r.pubname, NULL, NULL, '' FROM pg_publication_tables r WHERE r.schemaname = 'loyalty' AND r.tablename = c.relname
) x (kind, relation, name, definition, comment, more)
WHERE c.relnamespace IN ('loyalty'::regnamespace, 'public'::regnamespace) AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
ORDER BY 1, 2, 3, 4
SQL
my $access = q{SELECT role, level FROM loyalty.access ORDER BY 1};
sub shape { return join "\n", sort split /\n/, sql('kept', $shape) }
my %before = (shape => shape(), rows => contents('kept'), totals => sql('kept', 'SELECT * FROM public.totals ORDER BY 1, 2; TABLE public.of_totals'), access => sql('kept', $access));
like($before{shape}, qr/of_shop(?s:.*)own_shop/, 'a table has many things');
sql('kept', q{SELECT pg_create_logical_replication_slot('feed', 'pgoutput')});
is(sql('kept', 'SELECT count(moved) FROM loyalty.partition_tables(8)'), 23, 'and is partitioned');
is(sql('kept', q{SELECT count(*) FROM pg_logical_slot_get_binary_changes('feed', NULL, NULL, 'proto_version', '1', 'publication_names', 'feed') WHERE get_byte(data, 0) = ascii('I')}), 0,
	'subscribers are not sent the rows once more');
same(shape(), $before{shape}, 'it has them all');
same(contents('kept'), $before{rows}, 'and all rows');
is(sql('kept', 'SELECT * FROM public.totals ORDER BY 1, 2; TABLE public.of_totals'), $before{totals}, 'views read it');
is(sql('kept', $access), $before{access}, 'levels are what they were');
is(sql('kept', q{SELECT reloptions FROM pg_class WHERE relname = 'wallet_p7'; SELECT t.reloptions FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.relname = 'wallet_p7';
	SELECT attstattarget FROM pg_attribute WHERE attrelid = 'loyalty.ledger_p2'::regclass AND attname = 'currency'; SELECT o FROM pg_attribute, unnest(attoptions) o WHERE attrelid = 'loyalty.ledger_p2'::regclass AND attname = 'reason' AND o !~ 'attver';
	SELECT relreplident FROM pg_class WHERE relname IN ('ledger_p4', 'award_p4') ORDER BY relname; SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a WHERE c.relname ~ '_p[0-7]$' AND a.grantee <> c.relowner}),
	"{fillfactor=55,autovacuum_vacuum_scale_factor=0.02}\n{autovacuum_enabled=off}\n321\nn_distinct=17\nf\ni\n0", 'partitions have their settings, and nobody else has a right on them');
is(sql('kept', 'SELECT * FROM loyalty.check_all()'), '', 'check_all()');
is(sql('kept', q{SET ROLE clerk; SELECT count(*) FROM loyalty.statement(7)}), sql('life_whole', 'SELECT count(*) FROM loyalty.statement(7)'), 'who may read reads');
is(sql('kept', q{SELECT available IS NOT NULL FROM loyalty.earn(7, 5, idempotency_key => 'kept'); SELECT shop, cents, mark = (SELECT count(*) FROM loyalty.ledger) FROM loyalty.ledger WHERE idempotency_key = 'kept'}), "t\n7|500|t", 'who posts posts');
is(sql('kept', q{SELECT count(*) FROM pg_logical_slot_get_binary_changes('feed', NULL, NULL, 'proto_version', '1', 'publication_names', 'feed') WHERE get_byte(data, 0) = ascii('I')}), 1, 'of which subscribers are told');
sql('kept', q{SELECT pg_drop_replication_slot('feed')});

# What it refuses
sub refusal
{
	my ($database, $call) = @_;
	my ($status, $stdout, $stderr) = $node->psql($database, "\\set VERBOSITY verbose\n$call");
	return $stderr =~ /ERROR:\s+(\w{5}): (.*)\n(?:DETAIL:\s+(.*)\n)?(?:HINT:\s+(.*)\n)?/ ? join(' / ', map { $_ // '' } $1, $2, $3, $4) : 'none';
}
my $no = 'LY003 / table loyalty.wallet cannot be partitioned by member / ';
for my $case (
	[ 'partition_tables(1)', '', 'LY003 / partitions is 1, not 2 to 1024 / It is the number of partitions of each table. / Each posting goes to one partition; 8 to 64 keep each of them small enough to be vacuumed and indexed.' ],
	[ q{partition_tables(8, '{nothing}')}, '', qr{^LY003 / loyalty has no table "nothing" / setup\(\) has made no table of this name. / Those that grow with members and what they do: request, wallet, ledger, } ],
	[ q{partition_tables(8, '{currency}')}, '', 'LY003 / table loyalty.currency cannot be partitioned by member / Its primary key does not begin with a member. / Only tables with the rows of members can be partitioned by them.' ],
	[ q{partition_tables(8, '{identifier}')}, '', qr{^LY003 / table loyalty.identifier cannot be partitioned by member / Its index "identifier_\w+" is unique among all members. /} ],
	[ 'partition_tables(8)', 'CREATE TABLE loyalty.wallet_p7 ()', $no . 'There is a table loyalty.wallet_p7. / Rename it: the partition would have that name.' ],
	[ 'partition_tables(8)', 'CREATE UNIQUE INDEX one ON loyalty.wallet (opened_at)', qr{Its index "one" is unique among all members} ],
	[ 'partition_tables(8)', 'ALTER TABLE loyalty.wallet ADD CONSTRAINT apart EXCLUDE (opened_at WITH =)', qr{Its constraint "apart" excludes rows of other members} ],
	[ 'partition_tables(8)', 'CREATE MATERIALIZED VIEW m AS SELECT * FROM loyalty.wallet', $no . 'Rule _RETURN on materialized view public.m depends on it. / Drop it, and make it again afterwards.' ],
	[ 'partition_tables(8)', 'CREATE VIEW v AS SELECT w FROM loyalty.wallet w', qr{depends on it} ],
	[ 'partition_tables(8)', 'CREATE FUNCTION f(loyalty.wallet) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$', qr{Function public.f\(loyalty.wallet\) depends on it} ],
	[ 'partition_tables(8)', 'CREATE TABLE o (member_id bigint, currency text, FOREIGN KEY (member_id, currency) REFERENCES loyalty.wallet)', qr{Constraint o_member_id_currency_fkey on table public.o depends on it} ],
	[ 'partition_tables(8)', 'CREATE TABLE c () INHERITS (loyalty.wallet)', qr{It is a partition, or inherits, or others inherit from it} ],
	[ 'partition_tables(8)', 'CREATE TRIGGER rows AFTER INSERT ON loyalty.wallet REFERENCING NEW TABLE AS n FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()', qr{Its trigger "rows" sees the rows of a statement} ],
	[ 'partition_tables(8)', 'CREATE PUBLICATION p FOR TABLE loyalty.wallet', $no . 'Publication p names partitions, which the subscriber does not have. / ALTER PUBLICATION p SET (publish_via_partition_root = true);' ],
	[ 'partition_tables(8)', 'CREATE PUBLICATION p FOR ALL TABLES WITH (publish_via_partition_root = true)', qr{Publication p has all tables, and would send the rows once more} ],
	[ 'partition_tables(8)', 'CREATE ROLE own; CREATE VIEW v AS SELECT * FROM loyalty.wallet; GRANT SELECT ON loyalty.wallet TO own; GRANT CREATE ON SCHEMA public TO own; ALTER VIEW v OWNER TO own; SET ROLE own', qr{^42501 / } ])
{
	my ($call, $before, $expected) = @$case;
	my $got = refusal('whole', "BEGIN; $before; SELECT * FROM loyalty.$call; ROLLBACK;");
	ref $expected ? like($got, $expected, "$call: $before") : is($got, $expected, "$call: $before");
}
is(sql('whole', q{SELECT count(*) FROM pg_class WHERE relkind = 'p'}), 0, 'and has done nothing');

# Sessions that read and post meanwhile wait, and go on
sql('postgres', 'CREATE DATABASE busy TEMPLATE life_whole');
sql('busy', 'INSERT INTO loyalty.request (member_id, call, idempotency_key, fingerprint) SELECT 0, \'x\', i::text, \'\' FROM generate_series(1, 20000) i');
my @sessions = map { { in => '', out => '', err => '' } } 1 .. 3;
for my $n (0 .. $#sessions)
{
	my $s = $sessions[$n];
	$s->{run} = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('busy') ], '<', \$s->{in}, '>', \$s->{out}, '2>', \$s->{err});
	$s->{in} = join '', map { "SELECT 'e', available IS NOT NULL FROM loyalty.earn(1 + ($_ * 7 + $n) % 21, 2, idempotency_key => 'b$n.$_'); SELECT 'b', available IS NOT NULL FROM loyalty.balance(1 + $_ % 21);\n" } 1 .. 400;
	$s->{run}->pump_nb;
}
$sessions[0]{run}->pump until $sessions[0]{out} =~ /e\|t/;
my $again = 0;
$again++ while $again < 10 && ($node->psql('busy', 'SELECT * FROM loyalty.partition_tables(8)'))[0] != 0;
cmp_ok($again, '<', 10, 'tables are partitioned while sessions post');
for my $s (@sessions)
{
	$s->{run}->finish;
	is($s->{err}, '', 'nobody was refused');
	is(scalar(() = $s->{out} =~ /^[eb]\|t$/mg), 800, 'all was posted and read');
}
is(sql('busy', 'SELECT * FROM loyalty.check_all()'), '', 'and all is sound');
is(sql('busy', q{SELECT count(*) FROM loyalty.ledger WHERE idempotency_key ~ '^b'}), 1200, 'and nothing was lost');

# Dumps
my $directory = PostgreSQL::Test::Utils::tempdir();
my $contents = contents('life_parts');
sql('postgres', "CREATE DATABASE $_") for qw(dumped schema_first);
command_ok([ 'pg_dump', '-Fc', '-f', "$directory/all", '-d', $node->connstr('life_parts') ], 'pg_dump');
command_ok([ 'pg_restore', '--exit-on-error', '-j2', '-d', $node->connstr('dumped'), "$directory/all" ], 'pg_restore');
command_ok([ 'pg_dump', '--schema-only', '-f', "$directory/schema", '-d', $node->connstr('life_parts') ], 'of the schema');
command_ok([ 'pg_dump', '--data-only', '--disable-triggers', '-f', "$directory/rows", '-d', $node->connstr('life_parts') ], 'of the rows');
command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', "$directory/out", '-d', $node->connstr('schema_first'), '-f', "$directory/$_" ], "restore of the $_") for qw(schema rows);
for my $copy (qw(dumped schema_first))
{
	sql($copy, 'SELECT loyalty.setup()') if $copy eq 'schema_first';
	same(contents($copy), $contents, "$copy: every row");
	is(sql($copy, 'SELECT * FROM loyalty.check_all()'), '', "$copy: check_all() finds nothing");
	is(sql($copy, q{SELECT available IS NOT NULL FROM loyalty.earn(7, 5)}), 't', "$copy: postings go on");
	is(sql($copy, q{SELECT count(*) FROM loyalty.partition_tables(8) WHERE moved IS NULL AND parts = 8}), 23, "$copy: it is partitioned");
}
$node->stop;
done_testing();
