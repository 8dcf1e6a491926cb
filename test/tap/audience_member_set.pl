# Sets of members against their specification, which is written here in a few
# lines: random sets through all operations, byte for byte; and random bytes,
# which must be refused or read.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Soak;

my $seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? time : 1);
srand $seed;
note "LOYALTY_SEED=$seed";

# The portable form of a set of ids, written from the specification of Roaring
# bitmaps (github.com/RoaringBitmap/RoaringFormatSpec): arrays of up to 4,096,
# bits above, no runs.
sub portable
{
	my %bucket;
	foreach my $id (@_) { push @{ $bucket{ $id >> 32 }{ ($id >> 16) & 65535 } }, $id & 65535 }
	my $bytes = pack 'Q<', scalar keys %bucket;
	foreach my $high (sort { $a <=> $b } keys %bucket)
	{
		my @keys = sort { $a <=> $b } keys %{ $bucket{$high} };
		my ($heads, $offsets, $chunks, $offset) = ('', '', '', 8 + 8 * @keys);
		foreach my $key (@keys)
		{
			my @low = sort { $a <=> $b } @{ $bucket{$high}{$key} };
			my $chunk = pack 'S<*', @low;
			if (@low > 4096)
			{
				$chunk = "\0" x 8192;
				vec($chunk, $_, 1) = 1 foreach @low;
			}
			$heads .= pack 'S<S<', $key, @low - 1;
			$offsets .= pack 'L<', $offset;
			$chunks .= $chunk;
			$offset += length $chunk;
		}
		$bytes .= pack('L<L<L<', $high, 12346, scalar @keys) . $heads . $offsets . $chunks;
	}
	return unpack 'H*', $bytes;
}

