# Blocks, counts, weights and clusters of room match against slow references:
# which blocks are chosen, which pairs they make, what is counted of fields, and
# who is one once some were found not to be the same.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use List::Util qw(max min sum0);
use Test::More;

use MatchReference;

my $rounds = $ENV{LOYALTY_SOAK} ? 400 : 14;
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', 5432, '-U', 'postgres', '-XqAt', '-v', 'ON_ERROR_STOP=1');
my $seed = $ENV{LOYALTY_SEED} || 1;

# Several queries at once; the answers to each.
sub ask
{
	my ($database, @sql) = @_;
	my $sql = join '', map { "$_;\n\\echo --\n" } @sql;
	my ($out, $err) = ('', '');
	IPC::Run::run([ @psql, '-d', $database ], '<', \$sql, '>', \$out, '2>', \$err) or die "$err in $sql";
	return map { my $rows = $_; [ map { [ split /\|/, $_, -1 ] } split /\n/, $rows ] } split /^--\n/m, $out, -1;
}

sub text_of { return join "\n", map { join '|', @$_ } @_ }

ask('postgres', 'DROP DATABASE IF EXISTS match_parts', 'CREATE DATABASE match_parts');
ask('match_parts', 'SET client_min_messages = warning', 'CREATE EXTENSION loyalty CASCADE');

my @fields = ([ a => 'name' ], [ b => 'category' ], [ c => 'code' ], [ d => 'category' ], [ e => 'key' ]);

