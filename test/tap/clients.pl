# What drivers meet.  They send parameters without types, so every function
# must be found by its name alone; and whoever calls a function of the program
# before setup() is told so, whatever the language of the function.
use strict;
use warnings;

use IPC::Run;
use Test::More;
use Wire;

my $database = 'clients';
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', 5432, '-U', 'postgres', '-XqAt', '-v', 'ON_ERROR_STOP=1');

sub run_sql
{
	my ($in, $sql) = @_;
	my ($out, $err);
	IPC::Run::run([ @psql, '-d', $in ], '<', \$sql, '>', \$out, '2>', \$err) or BAIL_OUT($err);
	return $out;
}

run_sql('postgres', "SET client_min_messages = warning; DROP DATABASE IF EXISTS $database; CREATE DATABASE $database;");
run_sql($database, 'SET client_min_messages = warning; CREATE EXTENSION loyalty CASCADE;');
my $wire = Wire->new(host => $ENV{LOYALTY_TEST_HOST}, port => 5432, user => 'postgres', database => $database);

# Everything that SQL can call: how, its arguments' types, how many of them
# have no default, whether it says that it needs the tables of the program,
# whether the last takes any number.
my @callables = map {
	my ($name, $kind, $types, $least, $marked, $variadic) = @$_;
	{ name => $name, kind => $kind, types => [ split /;/, $types ], least => $least, marked => $marked eq 't', variadic => $variadic eq 't' }
} @{ $wire->query(<<'SQL')->{rows} };
SELECT p.proname, p.prokind,
	coalesce((SELECT string_agg(format_type(t, NULL), ';' ORDER BY i) FROM unnest(p.proargtypes) WITH ORDINALITY u (t, i)), ''),
	p.pronargs - p.pronargdefaults, p.prosupport = 'loyalty.require_setup'::regproc, p.provariadic <> 0
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'loyalty')
	AND p.prorettype <> 'trigger'::regtype
	AND NOT EXISTS (SELECT FROM unnest(p.proargtypes || p.prorettype) t WHERE t IN ('internal'::regtype, 'cstring'::regtype))
ORDER BY 1
SQL
cmp_ok(scalar @callables, '>', 200, 'functions were found');

sub call_of
{
	my ($f, @arguments) = @_;
	return ($f->{kind} eq 'p' ? 'CALL' : 'SELECT') . " loyalty.$f->{name}(" . join(', ', @arguments) . ')';
}

# Untyped parameters, from all of them down to those that have no default
my @not_found;
for my $f (@callables)
{
	for my $n ($f->{least} .. @{ $f->{types} })
	{
		# "any" and anyelement take the type of their argument, which must have one
		my $error = $wire->prepare(call_of($f, map { "\$$_" . ($f->{types}[$_ - 1] =~ /any/ ? '::text' : '') } 1 .. $n)) or next;
		push @not_found, "$f->{name} with $n: $error->{C} $error->{M}";
	}
}
is(join("\n", @not_found), '', 'every function is found by its name and untyped parameters');

# Before setup().  A value of each type that a function can do something with;
# of our own types there is none yet.
my %sample = (
	'bigint' => 1, 'integer' => 1, 'numeric' => 1, 'double precision' => 1, 'boolean' => 'true', 'text' => "'x'", 'bytea' => "''",
	'timestamp with time zone' => "'2024-01-01Z'", 'date' => "'2024-01-01'", 'interval' => "'1 day'", 'jsonb' => "'{}'", 'regclass' => "'pg_class'",
	'boolean[]' => "'{true}'::boolean[]", 'bigint[]' => "'{1}'", 'text[]' => "'{x}'", 'anyelement' => 'NULL::text');
