# Random histories of entitlements against a reference that is written from the
# rules and shares nothing with the extension: every answer of one session is
# foretold, and what members have as of any instant.  Then several sessions order
# rewards, use entitlements, claim gifts and spend a household's points, killed now
# and then: nothing is lost, doubled or overdrawn.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use List::Util qw(max min sum0);
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Time::Local qw(timegm);

use Crash;
use Wire;

my $seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? time : 1);
my $steps = $ENV{LOYALTY_SOAK} ? 8000 : 1500;
my $crashes = $ENV{LOYALTY_SOAK} ? 20 : 5;
srand $seed;
note "LOYALTY_SEED=$seed";

my $node = PostgreSQL::Test::Cluster->new('benefit');
$node->init;
$node->append_conf('postgresql.conf', "max_connections = 40\ntimezone = 'UTC'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION loyalty CASCADE; SELECT loyalty.setup();');
my %server = (host => $node->host, port => $node->port, user => $ENV{USER} || getpwuid($<), database => 'postgres');

# Instants are hours from Monday, 2024-01-01 on, in UTC.
sub at { sprintf "'2024-01-01 00:00Z'::timestamptz + interval '%d hours'", $_[0] }
my @month = map { (timegm(0, 0, 0, 1, $_ % 12, 2024 + POSIX::floor($_ / 12)) - timegm(0, 0, 0, 1, 0, 2024)) / 3600 } -30 .. 12;
my %benefit = (
	carried => { quota => 3, period => 'month', carry => 2 },
	weekly => { levels => { gold => 2, platinum => 4 }, period => 'week' },
	best => { levels => { gold => 2, platinum => 4 }, period => 'month', best => 1 },
	rolled => { quota => 3, rolling => 240 },
	once => { quota => 5 });
my @members = 1 .. 5;
my %grants;

$node->safe_psql('postgres', q{SELECT loyalty.define_measure('n');
	SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "n", "window": "lifetime"}], "levels": [{"level": "gold", "any": {"n": 1000}}, {"level": "platinum", "any": {"n": 2000}}]}')});
for my $name (keys %benefit)
{
	my $b = $benefit{$name};
	my $quota = $b->{levels} ? '{"club": {' . join(', ', map { "\"$_\": $b->{levels}{$_}" } sort keys %{ $b->{levels} }) . '}}' : $b->{quota};
	my @parts = ('"kind": "entitlement"', "\"quota\": $quota");
	push @parts, "\"period\": \"$b->{period}\"" if $b->{period};
	push @parts, "\"rolling\": \"$b->{rolling} hours\"" if $b->{rolling};
	push @parts, "\"carry_over\": $b->{carry}" if $b->{carry};
	push @parts, '"level": "best"' if $b->{best};
	$node->safe_psql('postgres', "SELECT loyalty.define_benefit('$name', '{" . join(', ', @parts) . "}')");
}
for my $member (@members)
{
	my $t = 0;
	while ($t < 2400)
	{
		my $until = $t + 24 + int rand 500;
		my $level = (undef, 'gold', 'platinum')[ rand 3 ];
		push @{ $grants{$member} }, [ $t, $until, $level ];
		$node->safe_psql('postgres', "SELECT loyalty.grant_tier($member, 'club', '$level', starts_at => " . at($t) . ', ends_at => ' . at($until) . ')') if $level;
		$t = $until;
	}
}

# ---------------------------------------------------------------------------
# The reference
# ---------------------------------------------------------------------------

sub period_of
{
	my ($b, $t) = @_;
	return (-1e9, 1e9) unless $b->{period} || $b->{rolling};
	return ($t - $b->{rolling} + 1e-6, $t + 1e-6) if $b->{rolling};
	return (168 * POSIX::floor($t / 168), 168 * POSIX::floor($t / 168) + 168) if $b->{period} eq 'week';
	my ($i) = grep { $month[$_] <= $t && $t < $month[ $_ + 1 ] } 0 .. $#month - 1;
	return ($month[$i], $month[ $i + 1 ]);
}

sub level_at
{
	my ($member, $t) = @_;
	my ($held) = grep { $_->[0] <= $t && $t < $_->[1] } @{ $grants{$member} };
	return $held ? $held->[2] : undef;
}

# what a use is by its acts up to an instant
sub folded
{
	my ($u, $as_of) = @_;
	my %f = (%$u, known => 0);
	for my $act (@{ $u->{acts} })
	{
		next if $act->{at} > $as_of;
		$f{known} = 1;
		$f{until} = $act->{until} // 1e9;
		$f{ended} = 1 if $act->{kind} eq 'restored';
		$f{last} = $act->{kind};
	}
	return \%f;
}

