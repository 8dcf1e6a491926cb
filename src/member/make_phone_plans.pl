#!/usr/bin/env perl
#
# Makes member_phone_plans.c, the numbering plans of all countries:
#
#	for version in 1.13.16 1.10.14; do
#		npm pack libphonenumber-js@$version
#		mkdir $version && tar xzf libphonenumber-js-$version.tgz -C $version
#	done
#	src/member/make_phone_plans.pl {1.13.16,1.10.14}/package > src/member/member_phone_plans.c
#
# To bring the plans up to date, name a newer version first, and look at the
# difference.  Versions behind the first add what they had and it no longer has:
# members' numbers, and habits of writing them, are kept longer than plans (of
# 2022 here; Mexicans wrote 044 or 1 before mobile numbers then).  The same
# packages give the same file.  Building the extension needs neither them nor
# this script.
#
# The packages hold the metadata of Google's libphonenumber (Apache License 2.0):
# facts of ITU-T E.164 and of national plans, as regular expressions over digits.
# This script turns the expressions into one automaton.
use strict;
use warnings;
use JSON::PP;

die "usage: $0 folder of a version of the package libphonenumber-js ...\n" unless @ARGV;

sub read_json
{
	my $name = shift;
	open my $file, '<', $name or die "$name: $!\n";
	my $text = do { local $/; <$file> };
	$text =~ s/(?<=[\[,])0(?=[\],])/null/g;		# 0 means none; a trunk prefix is "0"
	return decode_json($text);
}

my $versions = join ' and ', map { read_json("$_/package.json")->{version} } @ARGV;
my @metadata = map { read_json("$_/metadata.max.json") } @ARGV;
die "this layout of the metadata is not known\n" if grep { $_->{version} != 4 } @metadata;

# Positions in the metadata of a country.
use constant {
	CODE => 0, ABROAD => 1, NUMBER => 2, FORMATS => 4, TRUNK => 5,
	TRUNK_PATTERN => 7, TRANSFORM => 8, TYPES => 11,
	FORMAT_RULE => 3, FORMAT_OPTIONAL => 4, VOICEMAIL => 5
};

#
# Regular expressions.  All strings that one matches are sequences of classes of
# digits; a sequence is { classes => [...], group => [first, behind] or undef,
# end => true if anchored by $ }, the group being the last that took part.
#

sub join_sequences
{
	my ($left, $right) = @_;
	my $shift = @{ $left->{classes} };
	my $group = $right->{group} ? [ map { $_ + $shift } @{ $right->{group} } ] : $left->{group};
	return {
		classes => [ @{ $left->{classes} }, @{ $right->{classes} } ],
		group => $group, end => $left->{end} || $right->{end}
	};
}

sub product
{
	my ($left, $right) = @_;
	my @result;
	for my $l (@$left) { push @result, join_sequences($l, $_) for @$right }
	return \@result;
}

