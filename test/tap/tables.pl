# What sessions keep of tables: word of every change reaches them, with one of
# the ten relcache callbacks that PostgreSQL gives all libraries of a backend
# together; and settings whose rows a distributed engine keeps elsewhere.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use Test::More;

use Wire;

my %server = (host => $ENV{LOYALTY_TEST_HOST}, port => $ENV{LOYALTY_TEST_PORT} || 5432, user => 'postgres');

sub connect_to { return Wire->new(%server, database => $_[0]) }

sub rows
{
	my ($wire, $sql) = @_;
	my $answer = $wire->query($sql);
	die "$sql: $answer->{error}{M}" if $answer->{error};
	return $answer->{rows};
}

my $admin = connect_to('postgres');
rows($admin, 'DROP DATABASE IF EXISTS tables');
rows($admin, 'CREATE DATABASE tables');
my ($one, $other) = map { connect_to('tables') } 1 .. 2;
rows($one, $_) for 'SET client_min_messages = warning', 'CREATE EXTENSION loyalty CASCADE', 'SELECT loyalty.setup()',
	q{SELECT loyalty.create_currency('miles')};

# A library that takes callbacks until there are none left
open my $source, '>', 'callbacks.c' or die $!;
print $source <<'C';
#include "postgres.h"
#include "fmgr.h"
#include "utils/inval.h"
PG_MODULE_MAGIC;
static void nothing(Datum arg, Oid relid) { (void) arg; (void) relid; }
PG_FUNCTION_INFO_V1(take_callbacks);
Datum take_callbacks(PG_FUNCTION_ARGS)
{
	for (int i = 0; i < PG_GETARG_INT32(0); i++)
		CacheRegisterRelcacheCallback(nothing, (Datum) 0);
	PG_RETURN_VOID();
}
C
close $source;
chomp(my $include = `pg_config --includedir-server`);
system('cc', '-shared', '-fPIC', "-I$include", '-o', "$ENV{TESTDIR}/callbacks.so", 'callbacks.c') == 0 or die 'cannot build a library';
rows($one, "CREATE FUNCTION take_callbacks(integer) RETURNS void LANGUAGE c STRICT AS '$ENV{TESTDIR}/callbacks.so'");

# A session in which others have so many, that uses what needs the server's own
sub session_with
{
	my ($others, @statements) = @_;
	my $wire = connect_to('tables');
	my $failed;
	for ("SELECT take_callbacks($others)", 'SELECT relname, reltuples + 1.5 FROM pg_class ORDER BY 2, 1 LIMIT 1',
		'SELECT ARRAY[ROW(1, now())] = ARRAY[ROW(1, now())]', 'CREATE TEMP TABLE k (a int PRIMARY KEY)',
		'CREATE TEMP TABLE t (a int REFERENCES k)', 'INSERT INTO k VALUES (1)', 'INSERT INTO t VALUES (1)', 'DELETE FROM t', 'PREPARE p AS SELECT * FROM t',
		'EXECUTE p', @statements)
	{
		my $answer = eval { $wire->query($_) };
		return 0 if !$answer || ($answer->{error} && $answer->{error}{S} eq 'FATAL');
		die "$_: $answer->{error}{M}" if $answer->{error};
	}
	return 1;
}

my $free = 0;
$free++ while $free < 20 && session_with($free + 1);
cmp_ok($free, '>', 0, "a session has $free callbacks for its libraries");
ok(session_with($free - 1, 'SELECT * FROM loyalty.earn(1, 5)', q{SELECT loyalty.resolve_member('{"email": "a@example.org"}')},
		'SELECT * FROM loyalty.balance(1)', 'SELECT * FROM loyalty.check_all()'),
	'loyalty needs one of them');

# Settings: the row stands in another table, as on a distributed engine
rows($one, q{SELECT * FROM loyalty.earn(7, 1, 'miles')});
rows($other, 'CREATE TABLE public.currency_102094 (LIKE loyalty.currency)');
rows($other, q{CREATE TRIGGER forget_cached AFTER INSERT OR DELETE OR UPDATE ON public.currency_102094
	FOR EACH ROW EXECUTE FUNCTION loyalty.forget_cached('currency')});
