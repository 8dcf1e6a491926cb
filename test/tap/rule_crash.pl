# Campaigns under several sessions: a hundred at once want the last of a budget;
# then orders, returns, corrections, moves, redemptions, coupons and points that
# lift tiers while campaigns are defined anew and ended, and kill -9 in the middle
# of it, again and again.  Nobody waits in a circle; nothing is lost,
# doubled or overspent: what was acknowledged is there as it was acknowledged,
# a retry earns nothing twice, limits hold, and awards are what the replay of the
# activities says.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IO::Handle;
use List::Util qw(sum0);
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

use Crash;
use Soak;
use Wire;

my $crashes = 0;
my $clients = 6;
my $members = 12;
my $budget = $ENV{LOYALTY_SOAK} ? 40_000 : 3_000;

my $node = PostgreSQL::Test::Cluster->new('rule_crash');
$node->init;
$node->append_conf('postgresql.conf', "max_connections = 130\nautovacuum_naptime = 1s\ncheckpoint_timeout = 30s\nwal_level = minimal\nmax_wal_senders = 0\ntimezone = 'UTC'");
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION loyalty CASCADE; SELECT loyalty.setup(); SELECT loyalty.define_activity_kind('visit')");

my %server = (host => $node->host, port => $node->port, user => $ENV{USER} || getpwuid($<), database => 'postgres');
my $directory = PostgreSQL::Test::Utils::tempdir();

sub answer_of { my $value = $node->safe_psql('postgres', shift); return $value }

# ---------------------------------------------------------------------------
# A hundred sessions of 20 points each, and a budget of 1,000 that takes all or
# nothing: 50 have it.  One that is taken back in time sells its share again.
# ---------------------------------------------------------------------------

answer_of(q(SELECT loyalty.define_campaign('visits', '{"on": ["visit"], "at_limit": "refuse", "limits": {"total": {"points": 1000}}, "then": [{"points": 20}]}', '2020-01-01')));
for my $turn (1 .. 2)
{
	my @wires = map { Wire->new(%server) } 1 .. 100;
	my $first = 1000 * $turn;

	# in the first turn ten take their share and let it go, while the others wait for it or not
	my @undecided = $turn == 1 ? @wires[ 0 .. 9 ] : ();
	for my $i (0 .. $#undecided)
	{
		$undecided[$i]->query('BEGIN');
		my $answer = $undecided[$i]->query('SELECT points FROM loyalty.record_activity(' . ($first + 500 + $i) . ", 'visit', '2026-05-01')");
		is($answer->{rows}[0][0], 20, 'its share');
	}
	my @others = $turn == 1 ? @wires[ 10 .. 99 ] : @wires;
	$_->put(Wire::typed('Q', 'SELECT points FROM loyalty.record_activity(' . (10_000 * $_->{pid} + $turn) . ", 'visit', '2026-05-01')\0")) for @others;
	sleep 0.5;
	$_->query('ROLLBACK') for @undecided;
	my @got = map { $_->answer->{rows}[0][0] } @others;
	if ($turn == 1)
	{
		# who came while the ten had theirs was refused, or waited and has it
		cmp_ok(sum0(@got), '<=', 1000, 'no more than there is');
		cmp_ok(sum0(@got), '>=', 800, 'and all that nobody had');
	}
	is(scalar(grep { $_ != 20 && $_ != 0 } @got), 0, 'all or nothing');
}
is(answer_of("SELECT count(*), sum(points) FROM loyalty.award WHERE campaign = 'visits' AND points > 0"), '50|1000', 'fifty have it');
is(answer_of("SELECT loyalty.campaign_budget_left('visits')"), '0', 'and nothing is left');
is(answer_of('SELECT * FROM loyalty.check_all()'), '', 'all is well');

# ---------------------------------------------------------------------------
# kill -9
# ---------------------------------------------------------------------------

answer_of(<<"SQL");
SELECT loyalty.define_campaign('base', '{"limits": {"member": {"points": 500, "within": "day"}}, "then": [{"points": {"give": 1, "per": 1}}]}', '2020-01-01');
SELECT loyalty.define_campaign('tea', '{"lane": "bonus", "when": {"lines": {"category": ["tea"]}}, "then": [{"multiply": 2, "lane": "base", "over": "matching_lines"}]}', '2020-01-01');
SELECT loyalty.define_campaign('march', '{"window": "month", "having": {"amount": {">=": 300}}, "then": [{"points": 70}]}', '2020-01-01');
SELECT loyalty.define_campaign('gift', '{"when": {"amount": {">=": 50}}, "limits": {"total": {"points": $budget}}, "then": [{"points": 30}]}', '2020-01-01');
SELECT loyalty.create_currency('status');
SELECT loyalty.define_measure('status', 'points', 'status');
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "status", "window": "lifetime"}], "validity": "forever", "levels": [@{[ join ', ', '{"level": "l0"}',
	map { qq({"level": "l$_", "all": {"status": @{[ 400 * $_ ]}}}) } 1 .. 20 ]}]}');
