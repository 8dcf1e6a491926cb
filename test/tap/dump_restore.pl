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
	CREATE EXTENSION loyalty CASCADE;
	SELECT loyalty.setup();
	INSERT INTO loyalty.job_run (job, unit, status, done) SELECT 'example', 'rows', 'finished', i FROM generate_series(1, 100) i;
	-- what users may do with tables of their own
	ALTER TABLE loyalty.job_run ADD COLUMN note text DEFAULT 'ours';
	CREATE INDEX ours ON loyalty.job_run (job);
	-- a ladder and the trigger that came with it
	SELECT loyalty.create_currency('status');
	SELECT loyalty.define_measure('status_points', 'points', 'status');
	SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "status_points", "window": "lifetime"}],
		"levels": [{"level": "blue"}, {"level": "gold", "all": {"status_points": 100}}]}');
	SELECT loyalty.earn(1, 60, 'status', '2024-01-01');
	-- acts by hand, a policy, a request, and a role that names actors
	CREATE ROLE pool;
	SELECT loyalty.trust_actors('pool');
	SELECT loyalty.adjust(2, 60, 'gift');
	SELECT loyalty.define_approval('adjust', 100);
	SELECT loyalty.request_act('adjust', '{"member_id": 2, "points": 500, "reason": "gift"}', 'a good customer');
});

# All rows of all tables, as one text.
sub contents
{
	my ($database) = @_;
	return $node->safe_psql($database, q{
		SELECT format('SELECT %L AS relation, t::text FROM %s t ORDER BY 2', c.relname, c.oid::regclass)
		FROM pg_class c WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY c.relname \gexec});
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
	is($node->safe_psql($name, 'SELECT count(*) FROM loyalty.check_all()'), '0', "$name: check_all() finds nothing");
	$node->safe_psql($name, 'SELECT loyalty.setup()');
	is(contents($name), $before, "$name: setup() changes nothing");
	is($node->safe_psql($name, q{SELECT person, session_role FROM loyalty.who_did(2); SELECT request_id FROM loyalty.open_request}), "postgres|postgres\n1",
		"$name: who did it, and what waits for approval");
	like(($node->psql($name, q{SELECT loyalty.adjust(2, 500, 'gift')}))[2], qr/needs the approval of another person/, "$name: the policy holds");
	is($node->safe_psql($name, q{SELECT loyalty.earn(1, 60, 'status', '2024-02-01'); SELECT level FROM loyalty.tier_state}),
		"(4,120,f)\ngold", "$name: tiers follow what is earned");
}

# Rows alone, into tables that setup() made: the ladders come without the
# trigger, and setup() adds it.
$node->safe_psql('postgres', 'CREATE DATABASE rows');
$node->safe_psql('rows', q{
	CREATE EXTENSION loyalty CASCADE;
	SELECT loyalty.setup();
	ALTER TABLE loyalty.job_run ADD COLUMN note text DEFAULT 'ours';
	SET session_replication_role = replica;
	DO $$ BEGIN EXECUTE (SELECT 'TRUNCATE ' || string_agg(c.oid::regclass::text, ', ') FROM pg_class c
		WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'r'); END $$;
});
$node->command_ok([ 'pg_dump', '--data-only', '--disable-triggers', '-f', "$directory/rows.sql", 'source' ], 'rows: pg_dump');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$directory/rows.sql", '-d', 'rows' ], 'rows: restore');
is(contents('rows'), $before, 'rows: every row is there');
is($node->safe_psql('rows', 'SELECT DISTINCT room, invariant FROM loyalty.check_all() ORDER BY 1'), "core|trigger",
	'rows: check_all() finds that triggers are not enabled as they should be');
$node->safe_psql('rows', 'SELECT loyalty.setup()');
is($node->safe_psql('rows', 'SELECT count(*) FROM loyalty.check_all()'), '0', 'rows: setup() enables them');

# An owner who is no superuser, and a restore by one who is: who may do what is
# in the dump, since it is granted on tables.
$node->safe_psql('postgres', 'CREATE ROLE owner_of_tables LOGIN; CREATE ROLE till LOGIN; CREATE DATABASE owned OWNER owner_of_tables;');
my @as_owner = (extra_params => [ '-U', 'owner_of_tables' ]);
my @as_till = (extra_params => [ '-U', 'till' ]);
$node->safe_psql('owned', "CREATE EXTENSION loyalty CASCADE; SELECT loyalty.setup(); SELECT loyalty.grant_access('till', 'app'); SELECT loyalty.earn(1, 5)", @as_owner);
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$directory/owned", 'owned' ], 'owned: pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE owned_too OWNER owner_of_tables');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'owned_too', "$directory/owned" ], 'owned: pg_restore by a superuser');
is($node->safe_psql('owned_too', 'SELECT available FROM loyalty.earn(1, 5)', @as_owner), '10', 'owned: the owner posts');
is($node->safe_psql('owned_too', 'SELECT available FROM loyalty.earn(1, 5)', @as_till), '15', 'owned: and so does the role with a level');
isnt($node->psql('owned_too', "SELECT loyalty.adjust(1, 5, 'x')", @as_till), 0, 'owned: which has no other than it had');
like($node->safe_psql('owned_too', 'SELECT loyalty.setup()', @as_owner), qr/set up/, 'owned: setup() is the owner\'s');
isnt($node->psql('owned_too', 'SELECT loyalty.setup()'), 0, 'owned: and nobody else\'s');
is($node->safe_psql('owned_too', 'SELECT role, level FROM loyalty.access ORDER BY owner'), "till|app\nowner_of_tables|admin", 'owned: as access tells');

my ($status, $stdout, $stderr) = $node->psql('source', 'DROP EXTENSION loyalty');
isnt($status, 0, 'DROP EXTENSION fails');
like($stderr, qr/cannot drop extension loyalty because other objects depend on it/, 'and says why');
is(contents('source'), $before, 'no row is lost by it');

$node->stop;
done_testing();
