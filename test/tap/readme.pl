# What README.md and the pages in doc/ show is what happens.  The blocks fenced
# as ```sql run in order, in one session, in a fresh database named loyalty.
# README.md makes the extension itself; a page of doc/ finds what README's quick
# start leaves: the extension, its tables and the time zone Europe/London.
#
# A block must raise no error, unless the block ```text answer that follows it
# says so, which is what psql prints for all of it; an ellipsis (U+2026) stands
# for anything within a line, on a line of its own for any lines.
#
# Blocks fenced as ```sql orders are for copying into other tools: no semicolon
# at the end.  They run in order, in one session of a database of their own with
# a table orders made of the Online Retail data.  Without that data they run on
# orders that are made up, and only must raise no error.
use strict;
use warnings;
use utf8;

use IPC::Run;
use Test::More;

binmode($_, ':encoding(UTF-8)') for (Test::More->builder->output, Test::More->builder->failure_output);

my $top = $ENV{LOYALTY_TOP} || '.';
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', 5432, '-U', 'postgres', '-Xq');

# What a page of doc/ begins with.
my $begun = <<'SQL';
SET client_min_messages = warning;
SELECT loyalty.setup() \g /dev/null
SELECT loyalty.configure_program(time_zone => 'Europe/London') \g /dev/null
RESET client_min_messages;
SQL

my @questions;	# {page, line, input, expected} of blocks fenced as "sql orders"

my @steps = read_page('README.md');
cmp_ok(scalar @steps, '>', 0, 'README.md has examples');
run('loyalty', '', @steps);

for my $page (sort map { s{^\Q$top\E/}{}r } glob "$top/doc/*.md")
{
	my @examples = read_page($page);
	run('loyalty', $begun, @examples) if @examples;
}
cmp_ok(scalar @questions, '>', 0, 'there are questions to copy');

my $data = $ENV{LOYALTY_DATA} && "$ENV{LOYALTY_DATA}/online_retail/online_retail.csv.gz";
if ($data && -r $data)
{
	run('retail', <<"SQL", @questions);
CREATE TEMP TABLE line (invoice text, stock_code text, description text, quantity integer, at timestamptz,
	unit_price numeric, customer_id numeric, country text);
\\copy line FROM PROGRAM 'gzip -dc "$data"' (FORMAT csv, HEADER)
CREATE TABLE orders AS
SELECT invoice AS order_id, customer_id::bigint AS member_id, min(at) AS at, sum(quantity * unit_price) AS amount
FROM line WHERE customer_id IS NOT NULL AND quantity > 0 AND unit_price > 0 GROUP BY 1, 2;
ANALYZE orders;
SQL
}
else
{
	run('retail', <<'SQL', map { { %$_, expected => undef } } @questions);
CREATE TABLE orders AS
SELECT (id * 100 + i)::text AS order_id, id::bigint AS member_id,
	timestamptz '2010-12-01' + (id * 7919 % 300 + (373 - id * 7919 % 300) * least(1, i * (0.02 + id * 31 % 97 / 97.0))) * interval '1 day' AS at,
	(10 + id * 13 % 50 + i * 7 % 20)::numeric AS amount
FROM generate_series(1, 1000) id, generate_series(0, id * 17 % 9 * (id % 3)) i;
ANALYZE orders;
SQL
	SKIP: { skip 'no Online Retail data: the figures of the answers were not compared', 1 }
}
done_testing();