SELECT loyalty.define_campaign('status', '{"then": [{"points": {"give": 1, "per": 2}, "currency": "status"}]}', '2020-01-01');
SELECT loyalty.define_campaign('step', '{"on": ["tier_changed"], "limits": {"total": {"points": 4000}}, "then": [{"points": 10}]}', '2020-01-01');
SELECT loyalty.define_campaign('short', '{"then": [{"points": 1}]}', '2020-01-01');
SELECT loyalty.define_benefit('ten', '{"kind": "coupon", "codes": "generic", "member": 20, "total": 100, "discount": {"percent": 10}}');
SELECT loyalty.add_codes('ten', '{TEN}');
SQL

# What a client does next; its text says all, so that the same text is a retry.
sub call_of
{
	my ($client, $n, $orders) = @_;
	my $key = "c$client-$n";
	my $member = 1 + int rand $members;
	my $what = rand;
	my $at = sprintf "'2026-%02d-%02d %02d:00Z'", 3 + int(rand 2), 1 + int(rand 3), int rand 24;
	if ($what < 0.55 || !@$orders)
	{
		my $amount = 1 + int rand 200;
		my $order = rand() < .5 ? "amount => $amount" :
		  "lines => '[{\"category\": \"tea\", \"quantity\": 1, \"amount\": $amount}, {\"category\": \"book\", \"quantity\": 1, \"amount\": 20}]'";
		$order .= ", codes => '{TEN}'" if rand() < .1;
		return ($key, 'order', "SELECT '$member', activity_id, points, replayed FROM loyalty.record_activity($member, 'order', $at, $order, external_id => '$key', idempotency_key => '$key')");
	}
	if ($what < 0.87)
	{
		my $order = $orders->[ rand @$orders ];
		my ($owner, $id) = @$order;
		my $to = 1 + int rand $members;
		if (rand() < .1 && $to != $owner)
		{
			$order->[0] = $to;
			return ($key, 'move', "SELECT '$owner', revision, points, replayed FROM loyalty.revise_activity($owner, $id, to_member_id => $to, idempotency_key => '$key')");
		}
		my $change = $what < 0.7 ? "record_return($owner, $id" : 'revise_activity(' . "$owner, $id, " . (rand() < .4 ? 'cancelled => ' . (rand() < .5 ? 'true' : 'false') : 'confirmed => true');
		return ($key, 'change', "SELECT '$owner', revision, points, replayed FROM loyalty.$change, idempotency_key => '$key')");
	}
	return ($key, 'redeem', "SELECT '$member', entry_id, available, replayed FROM loyalty.redeem($member, 25, effective_at => '2026-06-01', idempotency_key => '$key')") if $what < 0.92;
	return ($key, 'earn', "SELECT '$member', entry_id, available, replayed FROM loyalty.earn($member, 40, 'status', idempotency_key => '$key')") if $what < 0.97;
	# one that ends, to begin again at the same instant
	return ($key, 'define', 'SELECT 0, ' . (rand() < .5 ? "loyalty.end_campaign('short', '2020-01-01')" : "loyalty.define_campaign('short', '{\"then\": [{\"points\": 1}]}', '2020-01-01')") . ', 0, false')
	  if $what > 0.99;
	my $rate = 1 + int rand 3;
	return ($key, 'define', "SELECT 0, loyalty.define_campaign('base', '{\"limits\": {\"member\": {\"points\": 500, \"within\": \"day\"}}, \"then\": [{\"points\": {\"give\": $rate, \"per\": 1}}]}', '2020-01-01'), 0, false");
}

# Calls until the connection is lost, and writes down what was acknowledged.
sub client
{
	my ($client, $round) = @_;
	open my $log, '>>', "$directory/client$client" or die $!;
	$log->autoflush;
	srand($client * 1000 + $round);
	my $wire = eval { Wire->new(%server) } or return;
	my @orders;
	for (my $n = $round * 1_000_000;; $n++)
	{
		my ($key, $what, $sql) = call_of($client, $n, \@orders);
		my $answer = $wire->query($sql);
		if (!$answer || $answer->{error} && $answer->{error}{C} =~ /^57P/)
		{
			print $log "hanging\t$key\t$what\t$sql\n";
			return;
		}
		if ($answer->{error}) { print $log "refused\t$key\t$answer->{error}{C}\t$answer->{error}{M}\n"; next }
		my @row = @{ $answer->{rows}[0] };
		print $log join("\t", 'acknowledged', $key, $what, $sql, @row), "\n";
		push @orders, [ @row[ 0, 1 ] ] if $what eq 'order';
	}
}

