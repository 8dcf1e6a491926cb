# Sets of members against the library CRoaring, which shares nothing with the
# extension: random sets through all of its operations, byte for byte, where the
# library is on the machine; and random bytes, which must be refused or read.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? time : 1);
my $rounds = $ENV{LOYALTY_SOAK} ? 5000 : 300;
srand $seed;
note "LOYALTY_SEED=$seed";

# Reads lines "operation {a} {b}" and writes the portable form of the result in
# hex; sets of 64 bits are lists of (high half, set of 32 bits), as CRoaring's
# Roaring64Map writes them.
my $program = <<'C';
#include <roaring/roaring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct { uint32_t high; roaring_bitmap_t *low; } Bucket;
typedef struct { int n; Bucket *buckets; } Set;
static roaring_bitmap_t *bucket(Set *set, uint32_t high)
{
	for (int i = 0; i < set->n; i++)
		if (set->buckets[i].high == high)
			return set->buckets[i].low;
	set->buckets = realloc(set->buckets, (set->n + 1) * sizeof(Bucket));
	set->buckets[set->n].high = high;
	return set->buckets[set->n++].low = roaring_bitmap_create();
}
static Set read_set(char *text)
{
	Set set = {0, NULL};
	for (char *at = text + 1; *at != '}' && *at != '\0';)
	{
		unsigned long long id = strtoull(at, &at, 10);
		roaring_bitmap_add(bucket(&set, id >> 32), (uint32_t) id);
		if (*at == ',')
			at++;
	}
	return set;
}
static int compare(const void *a, const void *b)
{
	uint32_t x = ((const Bucket *) a)->high, y = ((const Bucket *) b)->high;
	return (x > y) - (x < y);
}
static void put(const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		printf("%02x", ((const unsigned char *) bytes)[i]);
}
int main(void)
{
	char *line = NULL;
	size_t room = 0;
	while (getline(&line, &room, stdin) > 0)
	{
		char op = line[0], *second = strchr(line + 2, ' ');
		*second++ = '\0';
		Set a = read_set(line + 2), b = read_set(second);
		unsigned long long n = 0;
		for (int i = 0; i < b.n; i++)
			bucket(&a, b.buckets[i].high);
		for (int i = 0; i < a.n; i++)
		{
			roaring_bitmap_t *x = a.buckets[i].low, *y = bucket(&b, a.buckets[i].high);
			if (op == '&') roaring_bitmap_and_inplace(x, y);
			else if (op == '|') roaring_bitmap_or_inplace(x, y);
			else if (op == '-') roaring_bitmap_andnot_inplace(x, y);
			else roaring_bitmap_xor_inplace(x, y);
			roaring_bitmap_remove_run_compression(x);
			n += !roaring_bitmap_is_empty(x);
		}
		qsort(a.buckets, a.n, sizeof(Bucket), compare);
		put(&n, 8);
		for (int i = 0; i < a.n; i++)
		{
			roaring_bitmap_t *x = a.buckets[i].low;
			size_t size = roaring_bitmap_portable_size_in_bytes(x);
			char *bytes = malloc(size);
			if (roaring_bitmap_is_empty(x))
				continue;
			roaring_bitmap_portable_serialize(x, bytes);
			put(&a.buckets[i].high, 4);
			put(bytes, size);
			free(bytes);
		}
		printf("\n");
	}
	return 0;
}
C

my $node = PostgreSQL::Test::Cluster->new('member_set');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION loyalty CASCADE');

# A set of one of several shapes.
sub random_set
{
	my ($from, $step, $n) = (int(rand 3) * 65536 + int(rand 1000), 1 + int(rand 20), int(rand 5000));
	my $high = rand() < 0.3 ? int(rand 3) * 4294967296 : 0;
	my $shape = int(rand 5);
	return '{}' if rand() < 0.05;
	my %in;
	if ($shape == 0) { $in{ $high + $from + $step * $_ } = 1 foreach 1 .. $n }
	elsif ($shape == 1) { $in{ $high + int(rand 200000) } = 1 foreach 1 .. $n }
	elsif ($shape == 2) { $in{ $high + $from + $_ } = 1 foreach 1 .. 4090 + int(rand 12) }
	elsif ($shape == 3) { $in{ int(rand 2147483648) * 4294967296 + int(rand 70000) } = 1 foreach 1 .. int(rand 50) }
	else { $in{ $high + int(rand 10) } = 1 foreach 1 .. 5 }
	return '{' . join(',', sort { $a <=> $b } keys %in) . '}';
}
my @cases = map { my $op = (qw(& | - #))[rand 4]; [ $op, random_set(), random_set() ] } 1 .. $rounds;

my $dir = PostgreSQL::Test::Utils::tempdir;
open my $source, '>', "$dir/reference.c" or die $!;
print $source $program;
close $source;
SKIP:
{
	skip 'the library CRoaring is not here (libroaring-dev)', 1
	  if system("cc -O1 -w $dir/reference.c -o $dir/reference -lroaring >$dir/log 2>&1") != 0;
	my $stdin = join '', map { "$_->[0] $_->[1] $_->[2]\n" } @cases;
	my $wanted = '';
	IPC::Run::run(["$dir/reference"], '<', \$stdin, '>', \$wanted) or die 'the reference failed';
	my $got = $node->safe_psql('postgres', "SET search_path = loyalty, pg_catalog;\n"
		. join '', map { "SELECT encode(('$_->[1]'::member_set OPERATOR(loyalty.$_->[0]) '$_->[2]'::member_set)::bytea, 'hex');\n" } @cases);
	my @wanted = split /\n/, $wanted;
	my @got = split /\n/, $got;
	is(scalar @got, scalar @wanted, 'as many results');
	my @wrong = grep { ($got[$_] // '') ne ($wanted[$_] // '') } 0 .. $#cases;
	is(join(' ', map { "$cases[$_][0] of case $_" } @wrong), '', 'the same bytes as CRoaring, of ' . @cases . ' operations');
}

# Bytes of a set, some of them changed: refused, or the bytes of some set.
my $ways = $ENV{LOYALTY_SOAK} ? 200000 : 3000;
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