sub parse_atom
{
	my $text = shift;
	if ($$text =~ s/^\((\?:)?//)
	{
		my $captures = !$1;
		my $inside = parse_alternatives($text);
		$$text =~ s/^\)// or die "no ) before $$text\n";
		if ($captures) { $_->{group} = [ 0, scalar @{ $_->{classes} } ] for @$inside }
		return $inside;
	}
	return [ { classes => [], end => 1 } ] if $$text =~ s/^\$//;
	return [ { classes => ['0123456789'] } ] if $$text =~ s/^\\d//;
	return [ { classes => [$1] } ] if $$text =~ s/^(\d)//;
	if ($$text =~ s/^\[([\d-]+)\]//)
	{
		my $class = $1;
		$class =~ s/(\d)-(\d)/join '', $1 .. $2/ge;
		return [ { classes => [$class] } ];
	}
	die "not understood: $$text\n";
}

sub parse_alternatives
{
	my $text = shift;
	my @alternatives;
	my $current = [ { classes => [] } ];
	while (length $$text && $$text !~ /^\)/)
	{
		if ($$text =~ s/^\|//)
		{
			push @alternatives, @$current;
			$current = [ { classes => [] } ];
			next;
		}
		my $atom = parse_atom($text);
		my ($min, $max) = $$text =~ s/^\?// ? (0, 1)
			: $$text =~ s/^\{(\d+)(?:,(\d+))?\}// ? ($1, $2 // $1) : (1, 1);
		my @repeated;
		my $power = [ { classes => [] } ];
		for my $n (0 .. $max)
		{
			push @repeated, @$power if $n >= $min;
			$power = product($power, $atom);
		}
		$current = product($current, \@repeated);
	}
	return [ @alternatives, @$current ];
}

sub sequences
{
	my $text = shift;
	my $result = parse_alternatives(\$text);
	die "left over: $text\n" if length $text;
	return @$result;
}

#
# The automaton.  A state is a set of sequences that may follow; equal states are
# one.  A sequence may end with '*': whatever follows.
#

my (@states, %state_of_key, %state_of_row);
use constant { NOWHERE => 0, ANYTHING => 1 };
add_state(0, (NOWHERE) x 10);
add_state(1, (ANYTHING) x 10);

sub add_state
{
	my ($accepts, @next) = @_;
	my $row = "$accepts: @next";
	if (!exists $state_of_row{$row})
	{
		push @states, { accepts => $accepts, next => \@next };
		$state_of_row{$row} = $#states;
	}
	return $state_of_row{$row};
}

sub state_of
{
	my %set = map { join(' ', @$_) => $_ } @_;
	return NOWHERE if !%set;
	return ANYTHING if exists $set{'*'};
	my $key = join '|', sort keys %set;
	return $state_of_key{$key} if exists $state_of_key{$key};

	my @next;
	for my $digit (0 .. 9)
	{
		my @rest;
		for my $sequence (values %set)
		{
			my ($class, @tail) = @$sequence;
			push @rest, \@tail if defined $class && index($class, $digit) >= 0;
		}
		push @next, state_of(@rest);
	}
	return $state_of_key{$key} = add_state(exists $set{''} ? 1 : 0, @next);
}

#
# What a national number is: what the country's general description matches, if
# among the numbers of subscribers that have its length, here or where else the
# calling code is used, some begin with the same two digits, and some begin with
# the same digit and have the same one at this place, for each further place.  So
# the ranges that a regulator opens inside known blocks are understood, while
# short codes are none.
#
sub numbers_of
{
	my ($country, @sharers) = @_;
	my (%used, @numbers);
	for my $types (map { $_->[TYPES] } $country, @sharers)
	{
		for my $kind (grep { $_ != VOICEMAIL && defined $types->[$_] } 0 .. $#$types)
		{
			next if $types->[$kind][0] eq '';		# as the kind before it
			for my $sequence (sequences($types->[$kind][0]))
			{
				my ($first, $second, @rest) = @{ $sequence->{classes} };
				my $length = 2 + @rest;
				for my $a (split //, $first)
				{
					$used{"$length $a$_"} = 1 for split //, $second;
					for my $place (0 .. $#rest) { $used{"$length $a at $place: $_"} = 1 for split //, $rest[$place] }
				}
			}
		}
	}
	for my $sequence (sequences($country->[NUMBER]))
	{
		my ($first, $second, @rest) = @{ $sequence->{classes} };
		my $length = 2 + @rest;
		next if length($country->[CODE]) + $length > 15;
		for my $a (split //, $first)
		{
			my $seconds = join '', grep { $used{"$length $a$_"} } split //, $second;
			my @rests = map { my $place = $_; join '', grep { $used{"$length $a at $place: $_"} } split //, $rest[$place] } 0 .. $#rest;
			push @numbers, [ $a, $seconds, @rests ] if length $seconds;
		}
	}
	return @numbers;
}

#
# Rules: how a number's beginning is rewritten.  Sequences of one shape are one
# rule, longer ones first.
#

my (@rules, %place_of_rules);

sub add_shapes
{
	my ($shapes, $pattern, $transform) = @_;
	for my $sequence (defined $pattern ? sequences($pattern) : ())
	{
		my @classes = @{ $sequence->{classes} };
		next if !@classes;		# nothing there to be rewritten
		my $group = $sequence->{group};
		my ($drop, $keep, $skip, $insert) = (scalar @classes, 0, 0, '');
		if (defined $transform && $group)
		{
			($drop, $keep, $skip) = ($group->[0], $group->[1] - $group->[0], @classes - $group->[1]);
			($insert) = $transform =~ /^(\d*)\$\d$/ or die "transformation $transform is not understood\n";
			$keep = 0 if !$skip;
			next if "$drop$skip$insert" eq '00';	# stays as it is
		}
		my $shape = sprintf '%02d %d %d %d %s', scalar @classes, $drop, $keep, $skip, $insert;
		push @{ $shapes->{$shape} }, [ @classes, $sequence->{end} ? () : '*' ];
	}
}

# The rules' place in the list of all rules, and their number.
sub place_of_rules
{
	my $shapes = shift;
	my @list;
	for my $shape (reverse sort keys %$shapes)
	{
		my (undef, $drop, $keep, $skip, $insert) = split / /, $shape, -1;
		push @list, sprintf '{%d, %d, %d, %d, "%s"}', state_of(@{ $shapes->{$shape} }), $drop, $keep, $skip, $insert;
	}
	my $key = "@list";
	if (@list && !exists $place_of_rules{$key})
	{
		$place_of_rules{$key} = scalar @rules;
		push @rules, @list;
	}
	return ($place_of_rules{$key} // 0, scalar @list);
}

# Do people at home always write the trunk prefix?  A country without formats of
# its own writes as the main country of its calling code does.
sub trunk_is_written
{
	my ($country, $main) = @_;
	my @formats = grep { $_->[FORMAT_RULE] } @{ $country->[FORMATS] // $main->[FORMATS] // [] };
	my $trunk = $country->[TRUNK];
	return 0 if !defined $trunk || !@formats;
	return !grep { $_->[FORMAT_OPTIONAL] || index($_->[FORMAT_RULE], "$trunk\$1") < 0 } @formats;
}

my (@plans, @plan_of_code, @plan_of_country);
for my $name ((sort keys %{ $metadata[0]{countries} }), (sort keys %{ $metadata[0]{nonGeographic} }))
{
	my ($code, $is_main, $trunk_written, @numbers, %trunk, %abroad);
	my $iso = $name =~ /\D/ ? $name : '';
	for my $metadata (@metadata)
	{
		my %countries = (%{ $metadata->{countries} }, %{ $metadata->{nonGeographic} });
		my $country = $countries{$name};
		$code = $country->[CODE];
		my ($main, @others) = map { $countries{$_} } @{ $metadata->{country_calling_codes}{$code} // [$name] };
		$is_main //= $country == $main;
		$trunk_written //= trunk_is_written($country, $main);
		push @numbers, numbers_of($country, $is_main ? @others : ());
		add_shapes(\%trunk, $country->[TRUNK_PATTERN] // $country->[TRUNK], $country->[TRANSFORM]);
		add_shapes(\%abroad, $country->[ABROAD]);
	}
	$plan_of_code[$code] = scalar @plans if $is_main;
	$plan_of_country[ 26 * (ord($1) - ord('A')) + ord($2) - ord('A') ] = scalar @plans if $iso =~ /(.)(.)/;
	push @plans, sprintf '{"%s", %d, %s, %d, %d, %d, %d, %d}', $iso, $code,
		$trunk_written ? 'true' : 'false', state_of(@numbers), place_of_rules(\%trunk), place_of_rules(\%abroad);
}

sub print_numbers
{
	my @numbers = map { $_ // -1 } @_;
	print "\t", join(', ', splice @numbers, 0, 20), ",\n" while @numbers;
}

# Accepting states are numbered behind the others.
my @order = ((grep { !$states[$_]{accepts} } 0 .. $#states), (grep { $states[$_]{accepts} } 0 .. $#states));
my @number;
$number[ $order[$_] ] = $_ for 0 .. $#order;
my $accepting = grep { !$_->{accepts} } @states;
s/^\{(\d+)/"{$number[$1]"/e for @rules;
s/^(\{"\w*", \d+, \w+, )(\d+)/$1$number[$2]/ for @plans;

print <<"END";
/*
 * member_phone_plans.c
 *		Numbering plans.  Made by make_phone_plans.pl: do not edit.
 *
 * Made from the metadata of Google's libphonenumber, Apache License 2.0, as in
 * libphonenumber-js $versions.
 */
#include "postgres.h"

#include "member/member_phone.h"

const PhonePlan phone_plans[] = {
END
print "\t$_,\n" for @plans;
print <<"END";
};

const PhoneRule phone_rules[] = {
END
print "\t$_,\n" for @rules;
print <<"END";
};

/* place in phone_plans of each pair of letters, AA to ZZ, or -1 */
const int16 phone_plan_of_country[26 * 26] = {
END
print_numbers(@plan_of_country[0 .. 26 * 26 - 1]);
print <<"END";
};

/* place in phone_plans of each calling code's main country, or -1 */
const int16 phone_plan_of_code[1000] = {
END
print_numbers(@plan_of_code[0 .. 999]);
print <<"END";
};

/* this state and those behind it accept */
const int	phone_first_accepting = $accepting;

/* the state behind each digit, 0 to 9 */
const uint16 phone_states[][10] = {
END
print "\t{", join(', ', map { $number[$_] } @{ $states[$_]{next} }), "},\n" for @order;
print "};\n";