my $next = Soak::rounds(6, 6);
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
	sleep 0.5 + rand 1;
	crash($node, $round % 2, @pids);
}

my (%acknowledged, %hanging, @wrong);
for my $client (1 .. $clients)
{
	for my $line (split /\n/, slurp_file("$directory/client$client"))
	{
		my ($outcome, $key, @rest) = split /\t/, $line;
		if ($outcome eq 'acknowledged')
		{
			push @wrong, "$key was replayed at once" if $rest[5] ne 'f';
			$acknowledged{$key} = { what => $rest[0], sql => $rest[1], member => $rest[2], id => $rest[3], points => $rest[4] };
		}
		elsif ($outcome eq 'hanging') { $hanging{$key} = { what => $rest[0], sql => $rest[1] } }
		# points that are not there, returns of what is returned, cancelled or moved, and coupons beyond the limits
		elsif ($rest[0] !~ /^LY(?:101|50[0-9]|60[67]|61[67])$/) { push @wrong, $line }
	}
}
is(join("\n", @wrong[ 0 .. ($#wrong < 5 ? $#wrong : 5) ]), '', 'no other refusal than of what is not there');
note(scalar(keys %acknowledged), ' acknowledged, ', scalar(keys %hanging), ' cut off, ', $crashes, ' crashes');
for my $what (qw(order change move redeem earn define))
{
	cmp_ok(scalar(grep { $acknowledged{$_}{what} eq $what } keys %acknowledged), '>', 0, "there was: $what");
}
is(answer_of('SELECT * FROM loyalty.check_all()'), '', 'check_all() finds nothing');

# what was acknowledged is there, once
my %there = map { my ($key, $member, $id) = split /\|/; ($key => [ $member, $id ]) }
  split /\n/, answer_of("SELECT idempotency_key, member_id, activity_id FROM loyalty.activity WHERE idempotency_key IS NOT NULL");
my @orders = grep { $acknowledged{$_}{what} eq 'order' } keys %acknowledged;
is(scalar(grep { !$there{$_} || "@{ $there{$_} }" ne "$acknowledged{$_}{member} $acknowledged{$_}{id}" } @orders), 0, 'all orders that were acknowledged are there');
is(scalar(grep { !$acknowledged{$_} && !$hanging{$_} } keys %there), 0, 'and none that nobody gave');
is(answer_of("SELECT count(*) FROM (SELECT FROM loyalty.activity WHERE kind = 'order' AND moved_to IS NULL GROUP BY member_id, external_id HAVING count(*) > 1) x"), '0', 'none twice');

# a retry earns nothing twice
my $before = answer_of('SELECT count(*), sum(points) FROM loyalty.award');
my $wire = Wire->new(%server);
@wrong = ();
for my $key (sort grep { $acknowledged{$_}{what} ne 'define' } keys %acknowledged)
{
	my $answer = $wire->query($acknowledged{$key}{sql});
	my $row = $answer->{rows}[0] || [];
	push @wrong, "$key: @{[ map { $_ // 'NULL' } @$row ]} " . ($answer->{error} ? $answer->{error}{M} : '')
	  unless @$row && $row->[3] eq 't' && $row->[1] eq $acknowledged{$key}{id} && $row->[2] eq $acknowledged{$key}{points};
}
is(join("\n", @wrong[ 0 .. ($#wrong < 5 ? $#wrong : 5) ]), '', 'a retry says what the first call said');
is(answer_of('SELECT count(*), sum(points) FROM loyalty.award'), $before, 'and earns nothing');

# limits
is(answer_of(<<'SQL'), '0', 'nobody has more than 500 a day');
SELECT count(*) FROM (SELECT FROM loyalty.award WHERE campaign = 'base' GROUP BY member_id, local_day HAVING sum(points) > 500) x
SQL
is(answer_of("SELECT loyalty.campaign_budget_left('gift') + coalesce(sum(points), 0) FROM loyalty.award WHERE campaign = 'gift'"), $budget, 'what was given and what is left make the budget');
cmp_ok(answer_of("SELECT loyalty.campaign_budget_left('gift')"), '>=', 0, 'which is not overspent');
is(answer_of(<<'SQL'), '0', 'awards without a budget are what the replay says');
SELECT count(*) FROM loyalty.backtest_campaigns('{"gift": null, "visits": null, "step": null}', kinds => '{order}') b
FULL JOIN (SELECT member_id, sum(points) AS points FROM loyalty.award WHERE campaign IN ('base', 'tea', 'march', 'short') GROUP BY 1) a USING (member_id)
WHERE coalesce(b.points_then, 0) <> coalesce(a.points, 0)
SQL

$node->stop;
done_testing();
