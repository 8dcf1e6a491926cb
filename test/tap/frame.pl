# A room is added as CONTRIBUTING.md says: its files are taken out of that page
# and put into a copy of the sources, which is built and installed into a copy of
# PostgreSQL's programs.  Then everything must be there: tables, layout,
# triggers, rights, checks, merges; and a later layout of it must be reached.
# Before that: the order of rooms and files that the page tells.
use strict;
use warnings;

use File::Basename qw(dirname);
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Links;
use SourceCopy;

# Which file of C leans on which: a room on rooms to its left only, and no files
# on each other in a circle.
sub leaning
{
	my ($objects) = @_;
	my (%defines, %needs, %leans);
	for my $object (map { s/^\Q$objects\E\/src\///r } glob "$objects/src/*/*.o")
	{
		next unless -e ("$top/src/" . $object =~ s/\.o$/.c/r);
		for (`nm '$objects/src/$object'`)
		{
			if (/ [TDBR] (\w+)$/) { $defines{$1} = $object }
			elsif (/ U (\w+)$/) { push @{ $needs{$object} }, $1 }
		}
	}
	for my $object (keys %needs)
	{
		$leans{$object}{ $defines{$_} } = 1 for grep { defined $defines{$_} && $defines{$_} ne $object } @{ $needs{$object} };
	}
	return \%leans;
}

my ($rooms) = slurp("$top/Makefile") =~ /^ROOMS = (.*)$/m;
if (my $objects = $ENV{LOYALTY_OBJECTS})
{
	my $leans = leaning($objects);
	my %place = do { my $n = 0; map { $_ => $n++ } split ' ', $rooms };
	my @right;
	for my $from (sort keys %$leans)
	{
		push @right, map { "$from on $_" } grep { $place{ dirname($_) } > $place{ dirname($from) } } sort keys %{ $leans->{$from} };
	}
	# but for the list of the rooms themselves
	is(join(', ', grep { !/^core\/core_init\.o/ } @right), '', 'no room leans on one to its right');
	delete $leans->{'core/core_init.o'};
	while (my @free = grep { !grep { $leans->{$_} } keys %{ $leans->{$_} } } keys %$leans)
	{
		delete @$leans{@free};
	}
	is(join(' ', sort keys %$leans), '', 'no files lean on each other in a circle');
}

copy_sources();

# The room, as the page says.
my $page = slurp("$top/CONTRIBUTING.md");
my %file;
$file{$1} = $3 while $page =~ /^`([\w\/.]+)`\n\n```(\w+)\n(.*?)^```$/msg;
is_deeply([ sort keys %file ], [ qw(src/visit/visit.sql src/visit/visit_init.c test/pgtap/visit.sql) ], 'CONTRIBUTING.md has the files of a room');
spill("$copy/$_", $file{$_}) for keys %file;
change('Makefile', qr/^(ROOMS = .*) access$/m, sub { "$1 visit access" });
change('src/access/access_rights.sql', qr/(\('may_post', '\{)/, sub { "$1record_visit, " });

copy_programs();
ok(build(), 'it is built and installed') or BAIL_OUT('there is nothing to test');

# The pages that were installed link to what was installed.
my $documents = "$work/pg" . config('docdir') . '/loyalty';
my @pages = map { s{^\Q$documents\E/}{}r } glob "$documents/*.md $documents/doc/*.md";
my ($links, @dead) = dead_links($documents, @pages);
cmp_ok($links, '>', 100, 'pages are installed');
is(join("\n", @dead), '', 'their links lead to what is installed');

my $node = PostgreSQL::Test::Cluster->new('frame');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'");
$node->start;

# its own tests, and those that hold for every object of the extension
for my $test (qw(visit core access))
{
	$node->safe_psql('postgres', "CREATE DATABASE $test");
	my ($status, $stdout, $stderr) = $node->psql($test, slurp("$copy/test/pgtap/$test.sql"));
	my @failed = $stdout =~ /^not ok.*/mg;
	ok($status == 0 && !@failed && $stdout =~ /^1\.\.\d+$/m, "test/pgtap/$test.sql passes") or diag("@failed\n$stderr");
}

sub answer { my ($sql, $db) = @_; return $node->safe_psql($db // 'postgres', $sql) }
sub refusal
{
	my ($sql, $role) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', ($role ? "SET ROLE $role; " : '') . "\\set VERBOSITY verbose\n$sql");
	return $stderr =~ /ERROR:\s+(\w{5}):/ ? $1 : "no error, but $stdout";
}

answer('CREATE EXTENSION loyalty CASCADE');
like(answer('SELECT loyalty.setup()'), qr/\bvisit 1, access \d+$/, 'setup() makes its tables, in the order of the rooms');
is(answer("SELECT version FROM loyalty.layout WHERE room = 'visit'"), 1, 'and records their layout');
is(answer('SELECT * FROM loyalty.check_all()'), '', 'all is well');

# triggers
is(answer("SELECT tgname FROM pg_trigger WHERE tgrelid = 'loyalty.visit'::regclass AND NOT tgisinternal ORDER BY tgname"), "append_only\nowner_only", 'its trigger is there, and the one that every table has');
answer('ALTER TABLE loyalty.visit DISABLE TRIGGER append_only');
like(answer('SELECT room, detail FROM loyalty.check_all()'), qr/^core\|trigger "append_only" of table loyalty.visit is disabled/, 'check_all() says that it is off');
answer('SELECT loyalty.setup()');
is(answer('SELECT * FROM loyalty.check_all()'), '', 'and setup() puts it back');

is(answer("SELECT 'visit' = ANY (loyalty.growing_tables())"), 't', 'its table is among those that are partitioned');

# rights
answer("CREATE ROLE frame_$_; SELECT loyalty.grant_access('frame_$_', '$_')") for qw(reader app);
is(refusal('SELECT loyalty.record_visit(1)', 'frame_reader'), '42501', 'a reader may not write');
is(answer('SET ROLE frame_reader; SELECT loyalty.visits_of(1)'), 0, 'but read');
is(answer("SET ROLE frame_app; SELECT replayed FROM loyalty.record_visit(1, '2026-01-01')"), 'f', 'an application may write by the function');
is(refusal('INSERT INTO loyalty.visit (member_id, at) VALUES (1, now())', 'frame_app'), '42501', 'and not otherwise');

# its check
answer("INSERT INTO loyalty.visit (member_id, at) VALUES (7, 'infinity')");
is(answer('SELECT room, invariant, member_id FROM loyalty.check_all()'), 'visit|instant|7', 'check_all() asks it');
answer('DELETE FROM loyalty.visit WHERE member_id = 7');

# merges
my ($one, $two) = map { answer("SELECT member_id FROM loyalty.resolve_member('{\"email\": \"$_\@frame.example\"}')") } qw(one two);
answer("SELECT loyalty.record_visit($_, '2026-01-01') FROM generate_series(1, $_)") for $one, $two;
my $before = answer("SELECT loyalty.visits_of($one) + loyalty.visits_of($two)");
is(answer("SELECT m.item -> 'item' FROM loyalty.merge_members($one, $two) x, jsonb_array_elements(x.moved) m (item) WHERE m.item ->> 'room' = 'visit'"),
	'{"visits": ' . $two . '}', 'a merge asks it');
is(answer("SELECT loyalty.visits_of($one)"), $before, 'both are counted');
answer("SELECT loyalty.forget_member($two)");
is(answer("SELECT count(*) FROM loyalty.visit WHERE member_id IN ($one, $two)"), 0, 'and forgotten');
answer("SELECT loyalty.record_visit(77, '2026-01-01')");

# A later layout: the step of the page.
my ($step, $return) = $page =~ /^(\tIF have < 2 THEN.*?^\tEND IF;\n)\t\.\.\.\n(\tRETURN 2;\n)/ms or die 'CONTRIBUTING.md has no step';
change('src/visit/visit.sql', qr/(CREATE TABLE loyalty\.visit \(.*?^\tEND IF;\n)/ms, sub { $1 . $step });
change('src/visit/visit.sql', qr/\tRETURN 1;\n/, sub { $return });
ok(build(), 'another layout in SQL is built');
my ($setup) = slurp("$copy/src/visit/visit.sql") =~ /^CREATE (FUNCTION setup_visit.*?\n\$\$;)$/ms;
answer("SET search_path = loyalty; CREATE OR REPLACE $setup");
is(refusal('SELECT loyalty.setup()'), 'XX000', 'which must be that of C');
change('src/visit/visit_init.c', qr/ExpectLayout\("visit", 1\)/, sub { 'ExpectLayout("visit", 2)' });
ok(build(), 'and in C');
is(refusal("SELECT loyalty.record_visit(77, '2026-01-02')"), 'LY002', 'what writes waits for setup()');
is(answer('SELECT loyalty.visits_of(77)'), 1, 'what reads does not');
like(answer('SELECT loyalty.setup()'), qr/\bvisit 2\b/, 'setup() brings the tables there');
is(answer('SELECT member_id, channel FROM loyalty.visit ORDER BY 1'), "1|\n77|", 'with what was in them');
is(answer("SELECT replayed FROM loyalty.record_visit(77, '2026-01-02')"), 'f', 'and writing goes on');
is(answer('SELECT * FROM loyalty.check_all()'), '', 'all is well');

done_testing();
