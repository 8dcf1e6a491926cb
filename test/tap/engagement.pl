# Random histories of what members did against a reference that is written from
# the rules and shares nothing with the extension: slow and obvious, it begins
# anew for each question.  Members check in in several time zones, order, return,
# are merged and unmerged, hold freezes, enrol, join and leave, and are told of
# late; then their streaks, badges, challenges, ranks, clubs and journeys are asked
# for as of any instant and as known at any.  Then eight sessions write scores of one
# board, and each rank that is read meanwhile is that of the same snapshot.
use strict;
use warnings;

use List::Util qw(max min sum0 uniq);
use POSIX qw(floor);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use FindBin;
use lib $FindBin::Bin;

use Soak;
use Wire;

my $seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? time : 1);
my $histories = 0;
my $steps = $ENV{LOYALTY_STEPS} || 60;
my $questions = $ENV{LOYALTY_QUESTIONS} || 40;
my $seconds = $ENV{LOYALTY_SECONDS} || ($ENV{LOYALTY_SOAK} ? 60 : 3);
note "LOYALTY_SEED=$seed";

my $node = PostgreSQL::Test::Cluster->new('engagement');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off");
$node->start;
my %server = (host => $node->host, port => $node->port, user => $ENV{USER} || getpwuid($<));
my $wire;

# ---------------------------------------------------------------------------
# Time: hours from Friday, 2024-03-01 00:00Z on; days from that day on
# ---------------------------------------------------------------------------

my $program = 'Europe/Berlin';
# offset before and after the change of the clocks, and when that is
my %zone = ('UTC' => [ 0, 0, 1e9 ], 'Asia/Tokyo' => [ 9, 9, 1e9 ], 'Europe/Berlin' => [ 1, 2, 30 * 24 + 1 ], 'America/Los_Angeles' => [ -8, -7, 9 * 24 + 10 ]);

sub offset { my ($zone, $h) = @_; return $zone{$zone}[ $h >= $zone{$zone}[2] ? 1 : 0 ] }
sub local_of { my ($zone, $h) = @_; return $h + offset($zone, $h) }
sub day_of { return floor(local_of(@_) / 24) }

# the instant of a local time; of one that the clock skips, as the clock before
sub instant
{
	my ($zone, $local) = @_;
	my ($before, $after, $change) = @{ $zone{$zone} };
	return $local - $after if $local - $before >= $change && $local - $after >= $change;
	return $local - $before;
}
sub weekday { my ($day) = @_; return ($day + 4) % 7 + 1 }
sub monday { my ($day) = @_; return $day - weekday($day) + 1 }
# -29: 1 February, and so on to 1 May
my @months = (-60, -29, 0, 31, 61, 92);
sub month { my ($day) = @_; return max(grep { $_ <= $day } @months) }
sub next_month { my ($day) = @_; return min(grep { $_ > $day } @months) }
sub start_of { my ($period, $day) = @_; return $period eq 'day' ? $day : $period eq 'week' ? monday($day) : month($day) }
sub next_start { my ($period, $start) = @_; return $period eq 'day' ? $start + 1 : $period eq 'week' ? $start + 7 : next_month($start) }

sub at { my ($h) = @_; return "timestamptz '2024-03-01 00:00Z' + interval '$h hours'" }
sub date { my ($day) = @_; return "date '2024-03-01' + ($day)" }
sub hours { my ($expression) = @_; return "floor(extract(epoch FROM ($expression) - '2024-03-01 00:00Z') / 3600)" }

# ---------------------------------------------------------------------------
# Definitions
# ---------------------------------------------------------------------------

my %streak = (
	daily => { kind => 'check_in', period => 'day', repair => 2 },
	busy => { kind => 'check_in', period => 'week', at_least => 2, free => 1, counts => 1 },
	travel => { kind => 'check_in', period => 'day', weekdays => [ 1 .. 6 ], holidays => [ 4, 11, 19 ], max_gap => 36 },
	spent => { kind => 'order', period => 'week', amount => 50 });
my %badge = (
	regular => { kind => 'check_in', measure => 'count', levels => [ 1, 3, 6 ] },
	days => { kind => 'check_in', measure => 'days', levels => [ 2, 4 ] },
	spender => { kind => 'order', measure => 'amount', levels => [ 50, 110 ], revocable => 1 },
	hot => { streak => 'daily', levels => [ 2, 3 ], revocable => 1 });
my %challenge = (
	weekly => { kind => 'check_in', measure => 'count', target => 2, period => 'week', times => 2 },
	march => { kind => 'order', measure => 'amount', target => 60, from => 4, until => 30, zone => 'America/Los_Angeles', times => 3 },
	joined => { kind => 'check_in', measure => 'days', target => 2, within => 5, times => 1 });
my %board = (
	week => { kind => 'order', measure => 'amount', period => 'week', ties => 'share', zone => 'America/Los_Angeles' },
	month => { kind => 'check_in', measure => 'count', period => 'month', ties => 'dense', zone => 'Asia/Tokyo' },
	ever => { kind => 'check_in', measure => 'days', period => 'lifetime', ties => 'first', zone => $program },
	clubbed => { kind => 'order', measure => 'count', period => 'month', ties => 'first', zone => $program, club => 'open' });
my %journey = (
	welcome => { steps => [ [ 'nudge', 3 ], [ 'call', 7 ] ] },
	again => { steps => [ [ 'one', 1 ], [ 'two', 2 ] ], repeat => 6 });

sub sql { my $answer = $wire->query($_[0]); BAIL_OUT("connection lost: $_[0]") unless $answer; return $answer }
sub do_sql { my $answer = sql($_[0]); BAIL_OUT("$answer->{error}{C} $answer->{error}{M}: $_[0]") if $answer->{error}; return $answer->{rows} }

