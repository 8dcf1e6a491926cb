# The ledger outlives what happens to databases: dumps of every kind, a
# standby, logical replication, a late committer; and it shows what was done
# to it behind its back.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

use Wire;

my $node = PostgreSQL::Test::Cluster->new('source');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', "autovacuum = off\ntimezone = 'UTC'");
$node->start;

# Everything that can be posted, in two currencies.
$node->safe_psql('postgres', q{
	CREATE EXTENSION loyalty CASCADE;
	SELECT loyalty.setup();
	SELECT loyalty.create_currency('stars', expiry_policy => 'rolling', expiry_interval => '1 year', time_zone => 'Europe/Berlin');
	SELECT loyalty.earn(m, 100 + m, c, effective_at => timestamptz '2022-01-01' + m * interval '1 hour', reference => 'first', idempotency_key => c || 'first')
		FROM generate_series(1, 20) m, unnest(ARRAY['points', 'stars']) c;
	SELECT loyalty.redeem(m, 30, effective_at => '2022-02-01', reference => 'burn', details => '{"shop": "Ä"}') FROM generate_series(1, 20) m;
	SELECT loyalty.hold(m, 10, hold_until => '2999-01-01', effective_at => '2022-03-01', reference => 'held') FROM generate_series(1, 20) m;
	SELECT loyalty.capture(m, entry_id, 5, effective_at => '2022-03-02') FROM loyalty.ledger l, LATERAL (VALUES (l.member_id)) v(m) WHERE reference = 'held' AND m % 3 = 0;
	SELECT loyalty.reverse(m, entry_id, 12, effective_at => '2022-03-02') FROM loyalty.ledger l, LATERAL (VALUES (l.member_id)) v(m) WHERE reference = 'burn' AND m % 2 = 0;
	SELECT loyalty.transfer(m, m + 1, 7, effective_at => '2022-04-01') FROM generate_series(1, 19) m;
	CALL loyalty.book_expiries('2023-06-01');
	SELECT loyalty.earn(m, 5, effective_at => '2023-01-01', idempotency_key => 'late') FROM generate_series(1, 20, 4) m;
});

my $contents = q{
	SELECT md5(string_agg(l::text, E'\n' ORDER BY entry_id)), count(*) FROM loyalty.ledger l;
	SELECT md5(string_agg(w.balance::text, E'\n' ORDER BY member_id, currency)), count(*) FROM loyalty.wallet w;
	SELECT string_agg(c::text, E'\n' ORDER BY code) FROM loyalty.currency c;
	SELECT last_value FROM loyalty.ledger_entry_id_seq;
	SELECT count(*) FROM loyalty.check_all();};
my $before = $node->safe_psql('postgres', $contents);
my $digest = $node->safe_psql('postgres', 'SELECT loyalty.ledger_digest(blocks => 4096)');
like($before, qr/\n0\z/, 'check_all() finds nothing in the source');
my $directory = PostgreSQL::Test::Utils::tempdir();

# Runs SQL; returns its SQLSTATE ('' for none) and the message.
sub fails_with
{
	my ($where, $database, $sql) = @_;
	my ($status, $stdout, $stderr) = $where->psql($database, "\\set VERBOSITY verbose\n$sql");
	return $stderr =~ /(?:ERROR|FATAL):\s+(\w{5}): (.*)/ ? ($1, $2) : ('', $stdout);
}

