# Telephone numbers of every country, fixed and mobile, in the ways people write
# them: normalize_identifier() reads them as Google's libphonenumber does, which
# test/prepare.sh installs where the distribution has it.  Where the two differ,
# the rest is listed by kind.
#
# LOYALTY_SEED=n: other numbers.
use strict;
use warnings;

use FindBin;
use IPC::Run;
use Test::More;

my $database = 'phone';
my $how_many = $ENV{LOYALTY_SOAK} ? 100 : 10;		# of each kind in each country
my $seed = $ENV{LOYALTY_SEED} || 1;
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', $ENV{LOYALTY_TEST_PORT} || 5432, '-U', 'postgres', '-XqAt', '-v', 'ON_ERROR_STOP=1');

sub run_sql
{
	my ($db, $sql) = @_;
	my ($output, $errors);
	IPC::Run::run([ @psql, '-d', $db ], '<', \$sql, '>', \$output, '2>', \$errors) or die "psql: $errors";
	chomp $output;
	return $output;
}

my ($python) = grep { !system "$_ -c 'import phonenumbers' 2>/dev/null" } '/usr/bin/python3', 'python3';
plan skip_all => 'libphonenumber (python3-phonenumbers) is not installed' unless $python;

my ($numbers, $errors);
IPC::Run::run([ $python, "$FindBin::Bin/phone_numbers.py", $how_many, $seed ], '>', \$numbers, '2>', \$errors) or die $errors;

run_sql('postgres', "DROP DATABASE IF EXISTS $database; CREATE DATABASE $database;");
run_sql($database, <<"SQL");
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
CREATE TABLE number (way text, country text, default_country text, raw text, written text, library text);
COPY number FROM stdin;
$numbers\\.
CREATE TABLE reading AS SELECT *, coalesce(loyalty.normalize_identifier('phone', raw, nullif(default_country, '')), '') AS ours FROM number;
CREATE TABLE difference AS SELECT *, CASE
	WHEN way = 'without trunk prefix' AND library = written AND ours LIKE substr(written, 1, 3) || '%'
		THEN 'two readings without the trunk prefix: we take the calling code'
	WHEN ours = written THEN 'the library reads another number than was written'
	ELSE 'other' END AS kind
FROM reading WHERE ours <> library;
SQL

my ($all, $alike, $countries, $ways) = split /\|/,
	run_sql($database, 'SELECT count(*), count(*) FILTER (WHERE ours = library), count(DISTINCT country), count(DISTINCT way) FROM reading');
cmp_ok($all, '>', 40000, "$all numbers in $ways ways");
is($countries, 245, 'all countries');
cmp_ok($alike / $all, '>=', 0.999, sprintf '%.3f %% are read as the library reads them', 100 * $alike / $all);
note(run_sql($database, q{
	SELECT format('%s  %s, %s: e.g. %s%s, ours %s, the library''s %s', count(*), kind, way, min(raw), ' in ' || nullif(min(country), ''), min(ours), min(library))
	FROM difference GROUP BY kind, way ORDER BY count(*) DESC}));

is(run_sql($database, q{SELECT count(*) FROM difference WHERE kind = 'other'}), 0, 'the rest is of known kinds');
is(run_sql($database, q{
	SELECT count(*) FROM reading
	WHERE ours <> written AND way IN ('E.164', 'international', 'URI', '00 for +', 'called from abroad', 'carrier')}),
	0, 'with a calling code announced, the number that was written comes out');
is(run_sql($database, q{SELECT count(*) FROM reading WHERE ours <> coalesce(loyalty.normalize_identifier('phone', ours), '')}), 0, 'idempotent');

run_sql('postgres', "DROP DATABASE $database;");
done_testing();
