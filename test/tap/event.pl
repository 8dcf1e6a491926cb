# Events under load, with kill -9 of the server and of consumers: nothing is lost
# and nothing told twice, whether the effects are inside the database or outside
# (examples/consumer.py); slots that change; a restore into another cluster; a
# standby; and who listens is woken.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use Crash;
use Soak;
use Wire;

my $crashes = 0;
my $members = 200;

my $node = PostgreSQL::Test::Cluster->new('event');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "max_connections = 60\nautovacuum_naptime = 1s\ncheckpoint_timeout = 30s");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION loyalty CASCADE;
	SELECT loyalty.setup();
	CREATE TABLE tally (event_id bigint, member_id bigint, kind text, n bigint GENERATED ALWAYS AS IDENTITY);
	SELECT loyalty.subscribe('inside', '{points_changed,member_created}', 3);
	SELECT loyalty.subscribe('outside', '{points_changed,member_created}', 2, wake => true);
});
my %server = (host => $node->host, port => $node->port, user => $ENV{USER} || getpwuid($<), database => 'postgres');
my $directory = PostgreSQL::Test::Utils::tempdir();

sub start_child
{
	my ($work) = @_;
	my $pid = fork // die $!;
	return $pid if $pid;
	eval { $work->() };
	POSIX::_exit(0);
}

# Posts, and makes members, in transactions of one call or some, until the connection is lost.
sub load
{
	my ($client, $until) = @_;
	srand($client + int(time * 1000));
	my $wire = eval { Wire->new(%server) } or return;
	while (time < $until)
	{
		my @calls = map { rand() < 0.1 ? "SELECT loyalty.resolve_member(jsonb_build_object('email', gen_random_uuid() || '\@event.example'))"
			: "SELECT loyalty.earn(${\ (1 + int rand $members)}, ${\ (1 + int rand 9)})" } 1 .. 1 + int rand 4;
		@calls = ('BEGIN', @calls, rand() < 0.2 ? 'ROLLBACK' : 'COMMIT') if @calls > 1;
		for (@calls) { my $answer = $wire->query($_); return unless $answer && !($answer->{error} && $answer->{error}{C} =~ /^57P/) }
	}
}

# A worker inside: what it does with events, and its position, are one transaction.  At times it fails.
sub worker
{
	my ($slot, $until, $patience) = @_;
	srand($slot + int(time * 1000));
	my $wire = eval { Wire->new(%server) } or return;
	my $empty = 0;
	while (time < $until || $empty < 3)
	{
		$wire->query('BEGIN') or return;
		my $answer = $wire->query("WITH got AS (INSERT INTO tally (event_id, member_id, kind)
			SELECT event_id, member_id, kind FROM loyalty.consume_events('inside', ${\ (1 + int rand 60)}, $slot, '$patience') RETURNING 1) SELECT count(*) FROM got") or return;
		return if $answer->{error} && $answer->{error}{C} eq 'LY003';	# no such slot any more
		$empty = $answer->{rows} && $answer->{rows}[0][0] ? 0 : $empty + 1;
		$wire->query(time < $until && rand() < 0.1 ? 'ROLLBACK' : 'COMMIT') or return;
		sleep 0.05 if $empty;
	}
}

my ($python) = grep { !system "$_ -c 'import psycopg' 2>/dev/null" } '/usr/bin/python3', 'python3';
my @outside;

sub start_outside
{
	my ($slot) = @_;
	my $pid = fork // die $!;
	return $pid if $pid;
	open STDERR, '>>', "$directory/consumer.log";
	exec($python, "$ENV{LOYALTY_TOP}/examples/consumer.py", "host=$server{host} port=$server{port} user=$server{user} dbname=postgres", 'outside', $slot, "$directory/receiver")
		or POSIX::_exit(1);
}

@outside = map { start_outside($_) } 0 .. 1 if $python;
my $next = Soak::rounds(6, 5);
while (my $round = $next->())
{
	$crashes = $round;
	my $until = time + 20;
	my @children = map { my $n = $_; start_child(sub { load($n, $until) }) } 1 .. 3;
	push @children, map { my $slot = $_; start_child(sub { worker($slot, $until, '1 second') }) } 0 .. 3;
	for (1 .. 4)
	{
		sleep 0.2 + rand 0.2;
		next unless $python;
		# whoever is killed is started again, at once
		my $slot = int rand 2;
		kill KILL => $outside[$slot];
		waitpid $outside[$slot], 0;
		$outside[$slot] = start_outside($slot);
	}
	crash($node, 0);
	waitpid $_, 0 for @children;
	# three workers, four, three, ...
	$node->safe_psql('postgres', "SELECT loyalty.subscribe('inside', '{points_changed,member_created}', " . (3 + $round % 2) . ')');
}
worker($_, 0, '5 seconds') for (0 .. 3) x 3;