sub intact
{
	my ($where, $database, $what, $of) = @_;
	is($where->safe_psql($database, $contents), $of // $before, "$what: every row is there");
	is($where->safe_psql($database, "SELECT intact FROM loyalty.verify_ledger('$digest')"), 't', "$what: verify_ledger() of the source's digest");
}

# ---------------------------------------------------------------------------
# Dumps
# ---------------------------------------------------------------------------

for my $case (
	[ 'plain', [ [ 'pg_dump', '-Fp', '-f', "$directory/plain.sql", 'postgres' ] ], [ [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$directory/plain.sql", '-d', 'plain' ] ] ],
	[ 'parallel', [ [ 'pg_dump', '-Fd', '-j2', '-f', "$directory/parallel", 'postgres' ] ], [ [ 'pg_restore', '--exit-on-error', '-j2', '-d', 'parallel', "$directory/parallel" ] ] ],
	[ 'data_only',
		[ [ 'pg_dump', '--schema-only', '-f', "$directory/schema.sql", 'postgres' ], [ 'pg_dump', '--data-only', '--disable-triggers', '-f', "$directory/data.sql", 'postgres' ] ],
		# (which enables triggers as they are by default)
		[ (map { [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$directory/$_.sql", '-d', 'data_only' ] } 'schema', 'data'),
		  [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-c', 'SELECT loyalty.setup()', '-d', 'data_only' ] ] ])
{
	my ($name, $dump, $restore) = @$case;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->command_ok($_, "$name: $_->[0]") for @$dump, @$restore;
	intact($node, $name, $name);
	like($node->safe_psql($name, "SELECT loyalty.earn(1, 1)"), qr/,f\)$/, "$name: the program goes on");
	is($node->safe_psql($name, "SELECT replayed FROM loyalty.earn(1, 5, effective_at => '2023-01-01', idempotency_key => 'late')"), 't', "$name: keys are kept");
	is($node->safe_psql($name, 'SELECT count(*) FROM loyalty.check_all()'), '0', "$name: check_all() finds nothing");
	my ($state) = fails_with($node, $name, 'DELETE FROM loyalty.ledger');
	is($state, 'LY005', "$name: the ledger is guarded");
	$node->safe_psql('postgres', "DROP DATABASE $name");
}

# ---------------------------------------------------------------------------
# What would lose data is refused
# ---------------------------------------------------------------------------

for my $case (
	[ 'DROP EXTENSION loyalty', '2BP01' ],
	[ "UPDATE loyalty.ledger SET points = 1", 'LY005' ],
	[ "UPDATE loyalty.ledger SET points = 1 WHERE false", 'LY005' ],
	[ "DELETE FROM loyalty.ledger WHERE member_id = 1", 'LY005' ],
	[ "TRUNCATE loyalty.ledger", 'LY005' ],
	[ "INSERT INTO loyalty.ledger SELECT (l).* FROM (SELECT l FROM loyalty.ledger l LIMIT 1) x", 'LY005' ],
	[ "COPY loyalty.ledger FROM stdin", 'LY005' ],
	[ "INSERT INTO loyalty.wallet (member_id, currency, balance) VALUES (99, 'points', loyalty.empty_balance())", 'LY005' ],
	[ "UPDATE loyalty.wallet SET balance = loyalty.empty_balance()", 'LY005' ],
	[ "UPDATE loyalty.wallet SET member_id = 99", 'LY005' ],
	[ "UPDATE loyalty.wallet SET currency = 'points'", 'LY005' ],
	[ "UPDATE loyalty.wallet SET opened_at = now()", 'LY005' ],
	[ "UPDATE loyalty.wallet SET moved = NULL", 'LY005' ],
	[ "INSERT INTO loyalty.wallet SELECT (w).* FROM (SELECT w FROM loyalty.wallet w LIMIT 1) x"
		  . " ON CONFLICT (member_id, currency) DO UPDATE SET member_id = 99", 'LY005' ],
	[ "DELETE FROM loyalty.wallet", 'LY005' ],
	[ "TRUNCATE loyalty.wallet", 'LY005' ],
	[ "SELECT loyalty.wallet_apply(loyalty.empty_balance(), false, false)", '42501' ],
	[ "SELECT loyalty.posted_lots()", '42501' ])
{
	my ($sql, $expected) = @$case;
	my ($state, $message) = fails_with($node, 'postgres', $sql);
	is($state, $expected, "$sql: $message");
}
is($node->safe_psql('postgres', $contents), $before, 'nothing was lost by it');

# ---------------------------------------------------------------------------
# Tampering
# ---------------------------------------------------------------------------

my ($middle, $after, $last, $only) = split /\|/, $node->safe_psql('postgres', q{
	SELECT e[3], e[4], e[cardinality(e)], (SELECT min(entry_id) FROM loyalty.ledger WHERE member_id = 7 AND currency = 'stars')
	FROM (SELECT array_agg(entry_id ORDER BY entry_id) AS e FROM loyalty.ledger WHERE member_id = 6 AND currency = 'points') x});
for my $case (
	[ 'points edited', "UPDATE loyalty.ledger SET points = points + 1 WHERE entry_id = $middle", $middle ],
	[ 'time edited', "UPDATE loyalty.ledger SET effective_at = effective_at + interval '1 microsecond' WHERE entry_id = $middle", $middle ],
	[ 'recording edited', "UPDATE loyalty.ledger SET recorded_at = recorded_at + interval '1 microsecond' WHERE entry_id = $middle", $middle ],
	[ 'member edited', "UPDATE loyalty.ledger SET member_id = 5 WHERE entry_id = $middle", $middle ],
	[ 'details edited', "UPDATE loyalty.ledger SET details = '{}' WHERE entry_id = $middle", $middle ],
	[ 'key edited', "UPDATE loyalty.ledger SET idempotency_key = 'another' WHERE entry_id = $middle", $middle ],
	[ 'lots edited', "UPDATE loyalty.ledger SET lots = '[]' WHERE entry_id = $middle", $middle ],
	[ 'hash edited', "UPDATE loyalty.ledger SET hash = sha256(hash) WHERE entry_id = $middle", $middle ],
	[ 'reference moved to reason', "UPDATE loyalty.ledger SET reference = NULL, reason = reference WHERE entry_id = $middle", $middle ],
	[ 'last edited', "UPDATE loyalty.ledger SET points = points + 1 WHERE entry_id = $last", $last ],
	[ 'middle deleted', "DELETE FROM loyalty.ledger WHERE entry_id = $middle", $middle ],
	[ 'tail deleted', "DELETE FROM loyalty.ledger WHERE entry_id = $last", $last ],
	[ 'tail deleted, wallet rebuilt', "DELETE FROM loyalty.ledger WHERE entry_id = $last; RESET session_replication_role; SELECT loyalty.rebuild_wallets_of(ARRAY(SELECT member_id FROM loyalty.wallet))", $last ],
	[ 'wallet deleted', "DELETE FROM loyalty.ledger WHERE member_id = 7 AND currency = 'stars'; DELETE FROM loyalty.wallet WHERE member_id = 7 AND currency = 'stars'", $only ],
	[ 'inserted', "DELETE FROM loyalty.ledger WHERE entry_id = $middle; INSERT INTO loyalty.ledger SELECT (jsonb_populate_record(l, jsonb_build_object('entry_id', $middle))).* FROM loyalty.ledger l WHERE entry_id = $after", $middle ])
{
	my ($name, $sql, $first) = @$case;
	my $said = $node->safe_psql('postgres', "BEGIN; SET LOCAL session_replication_role = replica; $sql; SELECT intact, first_entry_id, detail FROM loyalty.verify_ledger('$digest');");
	my ($intact, $named, $detail) = split /\|/, (split /\n/, $said)[-1];
	is($intact, 'f', "$name: verify_ledger() sees it");
	is($named, $first, "$name: and names the first entry: $detail");
}
for my $case (
	[ 'balance edited', "UPDATE loyalty.wallet SET balance = loyalty.empty_balance() WHERE member_id = 6" ],
	[ 'wallet deleted', "DELETE FROM loyalty.wallet WHERE member_id = 6" ],
	[ 'entry deleted', "DELETE FROM loyalty.ledger WHERE entry_id = $middle" ],
	[ 'points edited', "UPDATE loyalty.ledger SET points = points + 1 WHERE entry_id = $middle" ],
	[ 'transfer changed', "UPDATE loyalty.ledger SET points = points - 1 WHERE kind = 'transfer_out' AND member_id = 6" ])
{
	my ($name, $sql) = @$case;
	my $said = $node->safe_psql('postgres', "BEGIN; SET LOCAL session_replication_role = replica; $sql; SELECT count(*) > 0, string_agg(DISTINCT invariant, ' ') FROM loyalty.check_all() WHERE member_id = 6 OR member_id IS NULL;");
	like($said, qr/^t\|/m, "$name: check_all() sees it: $said");
}
is($node->safe_psql('postgres', "BEGIN; SET LOCAL session_replication_role = replica; UPDATE loyalty.wallet SET balance = loyalty.empty_balance(); RESET session_replication_role; SELECT FROM loyalty.wallet w, LATERAL loyalty.rebuild_member_wallets(w.member_id); " . $contents =~ s/\s+/ /gr), $before, 'rebuild_member_wallets() gives every wallet back');
is($node->safe_psql('postgres', $contents), $before, 'all of it was rolled back');

# ---------------------------------------------------------------------------
# A late committer
# ---------------------------------------------------------------------------

my %server = (host => $node->host, port => $node->port, user => $ENV{USER} || getpwuid($<), database => 'postgres');
my $late = Wire->new(%server);
$late->query('BEGIN');
my $late_id = $late->query('SELECT entry_id FROM loyalty.earn(1, 11)')->{rows}[0][0];
$node->safe_psql('postgres', 'SELECT loyalty.earn(2, 12)');
my $pid = fork;
if ($pid == 0)
{
	my $taken = Wire->new(%server)->query("SET application_name = 'digest'; SELECT loyalty.ledger_digest('$digest')");
	open my $file, '>', "$directory/digest" or POSIX::_exit(1);
	print $file $taken->{error} ? "error $taken->{error}{M}" : $taken->{rows}[0][0];
	close $file;
	POSIX::_exit(0);
}
sleep 1;
is(-s "$directory/digest" ? 1 : 0, 0, 'ledger_digest() waits for a posting that has not committed');
$late->query('COMMIT');
waitpid $pid, 0;
my $second = slurp_file("$directory/digest");
like($second, qr/^loyalty-digest-1:/, 'and comes when it has');
is($node->safe_psql('postgres', "SELECT intact FROM loyalty.verify_ledger('$second')"), 't', 'it is intact');
is($node->safe_psql('postgres', "SELECT (loyalty.read_digest('$second')).entries"), '2', 'it covers the late entry');
my ($named) = $node->safe_psql('postgres', "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM loyalty.ledger WHERE entry_id = $late_id; SELECT first_entry_id FROM loyalty.verify_ledger('$second');");
is($named, $late_id, 'its deletion is seen');

# Digests, one after the other, over a load of transactions of any length.
my @writers;
for my $client (1 .. 4)
{
	my $writer = fork;
	if ($writer == 0)
	{
		my $wire = Wire->new(%server);
		srand $client;
		my $until = time + 6;
		while (time < $until)
		{
			my $commit = rand() < 0.9 ? 'COMMIT' : 'ROLLBACK';
			$wire->query("BEGIN; SELECT loyalty.earn(" . (100 + $client * 10 + int rand 10) . ", 1); SELECT pg_sleep(" . (rand() < 0.2 ? rand 0.2 : 0) . "); $commit");
		}
		POSIX::_exit(0);
	}
	push @writers, $writer;
}
my @digests = ($second);
for (1 .. 12)
{
	push @digests, $node->safe_psql('postgres', "SELECT loyalty.ledger_digest('$digests[-1]', 8)");
	sleep 0.4;
}
waitpid $_, 0 for @writers;
push @digests, $node->safe_psql('postgres', "SELECT loyalty.ledger_digest('$digests[-1]', 8)");
my $verified = grep { $node->safe_psql('postgres', "SELECT intact FROM loyalty.verify_ledger('$_')") eq 't' } @digests;
is($verified, scalar @digests, 'every digest taken under a load verifies');
my $covered = 0;
$covered += (split /:/)[3] for $digest, @digests;
is($covered, $node->safe_psql('postgres', 'SELECT count(*) FROM loyalty.ledger'), "together they cover every entry ($covered), none twice");

# ---------------------------------------------------------------------------
# Standby
# ---------------------------------------------------------------------------

$before = $node->safe_psql('postgres', $contents);
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', "CREATE ROLE till_of_standby; SELECT loyalty.grant_access('till_of_standby', 'admin')");
$node->safe_psql('postgres', 'SELECT loyalty.earn(3, 3)');
$before = $node->safe_psql('postgres', $contents);
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
# a sequence is logged ahead: its value may be greater there
my $but_sequence = sub { $_[0] =~ s/\n\d+\n0\z/\n0/r };
is($but_sequence->($standby->safe_psql('postgres', $contents)), $but_sequence->($before), 'standby: every row is there');
is($standby->safe_psql('postgres', "SELECT intact FROM loyalty.verify_ledger('$digest')"), 't', 'standby: verify_ledger()');
for my $read ('balance(1)', 'lots(1)', 'statement(1)', 'expiring(1)', 'explain_entry(1, 1)', "balance(6, as_of => '2022-02-02', known_at => now())")
{
	my $sql = "SELECT * FROM loyalty.$read";
	is($standby->safe_psql('postgres', $sql), $node->safe_psql('postgres', $sql), "standby: $read");
}
{
	my $sql = "SELECT loyalty.export_member(1) -> 'tables'";
	is($standby->safe_psql('postgres', $sql), $node->safe_psql('postgres', $sql), 'standby: export_member(1)');
}
for my $write ('CALL loyalty.archive_entries(now())', 'SELECT loyalty.earn(1, 1)', 'SELECT loyalty.redeem(1, 1)', "SELECT loyalty.hold(1, 1, hold_until => '2999-01-01')", 'SELECT loyalty.reverse(1, 1)',
	'SELECT loyalty.transfer(1, 2, 1)', "SELECT loyalty.adjust(1, 1, 'x')", "SELECT loyalty.post_many(ARRAY[1], ARRAY['earn'], ARRAY[1])",
	'CALL loyalty.book_expiries()', 'CALL loyalty.rebuild_wallets()', 'SELECT loyalty.rebuild_member_wallets(1)', 'CALL loyalty.run_checks()', 'SELECT loyalty.ledger_digest()', "SELECT loyalty.create_currency('x')")
{
	my ($state, $message) = fails_with($standby, 'postgres', $write);
	is($state, '25006', "standby: $write: $message");
}
my ($state) = fails_with($node, 'postgres', 'BEGIN READ ONLY; SELECT loyalty.earn(1, 1)');
is($state, '25006', 'the same in a read-only transaction');
is($standby->safe_psql('postgres', 'SELECT loyalty.setup()'), $node->safe_psql('postgres', 'SELECT loyalty.setup()'), 'standby: setup() has nothing to do');
$standby->promote;
$standby->safe_psql('postgres', 'SELECT loyalty.earn(m, 1) FROM generate_series(1, 30) m');
is($standby->safe_psql('postgres', 'SELECT * FROM loyalty.check_all()'), '', 'promoted: the program goes on');
$standby->stop;

# ---------------------------------------------------------------------------
# Logical replication
# ---------------------------------------------------------------------------

my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->append_conf('postgresql.conf', "timezone = 'UTC'");
$subscriber->start;
PostgreSQL::Test::Utils::run_log([ 'pg_dump', '--schema-only', '-d', $node->connstr('postgres'), '-f', "$directory/logical.sql" ]);
PostgreSQL::Test::Utils::run_log([ 'psql', '-Xq', '-d', $subscriber->connstr('postgres'), '-f', "$directory/logical.sql" ]);
$node->safe_psql('postgres', 'CREATE PUBLICATION everything FOR TABLE loyalty.layout, loyalty.program_object, loyalty.currency, loyalty.wallet, loyalty.ledger, loyalty.ledger_archive, loyalty.job_run, loyalty.merge_handler');
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION everything CONNECTION 'host=" . $node->host . ' port=' . $node->port . " dbname=postgres' PUBLICATION everything");
$subscriber->wait_for_subscription_sync($node, 'everything') if $subscriber->can('wait_for_subscription_sync');
$subscriber->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')");
$node->safe_psql('postgres', q{
	SELECT loyalty.earn(m, 9, idempotency_key => 'replicated') FROM generate_series(1, 30) m;
	SELECT loyalty.redeem(m, 4, idempotency_key => 'replicated too') FROM generate_series(1, 30) m;
	SELECT loyalty.archive_entries_of(ARRAY[1, 2, 3], now());});
$before = $node->safe_psql('postgres', $contents);
$node->wait_for_catchup('everything');
is($but_sequence->($subscriber->safe_psql('postgres', $contents)), $but_sequence->($before), 'subscriber: every row is there, check_all() finds nothing');
is($subscriber->safe_psql('postgres', "SELECT intact FROM loyalty.verify_ledger('$digest')"), 't', 'subscriber: verify_ledger()');
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION everything');
$subscriber->stop;

$node->stop;
done_testing();
