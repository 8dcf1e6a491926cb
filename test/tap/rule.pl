# What activities earn, in random histories, against the reference of
# RuleReference.pm: campaigns with groups, multipliers, limits and budgets,
# windows, and orders that are revised, returned, moved, and recorded late, by
# members who merge, and are taken apart.  After a round in which nobody merges the back-test of what
# is defined gives what was given; in the end check_all() is empty.
#
# A history is one member's.  LOYALTY_SEED=n LOYALTY_ROUNDS=1 tries round n
# alone; LOYALTY_SOAK=1 goes on for a quarter of an hour, from a seed of the day.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use List::Util qw(sum0);
use Test::More;

use RuleReference;
use Soak;

my $members = 20;
my $first_seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? int(time / 86400) * 10_000 : 1);
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', $ENV{LOYALTY_TEST_PORT} || 5432, '-U', 'postgres', '-XqAt', '-v', 'ON_ERROR_STOP=1');
my $database = 'rule';

sub run_sql
{
	my ($db, $sql) = @_;
	my ($output, $errors);
	IPC::Run::run([ @psql, '-d', $db ], '<', \$sql, '>', \$output, '2>', \$errors)
	  or die "psql: $errors";
	return $output;
}

sub one_of { return $_[ int(rand(@_)) ] }

sub json
{
	my $x = shift;
	return '{' . join(', ', map { "\"$_\": " . json($x->{$_}) } sort keys %$x) . '}' if ref $x eq 'HASH';
	return '[' . join(', ', map { json($_) } @$x) . ']' if ref $x eq 'ARRAY';
	return $$x if ref $x eq 'SCALAR';
	return $x =~ /^-?\d+(\.\d+)?$/ ? $x : "\"$x\"";
}

# ---- Campaigns: as the reference has them, and as JSON

sub random_effect
{
	my ($lane, $over) = @_;
	my %effect = (round => one_of(qw(floor floor half_up ceil)));
	my %json = (round => $effect{round});
	my $kind = $lane eq 'bonus' && rand() < .6 ? 'multiply' : one_of(qw(rate rate unit fixed every));
	if ($over && $kind =~ /rate|unit|every|multiply/ && rand() < .6)
	{
		$effect{over} = 1;
		$json{over} = 'matching_lines';
	}
	if ($kind =~ /rate|unit/ && rand() < .3)
	{
		$effect{by_line} = 1;
		$json{round_at} = 'line';
	}
	if ($kind eq 'rate')
	{
		@effect{qw(give per)} = (one_of(1, 2, .5), one_of(1, 3, 10));
		$json{points} = { give => $effect{give}, per => $effect{per} };
	}
	elsif ($kind eq 'unit')
	{
		$effect{give} = one_of(1, 5);
		$json{points} = { give => $effect{give}, per => 'unit' };
	}
	elsif ($kind eq 'fixed')
	{
		$effect{give} = one_of(10, 40, 100);
		$json{points} = $effect{give};
	}
	elsif ($kind eq 'every')
	{
		@effect{qw(give every)} = (one_of(5, 20), one_of(30, 50));
		$json{points} = { give => $effect{give}, every => $effect{every} };
	}
	else
	{
		$effect{factor} = one_of(1.5, 2, 3);
		%json = (%json, multiply => $effect{factor}, lane => 'base');
	}
	$effect{kind} = $kind;
	return (\%effect, \%json);
}

