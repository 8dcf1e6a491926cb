# The tables belong to the user: dumps hold every row, in any format, and the
# extension cannot be dropped while they exist.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

$node->safe_psql('postgres', 'CREATE DATABASE source');
$node->safe_psql('source', q{
	CREATE EXTENSION loyalty;
	SELECT loyalty.setup();
	INSERT INTO loyalty.job_run (job, unit, status, done) SELECT 'example', 'rows', 'finished', i FROM generate_series(1, 100) i;
	-- what users may do with tables of their own
	ALTER TABLE loyalty.job_run ADD COLUMN note text DEFAULT 'ours';
	CREATE INDEX ours ON loyalty.job_run (job);
});

# All rows of all tables, as one text.
sub contents
{
	my ($database) = @_;
	return $node->safe_psql($database, q{
		SELECT string_agg(c.relname || xpath('/table/row', query_to_xml(
			format('SELECT * FROM %s t ORDER BY t::text', c.oid::regclass), true, false, ''))::text, E'\n' ORDER BY c.relname)
		FROM pg_class c WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p')});
}
my $before = contents('source');
like($before, qr/ours/, 'the source has rows');

my $directory = PostgreSQL::Test::Utils::tempdir();
for my $case (
	[ 'plain', [ 'pg_dump', '-Fp', '-f', "$directory/plain.sql", 'source' ],
		[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$directory/plain.sql", '-d', 'plain' ] ],
	[ 'parallel', [ 'pg_dump', '-Fd', '-j2', '-f', "$directory/parallel", 'source' ],
		[ 'pg_restore', '--exit-on-error', '-j2', '-d', 'parallel', "$directory/parallel" ] ])
{
	my ($name, $dump, $restore) = @$case;
	$node->command_ok($dump, "$name: pg_dump");
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->command_ok($restore, "$name: restore");
	is(contents($name), $before, "$name: every row is there");
	is($node->safe_psql($name, 'SELECT count(*) FROM loyalty.check()'), '0', "$name: check() finds nothing");
	$node->safe_psql($name, 'SELECT loyalty.setup()');
	is(contents($name), $before, "$name: setup() changes nothing");
}

my ($status, $stdout, $stderr) = $node->psql('source', 'DROP EXTENSION loyalty');
isnt($status, 0, 'DROP EXTENSION fails');
like($stderr, qr/cannot drop extension loyalty because other objects depend on it/, 'and says why');
is(contents('source'), $before, 'no row is lost by it');

$node->stop;
done_testing();
