# Every function that reads tables, and every view, on a standby: while the
# primary posts, vacuums and partitions its tables, and after that, with the
# answers of the primary.  Then how old an answer is, and reading what one wrote.
use strict;
use warnings;

use FindBin;
use IPC::Run;
use POSIX ':sys_wait_h';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nmax_locks_per_transaction = 256");
$node->start;
open my $file, '<', "$FindBin::Bin/programme.sql" or die "cannot read programme.sql: $!";
my $programme = do { local $/; <$file> };
$node->safe_psql('postgres', $programme);
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nmax_standby_streaming_delay = 60s");
$standby->start;

# What arguments without a default are given, by the name of the argument, or of
# the function and it.
my $definition = q{'{"measures": [{"measure": "spend", "window": "lifetime"}], "levels": [{"level": "blue"}]}'::jsonb};
my %value = (
	member_id => 5, ladder => q{'club'}, audience => q{'vip'}, trial => q{'spring'}, board => q{'top'}, club => q{'runners'}, label => q{'vegan'}, draw => q{'wheel'},
	'audit_draw.draw' => q{'drawn'}, journey => q{'welcome'}, step => q{'b'}, goal => q{'watched'}, purpose => q{'news'}, channel => q{'email'}, currency => q{'points'}, campaign => q{'base'},
	match => q{'person'}, consumer => q{'reader'}, reward => q{'mug'}, payment => q{'mall'}, streak => q{'daily'}, benefit => q{'lounge'}, challenge => q{'sprint'}, kind => q{'order'},
	definition => $definition, definitions => q{'{"base": {"then": [{"points": {"give": 2, "per": 1}}]}}'}, survivor_id => 1, absorbed_id => 5, until => q{'2024-06-01'}, from_at => q{'2024-01-01'},
	at => q{'2024-02-01'}, as_of => 'NULL', known_at => 'NULL', up_to => 20, after => 0, width => 5, namespace => q{'email'}, value => q{'m5@x.example'}, until_month => q{'2024-03-01'}, from_month => q{'2024-01-01'},
	activity_id => '(SELECT max(activity_id) FROM loyalty.activity WHERE member_id = 5)', entry_id => '(SELECT max(entry_id) FROM loyalty.ledger WHERE member_id = 5)', external_id => q{'o5'},
	household_id => '(SELECT max(member_id) FROM loyalty.household)', merge_id => 1, direction => q{'merge'}, a => 1, b => 2, code => '(SELECT code FROM loyalty.gift_card LIMIT 1)', amount => 10, list_price => 10,
	sku => q{'T'}, lines => q{'[{"sku": "T", "price": 10}]'}, digest => q{current_setting('test.digest')}, audiences => q{'{vip,guests}'}, take_back => 'true', reason => q{'why'}, about => q{'soon'}, notices => q{'{soon}'},
	from_id => 0, to_id => 100, members => q{'{5}'}, name => q{'club'}, what => q{'streak'}, 'engagement_in_force.name' => q{'daily'}, 'escrow_left.name' => q{'benefit/mug/stock'}, arguments => q{'bigint,timestamptz'},
	'stored_function.name' => q{'shop.visits'}, map({ ("audience_term_$_->[0].argument" => "'$_->[1]'") } [ members => '[5]' ], [ label => '"vegan"' ], [ list => '"guests"' ], [ tier => '{"club": ["gold"]}' ], [ attribute => '{"name": "Member 5"}' ],
		[ joined => '{"within": "90 days"}' ], [ count => '{}' ], [ spent => '{">=": 5}' ], [ bought => '{"sku": ["T"]}' ], [ contacts => '{">=": 1}' ], [ stage => '["new"]' ], [ segment => '{"in": ["Loyal"]}' ], [ value => '{">=": 1}' ],
		[ measure => '{"measure": "spend", ">=": 1}' ]));