sub random_limits
{
	my ($code, $daily) = @_;
	my (@limits, %json);
	if (rand() < .15)
	{
		my $most = one_of(20, 60);
		push @limits, { scope => 'award', counter => "award", most => $most };
		$json{award} = $most;
	}
	if (rand() < .35)
	{
		my ($within, $name) = (one_of(qw(day month)), undef);
		my $most = one_of(50, 120, 300);
		my %member = (points => $most, within => $within);
		if (rand() < .4)
		{
			($within, $name) = ('day', $daily);
			%member = (points => $most, within => 'day', name => $daily);
		}
		push @limits, { scope => 'member', counter => $name // "$code/$within", most => $most, within => $within };
		push @{ $json{member} }, \%member;
	}
	if (rand() < .15)
	{
		push @limits, { scope => 'member', counter => "$code/times", most => 2, within => 'lifetime', times => 1 };
		push @{ $json{member} }, { times => 2, within => 'lifetime' };
	}
	if (rand() < .2)
	{
		my $most = one_of(100, 1000);
		push @limits, { scope => 'total', counter => "$code/total", most => $most };
		$json{total} = { points => $most };
	}
	return (\@limits, \%json);
}

sub random_campaign
{
	my ($code, $kind, $group) = @_;
	my %c = (code => $code, lane => one_of(qw(base base bonus)), priority => one_of(1, 2, 100), refuse => rand() < .2, keep => rand() < .15, stop => rand() < .1);
	my %json = (on => [$kind], lane => $c{lane}, priority => $c{priority}, at_limit => $c{refuse} ? 'refuse' : 'trim',
		on_return => $c{keep} ? 'keep' : 'reevaluate', stop => \($c{stop} ? 'true' : 'false'));
	my (%when, @when);
	if (rand() < .3)
	{
		$when{amount} = one_of(2000, 8000);
		push @when, { amount => { '>=' => $when{amount} / 100 } };
	}
	if (rand() < .15)
	{
		$when{channel} = 'app';
		push @when, { channel => ['app'] };
	}
	if (rand() < .35)
	{
		$when{category} = one_of(qw(tea book));
		my %lines = (category => [ $when{category} ]);
		if (rand() < .3)
		{
			$when{quantity} = 2;
			$lines{quantity} = { '>=' => 2 };
		}
		push @when, { lines => \%lines };
	}
	if (rand() < .25)
	{
		@when{qw(fact compare value)} = (one_of([qw(count lifetime)], [qw(count month)], [qw(spent lifetime)]), one_of('=', '>='), one_of(0, 1, 2));
		$when{compare} = '>=' if $when{fact}[0] eq 'spent';
		$when{value} = one_of(5000, 10000) if $when{fact}[0] eq 'spent';
		push @when, { $when{fact}[0] => { kind => $kind, within => $when{fact}[1], $when{compare} => $when{fact}[0] eq 'spent' ? $when{value} / 100 : $when{value} } };
	}
	$c{when} = \%when;
	$json{when} = { all => \@when } if @when;
	if (rand() < .15)
	{
		@c{qw(window having lane stop)} = (1, one_of(10000, 20000), 'base', 0);
		@json{qw(window having lane stop)} = ('month', { amount => { '>=' => $c{having} / 100 } }, 'base', \'false');
	}
	my $over = $when{category} && !$c{window};
	for (1 .. one_of(1, 1, 2))
	{
		my ($effect, $as_json) = random_effect($c{window} ? 'base' : $c{lane}, $over);
		push @{ $c{then} }, $effect;
		push @{ $json{then} }, $as_json;
	}
	if (!$c{window} && rand() < .4)
	{
		my $by_line = $group->{by_line};
		if (!$by_line || ($over && !grep { !$_->{over} || $_->{kind} eq 'every' } @{ $c{then} }))
		{
			@c{qw(group by_line pick_first)} = ($group->{name}, $by_line, $group->{first});
			$json{exclusive} = { group => $group->{name}, pick => $group->{first} ? 'first' : 'best', scope => $by_line ? 'line' : 'activity' };
		}
	}
	my ($limits, $limits_json) = random_limits($code, "daily_$kind");
	$c{limits} = $limits;
	$json{limits} = $limits_json if %$limits_json;
	return (\%c, json(\%json));
}

# ---- Activities

sub random_lines
{
	return [ map { { category => one_of(qw(tea book mug)), quantity => one_of(1, 1, 2, 3), amount => int(rand(6000)), earns => rand() < .9 ? 1 : 0 } } 1 .. one_of(1, 2, 3) ];
}

sub lines_json { my $lines = shift; return json([ map { { %$_, amount => sprintf('%.2f', $_->{amount} / 100), earns => \($_->{earns} ? 'true' : 'false') } } @$lines ]) }

sub random_at { my $day = sprintf('2026-%02d-%02d', one_of(3, 3, 4), one_of(1 .. 4)); return ($day, sprintf('%s %02d:00:00Z', $day, int(rand(24)))) }

sub random_round
{
	my ($round) = @_;
	srand($round);
	my $kind = "k$round";
	my $group = { name => "g$round", by_line => rand() < .3, first => rand() < .3 };
	my (@campaigns, @sql);
	my $group2 = { name => "h$round", by_line => 0, first => 0 };
	for my $n (1 .. one_of(2 .. 7))
	{
		my ($c, $json) = random_campaign("c${round}_$n", $kind, one_of($group, $group2));
		push @campaigns, $c;
		push @sql, "SELECT loyalty.define_campaign('$c->{code}', '$json', '2026-01-01') \\g /dev/null";
	}
	@campaigns = sort { $a->{lane} cmp $b->{lane} || $a->{priority} <=> $b->{priority} || $a->{code} cmp $b->{code} } @campaigns;
	my $base = $round * $members;
	# in two of three rounds nobody merges: what is replayed then; in the others they are few
	my $apart = $round % 3 != 1;
	my @members = ($base + 1 .. $base + ($apart ? $members : 6));
	my $reference = RuleReference->new(campaigns => \@campaigns, members => \@members);
	unshift @sql, "SELECT loyalty.define_activity_kind('$kind') \\g /dev/null",
	  map { "SELECT loyalty.resolve_member('{\"email\": \"m$_\@example.com\"}') \\g /dev/null" } @members;
	my $activities = 0;
	my (@expected, @merges);
	my $merged = 0;
	for my $step (1 .. $members * 6)
	{
		my @open = grep { $_->{id} } values %{ $reference->{activities} };
		my $what = @open ? one_of(qw(record record record revise revise return move merge part)) : 'record';
		my ($points, $sql);
		if ($what eq 'record')
		{
			my ($day, $at) = random_at();
			my %a = (id => ++$activities, member => one_of(@members), day => $day, at => $at, channel => one_of('app', 'web', undef), lines => []);
			if (rand() < .6)
			{
				$a{lines} = random_lines();
				$a{amount} = sum0(map { $_->{amount} } @{ $a{lines} });
			}
			else
			{
				$a{amount} = int(rand(30000));
			}
			$sql = sprintf("SELECT activity_id AS a%d, points FROM loyalty.record_activity(%d, '%s', '%s', %s, channel => %s) \\gset\n\\echo :points",
				$a{id}, $a{member}, $kind, $at, @{ $a{lines} } ? "lines => '" . lines_json($a{lines}) . "'" : sprintf('%.2f', $a{amount} / 100),
				defined $a{channel} ? "'$a{channel}'" : 'NULL');
			$points = $reference->record(\%a);
		}
		elsif ($what eq 'merge')
		{
			next if rand() > .5 || $apart;
			my ($x, $y) = map { $reference->root($_) } (one_of(@members), one_of(@members));
			next if $x == $y;
			push @merges, [ ++$merged, $y ];
			$sql = "SELECT merge_id AS g$merged FROM loyalty.merge_members($x, $y) \\gset\n\\echo 0";
			$reference->{root}{$y} = $x;
			$points = 0;
		}
		elsif ($what eq 'part')
		{
			next if rand() > .4 || !@merges;
			my ($merge) = splice @merges, int(rand(@merges)), 1;
			$sql = "SELECT loyalty.unmerge_members(:g$merge->[0]) \\g /dev/null\n\\echo 0";
			delete $reference->{root}{ $merge->[1] };
			$points = 0;
		}
		else
		{
			my $a = one_of(sort { $a->{id} <=> $b->{id} } @open);
			my %what;
			my $arguments;
			if ($what eq 'return')
			{
				next if $a->{cancelled} || $a->{returned};
				if (@{ $a->{lines} })
				{
					my @left = grep { $a->{lines}[$_]{quantity} } 0 .. $#{ $a->{lines} };
					my $line = one_of(@left);
					$what{lines} = [ map { $_ == $line ? { %{ $a->{lines}[$_] }, quantity => 0, amount => 0 } : $a->{lines}[$_] } 0 .. $#{ $a->{lines} } ];
					$what{amount} = $a->{amount} - $a->{lines}[$line]{amount};
					$what{returned} = 1 if @left == 1;
					$arguments = sprintf("'[{\"line\": %d}]'", $line + 1);
				}
				else
				{
					my $amount = int(rand($a->{amount} + 1));
					next if !$amount;
					$what{amount} = $a->{amount} - $amount;
					$what{returned} = 1 if !$what{amount};
					$arguments = sprintf('amount => %.2f', $amount / 100);
				}
				$sql = "SELECT points FROM loyalty.record_return($a->{member}, :a$a->{id}, $arguments)";
			}
			else
			{
				my $kind_of = $what eq 'move' ? 'move' : one_of(qw(amount cancelled at nothing));
				if ($kind_of eq 'amount')
				{
					$what{returned} = 0;
					if (@{ $a->{lines} })
					{
						$what{lines} = random_lines();
						$what{amount} = sum0(map { $_->{amount} } @{ $what{lines} });
						$arguments = "lines => '" . lines_json($what{lines}) . "'";
					}
					else
					{
						$what{amount} = int(rand(30000));
						$arguments = sprintf('amount => %.2f', $what{amount} / 100);
					}
				}
				elsif ($kind_of eq 'cancelled')
				{
					$what{cancelled} = !$a->{cancelled};
					$arguments = 'cancelled => ' . ($what{cancelled} ? 'true' : 'false');
				}
				elsif ($kind_of eq 'at')
				{
					# also back to where it was
					my $was = $a->{was} // [];
					@what{qw(day at)} = @$was && rand() < .4 ? @{ one_of(@$was) } : random_at();
					$what{was} = [ @$was, [ @$a{qw(day at)} ] ];
					$arguments = "at => '$what{at}'";
				}
				elsif ($kind_of eq 'move')
				{
					# also back to whom it came from
					$what{member} = defined $a->{came_from} && rand() < .3 ? $a->{came_from} : one_of(@members);
					next if $what{member} == $a->{member};
					$what{came_from} = $a->{member};
					$arguments = "to_member_id => $what{member}";
				}
				else
				{
					$arguments = "confirmed => true";
				}
				$sql = "SELECT points FROM loyalty.revise_activity($a->{member}, :a$a->{id}, $arguments)";
			}
			$points = $reference->revise($a->{id}, $what eq 'return', %what);
		}
		push @sql, $sql;
		push @expected, [ $points, $sql ];
	}
	if ($apart)
	{
		# told apart by kind, as each round has its own; budgets begin full in both
		my $replay = "SELECT count(*) FROM loyalty.backtest_campaigns('{}', kinds => '{$kind}') b FULL JOIN (SELECT member_id, sum(points) AS points"
		  . " FROM loyalty.award WHERE starts_with(campaign, 'c${round}_') GROUP BY 1) a USING (member_id) WHERE coalesce(b.points_now, 0) <> coalesce(a.points, 0)";
		push @sql, $replay;
		push @expected, [ 0, $replay ];
	}
	push @sql, "SELECT loyalty.end_campaign('$_->{code}', '2026-01-01') \\g /dev/null" for @campaigns;
	return (\@sql, \@expected, scalar @members);
}

# ---- Rounds

run_sql('postgres', "DROP DATABASE IF EXISTS $database; CREATE DATABASE $database;");
run_sql($database, <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup();
SQL

my $failed = 0;
my $steps = 0;
my $histories = 0;
my $next = Soak::rounds(100, 15, $ENV{LOYALTY_ROUNDS});
while (my $n = $next->())
{
	my $round = $first_seed + $n - 1;
	my ($sql, $expected, $lives) = random_round($round);
	$histories += $lives;
	my $base = $round * $members;
	my $script = "SET client_min_messages = error;\nALTER SEQUENCE loyalty.member_member_id_seq RESTART WITH " . ($base + 1) . ";\n" . join(";\n", @$sql) . ";\n";
	$script =~ s/(\\g \/dev\/null|\\echo [^;]*);/$1/g;
	my $output = eval { run_sql($database, $script) };
	my @got = split /\n/, $output // '';
	my $wrong;
	$steps += @$expected;
	for my $i (0 .. $#$expected)
	{
		next if defined $got[$i] && $got[$i] eq $expected->[$i][0];
		$wrong = "step $i: " . ($got[$i] // "nothing ($@)") . ", not $expected->[$i][0]: $expected->[$i][1]";
		last;
	}
	if ($wrong)
	{
		$failed++;
		diag("round $round: $wrong");
		diag($script) if $ENV{LOYALTY_SEED};
		last if $failed > 5;
	}
}
is($failed, 0, sprintf('%d histories, %d steps, as the reference has them', $histories, $steps));
is(run_sql($database, "SELECT * FROM loyalty.check_all() WHERE room IN ('rule', 'activity', 'ledger') LIMIT 10"), '', 'all is well');
run_sql('postgres', "DROP DATABASE $database");
done_testing();
