# Random histories of coupons against a reference that is written from the rules
# and shares nothing with the extension: one session, whose every answer is
# foretold (coupons are issued by hand and by a campaign, reserved, redeemed,
# restored, revoked, transferred, and expire; members merge); then several at once, killed now and then, whose acts as they were
# recorded must be such as the rules allow, with the states, the limits and the
# discounts that follow from them.
#
# A history is one member's; LOYALTY_SOAK=1 goes on for twenty minutes.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use POSIX ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

use Crash;
use Soak;
use Wire;

my $seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? time : 1);
my $rounds = 0;
my $members = $ENV{LOYALTY_SOAK} ? 100 : 20;
my $steps = $ENV{LOYALTY_SOAK} ? 1500 : 500;
srand $seed;
note "LOYALTY_SEED=$seed";

my $node = PostgreSQL::Test::Cluster->new('coupon');
$node->init;
$node->append_conf('postgresql.conf', "max_connections = 40\ntimezone = 'UTC'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION loyalty CASCADE; SELECT loyalty.setup();');
$node->safe_psql('template1', 'CREATE DATABASE made TEMPLATE postgres');
my %server = (host => $node->host, port => $node->port, user => $ENV{USER} || getpwuid($<), database => 'postgres');

# What there is.  Instants are hours from 2020-01-01 on.
my %benefit = (
	once => { percent => 10, times => 1, valid => 48 },
	twice => { percent => 20, times => 2, valid => 100, grace => 24 },
	again => { amount => 30, minimum => 50, times => 1, valid => 72, reevaluate => 1 },
	summer => { percent => 15, times => 1, valid => 60, generic => 'SUMMER', member => 2, total => int(1.2 * $members) },
	# of an order of 100.00 and more, by a campaign
	given => { percent => 10, times => 1, valid => 72 });
my @members = 1 .. $members;

sub at { sprintf "'2020-01-01 00:00Z'::timestamptz + interval '%d hours'", $_[0] }
sub hours { "extract(epoch FROM $_[0] - '2020-01-01 00:00Z')::numeric / 3600" }

sub define
{
	my ($database) = @_;
	for my $name (sort keys %benefit)
	{
		my $b = $benefit{$name};
		my %definition = (kind => 'coupon', times => $b->{times}, valid => "$b->{valid} hours", exclusive => undef,
			discount => $b->{percent} ? { percent => $b->{percent} } : { amount => $b->{amount} });
		$definition{grace} = "$b->{grace} hours" if $b->{grace};
		$definition{minimum} = $b->{minimum} if $b->{minimum};
		$definition{on_return} = 'reevaluate' if $b->{reevaluate};
		@definition{qw(codes member total)} = ('generic', $b->{member}, $b->{total}) if $b->{generic};
		$node->safe_psql($database, "SELECT loyalty.define_benefit('$name', '" . encode_json(\%definition) . "')");
		$node->safe_psql($database, "SELECT loyalty.add_codes('$name', '{$b->{generic}}')") if $b->{generic};
	}
	$node->safe_psql($database, qq(SELECT loyalty.define_campaign('give', '{"when": {"amount": {">=": 100}}, "then": [{"coupon": "given"}]}', '2019-01-01')));
	$node->safe_psql($database, qq(SELECT count(loyalty.resolve_member(jsonb_build_object('email', i || '\@example.com'))) FROM generate_series(1, $members) i));
}

# ---------------------------------------------------------------------------
# The reference: what the rules say of a coupon
# ---------------------------------------------------------------------------

sub held_by_other
{
	my ($c, $basket, $t) = @_;
	return defined $c->{basket} && $t < $c->{held_until} && !(defined $basket && $basket eq $c->{basket});
}

# Why a coupon cannot be used at an instant, or ''.
sub refusal
{
	my ($c, $basket, $t, $how) = @_;
	return 'LY608' if $c->{ended};
	return 'LY607' if $c->{uses} >= $c->{b}{times};
	return 'LY606' if held_by_other($c, $basket, $t);
	return '' if $how eq 'again' || $how eq 'redeem' && defined $c->{basket} && defined $basket && $c->{basket} eq $basket && $t < $c->{held_until};
	return 'LY604' if $t < $c->{valid_from};
	return $t >= $c->{valid_until} ? 'LY605' : '';
}

sub state_at
{
	my ($c, $t) = @_;
	return $c->{ended} if $c->{ended};
	return 'redeemed' if $c->{uses} >= $c->{b}{times};
	return 'reserved' if held_by_other($c, undef, $t);
	return $t >= $c->{valid_until} ? 'expired' : 'issued';
}

# An amount in cents, a percentage of it, half up
sub percent_of { my ($cents, $percent) = @_; return int(($cents * $percent * 2 + 100) / 200) }

# What a coupon takes off an order in cents
sub discount_of
{
	my ($b, $cents) = @_;
	return 0 if $b->{minimum} && $cents < 100 * $b->{minimum};
	my $off = $b->{percent} ? percent_of($cents, $b->{percent}) : 100 * $b->{amount};
	return $off < $cents ? $off : $cents;
}

sub restore
{
	my ($c, $t) = @_;
	$c->{uses}--;
	$c->{valid_until} = $t + $c->{b}{grace} if $c->{b}{grace} && $t >= $c->{valid_until};
}

# ---------------------------------------------------------------------------
# One session
# ---------------------------------------------------------------------------

define('postgres');
my ($database, $wire, @coupons, @orders, @wrong, %root, $left, $now);
my $merges = 0;

# Who stands for a member.
sub root { my ($member) = @_; $member = $root{$member} while defined $root{$member}; return $member }

sub is_merged { my ($member) = @_; my $root = root($member); return scalar grep { root($_) == $root && $_ != $member } @members }

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
	return $expected eq $got;
}