my (@reads, @missing);
for (split /\n/, $node->safe_psql('postgres', q{
	SELECT p.oid::regproc, p.proretset, array_to_string(p.proargnames[1:p.pronargs - p.pronargdefaults], ',') FROM pg_proc p
	WHERE p.pronamespace = 'loyalty'::regnamespace AND p.provolatile = 's' AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype AND p.prosupport <> 0
		AND (obj_description(p.oid, 'pg_proc') !~ 'Part of |; part of |called by setup' OR p.proname ~ '^audience_term_') ORDER BY 1}))
{
	my ($function, $set, $names) = split /\|/, $_, -1;
	my ($name) = $function =~ /(\w+)$/;
	my @values = map { $value{"$name.$_"} // $value{$_} // (push @missing, "$name.$_") && 'NULL' } split /,/, $names;
	push @reads, "SELECT * FROM $function(" . join(', ', @values) . ')';
}
is("@missing", '', 'all arguments of functions that read have a value here');
cmp_ok(scalar @reads, '>', 130, 'there are many such functions');
push @reads, map { "SELECT * FROM $_" } split /\n/, $node->safe_psql('postgres', q{SELECT c.oid::regclass FROM pg_class c WHERE c.relkind = 'v' AND c.relnamespace IN ('loyalty_bi'::regnamespace, 'loyalty'::regnamespace) ORDER BY 1});
my $digest = $node->safe_psql('postgres', 'SELECT loyalty.ledger_digest()');

# What a read answers: rows in order, or an SQLSTATE; instants of now, and ages, are alike.
sub answers
{
	my ($where) = @_;
	my $script = "\\pset format unaligned\n\\set VERBOSITY sqlstate\nSET search_path = public, loyalty;\nSET test.digest = '$digest';\n" . join '', map { "\\echo ::: $_\n$_;\n" } @reads;
	my $output = '';
	IPC::Run::run([ 'psql', '-Xq', '-d', $where->connstr('postgres') ], '<', \$script, '>&', \$output);
	my %answer;
	for my $part (split /^::: /m, $output)
	{
		my ($read, $text) = split /\n/, $part, 2;
		$text =~ s/\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\.\d+(?:[+-]\d\d(?::\d\d)?)?/NOW/g if defined $text;
		$text =~ s/(?:-?\d+ days? )?\d\d:\d\d:\d\d\.\d+/AGE/g if defined $text;
		$answer{$read} = join "\n", sort split /\n/, $text // '' if $read;
	}
	return \%answer;
}

# Whatever is refused is refused for what it says, and not for where it is asked.
sub refused
{
	my ($answers) = @_;
	return join "\n", map { my ($state) = $answers->{$_} =~ /ERROR:\s+(\w{5})/; $state && $state !~ /^LY/ ? "$state: $_" : () } sort keys %$answers;
}

sub alike
{
	my ($got, $expected, $name) = @_;
	my @other = grep { ($got->{$_} // '') ne $expected->{$_} } sort keys %$expected;
	is("@other", '', $name);
	diag("$_:\n$got->{$_}\nand not\n$expected->{$_}") for @other[ 0 .. ($#other > 3 ? 3 : $#other) ];
}

my $expected = answers($node);
is(scalar(keys %$expected), scalar @reads, 'the primary answers all');
is(refused($expected), '', 'and refuses none but for reasons of business');
cmp_ok(scalar(grep { /ERROR/ } values %$expected), '<', 12, 'of which there are few');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
alike(answers($standby), $expected, 'the standby answers alike');

# Under load
my $script = "$ENV{TESTDIR}/load.sql";
open my $load, '>', $script or die $!;
print $load <<'SQL';
\set member random(1, 8)
\set points random(1, 50)
SELECT * FROM loyalty.earn(:member, :points, 'miles', reference => 'load');
SELECT * FROM loyalty.record_activity(:member, 'order', amount => :points);
SELECT * FROM loyalty.redeem(:member, 1, 'miles');
SQL
close $load;
my $log = "$ENV{TESTDIR}/pgbench.log";
my $load_pid = fork // die $!;
if (!$load_pid)
{
	open STDOUT, '>', $log;
	open STDERR, '>&', \*STDOUT;
	exec 'pgbench', '-n', '-c', '3', '-t', $ENV{LOYALTY_SOAK} ? 300 : 50, '-f', $script, '-d', $node->connstr('postgres');
}
my ($rounds, $failed, $posting) = (0, '', 1);
while ($posting || $rounds < 2)
{
	$node->safe_psql('postgres', 'VACUUM loyalty.wallet, loyalty.tier_state, loyalty.engagement_state') if $rounds % 2;
	$failed .= refused(answers($standby));
	$rounds++;
	$posting = 0 if $posting && waitpid($load_pid, WNOHANG) == $load_pid;
}
like(slurp_file($log), qr/number of transactions actually processed: (\d+)\/\1/, 'the primary has posted');
is($failed, '', "and $rounds times the standby has answered everything");

# Partitions
$node->safe_psql('postgres', 'SELECT count(*) FROM loyalty.partition_tables(4)');
$expected = answers($node);
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
alike(answers($standby), $expected, 'of partitions, too');
is($standby->safe_psql('postgres', 'SELECT * FROM loyalty.check_all()'), '', 'check_all() there');

# How old an answer is, and whether it has what somebody wrote
my $behind = q{SELECT pg_is_in_recovery() AS standby, coalesce(now() - pg_last_xact_replay_timestamp(), '0') AS behind};
like($standby->safe_psql('postgres', $behind), qr/^t\|\d\d:\d\d:\d\d/, 'a standby tells how long ago the last commit was that it has');
is($node->safe_psql('postgres', $behind), 'f|00:00:00', 'a primary is not behind');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
my ($entry, $lsn) = split /\|/, $node->safe_psql('postgres', q{SELECT entry_id FROM loyalty.earn(5, 1) \gset
SELECT :entry_id, pg_current_wal_insert_lsn()});
my $has_lsn = "SELECT pg_last_wal_replay_lsn() >= '$lsn'";
my $has_entry = "SELECT EXISTS (SELECT FROM loyalty.all_entries() e WHERE e.member_id = 5 AND e.entry_id = $entry)";
is($standby->safe_psql('postgres', "$has_lsn; $has_entry"), "f\nf", 'what it does not have it says so');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
ok($standby->poll_query_until('postgres', $has_lsn), 'then it has the place in the WAL');
is($standby->safe_psql('postgres', $has_entry), 't', 'and the entry');
$standby->stop;
$node->stop;
done_testing();