sub json
{
	my ($v) = @_;
	return ref $v eq 'HASH' ? '{' . join(', ', map { "\"$_\": " . json($v->{$_}) } sort keys %$v) . '}' : ref $v eq 'ARRAY' ? '[' . join(', ', map { json($_) } @$v) . ']'
	  : $v =~ /^-?\d+$/ ? $v : $v =~ /^(?:true|false)$/ ? $v : "\"$v\"";
}

sub define
{
	do_sql("SELECT loyalty.configure_program(time_zone => '$program')");
	do_sql("SELECT loyalty.define_holidays('closed', ARRAY[" . join(', ', map { date($_) } @{ $streak{travel}{holidays} }) . '])');
	for my $name (sort keys %streak)
	{
		my $s = $streak{$name};
		my %d = (kind => $s->{kind}, period => $s->{period});
		$d{at_least} = $s->{at_least} if $s->{at_least};
		$d{amount} = $s->{amount} if $s->{amount};
		$d{weekdays} = $s->{weekdays} if $s->{weekdays};
		$d{holidays} = 'closed' if $s->{holidays};
		$d{max_gap} = "$s->{max_gap} hours" if $s->{max_gap};
		@d{qw(free per)} = ($s->{free}, 'month') if $s->{free};
		$d{counts} = 'true' if $s->{counts};
		$d{repair_within} = "$s->{repair} days" if $s->{repair};
		do_sql("SELECT loyalty.define_streak('$name', '" . json(\%d) . "')");
	}
	for my $name (sort keys %badge)
	{
		my %d = %{ $badge{$name} };
		$d{revocable} = 'true' if $d{revocable};
		do_sql("SELECT loyalty.define_badge('$name', '" . json(\%d) . "')");
	}
	do_sql(q{SELECT loyalty.define_badge('given', '{"levels": [1]}')});
	do_sql("SELECT loyalty.define_club('open', '{}'), loyalty.define_club('small', '{\"capacity\": 2}')");
	for my $name (sort keys %challenge)
	{
		my $c = $challenge{$name};
		my %d = map { $_ => $c->{$_} } grep { $c->{$_} } qw(kind measure target period times);
		$d{from} = sprintf '2024-03-%02d', $c->{from} + 1 if $c->{from};
		$d{until} = sprintf '2024-03-%02d', $c->{until} + 1 if $c->{until};
		$d{time_zone} = $c->{zone} if $c->{zone};
		@d{qw(enrol within)} = ('true', "$c->{within} days") if $c->{within};
		do_sql("SELECT loyalty.define_challenge('$name', '" . json(\%d) . "')");
	}
	for my $name (sort keys %board)
	{
		my %d = %{ $board{$name} };
		$d{time_zone} = delete $d{zone};
		do_sql("SELECT loyalty.define_board('$name', '" . json(\%d) . "')");
	}
	for my $name (sort keys %journey)
	{
		my $j = $journey{$name};
		my %d = (start => { kind => 'registration' }, while => { kind => 'order', at_most => 0 },
			steps => [ map { { step => $_->[0], after => "$_->[1] days" } } @{ $j->{steps} } ]);
		$d{repeat} = "$j->{repeat} days" if $j->{repeat};
		do_sql("SELECT loyalty.define_journey('$name', '" . json(\%d) . "')");
	}
}

# ---------------------------------------------------------------------------
# What happened
# ---------------------------------------------------------------------------

my @members;
my (@facts, @freezes, @gifts, @entries, @club_acts, %taken, @trees, @merges, @partings, $now, @known_at, @log);
# the last step in which members who were one became two: what they kept is asked for as known since
my $apart;

# Who is one with a member, as of now: {number => canonical}
sub tree { my ($m) = @_; my $c = $trees[-1]{$m}; return sort { $a <=> $b } grep { $trees[-1]{$_} == $c } @members }
sub is_of { my ($m, $other) = @_; return $trees[-1]{$m} == $trees[-1]{$other} }

# What a fact is, as of an instant and as known after a step: nothing where it is not, or does not count
sub state_of
{
	my ($f, $as_of, $known) = @_;
	return if $f->{step} > $known;
	my %s = (%$f, returned_at => -1e9);
	for my $r (@{ $f->{revisions} })
	{
		last if $r->{step} > $known || defined $r->{returned} && $r->{at} > $as_of;
		if (defined $r->{returned})
		{
			$s{amount} -= $r->{returned};
			$s{returned_at} = max($s{returned_at}, $r->{at});
			$s{gone} = 1 if $s{amount} == 0;
		}
		$s{cancelled} = $r->{cancelled} if defined $r->{cancelled};
		$s{at} = $r->{new_at} if defined $r->{new_at};
	}
	return if $s{cancelled} || $s{gone} || $s{at} > $as_of;
	$s{day} = day_of($s{zone}, $s{at});
	return \%s;
}

sub facts_of
{
	my ($numbers, $kind, $as_of, $known) = @_;
	my %is = map { $_ => 1 } @$numbers;
	return sort { $a->{at} <=> $b->{at} || $a->{step} <=> $b->{step} } map { state_of($_, $as_of, $known) } grep { $is{ $_->{member} } && $_->{kind} eq $kind } @facts;
}

# What a measure gives each fact, of those of one round in their order
sub values_of
{
	my ($measure, @facts) = @_;
	my %seen;
	return map { $measure eq 'amount' ? $_->{amount} : $measure eq 'days' ? ($seen{ $_->{day} }++ ? 0 : 1) : 1 } @facts;
}

# ---------------------------------------------------------------------------
# Streaks
# ---------------------------------------------------------------------------

