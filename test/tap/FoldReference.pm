# The rules of points once more: slow, obvious, and written from the design,
# not from src/ledger/fold_apply.c.  What the C says is compared with what this says.
#
# Instants are whole numbers ("ticks"); FOREVER stands for infinity.  A wallet
# is a plain list of parts of lots; every question walks all of it.
package FoldReference;

use strict;
use warnings;

use constant { FOREVER => 1_000_000_000, NEVER => -1, MAX => 9223372036854775807 };

# States of a refusal, as SQLSTATEs
use constant {
	INSUFFICIENT => 'LY101', NOT_FOUND => 'LY103', WRONG_KIND => 'LY104',
	ALREADY_REVERSED => 'LY105', HOLD_LAPSED => 'LY106', HOLD_CLOSED => 'LY107',
	NOTHING_PENDING => 'LY108', OVERFLOW => 'LY109', LATER_REVERSAL => 'LY114', INVALID => 'LY003',
};

my @income = qw(earned adjusted_up transferred_in restored);
my @outgo = qw(redeemed revoked adjusted_down transferred_out);
our @totals = (@income, @outgo, 'booked');

# order: earliest_expiry or oldest_first; clawback: allow_debt, within_balance
# or within_lot.  A burn beyond the balance becomes debt; strict: is refused.
sub new
{
	my ($class, $order, $clawback, $strict) = @_;
	return bless {
		order => $order || 'earliest_expiry', clawback => $clawback || 'allow_debt', strict => $strict,
		parts => [], past => [], last => NEVER, debt => 0, map { $_ => 0 } @totals
	}, $class;
}

# What a part of a lot is at an instant.
sub state_of
{
	my ($part, $t) = @_;
	return 'held' if $part->{hold} && $t < $part->{available};
	return 'expired' if $part->{expires} <= $t;
	return 'pending' if $t < $part->{available};
	return 'available';
}

# All parts, in the order in which they are consumed.
sub in_order { return @{ $_[0]{parts} } }

# Parts that differ in nothing but points are one; what is empty is gone; the
# rest stands in the order of consumption.
sub tidy
{
	my ($self) = @_;
	my %seen;
	for my $part (@{ $self->{parts} })
	{
		my $key = join ',', @$part{qw(lot hold earned available expires base by)};
		if ($seen{$key}) { $seen{$key}{points} += $part->{points} }
		else { $seen{$key} = $part }
	}
	$self->{parts} = [ sort {
		($self->{order} eq 'earliest_expiry' && $a->{expires} <=> $b->{expires})
		  || $a->{earned} <=> $b->{earned} || $a->{lot} <=> $b->{lot}
		  || $a->{expires} <=> $b->{expires} || $a->{available} <=> $b->{available}
		  || $a->{hold} <=> $b->{hold} || $a->{base} <=> $b->{base} || $a->{by} <=> $b->{by}
	} grep { $_->{points} > 0 } values %seen ];
}

sub sum { my $sum = 0; $sum += $_->{points} for @_; return $sum }

# Takes points from given parts, first to last; returns what was taken.
sub take
{
	my ($points, @from) = @_;
	my @taken;
	for my $part (@from)
	{
		my $n = $part->{points} < $points ? $part->{points} : $points;
		next if $n == 0;
		push @taken, { %$part, points => $n };
		$part->{points} -= $n;
		$points -= $n;
	}
	return @taken;
}

# What came in is there at once, so its sum must fit; what went out, each kind.
sub fits
{
	my ($self, $points, @totals) = @_;
	my $room = MAX;
	$room -= $self->{$_} for @totals;
	return $points <= $room;
}