sub new_coupon
{
	my ($id, $member, $name, $code, $t, $on_the_spot) = @_;
	my $c = { id => $id, member => $member, name => $name, b => $benefit{$name}, code => $code, uses => 0, valid_from => $t,
		valid_until => $t + $benefit{$name}{valid}, on_the_spot => $on_the_spot };
	push @coupons, $c;
	return $c;
}

sub last_coupon { return $node->safe_psql($database, "SELECT max(coupon_id) FROM loyalty.coupon WHERE member_id = $_[0] AND benefit = '$_[1]'") }

# The campaign looks at an order as it is now, at the instant of its change.
sub look_at
{
	my ($o, $t) = @_;
	my $net = $o->{cents} - ($o->{now_off} || 0);
	my $wants = !$o->{cancelled} && $o->{cents} > 0 && $net >= 10000;
	my $c = $o->{given};
	if ($wants && !$c)
	{
		$o->{given} = new_coupon(last_coupon($o->{member}, 'given'), $o->{member}, 'given', undef, $o->{at});
		$o->{given}{code} = $node->safe_psql($database, "SELECT code FROM loyalty.coupon WHERE coupon_id = $o->{given}{id}");
	}
	elsif (!$wants && $c && !($c->{ended} && $c->{ended} eq 'transferred') && $c->{uses} == 0)
	{
		$c->{ended} ||= 'revoked';
		delete $c->{basket};
		delete $o->{given};
	}
}

sub counted { my ($member, $name) = @_; return scalar grep { $_->{member} == $member && $_->{name} eq $name && !$_->{given_back} && !$_->{from} } @coupons }

# Of whom the one has merged with another, a generic code does not say which coupon it is.
sub fits { my ($c) = @_; return !($c->{b}{generic} && is_merged($c->{member})) }

# The coupon of a generic code for a member: (coupon, why not)
sub generic
{
	my ($member, $basket, $t, $how) = @_;
	my $why = '';
	for my $c (grep { $_->{member} == $member && $_->{name} eq 'summer' && !$_->{ended} } @coupons)
	{
		my $r = refusal($c, $basket, $t, $how);
		return ($c, '') if $r eq '';
		$why = $r unless $r eq 'LY607';
	}
	return (undef, $why || 'LY616') if counted($member, 'summer') >= $benefit{summer}{member};
	if ($left == 0)
	{
		# what lapsed baskets hold is taken back, the earliest first
		my @lapsed = grep { $_->{name} eq 'summer' && $_->{on_the_spot} && !$_->{ended} && $_->{uses} == 0 && defined $_->{basket} && $_->{held_until} <= $t } @coupons;
		return (undef, 'LY617') unless @lapsed;
		for my $c (@lapsed) { $c->{ended} = 'revoked'; $c->{given_back} = 1; delete $c->{basket}; $left++ }
	}
	$left--;
	return (new_coupon(undef, $member, 'summer', 'SUMMER', $t, 1), '');
}

sub random_coupon { my $c = $coupons[ rand @coupons ]; return fits($c) ? $c : $coupons[0] }

