# Many sessions merge members and take merges back while others post to these
# very members: one by one, in batches, and from one to the other, at every
# isolation level.  Nobody waits in a circle (a deadlock is a failure), nothing
# that was acknowledged is lost or doubled, and check_all() finds nothing.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use Wire;

my $seconds = $ENV{LOYALTY_SECONDS} || ($ENV{LOYALTY_SOAK} ? 120 : 8);
my $members = 12;
my @levels = ('READ COMMITTED', 'READ COMMITTED', 'READ COMMITTED', 'READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');
my $database = 'merging';
my %server = (host => $ENV{LOYALTY_TEST_HOST}, port => $ENV{LOYALTY_TEST_PORT} || 5432, user => 'postgres');
my @psql = ('psql', '-h', $server{host}, '-p', $server{port}, '-U', 'postgres', '-XqAt', '-v', 'ON_ERROR_STOP=1');

sub run_sql
{
	my ($db, $sql) = @_;
	my ($output, $errors);
	IPC::Run::run([ @psql, '-d', $db ], '<', \$sql, '>', \$output, '2>', \$errors) or die "psql: $errors";
	chomp $output;
	return $output;
}

sub one_of { return $_[ int rand @_ ] }
sub member { return 1 + int rand $members }
sub currency { return one_of("'points'", "'points'", "'a_b'", "'ab'") }

# What a session does: name, weight, and a function that gives the call and how
# many points it makes if it succeeds.  A batch names its members in any order.
my @acts = (
	[ earn => 2, sub { my $n = 1 + int rand 20; ("earn(@{[ member() ]}, $n, @{[ currency() ]})", $n) } ],
	[ redeem => 2, sub { my $n = 1 + int rand 20; ("redeem(@{[ member() ]}, $n, @{[ currency() ]})", -$n) } ],
	[ batch => 6, sub {
		my @m = map { member() } 1 .. 2 + int rand 6;
		my @n = map { 1 + int rand 9 } @m;
		my @kinds = map { rand() < 0.9 ? 'earn' : 'redeem' } @m;
		my $sum = 0;
		$sum += $kinds[$_] eq 'earn' ? $n[$_] : -$n[$_] for 0 .. $#m;
		("post_many('{@{[ join ',', @m ]}}', '{@{[ join ',', @kinds ]}}', '{@{[ join ',', @n ]}}', ARRAY[@{[ join ',', map { currency() } @m ]}])", $sum) } ],
	# captures name no currency: it is that of the hold
	[ hold => 1, sub { ("hold(@{[ member() ]}, 2, now() + interval '1 hour', @{[ currency() ]})", 0) } ],
	[ captures => 1, sub { ("post_many(ARRAY[@{[ member() ]}, h.m], '{earn,capture}', '{3,1}', target_entry_ids => ARRAY[NULL, h.e]) FROM some_hold() h", 3 - 1) } ],
	# these go to the members whose lots they were, whoever they are by then
	[ capture => 1, sub { ("capture(h.m, h.e, 1) FROM some_hold() h", -1) } ],
	[ refund => 3, sub { ("reverse(r.m, r.e, 1) FROM some_burn() r", 1) } ],
	[ refunds => 1, sub { ("post_many(ARRAY[@{[ member() ]}, r.m], '{earn,reverse}', '{1,1}', target_entry_ids => ARRAY[NULL, r.e]) FROM some_burn() r", 2) } ],
	[ transfer => 4, sub { ("transfer(@{[ member() ]}, @{[ member() ]}, @{[ 1 + int rand 5 ]}, @{[ currency() ]})", 0) } ],
	[ merge => 4, sub { ("merge_members(@{[ member() ]}, @{[ member() ]})", 0) } ],
	[ unmerge => 3, sub { ("unmerge_members(m) FROM some_merge() m", 0) } ],
	[ resolve => 2, sub { ("resolve_member(jsonb_build_array(" . join(', ', map { "jsonb_build_object('namespace', '$_->[0]', 'value', '$_->[1]', 'verified', true)" }
		[ email => member() . '@b.example' ], [ card => member() ], [ phone => '+4917012345' . (10 + int rand 50) ]) . "), attributes => '{\"n\": @{[ member() ]}}')", 0) } ],
	[ link => 1, sub { ("link_identifier(@{[ member() ]}, 'phone', '+4917012345@{[ 10 + int rand 50 ]}', idempotency_key => 'k@{[ int rand 5 ]}')", 0) } ],
	[ unlink => 1, sub { ("unlink_identifier(@{[ member() ]}, 'phone', '+4917012345@{[ 10 + int rand 50 ]}')", 0) } ],
	[ backfill => 1, sub { ("backfill('some_history')", 30) } ],
	[ book => 1, sub { ("book_expiry(@{[ member() ]}, @{[ currency() ]}, now())", 0) } ],
);
my @choices = map { ($_) x $_->[1] } @acts;

