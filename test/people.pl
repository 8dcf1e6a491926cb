#!/usr/bin/perl
# people.pl RECORDS DUPLICATES SEED: persons as a register has them, and again
# with errors, as CSV: rec_id, given_name, surname, street_number, address_1,
# address_2, suburb, postcode, state, date_of_birth.  The truth is in rec_id:
# rec-N-org and rec-N-dup-K are of one person.
#
# The way of Febrl's generator (P. Christen, "Probabilistic Data Generation for
# Deduplication and Data Linkage", IDEAL 2005): values by frequency, up to five
# duplicates of a person, each with errors of typing, reading, hearing, left out
# or exchanged fields.  Names are syllables; nothing is of anybody.
use strict;
use warnings;

my ($records, $duplicates, $seed) = @ARGV;
srand($seed // 1);

my @syllable = qw(ba ber chen da dor el fin ga gor ha hil in jo ka kel la lin ma mei mo na nor ol pa per
	qui ra rin sa sto ta tri ul va ver wa win xu ya zel bri cla dun eth fro gre hol isa jul kno);

# words($n, $least, $most): so many different words of syllables
sub words
{
	my ($n, $least, $most) = @_;
	my %seen;
	my @words;
	while (@words < $n)
	{
		my $word = join '', map { $syllable[rand @syllable] } 1 .. $least + int rand($most - $least + 1);
		push @words, $word unless $seen{$word}++;
	}
	return \@words;
}

# by_rank($list, $skew): frequent ones are those in front
sub by_rank
{
	my ($list, $skew) = @_;
	return $list->[int(@$list * rand() ** $skew)];
}

my $given = words(500, 2, 3);
my $surname = words(2000, 2, 3);
my $street = words(4000, 2, 4);
my $place = words(3000, 2, 4);
my $suburb = words(1500, 2, 4);
my @state = qw(nsw nsw nsw nsw vic vic vic qld qld sa wa tas act nt);
my @type = qw(street street street place crescent close avenue circuit road drive);
my @field = qw(given_name surname street_number address_1 address_2 suburb postcode state date_of_birth);
# where errors fall, as often as in Febrl's own sets
my @where = (('given_name') x 8, ('surname') x 9, ('street_number') x 4, ('address_1') x 10, ('address_2') x 10,
	('suburb') x 8, ('postcode') x 6, 'state', ('date_of_birth') x 2);

sub person
{
	my %p;
	$p{given_name} = rand() < .03 ? '' : by_rank($given, 2);
	$p{surname} = rand() < .02 ? '' : by_rank($surname, 2.5);
	$p{street_number} = rand() < .04 ? '' : 1 + int(300 * rand() ** 3);
	$p{address_1} = rand() < .03 ? '' : by_rank($street, 1.5) . ' ' . $type[rand @type];
	$p{address_2} = rand() < .15 ? '' : by_rank($place, 1.5);
	$p{suburb} = rand() < .01 ? '' : by_rank($suburb, 1.5);
	$p{postcode} = sprintf '%04d', 2000 + int(2000 * rand() ** 1.5);
	$p{state} = rand() < .08 ? '' : $state[rand @state];
	my $year = 1900 + int rand 100;
	my $month = 1 + int rand 12;
	$p{date_of_birth} = rand() < .03 ? '' : sprintf '%04d%02d%02d', $year, $month, 1 + int rand 28;
	return \%p;
}

sub letter
{
	my ($c) = @_;
	return $c =~ /\d/ ? int rand 10 : chr(ord('a') + int rand 26);
}

# mistype($text): one error of a hand or an eye
sub mistype
{
	my ($text) = @_;
	my $i = int rand length $text;
	my $kind = rand;
	my $c = substr $text, $i, 1;
	return $text if length $text < 2;
	if ($kind < .35) { substr($text, $i, 1) = letter($c) }
	elsif ($kind < .6) { substr($text, $i, 0) = letter($c) }
	elsif ($kind < .85) { substr($text, $i, 1) = '' }
	else
	{
		$i-- if $i == length($text) - 1;
		substr($text, $i, 2) = reverse substr $text, $i, 2;
	}
	return $text;
}

sub duplicate
{
	my ($person) = @_;
	my %d = %$person;
	my %errors;
	my $n = 1 + int rand 4;
	while ($n > 0)
	{
		my $f = $where[rand @where];
		next if ($errors{$f} // 0) >= 2;
		my $kind = rand;
		$errors{$f}++;
		$n--;
		if ($kind < .06) { $d{$f} = '' }
		elsif ($kind < .10) { $d{$f} = person()->{$f} }
		elsif ($kind < .12) { @d{qw(given_name surname)} = @d{qw(surname given_name)} }
		elsif ($kind < .14) { @d{qw(address_1 address_2)} = @d{qw(address_2 address_1)} }
		elsif ($f eq 'date_of_birth' && $d{$f} ne '')
		{
			# a date stays one
			my ($y, $m, $t) = unpack 'A4 A2 A2', $d{$f};
			if ($kind < .5) { $t = 1 + int rand 28 }
			elsif ($kind < .75) { $m = 1 + int rand 12 }
			else { substr($y, 3, 1) = int rand 10 }
			$d{$f} = sprintf '%04d%02d%02d', $y, $m, $t;
		}
		elsif ($f eq 'state') { $d{$f} = $state[rand @state] }
		elsif ($d{$f} ne '') { $d{$f} = mistype($d{$f}) }
	}
	return \%d;
}

my @row;
my $originals = $records - $duplicates;
my $left = $duplicates;
for my $n (0 .. $originals - 1)
{
	my $p = person();
	push @row, join ',', "rec-$n-org", @$p{@field};
	# as many persons have duplicates as are needed, with one to five each
	next if rand() * ($originals - $n) > $left / 2 || $left == 0;
	my $most = 1 + int(5 * rand() ** 1.5);
	for my $k (0 .. ($most < $left ? $most : $left) - 1)
	{
		push @row, join ',', "rec-$n-dup-$k", @{duplicate($p)}{@field};
		$left--;
	}
}
print join(',', 'rec_id', @field), "\n";
# in no order
for (my $i = $#row; $i > 0; $i--)
{
	my $j = int rand($i + 1);
	@row[$i, $j] = @row[$j, $i];
}
print "$_\n" for @row;