rows($other, q{SET session_replication_role = replica});	# its own trigger stays silent
rows($other, q{ALTER TABLE loyalty.currency DISABLE TRIGGER forget_cached});
rows($other, q{ALTER TABLE public.currency_102094 ENABLE ALWAYS TRIGGER forget_cached});
rows($one, q{SELECT * FROM loyalty.earn(7, 1, 'miles')});
rows($other, q{UPDATE loyalty.currency SET expiry_policy = 'rolling', expiry_interval = '1 month' WHERE code = 'miles'});
rows($other, q{INSERT INTO public.currency_102094 SELECT * FROM loyalty.currency WHERE code = 'miles'});
rows($one, q{SELECT * FROM loyalty.earn(7, 1, 'miles', effective_at => '2024-01-15 00:00+00')});
is_deeply(rows($one, q{SELECT expires_at FROM loyalty.ledger WHERE member_id = 7 ORDER BY entry_id DESC LIMIT 1}),
	[ ['2024-02-15 00:00:00+00'] ], 'a session hears of settings that were changed in a table of another name');

# What a distributed engine notes of tables that it has spread
rows($other, $_) for 'RESET session_replication_role', 'SET allow_system_table_mods = on', 'CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass)';
my $digest = rows($other, 'SELECT loyalty.ledger_digest()')->[0][0];
ok($digest, 'an engine that has spread nothing is in nobody\'s way');
rows($other, q{INSERT INTO pg_catalog.pg_dist_partition VALUES ('loyalty.ledger')});
for my $call ('SELECT loyalty.ledger_digest()', "SELECT * FROM loyalty.verify_ledger('$digest')", 'CALL loyalty.book_expiries()', 'CALL loyalty.rebuild_wallets()',
	'CALL loyalty.run_checks()')
{
	my $error = $other->query($call)->{error};
	is($error->{C}, 'LY007', "$call is refused where the ledger is spread");
	like($error->{M}, qr/^\w+\(\) cannot work on distributed tables\z/, 'by name');
}
is_deeply(rows($other, 'SELECT available FROM loyalty.balance(1)'), [ [5] ], 'functions of a member work');

# Such an engine finds the machine by the values of parameters: a plan has them.
# On one machine it is made once, without.
my $value = qr/member_id = '8'::bigint/;
for my $spread (1, 0)
{
	rows($other, 'DROP TABLE pg_catalog.pg_dist_partition') if !$spread;
	my $session = connect_to('tables');
	rows($session, $_) for q{LOAD 'auto_explain'}, q{SET auto_explain.log_min_duration = 0}, q{SET auto_explain.log_nested_statements = on},
		q{SET auto_explain.log_level = 'notice'}, q{SET loyalty.table_access = off};
	my $notices = join "\n", map { $_->{M} } map { @{ $session->query($_)->{notices} || [] } } 'SELECT * FROM loyalty.earn(8, 1)', 'SELECT * FROM loyalty.statement(8)';
	like($notices, $spread ? $value : qr/member_id = \$1/, $spread ? 'plans have the values of parameters where tables may be spread' : 'and where not, they have none');
	unlike($notices, $value, 'none at all') if !$spread;
}

# What an engine takes into its statements: no volatile function of ours, and
# of columns in an UPDATE none but immutable ones.
is_deeply(rows($one, q{SELECT proname, provolatile FROM pg_proc WHERE pronamespace = 'loyalty'::regnamespace
		AND proname IN ('wallet_apply', 'wallet_unapply', 'posted_lots', 'step_tier') ORDER BY 1}),
	[ [qw(posted_lots s)], [qw(step_tier i)], [qw(wallet_apply i)], [qw(wallet_unapply s)] ], 'the functions in our statements are what an engine allows');
is_deeply(rows($one, q{SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'loyalty'::regnamespace
		AND p.proname IN ('balance', 'lots', 'statement', 'expiring') AND p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c')}),
	[], 'what reads one wallet is planned once');

done_testing();
