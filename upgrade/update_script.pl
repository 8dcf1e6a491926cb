#!/usr/bin/env perl
# The update script from one version to another, made of their install scripts.
#
#	update_script.pl OLD.sql NEW.sql [BY_HAND.sql]
#
# What is in both is left as it is; a function whose body or attributes changed
# is replaced, one whose arguments or result changed is dropped and made; what is
# new is made, in the order of the new script; what is gone is dropped in the end.
# All functions in C go over to the new library.  Functions that stand behind a
# check of rights (see access_rights.sql) are replaced where they stand.
#
# BY_HAND.sql comes first.  It does what cannot be told from the two scripts,
# such as a changed type, and names each such thing in a line of its own:
#	-- by hand: type points_balance
# Without that line what cannot be done is an error here, and no script is made.
use strict;
use warnings;

my ($old_file, $new_file, $by_hand_file) = @ARGV;
my %by_hand;
my $by_hand = $by_hand_file ? slurp($by_hand_file) : '';
$by_hand{$1} = 1 while $by_hand =~ /^-- by hand: (.*\S)\s*$/mg;

sub slurp
{
	my ($file) = @_;
	open my $handle, '<', $file or die "cannot read $file: $!\n";
	local $/;
	return scalar <$handle>;
}

# The statements of a script, without comments between them.
sub statements
{
	my ($script) = @_;
	my (@statements, $statement);
	$script =~ s/^\\.*\n//mg;	# of psql
	for ($script)
	{
		while (pos($_) // 0 < length)
		{
			if (!defined $statement && /\G(?:\s+|--[^\n]*|\/\*.*?\*\/)/gcs) { next }
			last if (pos($_) // 0) >= length;
			$statement //= '';
			if (/\G;/gc) { push @statements, "$statement;"; undef $statement }
			elsif (/\G(--[^\n]*|\/\*.*?\*\/|\$(\w*)\$.*?\$\2\$|'(?:[^']|'')*'|"[^"]*"|[^;'"\$\/-]+|.)/gcs) { $statement .= $1 }
		}
	}
	die "a statement does not end: $statement\n" if defined $statement;
	return @statements;
}

# A script: its statements in order, each with a key that says what it makes.
# Functions, aggregates and operators are named as their comments name them.
sub script
{
	my ($file) = @_;
	my (%script, %unnamed, @order);
	for my $text (statements(slurp($file)))
	{
		my $s = { text => $text };
		if ($text =~ /^COMMENT ON (\w+) (.*?) IS\s/s)
		{
			$s->{key} = "comment $1 $2";
			my ($kind, $name) = ($1, $2);
			if ($kind =~ /^(FUNCTION|PROCEDURE|AGGREGATE|OPERATOR)$/ && (my $made = shift @{ $unnamed{"$kind " . ($name =~ s/\s*\(.*//sr)} // [] }))
			{
				$made->{key} = lc($kind) . " $name";
				$made->{identity} = $name;
			}
		}
		elsif ($text =~ /^CREATE (OPERATOR (?:CLASS|FAMILY)) (\w+)/) { $s->{key} = lc($1) . " $2" }
		elsif ($text =~ /^CREATE (FUNCTION|PROCEDURE|AGGREGATE|OPERATOR) (\S+?)\s*\(/) { push @{ $unnamed{"$1 $2"} }, $s; $s->{kind} = $1; $s->{name} = $2 }
		elsif ($text =~ /^CREATE TYPE (\w+);$/) { $s->{key} = "shell $1" }
		elsif ($text =~ /^CREATE (TYPE|SCHEMA) (\w+)/) { $s->{key} = lc($1) . " $2" }
		elsif ($text =~ /^CREATE CAST (\(.*?\))/) { $s->{key} = "cast $1" }
		elsif ($text =~ /^DO /) { $s->{key} = 'rights' }
		elsif ($text =~ /^(SET|RESET) /) { next }
		else { die "$file: no rule for: " . substr($text, 0, 60) . "\n" }
		$script{rights} = $text if $text =~ /^DO /;
		push @order, $s;
	}
	for my $s (@order)
	{
		die "$file: no comment on: " . substr($s->{text}, 0, 60) . "\n" if !$s->{key};
		die "$file: twice: $s->{key}\n" if $script{made}{ $s->{key} };
		$script{made}{ $s->{key} } = $s;
	}
	while ($script{rights} =~ /\('(may_\w+|as_caller)', '\{(.*?)\}'/gs)
	{
		my ($right, $names) = ($1, $2);
		$script{behind}{$_} = $right for split /,\s*/, $names;
	}
	($script{library}) = slurp($file) =~ /'\$libdir\/([^']+)'/ or die "$file: no library\n";
	$script{order} = \@order;
	return \%script;
}

my ($old, $new) = (script($old_file), script($new_file));
my (@gone, @made, @impossible);

sub schema_behind { return $_[0] eq 'as_caller' ? 'loyalty_as_caller' : 'loyalty_as_owner' }

# What must be the same for CREATE OR REPLACE.
sub head { return $_[0]{text} =~ /^(.*?)\bLANGUAGE\b/s ? $1 : '' }
sub same { my ($x, $y) = map { $_->{text} =~ s/\$libdir\/[^']+//gr } @_; return $x eq $y }

sub drop
{
	my ($s) = @_;
	my $right = $s->{kind} eq 'FUNCTION' && $old->{behind}{ $s->{name} };
	return map { "DROP $s->{kind} $_.$s->{identity};" } 'loyalty', $right ? schema_behind($right) : ();
}

for my $s (@{ $new->{order} })
{
	my $before = $old->{made}{ $s->{key} };
	next if $by_hand{ $s->{key} } || $s->{key} eq 'rights';
	if (!$before) { push @made, $s->{text} }
	elsif (($s->{kind} // '') =~ /^(FUNCTION|PROCEDURE)$/)
	{
		my ($was, $is) = map { $_->{behind}{ $s->{name} } // '' } $old, $new;
		if (head($s) ne head($before) || $was ne $is)
		{
			push @made, drop($before), $s->{text}, $new->{made}{"comment $s->{kind} $s->{identity}"}{text};
		}
		elsif (!same($s, $before))
		{
			my $text = $s->{text} =~ s/^CREATE /CREATE OR REPLACE /r;
			push @made, $is ? ("SET LOCAL search_path = " . schema_behind($is) . ", loyalty, public;", $text, 'SET LOCAL search_path = loyalty, public;') : $text;
		}
	}
	elsif ($s->{key} =~ /^comment/) { push @made, $s->{text} if !same($s, $before) }
	elsif (($s->{kind} // '') eq 'AGGREGATE') { push @made, $s->{text} =~ s/^CREATE /CREATE OR REPLACE /r if !same($s, $before) }
	elsif (!same($s, $before)) { push @impossible, $s->{key} }
}
for my $s (reverse @{ $old->{order} })
{
	next if $new->{made}{ $s->{key} } || $by_hand{ $s->{key} } || $s->{key} =~ /^(comment|shell)/;
	if (($s->{kind} // '') =~ /^(FUNCTION|PROCEDURE)$/) { push @gone, drop($s) }
	elsif ($s->{key} =~ /^(aggregate|operator|cast|type) (.*)$/s) { push @gone, "DROP \U$1\E $2;" }
	else { push @impossible, $s->{key} }
}
die map { "$_ changed: do it by hand, and say so there\n" } @impossible if @impossible;

my $removed = join ', ', map { "'$_'" } grep { defined } map { $_->{text} =~ /AS '[^']*', '(\w+)'/ ? $1 : $_->{name} }
	grep { ($_->{kind} // '') eq 'FUNCTION' && $_->{text} =~ /\bLANGUAGE c\b/i && !$new->{made}{ $_->{key} } } @{ $old->{order} };
my $only = $removed ? "AND p.prosrc NOT IN ($removed)" : '';
print <<"EOF", join("\n", $by_hand || (), @made, $new->{rights}, @gone), "\n";
\\echo Use "ALTER EXTENSION loyalty UPDATE" to load this file. \\quit

-- every function in C goes over to the new library
DO \$block\$
DECLARE
	definition text;
BEGIN
	FOR definition IN
		SELECT pg_catalog.pg_get_functiondef(p.oid) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
			AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'loyalty'
		WHERE p.probin = '\$libdir/$old->{library}' $only
		ORDER BY p.oid
	LOOP
		EXECUTE pg_catalog.replace(definition, '\$libdir/$old->{library}', '\$libdir/$new->{library}');
	END LOOP;
END
\$block\$;

SET LOCAL check_function_bodies = off;
EOF
