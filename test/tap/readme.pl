# What README.md shows is what happens.  The blocks fenced as ```psql and
# ```sql run in order, in one session, in a fresh database named loyalty:
#
# - in ```psql, a line that begins with a prompt (loyalty=# and its
#   continuations, such as loyalty-# and loyalty(#) is input, everything else
#   is what psql must print; an ellipsis (U+2026) stands for anything within a line;
# - ```sql is input only, and must raise no error.
use strict;
use warnings;
use utf8;

use IPC::Run;
use Test::More;

binmode($_, ':encoding(UTF-8)') for (Test::More->builder->output, Test::More->builder->failure_output);

my $top = $ENV{LOYALTY_TOP} || '.';
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', 5432, '-U', 'postgres', '-Xq');

my @steps;		# {line, input, expected}; expected undef: no error is enough
my ($kind, $step);

open my $readme, '<:encoding(UTF-8)', "$top/README.md" or die "cannot read README.md: $!";
while (my $line = <$readme>)
{
	chomp $line;
	if ($line =~ /^```(\w*)/)
	{
		if (defined $kind) { undef $kind }
		else
		{
			$kind = $1;
			undef $step;
			push @steps, $step = { line => $. + 1, input => [], expected => undef } if $kind eq 'sql';
		}
	}
	elsif (!defined $kind) { }
	elsif ($kind eq 'sql')
	{
		push @{ $step->{input} }, $line;
	}
	elsif ($kind eq 'psql')
	{
		if ($line =~ /^loyalty=[#>] ?(.*)/)
		{
			push @steps, $step = { line => $., input => [$1], expected => [] };
		}
		elsif ($step && !@{ $step->{expected} } && $line =~ /^loyalty[-(*'"\$!^][#>] ?(.*)/)
		{
			push @{ $step->{input} }, $1;
		}
		elsif ($step) { push @{ $step->{expected} }, $line }
		else { fail("README.md:$.: a psql block begins with a prompt") }
	}
}
close $readme;

cmp_ok(scalar @steps, '>', 0, 'README.md has examples');

# A marker of its own on both channels follows each step.
my $script = "\\pset pager off\n";
for my $n (0 .. $#steps)
{
	$script .= join("\n", @{ $steps[$n]{input} }) . "\n\\echo :::$n\n";
}
utf8::encode($script);

IPC::Run::run([ @psql, '-d', 'postgres', '-c', 'SET client_min_messages = warning', '-c', 'DROP DATABASE IF EXISTS loyalty', '-c', 'CREATE DATABASE loyalty' ])
	or BAIL_OUT('cannot create the database');
# one pipe for both channels, so that errors stand where they belong
IPC::Run::run([ @psql, '-d', 'loyalty' ], '<', \$script, '>&', \my $output);
utf8::decode($output);

my $rest = $output;
for my $n (0 .. $#steps)
{
	my $name = "README.md:$steps[$n]{line}: $steps[$n]{input}[0]";
	my $got;

	if ($rest =~ s/\A(.*?)^:::$n\n//ms) { $got = $1 }
	else
	{
		fail($name);
		diag("psql ended before, or the statement does not end; it printed:\n$rest");
		last;
	}
	if (!defined $steps[$n]{expected})
	{
		unlike($got, qr/^(ERROR|FATAL|PANIC):/m, $name);
		next;
	}
	my @got = trimmed(split /\n/, $got);
	my @expected = trimmed(@{ $steps[$n]{expected} });
	my $pattern = join "\n", map { join '.*?', map { quotemeta } split /\x{2026}/, $_, -1 } @expected;

	ok(join("\n", @got) =~ /\A$pattern\z/, $name)
		or diag("printed:\n", join("\n", @got), "\nREADME.md shows:\n", join("\n", @expected));
}

IPC::Run::run([ @psql, '-d', 'postgres', '-c', 'DROP DATABASE loyalty' ]);
done_testing();

# No trailing blanks, no blank lines at the end.
sub trimmed
{
	my @lines = map { s/\s+$//r } @_;
	pop @lines while @lines && $lines[-1] eq '';
	return @lines;
}
