# Random histories of points entries, the same for the same seed.  Instants
# are ticks; each history has a clock of its own that says which instant a
# tick is: microseconds, hours, months or years apart.
package RandomHistory;

use strict;
use warnings;

use FoldReference;

my $ticks = 120;
my @kinds = map { my ($kind, $weight) = @$_; ($kind) x $weight } (
	[ earn => 26 ], [ redeem => 14 ], [ hold => 10 ], [ capture => 8 ], [ release => 9 ], [ reverse => 16 ],
	[ activate => 6 ], [ adjust => 6 ], [ transfer_out => 4 ], [ transfer_in => 4 ], [ expire => 3 ]);

# Perl's own generator differs between builds; this one does not.
my $state;
# (of a large seed the low bits, since a product above 64 bits would be the same for all)
sub seed { $state = (($_[0] & 0xffffffff) * 2654435761 + 12345) & 0xffffffff; pick(2) for 1 .. 5 }

# A whole number from 0 up to, and without, n.
sub pick
{
	my ($n) = @_;
	$state ^= ($state << 13) & 0xffffffff;
	$state ^= $state >> 17;
	$state ^= ($state << 5) & 0xffffffff;
	$state = 88172645 if $state == 0;
	return $state % $n;
}
sub chance { return pick(100) < $_[0] }
sub one_of { return $_[ pick(scalar @_) ] }

sub make_clock
{
	my @steps = @{ one_of(
		[3_600_000_000], [86_400_000_000], [1], [ 1, 1_000_000, 999_999 ],
		[ 86_400_000_000, 3_600_000_000, 2_678_400_000_000, 31_536_000_000_000, 1_234_567 ]) };
	my $micros = one_of(1_704_067_200, 1_709_164_800, 946_684_800, -2_208_988_800, 253_000_000_000 - 300 * 31_536_000) * 1_000_000;
	$micros += pick(1_000_000) if chance(20);
	my @clock;
	for (0 .. $ticks)
	{
		push @clock, $micros;
		$micros += one_of(@steps);
	}
	return \@clock;
}

sub date_parts
{
	my ($micros) = @_;
	my $fraction = $micros % 1_000_000;
	my @time = gmtime(($micros - $fraction) / 1_000_000);
	my $tail = $fraction ? sprintf('.%06d', $fraction) : '';
	$tail =~ s/0+$//;
	return (sprintf('%04d-%02d-%02d', $time[5] + 1900, $time[4] + 1, $time[3]),
		sprintf('%02d:%02d:%02d%s', @time[ 2, 1, 0 ], $tail));
}

# A tick as PostgreSQL writes it, and as JSON has it.
sub instant
{
	my ($self, $tick) = @_;
	return 'infinity' if $tick == FoldReference::FOREVER;
	return $self->{shown}{$tick} //= join(' ', date_parts($self->{clock}[$tick])) . '+00';
}

sub json_instant
{
	my ($self, $tick) = @_;
	return '"infinity"' if $tick == FoldReference::FOREVER;
	return $self->{json}{$tick} //= '"' . join('T', date_parts($self->{clock}[$tick])) . '+00:00"';
}

sub lots_json
{
	my ($self, $lots) = @_;
	return '[' . join(', ', map {
		my $json = "{\"lot_id\": $_->{lot}, \"points\": $_->{points}, \"earned_at\": " . $self->json_instant($_->{earned});
		$json .= ', "available_at": ' . $self->json_instant($_->{available}) if $_->{available} != $_->{earned};
		$json .= ', "expires_at": ' . $self->json_instant($_->{expires}) if $_->{expires} != FoldReference::FOREVER;
		"$json}";
	} @$lots) . ']';
}

# An entry with its keys in the order of output, defaults left out.
sub entry_keys
{
	my ($self, $e) = @_;
	my @keys = ([ kind => "\"$e->{kind}\"" ], [ points => $e->{points} ], [ effective_at => $self->json_instant($e->{at}) ]);
	push @keys, [ available_at => $self->json_instant($e->{available}) ] if defined $e->{available} && $e->{available} != $e->{at};
	push @keys, [ expires_at => $self->json_instant($e->{expires}) ]
	  if defined $e->{expires} && ($e->{kind} =~ /reverse|activate/ || $e->{expires} != FoldReference::FOREVER);
	push @keys, [ expires_by => $self->json_instant($e->{by}) ] if defined $e->{by};
	push @keys, [ hold_until => $self->json_instant($e->{until}) ] if defined $e->{until};
	push @keys, [ extends_to => $self->json_instant($e->{extend}) ] if defined $e->{extend};
	push @keys, [ target => $e->{target} ] if $e->{target};
	push @keys, [ lots => $self->lots_json($e->{lots}) ] if $e->{lots};
	return @keys;
}

sub normal_text
{
	my ($self) = @_;
	return '[' . join(', ', map { '{' . join(', ', map { "\"$_->[0]\": $_->[1]" } $self->entry_keys($_)) . '}' } @{ $self->{entries} }) . ']';
}

# The same as a careless client may write it.
sub text
{
	my ($self) = @_;
	return '[' . join(',', map {
		my @keys = $self->entry_keys($_);
		@keys = reverse @keys if $self->{careless};
		shift @keys if !$self->{careless} && $keys[0][0] eq 'points' && $keys[0][1] == 0;
		'{' . join(',', map { "\"$_->[0]\":$_->[1]" } @keys) . '}'
	} @{ $self->{entries} }) . ']';
}