# All that was committed, from the rows themselves
my $all = q{(SELECT entry_id AS event_id, member_id, 'points_changed' AS kind FROM loyalty.ledger UNION ALL SELECT event_id, member_id, kind FROM loyalty.event) x};
my $committed = $node->safe_psql('postgres', "SELECT count(*) FROM $all");
note("$committed events, $crashes crashes");
cmp_ok($committed, '>', $crashes * 50, 'there was a load');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM loyalty.event}), '>', $crashes * 5, 'of both sorts');
is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT event_id, member_id, kind FROM $all EXCEPT SELECT event_id, member_id, kind FROM tally) m"), 0, 'inside: nothing is lost');
is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT event_id) FROM tally'), 0, 'nothing is there twice');
is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT event_id FROM tally EXCEPT SELECT event_id FROM $all) m"), 0, 'and nothing that never was');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT event_id, lag(event_id) OVER (PARTITION BY member_id ORDER BY n) AS before FROM tally) t WHERE before > event_id'),
	0, 'in the order of each member');
is($node->safe_psql('postgres', 'SELECT * FROM loyalty.check_event()'), '', 'check_event() finds nothing');

SKIP:
{
	skip 'psycopg (python3-psycopg) is not installed', 4 unless $python;
	my $behind = 1;
	for (1 .. 300)
	{
		last unless $behind = $node->safe_psql('postgres', q{SELECT sum(behind) FROM loyalty.event_lag() WHERE consumer = 'outside'});
		sleep 0.1;
	}
	is($behind, 0, 'consumer.py comes to the end') or diag(slurp_file("$directory/consumer.log"));
	kill KILL => @outside;
	waitpid $_, 0 for @outside;
	my ($out, $err) = run_command([ $python, '-c', 'import sqlite3, sys; [print(*row) for row in sqlite3.connect(sys.argv[1]).execute("SELECT event_id, member_id, kind, slot FROM event ORDER BY rowid")]', "$directory/receiver" ]);
	my @got = map { [ split / / ] } split /\n/, $out;
	my @wanted = split /\n/, $node->safe_psql('postgres', "SELECT event_id || ' ' || member_id || ' ' || kind FROM $all ORDER BY event_id");
	is_deeply([ map { "$_->[0] $_->[1] $_->[2]" } sort { $a->[0] <=> $b->[0] } @got ], \@wanted, 'outside: each event once');
	my %last;
	is(scalar(grep { my $before = $last{ $_->[3] } // 0; $last{ $_->[3] } = $_->[0]; $before >= $_->[0] } @got), 0, 'in the order of each slot');
	cmp_ok(scalar(keys %last), '==', 2, 'by two workers');
}

# Restored into another cluster, whose transactions have small numbers: positions go on.
# There have been more than a restore takes, however slow the machine was.
$node->safe_psql('postgres', 'DO $$ BEGIN FOR i IN 1 .. 5000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$');
my $other = PostgreSQL::Test::Cluster->new('event_other');
$other->init;
$other->start;
$node->safe_psql('postgres', 'SELECT loyalty.earn(1, 1) FROM generate_series(1, 10)');
command_ok([ 'pg_dump', '-Fc', '-f', "$directory/dump", $node->connstr('postgres') ], 'dump');
command_ok([ 'pg_restore', '-d', $other->connstr('postgres'), '--no-owner', "$directory/dump" ], 'restore');
cmp_ok($other->safe_psql('postgres', 'SELECT txid_current()'), '<', $node->safe_psql('postgres', 'SELECT txid_current()'), 'transactions begin anew');
$other->safe_psql('postgres', 'SELECT loyalty.earn(1, 1) FROM generate_series(1, 5)');
my $slots = $other->safe_psql('postgres', q{SELECT slots FROM loyalty.event_consumer WHERE consumer = 'inside'});
is($other->safe_psql('postgres', "SELECT count(*) FROM generate_series(0, $slots - 1) s, loyalty.consume_events('inside', 1000, s)"), 15, 'ten of before, five of now');
is($other->safe_psql('postgres', "SELECT count(*) FROM generate_series(0, $slots - 1) s, loyalty.consume_events('inside', 1000, s) e"), 0, 'and nothing twice');
is($other->safe_psql('postgres', 'SELECT * FROM loyalty.check_event()'), '', 'all is well there');

# A standby knows what is due, and not who is about to commit.
$node->safe_psql('postgres', q{SELECT loyalty.define_notice('soon', 'points_expiring', '30 days');
	SELECT loyalty.earn(1, 7, expires_at => now() + interval '10 days')});
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('event_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', q{SELECT payload ->> 'points' FROM loyalty.due_notices()}), 7, 'due_notices() on a standby');
my ($status, $out, $err) = $standby->psql('postgres', q{SELECT loyalty.poll_events('inside')});
like($err, qr/cannot write on a standby server/, 'and polls are for the primary');

# Who listens is woken by the commit, of events and of points.
for my $write ('SELECT loyalty.earn(1, 1)', q{SELECT loyalty.resolve_member('{"email": "wake@event.example"}')})
{
	like($node->safe_psql('postgres', "LISTEN loyalty_event; $write"), qr/Asynchronous notification "loyalty_event"/, "woken by $write");
}
$node->safe_psql('postgres', q{SELECT loyalty.subscribe('outside', '{points_changed,member_created}', 2)});
unlike($node->safe_psql('postgres', 'LISTEN loyalty_event; SELECT loyalty.earn(1, 1)'), qr/notification/, 'or not, where nobody wants to be');

done_testing();
