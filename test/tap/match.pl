# find_matches() against a slow reference, over random tables: every pair is
# compared, blocks are looked up, agreement is counted pair by pair, and the fit
# goes over every pattern that there can be, one by one.  Written from the rules
# (src/match/compare.h, em.h, match.h), not from the code.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use List::Util qw(max sum0);
use Test::More;

use MatchReference;

my $rounds = $ENV{LOYALTY_SOAK} ? 30 : 8;
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', 5432, '-U', 'postgres', '-XqAt', '-v', 'ON_ERROR_STOP=1');

sub ask
{
	my ($sql, $database) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ @psql, '-d', $database // 'match_tap' ], '<', \$sql, '>', \$out, '2>', \$err) or die "$err in $sql";
	return $out;
}

ask('DROP DATABASE IF EXISTS match_tap', 'postgres');
ask('CREATE DATABASE match_tap', 'postgres');
ask('SET client_min_messages = warning; CREATE EXTENSION loyalty CASCADE');

my @kinds = ([ a => 'name' ], [ b => 'name' ], [ c => 'code' ], [ d => 'category' ]);
my %levels = %MatchReference::levels;

sub records
{
	my ($n) = @_;
	my @record;
	my $word = sub { my ($n, $letters) = @_; join '', map { chr(97 + int rand $letters) } 1 .. $n };
	my @a = map { $word->(4 + int rand 5, 6) } 1 .. 40;
	my @b = map { $word->(3 + int rand 6, 9) } 1 .. 60;
	for (1 .. $n)
	{
		push @record, [ $a[40 * rand() ** 2], $b[60 * rand() ** 1.5], 100 + int rand 300, (qw(x y z))[rand 3] ];
		next if rand() > .3;
		my @again = @{ $record[-1] };
		my $f = int rand 3;
		my $kind = rand;
		if ($kind < .2) { $again[$f] = '' }
		else { substr($again[$f], int rand length $again[$f], 1) = $f == 2 ? int rand 10 : chr 97 + int rand 9 }
		push @record, \@again;
	}
	for my $r (@record) { for my $f (0 .. 3) { $r->[$f] = '' if rand() < .03 } }
	return @record;
}

sub covered
{
	my ($pattern, @blocks) = @_;
	my @l = split //, $pattern;
	return grep { my $b = $_; !grep { $l[$_] eq '-' || $l[$_] != $levels{ $kinds[$_][1] } - 1 } @$b } @blocks;
}

