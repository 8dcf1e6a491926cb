# Eight sessions record the same activities at the same time: with keys of their
# own each is stored once and refused seven times; with the same key it is stored
# once and answered seven times.  By table access, by statements, and by both.
use strict;
use warnings;

use IPC::Run;
use Test::More;

my $sessions = 8;
my $activities = 150;
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', $ENV{LOYALTY_TEST_PORT} || 5432, '-U', 'postgres', '-XAtq');

sub query
{
	my ($database, $sql) = @_;
	my ($out, $err);
	IPC::Run::run([ @psql, '-d', $database, '-v', 'ON_ERROR_STOP=1' ], '<', \$sql, '>', \$out, '2>', \$err) or BAIL_OUT("$sql: $err");
	chomp $out;
	return $out;
}

query('postgres', 'DROP DATABASE IF EXISTS activity WITH (FORCE); CREATE DATABASE activity;');
query('activity', 'SET client_min_messages = warning; CREATE EXTENSION loyalty CASCADE; SELECT loyalty.setup();');

# {answer => how often}, of all sessions: f and t of replayed, or the SQLSTATE
sub race
{
	my ($call, @settings) = @_;
	my %count;
	my @runs = map {
		my $session = $_;
		my $sql = "\\set VERBOSITY sqlstate\n" . ($settings[ $session % @settings ] // '');
		$sql .= ($call =~ s/\{i\}/$_/gr =~ s/\{s\}/$session/gr) . ";\n" for 1 .. $activities;
		my %run = (sql => $sql, out => '', err => '');
		$run{handle} = IPC::Run::start([ @psql, '-d', 'activity' ], '<', \$run{sql}, '>', \$run{out}, '2>', \$run{err});
		\%run;
	} 1 .. $sessions;
	for my $run (@runs)
	{
		IPC::Run::finish($run->{handle});
		$count{$_}++ for $run->{out} =~ /^(\w+)$/mg;
		$count{$_}++ for $run->{err} =~ /ERROR:\s+(\w+)/g;
	}
	return \%count;
}

my $off = "SET loyalty.table_access = off;\n";
my $n = 0;
for my $way ([ 'by table access', '' ], [ 'by statements', $off ], [ 'by both', '', $off ])
{
	my ($name, @settings) = @$way;
	my $member = ++$n;
	is_deeply(race("SELECT replayed FROM loyalty.record_activity($member, 'order', external_id => '{i}', idempotency_key => '{s} {i}')", @settings),
		{ f => $activities, LY506 => $activities * ($sessions - 1) }, "$name: keys of their own");
	is_deeply(race("SELECT replayed FROM loyalty.record_activity($member, 'like', '2026-01-05', external_id => '{i}', idempotency_key => '{i}')", @settings),
		{ f => $activities, t => $activities * ($sessions - 1) }, "$name: the same key");
	is(query('activity', "SELECT count(*) FROM loyalty.activity WHERE member_id = $member"), 2 * $activities, "$name: each is there once");
}
is(query('activity', 'SELECT count(*) FROM loyalty.check_all()'), 0, 'check_all() finds nothing');
query('postgres', 'DROP DATABASE activity;');
done_testing();
