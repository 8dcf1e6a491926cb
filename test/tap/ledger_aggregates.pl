# balance_agg and ledger_agg against the reference of FoldReference.pm: rows
# of many groups, in any order and any plan, give the same bits, and these say
# what the reference says.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use List::Util qw(shuffle);
use Test::More;

use FoldReference;
use RandomHistory;

my $groups = $ENV{LOYALTY_SOAK} ? 40_000 : 8_000;
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', $ENV{LOYALTY_TEST_PORT} || 5432, '-U', 'postgres', '-XqAt', '-v', 'ON_ERROR_STOP=1');
my $database = 'aggregates';
my $seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? time : 7);

sub run_sql
{
	my ($db, $sql) = @_;
	my ($output, $errors);
	IPC::Run::run([ @psql, '-d', $db ], '<', \$sql, '>', \$output, '2>', \$errors)
	  or die "psql: $errors";
	return $output;
}

*pick = \&RandomHistory::pick;
*chance = \&RandomHistory::chance;

# Rows of a group, and the order in which they must be folded: by time; at one
# instant what comes in first, then by expiry, then by amount, then by kind and
# by when it becomes available.
my %number = (earn => 1, redeem => 2, hold => 3, transfer_out => 8, adjust => 10, expire => 11);

sub income { my ($e) = @_; return $e->{kind} eq 'earn' || $e->{kind} eq 'adjust' && $e->{points} > 0 ? 0 : 1 }

