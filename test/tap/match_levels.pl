# compare_values() and jaro_winkler() against MatchReference.pm: random texts
# of every kind and of many lengths, most of them a few changes apart, so that
# they lie about where one level becomes the next.
use strict;
use warnings;
use utf8;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use List::Util qw(max min shuffle);
use Test::More;

use MatchReference;

my $pairs = $ENV{LOYALTY_SOAK} ? 20000 : 1500;
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', 5432, '-U', 'postgres', '-XqAt', '-v', 'ON_ERROR_STOP=1');
$ENV{PGCLIENTENCODING} = 'UTF8';
srand($ENV{LOYALTY_SEED} || 1);

sub ask
{
	my ($sql, $database) = @_;
	my ($out, $err) = ('', '');
	utf8::encode($sql);
	IPC::Run::run([ @psql, '-d', $database // 'match_levels' ], '<', \$sql, '>', \$out, '2>', \$err) or die $err;
	utf8::decode($out);
	return $out;
}

ask('DROP DATABASE IF EXISTS match_levels', 'postgres');
ask(q{CREATE DATABASE match_levels ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0}, 'postgres');
ask('SET client_min_messages = warning; CREATE EXTENSION loyalty CASCADE');

sub word
{
	my ($letters, $least, $most) = @_;
	return join '', map { $letters->[ rand @$letters ] } 1 .. $least + int rand($most - $least + 1);
}

# The same with some changes: other characters, fewer, more, exchanged ones, a part moved or reversed.
sub changed
{
	my ($letters, $text, $n) = @_;
	my @c = split //, $text;
	for (1 .. $n)
	{
		my $i = int rand @c;
		my $kind = rand;
		if ($kind < .3) { $c[$i] = $letters->[ rand @$letters ] if @c }
		elsif ($kind < .45) { splice @c, $i, 1 if @c > 1 }
		elsif ($kind < .6) { splice @c, $i, 0, $letters->[ rand @$letters ] }
		elsif ($kind < .85) { @c[ $i, $i + 1 ] = @c[ $i + 1, $i ] if $i < $#c }
		elsif ($kind < .95) { push @c, splice @c, 0, $i }
		else { @c = reverse @c }
	}
	return join '', @c;
}

my @digits = (0 .. 9);
my @few = ('a' .. 'c');
my @some = ('a' .. 'h');
my @latin = ('a' .. 'z');
my @western = ('a' .. 'd', 'é', 'ü', 'ñ');
my @greek = ('α', 'β', 'γ', 'δ', 'e', 'f');			# characters of four bytes, and of one
my @names = ('王', '小', '明', '张', '伟');
my @places = ('上', '海', '市', '浦', '东', '区', '路', '县', '街', '镇', '1', '2', '号');

sub date
{
	my $date = sprintf '%04d%02d%02d', 1960 + int rand 3, 1 + int rand 12, 1 + int rand 12;
	return rand() < .9 ? $date : word(\@some, 3, 7);
}

my %texts = (
	'names of three letters' => [ name => sub { my $x = word(\@few, 1, 10); ($x, rand() < .5 ? word(\@few, 1, 10) : changed(\@few, $x, 1 + int rand 4)) } ],
	'names' => [ name => sub { my $x = word(\@some, 1, 14); ($x, changed(\@some, $x, int rand 7)) } ],
	'short names' => [ name => sub { my $x = word(\@latin, 1, 6); ($x, changed(\@latin, $x, 1 + int rand 3)) } ],
	'names with accents' => [ name => sub { my $x = word(\@western, 1, 9); ($x, changed(\@western, $x, int rand 5)) } ],
	'names of two scripts' => [ name => sub { my $x = word(\@greek, 1, 9); ($x, changed(\@greek, $x, int rand 5)) } ],
	'addresses' => [ address => sub { my $x = word(\@latin, 8, 30); ($x, changed(\@latin, $x, int rand 12)) } ],
	'addresses of about 64 letters' => [ address => sub { my $x = word(\@some, 60, 68); ($x, changed(\@some, $x, int rand 25)) } ],
	'addresses in three letters, long' => [ address => sub { (word(\@few, 55, 75), word(\@few, 55, 75)) } ],
	'addresses that are cut' => [ address => sub { my $x = word(\@latin, 240, 262); my $y = changed(\@latin, $x, 1 + int rand 90); map { substr $_, 0, 255 } $x, $y } ],
	'Chinese names' => [ name => sub { my $x = word(\@names, 1, 4); ($x, rand() < .6 ? changed(\@names, $x, int rand 3) : word([ @names, 'a' ], 1, 4)) } ],
	'Chinese addresses' => [ address => sub { my $x = word(\@places, 1, 12); ($x, rand() < .3 ? substr($x, min(length($x) - 1, int rand 5)) : rand() < .5 ? substr($x, 0, rand length $x) . word(\@places, 2, 6) : changed(\@places, $x, int rand 4)) } ],
	'dates' => [ date => sub { my $x = date(); my $y = date(); $y = changed(\@digits, $x, 1 + int rand 2) if rand() < .4; substr($y, 0, 4) = substr $x, 0, 4 if rand() < .3 && length $x > 3 && length $y > 3; ($x, $y) } ],
	'codes' => [ code => sub { my $x = word([ 0 .. 4, 'a' ], 1, 7); ($x, changed([ 0 .. 4, 'a' ], $x, int rand 3)) } ],
	'codes with accents' => [ code => sub { my $x = word(\@western, 1, 7); ($x, changed(\@western, $x, int rand 3)) } ],
	'codes of two scripts' => [ code => sub { my $x = word(\@greek, 1, 7); ($x, changed(\@greek, $x, int rand 3)) } ],
	'addresses of mail' => [ email => sub { my $x = word(\@some, 1, 7); map { "$_\@example.org" } $x, changed(\@some, $x, int rand 3) } ],
	'categories' => [ category => sub { my $x = word(\@few, 1, 3); ($x, word(\@few, 1, 3)) } ]);

# What was eight digits for a date may be none, or no year, month and day, once it is changed: what it is then is not looked at here.
sub comparable { my ($kind, @both) = @_; return $kind ne 'date' || !grep { !/^\d{8}$/ && /\d/ } @both }

for my $what (sort keys %texts)
{
	my ($kind, $make) = @{ $texts{$what} };
	my (@pairs, @bad, %seen);
	while (@pairs < $pairs / ($what =~ /long|64|cut/ ? 8 : 1))
	{
		my @pair = $make->();
		push @pairs, \@pair if comparable($kind, @pair);
	}
	my $rows = join ",\n", map { "($_, '$pairs[$_][0]', '$pairs[$_][1]')" } 0 .. $#pairs;
	my @answer = map { [ split /\|/ ] } split /\n/, ask("SELECT coalesce(loyalty.compare_values(a, b, '$kind'), '-'), loyalty.jaro_winkler(a, b), coalesce(loyalty.compare_values(b, a, '$kind'), '-') FROM (VALUES $rows) v (n, a, b) ORDER BY n");
	my @names = ('different', ('similar', 'close')[ 4 - $MatchReference::levels{$kind} .. 1 ], 'equal');
	for my $i (0 .. $#pairs)
	{
		my ($x, $y) = @{ $pairs[$i] };
		my $level = MatchReference::level($kind, $x, $y);
		my $want = $level eq '-' ? '-' : $names[$level];
		$seen{$level}++;
		push @bad, "$x, $y: $answer[$i][0], want $want" if $answer[$i][0] ne $want;
		push @bad, "$y, $x: $answer[$i][2], want $want" if $answer[$i][2] ne $want && $kind ne 'name';
		push @bad, "Jaro and Winkler of $x, $y: $answer[$i][1], want " . MatchReference::jaro_winkler($x, $y) if $x ne '' && $y ne '' && abs($answer[$i][1] - MatchReference::jaro_winkler($x, $y)) > 1e-12;
	}
	utf8::encode($_) for @bad;
	is(join("\n", @bad[ 0 .. min(4, $#bad) ]), '', "$what: " . scalar(@pairs) . ' pairs');
	cmp_ok($seen{$_} // 0, '>', 10, "$what: of level $names[$_] there are enough") for grep { !($what =~ /long$|^addresses$|64|cut/ && $_ == 3 || $what =~ /long|64|cut/) } 0 .. $#names;
}
ask('DROP DATABASE match_levels', 'postgres');
done_testing();