sub step
{
	my $what = int rand 112;
	my $t = $now + int(rand 5) - 2;
	my $member = $members[ rand @members ];
	$t = 0 if $t < 0;
	$now++ if rand() < 0.3;
	if ($what < 20 || !grep { $_->{id} } @coupons)
	{
		my $name = (qw(once twice again))[ rand 3 ];
		my ($error, $rows) = ask("SELECT coupon_id, code FROM loyalty.issue_coupon($member, '$name', " . at($t) . ')');
		new_coupon(@{ $rows->[0] }[0], $member, $name, $rows->[0][1], $t) if expect('issue', '', $error);
	}
	elsif ($what < 38)
	{
		my $c = random_coupon();
		my $basket = (qw(A B))[ rand 2 ];
		my $until = $t + 1 + int rand 8;
		my $why = '';
		($c, $why) = ($c->{b}{generic} ? generic($c->{member}, $basket, $t, 'reserve') : ($c, $c->{ended} && $c->{ended} eq 'transferred' ? 'LY603' : refusal($c, $basket, $t, 'reserve')));
		my $code = $c ? $c->{code} : 'SUMMER';
		my $who = $c ? $c->{member} : undef;
		return if !defined $who;
		my ($error, $rows) = ask("SELECT coupon_id FROM loyalty.reserve_coupons($who, '$basket', '{$code}', " . at($until) . ', ' . at($t) . ')');
		if (expect("reserve $code", $why, $error) && !$error)
		{
			$c->{id} //= $rows->[0][0];
			expect('which coupon', $c->{id}, $rows->[0][0]);
			@$c{qw(basket held_until)} = ($basket, $until);
		}
	}
	elsif ($what < 45)
	{
		my $basket = (qw(A B))[ rand 2 ];
		my @held = grep { root($_->{member}) == root($member) && defined $_->{basket} && $_->{basket} eq $basket } @coupons;
		my ($error, $rows) = ask("SELECT loyalty.release_coupons($member, '$basket', at => " . at($t) . ')');
		expect('release', scalar @held, $rows->[0][0]);
		for my $c (@held)
		{
			delete $c->{basket};
			if ($c->{on_the_spot} && $c->{uses} == 0) { $c->{ended} = 'revoked'; $c->{given_back} = 1; $left++ }
		}
	}
	elsif ($what < 70)
	{
		my $c = random_coupon();
		my $basket = (undef, 'A', 'B')[ rand 3 ];
		my $cents = 100 * (10 + int rand 200);
		my $why = '';
		my $who = $c->{member};
		my $code = $c->{code};
		($c, $why) = ($c->{b}{generic} ? generic($who, $basket, $t, 'redeem') : ($c, $c->{ended} && $c->{ended} eq 'transferred' ? 'LY603' : refusal($c, $basket, $t, 'redeem')));
		my $off = $c ? discount_of($c->{b}, $cents) : 0;
		$why = 'LY610' if $why eq '' && $off == 0;
		my ($error, $rows) = ask("SELECT activity_id, discount FROM loyalty.record_activity($who, 'order', " . at($t) . ", lines => '[{\"amount\": " . ($cents / 100) . "}]', codes => '{$code}'" . (defined $basket ? ", basket => '$basket'" : '') . ')');
		if (expect("redeem $code", $why, $error) && !$error)
		{
			expect('discount', $off, sprintf('%.0f', 100 * $rows->[0][1]));
			$c->{id} //= $node->safe_psql($database, "SELECT max(coupon_id) FROM loyalty.coupon WHERE member_id = $who AND code = '$code'");
			$c->{uses}++;
			delete $c->{basket};
			push @orders, { id => $rows->[0][0], member => $who, at => $t, coupon => $c, then => $cents, off => $off, now_off => $off, cents => $cents, held => 1 };
			look_at($orders[-1], $t);
		}
		elsif (!$c || !defined $c->{id}) { undo_new($c) }
	}
	elsif ($what < 88 && @orders)
	{
		my $o = $orders[ rand @orders ];
		my $c = $o->{coupon};
		return if $o->{cents} == 0 || $o->{cancelled};
		my $back = rand() < 0.3 ? $o->{cents} : 100 * int rand(1 + $o->{cents} / 100);
		$back = $o->{cents} if $back == 0;
		my $when = ($o->{at} > $t ? $o->{at} : $t) + int rand 3;
		my $net = $o->{cents} - $back;
		# half up, of what it took off then
		my $keep = !$c ? 0 : $c->{b}{reevaluate} ? discount_of($c->{b}, $net) : int(($o->{off} * $net * 2 + $o->{then}) / (2 * $o->{then}));
		my $again = $c && $net > 0 && !$o->{held} && $keep > 0 && $c->{b}{reevaluate};
		my $why = $again ? refusal($c, undef, $when, 'again') : '';
		my $part = $net == 0 ? '' : $c ? "'[{\"line\": 1, \"amount\": " . ($back / 100) . "}]', " : 'amount => ' . ($back / 100) . ', ';
		my ($error) = ask("SELECT revision FROM loyalty.record_return($o->{member}, $o->{id}, ${part}at => " . at($when) . ')');
		return unless expect('return', $why, $error) && !$error;
		$o->{cents} = $net;
		if ($o->{held} && ($net == 0 || $c->{b}{reevaluate} && $keep == 0)) { restore($c, $when); $o->{held} = 0 }
		elsif ($again) { $c->{uses}++; delete $c->{basket}; $o->{held} = 1 }
		$o->{now_off} = $o->{held} ? $keep : 0;
		look_at($o, $when);
		my ($e, $rows) = ask("SELECT amount FROM loyalty.activity WHERE activity_id = $o->{id}");
		expect('amount left', $net - $o->{now_off}, sprintf('%.0f', 100 * $rows->[0][0]));
	}
	elsif ($what >= 111)
	{
		my ($x, $y) = map { root($_) } $member, $members[ rand @members ];
		return if $x == $y || rand() > .2;
		my ($error) = ask("SELECT loyalty.merge_members($x, $y)");
		$root{$y} = $x if expect('merge', '', $error);
		$merges++;
	}
	elsif ($what >= 104)
	{
		my $cents = 100 * (10 + int rand 200);
		my ($error, $rows) = ask("SELECT activity_id FROM loyalty.record_activity($member, 'order', " . at($t) . ', amount => ' . ($cents / 100) . ')');
		return unless expect('order', '', $error);
		push @orders, { id => $rows->[0][0], member => $member, at => $t, cents => $cents };
		look_at($orders[-1], $t);
	}
	elsif ($what >= 100)
	{
		my @open = grep { !$_->{coupon} && $_->{cents} } @orders;
		return unless @open;
		my $o = $open[ rand @open ];
		my $cancelled = $o->{cancelled} ? 0 : 1;
		my ($error) = ask("SELECT revision FROM loyalty.revise_activity($o->{member}, $o->{id}, cancelled => " . ($cancelled ? 'true' : 'false') . ')');
		return unless expect('cancel', '', $error);
		$o->{cancelled} = $cancelled;
		look_at($o, $t);
	}
	elsif ($what < 94)
	{
		my $c = random_coupon();
		return unless defined $c->{id};
		my $why = $c->{ended} ? 'LY608' : $c->{uses} >= $c->{b}{times} ? 'LY607' : '';
		my ($error) = ask("SELECT loyalty.revoke_coupon($c->{member}, $c->{id}, at => " . at($t) . ')');
		return unless expect('revoke', $why, $error) && !$error;
		$c->{ended} = 'revoked';
		delete $c->{basket};
		if ($c->{uses} == 0) { $c->{given_back} = 1; $left++ if $c->{b}{total} && !$c->{from} }
	}
	else
	{
		my $c = random_coupon();
		my $to = $members + $members[ rand @members ];
		return unless defined $c->{id};
		my $why = $to == $c->{member} ? 'LY003' : $c->{ended} ? 'LY608' : $c->{uses} > 0 ? 'LY607' : held_by_other($c, undef, $t) ? 'LY606' : $t >= $c->{valid_until} ? 'LY605' : '';
		my ($error, $rows) = ask("SELECT new_coupon_id FROM loyalty.transfer_coupon($c->{member}, $to, $c->{id}, " . at($t) . ')');
		return unless expect('transfer', $why, $error) && !$error;
		my %new = (%$c, id => $rows->[0][0], member => $to, from => $c->{id}, on_the_spot => 0);
		delete $new{basket};
		push @coupons, \%new;
		$c->{ended} = 'transferred';
		delete $c->{basket};
	}
}