run_sql('postgres', "DROP DATABASE IF EXISTS $database; CREATE DATABASE $database;");
run_sql($database, <<"SQL");
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup();
-- codes that collations and bytes put in different orders
SELECT loyalty.create_currency('a_b'), loyalty.create_currency('ab');
SELECT loyalty.configure_namespace('card', priority => 5);
INSERT INTO loyalty.member (member_id) SELECT m FROM generate_series(1, $members) m;
SELECT setval(pg_get_serial_sequence('loyalty.member', 'member_id'), 1000);
SELECT loyalty.link_identifier(m, 'email', m || '\@b.example', true), loyalty.link_identifier(m, 'card', m::text, true),
	loyalty.earn(m, 100) FROM generate_series(1, $members) m;
SELECT loyalty.hold(1, 2, now() + interval '1 hour'), loyalty.redeem(2, 50);
CREATE VIEW some_history AS
SELECT 1 + floor(random() * $members)::bigint AS member_id, 5 AS points, now() - random() * interval '1 hour' AS effective_at,
	(ARRAY['ab', 'points', 'a_b'])[1 + floor(random() * 3)] AS currency
FROM generate_series(1, 6);
CREATE FUNCTION some_merge() RETURNS bigint LANGUAGE sql VOLATILE AS
	'SELECT merge_id FROM loyalty.member_merge WHERE unmerged_at IS NULL ORDER BY random() LIMIT 1';
CREATE FUNCTION some_hold(OUT m bigint, OUT e bigint) RETURNS SETOF record LANGUAGE sql VOLATILE AS
	'SELECT coalesce(home_id, member_id), entry_id FROM loyalty.ledger WHERE kind = \$\$hold\$\$ ORDER BY entry_id DESC LIMIT 1';
CREATE FUNCTION some_burn(OUT m bigint, OUT e bigint) RETURNS SETOF record LANGUAGE sql VOLATILE AS
	'SELECT coalesce(home_id, member_id), entry_id FROM loyalty.ledger WHERE kind IN (\$\$redeem\$\$, \$\$capture\$\$) ORDER BY random() LIMIT 1';
SQL

# Sessions, each with a file for what it has seen.
my @pids;
my $directory = $ENV{TESTDIR} || '.';
for my $client (0 .. $#levels)
{
	my $pid = fork;
	die "fork: $!" unless defined $pid;
	if ($pid) { push @pids, $pid; next }

	srand(($ENV{LOYALTY_SEED} || 1) * 1000 + $client);
	my $wire = Wire->new(%server, database => $database);
	$wire->query("SET deadlock_timeout = '50ms'; SET statement_timeout = '20s'; SET search_path = loyalty, public, pg_catalog; SET client_min_messages = warning");
	open my $file, '>', "$directory/merging.$client" or POSIX::_exit(1);
	my $until = time + $seconds;
	while (time < $until)
	{
		my ($name, undef, $make) = @{ one_of(@choices) };
		my ($call, $points) = $make->();
		my $sleep = rand() < 0.3 ? "SELECT pg_sleep(0.002);" : '';
		my $answer = $wire->query("BEGIN ISOLATION LEVEL $levels[$client]; SELECT * FROM (SELECT $call) x; $sleep COMMIT")
			or do { print $file "$name lost 0\n"; last };
		my $state = $answer->{error} ? $answer->{error}{C} : 'fine';
		my $kind = $state eq 'fine' || $state =~ /^LY/ ? $state : "$state/$levels[$client]";
		$wire->query('ROLLBACK') if $state ne 'fine';
		print $file join("\t", $name, $kind, $state eq 'fine' ? $points : 0, $answer->{error} ? $answer->{error}{M} : ''), "\n";
	}
	close $file;
	POSIX::_exit(0);
}
my $died = 0;
for my $pid (@pids)
{
	waitpid $pid, 0;
	$died++ if $?;
}
is($died, 0, 'every session came to its end');

my (%seen, %done, %odd);
my $points = 100 * $members - 50;
for my $client (0 .. $#levels)
{
	open my $file, '<', "$directory/merging.$client" or die "merging.$client: $!";
	while (<$file>)
	{
		chomp;
		my ($name, $kind, $made, $message) = split /\t/;
		$seen{$kind}++;
		$done{$name}++ if $kind eq 'fine';
		$points += $made;
		$odd{"$name: $kind $message"}++ unless $kind =~ /^(fine|LY.*|40001\/(REPEATABLE READ|SERIALIZABLE))$/;
	}
	close $file;
}
diag(join ', ', map { "$_ $done{$_}" } sort keys %done);
diag(join ', ', map { "$_: $seen{$_}" } sort keys %seen);
is(join("\n", map { "$_ ($odd{$_} times)" } sort keys %odd), '', 'no deadlock, and no error that a caller could not expect');
cmp_ok($done{$_->[0]} || 0, '>', 0, "acts of kind $_->[0] succeeded") for @acts;
is(run_sql($database, 'SELECT sum(h.points - h.debt) FROM loyalty.wallet w, loyalty.balance_homes(w.balance) h'), $points,
	'the points are those that were acknowledged');
is(run_sql($database, 'SELECT * FROM loyalty.check_all()'), '', 'check_all() finds nothing');
is(run_sql($database, "CALL loyalty.rebuild_wallets(); SELECT message FROM loyalty.job_run WHERE job = 'rebuild_wallets'"), '0 wallets rebuilt', 'wallets are the fold of the ledger');
done_testing();