sub later
{
	my ($t, $most) = @_;
	my $later = $t + pick($most);
	return $later > $ticks ? $ticks : $later;
}

sub random_entry
{
	my ($self, $t, @past) = @_;
	my $kind = one_of(@kinds);
	my $huge = $self->{huge} && chance(30);
	my $points = $huge ? FoldReference::MAX - pick(3) : 1 + pick(chance(10) ? 100_000 : 100);
	my $e = { kind => $kind, at => $t, points => $points };

	# mostly what can be referred to, now and then anything
	my %wanted = (capture => 'hold', release => 'hold', activate => 'earn adjust', reverse => 'earn redeem capture adjust reverse');
	if ($wanted{$kind})
	{
		my @possible = grep { chance(3) || index($wanted{$kind}, $past[ $_ - 1 ]{kind}) >= 0 } 1 .. @past;
		@possible = grep { $past[ $_ - 1 ]{at} <= $t || chance(10) } @possible;
		@possible = grep { !defined $past[ $_ - 1 ]{until} || $past[ $_ - 1 ]{until} > $t || chance(10) } @possible;
		@possible = grep { $kind ne 'activate' || defined $past[ $_ - 1 ]{available} || chance(20) } @possible;
		return undef unless @possible;
		# what was reversed before often is so again: in parts, and its reversals
		my %of_reversal = map { ($_ => 1, $past[ $_ - 1 ]{target} => 1) } grep { $past[ $_ - 1 ]{kind} eq 'reverse' } 1 .. @past;
		my @again = $kind eq 'reverse' && chance(50) ? grep { $of_reversal{$_} } @possible : ();
		$e->{target} = one_of(@again ? @again : @possible);
		my $most = abs $past[ $e->{target} - 1 ]{points} || 50;
		$e->{points} = $kind eq 'release' || $kind eq 'activate' || chance(30) ? 0 : 1 + pick($most + ($most > 1 && chance(5)));
	}
	if ($kind eq 'earn' || $kind eq 'adjust')
	{
		$e->{points} = -$e->{points} if $kind eq 'adjust' && chance(50);
		if ($e->{points} > 0)
		{
			$e->{available} = chance(70) ? later($t, 20) : FoldReference::FOREVER if chance(35);
			$e->{expires} = chance(97) ? later($t, 60) : pick($t + 1) if chance(65);
		}
	}
	$e->{until} = chance(98) ? later($t, 25) : pick($ticks) if $kind eq 'hold';
	$e->{expires} = later($t, 60) if $kind eq 'reverse' && chance(15) || $kind eq 'activate' && chance(40);
	$e->{by} = later($e->{expires}, 30) if $kind eq 'earn' && $self->{sliding} && ($e->{expires} // FoldReference::FOREVER) < FoldReference::FOREVER && chance(30);
	if ($kind eq 'expire')
	{
		# what the totals of a job may look like; a correction is negative
		$e->{points} = -$e->{points} if chance(20);
	}
	if ($kind eq 'transfer_in')
	{
		my @lots;
		for (0 .. pick(3))
		{
			my $earned = pick($t + 1);
			push @lots, {
				lot => chance(80) ? 1_000_001 + pick(4) : 1 + pick(8), points => 1 + pick(60), earned => $earned,
				available => chance(60) ? $earned : chance(80) ? later($earned, 40) : FoldReference::FOREVER,
				expires => chance(40) ? FoldReference::FOREVER : later($earned, 80) };
		}
		$e->{lots} = \@lots;
		$e->{points} = 0;
		$e->{points} += $_->{points} for @lots;
	}
	$e->{extend} = later($t, 50) if $self->{sliding} && chance(40);
	return $e;
}

# order, clawback: the policy to fold it with, besides the default; entries;
# at: instants to ask about, none before the last entry; refused: the last
# entry cannot be.
sub new
{
	my ($class, $seed) = @_;
	seed($seed);
	my $self = bless {
		clock => make_clock(), sliding => chance(40), huge => chance(2), careless => chance(50),
		order => one_of(qw(earliest_expiry oldest_first)), clawback => one_of(qw(allow_debt within_balance within_lot)),
		entries => []
	}, $class;
	my $wallet = FoldReference->new;
	my $t = pick(10);
	my $lateness = chance(60) ? 0 : 15;
	my $length = 1 + pick(one_of(4, 12, 25, 25));
	my $tempo = 1 + pick(5);

	while (@{ $self->{entries} } < $length && $t < $ticks - 20)
	{
		$t += pick($tempo);
		my $e = $self->random_entry(chance($lateness) ? pick($t + 1) : $t, @{ $self->{entries} }) or next;
		my $refusal = $wallet->apply($e);
		next if $refusal && !chance(15);
		push @{ $self->{entries} }, $e;
		if ($refusal)
		{
			$self->{refused} = $refusal;
			last;
		}
	}
	my $last = $wallet->{last} < 0 ? $t : $wallet->{last};
	$self->{at} = [ $last, sort { $a <=> $b } map { $last + pick($ticks - $last + 1) } 1 .. 3 ];
	return $self;
}

1;