sub sorted
{
	return sort {
		$a->{at} <=> $b->{at} || income($a) <=> income($b)
		  || ($a->{until} // $a->{expires} // FoldReference::FOREVER) <=> ($b->{until} // $b->{expires} // FoldReference::FOREVER)
		  || $a->{points} <=> $b->{points} || $number{ $a->{kind} } <=> $number{ $b->{kind} }
		  || ($a->{available} // $a->{at}) <=> ($b->{available} // $b->{at})
	} @_;
}

# Without a policy a hold may ask for too much: such rows are left out.
sub only_possible
{
	while (1)
	{
		my @rows = sorted(@_);
		my $wallet = FoldReference->new;
		my ($bad) = grep { $wallet->apply($_) } @rows;
		return @rows unless $bad;
		@_ = grep { $_ != $bad } @rows;
	}
}

srand($seed);
my (@signed, @plain, @clocks);
for my $group (0 .. $groups - 1)
{
	RandomHistory::seed($seed * 1_000_003 + $group);
	push @clocks, bless { clock => RandomHistory::make_clock() }, 'RandomHistory';
	my $many = 1 + pick(pick(10) ? 12 : 60);
	my $span = chance(50) ? 8 : 90;
	my @rows = map {
		my $at = pick($span);
		my $earns = chance(60);
		+{ kind => $earns ? 'earn' : 'redeem', at => $at, points => 1 + pick(chance(50) ? 5 : 500),
			($earns && chance(70) ? (expires => chance(90) ? RandomHistory::later($at, 30) : pick($at + 1)) : ()) }
	} 1 .. $many;
	push @signed, [ sorted(@rows) ];
	push @plain, [ only_possible(map {
		my %e = %$_;
		$e{kind} = 'adjust' if chance(10);
		$e{available} = chance(80) ? RandomHistory::later($e{at}, 20) : FoldReference::FOREVER
		  if income(\%e) == 0 && chance(25);
		if ($e{kind} eq 'redeem' && chance(40))
		{
			$e{kind} = (qw(hold transfer_out expire adjust))[ pick(4) ];
			$e{until} = RandomHistory::later($e{at} + 1, 20) if $e{kind} eq 'hold';
		}
		$e{points} = -$e{points} if $e{kind} eq 'adjust' && !defined $e{available} && !defined $e{expires} && chance(50);
		\%e
	} @rows) ];
}

# Loads the rows in random order.
sub rows_of
{
	my ($name, $rows) = @_;
	my @lines;
	for my $group (0 .. $groups - 1)
	{
		my $clock = $clocks[$group];
		push @lines, map {
			join("\t", $group, $_->{kind},
				$name eq 'signed' && $_->{kind} eq 'redeem' ? -$_->{points} : $_->{points},
				$clock->instant($_->{at}), map({ defined $_ ? $clock->instant($_) : '\N' } $_->{available}, $_->{until} // $_->{expires})) . "\n"
		} @{ $rows->[$group] };
	}
	return join '', "COPY $name FROM stdin;\n", shuffle(@lines), "\\.\n";
}

run_sql('postgres', "DROP DATABASE IF EXISTS $database; CREATE DATABASE $database;");
run_sql($database, join '', <<'SQL', rows_of('signed', \@signed), rows_of('plain', \@plain), 'ANALYZE;');
CREATE EXTENSION loyalty CASCADE;
SET timezone = 'UTC';
CREATE TABLE signed (g int, kind text, points bigint, at timestamptz, available_at timestamptz, expires_at timestamptz);
CREATE TABLE plain (LIKE signed);
ALTER TABLE signed SET (parallel_workers = 3);
ALTER TABLE plain SET (parallel_workers = 3);
SQL

# Name, settings, FROM clause.
my $parallel = "SET max_parallel_workers_per_gather = 3; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0.2; SET cpu_operator_cost = 1; SET min_parallel_table_scan_size = 0; SET enable_sort = off;";
my @plans = (
	[ 'as stored', 'SET max_parallel_workers_per_gather = 0;', '%s' ],
	[ 'by time', 'SET max_parallel_workers_per_gather = 0; SET enable_hashagg = off; SET work_mem = \'64MB\';', '(SELECT * FROM %s ORDER BY g, at, points) s' ],
	[ 'by time, backwards', 'SET max_parallel_workers_per_gather = 0;', '(SELECT * FROM %s ORDER BY g DESC, at DESC, points DESC) s' ],
	[ 'shuffled', 'SET max_parallel_workers_per_gather = 0; SET enable_hashagg = off;', '(SELECT * FROM %s ORDER BY g, md5(at::text || points)) s' ],
	[ 'parallel', $parallel, '%s' ],
	[ 'parallel, hash in little memory', "$parallel SET work_mem = '64kB'; SET hash_mem_multiplier = 1;", '%s' ],
	[ 'parallel, sorted groups', $parallel =~ s/SET enable_sort = off/SET enable_hashagg = off/r, '%s' ]);
# Ways to aggregate other than one GROUP BY: each query gives (g, v) too.
my @queries = (
	[ 'grouping sets', 'SELECT g, v FROM (SELECT g, %1$s AS v, grouping(h) AS l FROM (SELECT *, g %% 3 AS h FROM %2$s) x GROUP BY GROUPING SETS ((g), (h, g), (g, available_at IS NULL OR true))) q WHERE l = 0' ],
	[ 'grouping sets, sorted', 'SELECT g, v FROM (SELECT g, %1$s AS v, grouping(h) AS l FROM (SELECT *, g %% 3 AS h FROM %2$s) x GROUP BY GROUPING SETS ((g, h), (g))) q WHERE l = 0' ],
	[ 'one subquery a group', 'SELECT g, (SELECT %1$s FROM %2$s s WHERE s.g = d.g) AS v FROM (SELECT DISTINCT g FROM %2$s) d WHERE g %% 40 = 0', 40 ],
	[ 'partition', 'SELECT DISTINCT ON (g) g, %1$s OVER (PARTITION BY g) AS v FROM %2$s' ],
	[ 'running', 'SELECT DISTINCT ON (g) g, %1$s OVER (PARTITION BY g ORDER BY at, points, kind, ctid ROWS UNBOUNDED PRECEDING) AS v, row_number() OVER (PARTITION BY g ORDER BY at, points, kind, ctid) AS n FROM %2$s ORDER BY g, n DESC' ],
	[ 'filter', 'SELECT g, %1$s FILTER (WHERE true) AS v FROM %2$s GROUP BY g' ],
	[ 'beside another', 'SELECT g, v FROM (SELECT g, %1$s AS v, %1$s FILTER (WHERE points <> 0), count(DISTINCT at) FROM %2$s GROUP BY g) q' ]);
my %aggregate = (
	signed => 'loyalty.points_balance_send(loyalty.balance_agg(points, at, expires_at))',
	plain => 'loyalty.points_ledger_send(loyalty.ledger_agg(kind, points, at, available_at, expires_at))');

for my $table ('signed', 'plain')
{
	my $first;
	for my $plan (@plans)
	{
		my ($name, $settings, $from) = @$plan;
		my $query = sprintf "SELECT g, $aggregate{$table} AS v FROM $from GROUP BY g", $table;
		my $plan_text = run_sql($database, "$settings EXPLAIN (COSTS OFF) $query;");
		like($plan_text, qr/Partial (Hash|Group)Aggregate/, "$table, $name: the plan is parallel") if $name =~ /parallel/;
		my $digest = run_sql($database, "$settings SELECT count(*), md5(string_agg(g || ':' || encode(v, 'hex'), ',' ORDER BY g)) FROM ($query) q;");
		chomp $digest;
		$first //= $digest;
		is($digest, $first, "$table, $name: the same bits");
	}
	for my $case (@queries)
	{
		my ($name, $query, $part) = @$case;
		# a hold that comes before the earn of the same instant cannot be folded alone
		next if $name eq 'running' && $table eq 'plain';
		my ($aggregate, $send) = $table eq 'signed'
		  ? ('loyalty.balance_agg(points, at, expires_at)', 'loyalty.points_balance_send')
		  : ('loyalty.ledger_agg(kind, points, at, available_at, expires_at)', 'loyalty.points_ledger_send');
		$query = sprintf $query, $aggregate, $table;
		my $other = $part ? "WHERE g % $part = 0" : '';
		my $differing = run_sql($database, "SET max_parallel_workers_per_gather = 0; SET work_mem = '1MB'; SELECT count(*), count(*) FILTER (WHERE $send(a.v) IS DISTINCT FROM $send(b.v)) FROM (SELECT g, $aggregate AS v FROM $table $other GROUP BY g) a FULL JOIN ($query) b USING (g);");
		chomp $differing;
		like($differing, qr/^[1-9]\d*\|0$/, "$table, $name: the same bits");
	}

	my $expected = grep { @$_ } @{ $table eq 'signed' ? \@signed : \@plain };
	like($first, qr/^$expected\|/, "$table: all groups are there");
}

# What they say, against the reference.
my $show = "SET timezone = 'UTC'; SELECT g, loyalty.entry_count(b), available, pending, held, expired, next_expiry_at, next_expiry_points, loyalty.debt(b, t), (SELECT string_agg(concat_ws(',', lot_id, points, state), ';') FROM loyalty.balance_lots(b, t))"
  . " FROM (SELECT g, b, t, loyalty.available(b, t), loyalty.pending(b, t), loyalty.held(b, t), loyalty.expired(b, t), loyalty.next_expiry_at(b, t), loyalty.next_expiry_points(b, t) FROM (%s) x) y ORDER BY g;";

sub reference_lines
{
	my ($rows) = @_;
	return map {
		my ($group, $clock) = ($_, $clocks[$_]);
		my $wallet = FoldReference->new;
		$wallet->apply($_) for @{ $rows->[$group] };
		my $t = $wallet->{last};
		my @sums = $wallet->sums($t);
		$sums[4] = $sums[4] == FoldReference::FOREVER ? '' : $clock->instant($sums[4]);
		@{ $rows->[$group] } ? join('|', $group, scalar @{ $wallet->{past} }, @sums, $wallet->{debt}, join ';', map {
			join ',', $_->{lot}, $_->{points}, FoldReference::state_of($_, $t)
		} grep { FoldReference::state_of($_, $t) ne 'expired' } $wallet->in_order) : ()
	} 0 .. $groups - 1;
}

for my $case (
	[ 'balance_agg', \@signed, 'SELECT g, b, loyalty.last_effective_at(b) AS t FROM (SELECT g, loyalty.balance_agg(points, at, expires_at) AS b FROM signed GROUP BY g) a' ],
	[ 'fold(ledger_agg)', \@plain, 'SELECT g, b, loyalty.last_effective_at(b) AS t FROM (SELECT g, loyalty.fold(loyalty.ledger_agg(kind, points, at, available_at, expires_at)) AS b FROM plain GROUP BY g) a' ])
{
	my ($name, $rows, $query) = @$case;
	my @got = split /\n/, run_sql($database, sprintf $show, $query);
	my @expected = reference_lines($rows);
	my @bad = grep { ($got[$_] // '') ne ($expected[$_] // '') } 0 .. ($#got > $#expected ? $#got : $#expected);
	is(scalar @bad, 0, "$name: $groups groups as the reference has them (seed $seed)");
	for my $i (@bad[ 0 .. ($#bad < 2 ? $#bad : 2) ])
	{
		my ($group) = $expected[$i] =~ /^(\d+)/;
		diag("reference $expected[$i]\nthe C says $got[$i]\nrows:\n", map {
			my $e = $_;
			join(' ', map { defined $e->{$_} ? "$_=" . (/at|available|expires|until/ ? $clocks[$group]->instant($e->{$_}) : $e->{$_}) : () } qw(kind points at available expires until)) . "\n"
		} @{ $rows->[$group] });
	}
}

# The ledger that ledger_agg makes lists the rows in that order.
my @listed = split /\n/, run_sql($database, "SET timezone = 'UTC'; SELECT g, e.entry_id, e.kind, e.points, e.effective_at FROM (SELECT g, loyalty.ledger_agg(kind, points, at, available_at, expires_at) AS l FROM plain GROUP BY g) a, loyalty.entries(l) e ORDER BY 1, 2;");
my @rows = map {
	my ($group, $n) = ($_, 0);
	map { join '|', $group, ++$n, $_->{kind}, $_->{points}, $clocks[$group]->instant($_->{at}) } @{ $plain[$group] }
} 0 .. $groups - 1;
is_deeply([ grep { $listed[$_] ne $rows[$_] } 0 .. $#rows ], [], 'entries(ledger_agg): the rows in order');
is(scalar @listed, scalar @rows, 'entries(ledger_agg): no row more');

run_sql('postgres', "DROP DATABASE $database;");
done_testing();
