# doc/reference.md is what the comments of the objects say: every function, type,
# aggregate, operator, table and view, room by room.  What the catalog has now
# is written to reference.md beside this test's log; copy it to doc/ where a
# comment has changed.
use strict;
use warnings;
use utf8;

use File::Path qw(make_path);
use IPC::Run;
use Test::More;

binmode($_, ':encoding(UTF-8)') for (Test::More->builder->output, Test::More->builder->failure_output);

my $top = $ENV{LOYALTY_TOP} || '.';
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', 5432, '-U', 'postgres', '-Xq', '-v', 'ON_ERROR_STOP=1');

sub slurp
{
	my ($file) = @_;
	open my $handle, '<:encoding(UTF-8)', $file or return '';
	local $/;
	return scalar <$handle>;
}

# Rooms, in the order of the Makefile, and in which of them an object is made.
my ($rooms) = slurp("$top/Makefile") =~ /^ROOMS = (.*)$/m;
my @rooms = split ' ', $rooms;
my %room_of;
for my $room (@rooms)
{
	my $sql = join "\n", map { slurp($_) } sort glob "$top/src/$room/*.sql";
	$room_of{"function $1"} //= $room while $sql =~ /CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE|AGGREGATE) (?:loyalty\.)?(\w+)/g;
	$room_of{"relation $2"} //= $room while $sql =~ /CREATE (?:TABLE|VIEW|(?:UN)?LOGGED TABLE) (?:(loyalty|loyalty_bi)\.)?(\w+)/g;
	$room_of{"type $1"} //= $room while $sql =~ /CREATE TYPE (?:loyalty\.)?(\w+)/g;
}

IPC::Run::run([ @psql, '-d', 'postgres', '-c', 'SET client_min_messages = warning', '-c', 'DROP DATABASE IF EXISTS reference', '-c', 'CREATE DATABASE reference' ])
	or BAIL_OUT('cannot create the database');
IPC::Run::run([ @psql, '-d', 'reference', '-At', '-F', "\x1f", '-R', "\x1e" ], '<', \<<'SQL', '>', \my $output) or BAIL_OUT('cannot read the catalog');
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SET search_path = loyalty, pg_catalog;
SELECT 'function', p.proname,
	format('%s(%s)', p.proname, pg_get_function_arguments(p.oid)),
	CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate, ' || pg_get_function_result(p.oid) WHEN 'w' THEN 'window function, ' || pg_get_function_result(p.oid)
		ELSE coalesce(nullif(pg_get_function_result(p.oid), 'record'), 'row') END,
	obj_description(p.oid, 'pg_proc'),
	-- of a type, an aggregate, an operator or an index
	EXISTS (SELECT FROM pg_type t WHERE p.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend))
		OR EXISTS (SELECT FROM pg_aggregate a WHERE p.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn))
		OR EXISTS (SELECT FROM pg_operator o WHERE p.oid = o.oprcode) OR EXISTS (SELECT FROM pg_amproc m WHERE p.oid = m.amproc)
		OR obj_description(p.oid, 'pg_proc') ~ 'Part of |; part of |see program_triggers\(\)|called by setup\(\)'
FROM pg_proc p WHERE p.pronamespace = 'loyalty'::regnamespace
UNION ALL
SELECT 'type', t.typname, t.typname, CASE t.typtype WHEN 'c' THEN 'type of rows' ELSE 'type' END, obj_description(t.oid, 'pg_type'), false
FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.typnamespace = 'loyalty'::regnamespace AND t.typcategory <> 'A' AND (c.oid IS NULL OR c.relkind = 'c')
UNION ALL
SELECT 'operator', f.proname, format('%s %s %s', o.oprleft::regtype, o.oprname, o.oprright::regtype), 'operator, ' || o.oprresult::regtype, obj_description(o.oid, 'pg_operator'), false
FROM pg_operator o JOIN pg_proc f ON f.oid = o.oprcode WHERE o.oprnamespace = 'loyalty'::regnamespace
UNION ALL
SELECT 'relation', c.relname, CASE n.nspname WHEN 'loyalty' THEN '' ELSE n.nspname || '.' END || c.relname, CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END,
	obj_description(c.oid, 'pg_class') || E'\n' || (SELECT string_agg(format('  - `%s` %s: %s', a.attname, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum)), E'\n' ORDER BY a.attnum)
		FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), false
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('loyalty', 'loyalty_bi') AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
ORDER BY 1, 2, 3;
SQL
utf8::decode($output);

# {room}{kind} = [ [head, what, comment], ... ]
my (%of, @homeless, @silent);
for my $row (split /\x1e/, $output)
{
	chomp $row;
	my ($kind, $name, $head, $what, $comment, $is_part) = split /\x1f/, $row;
	next unless defined $is_part;
	my $room = $room_of{ $kind eq 'operator' ? "function $name" : "$kind $name" };
	# views are made by setup() out of their list, rooms() by the Makefile
	$room //= $head =~ /^loyalty_bi\./ ? 'bi' : $head eq 'rooms()' ? 'core' : undef;
	push @homeless, $head unless $room;
	push @silent, $head unless length($comment // '');
	push @{ $of{ $room // $rooms[0] }{$kind} }, [ $head, $what, $comment // '', $is_part eq 't' && $name ];
}
is("@homeless", '', 'every object is made by a room');
is("@silent", '', 'and has a comment');

my $text = <<'MD';
# Reference

Every object of the extension, with its comment, room by room: what `\df+`, `\dT+`, `\do+` and `\d+` show in psql. Made from the catalog; a test
compares the two. Functions that are only called by others stand at the end of their room, by name.
MD
$text .= "\n" . join(' · ', map { "[$_](#$_)" } @rooms) . "\n";
for my $room (@rooms)
{
	my $objects = $of{$room} or next;
	$text .= "\n## $room\n";
	for my $part ([ function => 'Functions' ], [ operator => 'Operators' ], [ type => 'Types' ], [ relation => 'Tables and views' ])
	{
		my ($kind, $title) = @$part;
		my (%seen, @parts);
		my @shown = grep { !$_->[3] || (push(@parts, $_->[3]), 0) } @{ $objects->{$kind} // [] };
		if (@shown)
		{
			$text .= "\n### $title of $room\n\n";
			for my $object (@shown)
			{
				my ($head, $what, $comment) = @$object;
				$text .= "- **`$head`** $what  \n  $comment\n";
			}
		}
		my @names = grep { !$seen{$_}++ } @parts;
		$text .= "\nParts of others: " . join(', ', map { "`$_`" } @names) . ".\n" if @names;
	}
}

my $made = ($ENV{TESTLOGDIR} || '.') . '/reference.md';
make_path($ENV{TESTLOGDIR}) if $ENV{TESTLOGDIR};
open my $file, '>:encoding(UTF-8)', $made or die "cannot write $made: $!";
print $file $text;
close $file;
my @now = split /\n/, $text;
my @stored = split /\n/, slurp("$top/doc/reference.md");
my @differ = grep { ($now[$_] // '') ne ($stored[$_] // '') } 0 .. (@now > @stored ? $#now : $#stored);
ok(!@differ, 'doc/reference.md is what the comments say')
	or diag("line " . ($differ[0] + 1) . " should be:\n", $now[ $differ[0] ] // 'none', "\nand is:\n", $stored[ $differ[0] ] // 'none', "\nThe whole: reference.md among the logs of this test.");
IPC::Run::run([ @psql, '-d', 'postgres', '-c', 'DROP DATABASE reference' ]);
done_testing();
