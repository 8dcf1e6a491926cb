# Random bytes, random text and mutated valid values into the text and binary
# input of every type: an error with a proper SQLSTATE, or a value that comes
# out and goes in again as the same bytes, both ways; never a crash, a hang or
# an internal error.  What is accepted is also read with the type's functions.
#
# An input that gets an answer of its own (an error whose words, but for what they quote,
# no other input got) is kept while the test runs, and changed further:
# so it finds its way past one check after the other.  fuzz_corpus.txt has those
# of earlier runs, which are tried first.
#
# LOYALTY_SEED=n repeats a run; LOYALTY_SOAK=1 runs eight minutes from a new seed;
# LOYALTY_CORPUS=file writes there what is then known, to be kept as fuzz_corpus.txt.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use Test::More;

use RandomHistory;
use Values;
use Wire;

my $seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? time : 1);
my $seconds = $ENV{LOYALTY_FUZZ_SECONDS} || ($ENV{LOYALTY_SOAK} ? 480 : 20);
my %server = (host => $ENV{LOYALTY_TEST_HOST}, port => $ENV{LOYALTY_TEST_PORT} || 5432, user => 'postgres');
my $database = 'fuzz_inputs';

sub run_sql
{
	my ($db, @sql) = @_;
	my $wire = Wire->new(%server, database => $db);
	my @rows;
	for my $sql (@sql)
	{
		my $error = $wire->prepare($sql);
		my ($answer) = $error ? { error => $error } : $wire->run([]);
		die "$sql: $answer->{error}{M}" if $answer->{error};
		@rows = @{ $answer->{rows} };
	}
	return @rows;
}

run_sql('postgres', "DROP DATABASE IF EXISTS $database", "CREATE DATABASE $database");
run_sql($database, 'CREATE EXTENSION loyalty CASCADE');

my ($others) = run_sql($database, q{
	SELECT string_agg(t.typname, ' ') FROM pg_type t JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
	WHERE t.typtype = 'b' AND t.typelem = 0 AND t.typnamespace = 'loyalty'::regnamespace});
my @untried = grep { !$Values::types{$_} } split ' ', $others->[0] // '';
is("@untried", '', 'every base type of the extension is tried');

# Errors that say what is wrong.  Everything else is a failure.
my $proper = qr/^(?:LY...|22...|08P01|54001|54000)$/;

*pick = \&RandomHistory::pick;