sub records
{
	my ($n) = @_;
	my @alphabet = ('a' .. 'e');
	my @sizes = map { 1 + int rand(rand() < .5 ? 8 : 60) } @fields;
	my @values = map { my $f = $_; [ map { my $v = $_; $fields[$f][1] eq 'name' ? join('', map { $alphabet[ rand 5 ] } 1 .. 5 + int rand 3) : $fields[$f][1] eq 'code' ? 10 + $v : "v$v" } 1 .. $sizes[$f] ] } 0 .. $#fields;
	return map { [ map { rand() < .1 ? '' : rand() < .02 ? 'Unknown' : $values[$_][ @{ $values[$_] } * rand() ** 1.5 ] } 0 .. $#fields ] } 1 .. $n;
}

sub pairs_of { return $_[0] * ($_[0] - 1) / 2 }

# The records of each key of a block, by their numbers.
sub keys_of
{
	my ($records, @block) = @_;
	my %keys;
	for my $i (0 .. $#$records)
	{
		next if grep { $records->[$i][$_] eq '' } @block;
		push @{ $keys{ join ' + ', map { $records->[$i][$_] } @block } }, $i;
	}
	return \%keys;
}

sub size_of
{
	my ($records, @block) = @_;
	my $keys = keys_of($records, @block);
	my @shared = sort { @{ $keys->{$b} } <=> @{ $keys->{$a} } || $keys->{$a}[0] <=> $keys->{$b}[0] } grep { @{ $keys->{$_} } > 1 } keys %$keys;
	return { pairs => sum0(map { pairs_of(scalar @$_) } values %$keys), keys => scalar @shared, key => $shared[0] // '', largest => @shared ? scalar @{ $keys->{ $shared[0] } } : 0 };
}

sub bits { return sum0(map { 1 << $_ } @_) }

# Blocks of one, two, three fields, the smallest first, as long as there is room.
sub chosen
{
	my ($records, $compared, $per_record, $largest_key) = @_;
	my $n = @$records;
	my $most = $per_record * max($n, 100);
	my ($pairs, @blocks) = 0;
	my $made = sub { my %in = map { $_ => 1 } @_; return grep { my $b = $_; !grep { !$in{$_} } @$b } @blocks };
	my $smallest = sub { sort { $a->{pairs} <=> $b->{pairs} || bits(@{ $a->{fields} }) <=> bits(@{ $b->{fields} }) } @_ };
	my @ones = map { [$_] } @$compared;
	my (@twos, @threes);
	for my $i (0 .. $#$compared)
	{
		for my $k ($i + 1 .. $#$compared)
		{
			push @twos, [ @$compared[ $i, $k ] ];
			push @threes, [ @$compared[ $i, $k, $_ ] ] for $k + 1 .. $#$compared;
		}
	}
	for my $level (\@ones, \@twos)
	{
		my @candidates = grep { $_->{pairs} <= int($most / 4) && $_->{largest} <= $largest_key } map { { fields => $_, %{ size_of($records, @$_) } } } grep { !$made->(@$_) } @$level;
		for my $candidate ($smallest->(@candidates))
		{
			last if $pairs + $candidate->{pairs} > $most;
			push @blocks, $candidate->{fields};
			$pairs += $candidate->{pairs};
		}
	}
	my %agreement = map { $_ => size_of($records, $_)->{pairs} / max(1, pairs_of($n)) } @$compared;
	my @candidates = map { my $x = pairs_of($n); $x *= $agreement{$_} for @$_; { fields => $_, pairs => int $x } } grep { !$made->(@$_) } @threes;
	my $tried = 0;
	for my $candidate ($smallest->(grep { $_->{pairs} <= int($most / 4) } @candidates))
	{
		last if $tried++ == 12 || $pairs + $candidate->{pairs} > $most;
		my $size = size_of($records, @{ $candidate->{fields} });
		next if $pairs + $size->{pairs} > $most || $size->{largest} > $largest_key;
		push @blocks, $candidate->{fields};
		$pairs += $size->{pairs};
	}
	return @blocks;
}

sub near { my ($x, $y) = @_; return abs($x - $y) <= 1e-9 * max(1e-3, abs $y) }
sub json_list { return '[' . join(', ', @_) . ']' }

for my $round (1 .. $rounds)
{
	srand $seed * 1000 + $round;
	my @record = records($round % 7 ? 20 + int rand 150 : int rand 4);
	my $rows = join ', ', map { my $i = $_; "($i, " . join(', ', map { $_ eq '' ? 'NULL' : "'$_'" } @{ $record[$i] }) . ')' } sort { rand() <=> .5 } 0 .. $#record;
	# garbage is missing, and whoever has nothing is no record
	for my $r (@record) { $_ = lc =~ /^unknown$/i ? '' : lc for @$r }
	my @id = grep { my $i = $_; grep { $_ ne '' } @{ $record[$i] } } 0 .. $#record;
	@record = @record[@id];
	my $n = @record;
	my $used = 3 + int rand 3;
	my @compared = grep { $fields[$_][1] ne 'key' } 0 .. $used - 1;
	# records that have only fields that are not looked at are none
	my @kept = grep { my $r = $record[$_]; grep { $r->[$_] ne '' } 0 .. $used - 1 } 0 .. $#record;
	@id = @id[@kept];
	@record = @record[@kept];
	$n = @record;
	my $fields = join ', ', map { qq("$fields[$_][0]": "$fields[$_][1]") } 0 .. $used - 1;
	my ($per_record, $largest_key) = (1 + int rand(rand() < .5 ? 4 : 20), 2 + int rand(rand() < .5 ? 10 : 100));
	my $limits = qq("pairs_per_record": $per_record, "largest_key": $largest_key);
	my $create = "DROP TABLE IF EXISTS rec; CREATE TABLE rec (id integer PRIMARY KEY, a text, b text, c text, d text, e text)" . ($rows eq '' ? '' : "; INSERT INTO rec VALUES $rows");
	my $row_of = sub { my ($most, @b) = @_; my $s = size_of(\@record, @b); return [ join(' + ', map { $fields[$_][0] } @b), @$s{qw(pairs keys key largest)}, $s->{largest} > $most ? 't' : 'f' ] };

	# which are chosen
	my @chosen = chosen(\@record, \@compared, $per_record, $largest_key);
	if (@chosen)
	{
		my (undef, $answer) = ask('match_parts', $create, "SELECT * FROM loyalty.preview_blocks('rec', '{\"fields\": {$fields}, $limits}')");
		is(text_of(@$answer), text_of(map { $row_of->($largest_key, @$_) } @chosen), "round $round: blocks of $n records, $limits");
	}
	else
	{
		eval { ask('match_parts', "SET client_min_messages = error", $create, "SELECT loyalty.preview_blocks('rec', '{\"fields\": {$fields}, $limits}')") };
		like($@, qr/no block of the fields is small enough/, "round $round: no block of $n records, $limits");
		ask('match_parts', $create);
	}

	# which pairs blocks make, and in which each is made
	my @blocks = grep { my $b = $_; !grep { $_ >= $used } @$b } $round % 2 ? ([ 0, 1 ], [2], [ 1, 3 ], [4]) : ([ 1, 4 ], [2], [0], [ 0, 1, 2 ], [ 2, 3 ]);
	my $blocks = join ', ', map { json_list(map { qq("$fields[$_][0]") } @$_) } @blocks;
	my $definition = qq({"fields": {$fields}, "blocks": [$blocks], "largest_key": $largest_key, "oversized": "skip", "review": 0, "link": 0.4});
	my (%pair, %cell, %beside);
	for my $b (0 .. $#blocks)
	{
		for my $key (values %{ keys_of(\@record, @{ $blocks[$b] }) })
		{
			next if @$key > $largest_key;
			for my $i (0 .. $#$key) { $pair{"$key->[$_] $key->[$i]"} //= $b + 1 for 0 .. $i - 1 }
		}
	}
	my %pattern = map { my ($x, $y) = split / /; $_ => join '', map { MatchReference::level($fields[$_][1], $record[$x][$_], $record[$y][$_]) } @compared } keys %pair;
	for my $p (keys %pair)
	{
		my ($x, $y) = map { $record[$_] } split / /, $p;
		my $taken = grep { my $b = $_; !grep { $fields[$_][1] eq 'key' || $x->[$_] eq '' || $x->[$_] ne $y->[$_] } @$b } @blocks;
		($taken ? \%cell : \%beside)->{ $pattern{$p} }++;
	}

	# a model by hand, in which values count that many have
	my @u = map { my $top = $MatchReference::levels{ $fields[$_][1] } - 1; [ (map { (1 - .1) / $top } 1 .. $top), .1 ] } @compared;
	my @m = map { my $top = $MatchReference::levels{ $fields[$_][1] } - 1; [ (map { .2 / $top } 1 .. $top), .8 ] } @compared;
	my $model = '{"lambda": 0.25, "fields": [' . join(', ', map { my $p = $_; sprintf '{"field": "%s", "kind": "%s", "m": %s, "u": %s}', @{ $fields[ $compared[$p] ] }, json_list(@{ $m[$p] }), json_list(@{ $u[$p] }) } 0 .. $#compared) . ']}';
	my @have = map { my $f = $_; my %c; $_->[$f] ne '' and $c{ $_->[$f] }++ for @record; \%c } 0 .. $#fields;
	my %weight = map {
		my $p = $_;
		my ($x) = split / /, $p;
		my @l = split //, $pattern{$p};
		my $w = log(1 / 3);
		for my $k (0 .. $#compared)
		{
			next if $l[$k] eq '-';
			my $f = $compared[$k];
			$w += log($m[$k][ $l[$k] ] / $u[$k][ $l[$k] ]);
			$w += log(.1 / (($have[$f]{ $record[$x][$f] } - 1) / (sum0(values %{ $have[$f] }) - 2 + 10))) if $l[$k] == $#{ $m[$k] };
		}
		$p => $w / log 2;
	} keys %pair;
	my %only = map { $_ => 1 } grep { rand() < .3 } 0 .. $#record;
	my $only = join ',', map { $id[$_] } keys %only;
	my ($listed, $sizes, $found, $some, $counts) = ask('match_parts', "SELECT a, b, block, pattern FROM loyalty.match_pairs('rec', '$definition')", "SELECT * FROM loyalty.preview_blocks('rec', '$definition')",
		"SELECT a, b, weight, decision, block, pattern FROM loyalty.find_matches('rec', '$definition', '$model')", "SELECT a, b, weight, decision, block, pattern FROM loyalty.find_matches('rec', '$definition', '$model', '{$only}')",
		"SELECT x.key, x.value FROM loyalty.match_patterns('rec', '$definition') p, jsonb_each_text(p) x WHERE x.key <> 'fields' UNION ALL SELECT f ->> 'field', f::text FROM loyalty.match_patterns('rec', '$definition') p, jsonb_array_elements(p -> 'fields') f");
	my @order = sort { my @p = split / /, $a; my @q = split / /, $b; $p[0] <=> $q[0] || $p[1] <=> $q[1] } keys %pair;
	my $name = sub { my ($p) = @_; return map { $id[$_] } split / /, $p };
	is(text_of(sort { $a->[0] <=> $b->[0] || $a->[1] <=> $b->[1] } @$listed), text_of(map { [ $name->($_), $pair{$_}, $pattern{$_} ] } @order), "round $round: " . @order . ' pairs of blocks');
	is(text_of(@$sizes), text_of(map { $row_of->($largest_key, @$_) } @blocks), "round $round: sizes");
	for ([ $found, 'all', @order ], [ $some, 'some', grep { my ($x, $y) = split / /; $only{$x} || $only{$y} } @order ])
	{
		my ($rows, $whose, @want) = @$_;
		# of a weight its last digit may be another one
		my @off = grep { my $w = $weight{ $want[$_] // '' }; !defined $w || abs($rows->[$_][2] - $w) > 1e-5 || abs($w - log(2 / 3) / log 2) > 1e-5 && $rows->[$_][3] ne ($w >= log(2 / 3) / log 2 ? 'link' : 'review') } 0 .. $#$rows;
		is(text_of(map { [ @$_[ 0, 1, 4, 5 ] ] } @$rows), text_of(map { [ $name->($_), $pair{$_}, $pattern{$_} ] } @want), "round $round: matches of $whose");
		is("@off", '', "round $round: weights of $whose");
	}

	# what is counted
	my %count = map { $_->[0] => $_->[1] } @$counts;
	my $numbers = sub { my ($cells) = @_; return '{' . join(', ', map { qq("$_": $cells->{$_}) } sort { length $a <=> length $b || $a cmp $b } keys %$cells) . '}' };
	my $has_keys = grep { my $b = $_; grep { $fields[$_][1] eq 'key' } @$b } @blocks;
	is($count{patterns}, $numbers->(\%cell), "round $round: patterns");
	is($count{beside}, $has_keys ? $numbers->(\%beside) : undef, "round $round: patterns of blocks of keys only");
	is("$count{records} $count{pairs} " . ($count{keys} // ''), "$n " . pairs_of($n) . ($has_keys ? ' true' : ' '), "round $round: records, pairs and keys");
	is($count{blocks}, json_list(map { json_list(map { qq("$fields[$_][0]") } @$_) } grep { my $b = $_; !grep { $fields[$_][1] eq 'key' } @$b } @blocks), "round $round: blocks of levels");
	for my $f (@compared)
	{
		my $top = $MatchReference::levels{ $fields[$f][1] } - 1;
		my %c = %{ $have[$f] };
		my $present = sum0(values %c);
		my $equal = sum0(map { pairs_of($_) } values %c);
		my @on = (0) x ($top + 1);
		my $shares = pairs_of($present);
		my @resolution = (0) x ($top + 1);
		my $compared = 0;
		$on[$top] = $equal;
		if ($shares > 0)
		{
			my @values = keys %c;
			for my $i (0 .. $#values) { $on[ MatchReference::level($fields[$f][1], $values[$i], $values[$_]) ] += $c{ $values[$i] } * $c{ $values[$_] } for 0 .. $i - 1 }
			$compared = @values if $top > 1 && $equal < $shares;
			@resolution = map { .5 / ($_ < $top && $compared ? min($shares, pairs_of($compared)) : $shares) } 0 .. $top;
		}
		else { @on = (1, (0) x $top); $shares = 1 }
		my %want = (values => scalar keys %c, compared => $compared, present => $n > 1 ? pairs_of($present) / pairs_of($n) : 0, levels => $top + 1);
		my %got = map { my $k = $_; $count{ $fields[$f][0] } =~ /"$k": ([-+.e\d]+)/ ? ($k => $1) : () } keys %want;
		my @bad = grep { !defined $got{$_} || !near($got{$_}, $want{$_}) } sort keys %want;
		for ([ agreement => map { $_ / $shares } @on ], [ resolution => @resolution ])
		{
			my ($k, @w) = @$_;
			my @g = $count{ $fields[$f][0] } =~ /"$k": \[(.*?)\]/ ? split /, /, $1 : ();
			push @bad, $k if @g != @w || grep { !near($g[$_], $w[$_]) } 0 .. $#w;
		}
		is("@bad", '', "round $round: counts of field $fields[$f][0]") or diag($count{ $fields[$f][0] });
	}
}

# Clusters: the pairs one after the other, every node with a set of its own at first.
for my $round (1 .. $rounds)
{
	srand $seed * 2000 + $round;
	my $nodes = 3 + int rand 12;
	my $id = sub { my ($i) = @_; return $i * 3 - 7 };
	my @edges = map { { a => $id->(int rand $nodes), b => $id->(int rand $nodes), weight => -3 + int rand 12, accepted => rand() < .2 ? 't' : 'f' } } 1 .. 1 + int rand 2 * $nodes;
	my @refused = map { [ $id->(int rand($nodes + 1)), $id->(int rand $nodes) ] } 1 .. int rand $nodes;
	my $arguments = join ', ', (map { my $k = $_; "'{" . join(',', map { $_->{$k} } @edges) . "}'" } qw(a b weight accepted)), map { my $k = $_; "'{" . join(',', map { $_->[$k] } @refused) . "}'" } 0, 1;
	my ($answer) = ask('match_parts', "SELECT * FROM loyalty.cluster_pairs($arguments)");
	@$_{qw(a b)} = sort { $a <=> $b } @$_{qw(a b)} for @edges;
	my %of = map { $_->{a} => { nodes => [ $_->{a} ] }, $_->{b} => { nodes => [ $_->{b} ] } } @edges;
	my @known = grep { $of{ $_->[0] } && $of{ $_->[1] } } map { [ sort { $a <=> $b } @$_ ] } @refused;
	my @blocked;
	for my $edge (sort { $b->{accepted} cmp $a->{accepted} || $b->{weight} <=> $a->{weight} || $a->{a} <=> $b->{a} || $a->{b} <=> $b->{b} } @edges)
	{
		my ($x, $y) = @of{ @$edge{qw(a b)} };
		next if $x == $y;
		my ($way) = sort { $a->[0] <=> $b->[0] || $a->[1] <=> $b->[1] } grep { my @c = @of{@$_}; $c[0] == $x && $c[1] == $y || $c[0] == $y && $c[1] == $x } @known;
		if ($way) { push @blocked, [ '', '', @$edge{qw(a b weight)}, @$way ]; next }
		my $both = { nodes => [ @{ $x->{nodes} }, @{ $y->{nodes} } ], last => $edge };
		$of{$_} = $both for @{ $both->{nodes} };
	}
	my @want = map { my $c = $of{$_}; [ $_, min(@{ $c->{nodes} }), ($c->{last} ? @{ $c->{last} }{qw(a b weight)} : ('', '', '')), '', '' ] } sort { $a <=> $b } keys %of;
	is(text_of(@$answer), text_of(@want, @blocked), "clusters $round");
}
ask('postgres', 'DROP DATABASE match_parts');
done_testing();
