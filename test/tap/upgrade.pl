# From one version to the next: a database that was made by the one, with a
# program in use, is what the next one would have made, once ALTER EXTENSION
# UPDATE and setup() have run.  The next version is a copy of the sources in which
# something of every kind has changed; then the same from every version that was
# released, with the program that was dumped then.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use SourceCopy;

my ($now) = slurp("$top/loyalty.control") =~ /^default_version\s*=\s*'([^']+)'/m;
my $next = join '.', map { $_ + 1 } split /\./, $now;

copy_sources();
copy_programs();
ok(build(), "version $now is built") or BAIL_OUT('there is nothing to test');

# What the next version does otherwise.
spill("$copy/upgrade/released/loyalty--$now.sql", slurp("$copy/loyalty--$now.sql"));
change('loyalty.control', qr/^default_version = .*/m, sub { "default_version = '$next'" });
# a function is gone, one is new, with an error of its text
change('src/liability/liability_money.sql', qr/CREATE FUNCTION backtest_cost\(.*?(?=CREATE FUNCTION campaign_cost)/s, sub {
	"CREATE FUNCTION cost_of_hundred(currency text) RETURNS numeric\nLANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp\n"
	. "AS \$\$ SELECT 100 * loyalty.expected_point_cost(\$1) \$\$;\nCOMMENT ON FUNCTION cost_of_hundred(text) IS 'What a hundred points cost; it isn''t new; or is it?';\n\n" });
# a column of a result, a comment, a body
change('src/liability/liability_setup.sql', qr/(CREATE FUNCTION point_value_at\(.*?)\) RETURNS record(.*?SELECT v\.value, v\.cost)/s, sub { "$1, OUT told boolean) RETURNS record$2, v.value IS NOT NULL" });
change('src/liability/liability_setup.sql', qr/The time zone in which the months/, sub { 'The zone in which the months' });
change('src/liability/liability_read.sql', qr/extract\(year FROM \$2\) \* 12 \+/, sub { '12 * extract(year FROM $2) +' });
# the body of one behind a right, another right, a new writer
change('src/trial/trial_write.sql', qr/'channel, a period and an amount/, sub { "'a channel, a period and an amount" });
change('src/access/access_rights.sql', qr/set_point_value, (.*?'\{)?/, sub { '' });
change('src/access/access_rights.sql', qr/\('may_operate', '\{/, sub { "('may_operate', '{set_point_value, note_cost, " });
change('src/liability/liability_money.sql', qr/(?=CREATE FUNCTION campaign_cost)/, sub {
	"CREATE FUNCTION note_cost(currency text) RETURNS text LANGUAGE sql SUPPORT require_setup AS \$\$ SELECT 'noted ' || \$1 \$\$;\nCOMMENT ON FUNCTION note_cost(text) IS 'Notes.';\n\n" });
# an aggregate
change('src/liability/liability.sql', qr/(CREATE AGGREGATE outstanding_agg\(.*?PARALLEL = )SAFE/s, sub { "$1RESTRICTED" });
# a table and a type
change('src/liability/liability_setup.sql', qr/^(\t*)RETURN 1;/m, sub { "\tIF have < 2 THEN\n\t\tALTER TABLE loyalty.point_value ADD COLUMN reason text;\n\t\tCOMMENT ON COLUMN loyalty.point_value.reason IS 'Why.';\n\tEND IF;\n$1RETURN 2;" });
change('src/liability/liability_init.c', qr/ExpectLayout\("liability", 1\)/, sub { 'ExpectLayout("liability", 2)' });
change('src/liability/liability.sql', qr/^CREATE FUNCTION/m, sub { "CREATE TYPE cost_pair AS (points numeric, money numeric);\nCOMMENT ON TYPE cost_pair IS 'Points and money.';\n\nCREATE FUNCTION" });
ok(build(), "version $next is built, with a script from $now") or BAIL_OUT('there is nothing to test');

my $node = PostgreSQL::Test::Cluster->new('upgrade');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off");
$node->start;

sub answer { my ($db, $sql) = @_; return $node->safe_psql($db, $sql) }

# All that there is of the extension and of its tables, whatever the numbers of
# the objects; what a comment says beside it.
sub made
{
	my ($db) = @_;
	return answer($db, q{
		SET search_path = pg_catalog;
		WITH member AS (
			SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'loyalty'
			WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		), made (what) AS (
			SELECT pg_describe_object(m.classid, m.objid, 0) || coalesce(' | ' || obj_description(m.objid, m.classid::regclass::text::name), '') FROM member m
			UNION ALL
			SELECT concat_ws(' | ', pg_get_functiondef(p.oid), p.proacl) FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid WHERE p.prokind <> 'a'
			UNION ALL
			SELECT concat_ws(' | ', p.oid::regprocedure, p.proparallel, p.provolatile, a.aggkind, a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
				a.aggmtransfn, a.aggtranstype::regtype, a.aggtransspace, a.agginitval, a.aggfinalextra, a.aggfinalmodify)
			FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
			UNION ALL
			SELECT concat_ws(' | ', t.oid::regtype, t.typlen, t.typtype, t.typinput, t.typoutput, t.typsend, t.typreceive, t.typalign, t.typstorage, t.typsubscript,
				(SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = t.typrelid AND NOT a.attisdropped),
				(SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
			FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
			UNION ALL
			SELECT concat_ws(' | ', o.oid::regoperator, o.oprcode, o.oprrest, o.oprjoin, o.oprcom::regoperator, o.oprnegate::regoperator, o.oprcanmerge, o.oprcanhash) FROM pg_operator o JOIN member m ON m.classid = 'pg_operator'::regclass AND m.objid = o.oid
			UNION ALL
			SELECT concat_ws(' | ', c.castsource::regtype, c.casttarget::regtype, c.castfunc::regproc, c.castcontext, c.castmethod) FROM pg_cast c JOIN member m ON m.classid = 'pg_cast'::regclass AND m.objid = c.oid
			UNION ALL
			SELECT concat_ws(' | ', c.oid::regclass, c.relkind, c.reloptions, c.relpersistence, obj_description(c.oid, 'pg_class'), CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END)
			FROM pg_class c WHERE c.relnamespace IN ('loyalty'::regnamespace, to_regnamespace('loyalty_bi')) AND c.relkind <> 'c' AND c.relname <> 'brought'	-- the program's own
			UNION ALL
			SELECT concat_ws(' | ', a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum))
			FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
			WHERE c.relnamespace IN ('loyalty'::regnamespace, to_regnamespace('loyalty_bi')) AND c.relkind IN ('r', 'p', 'v') AND c.relname <> 'brought' AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL
			SELECT concat_ws(' | ', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid)) FROM pg_constraint c WHERE c.connamespace = 'loyalty'::regnamespace AND c.conrelid <> 0 AND c.contype <> 't'
			UNION ALL
			SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'loyalty'::regnamespace
			UNION ALL
			SELECT concat_ws(' | ', pg_get_triggerdef(t.oid), t.tgenabled) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'loyalty'::regnamespace AND NOT t.tgisinternal
		)
		SELECT what FROM made ORDER BY what COLLATE "C"});
}

# The lines that only one of two texts has.
sub difference
{
	my ($is, $want) = @_;
	my %count;
	$count{$_}++ for split /\n/, $want;
	$count{$_}-- for split /\n/, $is;
	return join "\n", map { ($count{$_} > 0 ? 'missing: ' : 'more: ') . $_ } grep { $count{$_} } sort keys %count;
}

my $figures = slurp("$top/upgrade/figures.sql");

sub is_new
{
	my ($db, $want, $before, $what) = @_;
	is(difference(made($db), $want), '', "$what: it is what $next makes");
	is(answer($db, $figures), $before, "$what: members have what they had");
	is(answer($db, 'SELECT * FROM loyalty.check_all()'), '', "$what: all is well");
	is(answer($db, q{SELECT points FROM loyalty.balance(5, 'points') b, loyalty.earn(5, 7) e, LATERAL (SELECT e.available - b.available) d (points)}), 7, "$what: points are earned");
	is(answer($db, q{SELECT replayed FROM loyalty.record_activity(5, 'order', '2026-01-02', 25, external_id => 'after')}), 'f', "$what: and orders recorded");
	is(answer($db, q{SELECT loyalty.note_cost('x')}), 'noted x', "$what: the new function writes");
}

answer('postgres', 'CREATE DATABASE fresh');
answer('fresh', 'CREATE EXTENSION loyalty CASCADE; SELECT loyalty.setup()');
my $want = made('fresh');
ok($want !~ /backtest_cost/ && $want =~ /note_cost/, 'what is gone is not there, and what is new is');

# from this version
answer('postgres', 'CREATE DATABASE here');
$node->safe_psql('here', slurp("$FindBin::Bin/programme.sql") =~ s/^CREATE EXTENSION loyalty CASCADE;/CREATE EXTENSION loyalty VERSION '$now' CASCADE;/mr);
is(answer('here', 'SELECT extversion FROM pg_extension WHERE extname = \'loyalty\''), $now, "a program of $now");
my $before = answer('here', $figures);
isnt(difference(made('here'), $want), '', 'which is another');
answer('here', "CREATE ROLE upgrade_app; SELECT loyalty.grant_access('upgrade_app', 'app'); CREATE VIEW shop.mine AS SELECT b.* FROM loyalty.balance(5) b");
# one session that was there before, with the library of that version, and stays
my $session = $node->background_psql('here', on_error_stop => 0);
like($session->query("SET loyalty.table_access = off; SELECT available FROM loyalty.earn(5, 10)"), qr/^\d+$/m, 'a session posts');
answer('here', 'ALTER EXTENSION loyalty UPDATE');
is(answer('here', "SELECT extversion FROM pg_extension WHERE extname = 'loyalty'"), $next, 'it is updated');
is(answer('here', 'SELECT count(*) FROM pg_proc WHERE probin LIKE \'%loyalty-%\' AND probin <> \'$libdir/loyalty-' . $next . '\''), 0, 'nothing leads to the library of before');
is(answer('here', $figures), $before, 'what reads goes on');
my ($status, $stdout, $stderr) = $node->psql('here', '\set VERBOSITY verbose' . "\nSELECT loyalty.set_point_value('points', 0.02)");
like($stderr, qr/LY002/, 'what writes waits for setup()');
answer('here', 'SELECT loyalty.setup()');
is($session->query("SELECT e.available - b.available FROM loyalty.balance(5, 'points') b, loyalty.earn(5, 10) e; SHOW loyalty.table_access"), "10\noff", 'the session goes on');
is($session->query(q{BEGIN; SET LOCAL loyalty.actor = 'Kim'; SELECT FROM loyalty.adjust(5, -20, 'back'); COMMIT; SELECT actor FROM loyalty.who_did(5) ORDER BY act_id DESC LIMIT 1}) =~ s/^\n//r, 'Kim', 'and names who acts');
$session->quit;
is_new('here', $want, $before, "from $now");
is(answer('here', 'SET ROLE upgrade_app; SELECT replayed FROM loyalty.earn(6, 1)'), 'f', 'roles have the rights that they had');

# from every version that was released
for my $script (glob "$top/upgrade/released/loyalty--*.sql")
{
	my ($released) = $script =~ /loyalty--(.*)\.sql$/;
	my $program = slurp("$top/upgrade/released/program--$released.sql");
	my ($figures_then) = $program =~ /\n-- what members have\n((?:-- .*\n)*)/;
	$figures_then = join "\n", $figures_then =~ /^-- (.*)$/mg;
	if ($released ne $now)
	{
		spill("$work/pg" . config('sharedir') . "/extension/loyalty--$released.sql", slurp($script));
		# the library of that version is not here: this one has all that its functions name
		run('cp', "$work/pg" . config('pkglibdir') . "/loyalty-$now.so", "$work/pg" . config('pkglibdir') . "/loyalty-$released.so") or die;
	}
	for my $how ('update', 'restore')
	{
		my $db = "${how}_$released" =~ tr/./_/r;
		answer('postgres', "CREATE DATABASE $db");
		my $dump = $program;
		$dump =~ s/^CREATE EXTENSION IF NOT EXISTS loyalty WITH SCHEMA loyalty;/CREATE EXTENSION loyalty WITH SCHEMA loyalty VERSION '$released';/m if $how eq 'update';
		answer($db, $dump);
		answer($db, "ALTER EXTENSION loyalty UPDATE TO '$next'") if $how eq 'update';
		answer($db, 'SELECT loyalty.setup()');
		is_new($db, $want, $figures_then, "$released by $how");
	}
}

done_testing();
