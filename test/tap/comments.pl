# Comments in the source that repeat what stands elsewhere: functions that they
# name exist, and a signature above a C function is that of the SQL function.
use strict;
use warnings;

use Test::More;

my $top = $ENV{LOYALTY_TOP} || '.';

sub slurp
{
	my ($file) = @_;
	open my $handle, '<', $file or die "cannot read $file: $!";
	local $/;
	return scalar <$handle>;
}

# a list at its commas, but for those in brackets
sub split_list
{
	my ($list) = @_;
	my ($depth, @parts) = (0, '');
	foreach (split //, $list)
	{
		$depth++ if /[(\[]/;
		$depth-- if /[)\]]/;
		if ($_ eq ',' && $depth == 0) { push @parts, ''; next }
		$parts[-1] .= $_;
	}
	return grep { /\S/ } @parts;
}

my %text = map { $_ => slurp($_) } glob "$top/src/*/*.c $top/src/*/*.h $top/src/*/*.sql";
my $sql = join "\n", map { $text{$_} } grep { /\.sql$/ } sort keys %text;
my $code = join "\n", values %text;
$code =~ s{/\*.*?\*/}{ }gs;
my %word = map { $_ => 1 } $code =~ /(\w+)/g;
$word{"${_}Init"} = 1 foreach $code =~ /ROOM_INIT\((\w+)\)/g;

# the names of arguments of each function, where they have any; the types
my (%arguments, %type);
while ($sql =~ /CREATE (?:FUNCTION|PROCEDURE|AGGREGATE) (?:loyalty\.)?(\w+)(\((?:[^()]++|(?2))*\))/g)
{
	my ($name, $list) = ($1, substr $2, 1, -1);
	push @{ $arguments{$name} }, [ map { /^\s*(?:VARIADIC\s+)?(\w+)\s+\w/ ? $1 : '' } grep { !/^\s*OUT\s/ } split_list($list) ];
}
my %trigger = map { $_ => 1 } $sql =~ /CREATE FUNCTION (\w+)\(\) RETURNS trigger/g;
$type{$_} = 1 foreach $sql =~ /CREATE TYPE (\w+)/g;
$type{$_} = 1 foreach qw(internal cstring bigint integer numeric text bytea jsonb record timestamptz date interval boolean anyelement double);

sub same_arguments
{
	my ($given, $names) = @_;
	my @given = split_list($given);
	foreach my $i (0 .. $#given)
	{
		my ($first) = $given[$i] =~ /^\s*(?:VARIADIC\s+)?"?([\w.]+)/;
		return 1 if $first eq '...';
		return 0 if $i > $#$names;
		return 0 unless $type{$first} || $names->[$i] eq '' || $names->[$i] eq $first;
	}
	return @given == @$names;
}

my $signatures = 0;
foreach my $file (sort grep { /\.c$/ } keys %text)
{
	(my $short = $file) =~ s{.*/src/}{};
	while ($text{$file} =~ m{^/\*\n((?: \*[^\n]*\n)+?) \*/\nPG_FUNCTION_INFO_V1\(loyalty_(\w+)\)}mg)
	{
		my ($comment, $function) = ($1, $2);
		while ($comment =~ /^ \* (\w+)\(([^()]*)\)/mg)
		{
			my ($name, $given) = ($1, $2);
			$given =~ s/\n \*\s*/ /g;
			$signatures++;
			ok($arguments{$name} || $name eq $function, "$short: there is a function $name()") or next;
			ok((grep { same_arguments($given, $_) } @{ $arguments{$name} }), "$short: $name($given) has these arguments")
				if $arguments{$name} && $given ne '' && !$trigger{$name};
		}
	}
}
cmp_ok($signatures, '>', 100, 'signatures in comments');

foreach my $file (sort keys %text)
{
	(my $short = $file) =~ s{.*/src/}{};
	my @gone;
	foreach my $comment ($text{$file} =~ m{(/\*.*?\*/|--[^\n]*)}gs)
	{
		push @gone, grep { !$word{$_} } $comment =~ /(?<![\w.])([A-Z][a-z]\w+|[a-z_]+)\(\)/g;
	}
	is("@gone", '', "$short: functions that comments name are there");
}

done_testing();
