package RuleReference;

# What campaigns give, slow and obvious: written from the rules in
# src/rule/decide.h and the README, not from the C beside them.  Nothing is
# counted on the way: what a limit has used is added up whenever it is asked.
#
# What a campaign gives over a window is kept as rows of the numbers of members:
# who stands for whom may change.
#
# Amounts are cents, points exact multiples of 1/UNIT.
use strict;
use warnings;
use List::Util qw(max min sum0);

use constant UNIT => 48_000;

sub new
{
	my ($class, %self) = @_;
	# campaigns: list; activities: {id}; held: {"member/unit/code/effect"}; rows: {"code/start/effect"}
	return bless { activities => {}, held => {}, rows => {}, root => {}, order => 0, %self }, $class;
}

# ---- Members

sub root
{
	my ($self, $member) = @_;
	$member = $self->{root}{$member} while defined $self->{root}{$member};
	return $member;
}

sub tree { my ($self, $member) = @_; my $root = $self->root($member); return grep { $self->root($_) == $root } @{ $self->{members} } }

# ---- Worth

sub round_down { my $x = shift; return int($x / UNIT) - ($x < 0 && $x % UNIT ? 1 : 0) }
sub round_up { my $x = shift; return -round_down(-$x) }
sub rounded { my ($x, $how) = @_; return $how eq 'ceil' ? round_up($x) : $how eq 'half_up' ? round_down($x + UNIT / 2) : round_down($x) }