# Reads a page: the steps of its examples, {page, line, input, expected};
# expected undef: no error is enough.  Its questions of orders go to @questions.
sub read_page
{
	my ($page) = @_;
	my @steps;
	my ($kind, $step);

	open my $file, '<:encoding(UTF-8)', "$top/$page" or die "cannot read $page: $!";
	while (my $line = <$file>)
	{
		chomp $line;
		if ($line =~ /^```(.*?)\s*$/)
		{
			if (defined $kind) { undef $kind; next }
			$kind = $1;
			if ($kind =~ /^sql( orders)?$/)
			{
				$step = { page => $page, line => $. + 1, input => [], expected => undef };
				push @{ $1 ? \@questions : \@steps }, $step;
			}
			elsif ($kind eq 'text answer')
			{
				die "$page:$.: an answer without a question" unless $step && !$step->{expected};
				$step->{expected} = [];
			}
		}
		elsif (!defined $kind) { }
		elsif ($kind eq 'text answer') { push @{ $step->{expected} }, $line }
		elsif ($kind =~ /^sql/) { push @{ $step->{input} }, $line }
	}
	close $file;
	return @steps;
}

# Runs steps in one session of a fresh database, after some SQL of ours.
sub run
{
	my ($database, $before, @steps) = @_;

	# A marker of its own on both channels follows each step.
	my $script = "\\pset pager off\n";
	$script .= "SET timezone = 'UTC';\n" if $database eq 'retail';
	$script .= "SET client_min_messages = warning;\nCREATE EXTENSION loyalty CASCADE;\nRESET client_min_messages;\n$before\\echo :::before\n" if $before ne '';
	for my $n (0 .. $#steps)
	{
		my $input = join "\n", @{ $steps[$n]{input} };
		$input .= ';' if $database eq 'retail' && $input !~ /;\s*$/;
		$script .= "$input\n\\echo :::$n\n";
	}
	utf8::encode($script);

	IPC::Run::run([ @psql, '-d', 'postgres', '-c', 'SET client_min_messages = warning', '-c', "DROP DATABASE IF EXISTS $database", '-c', "CREATE DATABASE $database" ])
		or BAIL_OUT('cannot create the database');
	# one pipe for both channels, so that errors stand where they belong
	IPC::Run::run([ @psql, '-d', $database ], '<', \$script, '>&', \my $output);
	utf8::decode($output);

	my $rest = $output;
	if ($before ne '')
	{
		my $got = $rest =~ s/\A(.*?)^:::before\n//ms ? $1 : $rest;
		is($got, '', "database $database: what comes before the examples");
	}
	for my $n (0 .. $#steps)
	{
		my $name = "$steps[$n]{page}:$steps[$n]{line}: $steps[$n]{input}[0]";
		my $got;

		if ($rest =~ s/\A(.*?)^:::$n\n//ms) { $got = $1 }
		else
		{
			fail($name);
			diag("psql ended before, or the statement does not end; it printed:\n$rest");
			last;
		}
		if (!defined $steps[$n]{expected})
		{
			unlike($got, qr/^(ERROR|FATAL|PANIC):/m, $name);
			next;
		}
		my @got = trimmed(split /\n/, $got);
		my @expected = trimmed(@{ $steps[$n]{expected} });
		my $pattern = join "\n", map { $_ eq "\x{2026}" ? '(?:.*\n)*?.*' : join '.*?', map { quotemeta } split /\x{2026}/, $_, -1 } @expected;

		ok(join("\n", @got) =~ /\A$pattern\z/, $name)
			or diag("printed:\n", join("\n", @got), "\n$steps[$n]{page} shows:\n", join("\n", @expected));
	}

	# Most drivers have no infinite instant, and JSON has none: what waits, or
	# has no end, is NULL in every table that the examples filled.
	IPC::Run::run([ @psql, '-d', $database, '-At' ], '<', \<<'SQL', '>', \my $infinite);
SELECT format('SELECT %L WHERE EXISTS (SELECT FROM loyalty.%I WHERE NOT isfinite(%I))', c.relname || '.' || a.attname, c.relname, a.attname)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'loyalty') AND c.relkind IN ('r', 'p', 'v', 'm')
	AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
ORDER BY 1 \gexec
SQL
	is($infinite, '', "database $database: no column holds an infinite instant");
	IPC::Run::run([ @psql, '-d', $database, '-At', '-c', 'SELECT * FROM loyalty.check_all()' ], '>', \my $violations);
	is($violations, '', "$steps[0]{page}: all is well") if $database eq 'loyalty';

	IPC::Run::run([ @psql, '-d', 'postgres', '-c', "DROP DATABASE $database" ]);
}

# No trailing blanks, no blank lines at the end.
sub trimmed
{
	my @lines = map { s/\s+$//r } @_;
	pop @lines while @lines && $lines[-1] eq '';
	return @lines;
}