sub walk
{
	my ($numbers, $name, $as_of, $known) = @_;
	my $s = $streak{$name};
	my %is = map { $_ => 1 } @$numbers;
	my @f = facts_of($numbers, $s->{kind}, $as_of, $known);
	my $zone = @f ? $f[-1]{zone} : $program;
	my $today = max(day_of($zone, $as_of), map { $_->{day} } @f);
	my (%n, %amount, %by);
	for my $f (@f)
	{
		my $start = start_of($s->{period}, $f->{day});
		$n{$start}++;
		$amount{$start} += $f->{amount};
		$by{$start} = $f->{at} if !defined $by{$start} && $n{$start} >= ($s->{at_least} || 1) && $amount{$start} >= ($s->{amount} || 0);
	}
	my %bridged;
	for my $i (1 .. $#f)
	{
		my ($before, $f) = @f[ $i - 1, $i ];
		next unless $s->{max_gap} && $f->{zone} ne $before->{zone} && $f->{at} - $before->{at} <= $s->{max_gap}
		  && offset($f->{zone}, $f->{at}) > offset($before->{zone}, $before->{at});
		$bridged{$_} = 1 for grep { !defined $by{$_} } $before->{day} + 1 .. $f->{day} - 1;
	}
	my %closed = map { $_ => 1 } @{ $s->{holidays} || [] };
	my $counts = sub {
		my ($start) = @_;
		return 1 if $s->{period} ne 'day';
		return !$closed{$start} && !$bridged{$start} && (!$s->{weekdays} || grep { $_ == weekday($start) } @{ $s->{weekdays} });
	};
	my @held = grep { $is{ $_->{member} } && $_->{streak} eq $name && $_->{at} <= $as_of && $_->{step} <= $known } @freezes;
	@held = map { my $z = $_; map { {%$z} } 1 .. $z->{quantity} } sort { $a->{at} <=> $b->{at} || $a->{step} <=> $b->{step} } @held;
	my %free;
	my ($length, $longest, $last, %length) = (0, 0, undef);
	my $end = start_of($s->{period}, $today);
	for (my $start = @f ? start_of($s->{period}, min(map { $_->{day} } @f)) : $end; $start <= $end; $start = next_start($s->{period}, $start))
	{
		my $ends = next_start($s->{period}, $start) - 1;
		next unless $counts->($start);
		if (defined $by{$start})
		{
			$length++;
			$last = $start;
			$length{$start} = $length;
		}
		elsif ($start < $end && $length > 0)
		{
			my ($freeze) = grep { !$_->{used} && defined $_->{for_day} && $_->{for_day} >= $start && $_->{for_day} <= $ends } @held;
			my $free = !$freeze && ($s->{free} || 0) > ($free{ month($start) } || 0);
			($freeze) = grep { !$_->{used} && !defined $_->{for_day} && $_->{from} <= $ends && $_->{until} >= $ends } @held unless $free || $freeze;
			$free{ month($start) }++ if $free;
			$freeze->{used} = 1 if $freeze;
			$length = 0 unless $free || $freeze;
			($length, $last) = ($length + 1, $start) if ($free || $freeze) && $s->{counts};
		}
		$longest = max($longest, $length);
	}
	my $due = $end;
	$due = next_start($s->{period}, $due) if defined $by{$end} && $counts->($end);
	$due = next_start($s->{period}, $due) until $counts->($due);
	my $ends = next_start($s->{period}, $end) - 1;
	my $left = ($s->{free} ? $s->{free} - ($free{ month($end) } || 0) : 0) + grep { !$_->{used} && !defined $_->{for_day} && $_->{until} >= $ends } @held;
	return { zone => $zone, length => $length, longest => $longest, last => $length ? $last : undef, left => $left,
		due => $length ? instant($zone, 24 * next_start($s->{period}, $due)) : undef, by => \%by, lengths => \%length };
}

sub streak_answer
{
	my ($m, $name, $as_of, $known) = @_;
	my $w = walk([ tree($m) ], $name, $as_of, $known);
	return join '/', $w->{length}, $w->{longest}, $w->{length} ? 't' : 'f', $w->{last} // '', $w->{left}, $w->{due} // '';
}

# ---------------------------------------------------------------------------
# Badges
# ---------------------------------------------------------------------------

# the instants at which the levels of a badge are crossed, by what is known
sub crossings
{
	my ($numbers, $name, $as_of, $known) = @_;
	my $b = $badge{$name};
	if ($b->{streak})
	{
		my $w = walk($numbers, $b->{streak}, $as_of, $known);
		return map { my $level = $_; my $start = min(grep { $w->{lengths}{$_} >= $level } keys %{ $w->{lengths} }); defined $start ? $w->{by}{$start} : undef } @{ $b->{levels} };
	}
	my @f = facts_of($numbers, $b->{kind}, $as_of, $known);
	my @v = values_of($b->{measure}, @f);
	my ($have, @at) = (0);
	for my $i (0 .. $#f)
	{
		$have += $v[$i];
		for my $l (0 .. $#{ $b->{levels} }) { $at[$l] //= $f[$i]{at} if $have >= $b->{levels}[$l] }
	}
	return map { $at[$_] } 0 .. $#{ $b->{levels} };
}

# Since when a number holds what was given to it by hand: taking ends all that was
# given by then.  undef: it holds nothing.
sub given_since
{
	my ($number, $as_of, $known) = @_;
	my $since;
	for my $g (sort { $a->{at} <=> $b->{at} || $a->{step} <=> $b->{step} } grep { $_->{member} == $number && $_->{at} <= $as_of && $_->{step} <= $known } @gifts)
	{
		$since = $g->{act} eq 'taken' ? undef : $since // $g->{at};
	}
	return $since;
}

sub badges_answer
{
	my ($m, $as_of, $known) = @_;
	my @own = tree($m);
	my %own = map { $_ => 1 } @own;
	my @rows;
	for my $name (sort keys %badge)
	{
		next if !$badge{$name}{revocable} && $known < $apart;
		my @at = $badge{$name}{revocable} ? crossings(\@own, $name, $as_of, $known) : ();
		if (!$badge{$name}{revocable})
		{
			# what was reached at any time, by those who are one now, and were not parted since
			for my $step (0 .. $known)
			{
				my %trees;
				push @{ $trees{ $trees[$step]{$_} } }, $_ for @members;
				for my $numbers (grep { !grep { !$own{$_} } @$_ } values %trees)
				{
					next if grep { my $parted = $trees[$_]; $_ > $step && $_ <= $known && uniq(map { $parted->{$_} } @$numbers) > 1 } @partings;
					my @then = crossings($numbers, $name, 1e8, $step);
					for my $l (0 .. $#then) { $at[$l] = min(grep { defined } $at[$l], $then[$l]) if defined $then[$l] }
				}
			}
		}
		push @rows, map { "$name " . ($_ + 1) . " $at[$_]" } grep { defined $at[$_] && $at[$_] <= $as_of } 0 .. $#at;
	}
	my @given;
	for my $number (@own)
	{
		my $since = given_since($number, $as_of, $known);
		push @given, $since if defined $since;
	}
	push @rows, "given 1 " . min(@given) if @given;
	return join ', ', sort @rows;
}

# ---------------------------------------------------------------------------
# Challenges
# ---------------------------------------------------------------------------

# of those that lie within another the earlier one is it
sub enrolments
{
	my ($numbers, $as_of, $known) = @_;
	my %is = map { $_ => 1 } @$numbers;
	my @spans;
	for my $e (sort { $a->{at} <=> $b->{at} || $a->{step} <=> $b->{step} } grep { $is{ $_->{member} } && $_->{at} <= $as_of && $_->{step} <= $known } @entries)
	{
		next if @spans && $e->{at} < $spans[-1]{until};
		push @spans, { name => $e->{id}, from => $e->{at}, until => instant($program, local_of($program, $e->{at}) + 24 * $challenge{joined}{within}) };
	}
	return @spans;
}

# [from, until, start of the round, facts] of each
sub rounds_of
{
	my ($m, $name, $as_of, $known) = @_;
	my $c = $challenge{$name};
	my @own = tree($m);
	my %own = map { $_ => 1 } @own;
	my @f = facts_of(\@own, $c->{kind}, $as_of, $known);
	if ($c->{period})
	{
		my @starts = uniq(start_of($c->{period}, day_of($program, $as_of)), map { start_of($c->{period}, $_->{day}) } @f);
		return map { my $start = $_; { name => $start, until => instant($program, 24 * next_start($c->{period}, $start)), facts => [ grep { start_of($c->{period}, $_->{day}) == $start } @f ] } }
		  sort { $a <=> $b } @starts;
	}
	my @spans = $c->{within} ? enrolments(\@own, $as_of, $known) : ({ name => 1, from => instant($c->{zone}, 24 * $c->{from}), until => instant($c->{zone}, 24 * $c->{until}) });
	for my $s (@spans) { $s->{facts} = [ grep { $_->{at} >= $s->{from} && $_->{at} < $s->{until} } @f ] }
	return @spans;
}

sub completions
{
	my ($c, $round) = @_;
	my @v = values_of($c->{measure}, @{ $round->{facts} });
	my ($have, @at) = (0);
	for my $i (0 .. $#v)
	{
		$have += $v[$i];
		push @at, $round->{facts}[$i]{at} while @at < $c->{times} && $have >= $c->{target} * (@at + 1);
	}
	return ($have, @at);
}

sub progress_answer
{
	my ($m, $name, $as_of, $known) = @_;
	my $c = $challenge{$name};
	my @rounds = rounds_of($m, $name, $as_of, $known) or return 'LY753';
	my ($have, @at) = completions($c, $rounds[-1]);
	return join '/', $have, $c->{target}, $rounds[-1]{until}, $at[-1] // '', scalar @at;
}

# ---------------------------------------------------------------------------
# Clubs and boards
# ---------------------------------------------------------------------------

sub spans
{
	my ($numbers, $club, $as_of, $known) = @_;
	my @spans;
	for my $number (@$numbers)
	{
		my $open;
		for my $a (grep { $_->{member} == $number && $_->{club} eq $club && $_->{at} <= $as_of && $_->{step} <= $known } @club_acts)
		{
			push @spans, $open = [ $a->{at}, 1e9 ] if $a->{act} eq 'join';
			$open->[1] = $a->{at} if $a->{act} eq 'leave';
		}
	}
	return @spans;
}
sub is_in { my ($m, $club, $as_of, $known) = @_; return scalar grep { $_->[1] == 1e9 } spans([ tree($m) ], $club, $as_of, $known) }

sub clubs_answer
{
	my ($m, $as_of, $known) = @_;
	my @rows;
	for my $club (qw(open small))
	{
		my @spans = sort { $a->[0] <=> $b->[0] } spans([ tree($m) ], $club, $as_of, $known);
		next unless grep { $_->[1] == 1e9 } @spans;
		my ($since, $until) = (undef, -1e9);
		for my $s (@spans)
		{
			$since = $s->[0] if $s->[0] > $until;
			$until = max($until, $s->[1]);
		}
		push @rows, "$club $since";
	}
	return join ', ', @rows;
}

# [member, score, reached at] of all, best first
sub standing
{
	my ($name, $start, $as_of, $known) = @_;
	my $of = $board{$name};
	my @rows;
	for my $m (sort { $a <=> $b } uniq(map { $trees[-1]{$_} } @members))
	{
		my @own = tree($m);
		my @f = facts_of(\@own, $of->{kind}, $as_of, $known);
		@f = grep { start_of($of->{period}, day_of($of->{zone}, $_->{at})) == $start } @f if $of->{period} ne 'lifetime';
		if ($of->{club})
		{
			next unless is_in($m, $of->{club}, $as_of, $known);
			my @spans = spans(\@own, $of->{club}, $as_of, $known);
			@f = grep { my $at = $_->{at}; grep { $at >= $_->[0] && $at < $_->[1] } @spans } @f;
		}
		next unless @f;
		my @v = values_of($of->{measure}, @f);
		my @reached = map { $f[$_]{at} } grep { $of->{measure} ne 'days' || $v[$_] } 0 .. $#f;
		push @rows, [ $m, sum0(@v), max(@reached, map { $_->{returned_at} } @f) ];
	}
	return sort { $b->[1] <=> $a->[1] || $a->[2] <=> $b->[2] || $a->[0] <=> $b->[0] } @rows;
}

sub ranked
{
	my ($name, @rows) = @_;
	my $ties = $board{$name}{ties};
	my (@ranked, %above);
	for my $i (0 .. $#rows)
	{
		my $better = grep { $_->[1] > $rows[$i][1] } @rows;
		my $steps = uniq(map { $_->[1] } grep { $_->[1] > $rows[$i][1] } @rows);
		push @ranked, [ $ties eq 'first' ? $i + 1 : 1 + ($ties eq 'dense' ? $steps : $better), @{ $rows[$i] } ];
	}
	return @ranked;
}

sub rank_answer
{
	my ($m, $name, $start, $as_of, $known, $among) = @_;
	my @rows = standing($name, $start, $as_of, $known);
	@rows = grep { my $row = $_; grep { is_of($_, $row->[0]) } @$among } @rows if $among;
	my ($own) = grep { $_->[1] == $trees[-1]{$m} } ranked($name, @rows);
	return '///' unless $own;
	my $below = grep { $_->[1] < $own->[2] } @rows;
	return join '/', $own->[0], $own->[2], scalar @rows, @rows > 1 ? sprintf('%.4f', $below / (@rows - 1)) : '0.0000';
}

# ---------------------------------------------------------------------------
# Journeys
# ---------------------------------------------------------------------------

# [start, step, due, outcome] of all that is due by an instant, and the next
sub journey_steps
{
	my ($m, $name, $until, $known) = @_;
	my $j = $journey{$name};
	my @own = tree($m);
	my ($free_from, @steps) = (-1e9);
	for my $start (facts_of(\@own, 'registration', $until, $known))
	{
		next if $start->{at} < $free_from;
		my $local = local_of($start->{zone}, $start->{at});
		my $due;
		for my $step (@{ $j->{steps} })
		{
			$local += 24 * $step->[1];
			$due = instant($start->{zone}, $local);
			if ($due > $until)
			{
				push @steps, [ $start->{at}, $step->[0], $due, 'due' ];
				last;
			}
			# all of it was recorded long after it was due: what was known by the start's own recording
			my $held = !grep { $_->{at} >= $start->{at} && $_->{at} < $due } facts_of(\@own, 'order', $due - 0.001, $start->{step});
			my ($had) = grep { defined } map { $taken{"$_ $name $start->{at} $step->[0]"} } @own;
			my $outcome = $had // ($held ? 'given' : 'left');
			push @steps, [ $start->{at}, $step->[0], $due, $outcome, $start->{member} ];
			last if $outcome eq 'left';
		}
		last unless $j->{repeat};
		$free_from = max(instant($start->{zone}, local_of($start->{zone}, $start->{at}) + 24 * $j->{repeat}), $due + 0.001);
	}
	return @steps;
}

# a write that concerns journeys takes what is due first
sub take
{
	my ($m) = @_;
	for my $name (sort keys %journey)
	{
		for my $step (journey_steps($m, $name, 1e8, $now))
		{
			next if grep { defined $taken{"$_ $name $step->[0] $step->[1]"} } tree($m);
			$taken{"$step->[4] $name $step->[0] $step->[1]"} = $step->[3];
		}
	}
}

sub journeys_answer
{
	my ($m, $as_of) = @_;
	my @rows;
	for my $name (sort keys %journey)
	{
		my @steps = journey_steps($m, $name, $as_of, $now);
		for my $start (sort { $a <=> $b } uniq(map { $_->[0] } @steps))
		{
			my @run = grep { $_->[0] == $start } @steps;
			push @rows, join ' ', $name, $start, $run[-1][3] eq 'due' ? 'running' : $run[-1][3] eq 'left' ? 'left' : 'done', $run[-1][1], $run[-1][2],
			  '{' . join(',', map { $_->[1] } grep { $_->[3] eq 'given' } @run) . '}';
		}
	}
	return join ', ', @rows;
}

# ---------------------------------------------------------------------------
# A history
# ---------------------------------------------------------------------------

my (@wrong, %asked);

sub expect
{
	my ($what, $expected, $got) = @_;
	push @wrong, "$what: $got, not $expected" if $expected ne $got;
}

sub some_instant { return rand() < 0.7 ? 6 * int rand 170 : int rand 1020 }
sub some { return $_[ rand @_ ] }
my @zones = sort keys %zone;

# a new fact, by its first number
sub record
{
	my ($kind, $m, $h, $zone, $amount) = @_;
	take($m) if $kind ne 'check_in';
	my ($row) = @{ do_sql("SELECT activity_id FROM loyalty.record_activity($m, '$kind', " . at($h) . ", amount => $amount, time_zone => '$zone')") };
	push @facts, { id => $row->[0], member => $m, kind => $kind, at => $h, zone => $zone, amount => $amount, step => $now + 1, revisions => [] };
	push @log, "$kind of $m at $h in $zone, $amount";
}

sub revise
{
	my ($f, $r, $sql) = @_;
	take($f->{member}) if $f->{kind} ne 'check_in';
	do_sql($sql);
	push @{ $f->{revisions} }, { %$r, step => $now + 1 };
	push @log, "$f->{kind} $f->{id} of $f->{member}: " . join ', ', map { "$_ $r->{$_}" } sort keys %$r;
}

my @acts = (
	sub { record('check_in', some(@members), some_instant(), some(@zones), 0) },
	sub { my $m = some(@members); my $h = some_instant(); my $z = some(@zones); for my $i (0 .. 2) { record('check_in', $m, $h + 24 * $i, $z, 0); known() } },
	sub { record('check_in', some(@members), some_instant(), some(@zones), 0) },
	sub { record('order', some(@members), some_instant(), some(@zones), some(20, 30, 50, 60)) },
	sub { record('order', some(@members), some_instant(), some(@zones), some(20, 30, 50, 60)) },
	sub { record('registration', some(@members), some_instant(), some(@zones), 0) },
	sub {
		my $f = some(grep { $_->{kind} eq 'order' && !defined $_->{fixed} } @facts) or return;
		my $s = state_of($f, 1e8, $now) or return;
		my $part = rand() < 0.4 ? $s->{amount} : 10 * (1 + int rand($s->{amount} / 10));
		my $h = max($s->{at}, map { $_->{at} // -1e9 } @{ $f->{revisions} }) + 6 * int rand 20;
		revise($f, { returned => $part, at => $h }, "SELECT loyalty.record_return($f->{member}, $f->{id}, amount => $part, at => " . at($h) . ')');
	},
	sub {
		my $f = some(grep { !grep { defined $_->{returned} } @{ $_->{revisions} } } @facts) or return;
		my $cancelled = state_of($f, 1e8, $now) ? 1 : 0;
		$f->{fixed} = 1;
		revise($f, { cancelled => $cancelled }, "SELECT loyalty.revise_activity($f->{member}, $f->{id}, cancelled => " . ($cancelled ? 'true' : 'false') . ')');
	},
	sub {
		my $f = some(grep { !grep { defined $_->{returned} } @{ $_->{revisions} } } @facts) or return;
		my $h = some_instant();
		$f->{fixed} = 1;
		revise($f, { new_at => $h }, "SELECT loyalty.revise_activity($f->{member}, $f->{id}, at => " . at($h) . ')');
	},
	sub {
		my ($m, $name, $h) = (some(@members), some(qw(daily busy travel)), some_instant());
		my $quantity = 1 + int rand 2;
		my $until = rand() < 0.4 ? $h + 1 + int rand 240 : undef;
		my $zone = walk([ tree($m) ], $name, $h, $now)->{zone};
		my $day = rand() < 0.3 ? day_of($zone, $h) - int rand 4 : undef;
		my $wrong = defined $day && (!$streak{$name}{repair} || $day >= day_of($zone, $h) || $h > instant($zone, 24 * ($day + 1 + $streak{$name}{repair})));
		my $answer = sql("SELECT freeze_id FROM loyalty.grant_freeze($m, '$name', " . (defined $day ? 1 : $quantity) . ', for_day => ' . (defined $day ? date($day) : 'NULL')
			. ', valid_until => ' . (defined $until ? at($until) : 'NULL') . ', at => ' . at($h) . ')');
		expect("a freeze of $name by $m at $h for " . ($day // 'any'), $wrong ? 'LY003' : '', $answer->{error} ? $answer->{error}{C} : '');
		return if $wrong;
		push @freezes, { member => $m, streak => $name, at => $h, quantity => defined $day ? 1 : $quantity, for_day => $day, from => day_of($zone, $h),
			until => defined $until ? day_of($zone, $until) - 1 : 1e9, step => $now + 1 };
		push @log, "freeze of $name by $m at $h, until " . ($until // '') . ', for ' . ($day // '');
	},
	sub {
		my ($m, $h) = (some(@members), some_instant());
		my $act = defined given_since($m, $h, $now) && rand() < 0.6 ? 'taken' : 'given';
		do_sql('SELECT loyalty.' . ($act eq 'given' ? 'give' : 'take') . "_badge($m, 'given', at => " . at($h) . ')');
		push @gifts, { member => $m, at => $h, act => $act, step => $now + 1 };
		push @log, "$act to $m at $h";
	},
	sub {
		my ($m, $h) = (some(@members), some_instant());
		my ($in) = grep { $_->{until} > $h } enrolments([ tree($m) ], $h, $now);
		my ($row) = @{ do_sql("SELECT entry_id FROM loyalty.enrol($m, 'joined', " . at($h) . ')') };
		expect("enrolment of $m at $h", $in->{name}, $row->[0]) if $in;
		push @entries, { member => $m, id => $row->[0], at => $h, step => $now + 1 } unless $in;
		push @log, "enrolment of $m at $h";
	},
	(sub {
		my ($m, $club) = (some(@members), some(qw(open small)));
		my @acts = grep { is_of($_->{member}, $m) && $_->{club} eq $club } @club_acts;
		my $h = max(0, map { $_->{at} } @acts) + 6 * int rand 30;
		my $late = @acts && rand() < 0.1 ? ($h = $acts[-1]{at} - 1, 1) : 0;
		my @in = grep { my $number = $_; grep { $_->[1] == 1e9 } spans([$number], $club, 1e8, $now) } @members;
		my @own = grep { is_of($_, $m) } @in;
		my $joins = @own ? 0 : rand() < 0.9;
		my $answer = sql($joins ? "SELECT status, why FROM loyalty.join_club($m, '$club', " . at($h) . ')' : "SELECT loyalty.leave_club($m, '$club', " . at($h) . ')');
		my $expected = $late ? 'LY003' : $joins ? ($club eq 'small' && @in >= 2 ? 'refused full' : 'in ') : @own ? 'done' : 'LY759';
		my $got = $answer->{error} ? $answer->{error}{C} : $joins ? join ' ', map { $_ // '' } @{ $answer->{rows}[0] } : 'done';
		expect(($joins ? 'joining' : 'leaving') . " of $m at $h, $club", $expected, $got);
		return if $expected eq 'refused full' || $expected =~ /^LY/;
		push @club_acts, map { { member => $_, club => $club, act => $joins ? 'join' : 'leave', at => $h, step => $now + 1 } } $joins ? $m : @own;
		push @log, ($joins ? 'joining' : 'leaving') . " of $m at $h, $club";
	}) x 2,
	sub {
		if (@merges && rand() < 0.5)
		{
			my $merge = splice @merges, int rand @merges, 1;
			do_sql("SELECT loyalty.unmerge_members($merge->{id})");
			push @partings, $apart = $now + 1;
			push @log, "unmerging of $merge->{absorbed} from $merge->{survivor}";
			return;
		}
		my ($into, $from) = map { $trees[-1]{$_} } (some(@members), some(@members));
		return if $into == $from;
		my ($row) = @{ do_sql("SELECT merge_id FROM loyalty.merge_members($into, $from)") };
		push @merges, { id => $row->[0], survivor => $into, absorbed => $from };
		push @log, "merging of $from into $into";
	});

# the step is over: who is one with whom, and when it was known
sub known
{
	$now++;
	my %canonical;
	for my $m (@members)
	{
		my $c = $m;
		while (my ($merge) = grep { $_->{absorbed} == $c } @merges) { $c = $merge->{survivor} }
		$canonical{$m} = $c;
	}
	push @trees, \%canonical;
	push @known_at, do_sql('SELECT clock_timestamp()')->[0][0];
}

sub row { my ($sql) = @_; my $answer = sql($sql); return $answer->{error}{C} if $answer->{error}; return join '/', map { $_ // '' } @{ $answer->{rows}[0] || [] } }
sub rows { my ($sql) = @_; return join ', ', map { join ' ', @$_ } @{ do_sql($sql) } }

sub ask
{
	my $m = some(@members);
	my $as_of = rand() < 0.15 ? 1100 : rand() < 0.5 ? some_instant() : (some(@facts) || { at => 0 })->{at};
	my $step = rand() < 0.6 ? $now : int rand $now + 1;
	my $known = $step == $now && rand() < 0.7 ? 'NULL' : "'$known_at[$step]'";
	my $when = at($as_of) . ", $known";
	my $of = "of $m as of $as_of, as known at $step";
	for my $name (sort keys %streak)
	{
		expect("streak $name $of", streak_answer($m, $name, $as_of, $step), row("SELECT length, longest, alive, last_day - date '2024-03-01', freezes_left, "
			. hours('due_at') . " FROM loyalty.streak_of($m, '$name', $when)"));
	}
	expect("badges $of", badges_answer($m, $as_of, $step), rows("SELECT badge, level, " . hours('earned_at') . " FROM loyalty.badges($m, $when) WHERE $step >= $apart OR badge NOT IN ('regular', 'days') ORDER BY badge COLLATE \"C\", level"));
	expect("challenge $_ $of", progress_answer($m, $_, $as_of, $step), row('SELECT trim_scale(have), needed, ' . hours('due_at') . ', ' . hours('completed_at') . ", times FROM loyalty.progress($m, '$_', $when)"))
	  for sort keys %challenge;
	expect("clubs $of", clubs_answer($m, $as_of, $step), rows('SELECT club, ' . hours('joined_at') . " FROM loyalty.clubs($m, $when)"));
	expect("journeys $of", journeys_answer($m, $as_of), rows('SELECT journey, ' . hours('started_at') . ', state, step, ' . hours('due_at') . ", given FROM loyalty.journeys($m, " . at($as_of) . ')'))
	  if $step == $now;
	my $name = some(sort keys %board);
	my $b = $board{$name};
	my $h = some_instant();
	my $start = $b->{period} eq 'lifetime' ? 0 : start_of($b->{period}, day_of($b->{zone}, $h));
	my $period = $b->{period} eq 'lifetime' ? "date '2000-01-01'" : date($start);
	my $among = rand() < 0.3 ? [ grep { rand() < 0.6 } @members ] : undef;
	my $friends = $among ? ', among => ARRAY[' . join(', ', @$among) . ']::bigint[]' : '';
	my $columns = "rank, trim_scale(score), members, to_char(percentile, 'FM0.0000')";
	expect("rank on $name from $start $of", rank_answer($m, $name, $start, $as_of, $step, $among),
		row("SELECT $columns FROM loyalty.rank_on('$name', $m, " . at($as_of) . ", $period, known_at => $known$friends)"));
	expect("rank on $name from $start of $m now", rank_answer($m, $name, $start, 1e8, $now, $among), row("SELECT $columns FROM loyalty.rank_on('$name', $m, period_start => $period$friends)"));
	expect("top of $name from $start", join(', ', map { join ' ', @$_ } ranked($name, standing($name, $start, 1e8, $now))),
		rows('SELECT rank, member_id, trim_scale(score), ' . hours('reached_at') . " FROM loyalty.board_top('$name', 100, period_start => $period)"));
	expect("around $m on $name from $start", join(', ', map { "$_->[0] $_->[1]" } around($name, $start, $m)),
		rows("SELECT rank, neighbour_id FROM loyalty.board_around('$name', $m, 1, period_start => $period)"));
}

sub around
{
	my ($name, $start, $m) = @_;
	my @ranked = ranked($name, standing($name, $start, 1e8, $now));
	my ($i) = grep { $ranked[$_][1] == $trees[-1]{$m} } 0 .. $#ranked;
	return defined $i ? @ranked[ max(0, $i - 1) .. min($#ranked, $i + 1) ] : ();
}

# activities of kind challenge: exactly the completions that stand
sub check_completions
{
	for my $m (uniq(map { $trees[-1]{$_} } @members))
	{
		my @want;
		for my $name (sort keys %challenge)
		{
			for my $round (rounds_of($m, $name, 1e8, $now)) { my (undef, @at) = completions($challenge{$name}, $round); push @want, map { "$name $_" } @at }
		}
		expect("completions of $m", join(', ', sort @want), join(', ', sort map { join ' ', @$_ }
			@{ do_sql("SELECT document ->> 'challenge', " . hours('at') . " FROM loyalty.activities($m, 'challenge') WHERE NOT cancelled") }));
	}
}

# each history has a database of its own: boards and clubs are of all members
$node->safe_psql('postgres', 'CREATE DATABASE defined');
$node->safe_psql('defined', 'CREATE EXTENSION loyalty CASCADE; SELECT loyalty.setup();');
$wire = Wire->new(%server, database => 'defined');
define();
@members = 1 .. 5;
do_sql('INSERT INTO loyalty.member (member_id) SELECT generate_series(1, 5)');
undef $wire;
my $next = Soak::rounds(4, 6, $ENV{LOYALTY_HISTORIES});
while (my $history = $next->())
{
	$histories = $history;
	srand($seed * 1000 + $history);
	$node->safe_psql('postgres', "CREATE DATABASE h$history TEMPLATE defined");
	$wire = Wire->new(%server, database => "h$history");
	@facts = @freezes = @gifts = @entries = @club_acts = @trees = @merges = @partings = @known_at = @log = ();
	%taken = ();
	$now = $apart = -1;
	known();
	for my $step (1 .. $steps)
	{
		my $before = @log;
		$acts[ rand @acts ]->();
		known() if @log > $before;
	}
	my $before = @wrong;
	for (1 .. $questions)
	{
		last if @wrong > $before + 2;
		ask();
	}
	check_completions();
	expect("check_all() after history $history", '', rows('SELECT * FROM loyalty.check_all()'));
	undef $wire;
	if (@wrong && $wrong[-1] !~ /^in history/)
	{
		push @wrong, "in history $history of LOYALTY_SEED=$seed";
		diag join "\n", $wrong[-1], @log if $ENV{LOYALTY_SHOW};
		last if @wrong > 5 || $ENV{LOYALTY_SHOW};
	}
	$node->safe_psql('postgres', "DROP DATABASE h$history");
}
is(join("\n", @wrong[ 0 .. min($#wrong, 5) ]), '', "$histories histories are as foretold");

# ---------------------------------------------------------------------------
# A board under writes
# ---------------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE written TEMPLATE defined');
$node->safe_psql('written', q{
	SELECT loyalty.define_board('written', '{"kind": "game", "measure": "amount", "period": "lifetime"}');
	SELECT count(*) FROM loyalty.record_many(ARRAY(SELECT i FROM generate_series(1::bigint, 5000) i), array_fill('game'::text, ARRAY[5000]),
		amounts => ARRAY(SELECT (i * 7919 % 500)::numeric FROM generate_series(1, 5000) i))});
my $until = time + $seconds;
my @pids;
for my $client (1 .. 8)
{
	my $pid = fork;
	if ($pid == 0)
	{
		srand($seed * 100 + $client);
		my $wire = Wire->new(%server, database => 'written');
		my $failed = 0;
		while (time < $until)
		{
			my $m = 1 + int rand 5000;
			my $answer = $wire->query(rand() < 0.8 ? "SELECT activity_id FROM loyalty.record_activity($m, 'game', amount => " . (1 + int rand 50) . ')'
				: "SELECT r.revision FROM loyalty.activity a, loyalty.record_return(a.member_id, a.activity_id, amount => a.amount) r WHERE a.member_id = $m AND a.amount > 0 AND a.kind = 'game'");
			# somebody else has returned it meanwhile
			$failed = 1 if !$answer || $answer->{error} && $answer->{error}{C} ne 'LY504';
		}
		POSIX::_exit($failed);
	}
	push @pids, $pid;
}
$wire = Wire->new(%server, database => 'written');
my ($read, $differ) = (0, 0);
while (time < $until)
{
	do_sql('BEGIN ISOLATION LEVEL REPEATABLE READ');
	my ($row) = @{ do_sql(q{
		SELECT count(*), count(*) FILTER (WHERE (r.rank, r.score, r.members, r.percentile) IS DISTINCT FROM (x.rank, x.score, x.members, x.percentile))
		FROM (SELECT s.member_id, s.score, rank() OVER w AS rank, count(*) OVER () AS members, percent_rank() OVER (ORDER BY s.score) AS percentile
				FROM loyalty.board_score s WHERE s.board = 'written' WINDOW w AS (ORDER BY s.score DESC)) x, LATERAL loyalty.rank_on('written', x.member_id) r
		WHERE x.member_id % 97 = } . int(rand 97)) };
	do_sql('COMMIT');
	$read += $row->[0];
	$differ += $row->[1];
	do_sql("SELECT loyalty.fold_board('written', '2000-01-01')") if rand() < 0.3;
}
my $failed = 0;
for (@pids) { waitpid $_, 0; $failed++ if $? }
is($failed, 0, 'eight sessions write');
cmp_ok($read, '>', 50, 'ranks are read meanwhile');
is($differ, 0, 'and each is that of the snapshot');
cmp_ok(do_sql("SELECT count(*) FROM loyalty.board_bucket WHERE board = 'written'")->[0][0], '>', 1, 'from more than one bucket');
is(rows('SELECT * FROM loyalty.check_engagement()'), '', 'check_engagement() finds nothing');
undef $wire;
$node->stop;
done_testing();