# Points that are owed, at most $limit of them, from $from on: each lot repays
# at the first instant up to $to at which it is available, if it ever is.
sub repay
{
	my ($self, $limit, $from, $to) = @_;
	while ($limit > 0 && $self->{debt} > 0)
	{
		my ($first, $when);
		for my $part ($self->in_order)
		{
			my $at = $part->{available} > $from ? $part->{available} : $from;
			next if $part->{points} == 0 || $at > $to || $at >= $part->{expires};
			($first, $when) = ($part, $at) if !$first || $at < $when;
		}
		last unless $first;
		my $n = (sort { $a <=> $b } $limit, $self->{debt}, $first->{points})[0];
		$first->{points} -= $n;
		$self->{debt} -= $n;
		$limit -= $n;
	}
}

# Points come in, or back: those whose instant has come repay debt first.
sub bring
{
	my ($self, $now, @parts) = @_;
	for my $part (@parts)
	{
		my $n = $self->{debt} < $part->{points} ? $self->{debt} : $part->{points};
		$n = 0 if $part->{available} > $now || $part->{available} >= $part->{expires};
		$self->{debt} -= $n;
		push @{ $self->{parts} }, { %$part, points => $part->{points} - $n };
	}
}

# The wallet as it is at a later instant, when the clock alone has gone on.
sub at
{
	my ($self, $t) = @_;
	my $later = bless { %$self, parts => [ map { {%$_} } @{ $self->{parts} } ] }, ref $self;
	$later->repay($later->{debt}, $self->{last}, $t) if $t > $self->{last};
	$later->tidy;
	return $later;
}

# Whether nothing is left of an entry.
sub is_undone { return $_[0]{reversed} > 0 && $_[0]{reversed} >= $_[0]{points} }

# An expiry after an activity.
sub extended
{
	my ($part, $expires, $activity) = @_;
	my $until = $activity->{extend} < $part->{by} ? $activity->{extend} : $part->{by};
	return $expires > $activity->{at} && $until > $expires ? $until : $expires;
}

# How long a part lives by the activities that count: those after its lot was
# opened, came here or was given days of grace.
sub extended_anew
{
	my ($self, $part) = @_;
	my ($expires, $here) = ($part->{base}, 0);
	for my $number (1 .. @{ $self->{past} })
	{
		my $entry = $self->{past}[ $number - 1 ];
		($expires, $here) = ($part->{base}, 1)
		  if grep { $_->{lot} == $part->{lot} && $_->{expires} == $part->{base} } @{ $entry->{arrived} };
		$expires = extended($part, $expires, $entry)
		  if defined $entry->{extend} && !is_undone($entry) && ($here || $number >= $part->{lot});
	}
	return $expires;
}

# Applies an entry; returns undef, or the SQLSTATE of the refusal, and then
# nothing has changed.
sub apply
{
	my ($self, $e) = @_;
	my $next = $self->at($e->{at});
	my $refusal = $next->apply_now($e);
	%$self = %$next unless $refusal;
	return $refusal;
}