for my $round (1 .. $rounds)
{
	srand $round;
	my @record = records(150 + int rand 150);
	my @blocks = ([ 0, 1 ], [ 2 ], [ 1, 3 ]);
	my $n = @record;
	my $pairs = $n * ($n - 1) / 2;
	my (%pattern_of, %cell, @on, @present, @count);
	for my $f (0 .. 3) { $count[$f]{ $_->[$f] }++ for @record }
	for my $i (0 .. $n - 1)
	{
		for my $j ($i + 1 .. $n - 1)
		{
			my @l = map { MatchReference::level($kinds[$_][1], $record[$i][$_], $record[$j][$_]) } 0 .. 3;
			for my $f (0 .. 3) { next if $l[$f] eq '-'; $present[$f]++; $on[$f][ $l[$f] ]++ }
			my $p = join '', @l;
			next unless covered($p, @blocks);
			$cell{$p}++;
			$pattern_of{"$i-$j"} = $p;
		}
	}

	# the fit, over every pattern
	my @all = ('');
	for my $f (0 .. 3) { @all = map { my $p = $_; map { $p . $_ } '-', 0 .. $levels{ $kinds[$f][1] } - 1 } @all }
	my @outside = grep { !covered($_, @blocks) } @all;
	my $left = $pairs - sum0(values %cell);
	my $lambda = 1 / $n;
	my (@m, @u, @a);
	for my $f (0 .. 3)
	{
		my $top = $levels{ $kinds[$f][1] } - 1;
		$a[$f] = [ map { ($on[$f][$_] // 0) / $present[$f] } 0 .. $top ];
		$u[$f] = [ map { max($a[$f][$_], 1e-12) } 0 .. $top ];
		my $rest = sum0(map { 2 ** $_ } 0 .. $top - 1);
		$m[$f] = [ (map { .1 * 2 ** $_ / $rest } 0 .. $top - 1), .9 ];
	}
	my $probability = sub {
		my ($p, $of, $with_presence) = @_;
		my $x = 1;
		for my $f (0 .. 3)
		{
			my $l = substr $p, $f, 1;
			my $here = $present[$f] / $pairs;
			$x *= $l eq '-' ? ($with_presence ? 1 - $here : 1) : ($with_presence ? $here : 1) * $of->[$f][$l];
		}
		return $x;
	};
	my $matches = 0;
	# some worlds converge slowly
	for (1 .. 5000)
	{
		my @sum;
		my $expect = sub {
			my ($p, $e) = @_;
			for my $f (0 .. 3) { my $l = substr $p, $f, 1; $sum[$f][$l] += $e if $l ne '-' }
		};
		$matches = 0;
		for my $p (sort keys %cell)
		{
			my ($x, $y) = ($lambda * $probability->($p, \@m), (1 - $lambda) * $probability->($p, \@u));
			my $e = $x > 0 ? $cell{$p} * $x / ($x + $y) : 0;
			$matches += $e;
			$expect->($p, $e);
		}
		my @x = map { $lambda * $probability->($_, \@m, 1) } @outside;
		my @y = map { (1 - $lambda) * $probability->($_, \@u, 1) } @outside;
		my $out = $left * sum0(@x) / (sum0(@x) + sum0(@y));
		$expect->($outside[$_], $out * $x[$_] / sum0(@x)) for grep { sum0(@x) > 0 } 0 .. $#outside;
		$matches += $out;
		my @before = ($lambda, map { @$_ } @m);
		$lambda = $matches / $pairs;
		for my $f (0 .. 3)
		{
			my $total = sum0(map { $_ // 0 } @{ $sum[$f] });
			$m[$f][$_] = ($sum[$f][$_] // 0) / $total for 0 .. $#{ $m[$f] };
			# (the floor of u is half a pair)
			$u[$f][$_] = max(($a[$f][$_] - $lambda * $m[$f][$_]) / (1 - $lambda), 0) for 0 .. $#{ $m[$f] };
		}
		my @after = ($lambda, map { @$_ } @m);
		last if !grep { abs($after[$_] - $before[$_]) > 1e-13 } 0 .. $#after;
	}

	my $rows = join ",\n", map { my $i = $_; "($i, " . join(', ', map { "'$_'" } @{ $record[$i] }) . ')' } sort { rand() <=> .5 } 0 .. $n - 1;
	my $definition = '{"fields": {"a": "name", "b": "name", "c": "code", "d": "category"}, "blocks": [["a", "b"], ["c"], ["b", "d"]], "review": 0.01}';
	ask("DROP TABLE IF EXISTS rec; CREATE TABLE rec (id integer PRIMARY KEY, a text, b text, c text, d text); INSERT INTO rec VALUES $rows");
	my %ours = map { my ($x, $y, $p) = split /\|/; ("$x-$y" => $p) } split /\n/, ask("SELECT a, b, pattern FROM loyalty.match_pairs('rec', '$definition')");
	is_deeply(\%ours, \%pattern_of, "round $round: " . scalar(keys %pattern_of) . " pairs of $n records, and how they agree");
	my %counted = map { split /\|/ } split /\n/, ask("SELECT key, value FROM jsonb_each_text(loyalty.match_patterns('rec', '$definition') -> 'patterns')");
	is_deeply(\%counted, \%cell, "round $round: counts of patterns");
	my @agreement = map { [ split / / ] } split /\n/, ask("SELECT (SELECT string_agg(x, ' ' ORDER BY n) FROM jsonb_array_elements_text(f -> 'agreement') WITH ORDINALITY y (x, n))
		FROM jsonb_array_elements(loyalty.match_patterns('rec', '$definition') -> 'fields') f");
	my $worst = max(map { my $f = $_; map { abs($agreement[$f][$_] - $a[$f][$_]) } 0 .. $#{ $a[$f] } } 0 .. 3);
	cmp_ok($worst, '<', 1e-12, "round $round: agreement over all pairs");
	my ($l, @of) = split /\|/, ask("SELECT m ->> 'lambda', (SELECT string_agg(x #>> '{}', '|' ORDER BY f.n, y.n) FROM jsonb_array_elements(m -> 'fields') WITH ORDINALITY f (f, n),
		jsonb_array_elements(f -> 'm') WITH ORDINALITY y (x, n)) FROM loyalty.match_fit(loyalty.match_patterns('rec', '$definition')) m");
	chomp @of;
	cmp_ok(abs($l - $lambda) / $lambda, '<', 1e-4, "round $round: lambda $l");
	my @want = map { @$_ } @m;
	cmp_ok(max(map { abs($of[$_] - $want[$_]) } 0 .. $#want), '<', 1e-3, "round $round: m");
}
ask('DROP DATABASE match_tap', 'postgres');
done_testing();
