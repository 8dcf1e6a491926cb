# Comparing two values, slowly, by the rules in src/match/compare.h.
package MatchReference;

use strict;
use warnings;

use List::Util qw(max min);

# A character too many, too few, another one, or two neighbours exchanged.
sub one_error
{
	my ($x, $y) = @_;
	return 0 if abs(length($x) - length $y) > 1;
	for my $i (0 .. length $x)
	{
		my ($head, $tail) = (substr($x, 0, $i), substr $x, $i);
		return 1 if length $tail && $head . substr($tail, 1) eq $y;
		return 1 if length $y > length $x && length $y > $i && $head . substr($y, $i, 1) . $tail eq $y;
		return 1 if length $tail && length $y == length $x && $head . substr($y, $i, 1) . substr($tail, 1) eq $y;
		return 1 if length $tail > 1 && $head . reverse(substr $tail, 0, 2) . substr($tail, 2) eq $y;
	}
	return 0;
}

sub jaro_winkler
{
	my @x = split //, $_[0];
	my @y = split //, $_[1];
	my $window = max(0, int(max(scalar @x, scalar @y) / 2) - 1);
	my (@of_x, @used);
	for my $i (0 .. $#x)
	{
		for my $j (max(0, $i - $window) .. min($#y, $i + $window))
		{
			next if $used[$j] || $x[$i] ne $y[$j];
			$used[$j] = 1;
			push @of_x, $x[$i];
			last;
		}
	}
	return 0 unless @of_x;
	my @of_y = map { $y[$_] } grep { $used[$_] } 0 .. $#y;
	my $moved = grep { $of_x[$_] ne $of_y[$_] } 0 .. $#of_x;
	my $m = @of_x;
	my $jaro = ($m / @x + $m / @y + ($m - $moved / 2) / $m) / 3;
	my $prefix = 0;
	$prefix++ while $prefix < 4 && $prefix < @x && $prefix < @y && $x[$prefix] eq $y[$prefix];
	return $jaro + $prefix * .1 * (1 - $jaro);
}

sub similarity_level
{
	my ($x, $y) = @_;
	return 2 if one_error($x, $y);
	my $s = jaro_winkler($x, $y);
	return $s >= .92 - 1e-9 ? 2 : $s >= .8 - 1e-9 ? 1 : 0;
}

my $chinese = qr/[\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}\x{20000}-\x{3FFFF}]/;

sub chinese_name_level
{
	my ($x, $y) = @_;
	return 0 if length $x != length $y || length $x < 2;
	return 2 if join('', sort split //, $x) eq join('', sort split //, $y);
	return 1 == (grep { substr($x, $_, 1) ne substr $y, $_, 1 } 0 .. length($x) - 1) ? 1 : 0;
}

sub chinese_address_level
{
	my ($x, $y) = @_;
	return 2 if one_error($x, $y);
	my ($short, $long) = length $x < length $y ? ($x, $y) : ($y, $x);
	return 2 if length $short >= 4 && $long =~ /\Q$short\E$/;
	my $same = 0;
	$same++ while $same < length $short && substr($x, $same, 1) eq substr $y, $same, 1;
	my $head = substr $x, 0, $same;
	# road, street, avenue, lane, alley, village, town, township; district, county, banner, city
	return 2 if $head =~ /[\x{8DEF}\x{8857}\x{9053}\x{5DF7}\x{5F04}\x{6751}\x{9547}\x{4E61}]/;
	return $head =~ /[\x{533A}\x{53BF}\x{65D7}\x{5E02}]/ ? 1 : 0;
}

sub date_level
{
	my ($x, $y) = @_;
	return 2 if one_error($x, $y);
	my ($p, $q) = map { [/^(\d{4})(\d\d)(\d\d)$/] } $x, $y;
	return 0 unless @$p && @$q;
	return 2 if $p->[0] eq $q->[0] && $p->[1] eq $q->[2] && $p->[2] eq $q->[1];
	return 2 == (grep { $p->[$_] eq $q->[$_] } 0 .. 2) ? 1 : 0;
}

our %levels = (name => 4, address => 4, date => 4, code => 3, phone => 3, email => 3, category => 2);

my %known;

# The level of two values that are normal already; '-' where one is missing.
sub level
{
	my ($kind, $x, $y) = @_;
	return $known{$kind}{$x}{$y} //= level_of($kind, $x, $y);
}

sub level_of
{
	my ($kind, $x, $y) = @_;
	return '-' if $x eq '' || $y eq '';
	return $levels{$kind} - 1 if $x eq $y;
	return 0 if $kind eq 'category';
	return one_error($x, $y) if $levels{$kind} == 3;
	return date_level($x, $y) if $kind eq 'date';
	return chinese_name_level($x, $y) if $kind eq 'name' && "$x$y" =~ /^$chinese+$/;
	return chinese_address_level($x, $y) if $kind eq 'address' && $x =~ /^$chinese/ && $y =~ /^$chinese/;
	return similarity_level($x, $y);
}

1;