my (@marked, @failed);
for my $f (grep { $_->{name} !~ /^setup/ } @callables)
{
	my @arguments = map { $sample{$_} // "NULL::$_" } @{ $f->{types} };
	$arguments[-1] = "VARIADIC $arguments[-1]" if $f->{variadic};
	my $error = $wire->query(call_of($f, @arguments))->{error};
	my $state = $error ? $error->{C} : 'none';
	# CALL is not planned: what a procedure asks first does it, from inside
	my $asked = $f->{marked} || $f->{kind} eq 'p';
	push @marked, "$f->{name}: $state " . ($error->{M} // '') if $asked && ($state ne 'LY001' || $f->{marked} && $error->{W});
	push @failed, "$f->{name}: $state $error->{M}" if !$asked && $state =~ /^(?:42P01|42704|42883|3F|XX)/;
}
cmp_ok(scalar(grep { $_->{marked} } @callables), '>', 50, 'functions say that they need the tables of the program');
is(join("\n", @marked), '', 'before setup() each of them raises LY001, with no context');
is(join("\n", @failed), '', 'and no other one looks for what is not there');

for my $trigger (map { $_->[0] } @{ $wire->query(<<'SQL')->{rows} })
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'loyalty'::regnamespace AND p.prorettype = 'trigger'::regtype ORDER BY 1
SQL
{
	my $state = 'none';
	for ('CREATE TEMP TABLE visit (visit_id bigint PRIMARY KEY, member_id bigint, amount numeric, at timestamptz)',
		"CREATE TRIGGER t AFTER INSERT ON visit FOR EACH ROW EXECUTE FUNCTION loyalty.$trigger('member_id', 'amount', 'at')",
		"INSERT INTO visit VALUES (1, 1, 1, '2024-01-01')")
	{
		my $error = $wire->query($_)->{error} or next;
		$state = $error->{C};
	}
	$wire->query('DROP TABLE visit');
	unlike($state, qr/^(?:42P01|42704|42883|3F|XX)/, "nor does trigger function $trigger(): $state");
}

# Jobs commit, which is nothing for a transaction of the caller's
$wire->query('SELECT loyalty.setup()');
$wire->query('CREATE TABLE history (member_id bigint, at timestamptz)');
$wire->query("SELECT loyalty.define_audience('everybody', 'members'), loyalty.define_label('hour', 'number')");
$wire->query(q{SELECT loyalty.define_label_rule('hour', '{"label": "hour", "from": "hour"}')});
$wire->query(q{SELECT loyalty.define_board('top', '{"kind": "game", "period": "day", "time_zone": "UTC", "places": 3}')});
$wire->query(q{SELECT loyalty.create_currency('points', 'Points')});
$wire->query(q{SELECT loyalty.define_campaign('base', '{"then": [{"points": 1}]}')});
my %arguments_of = (archive_entries => 'now()', backfill_activities => "'history'", refresh_audience => "'everybody'", refresh_labels => "'hour'", find_duplicates => "'person'",
	close_board => "'top', '2020-01-01'", reapply_campaign => "'base', '2020-01-01', '2020-02-01', 'again'");
$wire->query(q{SELECT loyalty.define_match('person', '{"fields": {"given": "name", "surname": "name", "born": "date"}}')});
# where a body of PL/pgSQL calls one that returns values, these need variables
my %in_body = (refresh_audience => [ 'DECLARE m bigint; e bigint; g bigint; ', "'everybody', members => m, entered => e, gone => g" ]);
# run_job() is what they have in common; distribute() wants several machines
for my $job (grep { $_ ne 'run_job' && $_ ne 'distribute' } map { $_->{name} } grep { $_->{kind} eq 'p' } @callables)
{
	my $call = "CALL loyalty.$job(" . ($arguments_of{$job} // '') . ')';
	my ($declared, $arguments) = $in_body{$job} ? @{ $in_body{$job} } : ('', $arguments_of{$job} // '');
	my $quoted = "CALL loyalty.$job($arguments)" =~ s/'/''/gr;
	for ("BEGIN; $call", "DO '${declared}BEGIN $quoted; EXCEPTION WHEN division_by_zero THEN END'",
		"CREATE FUNCTION call_job() RETURNS void LANGUAGE plpgsql AS '${declared}BEGIN $quoted; END'; SELECT call_job()")
	{
		my $error = $wire->query($_)->{error};
		is($error->{C}, '25001', "$_ is refused");
		like($error->{H}, qr/autocommit/, 'and says what to do');
		$wire->query('ROLLBACK');
	}
	is($wire->query($_)->{error}, undef, "$_ does its work") for $call, "DO '${declared}BEGIN $quoted; END'";
}

# A refusal is an answer: no statement of ours stands in its context, only the
# caller's, and which of many it was
for my $case (
	[ 'SELECT loyalty.redeem(1, 5)', 'LY101' ],
	[ 'SELECT loyalty.earn(1, 0)', 'LY003' ],
	[ "SELECT loyalty.earn(1, 10, effective_at => '2024-01-01', expires_at => '2023-01-01')", 'LY003' ],
	[ "SELECT loyalty.earn(1, 10, idempotency_key => 'k'); SELECT loyalty.earn(1, 11, idempotency_key => 'k')", 'LY004' ],
	[ "SELECT loyalty.hold(1, 5, '2000-01-01', effective_at => '2024-01-01')", 'LY106' ],
	[ 'SELECT loyalty.reverse(1, 99)', 'LY103' ],
	[ 'SELECT loyalty.transfer(1, 1, 1)', 'LY112' ],
	[ 'SELECT loyalty.merge_members(98, 99)', 'LY202' ],
	[ "SELECT loyalty.create_currency('odd', time_zone => 'Nowhere')", 'LY003' ],
	[ "SELECT loyalty.define_ladder('odd', '{}')", 'LY401' ],
	[ "SELECT * FROM loyalty.preview_ladder('none', '{}')", 'LY402' ],
	[ 'SELECT * FROM loyalty.preview_merge(98, 99)', 'LY202' ],
	[ "SELECT loyalty.verify_ledger('x')", 'LY113' ],
	[ "SELECT * FROM loyalty.rfm_table('pg_class')", 'LY003' ],
	[ "SELECT * FROM loyalty.rfm_table('pg_stat_activity', as_of => 'infinity', member_column => 'pid', at_column => 'backend_start', amount_column => 'pid')", 'LY302' ],
	[ "SELECT * FROM loyalty.rfm_transitions('loyalty.ledger', '2024-02-01', '2024-01-01')", 'LY003' ],
	[ 'DO $$ BEGIN PERFORM loyalty.forget_member(98); END $$', 'LY202',
		qq{SQL statement "SELECT loyalty.forget_member(98)"\nPL/pgSQL function inline_code_block line 1 at PERFORM} ],
	[ "SELECT loyalty.resolve_member('[]', on_conflict => 'guess')", 'LY003' ],
	[ "SELECT loyalty.post_many('{1,1}', '{earn,redeem}', '{1,100}')", 'LY101', 'element 2 of post_many' ],
	[ 'DO $$ BEGIN PERFORM loyalty.redeem(1, 500); END $$', 'LY101',
		qq{SQL statement "SELECT loyalty.redeem(1, 500)"\nPL/pgSQL function inline_code_block line 1 at PERFORM} ])
{
	my ($statement, $state, $context) = @$case;
	my $error = $wire->query($statement)->{error};
	is("$error->{C} " . ($error->{W} // ''), "$state " . ($context // ''), "context of $statement");
}

# Functions in PL/pgSQL name themselves there, and no statement either
for my $call ('merge_members(1, 2)', "create_currency('a b')", "create_currency('a', time_zone => 'Mars')", "configure_program('Mars')",
	"define_measure('m', 'points', 'none')", "define_measure('m', 'function', function_name => 'none')",
	q{define_ladder('l', '{"measures": [{"measure": "none", "window": "lifetime"}], "levels": [{"level": "a"}]}')}, q{define_ladder('l', '{"measures": 3}')},
	"preview_ladder('none', '{}')", "evaluate_member_tiers(1, 'none')", "grant_tier(1, 'none', 'gold')", 'end_grant(1, 1)', 'renew_grant(1, 1)',
	"record_qualification(1, 'none', 1, now())", "configure_namespace('X')", "block_identifier('none', 'x')", "link_identifier(1, 'email', 'x')",
	"unlink_identifier(1, 'email', 'x')", 'unmerge_members(1)', 'forget_member(99)', 'preview_merge(1, 2)', "statement(1, 'none')", "lots(1, 'none')",
	"balance(1, 'none')", "ledger_digest('x')", "verify_ledger('x')", "rfm_table('pg_class')")
{
	my $error = $wire->query("SELECT loyalty.$call")->{error};
	like($error->{C} // 'none', qr/^LY/, "$call is refused");
	unlike($error->{W} // '', qr/SQL (?:statement|expression)/, 'without a statement of ours');
}

run_sql('postgres', "DROP DATABASE $database WITH (FORCE);");
done_testing();
