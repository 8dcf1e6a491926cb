# Random bytes, random text and mutated valid values into the text and binary
# input of every type: an error with a proper SQLSTATE, or a value that comes
# out and goes in again as the same bytes, both ways; never a crash, a hang or
# an internal error.  What is accepted is also read with the type's functions.
#
# LOYALTY_SEED=n repeats a run; LOYALTY_SOAK=1 runs an hour from a new seed.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use Test::More;

use FoldReference;
use RandomHistory;
use Wire;

my $seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? time : 1);
my $seconds = $ENV{LOYALTY_FUZZ_SECONDS} || ($ENV{LOYALTY_SOAK} ? 3600 : 20);
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

# Valid values to begin with: some as SQL expressions, more from random
# histories.  reads: what is asked of each value that was accepted.
my %types = (
	points_ledger => {
		reads => q{(SELECT count(*) FROM loyalty.entries($1)), loyalty.fold($1)::text, loyalty.ledger_length($1), $1::jsonb::text},
		samples => [ q{'[]'} ] },
	points_balance => {
		reads => q{loyalty.available($1, '9999-01-01'), loyalty.held($1, '9999-01-01'), loyalty.pending($1, '9999-01-01'),
			loyalty.expired($1, '9999-01-01'), loyalty.next_expiry_at($1, '9999-01-01'), loyalty.expiring_points($1, '9999-12-01', '9999-01-01'),
			(SELECT count(*) FROM loyalty.balance_lots($1, '9999-01-01')), loyalty.last_effective_at($1), loyalty.next_unbooked_expiry($1), $1::jsonb::text},
		samples => [ q{'{"entries": 0}'} ] },
	points_lots => {
		reads => q{(SELECT sum(points) FROM loyalty.unnest_lots($1)), loyalty.total_points($1), $1::jsonb::text},
		samples => [ q{'[]'} ] });

# Types of other rooms have two-step aggregates: a few of their values.
my $events = q{(SELECT i, timestamptz '2024-01-01' + i * i * interval '1 hour' AS at, (i * 7919 %% 1000)::numeric / 7 AS amount FROM generate_series(1, %d) i) e};
my %aggregates = (
	rfm => "(SELECT loyalty.rfm_agg(at, amount) FROM $events)",
	rfm_breaks => q{loyalty.rfm_method(bins => 2 + %d %% 8)},
	activity => "(SELECT loyalty.activity_agg(at, 'month', 'UTC') FROM $events)",
	cohort_matrix => "(SELECT loyalty.retention_agg(a) FROM (SELECT loyalty.activity_agg(at, 'month', 'UTC') AS a FROM $events GROUP BY i %% 7) x)",
	repurchase => "(SELECT loyalty.repurchase_agg(a) FROM (SELECT loyalty.activity_agg(at, 'month', 'UTC') AS a FROM $events GROUP BY i %% 7) x)",
	concentration => "(SELECT loyalty.concentration_agg(amount) FROM $events)",
	tier_facts => "(SELECT loyalty.tier_facts_agg(CASE WHEN i %% 3 = 0 THEN 'orders' ELSE 'spend' END, at, round(amount, 4), NULL) FROM $events)",
	clv_sample => "(SELECT loyalty.clv_agg(r, '2040-01-01') FROM (SELECT loyalty.rfm_agg(at, amount) AS r FROM $events GROUP BY i %% 7) x)",
	clv_model => q{loyalty.clv_fit((SELECT loyalty.clv_agg(r, '2026-01-01') FROM (SELECT loyalty.rfm_agg(timestamptz '2024-01-01' + m * interval '1 day' + i * i * interval '5 days', 10 + m + i) AS r FROM generate_series(1, 40) m, generate_series(1, 1 + m %% 6) i GROUP BY m) x), CASE WHEN %d %% 2 = 0 THEN 'bg/nbd' ELSE 'mbg/nbd' END)});
for my $type (sort keys %aggregates)
{
	my ($exists) = run_sql($database, "SELECT to_regtype('loyalty.$type')");
	next unless defined $exists->[0];
	$types{$type} = { reads => '$1::text', samples => [ map { sprintf $aggregates{$type}, $_ } 1, 2, 3, 17, 300 ] };
}

my ($others) = run_sql($database, q{
	SELECT string_agg(t.typname, ' ') FROM pg_type t JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
	WHERE t.typtype = 'b' AND t.typelem = 0 AND t.typnamespace = 'loyalty'::regnamespace});
my @untried = grep { !$types{$_} } split ' ', $others->[0] // '';
is("@untried", '', 'every base type of the extension is tried');

# Errors that say what is wrong.  Everything else is a failure.
my $proper = qr/^(?:LY...|22...|08P01|54001|54000)$/;

*pick = \&RandomHistory::pick;

sub numbers { return RandomHistory::one_of('0', '-1', '1', '9223372036854775807', '-9223372036854775808', '9223372036854775808', '1e400', '1.5', '4294967296', '2147483648', 'null', 'true', '""', '[]', '{}', '"infinity"', '"-infinity"', '"294276-12-31T23:59:59.999999Z"', '"4714-11-24T00:00:00Z BC"', '"now"', '"2024-02-30T00:00:00Z"') }

