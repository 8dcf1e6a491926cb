# kill -9 in the middle of a concurrent load, again and again: whatever was
# acknowledged is there, once; what was not is there once or not at all; a
# retry with the same key books nothing twice; check_all() finds nothing.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IO::Handle;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use Crash;
use Soak;
use Wire;

my $crashes = 0;
my $clients = 6;
my $members = 40;

my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init;
$node->append_conf('postgresql.conf', "max_connections = 50\nautovacuum_naptime = 1s\ncheckpoint_timeout = 30s\nwal_level = minimal\nmax_wal_senders = 0");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION loyalty CASCADE; SELECT loyalty.setup();');
$node->safe_psql('postgres', "SELECT loyalty.earn(m, 1000000, effective_at => '2019-01-01', idempotency_key => 'first') FROM generate_series(1, $members) m");

my %server = (host => $node->host, port => $node->port, user => $ENV{USER} || getpwuid($<), database => 'postgres');
my $directory = PostgreSQL::Test::Utils::tempdir();

# One call with a key.  Its text says all: the same text again is a retry.
sub call_of
{
	my ($client, $n) = @_;
	my $key = "c$client-$n";
	my $member = 1 + int rand $members;
	my $other = 1 + ($member + int rand($members - 1)) % $members;
	my $points = 1 + int rand 50;
	my $at = "'2020-01-01'::timestamptz + interval '1 millisecond'";
	my $when = "effective_at => $at * $n";
	my @calls = (
		"loyalty.earn($member, $points, $when, idempotency_key => '$key')",
		"loyalty.redeem($member, $points, $when, idempotency_key => '$key')",
		"loyalty.adjust($member, -$points, 'test', $when, idempotency_key => '$key')",
		"loyalty.hold($member, $points, hold_until => $at * ($n + 600000), $when, idempotency_key => '$key')",
		"loyalty.transfer($member, $other, $points, $when, idempotency_key => '$key')");
	return ($key, "SELECT '$member', entry_id, available, replayed FROM $calls[ rand @calls ]");
}

# A client: calls until the connection is lost, and writes down what was
# acknowledged and what was left hanging.
sub client
{
	my ($client, $round) = @_;
	open my $log, '>>', "$directory/client$client" or die $!;
	$log->autoflush;
	srand($client * 1000 + $round);
	my $wire = eval { Wire->new(%server) } or return;
	for (my $n = $round * 1_000_000;; $n++)
	{
		my ($key, $sql) = call_of($client, $n);
		my $answer = $wire->query($sql);
		if (!$answer || $answer->{error} && $answer->{error}{C} =~ /^57P/)
		{
			print $log "hanging\t$key\t$sql\n";
			return;
		}
		elsif ($answer->{error}) { print $log "refused\t$key\t$answer->{error}{C}\t$answer->{error}{M}\n" }
		else { print $log join("\t", 'acknowledged', $key, $sql, @{ $answer->{rows}[0] }), "\n" }
	}
}

my (%acknowledged, %hanging, @wrong);
my $next = Soak::rounds(20, 10);
while (my $round = $next->())
{
	$crashes = $round;
	my @pids;
	for my $client (1 .. $clients)
	{
		my $pid = fork;
		if ($pid == 0)
		{
			eval { client($client, $round) };
			POSIX::_exit(0);
		}
		push @pids, $pid;
	}
	sleep 0.3 + rand 0.5;

	crash($node, $round % 2, @pids);
}
is(scalar @wrong, 0, 'the server came back every time');

for my $client (1 .. $clients)
{
	for my $line (split /\n/, slurp_file("$directory/client$client"))
	{
		my ($what, $key, $sql, $member, $entry_id, $available, $replayed) = split /\t/, $line;
		if ($what eq 'acknowledged')
		{
			push @wrong, "$key was replayed at once" if $replayed ne 'f';
			$acknowledged{$key} = { sql => $sql, member => $member, entry_id => $entry_id, available => $available };
		}
		elsif ($what eq 'hanging') { $hanging{$key} = $sql }
		elsif ($sql !~ /^LY101/) { push @wrong, $line }
	}
}
is("@wrong", '', 'no other refusal than of missing points');
note(scalar(keys %acknowledged), ' acknowledged, ', scalar(keys %hanging), ' cut off, ', $crashes, ' crashes');
cmp_ok(scalar keys %acknowledged, '>', $crashes * 20, 'there was a load');
cmp_ok(scalar keys %hanging, '>=', $crashes, 'and it was cut off');

is($node->safe_psql('postgres', 'SELECT * FROM loyalty.check_all()'), '', 'check_all() finds nothing');

my %there;
for my $line (split /\n/, $node->safe_psql('postgres', "SELECT idempotency_key, member_id, entry_id, available FROM loyalty.ledger WHERE idempotency_key <> 'first'"))
{
	my ($key, $member, $entry_id, $available) = split /\|/, $line;
	push @{ $there{$key} }, { member => $member, entry_id => $entry_id, available => $available };
}
is(scalar(grep { @{ $there{$_} } > 1 } keys %there), 0, 'no key is there twice');
is(scalar(grep { !$there{$_} } keys %acknowledged), 0, 'all that was acknowledged is there');
is(scalar(grep { my $key = $_; grep { ($there{$key}[0]{$_} // '') ne $acknowledged{$key}{$_} } qw(member entry_id available) } keys %acknowledged),
	0, 'as it was acknowledged');
is(scalar(grep { !$acknowledged{$_} && !$hanging{$_} } keys %there), 0, 'and nothing that nobody asked for');
my @landed = grep { $there{$_} } keys %hanging;
note(scalar(@landed), ' of those cut off had been committed');

# Retries.
my $count = $node->safe_psql('postgres', 'SELECT count(*) FROM loyalty.ledger');
my $wire = Wire->new(%server);
@wrong = ();
for my $key (sort keys %acknowledged)
{
	my $answer = $wire->query($acknowledged{$key}{sql});
	my $row = $answer->{rows}[0] || [];
	push @wrong, "$key: @$row $answer->{error}{M}"
	  unless ($row->[1] // '') eq $acknowledged{$key}{entry_id} && $row->[3] eq 't' && $row->[2] eq $acknowledged{$key}{available};
}
is("@wrong[0 .. ($#wrong < 3 ? $#wrong : 3)]", '', 'a retry of what was acknowledged returns the first result');
is($node->safe_psql('postgres', 'SELECT count(*) FROM loyalty.ledger'), $count, 'and books nothing');
@wrong = ();
for my $key (sort keys %hanging)
{
	my $answer = $wire->query($hanging{$key});
	my $replayed = $answer->{error} ? $answer->{error}{C} : $answer->{rows}[0][3];
	my $expected = $there{$key} ? 't' : 'f';
	push @wrong, "$key: $replayed, not $expected" if $replayed ne $expected && !($replayed eq 'LY101' && !$there{$key});
}
is("@wrong", '', 'a retry of what was cut off books it once, or tells that it was booked');
is($node->safe_psql('postgres', 'SELECT max(n) FROM (SELECT count(*) AS n FROM loyalty.ledger WHERE idempotency_key IS NOT NULL GROUP BY member_id, currency, idempotency_key) x'), '1', 'no key is there twice after all');
is($node->safe_psql('postgres', 'SELECT * FROM loyalty.check_all()'), '', 'check_all() finds nothing after all');

$node->stop;
done_testing();