# {line or 'rest' => exact worth}
sub parts
{
	my ($cand, $effect) = @_;
	my $s = $cand->{subject};
	my %parts = (rest => 0);
	my $in = sub {
		my $i = shift;
		return 0 if !$s->{lines}[$i]{earns};
		return 0 if $effect->{over} && !$cand->{lines}{$i};
		return !$cand->{won} || $cand->{won}{$i};
	};
	my $amount = $effect->{over} ? 0 : $s->{amount};
	for my $i (0 .. $#{ $s->{lines} })
	{
		my $line = $s->{lines}[$i];
		$amount += $line->{amount} if $effect->{over} && $in->($i);
		$amount -= $line->{amount} if !$effect->{over} && !$line->{earns};
		next if !$in->($i);
		$parts{$i} = $line->{amount} * UNIT / 100 * $effect->{give} / $effect->{per} if $effect->{kind} eq 'rate';
		$parts{$i} = $line->{quantity} * UNIT * $effect->{give} if $effect->{kind} eq 'unit';
	}
	$parts{rest} = $effect->{give} * UNIT if $effect->{kind} eq 'fixed';
	$parts{rest} = int(max($amount, 0) / 100 / $effect->{every}) * $effect->{give} * UNIT if $effect->{kind} eq 'every';
	$parts{rest} = ($s->{amount} - sum0(map { $_->{amount} } @{ $s->{lines} })) * UNIT / 100 * $effect->{give} / $effect->{per}
	  if $effect->{kind} eq 'rate' && !$effect->{over};
	return \%parts;
}

# What a multiplier reaches: all lines and the rest, or its own.
sub reaches
{
	my ($cand, $effect, $part) = @_;
	return !$effect->{over} if $part eq 'rest';
	return 0 if !$cand->{subject}{lines}[$part]{earns};
	return 0 if $effect->{over} && !$cand->{lines}{$part};
	return !$cand->{won} || $cand->{won}{$part};
}

sub is_multiplied
{
	my ($cand, $subject) = @_;
	return $cand->{c}{lane} eq 'base' && $cand->{matched} && !$cand->{lost} && (!$cand->{c}{group} || $cand->{settled}) && $cand->{subject} == $subject;
}

# part => exact worth of the lane under the factors of some multipliers
sub lane_parts
{
	my ($cands, $subject, @multipliers) = @_;
	my %sum;
	for my $cand (grep { is_multiplied($_, $subject) } @$cands)
	{
		for my $effect (grep { $_->{kind} ne 'multiply' } @{ $cand->{c}{then} })
		{
			my $parts = parts($cand, $effect);
			$sum{$_} += $parts->{$_} for keys %$parts;
		}
	}
	for my $part (keys %sum)
	{
		my $factor = 2;    # in halves
		$factor += 2 * $_->[1]{factor} - 2 for grep { reaches($_->[0], $_->[1], $part) } @multipliers;
		$sum{$part} = $sum{$part} / 2 * $factor;
	}
	return \%sum;
}

sub wanted
{
	my ($cands, $cand, $e, $alone) = @_;
	my $effect = $cand->{c}{then}[$e];
	if ($effect->{kind} ne 'multiply')
	{
		my $parts = parts($cand, $effect);
		return max(0, sum0(map { rounded($_, $effect->{round}) } values %$parts)) if $effect->{by_line} && $effect->{kind} =~ /rate|unit/;
		return rounded(max(0, sum0(values %$parts)), $effect->{round});
	}
	my @before;
	if (!$alone)
	{
		for my $other (@$cands)
		{
			last if $other == $cand;
			push @before, map { [ $other, $_ ] } grep { $_->{kind} eq 'multiply' } @{ $other->{c}{then} }
			  if $other->{matched} && !$other->{lost} && $other->{subject} == $cand->{subject};
		}
	}
	push @before, map { [ $cand, $_ ] } grep { $_->{kind} eq 'multiply' } @{ $cand->{c}{then} }[ 0 .. $e - 1 ] if !$alone;
	my @v = map { max(0, rounded(sum0(values %{ lane_parts($cands, $cand->{subject}, @$_) }), $effect->{round})) } (\@before, [ @before, [ $cand, $effect ] ]);
	return max(0, $v[1] - $v[0]);
}

# ---- Limits

# What everything but these candidates has used of a limit.
sub used_by_others
{
	my ($self, $limit, $cand, $cands) = @_;
	my %tree = map { $_ => 1 } $self->tree($cand->{member});
	my (%units, $points);
	my %mine = map { my $c = $_; map { map { $_ => 1 } @{ $c->{all_keys}[$_] } } grep { !$c->{elsewhere}[$_] } 0 .. $#{ $c->{keys} } } @$cands;
	$points = 0;
	for my $key (keys %{ $self->{held} })
	{
		my $held = $self->{held}{$key};
		next if $mine{$key} || !$held->{points};
		# what is decided anew in other periods is free of those it was in
		next if $cand->{leaves}{$key};
		for my $l (grep { $_->{counter} eq $limit->{counter} && $_->{scope} eq $limit->{scope} } @{ $held->{c}{limits} })
		{
			next if $l->{scope} eq 'member' && (!$tree{ $held->{member} } || period($l, $held->{day}) ne period($limit, $cand->{day}));
			# a window is one of all for whom the member stands
			my $unit = $held->{c}{window} ? join('/', $self->root($held->{member}), $held->{c}{code}, $held->{day}) : $held->{unit};
			$units{$unit} += $held->{points};
			$points += $held->{points};
		}
	}
	return $limit->{times} ? scalar(grep { $_ > 0 } values %units) : $points;
}

sub period { my ($limit, $day) = @_; return $limit->{within} eq 'day' ? $day : $limit->{within} eq 'month' ? substr($day, 0, 7) : 'lifetime' }

sub same_counter
{
	my ($a, $cand_a, $b, $cand_b) = @_;
	return $a->{scope} eq $b->{scope} && $a->{counter} eq $b->{counter} && ($a->{scope} eq 'total' || period($a, $cand_a->{day}) eq period($b, $cand_b->{day}));
}

# What candidates have now of the same counter.
sub used_here
{
	my ($limit, $cand, $cands) = @_;
	my ($points, %units) = (0);
	for my $other (@$cands)
	{
		next if !grep { same_counter($limit, $cand, $_, $other) } @{ $other->{c}{limits} };
		$points += sum0(@{ $other->{now} });
		$units{ $other->{unit} } = 1 if grep { $_ > 0 } @{ $other->{now} };
	}
	return $limit->{times} ? \%units : $points;
}

sub settle
{
	my ($self, $cands, $cand, $alone) = @_;
	my @among = $alone ? ($cand) : @$cands;
	my $used_up = 0;
	for my $limit (grep { $_->{times} } @{ $cand->{c}{limits} })
	{
		my $units = used_here($limit, $cand, $cands);
		$used_up = 1 if !$units->{ $cand->{unit} } && $self->used_by_others($limit, $cand, $cands) + keys(%$units) >= $limit->{most};
	}
	my @limited;
	for my $e (0 .. $#{ $cand->{c}{then} })
	{
		my $wanted = $cand->{wanted}[$e] = wanted($cands, $cand, $e, $alone);
		my $given = $wanted;
		$given = min($given, $cand->{ceiling}[$e]) if defined $cand->{ceiling}[$e];
		$given = 0 if $used_up;
		for my $limit (grep { !$_->{times} } @{ $cand->{c}{limits} })
		{
			if ($limit->{scope} eq 'award')
			{
				my $beside = sum0(map { $_ == $e ? 0 : $cand->{now}[$_] } 0 .. $#{ $cand->{now} });
				$given = min($given, max(0, $limit->{most} - $beside));
				next;
			}
			my $left = max(0, $limit->{most} - $self->used_by_others($limit, $cand, $cands) - used_here($limit, $cand, \@among));
			$given = min($given, $cand->{now}[$e] + $left);
		}
		$given = max($given, $cand->{held}[$e]) if $cand->{keep};
		$cand->{now}[$e] = $given;
		$limited[$e] = $given < $wanted;
	}
	if ($cand->{c}{refuse} && grep { $_ } @limited)
	{
		for my $e (0 .. $#{ $cand->{c}{then} })
		{
			$cand->{now}[$e] = $cand->{keep} ? $cand->{held}[$e] : 0;
			$limited[$e] = $cand->{wanted}[$e] > $cand->{now}[$e];
		}
	}
	$cand->{limited} = \@limited;
	return;
}

sub give_back { my $cand = shift; $cand->{now} = [ map { $cand->{keep} ? $_ : 0 } @{ $cand->{held} } ]; $cand->{limited} = []; return }

# ---- Groups

sub alone
{
	my ($self, $cands, $cand) = @_;
	my @saved = map { [ @{ $_->{now} } ] } @$cands;
	# points of the others do not stand in the way, times that this activity has do
	$self->settle($cands, $cand, 1);
	my $points = sum0(@{ $cand->{now} });
	$cands->[$_]{now} = $saved[$_] for 0 .. $#$cands;
	$cand->{limited} = [];
	return $points;
}

sub line_alone
{
	my ($cands, $cand, $line) = @_;
	my $sum = 0;
	for my $effect (@{ $cand->{c}{then} })
	{
		if ($effect->{kind} eq 'multiply')
		{
			$sum += (lane_parts($cands, $cand->{subject}, [ $cand, $effect ])->{$line} // 0) - (lane_parts($cands, $cand->{subject})->{$line} // 0);
		}
		else
		{
			$sum += parts($cand, $effect)->{$line} // 0;
		}
	}
	return $sum;
}

sub pick
{
	my ($self, $cands, $group) = @_;
	my @of = grep { ($_->{c}{group} // '') eq $group } @$cands;
	my %points = map { $_ => $self->alone($cands, $_) } grep { $_->{matched} } @of;
	my @members = grep { $points{$_} } @of;
	my $c = $of[0]{c};
	my $best;
	for my $cand (@members)
	{
		$best = $cand if !$best || (!$c->{pick_first} && $points{$cand} > $points{$best});
	}
	if (@members && $c->{by_line})
	{
		my %won;
		for my $line (0 .. $#{ $members[0]{subject}{lines} })
		{
			my ($winner, $most) = (undef, 0);
			for my $cand (@members)
			{
				my $worth = line_alone($cands, $cand, $line);
				($winner, $most) = ($cand, $worth) if $worth > 0 && (!$winner || (!$c->{pick_first} && $worth > $most));
			}
			$won{$winner}{$line} = 1 if $winner;
		}
		for my $cand (@members)
		{
			$cand->{won} = $won{$cand} // {};
			$cand->{lost} = 1 if !$won{$cand} && %won;
		}
	}
	for my $cand (@of)
	{
		$cand->{settled} = 1;
		$cand->{lost} = 1 if $best && $cand != $best && $cand->{matched} && !$cand->{won};
	}
	return;
}

sub decide
{
	my ($self, $cands) = @_;
	for my $cand (@$cands)
	{
		$cand->{now} = [ map { $cand->{elsewhere}[$_] ? 0 : $cand->{held}[$_] } 0 .. $#{ $cand->{held} } ];
	}
	my %groups;
	for my $cand (grep { $_->{c}{group} } @$cands)
	{
		$self->pick($cands, $cand->{c}{group}) if !$groups{ $cand->{c}{group} }++;
	}
	for my $cand (grep { !$_->{matched} || $_->{lost} } @$cands)
	{
		give_back($cand);
	}
	my $stopped;
	for my $cand (grep { $_->{matched} && !$_->{lost} } @$cands)
	{
		# a window is not of one activity: nothing ends it
		if ($stopped && !$cand->{c}{window})
		{
			$cand->{lost} = 1;
			give_back($cand);
			next;
		}
		$self->settle($cands, $cand, 0);
		$stopped = 1 if $cand->{c}{stop} && grep { $_ > 0 } @{ $cand->{now} };
	}
	return;
}

# ---- Activities

sub counts { my $a = shift; return !$a->{cancelled} && !$a->{returned} }

# Activities of the member before one, in the same period.
sub earlier
{
	my ($self, $a, $within) = @_;
	my %tree = map { $_ => 1 } $self->tree($a->{member});
	return grep {
		$_->{id} != $a->{id} && $tree{ $_->{member} } && counts($_) && ($within eq 'lifetime' || substr($_->{day}, 0, 7) eq substr($a->{day}, 0, 7))
		  && ($_->{at} lt $a->{at} || ($_->{at} eq $a->{at} && $_->{id} < $a->{id}))
	} values %{ $self->{activities} };
}

sub fact
{
	my ($self, $a, $when, $facts) = @_;
	my ($what, $within) = @{ $when->{fact} };
	my $key = "$what:$within";
	$facts->{$key} //= $what eq 'count' ? scalar(() = $self->earlier($a, $within)) : sum0(map { $_->{amount} } $self->earlier($a, $within));
	return $facts->{$key};
}

# Whether a campaign's "when" holds for an activity: (matches, lines, facts asked)
sub matches
{
	my ($self, $c, $a, $facts) = @_;
	my $when = $c->{when} // {};
	my (%lines, @asked);
	return (0, {}, []) if !counts($a);
	return (0, {}, []) if defined $when->{amount} && $a->{amount} < $when->{amount};
	return (0, {}, []) if $when->{channel} && (!defined $a->{channel} || $a->{channel} ne $when->{channel});
	if ($when->{category})
	{
		%lines = map { $_ => 1 } grep { $a->{lines}[$_]{quantity} && ($a->{lines}[$_]{category} // '') eq $when->{category} } 0 .. $#{ $a->{lines} };
		return (0, {}, []) if !%lines || sum0(map { $a->{lines}[$_]{quantity} } keys %lines) < ($when->{quantity} // 0);
	}
	if ($when->{fact})
	{
		push @asked, join(':', @{ $when->{fact} });
		my $value = $self->fact($a, $when, $facts);
		return (0, {}, \@asked) if !($when->{compare} eq '=' ? $value == $when->{value} : $value >= $when->{value});
	}
	return (1, \%lines, \@asked);
}

sub window_sum
{
	my ($self, $c, $a) = @_;
	my %tree = map { $_ => 1 } $self->tree($a->{member});
	my $sum = { amount => 0, lines => [], n => 0 };
	for my $other (values %{ $self->{activities} })
	{
		next if !$tree{ $other->{member} } || substr($other->{day}, 0, 7) ne substr($a->{day}, 0, 7);
		next if !($self->matches($c, $other, {}))[0];
		$sum->{amount} += $other->{amount};
		push @{ $sum->{lines} }, @{ $other->{lines} };
		$sum->{n}++;
	}
	return $sum;
}

# Rows of an effect over a window, of all for whom a member stands.
sub rows_of
{
	my ($self, $cand, $e) = @_;
	my %tree = map { $_ => 1 } $self->tree($cand->{member});
	return grep { $tree{ $_->{member} } } @{ $self->{rows}{"$cand->{c}{code}/$cand->{day}/$e"} };
}

# Where a limit first left less than was wanted: what was held then.
sub window_ceiling
{
	my ($self, $cand, $e) = @_;
	my $points = 0;
	for my $row ($self->rows_of($cand, $e))
	{
		$points += $row->{points};
		return $points if $row->{limited};
	}
	return;
}

# More goes to who stands for the others, less is taken of what was given last.
sub keep_window
{
	my ($self, $cand, $e, $change, $limited) = @_;
	my $rows = $self->{rows}{"$cand->{c}{code}/$cand->{day}/$e"} //= [];
	my $key = sub { join('/', $_[0], $cand->{c}{code}, $cand->{day}, $cand->{c}{code}, $e) };
	my $held = sub { $self->{held}{ $key->($_[0]) } //= { c => $cand->{c}, member => $_[0], unit => "$_[0]/$cand->{c}{code}/$cand->{day}", points => 0, day => $cand->{day} } };
	if ($change >= 0)
	{
		push @$rows, { member => $cand->{member}, points => $change, left => $change, limited => $limited };
		$held->($cand->{member})->{points} += $change;
		return;
	}
	for my $row (reverse grep { $_->{left} > 0 } $self->rows_of($cand, $e))
	{
		my $part = min($row->{left}, -$change);
		next if !$part;
		$row->{left} -= $part;
		$change += $part;
		$held->($row->{member})->{points} -= $part;
		push @$rows, { member => $row->{member}, points => -$part, left => 0, limited => $limited && !$change };
	}
	return;
}

# Decides for an activity as it is now.  before: as it was, or undef.
sub change
{
	my ($self, $a, $before, $is_return) = @_;
	my @cands;
	my $kept = $self->{facts}{"$a->{member}/$a->{id}/$a->{at}"} //= {};
	my $facts = {%$kept};
	my %windows;
	for my $c (@{ $self->{campaigns} })
	{
		if ($c->{window})
		{
			for my $in ($a, $before ? $before : ())
			{
				next if $in->{member} != $a->{member};
				my $start = substr($in->{day}, 0, 7) . '-01';
				next if $windows{"$c->{code}/$start"}++;
				my $sum = $self->window_sum($c, $in);
				push @cands, { c => $c, subject => $sum, matched => ($sum->{n} > 0 && $sum->{amount} >= $c->{having} ? 1 : 0), member => $self->root($a->{member}),
					unit => join('/', $self->root($a->{member}), $c->{code}, $start), day => $start, keep => $c->{keep}, asked => [], lines => {} };
			}
			next;
		}
		my ($matched, $lines, $asked) = $self->matches($c, $a, $facts);
		push @cands, { c => $c, subject => $a, matched => $matched, lines => $lines, asked => $asked, member => $a->{member},
			unit => "$a->{member}/$a->{id}", day => $a->{day}, keep => ($c->{keep} && $is_return && !$a->{cancelled}) };
	}
	my %leaves;
	for my $cand (@cands)
	{
		for my $e (0 .. $#{ $cand->{c}{then} })
		{
			my $key = join('/', $cand->{unit}, $cand->{c}{code}, $e);
			my @keys = $cand->{c}{window} ? map { join('/', $_, $cand->{c}{code}, $cand->{day}, $cand->{c}{code}, $e) } $self->tree($cand->{member}) : ($key);
			my @held = grep { $_ } map { $self->{held}{$_} } @keys;
			$cand->{keys}[$e] = $key;
			$cand->{all_keys}[$e] = \@keys;
			$cand->{held}[$e] = sum0(map { $_->{points} } @held);
			$cand->{elsewhere}[$e] = @held && !$cand->{c}{window} && $held[-1]{day} ne $cand->{day};
			$leaves{$key} = 1 if $cand->{elsewhere}[$e];
			$cand->{ceiling}[$e] = $cand->{c}{window} ? $self->window_ceiling($cand, $e) : @held ? $held[0]{ceilings}{ $a->{at} } : undef;
		}
	}
	$_->{leaves} = \%leaves for @cands;
	$self->decide(\@cands);
	my $points = 0;
	for my $cand (@cands)
	{
		my $row = 0;
		for my $e (0 .. $#{ $cand->{c}{then} })
		{
			my ($now, $was) = ($cand->{now}[$e], $cand->{held}[$e]);
			my $limited = $cand->{limited}[$e];
			$points += $now - $was;
			$row = 1 if $now != $was || ($limited && !defined $cand->{ceiling}[$e]) || ($cand->{elsewhere}[$e] && $now);
			if ($cand->{c}{window})
			{
				$self->keep_window($cand, $e, $now - $was, $limited) if $now != $was || ($limited && !defined $cand->{ceiling}[$e]);
				next;
			}
			next if !$now && !$was && !$limited && !$self->{held}{ $cand->{keys}[$e] };
			my $held = $self->{held}{ $cand->{keys}[$e] } //= { c => $cand->{c}, member => $cand->{member}, unit => $cand->{unit}, points => 0 };
			$held->{points} += $now - $was;
			$held->{day} = $cand->{day};
			$held->{ceilings}{ $a->{at} } //= $now if $limited;
		}
		# what was known is kept with an award
		if ($row)
		{
			$kept->{$_} //= $facts->{$_} for @{ $cand->{asked} };
		}
	}
	return $points;
}

sub record
{
	my ($self, $a) = @_;
	$self->{activities}{ $a->{id} } = $a;
	return $self->change($a, undef, 0);
}

sub revise
{
	my ($self, $id, $is_return, %what) = @_;
	my $before = $self->{activities}{$id};
	my $now = { %$before, %what };
	$self->{activities}{$id} = $now;
	if ($now->{member} != $before->{member})
	{
		# nothing there, everything here
		my $gone = { %$before, cancelled => 1 };
		$self->change($gone, $before, 0);
		return $self->change($now, undef, 0);
	}
	return $self->change($now, $before, $is_return);
}

1;