sub counts { my ($f, $t) = @_; return $f->{known} && !$f->{ended} && $f->{until} > $t }
sub used { my ($uses, $t, $from, $until) = @_; return sum0(map { $_->{quantity} } grep { counts($_, $t) && $_->{at} >= $from && $_->{at} < $until } @$uses) }

sub own_quota
{
	my ($b, $member, $t, $from) = @_;
	return $b->{quota} unless $b->{levels};
	my $now = $b->{levels}{ level_at($member, $t) // '' } || 0;
	return $now unless $b->{best};
	return max(map { $b->{levels}{ $_->[2] // '' } || 0 } grep { $_->[0] <= $t && $_->[1] > $from } @{ $grants{$member} }, [ 0, 1e9, undef ]);
}

sub carried
{
	my ($b, $uses, $t, $until, $depth) = @_;
	return 0 if !$b->{carry} || $depth == 0;
	my ($from) = period_of($b, $until - 1);
	my $before = carried($b, $uses, $t, $from, $depth - 1);
	return max(0, min($b->{carry}, $b->{quota}, $b->{quota} + $before - used($uses, $t, $from, $until)));
}

# What the periods after the one that ends there have used of what it leaves to
# them: a use that is recorded late must not take it from them.
sub used_of_left
{
	my ($b, $uses, $t, $until, $depth) = @_;
	return 0 if !$b->{carry} || $depth == 0;
	my ($from, $next) = period_of($b, $until);
	my $used = used($uses, $t, $from, $next);
	return max(0, min($used, $used + used_of_left($b, $uses, $t, $next, $depth - 1) - $b->{quota}));
}

# allowed, used, most used in any period with the instant, left
sub decide
{
	my ($name, $member, $t, $uses) = @_;
	my $b = $benefit{$name};
	my ($from, $until) = period_of($b, $t);
	my $used = used($uses, $t, $from, $until);
	my $most = $used;
	if ($b->{rolling})
	{
		for my $u (grep { counts($_, $t) && $_->{at} > $t && $_->{at} - $b->{rolling} < $t } @$uses)
		{
			$most = max($most, used($uses, $t, period_of($b, $u->{at})));
		}
	}
	my $allowed = own_quota($b, $member, $t, $from) + carried($b, $uses, $t, $from, 12);
	$most += min(used_of_left($b, $uses, $t, $until, 12), carried($b, $uses, $t, $until, 12));
	my $open = !$b->{levels} || ($b->{levels}{ level_at($member, $t) // '' } || 0) > 0;
	return { allowed => $allowed, used => $used, most => $most, open => $open, left => $open ? max(0, $allowed - $most) : 0 };
}

# ---------------------------------------------------------------------------
# One session
# ---------------------------------------------------------------------------

my $wire = Wire->new(%server);
my (@uses, @wrong, %answers);

sub ask
{
	my ($sql) = @_;
	my $answer = $wire->query($sql) or BAIL_OUT("connection lost: $sql");
	return ($answer->{error} ? $answer->{error}{C} : '', $answer->{rows} || []);
}

sub expect
{
	my ($what, $expected, $got) = @_;
	push @wrong, "$what: $got, not $expected" if $expected ne $got;
	$answers{$expected =~ /^LY/ ? $expected : 'done'}++;
	return $expected eq $got;
}

sub of { my ($name, $member, $as_of) = @_; return [ map { folded($_, $as_of) } grep { $_->{benefit} eq $name && $_->{member} == $member } @uses ] }

sub step
{
	my $member = $members[ rand @members ];
	my $t = 700 + int rand 1200;
	my $what = rand;
	if ($what < 0.6 || !@uses)
	{
		my $name = (sort keys %benefit)[ rand keys %benefit ];
		my $quantity = 1 + int(rand(1.3) * rand(2));
		my $until = rand() < 0.3 ? $t + 1 + int rand 100 : undef;
		my $d = decide($name, $member, $t, of($name, $member, 1e9));
		my $expected = $quantity <= $d->{left} ? $d->{left} - $quantity : $d->{open} ? 'LY612' : 'LY609';
		my ($error, $rows) = ask("SELECT use_id, remaining FROM loyalty.use_entitlement($member, '$name', $quantity, " . at($t) . ($until ? ', ' . at($until) : '') . ')');
		return unless expect("use $quantity of $name by $member at $t", $expected, $error || $rows->[0][1]) && !$error;
		push @uses, { id => $rows->[0][0], member => $member, benefit => $name, quantity => $quantity, at => $t, allowed => $d->{allowed},
			acts => [ { kind => $until ? 'reserved' : 'used', at => $t, until => $until } ] };
		return;
	}
	my $u = $uses[ rand @uses ];
	my $f = folded($u, 1e9);
	$t = $u->{at} + int(rand(120)) - 5 if rand() < 0.7;
	my $others = [ grep { $_->{id} != $u->{id} } @{ of($u->{benefit}, $u->{member}, 1e9) } ];
	my $why = $f->{ended} ? 'LY622' : $t < $u->{at} ? 'LY003' : $f->{last} eq 'reserved' && $f->{until} <= $t ? 'LY621' : '';
	my $kind = $what < 0.8 ? 'confirmed' : 'restored';
	if ($kind eq 'confirmed' && !$why)
	{
		$why = $f->{last} ne 'reserved' ? 'LY622'
		  : decide($u->{benefit}, $u->{member}, $u->{at}, $others)->{most} + $u->{quantity} > $u->{allowed} ? 'LY612' : '';
	}
	push @{ $u->{acts} }, { kind => $kind, at => $t } unless $why;
	my $expected = $why || decide($u->{benefit}, $u->{member}, $t, of($u->{benefit}, $u->{member}, 1e9))->{left};
	my ($error, $rows) = ask('SELECT remaining FROM loyalty.' . ($kind eq 'confirmed' ? 'confirm_use' : 'restore_use') . "($u->{member}, $u->{id}, " . at($t) . ')');
	expect("$kind use $u->{id} of $u->{benefit} at $t", $expected, $error || $rows->[0][0]);
}

for (1 .. $steps)
{
	# by statements and by table access in turn
	ask('SET loyalty.table_access = ' . (rand() < 0.5 ? 'on' : 'off')) if rand() < 0.05;
	step();
	last if @wrong > 5;
}
is(join("\n", @wrong), '', "$steps calls of one session are answered as foretold");
note join ', ', map { "$answers{$_} $_" } sort keys %answers;
cmp_ok($answers{$_} || 0, '>', 5, "some answers were $_") for qw(done LY609 LY612 LY621 LY622);

@wrong = ();
for (1 .. 200)
{
	my $member = $members[ rand @members ];
	my $t = 600 + int rand 1500;
	my ($error, $rows) = ask("SELECT benefit, allowed, used, remaining FROM loyalty.entitlements($member, " . at($t) . ')');
	for my $row (@$rows)
	{
		my $d = decide($row->[0], $member, $t, of($row->[0], $member, $t));
		expect("$row->[0] of $member as of $t", join('/', $d->{allowed}, $d->{used}, $d->{left}), join('/', @$row[ 1 .. 3 ]));
	}
}
is(join("\n", @wrong[ 0 .. min($#wrong, 5) ]), '', 'what members have as of any instant');
is($node->safe_psql('postgres', 'SELECT * FROM loyalty.check_all()'), '', 'check_all() finds nothing');
undef $wire;

# ---------------------------------------------------------------------------
# Several sessions, killed now and then
# ---------------------------------------------------------------------------

$node->safe_psql('postgres', q{
	SELECT loyalty.define_benefit('tea_5', '{"kind": "coupon", "discount": {"amount": 5}}');
	SELECT loyalty.define_benefit('mug', '{"kind": "reward", "points": 10, "stock": 40}');
	SELECT loyalty.define_benefit('voucher', '{"kind": "reward", "points": 20, "stock": 60, "member": 9, "goods": {"coupon": "tea_5"}}');
	SELECT loyalty.define_benefit('visit', '{"kind": "reward", "points": 5, "goods": {"entitlement": "once", "uses": 2}}');
	SELECT loyalty.define_benefit('hello', '{"kind": "gift", "window": {"days": ["2020-01-01", "2060-01-01"]}, "gives": {"points": 7}}');
	SELECT count(loyalty.earn((SELECT r.member_id FROM loyalty.resolve_member(jsonb_build_object('email', m || '@example.com'))  r), 500)) FROM generate_series(1, 6) m;
	SELECT loyalty.create_household('H', (SELECT min(member_id) FROM loyalty.member));
	SELECT loyalty.join_household((SELECT member_id FROM loyalty.household), m.member_id, may_spend => 100) FROM loyalty.member m
	WHERE m.member_id NOT IN (SELECT member_id FROM loyalty.household UNION ALL SELECT person_id FROM loyalty.household_act);
	SELECT loyalty.earn((SELECT member_id FROM loyalty.household), 400)});
my @persons = split /\n/, $node->safe_psql('postgres', 'SELECT person_id FROM loyalty.household_act');
my $household = $node->safe_psql('postgres', 'SELECT member_id FROM loyalty.household');

sub client
{
	my ($client, $round) = @_;
	srand($seed * 1000 + $client * 100 + $round);
	my $wire = eval { Wire->new(%server) } or return;
	while (1)
	{
		my $member = $persons[ rand @persons ];
		my $reward = (qw(mug mug voucher visit))[ rand 4 ];
		my $order = "(SELECT order_id FROM loyalty.reward_order WHERE member_id = $member ORDER BY random() LIMIT 1)";
		my @calls = (
			"SELECT order_id FROM loyalty.order_reward($member, '$reward', 1 + (random() * 2)::int)",
			"SELECT order_id FROM loyalty.order_reward($member, '$reward', hold_until => clock_timestamp() + interval '1 second')",
			"SELECT entry_id FROM loyalty.pay_reward($member, $order)",
			"SELECT entry_id FROM loyalty.fulfil_reward($member, $order)",
			"SELECT points_back FROM loyalty.cancel_reward($member, $order)",
			"SELECT points_back FROM loyalty.cancel_reward($member, $order, 1)",
			"SELECT use_id FROM loyalty.use_entitlement($member, 'once')",
			"SELECT use_id FROM loyalty.use_entitlement($member, 'once', until => clock_timestamp() + interval '80 milliseconds')",
			"SELECT remaining FROM loyalty.restore_use($member, (SELECT use_id FROM loyalty.entitlement_act WHERE member_id = $member ORDER BY random() LIMIT 1))",
			"SELECT period_key FROM loyalty.claim_gift($member, 'hello')",
			"SELECT entry_id FROM loyalty.redeem_for($household, $member, 7)",
			"SELECT entry_id FROM loyalty.reverse($household, (SELECT entry_id FROM loyalty.household_spend WHERE person_id = $member ORDER BY random() LIMIT 1))");
		my @sql = ($calls[ rand @calls ]);
		@sql = ('BEGIN', @sql, $calls[ rand @calls ], rand() < 0.3 ? 'ROLLBACK' : 'COMMIT') if rand() < 0.3;
		for my $sql (@sql)
		{
			my $answer = $wire->query($sql);
			return if !$answer || $answer->{error} && $answer->{error}{C} =~ /^57P/;
			next unless $answer->{error};
			# two transactions of several calls may meet; all else is an answer
			if ($answer->{error}{C} !~ /^(?:LY003|LY10[1356]|LY6|25P02|40P01)/)
			{
				open my $log, '>>', $node->data_dir . '/../wrong' or die $!;
				print $log "$answer->{error}{C} $answer->{error}{M}: $sql\n";
			}
		}
	}
}

for my $round (1 .. $crashes)
{
	my @pids;
	for my $client (1 .. 6)
	{
		my $pid = fork;
		if ($pid == 0)
		{
			eval { client($client, $round) };
			POSIX::_exit(0);
		}
		push @pids, $pid;
	}
	sleep 0.8 + rand 0.7;
	crash($node, $round % 2, @pids);
}
my $unexpected = $node->data_dir . '/../wrong';
is(-e $unexpected ? slurp_file($unexpected) : '', '', 'nothing but business answers');
is($node->safe_psql('postgres', 'SELECT * FROM loyalty.check_all()'), '', 'check_all() finds nothing after crashes');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM loyalty.reward_act WHERE kind = '$_'"), '>', 0, "some orders were $_") for qw(ordered paid fulfilled cancelled);
is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT FROM loyalty.gift_claim GROUP BY member_id HAVING count(*) > 1) x"), '0', 'nobody has a gift twice');
is($node->safe_psql('postgres', "SELECT count(*) FROM loyalty.reward_order o JOIN loyalty.ledger e USING (member_id, entry_id) WHERE abs(e.requested) <> o.points"), '0', 'each order has its points');
cmp_ok($node->safe_psql('postgres', "SELECT coalesce(sum(quantity - cancelled), 0) FROM loyalty.reward_order WHERE reward = 'mug' AND NOT stock_back"), '<=', 40, 'no more than there were');

$node->stop;
done_testing();