# What an operation makes of two sets.
sub combined
{
	my ($op, @x) = @_;
	my ($in_a, $in_b) = map { +{ map { $_ => 1 } /\d+/g } } @x;
	my %all = (%$in_a, %$in_b);
	return grep
	{
		my ($a, $b) = map { $_ // 0 } ($in_a->{$_}, $in_b->{$_});
		$op eq '&' ? $a && $b : $op eq '|' ? 1 : $op eq '-' ? $a && !$b : $a != $b;
	} keys %all;
}

my $node = PostgreSQL::Test::Cluster->new('member_set');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION loyalty CASCADE');

# A set of one of several shapes.
sub random_set
{
	my ($from, $step, $n) = (int(rand 3) * 65536 + int(rand 1000), 1 + int(rand 20), int(rand 5000));
	my $high = rand() < 0.3 ? int(rand 3) * 4294967296 : 0;
	my $shape = int(rand 6);
	return '{}' if rand() < 0.05;
	my %in;
	if ($shape == 0) { $in{ $high + $from + $step * $_ } = 1 foreach 1 .. $n }
	elsif ($shape == 1) { $in{ $high + int(rand 200000) } = 1 foreach 1 .. $n }
	elsif ($shape == 2) { $in{ $high + $from + $_ } = 1 foreach 1 .. 4090 + int(rand 12) }
	elsif ($shape == 3) { $in{ int(rand 2147483648) * 4294967296 + int(rand 70000) } = 1 foreach 1 .. int(rand 50) }
	elsif ($shape == 4) { $in{ $high + int(rand 10) } = 1 foreach 1 .. 5 }
	# two such ones are all of a chunk, or all but few
	else { my $odd = int(rand 2); $in{ 2 * $_ + $odd } = 1 foreach 0 .. 32767 - int(rand 2) }
	return '{' . join(',', sort { $a <=> $b } keys %in) . '}';
}
my ($operations, @wrong_operations, @wrong_orders) = (0);
my $next = Soak::rounds(3, 4);
while ($next->())
{
	my @cases = map { [ (split //, '&|-#')[rand 4], random_set(), random_set() ] } 1 .. 100;
	my @got = split /\n/, $node->safe_psql('postgres', "SET search_path = loyalty, pg_catalog;\n"
		. join '', map { "SELECT encode(('$_->[1]'::member_set OPERATOR(loyalty.$_->[0]) '$_->[2]'::member_set)::bytea, 'hex');\n" } @cases);
	push @wrong_operations, map { join ' ', @$_ } @cases[ grep { ($got[$_] // '') ne portable(combined(@{ $cases[$_] })) } 0 .. $#cases ];
	$operations += @cases;

	# In any order, in parts, and out of sets: the same bytes.
	@cases = @cases[ 0 .. $#cases / 3 ];
	@got = split /\n/, $node->safe_psql('postgres', "SET search_path = loyalty, pg_catalog;\n"
		. join '', map { "SELECT encode(member_set_agg(m ORDER BY hashint8(m))::bytea, 'hex') FROM unnest('$_->[1]'::bigint[] || '$_->[2]'::bigint[]) m;\n"
			. "SELECT encode(member_set_rollup(s)::bytea, 'hex') FROM unnest('{\"$_->[2]\",\"$_->[1]\",\"$_->[2]\"}'::member_set[]) s;\n" } @cases);
	push @wrong_orders, map { join ' ', @{ $cases[ $_ / 2 ] } } grep { ($got[$_] // '') ne portable(combined('|', @{ $cases[ $_ / 2 ] }[ 1, 2 ])) } 0 .. 2 * @cases - 1;
}
is(scalar @wrong_operations, 0, "the bytes that the specification says, of $operations operations");
is(scalar @wrong_orders, 0, 'the same of members in any order, and of sets');
diag(substr $_, 0, 300) for @wrong_operations, @wrong_orders;

# What the library allocated goes with the query, however that ends.
SKIP:
{
	skip 'no /proc/self/statm here', 1 unless -r '/proc/self/statm';
	my $fail = sub { 'DO $$ BEGIN FOR i IN 1 .. ' . $_[0] . ' LOOP BEGIN PERFORM member_set_agg((g::bigint << 20) + 1 / (g - 30000)) FROM generate_series(1, 30000) g; '
		. 'EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$;' };
	my $rss = "SELECT split_part(pg_read_file('/proc/self/statm'), ' ', 2)::bigint * 4;";
	my ($before, $after) = split /\n/, $node->safe_psql('postgres', join "\n", 'SET search_path = loyalty, pg_catalog;', $fail->(5), $rss, $fail->(60), $rss);
	cmp_ok($after - $before, '<', 20000, "60 aggregates that failed leave no memory behind: $before kB, then $after kB");
}

# Bytes of a set, some of them changed: refused, or the bytes of some set.
my $ways = $ENV{LOYALTY_SOAK} ? 30000 : 3000;
my $bad = $node->safe_psql('postgres', <<"SQL");
SET search_path = loyalty, pg_catalog;
DO 'BEGIN PERFORM setseed(0.$seed); END';
CREATE FUNCTION pg_temp.read(bytes bytea) RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE set member_set;
BEGIN
	set := bytes::member_set;
	IF set::bytea::member_set <> set OR (SELECT count(*) FROM unnest_members(set)) <> count_members(set) THEN
		RETURN encode(bytes, 'hex');
	END IF;
	RETURN NULL;
EXCEPTION WHEN SQLSTATE 'LY706' THEN
	RETURN NULL;
END \$\$;
SELECT count(pg_temp.read(CASE WHEN random() < 0.3 THEN substr(x.b, 1, (random() * length(x.b))::int) ELSE set_byte(set_byte(x.b, (random() * (least(length(x.b), 60) - 1))::int, (random() * 255)::int), (random() * (length(x.b) - 1))::int, (random() * 255)::int) END))
FROM (SELECT (ARRAY['{1,10,100}'::member_set::bytea, '{5,4294967301,70000}'::member_set::bytea, (SELECT member_set_agg(g) FROM generate_series(1, 5000) g)::bytea,
	decode('0100000000000000' || '00000000' || '3b300100' || '03' || '00000100' || '01000200' || '0100' || '01000100' || '0100' || '05000200', 'hex')])[1 + g % 4] AS b FROM generate_series(1, $ways) g) x;
SQL
is($bad, 0, "bytes that were changed, in $ways ways, are refused or read");
$node->stop;
done_testing();
