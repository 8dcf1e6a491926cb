# The fold, 100,000 random histories long, against the reference of
# FoldReference.pm: sums, lots, totals and refusals at several instants, under
# every policy; text and bytes of ledgers and balances round-trip on the way.
#
# A history that differs is printed whole.  LOYALTY_SEED=n LOYALTY_HISTORIES=1
# tries history n alone; LOYALTY_SOAK=1 tries three times as many, from a seed of
# the day.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use Test::More;

use FoldReference;
use RandomHistory;

my $histories = $ENV{LOYALTY_HISTORIES} || ($ENV{LOYALTY_SOAK} ? 300_000 : 100_000);
my $first_seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? int(time / 86400) * 1_000_000 : 1);
my $batch = 2500;
my $workers = $histories < $batch ? 1 : 2;
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', $ENV{LOYALTY_TEST_PORT} || 5432, '-U', 'postgres', '-XqAt', '-v', 'ON_ERROR_STOP=1');
my $database = 'fold';

sub run_sql
{
	my ($db, $sql) = @_;
	my ($output, $errors);
	IPC::Run::run([ @psql, '-d', $db ], '<', \$sql, '>', \$output, '2>', \$errors)
	  or die "psql: $errors";
	return $output;
}

run_sql('postgres', "DROP DATABASE IF EXISTS $database; CREATE DATABASE $database;");
run_sql($database, <<'SQL');
CREATE EXTENSION loyalty CASCADE;
CREATE FUNCTION show(b loyalty.points_balance, at timestamptz[]) RETURNS text
LANGUAGE sql STABLE AS $$
	SELECT string_agg(concat_ws(',', loyalty.available(b, t), loyalty.debt(b, t), loyalty.pending(b, t), loyalty.held(b, t),
			loyalty.expired(b, t), loyalty.next_expiry_at(b, t), loyalty.next_expiry_points(b, t),
			loyalty.expiring_points(b, at[cardinality(at)], t)), ';' ORDER BY i)
	FROM unnest(at) WITH ORDINALITY u(t, i);