# What is known: for each type and format, the shortest input for each answer.  A
# line is type, format and input, with \x.. for what does not print.
my %known;
my $listed = 0;
sub remember
{
	my ($type, $format, $input, $error) = @_;
	my $answer = $error ? $error->{C} : 'accepted';
	if ($error && $error->{C} ne '22021')	# not UTF-8, whose words name the bytes
	{
		# how far a text was understood is told by the digits of the position
		$answer = join ' ', $error->{C}, map { s/".*"/?/sr =~ s/(\d+)/'#' x length $1/ger =~ s/[^\w# ]//gr } $error->{M}, $error->{D} // '';
	}
	my $kept = \$known{$type}{$format}{$answer};
	return 0 if length $input > 400 || defined $$kept && length $$kept <= length $input;
	my $new = !defined $$kept;
	$$kept = $input;
	return $new;
}
sub listed
{
	open my $file, '<', "$FindBin::Bin/fuzz_corpus.txt" or die "fuzz_corpus.txt: $!";
	my %inputs;
	while (<$file>)
	{
		next if /^#/;
		my ($type, $format, $input) = /^(\w+) (text|binary) (.*)\n/ or die "fuzz_corpus.txt, line $.: $_";
		push @{ $inputs{$type}{$format} }, $input =~ s/\\x(..)/chr hex $1/ger;
		$listed++;
	}
	return %inputs;
}
my %listed = listed();
cmp_ok($listed, '>', 0, 'there are inputs of earlier runs');
is(join(' ', grep { !$Values::types{$_} } sort keys %listed), '', 'they are of types that there are');

my $share = $seconds / (2 * keys %Values::types);
for my $type (sort keys %Values::types)
{
	my @corpus = Values::corpus(Wire->new(%server, database => $database), $type, $seed, 400);
	cmp_ok(scalar @corpus, '>', 0, "$type: there are valid values");
	for my $format ('text', 'binary')
	{
		my $binary = $format eq 'binary';
		my $value = $binary ? "\$1::loyalty.$type" : "\$1::text::loyalty.$type";
		my $sql = "SELECT loyalty.${type}_send(v)::text, loyalty.${type}_send(v::text::loyalty.$type)::text, v::text, "
		  . ($Values::types{$type}{reads} =~ s/\$1/v/gr) . " FROM (SELECT $value AS v OFFSET 0) x";
		my $again_sql = "SELECT loyalty.${type}_send(\$1::loyalty.$type)::text";
		my (%tried, @bad);
		my @first = @{ $listed{$type}{$format} || [] };
		my @found = @first;
		my $until = time + $share;
		RandomHistory::seed($seed * 31 + ord $format);

		my $connect = sub {
			my $wire = Wire->new(%server, database => $database);
			$wire->prepare("SET statement_timeout = '20s'");
			$wire->run([]);
			return $wire;
		};
		my $wire = $connect->();
		my $again = $connect->();
		for ($wire, $again) { $_->prepare($_ == $wire ? $sql : $again_sql, $_ == $wire ? $binary : 1) and die "cannot prepare" }

		while ((time < $until || @first || !%tried) && @bad < 10)	# a batch at least, however busy the machine is
		{
			my @batch = splice @first, 0, 100;
			push @batch, map {
				my $sample = @found && !pick(4) ? $found[ pick(scalar @found) ] : $corpus[ pick(scalar @corpus) ][ $binary ? 1 : 0 ];
				my $other = $corpus[ pick(scalar @corpus) ][ $binary ? 1 : 0 ];
				my $what = pick(20);
				$what == 0 ? $sample
				  : $what == 1 ? ($binary ? Values::random_bytes() : Values::random_bytes() =~ s/\0/ /gr)
				  : $binary ? Values::mutate_bytes($sample, $other) : Values::mutate_text($sample, $other);
			} @batch ? () : 1 .. 100;
			my @answers = $wire->run(map { [$_] } @batch);
			if (@answers < @batch)
			{
				push @bad, [ $batch[@answers], 'the connection was lost' ];
				sleep 5;
				last;
			}
			my @accepted;
			for my $i (0 .. $#batch)
			{
				my $error = $answers[$i]{error};
				$tried{ $error ? $error->{C} : 'accepted' }++;
				push @found, $batch[$i] if remember($type, $format, $batch[$i], $error);
				if ($error)
				{
					push @bad, [ $batch[$i], "$error->{C}: $error->{M}" ] unless $error->{C} =~ $proper;
					next;
				}
				my ($bytes, $by_text, $text) = @{ $answers[$i]{rows}[0] };
				push @bad, [ $batch[$i], "text does not round-trip: $text" ] if $bytes ne $by_text;
				push @accepted, [ $batch[$i], pack 'H*', substr $bytes, 2 ];
			}
			@answers = $again->run(map { [ $_->[1] ] } @accepted);
			for my $i (0 .. $#accepted)
			{
				my $back = $answers[$i]{error} ? $answers[$i]{error}{M} : $answers[$i]{rows}[0][0];
				push @bad, [ $accepted[$i][0], "bytes do not round-trip: $back" ] if $back ne '\\x' . unpack 'H*', $accepted[$i][1];
			}
		}
		my $tried = 0;
		$tried += $_ for values %tried;
		is(scalar @bad, 0, "$type: $format input withstands what it is given");
		diag("seed $seed: ", $binary ? unpack('H*', $_->[0]) : $_->[0], "\n  $_->[1]") for @bad;
		note("$tried tried: ", join ', ', map { "$_ $tried{$_}" } sort keys %tried);
		cmp_ok($tried{accepted} // 0, '>', $tried / 100, "$type: $format: some of it was accepted");
	}
}

if ($ENV{LOYALTY_CORPUS})
{
	open my $file, '>', $ENV{LOYALTY_CORPUS} or die "$ENV{LOYALTY_CORPUS}: $!";
	print $file "# Inputs that each got an answer of its own: type, format, input.  Written by fuzz.pl.\n";
	for my $type (sort keys %known)
	{
		for my $format (sort keys %{ $known{$type} })
		{
			print $file "$type $format ", s/([^\x20-\x5b\x5d-\x7e])/sprintf '\\x%02x', ord $1/ger, "\n" for sort values %{ $known{$type}{$format} };
		}
	}
	close $file or die "$ENV{LOYALTY_CORPUS}: $!";
}

run_sql('postgres', "DROP DATABASE $database WITH (FORCE)");
done_testing();
