# The program against the reference of FoldReference.pm: random histories are
# posted by earn(), redeem() and the other functions, refusals included, and
# what balance() and lots() say is compared at several instants; the same
# histories come in by post_many() and by backfill(), and give the same.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use Test::More;

use FoldReference;
use RandomHistory;

my $histories = $ENV{LOYALTY_HISTORIES} || ($ENV{LOYALTY_SOAK} ? 8_000 : 2_500);
my $first_seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? time : 1);
my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', $ENV{LOYALTY_TEST_PORT} || 5432, '-U', 'postgres', '-XqAt', '-v', 'ON_ERROR_STOP=1');
my $database = 'program';
my $ticks = 120;

*pick = \&RandomHistory::pick;
*chance = \&RandomHistory::chance;

sub run_sql
{
	my ($db, $sql) = @_;
	my ($output, $errors);
	IPC::Run::run([ @psql, '-d', $db ], '<', \$sql, '>', \$output, '2>', \$errors)
	  or die "psql: $errors";
	return $output;
}

# What the currency makes of an entry: when its lot expires, what it extends.
# Whatever lives does so for $life ticks.
my $life = 25;
sub by_policy
{
	my ($self, $e, @past) = @_;
	my ($expiry, $earned) = @$self{qw(expiry earned)};
	my $opens = $e->{kind} eq 'earn' || $e->{kind} eq 'adjust' && $e->{points} > 0;
	my $ends = sub { my ($t) = @_; $expiry eq 'none' || $t == FoldReference::FOREVER ? FoldReference::FOREVER : $t + $life };
	delete $e->{expires} if $e->{kind} =~ /reverse|activate/;
	delete $e->{by};
	$e->{given} = $e->{expires} if $opens;
	if ($opens)
	{
		my $by_policy = $ends->($earned ? $e->{at} : $e->{available} // $e->{at});
		$e->{by} = $e->{given} if defined $e->{given};
		$e->{expires} = !defined $e->{given} ? $by_policy : $expiry eq 'sliding' && $by_policy < $e->{given} ? $by_policy : $e->{given};
	}
	$e->{expires} = $ends->($e->{at})
	  if $e->{kind} eq 'activate' && $expiry ne 'none' && !$earned && ($expiry eq 'sliding' || !defined $past[ $e->{target} - 1 ]{given});
	$e->{expires} = $e->{at} + $self->{grace} if $e->{kind} eq 'reverse' && $self->{grace} && $past[ $e->{target} - 1 ]{kind} ne 'reverse';
	$e->{extend} = $e->{at} + $life if $expiry eq 'sliding' && $e->{kind} =~ /^(earn|redeem|hold|capture)$/;
}

# A history for the program: entries with their expected outcome ('' or a
# SQLSTATE); late ones only where wanted, no two at one instant otherwise.
sub history
{
	my ($seed) = @_;
	RandomHistory::seed($seed);
	my $start = 946_684_800 + pick(600_000_000);
	my $step = RandomHistory::one_of(1, 3600, 86_400);
	my $self = bless {
		clock => [ map { ($start + $_ * $step) * 1_000_000 } 0 .. $ticks + 2 * $life ],
		order => RandomHistory::one_of(qw(earliest_expiry oldest_first)),
		clawback => RandomHistory::one_of(qw(allow_debt within_balance within_lot)),
		expiry => RandomHistory::one_of(qw(none none rolling sliding sliding)), grace => chance(30) ? 6 : 0,
		earned => chance(20) ? 1 : 0, late => chance(40) }, 'RandomHistory';
	# some wallets carry so many lots that the program joins what cannot be told
	# apart: no sum may show it while nothing is late and no earn is reversed
	$self->{many} = chance(5);
	@$self{qw(grace earned)} = (0, 0) if $self->{many} || $self->{expiry} eq 'none';
	$self->{expiry} = 'none' if $self->{many};
	$self->{currency} = join '_', @$self{qw(order clawback expiry)}, $self->{expiry} eq 'none' ? () : ($self->{grace}, $self->{earned}, $step);
	my $wallet = FoldReference->new($self->{order}, $self->{clawback}, 1);
	my ($t, $tries, @asked) = (pick(10), 0);
	my $length = $self->{many} ? 250 : 1 + pick(25);
	while ($wallet->{past} && @{ $wallet->{past} } < $length && $t < $ticks - 20 && $tries++ < 2 * $length + 200)
	{
		$t += $self->{many} ? chance(30) : 1 + pick(3);
		my $e = $self->random_entry($self->{late} && !$self->{many} && chance(15) ? pick($t + 1) : $t, @{ $self->{entries} || [] }) or next;
		next if $e->{kind} =~ /expire|transfer_in/;
		if ($self->{many})
		{
			next if $e->{kind} ne 'earn' && $e->{points} > 20 || $e->{kind} ne 'earn' && chance(50);
			next if $e->{kind} eq 'reverse' && $self->{entries}[ $e->{target} - 1 ]{kind} eq 'reverse';
			next if $e->{kind} eq 'reverse' && (($self->{entries}[ $e->{target} - 1 ]{points} || 0) > 0 && $self->{entries}[ $e->{target} - 1 ]{kind} =~ /earn|adjust/);
			next if $e->{kind} eq 'activate';
			$e->{expires} += 7 - $e->{expires} % 7 if $e->{expires};
			delete $e->{expires} if ($e->{expires} // 0) > $ticks;
		}
		by_policy($self, $e, @{ $self->{entries} || [] });
		my $opens = $e->{kind} eq 'earn' || $e->{kind} eq 'adjust' && $e->{points} > 0;
		next if $opens && defined $e->{expires} && $e->{expires} <= $e->{at};
		next if $opens && defined $e->{expires} && ($e->{available} // $e->{at}) < FoldReference::FOREVER && $e->{expires} <= ($e->{available} // $e->{at});
		my $refusal = $wallet->apply($e);
		next if $refusal && !chance(30);
		push @{ $self->{entries} }, $e unless $refusal;
		push @asked, { %$e, refusal => $refusal // '', number => $refusal ? 0 : scalar @{ $self->{entries} } };
	}
	my $last = $wallet->{last} < 0 ? 0 : $wallet->{last};
	$self->{late} ||= $self->{many};
	$self->{asked} = \@asked;
	$self->{wallet} = $wallet;
	$self->{at} = [ $last, sort { $a <=> $b } map { $last + pick($ticks - $last + 1) } 1 .. 2 ];
	return $self;
}

# An entry as JSON for the functions below.
sub asked_json
{
	my ($self, $e) = @_;
	my @keys = ([ kind => "\"$e->{kind}\"" ], [ points => $e->{points} ], [ effective_at => $self->json_instant($e->{at}) ], [ number => $e->{number} ]);
	push @keys, [ available_at => $self->json_instant($e->{available}) ] if defined $e->{available};
	push @keys, [ expires_at => $self->json_instant($e->{given}) ] if defined $e->{given};
	push @keys, [ hold_until => $self->json_instant($e->{until}) ] if defined $e->{until};
	push @keys, [ target => $e->{target} ] if $e->{target};
	return '{' . join(', ', map { "\"$_->[0]\": $_->[1]" } @keys) . '}';
}

run_sql('postgres', "DROP DATABASE IF EXISTS $database; CREATE DATABASE $database;");
run_sql($database, <<'SQL');
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup();
SELECT loyalty.create_currency(concat_ws('_', o, p, 'none'), consumption_order => o, clawback_policy => p)
FROM unnest('{earliest_expiry,oldest_first}'::text[]) o, unnest('{allow_debt,within_balance,within_lot}'::text[]) p;
SELECT loyalty.create_currency(concat_ws('_', o, p, x, grace, earned, step), consumption_order => o, clawback_policy => p,
	expiry_policy => x, expiry_interval => 25 * step * interval '1 second', refund_grace => grace * step * interval '1 second',
	life_from => (ARRAY['available', 'earned'])[1 + earned], qualifying_kinds => '{earn,redeem,hold,capture}', time_zone => 'UTC')
FROM unnest('{earliest_expiry,oldest_first}'::text[]) o, unnest('{allow_debt,within_balance,within_lot}'::text[]) p,
	unnest('{rolling,sliding}'::text[]) x, unnest('{0,6}'::int[]) grace, unnest('{0,1}'::int[]) earned, unnest('{1,3600,86400}'::int[]) step;

CREATE TABLE posted (member_id bigint, number int, entry_id bigint, PRIMARY KEY (member_id, number));

-- Posts the entries one by one; the SQLSTATE of each, empty for none.
CREATE FUNCTION post_history(m bigint, c text, entries jsonb) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	e jsonb;
	result text := '';
	t bigint;
	p bigint;
	f timestamptz;
	r record;
BEGIN
	FOR e IN SELECT x FROM jsonb_array_elements(entries) x LOOP
		BEGIN
			p := (e->>'points')::bigint;
			f := (e->>'effective_at')::timestamptz;
			SELECT entry_id INTO t FROM posted WHERE member_id = m AND number = (e->>'target')::int;
			CASE e->>'kind'
				WHEN 'earn' THEN r := loyalty.earn(m, p, c, f, nullif((e->>'available_at')::timestamptz, 'infinity'), (e->>'expires_at')::timestamptz, pending => e->>'available_at' = 'infinity');
				WHEN 'redeem' THEN r := loyalty.redeem(m, p, c, f);
				WHEN 'hold' THEN r := loyalty.hold(m, p, (e->>'hold_until')::timestamptz, c, f);
				WHEN 'capture' THEN r := loyalty.capture(m, t, nullif(p, 0), f);
				WHEN 'release' THEN r := loyalty.release(m, t, f);
				WHEN 'reverse' THEN r := loyalty.reverse(m, t, nullif(p, 0), f);
				WHEN 'activate' THEN r := loyalty.activate(m, t, f);
				WHEN 'adjust' THEN r := loyalty.adjust(m, p, 'test', c, f, nullif((e->>'available_at')::timestamptz, 'infinity'), (e->>'expires_at')::timestamptz, pending => e->>'available_at' = 'infinity');
				WHEN 'transfer_out' THEN r := loyalty.transfer(m, 1000000000 + m, p, c, f);
			END CASE;
			INSERT INTO posted VALUES (m, (e->>'number')::int, r.entry_id);
			result := result || ',';
		EXCEPTION WHEN SQLSTATE 'LY000' OR OTHERS THEN
			result := result || SQLSTATE || ',';
		END;
	END LOOP;
	RETURN result;
END
$$;
CREATE FUNCTION show(m bigint, c text, at timestamptz[]) RETURNS text
LANGUAGE sql STABLE AS $$
	SELECT string_agg(concat_ws(',', b.available, b.pending, b.held, b.expired, coalesce(b.next_expiry_at, 'infinity'), b.next_expiry_points, b.debt,
			b.earned, b.adjusted_up, b.restored, b.redeemed, b.revoked, b.adjusted_down, b.transferred_out), ';' ORDER BY i)
	FROM unnest(at) WITH ORDINALITY u(t, i), LATERAL loyalty.balance(m, c, as_of => t) b;
$$;
CREATE FUNCTION show_ends(m bigint, c text, t timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$
	SELECT coalesce(string_agg(concat_ws(',', expires_at, points), ';' ORDER BY expires_at), '')
	FROM (SELECT coalesce(expires_at, 'infinity') AS expires_at, sum(points) AS points
		FROM loyalty.lots(m, c, as_of => t) WHERE state = 'available' GROUP BY 1) x;
$$;
CREATE FUNCTION show_lots(m bigint, c text, t timestamptz) RETURNS text
LANGUAGE sql STABLE AS $$
	SELECT coalesce(string_agg(concat_ws(',', points, state, earned_at, coalesce(available_at, 'infinity'), coalesce(expires_at, 'infinity')), ';'), '')
	FROM loyalty.lots(m, c, as_of => t) WHERE state <> 'expired';
$$;
SQL

my (@all, @sql);
for my $n (0 .. $histories - 1)
{
	my $history = history($first_seed + $n);
	push @all, $history;
	push @sql, join "\t", 1 + $n, $history->{currency},
	  '[' . join(', ', map { asked_json($history, $_) } @{ $history->{asked} }) . ']',
	  '{' . join(',', map { '"' . $history->instant($_) . '"' } @{ $history->{at} }) . '}', $history->{late} ? 't' : 'f';
}

sub shown
{
	my ($history, $wallet, @at) = @_;
	return join ';', map {
		my ($available, $pending, $held, $expired, $next, $next_points) = $wallet->sums($_);
		join ',', $available, $pending, $held, $expired, $history->instant($next), $next_points, $wallet->at($_)->{debt},
		  @$wallet{qw(earned adjusted_up restored redeemed revoked adjusted_down transferred_out)}
	} @at;
}

# How many points expire when: no joining of lots may show it.
sub shown_ends
{
	my ($history, $wallet, $t) = @_;
	my %points;
	$points{ $_->{expires} } += $_->{points} for grep { FoldReference::state_of($_, $t) eq 'available' } $wallet->in_order;
	return join ';', map { $history->instant($_) . ",$points{$_}" } sort { $a <=> $b } keys %points;
}

sub shown_lots
{
	my ($history, $wallet, $t) = @_;
	return join ';', map {
		join ',', $_->{points}, FoldReference::state_of($_, $t), map { $history->instant($_) } @$_{qw(earned available expires)}
	} grep { FoldReference::state_of($_, $t) ne 'expired' } $wallet->in_order;
}

run_sql($database, join "\n", "SET timezone = 'UTC'; CREATE TABLE history (m bigint PRIMARY KEY, c text, entries jsonb, at timestamptz[], late boolean);",
	'COPY history FROM stdin;', @sql, '\.', 'ANALYZE history;');
my $utc = "SET timezone = 'UTC'; SET datestyle = 'iso, ymd';";
my %outcome = map { split /\|/, $_, 2 } split /\n/, run_sql($database, "$utc SELECT m, post_history(m, c, entries) FROM history ORDER BY m;");
my %balance = map { split /\|/, $_, 2 } split /\n/, run_sql($database, "$utc SELECT m, show(m, c, at) || '#' || show_ends(m, c, at[1]) || '#' || show_lots(m, c, at[1]) FROM history ORDER BY m;");

my (@bad, %count);
for my $n (0 .. $#all)
{
	my $history = $all[$n];
	my $outcome = join '', map { "$_->{refusal}," } @{ $history->{asked} };
	my $expected = shown($history, $history->{wallet}, @{ $history->{at} }) . '#' . shown_ends($history, $history->{wallet}, $history->{at}[0])
	  . '#' . shown_lots($history, $history->{wallet}, $history->{at}[0]);
	s/#[^#]*$// for $history->{many} ? ($expected, $balance{ $n + 1 }) : ();
	$count{'wallets of more than 64 lots'}++ if $history->{many} && $history->{wallet}->in_order > 64;
	$count{ $_->{refusal} || $_->{kind} }++ for @{ $history->{asked} };
	next if $outcome{ $n + 1 } eq $outcome && $balance{ $n + 1 } eq $expected;
	push @bad, $n;
	next if @bad > 3;
	diag("history with LOYALTY_SEED=", $first_seed + $n, " ($history->{currency}):\n",
		map({ asked_json($history, $_) . " $_->{refusal}\n" } @{ $history->{asked} }),
		"reference $outcome\nthe C says $outcome{ $n + 1 }\nreference $expected\nthe C says $balance{ $n + 1 }");
}
is(scalar @bad, 0, "$histories histories posted as the reference has them");
note(join ', ', map { "$_ $count{$_}" } sort keys %count);
is(run_sql($database, 'SELECT * FROM loyalty.check_all();'), '', 'check_all() finds nothing');

# As of earlier instants: what was effective by then.
@bad = ();
my @early = grep { !$all[$_]{late} && @{ $all[$_]{entries} || [] } > 2 } 0 .. $#all;
my %early = map { split /\|/, $_, 2 } split /\n/, run_sql($database, $utc . join '', map {
	my $history = $all[$_];
	my $t = $history->{entries}[ @{ $history->{entries} } / 2 ]{at};
	sprintf "SELECT %d, show(%d, '%s', ARRAY['%s'::timestamptz]);\n", $_, $_ + 1, $history->{currency}, $history->instant($t)
} @early);
for my $n (@early)
{
	my $history = $all[$n];
	my $t = $history->{entries}[ @{ $history->{entries} } / 2 ]{at};
	my $wallet = FoldReference->new($history->{order}, $history->{clawback}, 1);
	$wallet->apply($_) for grep { $_->{at} <= $t } @{ $history->{entries} };
	push @bad, $first_seed + $n if shown($history, $wallet, $t) ne ($early{$n} // '');
}
is("@bad[0 .. ($#bad < 9 ? $#bad : 9)]", '', 'balance() as of the middle of a history (seeds that differ)');

# As of every instant of every history, late entries or not: no points are
# available beside a debt, nothing is lost, and the statement says the same.
is(run_sql($database, <<'SQL'), "t|0|0|0\n", 'balance() and statement() as of the instant of each entry');
SELECT count(*) > 1000, count(*) FILTER (WHERE least(b.available, b.debt) <> 0),
	count(*) FILTER (WHERE b.available + b.pending + b.held + b.expired - b.debt <> s.posted),
	count(*) FILTER (WHERE b.available <> s.available)
FROM (SELECT DISTINCT ON (h.m, h.c, s.effective_at) h.m, h.c, s.effective_at, s.available, sum(s.points) OVER (PARTITION BY h.m, h.c ORDER BY s.effective_at) AS posted
	FROM history h, loyalty.statement(h.m, h.c) s WHERE h.m % 4 = 0 ORDER BY h.m, h.c, s.effective_at, s.entry_id DESC) s,
	loyalty.balance(s.m, s.c, as_of => s.effective_at) b;
SQL

# The same by backfill(), and by post_many() where nothing refers to another.
run_sql($database, <<'SQL');
CREATE VIEW past AS
SELECT 2000000000 + h.m AS member_id, h.c AS currency, e->>'kind' AS kind, (e->>'points')::bigint AS points,
	(e->>'effective_at')::timestamptz AS effective_at, nullif((e->>'available_at')::timestamptz, 'infinity') AS available_at,
	e->>'available_at' = 'infinity' AS pending,
	(e->>'expires_at')::timestamptz AS expires_at, (e->>'hold_until')::timestamptz AS hold_until,
	'k' || (e->>'number') AS idempotency_key, 'k' || (e->>'target') AS target_key,
	CASE WHEN e->>'kind' = 'adjust' THEN 'test' END AS reason
FROM history h, jsonb_array_elements(h.entries) e
WHERE NOT h.late AND (e->>'number')::int > 0
	AND NOT EXISTS (SELECT FROM jsonb_array_elements(h.entries) x WHERE x->>'kind' = 'transfer_out');
CREATE TABLE backfill_source AS SELECT member_id, currency, kind, CASE WHEN kind IN ('release', 'activate') OR points = 0 THEN NULL ELSE points END AS points,
	effective_at, available_at, pending, expires_at, hold_until, idempotency_key, target_key, reason FROM past ORDER BY md5(member_id || idempotency_key);
SELECT * FROM loyalty.backfill('backfill_source');
SQL
my $same = "(SELECT string_agg(concat_ws(',', kind, points, requested, available, effective_at, available_at, expires_at, hold_until, extends_to), ';' ORDER BY entry_id) FROM loyalty.ledger l WHERE l.member_id = %s + h.m)";
is(run_sql($database, sprintf("$utc SELECT count(*) > 100, count(*) FILTER (WHERE show(h.m, c, at) || show_lots(h.m, c, at[1]) IS DISTINCT FROM show(2000000000 + h.m, c, at) || show_lots(2000000000 + h.m, c, at[1]) OR $same IS DISTINCT FROM $same) FROM history h WHERE 2000000000 + h.m IN (SELECT member_id FROM past);", 0, 2000000000)),
	"t|0\n", 'backfill() gives what posting one by one gave: balances, lots, entries');
is(run_sql($database, 'SELECT * FROM loyalty.check_all();'), '', 'check_all() finds nothing');

run_sql($database, <<'SQL');
DO $$
DECLARE
	batch record;
BEGIN
	FOR batch IN
		SELECT array_agg(member_id + 1000000000 ORDER BY effective_at, member_id) AS m, array_agg(kind ORDER BY effective_at, member_id) AS k,
			array_agg(points ORDER BY effective_at, member_id) AS p, array_agg(currency ORDER BY effective_at, member_id) AS c,
			array_agg(effective_at ORDER BY effective_at, member_id) AS t, array_agg(available_at ORDER BY effective_at, member_id) AS a,
			array_agg(expires_at ORDER BY effective_at, member_id) AS x, array_agg(hold_until ORDER BY effective_at, member_id) AS h,
			array_agg(reason ORDER BY effective_at, member_id) AS r, array_agg(idempotency_key ORDER BY effective_at, member_id) AS i,
			array_agg(pending ORDER BY effective_at, member_id) AS w
		FROM past p WHERE NOT EXISTS (SELECT FROM past q WHERE q.member_id = p.member_id AND q.target_key IS NOT NULL)
		GROUP BY member_id % 20
	LOOP
		PERFORM FROM loyalty.post_many(batch.m, batch.k, batch.p, batch.c, batch.t, batch.a, batch.x, batch.h, reasons => batch.r, idempotency_keys => batch.i, pending => batch.w);
	END LOOP;
END
$$;
SQL
is(run_sql($database, sprintf("$utc SELECT count(*) > 50, count(*) FILTER (WHERE show(h.m, c, at) || show_lots(h.m, c, at[1]) IS DISTINCT FROM show(3000000000 + h.m, c, at) || show_lots(3000000000 + h.m, c, at[1]) OR $same IS DISTINCT FROM $same) FROM history h WHERE EXISTS (SELECT FROM loyalty.ledger l WHERE l.member_id = 3000000000 + h.m);", 0, 3000000000)),
	"t|0\n", 'so does post_many()');
is(run_sql($database, 'SELECT * FROM loyalty.check_all();'), '', 'check_all() finds nothing');

run_sql('postgres', "DROP DATABASE $database;") unless $ENV{KEEP};
done_testing();