$$;
CREATE FUNCTION show_lots(b loyalty.points_balance, at timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$
	SELECT coalesce(string_agg(concat_ws(',', lot_id, points, state, earned_at, coalesce(available_at, 'infinity'), coalesce(expires_at, 'infinity'), coalesce(hold_id, 0)), ';'), '')
	FROM loyalty.balance_lots(b, at);
$$;
CREATE FUNCTION show_totals(b loyalty.points_balance) RETURNS text
LANGUAGE sql STABLE AS $$
	SELECT concat_ws(',', loyalty.entry_count(b), loyalty.last_effective_at(b),
		loyalty.earned(b), loyalty.adjusted_up(b), loyalty.transferred_in(b), loyalty.restored(b),
		loyalty.redeemed(b), loyalty.revoked(b), loyalty.adjusted_down(b), loyalty.transferred_out(b), loyalty.expiry_booked(b));
$$;
CREATE FUNCTION fold_case(history text, consumption_order text, clawback text, at timestamptz[]) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
	l loyalty.points_ledger;
	b loyalty.points_balance;
	result text;
BEGIN
	BEGIN
		l := history;
	EXCEPTION WHEN OTHERS THEN
		RETURN 'refused ' || SQLSTATE;
	END;
	result := l::text;
	IF loyalty.points_ledger_send(result::loyalty.points_ledger) <> loyalty.points_ledger_send(l) THEN
		RETURN 'text of the ledger does not round-trip: ' || result;
	END IF;
	FOR pass IN 1 .. 2 LOOP
		BEGIN
			IF pass = 1 THEN
				b := loyalty.fold(l);
			ELSE
				b := loyalty.fold(l, consumption_order, clawback);
			END IF;
			IF loyalty.points_balance_send(b::text::loyalty.points_balance) <> loyalty.points_balance_send(b) THEN
				RETURN 'text of the balance does not round-trip: ' || b::text;
			END IF;
			result := result || '#' || show_totals(b) || '#' || show(b, at)
				|| '#' || show_lots(b, at[1]) || '#' || show_lots(b, at[cardinality(at)]);
		EXCEPTION WHEN OTHERS THEN
			result := result || '#refused ' || SQLSTATE;
		END;
	END LOOP;
	RETURN result;
END
$$;
SQL

# ---------------------------------------------------------------------------
# What the reference says, in the words of fold_case()
# ---------------------------------------------------------------------------

sub shown
{
	my ($history, $wallet, @at) = @_;
	my @lots;
	my $totals = join ',', scalar @{ $wallet->{past} },
	  ($wallet->{last} < 0 ? () : $history->instant($wallet->{last})),
	  map { $wallet->{$_} } @FoldReference::totals;
	my $sums = join ';', map {
		my ($available, $pending, $held, $expired, $next, $next_points) = $wallet->sums($_);
		die "available points beside a debt" if $available && $wallet->at($_)->{debt};
		join ',', $available, $wallet->at($_)->{debt}, $pending, $held, $expired,
		  ($next == FoldReference::FOREVER ? () : $history->instant($next)), $next_points,
		  $wallet->expiring($_, $at[-1]);
	} @at;

	# what had expired by the last entry has left the list
	for my $t ($at[0], $at[-1])
	{
		push @lots, join ';', map {
			join ',', $_->{lot}, $_->{points}, FoldReference::state_of($_, $t),
			  map({ $history->instant($_) } @$_{qw(earned available expires)}), $_->{hold}
		} grep { FoldReference::state_of($_, $wallet->{last}) ne 'expired' } $wallet->at($t)->in_order;
	}
	$wallet->conserved($at[0]) or die "the reference does not conserve points";
	return join '#', $totals, $sums, @lots;
}

sub expected
{
	my ($history) = @_;
	my @at = @{ $history->{at} };
	my @passes;
	for my $policy ([], [ $history->{order}, $history->{clawback} ])
	{
		my ($wallet, $refusal) = FoldReference::fold(@$policy[ 0, 1 ], @{ $history->{entries} });
		return "refused $refusal" if $refusal && !@passes;
		push @passes, $refusal ? "refused $refusal" : shown($history, $wallet, @at);
	}
	return join '#', $history->normal_text, @passes;
}

# The parts in which two answers differ.
sub differences
{
	my @expected = split /#/, $_[0], -1;
	my @got = split /#/, $_[1], -1;
	my $most = @expected > @got ? @expected : @got;
	my @names = ('ledger', map({ ("$_: totals", "$_: sums", "$_: lots", "$_: lots, last instant") } 'default policy', 'its policy'));
	return map {
		my ($expected, $got) = ($expected[$_] // '(nothing)', $got[$_] // '(nothing)');
		$expected eq $got ? () : ("  ", $names[$_] // 'more', "\n    reference   $expected\n    the C says  $got\n");
	} 0 .. $most - 1;
}

# Runs the histories of one worker; returns the number of those that differ.
sub run_histories
{
	my ($from, $to, $report) = @_;
	my (%count, $bad);
	$bad = 0;
	for (my $start = $from; $start < $to; $start += $batch)
	{
		my $end = $start + $batch < $to ? $start + $batch : $to;
		my (@histories, @sql);
		push @sql, "SET timezone = 'UTC'; SET datestyle = 'iso, ymd'; CREATE TEMP TABLE c (id int, h text, o text, p text, at timestamptz[]);", 'COPY c FROM stdin;';
		for my $seed ($start .. $end - 1)
		{
			my $history = RandomHistory->new($seed);
			push @histories, $history;
			push @sql, join "\t", $seed - $start, $history->text, $history->{order}, $history->{clawback},
			  '{' . join(',', map { '"' . $history->instant($_) . '"' } @{ $history->{at} }) . '}';
			$count{ $_->{kind} }++ for @{ $history->{entries} };
			$count{"refused"}++ if $history->{refused};
		}
		push @sql, '\.', 'SELECT id, fold_case(h, o, p, at) FROM c ORDER BY id;';
		my %got = map { /^(\d+)\|(.*)$/ ? ($1 => $2) : () } split /\n/, run_sql($database, join("\n", @sql) . "\n");
		for my $i (0 .. $#histories)
		{
			my $expected = expected($histories[$i]);
			my $got = $got{$i} // 'nothing';
			next if $got eq $expected;
			next if ++$bad > 5;
			print $report "history with LOYALTY_SEED=", $start + $i,
			  ": $histories[$i]{order}, $histories[$i]{clawback}, asked at ",
			  join(' ', map { $histories[$i]->instant($_) } @{ $histories[$i]{at} }), "\n",
			  $histories[$i]->text, "\n",
			  differences($expected, $got);
		}
	}
	print $report "counts ", join(' ', map { "$_=$count{$_}" } sort keys %count), "\n";
	return $bad;
}

my @readers;
for my $worker (0 .. $workers - 1)
{
	my $from = $first_seed + int($histories * $worker / $workers);
	my $to = $first_seed + int($histories * ($worker + 1) / $workers);
	my $pid = open my $reader, '-|';
	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		my $bad = eval { run_histories($from, $to, \*STDOUT) };
		print "died: $@" if $@;
		print "differing ", $bad // 'unknown', "\n";
		close STDOUT;
		require POSIX;
		POSIX::_exit(0);
	}
	push @readers, $reader;
}
my %count;
for my $reader (@readers)
{
	my ($bad, $said) = (undef, '');
	while (my $line = <$reader>)
	{
		if ($line =~ /^differing (\d+)$/) { $bad = $1 }
		elsif ($line =~ /^counts (.*)$/) { $count{$1} += $2 while $line =~ /(\w+)=(\d+)/g }
		else { $said .= $line }
	}
	is($bad, 0, 'histories that differ from the reference') or diag($said);
}

note("$histories histories: ", join ', ', map { "$_ $count{$_}" } sort keys %count);
for my $kind (qw(earn redeem hold capture release reverse activate transfer_out transfer_in adjust expire refused))
{
	cmp_ok($count{$kind} || 0, '>=', $histories < $batch ? 0 : $histories / 50, "enough of $kind was tried");
}

run_sql('postgres', "DROP DATABASE $database;");
done_testing();