sub mutate_text
{
	my ($text, $other) = @_;
	for (0 .. pick(3))
	{
		my $at = pick(1 + length $text);
		my $what = pick(9);
		if ($what == 0) { substr($text, $at, pick(8)) = '' }
		elsif ($what == 1) { substr($text, $at, 0) = chr(1 + pick(255)) }
		elsif ($what == 2) { substr($text, $at, 1) = RandomHistory::one_of(split //, '{}[]":,0123456789-eE. T+Zx') }
		elsif ($what == 3 || $what == 4)
		{
			# another value behind one of the keys
			my @keys = ();
			push @keys, [ $-[1], $+[1] - $-[1] ] while $text =~ /: ?("[^"]*"|-?\d+)/g;
			my $key = @keys ? $keys[ pick(scalar @keys) ] : [ 0, 0 ];
			substr($text, $key->[0], $key->[1]) = numbers();
		}
		elsif ($what == 5) { $text = substr($text, 0, $at) . substr $other, pick(1 + length $other) }
		elsif ($what == 6)
		{
			my $chunk = substr $text, $at, pick(80);
			substr($text, pick(1 + length $text), 0) = $chunk;
		}
		elsif ($what == 7) { $text =~ s/"(kind|points|lot_id|entries|earned|target|lots|debt)"/'"' . RandomHistory::one_of(qw(kind points lot_id entries earned target lots debt hold_id chain order)) . '"'/e }
		else { $text = substr $text, 0, $at }
	}
	return $text =~ s/\0/ /gr;
}

sub mutate_bytes
{
	my ($bytes, $other) = @_;
	for (0 .. pick(4))
	{
		my $at = pick(1 + length $bytes);
		my $what = pick(8);
		if ($what == 0) { substr($bytes, $at, pick(4)) = '' }
		elsif ($what == 1) { substr($bytes, $at, 0) = chr pick(256) }
		elsif ($what == 2 && $at < length $bytes) { substr($bytes, $at, 1) = chr(ord(substr $bytes, $at, 1) ^ 1 << pick(8)) }
		elsif ($what == 3) { substr($bytes, $at, 1) = chr pick(256) }
		elsif ($what == 4) { substr($bytes, $at, pick(3)) = ("\xff" x pick(11)) . chr pick(128) }
		elsif ($what == 5) { $bytes = substr($bytes, 0, $at) . substr $other, pick(1 + length $other) }
		elsif ($what == 6) { substr($bytes, pick(1 + length $bytes), 0) = substr $bytes, $at, pick(20) }
		else { $bytes = substr $bytes, 0, $at }
	}
	return $bytes;
}

sub random_bytes { return join '', map { chr pick(256) } 1 .. pick(60) }

# Valid values of a type, as (text, bytes).
sub corpus
{
	my ($type) = @_;
	my @expressions = map { "$_\::loyalty.$type" } @{ $types{$type}{samples} };
	for my $i (1 .. ($type =~ /^points_/ ? 400 : 0))
	{
		my $history = RandomHistory->new($seed * 7919 + $i);
		next if $history->{refused};
		next if (FoldReference::fold($history->{order}, $history->{clawback}, @{ $history->{entries} }))[1];
		my $text = "'" . $history->text . "'::loyalty.points_ledger";
		if ($type eq 'points_lots')
		{
			for my $e (grep { $_->{lots} } @{ $history->{entries} })
			{
				push @expressions, "'" . $history->lots_json($e->{lots}) . "'::loyalty.points_lots";
			}
		}
		else { push @expressions, $type eq 'points_ledger' ? $text : "loyalty.fold($text, '$history->{order}', '$history->{clawback}')" }
	}
	my @values;
	while (my @some = splice @expressions, 0, 100)
	{
		push @values, run_sql($database, "SELECT v::text, encode(loyalty.${type}_send(v), 'hex') FROM (VALUES " . join(', ', map { "($_)" } @some) . ') x(v)');
	}
	return map { [ $_->[0], pack('H*', $_->[1]) ] } @values;
}

my $share = $seconds / (2 * keys %types);
for my $type (sort keys %types)
{
	my @corpus = corpus($type);
	cmp_ok(scalar @corpus, '>', 0, "$type: there are valid values");
	for my $format ('text', 'binary')
	{
		my $binary = $format eq 'binary';
		my $value = $binary ? "\$1::loyalty.$type" : "\$1::text::loyalty.$type";
		my $sql = "SELECT loyalty.${type}_send(v)::text, loyalty.${type}_send(v::text::loyalty.$type)::text, v::text, "
		  . ($types{$type}{reads} =~ s/\$1/v/gr) . " FROM (SELECT $value AS v OFFSET 0) x";
		my $again_sql = "SELECT loyalty.${type}_send(\$1::loyalty.$type)::text";
		my (%tried, @bad);
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

		while (time < $until && @bad < 10)
		{
			my @batch = map {
				my $sample = $corpus[ pick(scalar @corpus) ][ $binary ? 1 : 0 ];
				my $other = $corpus[ pick(scalar @corpus) ][ $binary ? 1 : 0 ];
				my $what = pick(20);
				$what == 0 ? $sample
				  : $what == 1 ? ($binary ? random_bytes() : random_bytes() =~ s/\0/ /gr)
				  : $binary ? mutate_bytes($sample, $other) : mutate_text($sample, $other);
			} 1 .. 100;
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

run_sql('postgres', "DROP DATABASE $database WITH (FORCE)");
done_testing();
