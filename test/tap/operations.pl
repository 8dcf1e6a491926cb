# What doc/operations.md tells whoever runs the database: who may call what, as
# src/access/access_rights.sql has it; the jobs that there are; and what it says
# to paste, which is run here: into a restore of rows only, after a replica was
# cut off, nightly, and to take the extension away.
use strict;
use warnings;
use utf8;

use IPC::Run;
use Test::More;

binmode($_, ':encoding(UTF-8)') for (Test::More->builder->output, Test::More->builder->failure_output);

my $top = $ENV{LOYALTY_TOP} || '.';
my @at = ('-h', $ENV{LOYALTY_TEST_HOST}, '-p', 5432, '-U', 'postgres');

sub slurp
{
	my ($file) = @_;
	open my $handle, '<:encoding(UTF-8)', $file or die "cannot read $file: $!";
	local $/;
	return scalar <$handle>;
}

# What psql prints, errors included.
sub told
{
	my ($database, $sql) = @_;
	IPC::Run::run([ 'psql', @at, '-XqAt', '-d', $database ], '<', \$sql, '>&', \my $told);
	$told =~ s/\n\z//;
	return $told;
}

my $page = slurp("$top/doc/operations.md");
my $sql = join "\n", map { slurp($_) } sort glob "$top/src/*/*.sql";
sub block
{
	my ($name) = @_;
	$page =~ /^( *)```text \Q$name\E\n(.*?)^\1```/ms or die "doc/operations.md has no block $name";
	return $2;
}

# Who may call what: but for parts of others, which nobody calls by himself.
my %is_part = map { $_ => 1 } $sql =~ /^COMMENT ON FUNCTION (?:loyalty\.)?(\w+)\([^\n]*\) IS\s*'(?=(?:[^']|'')*?(?:\bPart of |; part of ))/mg;
my ($lists) = slurp("$top/src/access/access_rights.sql") =~ /FROM \(VALUES\n(.*?)\) l \(before, names\)/s;
my %may;
while ($lists =~ /\('(may_\w+)', '\{([^}]*)\}'/g)
{
	my ($right, $names) = ($1, $2);
	$may{$right} = join ' ', sort grep { !$is_part{$_} } split /[\s,]+/, $names;
}
is(scalar keys %may, 5, 'there are five rights');
for my $right (sort keys %may)
{
	my $named = $right eq 'may_correct' ? '`may_post` or `may_operate`' : "`$right`";
	my ($told) = $page =~ /^\| \w+ \(\Q$named\E\) \| (.*?)(?:; and .*)? \|$/m;
	is(join(' ', sort(($told // '') =~ /`(\w+)`/g)), $may{$right}, "who has $right may call what the page says");
}

# Jobs
my ($jobs) = $page =~ /^(\| call \| what it does .*?)\n\n/ms;
my @called = $jobs =~ /^\| `(?:CALL|SELECT) (\w+)\(/mg;
my %listed = map { $_ => 1 } @called;
is(join(' ', grep { !$listed{$_} && !/^(run_job|distribute)$/ } sort $sql =~ /^CREATE PROCEDURE (\w+)/mg), '', 'every procedure is among the jobs');

told('postgres', "SET client_min_messages = warning; DROP DATABASE IF EXISTS operations; DROP DATABASE IF EXISTS operations_rows;
CREATE DATABASE operations; CREATE DATABASE operations_rows;");
my $made = told('operations', <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SQL
told('operations_rows', "SET client_min_messages = warning; CREATE EXTENSION loyalty CASCADE; SELECT loyalty.setup() \\g /dev/null\n");
is($made, '', 'a program is set up');
is(told('operations', "SELECT string_agg(n, ' ' ORDER BY n) FROM unnest('{@{[ join ',', @called ]}}'::text[]) n WHERE NOT EXISTS (SELECT FROM pg_proc p WHERE p.proname = n AND p.pronamespace = 'loyalty'::regnamespace)"),
	'', 'every job that the page has is there');

# Rows only
my $filled = told('operations', <<'SQL');
SELECT format('SELECT %L WHERE EXISTS (SELECT FROM %s)', oid::regclass, oid::regclass) FROM pg_class
WHERE relnamespace = 'loyalty'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname
\gexec
SQL
is(join("\n", sort(block('truncate') =~ /loyalty\.\w+/g)), $filled, 'the page says to empty what setup() has filled');
is(told('operations', <<'SQL'), '', 'there are rows');
SET search_path = public, loyalty;
INSERT INTO member (member_id) VALUES (1);
SELECT earn(1, 100, idempotency_key => 'order 1') \g /dev/null
SELECT adjust(1, -10, 'a mistake') \g /dev/null
SQL
is(told('operations_rows', block('truncate')), '', 'what was filled can be emptied');
my $rows = '';
ok(IPC::Run::run([ 'pg_dump', @at, '--data-only', '--disable-triggers', '-n', 'loyalty', '-d', 'operations' ], '>', \$rows), 'rows are dumped')
	and is(told('operations_rows', "SET client_min_messages = warning;\n\\o /dev/null\n$rows"), '', 'and restored');
told('operations_rows', 'SELECT loyalty.setup()');
is(told('operations_rows', 'SELECT available FROM loyalty.balance(1)'), '90', 'the balance is there');
is(told('operations_rows', 'SELECT * FROM loyalty.check_all()'), '', 'and all is well');

# Sequences that were left behind
told('operations_rows', "SELECT setval('loyalty.ledger_entry_id_seq', 1), setval('loyalty.operator_act_act_id_seq', 1)");
is(told('operations_rows', 'SELECT DISTINCT invariant FROM loyalty.check_all()'), 'sequence', 'sequences stand behind');
unlike(told('operations_rows', block('sequences')), qr/ERROR/, 'the page draws them forward');
is(told('operations_rows', 'SELECT * FROM loyalty.check_all()'), '', 'all of them');

# Nightly: each psql -c is a query of its own
my @nightly = block('crontab') =~ /-c '([^']*)'/g;
cmp_ok(scalar @nightly, '>', 5, 'there is something to do at night');
is(told('operations', join "\n", map { "$_;" } @nightly), '', 'and it is done');

# Away with it
told('operations', 'CREATE TABLE shop_order (order_id bigint PRIMARY KEY, member_id bigint, total numeric);
CREATE TRIGGER award AFTER INSERT ON shop_order FOR EACH ROW EXECUTE FUNCTION loyalty.award_points(\'source=shop\', \'member=member_id\', \'points=total\');
CREATE TABLE kept AS SELECT member_id, currency, available FROM loyalty_bi.wallet');
like(told('operations', 'DROP EXTENSION loyalty'), qr/ERROR: .*depend on it/, 'the extension does not go while there are tables');
like(told('operations', block('take away')), qr/^ERROR: +cannot drop extension.*trigger award on table shop_order depends on/s, 'nor while a trigger of ours uses it, which is named');
is(told('operations', 'DROP TRIGGER award ON shop_order; DROP EXTENSION loyalty; DROP SCHEMA loyalty_bi, loyalty;'), '', 'then it goes');
is(told('operations_rows', block('take away')), '', 'where nothing is in the way, by what the page says');
is(told('operations', 'SELECT * FROM kept'), '1|points|90', 'what was kept is there');
is(told('operations', "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'loyalty%' UNION ALL SELECT extname FROM pg_extension WHERE extname LIKE 'loyalty%'"), '', 'and nothing else');

told('postgres', 'DROP DATABASE operations; DROP DATABASE operations_rows');
done_testing();