# A coupon that was issued on the spot in a call that was refused is none.
sub undo_new
{
	my ($c) = @_;
	return unless $c && !defined $c->{id};
	@coupons = grep { $_ != $c } @coupons;
	$left++;
}

my $redeemed = 0;
my $next = Soak::rounds(2, 14, $ENV{LOYALTY_ROUNDS});
while (my $round = $next->())
{
	$rounds = $round;
	$database = "round$round";
	$node->safe_psql('template1', "CREATE DATABASE $database TEMPLATE made");
	define($database);
	$wire = Wire->new(%server, database => $database);
	@coupons = @orders = %root = ();
	$left = $benefit{summer}{total};
	$now = 0;
	for (1 .. $steps)
	{
		# by statements and by table access in turn
		ask('SET loyalty.table_access = ' . (rand() < 0.5 ? 'on' : 'off')) if rand() < 0.05;
		step();
		last if @wrong;
	}
	$redeemed += grep { $_->{coupon} } @orders;
	my %state;
	for my $member (@members, map { $members + $_ } @members)
	{
		my ($error, $rows) = ask("SELECT coupon_id, state FROM loyalty.coupons($member, '2029-01-01')");
		$state{ $_->[0] } = $_->[1] for @$rows;
	}
	expect("state of coupon $_->{id}", state_at($_, 24 * 365 * 9), $state{ $_->{id} } // 'none') for @coupons;
	expect('how many coupons', scalar @coupons, scalar keys %state);
	expect('left', $left, $node->safe_psql($database, "SELECT loyalty.escrow_left('benefit/summer/total')"));
	expect('check_all()', '', $node->safe_psql($database, 'SELECT * FROM loyalty.check_all()'));
	undef $wire;
	last if @wrong;
	$node->safe_psql('template1', "DROP DATABASE $database WITH (FORCE)");
}
is(join("\n", @wrong[0 .. ($#wrong < 5 ? $#wrong : 5)]), '', $rounds * $members . ' histories are as foretold, answer by answer, and in their states');
cmp_ok($redeemed, '>', $rounds * $steps / 20, 'coupons were redeemed');
cmp_ok($merges, '>', 0, 'members merged');

# ---------------------------------------------------------------------------
# Several sessions, killed now and then
# ---------------------------------------------------------------------------

$node->safe_psql('postgres', "SELECT loyalty.define_benefit('race', '{\"kind\": \"coupon\", \"discount\": {\"amount\": 1}, \"codes\": \"generic\", \"member\": 3, \"total\": 60}');
	SELECT loyalty.add_codes('race', '{RACE}');
	SELECT loyalty.define_benefit('drawn', '{\"kind\": \"coupon\", \"discount\": {\"amount\": 1}, \"codes\": \"pool\"}');
	SELECT loyalty.add_codes('drawn', (SELECT array_agg('D' || i) FROM generate_series(1, 200) i));
	SELECT count(loyalty.issue_coupon(m, 'once')) FROM generate_series(101, 108) m, generate_series(1, 5)");

sub client
{
	my ($client, $round) = @_;
	srand($seed * 1000 + $client * 100 + $round);
	my $wire = eval { Wire->new(%server) } or return;
	while (1)
	{
		my $member = 101 + int rand 8;
		my $theirs = "(SELECT array_agg(code) FROM (SELECT code FROM loyalty.coupon WHERE member_id = $member AND benefit = 'once' ORDER BY random() LIMIT 1) x)";
		my $order = "(SELECT activity_id FROM loyalty.activity WHERE member_id = $member ORDER BY random() LIMIT 1)";
		my $basket = (qw(A B C))[ rand 3 ];
		my @calls = (
			"SELECT activity_id FROM loyalty.record_activity($member, 'order', amount => 50, codes => '{RACE}', basket => '$basket')",
			"SELECT activity_id FROM loyalty.record_activity($member, 'order', amount => 50, codes => $theirs, basket => '$basket')",
			"SELECT count(*) FROM loyalty.reserve_coupons($member, '$basket', '{RACE}', clock_timestamp() + interval '50 milliseconds')",
			"SELECT count(*) FROM loyalty.reserve_coupons($member, '$basket', $theirs, clock_timestamp() + interval '1 second')",
			"SELECT loyalty.release_coupons($member, '$basket')",
			"SELECT revision FROM loyalty.revise_activity($member, $order, cancelled => " . (rand() < 0.5 ? 'true' : 'false') . ')',
			"SELECT replayed FROM loyalty.transfer_coupon($member, 101 + ($member - 100) % 8, (SELECT coupon_id FROM loyalty.coupon WHERE member_id = $member AND benefit = 'once' AND ended IS NULL ORDER BY random() LIMIT 1))",
			"SELECT code FROM loyalty.issue_coupon($member, 'drawn')");
		my @sql = ($calls[ rand @calls ]);
		@sql = ('BEGIN', @sql, $calls[ rand @calls ], rand() < 0.3 ? 'ROLLBACK' : 'COMMIT') if rand() < 0.3;
		for my $sql (@sql)
		{
			my $answer = $wire->query($sql);
			return if !$answer || $answer->{error} && $answer->{error}{C} =~ /^57P/;
			next unless $answer->{error};
			# two transactions of several calls may meet; all else is an answer
			if ($answer->{error}{C} !~ /^(?:LY50[235]|LY003|LY6|25P02|40P01)/)
			{
				open my $log, '>>', $node->data_dir . '/../wrong' or die $!;
				print $log "$answer->{error}{C} $answer->{error}{M}: $sql\n";
			}
		}
	}
}

$next = Soak::rounds(6, 6);
while (my $round = $next->())
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
	sleep 0.7 + rand 0.7;
	crash($node, $round % 2, @pids);
}
my $unexpected = $node->data_dir . '/../wrong';
is(-e $unexpected ? slurp_file($unexpected) : '', '', 'nothing but business answers');
is($node->safe_psql('postgres', 'SELECT * FROM loyalty.check_all()'), '', 'check_all() finds nothing after crashes');

# Each act, as it was recorded, is one that the rules allow.
@wrong = ();
my (%coupon, %acts);
my $history = $node->safe_psql('postgres', "SELECT a.member_id, a.coupon_id, a.kind, " . hours('a.at') . ', a.basket, ' . hours('a.reserved_until') . ', ' . hours('a.valid_until')
	. ', ' . hours('c.valid_from') . ", c.benefit, a.activity_id FROM loyalty.coupon_act a JOIN loyalty.coupon c USING (member_id, coupon_id) ORDER BY a.coupon_id, a.act");
for (split /\n/, $history)
{
	my ($member, $id, $kind, $at, $basket, $until, $valid_until, $valid_from, $name, $activity) = split /\|/, $_, -1;
	my $c = $coupon{$id} ||= { uses => 0, b => $benefit{$name} || { times => 1 } };
	$acts{$kind}++;
	my $why = $kind eq 'reserved' ? refusal($c, $basket, $at, 'reserve')
	  : $kind eq 'redeemed_again' ? refusal($c, undef, $at, 'again')
	  # of which basket an order was, nobody wrote down: its reservation may be its own
	  : $kind eq 'redeemed' ? refusal($c, $c->{basket}, $at, 'redeem')
	  : $kind =~ /^(?:restored|withdrawn)$/ ? ($c->{uses} > 0 ? '' : 'not used')
	  : $kind eq 'released' ? (defined $c->{basket} ? '' : 'not reserved') : '';
	push @wrong, "coupon $id, $kind at $at: $why" if $why;
	if ($kind eq 'issued') { @$c{qw(valid_from valid_until)} = ($valid_from, $valid_until eq '' ? 1e12 : $valid_until) }
	elsif ($kind eq 'reserved') { @$c{qw(basket held_until)} = ($basket, $until) }
	elsif ($kind =~ /^redeemed/) { $c->{uses}++; delete $c->{basket}; push @wrong, "coupon $id is in two orders" if $c->{uses} > $c->{b}{times} }
	elsif ($kind =~ /^(?:restored|withdrawn)$/) { $c->{uses}--; $c->{valid_until} = $valid_until eq '' ? 1e12 : $valid_until }
	elsif ($kind eq 'released') { delete $c->{basket} }
	elsif ($kind =~ /^(?:revoked|transferred)$/) { $c->{ended} = $kind; delete $c->{basket} }
}
is(join("\n", @wrong[0 .. ($#wrong < 5 ? $#wrong : 5)]), '', 'all acts are such as the rules allow');
note join ', ', map { "$acts{$_} $_" } sort keys %acts;
cmp_ok($acts{$_} || 0, '>', 0, "some were $_") for qw(reserved redeemed released restored redeemed_again revoked transferred);

is($node->safe_psql('postgres', "SELECT count(*) = count(DISTINCT code) FROM loyalty.coupon WHERE benefit = 'drawn'"), 't', 'no code of the pool was drawn twice');
is($node->safe_psql('postgres', "SELECT 60 - count(*) - loyalty.escrow_left('benefit/race/total') FROM loyalty.coupon WHERE benefit = 'race' AND NOT given_back"), '0', 'nothing of the total was lost or doubled');
cmp_ok($node->safe_psql('postgres', "SELECT max(n) FROM (SELECT count(*) AS n FROM loyalty.coupon WHERE benefit = 'race' AND NOT given_back GROUP BY member_id) x"), '<=', 3, 'nobody has more than a member may have');

$node->stop;
done_testing();