sub apply_now
{
	my ($self, $e) = @_;
	my ($kind, $t) = ($e->{kind}, $e->{at});
	my $id = @{ $self->{past} } + 1;
	my $points = $e->{points} || 0;
	my ($target, @taken, @given, @arrived, $undone);
	my $moved = 0;    # by a reversal: what came back, or what was taken as a negative number
	my $lapsed = $kind eq 'hold' && $e->{until} <= $t;
	my $now = $t > $self->{last} ? $t : $self->{last};
	my @available = grep { state_of($_, $t) eq 'available' } $self->in_order;

	if ($e->{target})
	{
		return NOT_FOUND if $e->{target} >= $id;
		$target = $self->{past}[ $e->{target} - 1 ];
		my %may = (
			reverse => [qw(earn redeem capture adjust reverse)], capture => ['hold'],
			release => ['hold'], activate => ['earn', 'adjust']);
		return WRONG_KIND unless grep { $_ eq $target->{kind} } @{ $may{$kind} };
		# a reversal is undone by reversing it, and made again by reversing its entry again
		return WRONG_KIND if $kind eq 'reverse' && $target->{undone};
		return INVALID if $t < $target->{at};
		return HOLD_CLOSED if $target->{closed};
		return HOLD_LAPSED if $target->{kind} eq 'hold' && $t >= $target->{until};
	}

	if ($kind eq 'earn' || $kind eq 'adjust' && $points > 0)
	{
		return OVERFLOW unless $self->fits($points, @income);
		$self->{ $kind eq 'earn' ? 'earned' : 'adjusted_up' } += $points;
		my $expires = $e->{expires} // FOREVER;
		$self->bring($now, {
			lot => $id, points => $points, hold => 0, earned => $t, available => $e->{available} // $t,
			expires => $expires, base => $expires, by => $e->{by} // FOREVER });
	}
	elsif ($kind eq 'redeem' || $kind eq 'transfer_out' || $kind eq 'adjust')
	{
		$points = -$points if $kind eq 'adjust';
		my $total = { redeem => 'redeemed', transfer_out => 'transferred_out', adjust => 'adjusted_down' }->{$kind};
		my $short = $points - sum(@available);
		return INSUFFICIENT if $self->{strict} && $short > 0;
		return OVERFLOW unless $self->fits($points, $total) && $self->fits($short, 'debt');
		$self->{$total} += $points;
		@taken = take($points, @available);
		$self->{debt} += $points - sum(@taken);
		$self->repay($points - sum(@taken), $t, $now);
	}
	elsif ($kind eq 'hold')
	{
		return HOLD_LAPSED if $lapsed;
		return INSUFFICIENT if $points > sum(@available);
		@taken = take($points, @available);
		push @{ $self->{parts} }, map { { %$_, hold => $id, available => $e->{until} } } @taken;
	}
	elsif ($kind eq 'capture' || $kind eq 'release')
	{
		my @held = grep { $_->{hold} == $e->{target} && state_of($_, $t) eq 'held' } $self->in_order;
		return HOLD_CLOSED unless @held;
		if ($kind eq 'capture')
		{
			$points ||= sum(@held);
			return INSUFFICIENT if $points > sum(@held);
			return OVERFLOW unless $self->fits($points, 'redeemed');
			$self->{redeemed} += $points;
			# a hold's lapse is of no concern to points that are gone
			@taken = map { { %$_, available => $t } } take($points, @held);
		}
		# the rest goes back to its lots, where later entries find it
		$self->bring($now, map { { %$_, hold => 0, available => $t } } @held);
		$_->{points} = 0 for @held;
		$target->{reversed} = $target->{points} if $kind eq 'release';
	}
	elsif ($kind eq 'reverse')
	{
		my $left = $target->{points} - $target->{reversed};
		$points ||= $left;
		return ALREADY_REVERSED if $points > $left || $left == 0;
		$undone = $self->{past}[ $target->{target} - 1 ] if $target->{kind} eq 'reverse';

		# What comes back of one entry comes in one order, so it is taken again
		# from the end.
		return LATER_REVERSAL if $undone && $target->{moved} > 0
		  && grep { ($_->{target} // 0) == $target->{target} && $_->{kind} eq 'reverse' && $_->{points} > $_->{reversed} }
		  @{ $self->{past} }[ $e->{target} .. $#{ $self->{past} } ];

		if ($target->{burned} || $undone && $target->{moved} <= 0)
		{
			# Last taken, first given back.  What became debt was taken last;
			# where that debt was repaid meanwhile, the points come as a new lot.
			# What a reversal had not reached was "taken" after that.
			my $gone = $undone ? -$target->{moved} : $target->{points};
			my $skip = $target->{reversed};
			my $wanted = $points;
			my @steps = (reverse(@{ $target->{taken} }));
			unshift @steps, { points => $gone - sum(@steps), debt => 1 };
			unshift @steps, { points => $target->{points} - $gone, nothing => 1 };
			my (@back, $repaid);
			# what is undone by this counts no more, or again
			my $again = $undone || {};
			local $target->{reversed} = $target->{reversed} + $points;
			local $again->{reversed} = ($again->{reversed} // 0) - $points;
			for my $step (@steps)
			{
				my $n = $step->{points};
				my $skipped = $skip < $n ? $skip : $n;
				$skip -= $skipped;
				$n -= $skipped;
				$n = $wanted if $n > $wanted;
				$wanted -= $n;
				next if $n == 0 || $step->{nothing};
				$moved += $n;
				if ($step->{debt})
				{
					$repaid = $n < $self->{debt} ? $n : $self->{debt};
					my $until = $e->{expires};
					$until = $undone->{expires} if $undone && (!defined $until || $until < $undone->{expires});
					$until //= FOREVER;
					push @back, {
						lot => $id, points => $n - $repaid, hold => 0, earned => $t,
						available => $t, expires => $until, base => $until, by => FOREVER };
				}
				else
				{
					my $part = { %$step, points => $n, hold => 0,
						available => $undone && $step->{available} > $t ? $step->{available} : $t };
					# it lives as if it had stayed in its lot
					$part->{expires} = $self->extended_anew($part);
					# only what has expired is granted some days of grace
					if ($part->{expires} <= $t && ($e->{expires} // NEVER) > $part->{expires})
					{
						$part->{expires} = $part->{base} = $e->{expires};
						push @arrived, {%$part};
					}
					push @back, $part;
				}
			}
			return OVERFLOW unless $self->fits($moved, @income);
			$self->{restored} += $moved;
			$self->{debt} -= $repaid || 0;
			@given = map { { %$_ } } @back;
			$self->bring($now, @back);
		}
		else
		{
			# of the lot itself whatever is not held, then what is available of
			# other lots, then what is pending, then debt
			my $want = $points;
			if ($undone)
			{
				my $skip = $target->{reversed};
				for my $part (reverse @{ $target->{given} })
				{
					my $skipped = $skip < $part->{points} ? $skip : $part->{points};
					$skip -= $skipped;
					my $n = $part->{points} - $skipped;
					$n = $want if $n > $want;
					my @got = take($n, grep { $_->{lot} == $part->{lot} && state_of($_, $t) ne 'held' } $self->in_order);
					$want -= sum(@got);
					push @taken, @got;
				}
			}
			else
			{
				@taken = take($want, grep { $_->{lot} == $e->{target} && state_of($_, $t) ne 'held' } $self->in_order);
				$want -= sum(@taken);
			}
			my @others = map {
				my $state = $_;
				grep { $_->{points} > 0 && state_of($_, $t) eq $state && $_->{earned} <= $t } $self->in_order
			} 'available', 'pending';
			@others = () if $self->{clawback} eq 'within_lot';
			my @more = take($want, @others);
			$want -= sum(@more);
			push @taken, @more;
			my $owed = $self->{clawback} eq 'allow_debt' ? $want : 0;
			return OVERFLOW unless $self->fits($points - $want + $owed, 'revoked') && $self->fits($owed, 'debt');
			$moved = -($points - $want + $owed);
			$self->{revoked} -= $moved;
			$self->{debt} += $owed;
			$self->repay($owed, $t, $now);
		}
	}
	elsif ($kind eq 'activate')
	{
		my @waiting = grep { $_->{lot} == $e->{target} && state_of($_, $t) eq 'pending' && $_->{earned} <= $t } $self->in_order;
		return NOTHING_PENDING unless @waiting;
		my @woken = map { {%$_} } @waiting;
		$_->{points} = 0 for @waiting;
		for my $part (@woken)
		{
			$part->{available} = $t;
			# its life begins now
			$part->{expires} = $part->{base} = $e->{expires} < $part->{by} ? $e->{expires} : $part->{by} if defined $e->{expires};
		}
		$self->bring($now, @woken);
	}
	elsif ($kind eq 'transfer_in')
	{
		return OVERFLOW unless $self->fits($points, @income);
		$self->{transferred_in} += $points;
		$self->bring($now, map { {
			lot => $_->{lot}, points => $_->{points}, hold => 0, earned => $_->{earned},
			available => $_->{available} > $t ? $_->{available} : $t,
			expires => $_->{expires}, base => $_->{expires}, by => FOREVER } } @{ $e->{lots} });
	}
	elsif ($kind eq 'expire')
	{
		my $booked = $self->{booked};
		return OVERFLOW if $points > 0 ? $booked > MAX - $points : $booked < -MAX - $points;
		$self->{booked} += $points;
	}
	else { die "unknown kind $kind" }

	if (defined $e->{extend})
	{
		for my $part (@{ $self->{parts} })
		{
			$part->{expires} = extended($part, $part->{expires}, $e);
		}
	}
	$target->{closed} = 1 if $kind eq 'capture' || $kind eq 'release';
	$target->{reversed} += $points if $kind eq 'reverse';
	my $was = $undone && is_undone($undone);
	$undone->{reversed} -= $points if $undone;
	my $again = $was && defined $undone->{extend};
	if ($again || $target && defined $target->{extend} && $kind =~ /reverse|release/ && is_undone($target))
	{
		# What was undone is no activity: without it, no lot lives longer than
		# the others extend it; and where the undoing is undone, it counts again.
		for my $part (@{ $self->{parts} })
		{
			my $expires = $self->extended_anew($part);
			$part->{expires} = $expires if $again ? $expires > $part->{expires} : $expires < $part->{expires};
		}
	}
	# what an activity revives repays debt like all that becomes available
	$self->tidy;
	$self->repay($self->{debt}, $now, $now);
	$self->tidy;
	$self->{last} = $t if $t > $self->{last};
	push @{ $self->{past} }, {
		kind => $kind, at => $t, until => $e->{until}, extend => $e->{extend}, points => abs $points, reversed => 0,
		target => $e->{target}, arrived => $e->{lots} || [@arrived], moved => $moved, undone => $undone, given => [@given], expires => $e->{expires} // FOREVER,
		burned => ($kind eq 'redeem' || $kind eq 'transfer_out' || $kind eq 'capture' || $kind eq 'adjust' && $e->{points} < 0),
		taken => [@taken] };
	return undef;
}

# Folds entries; returns the wallet, or the SQLSTATE of the first refusal.
sub fold
{
	my ($order, $clawback, @entries) = @_;
	my $self = FoldReference->new($order, $clawback);
	for my $entry (@entries)
	{
		my $refusal = $self->apply($entry);
		return (undef, $refusal) if $refusal;
	}
	return ($self, undef);
}

# Sums as of an instant: available, pending, held, expired, when the next
# points expire (FOREVER: none will), how many.
sub sums
{
	my ($self, $t) = @_;
	$self = $self->at($t);
	my %sum = (available => 0, pending => 0, held => 0, expired => 0);
	my ($next, $next_points) = (FOREVER, 0);
	for my $part (@{ $self->{parts} })
	{
		my $state = state_of($part, $t);
		$sum{$state} += $part->{points};
		next unless $state eq 'available' && $part->{expires} < FOREVER;
		($next, $next_points) = ($part->{expires}, 0) if $part->{expires} < $next;
		$next_points += $part->{points} if $part->{expires} == $next;
	}
	return (@sum{qw(available pending held expired)}, $next, $next_points);
}

# Points that are not expired at one instant and are at a later one.
sub expiring
{
	my ($self, $from, $until) = @_;
	$self = $self->at($until);
	return sum(grep { state_of($_, $from) ne 'expired' && state_of($_, $until) eq 'expired' } @{ $self->{parts} });
}

# Whether every point that came in is there or went out.
sub conserved
{
	my ($self, $t) = @_;
	my ($in, $out) = (0, 0);
	$in += $self->{$_} for @income;
	$out += $self->{$_} for @outgo;
	$out += sum(@{ $self->{parts} });
	return $in == $out - $self->{debt};
}

1;
