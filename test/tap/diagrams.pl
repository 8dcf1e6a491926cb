# The diagrams of tables in doc/, fenced as ```mermaid with erDiagram, say what
# the catalog says: each table of the program stands on one page with columns
# that it has, of their types, and its primary key; relations are between tables.
use strict;
use warnings;
use utf8;

use IPC::Run;
use Test::More;

binmode($_, ':encoding(UTF-8)') for (Test::More->builder->output, Test::More->builder->failure_output);

my $top = $ENV{LOYALTY_TOP} || '.';
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', 5432, '-U', 'postgres', '-Xq', '-v', 'ON_ERROR_STOP=1');

# Of each table its columns: {type, key}
my %table;
IPC::Run::run([ @psql, '-d', 'postgres', '-c', 'SET client_min_messages = warning', '-c', 'DROP DATABASE IF EXISTS diagrams', '-c', 'CREATE DATABASE diagrams' ])
	or BAIL_OUT('cannot create the database');
IPC::Run::run([ @psql, '-d', 'diagrams', '-At' ], '<', \<<'SQL', '>', \my $columns) or BAIL_OUT('cannot read the catalog');
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SELECT c.relname, a.attname, t.typname, coalesce(a.attnum = ANY (x.conkey), false)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
	LEFT JOIN pg_constraint x ON x.conrelid = c.oid AND x.contype = 'p'
WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1, a.attnum;
SQL
IPC::Run::run([ @psql, '-d', 'postgres', '-c', 'DROP DATABASE diagrams' ]);
my %short = (int8 => 'bigint', int4 => 'integer', int2 => 'smallint', bool => 'boolean', float8 => 'double');
for (split /\n/, $columns)
{
	my ($name, $column, $type, $key) = split /\|/;
	my $array = $type =~ s/^_//;
	$table{$name}{$column} = { type => ($short{$type} // $type) . ($array ? '[]' : ''), key => $key eq 't' };
}
cmp_ok(scalar keys %table, '>', 50, 'there are tables');

my %page_of;
for my $page (sort glob "$top/doc/*.md")
{
	my $name = $page =~ s/.*\///r;
	open my $handle, '<:encoding(UTF-8)', $page or die "cannot read $page: $!";
	my $text = do { local $/; <$handle> };
	while ($text =~ /^```mermaid\nerDiagram\n(.*?)^```/msg)
	{
		my ($inside, $entity, %said, @wrong) = ($1);
		for my $line (split /\n/, $inside)
		{
			next if $line =~ /^\s*$/;
			if (defined $entity && $line =~ /^\s*\}\s*$/)
			{
				my @left = grep { $table{$entity}{$_}{key} && !$said{$_} } sort keys %{ $table{$entity} };
				push @wrong, "$entity: no $_, which is of the primary key" for @left;
				undef $entity;
			}
			elsif (defined $entity && $line =~ /^\s*(\S+)\s+(\w+)((?:\s*,?\s*(?:PK|FK|UK))*)(?:\s+"[^"]*")?\s*$/)
			{
				my ($type, $column, $keys) = ($1, $2, $3);
				my $is = $table{$entity}{$column};
				push @wrong, !$is ? "$entity.$column: there is none" : $is->{type} ne $type ? "$entity.$column: is $is->{type}" : ();
				push @wrong, "$entity.$column: PK " . ($is->{key} ? 'is not said' : 'is not so') if $is && $is->{key} != ($keys =~ /PK/);
				$said{$column} = 1;
			}
			elsif (!defined $entity && $line =~ /^\s*(\w+)\s*\{\s*$/)
			{
				$entity = $1;
				%said = ();
				push @wrong, "$entity: there is no such table" unless $table{$entity};
				push @wrong, "$entity: is on $page_of{$entity}, too" if $page_of{$entity};
				$page_of{$entity} = $name;
			}
			elsif (!defined $entity && $line =~ /^\s*(\w+)\s+[|}][|o](?:--|\.\.)[|o][|{]\s+(\w+)\s*:\s*(?:"[^"]+"|\w+)\s*$/)
			{
				push @wrong, map { "$_: there is no such table" } grep { !$table{$_} } $1, $2;
			}
			else { push @wrong, "not understood: $line" }
		}
		push @wrong, "$entity: is not closed" if defined $entity;
		is(join("\n", @wrong), '', "$name: the diagram");
	}
}
is(join(' ', grep { !$page_of{$_} } sort keys %table), '', 'each table is on a page');
done_testing();
