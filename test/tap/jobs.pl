# Jobs that are stopped: whatever stopped them, another session can run them at
# once, though the connection stays; and they go on where they were.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use Test::More;

use Wire;

my %server = (host => $ENV{LOYALTY_TEST_HOST}, port => $ENV{LOYALTY_TEST_PORT} || 5432, user => 'postgres');

sub connect_to { return Wire->new(%server, database => $_[0]) }

sub rows
{
	my ($wire, $sql) = @_;
	my $answer = $wire->query($sql);
	die "$sql: $answer->{error}{M}" if $answer->{error};
	return $answer->{rows};
}

my $admin = connect_to('postgres');
rows($admin, 'DROP DATABASE IF EXISTS jobs');
rows($admin, 'CREATE DATABASE jobs');
my ($stopped, $other) = map { connect_to('jobs') } 1 .. 2;
rows($other, $_) for 'SET client_min_messages = warning', 'CREATE EXTENSION loyalty CASCADE', 'SELECT loyalty.setup()',
	q{SELECT loyalty.define_measure('earned', 'points', 'points')},
	q{SELECT loyalty.define_ladder('club', '{"time_zone": "UTC", "measures": [{"measure": "earned", "window": "lifetime"}],
		"validity": "interval", "validity_interval": "1 month", "levels": [{"level": "a", "all": {"earned": 1}}]}')},
	q{SELECT count(*) FROM generate_series(1, 3000) m, LATERAL loyalty.earn(m, 10, expires_at => '2024-02-01', effective_at => '2024-01-01')};

for my $case ([ 'book_expiries', 'wallets' ], [ 'book_tiers', 'tiers' ])
{
	my ($job, $unit) = @$case;
	my $call = "CALL loyalty.$job('2025-01-01', batch_size => 10)";
	my ($due) = @{ rows($other, $job eq 'book_expiries'
		? "SELECT count(*) FROM loyalty.wallet WHERE loyalty.next_unbooked_expiry(balance) <= '2025-01-01'"
		: "SELECT count(*) FROM loyalty.tier_state WHERE next_at <= '2025-01-01'")->[0] };
	is($due, 3000, "$job: there is something to do");

	# A trigger of the user's that fails, in the middle
	rows($other, q{CREATE FUNCTION public.fails() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN IF NEW.done > 995 THEN RAISE 'stopped'; END IF; RETURN NEW; END $$});
	rows($other, 'CREATE TRIGGER fails BEFORE UPDATE ON loyalty.job_run FOR EACH ROW EXECUTE FUNCTION public.fails()');
	is($stopped->query($call)->{error}{M}, 'stopped', "$job is stopped");
	rows($other, 'DROP FUNCTION public.fails() CASCADE');
	# it looks at 200 wallets at a time, of which it books ten
	is_deeply(rows($other, "SELECT status, done, unit FROM loyalty.job_run WHERE job = '$job' ORDER BY run_id"),
		[ [ 'running', $job eq 'book_expiries' ? 800 : 990, $unit ] ], "$job says how far it is");
	is_deeply(rows($stopped, "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype IN ('object', 'advisory')"), [ [ 0 ] ],
		"$job holds nothing then");

	# Cancelled: the connection stays open
	rows($stopped, "SET statement_timeout = '1ms'");
	is($stopped->query($call)->{error}{C}, '57014', "$job is cancelled");
	is_deeply(rows($other, "SELECT count(*) FROM loyalty.job_run WHERE job = '$job'"), [ [ 1 ] ], "$job had been resumed, or not begun");
	rows($stopped, 'RESET statement_timeout');

	is($other->query($call)->{error}, undef, "$job runs in another session");
	is_deeply(rows($other, "SELECT status, done, total, result FROM loyalty.job_run WHERE job = '$job' ORDER BY run_id"),
		[ [ 'finished', 3000, 3000, $job eq 'book_expiries' ? 30000 : 3000 ] ], "$job has done all of it, once");
	is($stopped->query($call)->{error}, undef, "$job may be called again");

	# While it runs, nobody else runs it.
	rows($stopped, "BEGIN");
	is_deeply(rows($stopped, "SELECT loyalty.lock_job('$job')"), [ [ 't' ] ], "$job runs");
	is($other->query($call)->{error}{C}, 'LY006', "$job is refused meanwhile");
	rows($stopped, "COMMIT");
	is($other->query($call)->{error}{C}, 'LY006', "$job: beyond a commit");
	$stopped->query('SELECT 1 / 0');
	is($other->query($call)->{error}, undef, "$job: until an error");
}

# Called without an instant, it is resumed as well, and as of now
rows($other, q{SELECT count(*) FROM generate_series(4001, 4300) m, LATERAL loyalty.earn(m, 10, expires_at => '2024-02-01', effective_at => '2024-01-01')});
rows($other, q{CREATE FUNCTION public.fails() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN IF NEW.result > 1500 THEN RAISE 'stopped'; END IF; RETURN NEW; END $$});
rows($other, 'CREATE TRIGGER fails BEFORE UPDATE ON loyalty.job_run FOR EACH ROW EXECUTE FUNCTION public.fails()');
is($stopped->query('CALL loyalty.book_expiries(batch_size => 10)')->{error}{M}, 'stopped', 'stopped');
rows($other, 'DROP FUNCTION public.fails() CASCADE');
my $run = rows($other, q{SELECT run_id, as_of, status, result, last_key FROM loyalty.job_run ORDER BY run_id DESC LIMIT 1})->[0];
is_deeply([ @$run[2 .. 4] ], [ 'running', 1500, 3000 ], 'in the middle');
is($stopped->query("CALL loyalty.book_expiries('2025-01-01', batch_size => 10)")->{error}, undef, 'with an instant, it is another run');
is_deeply(rows($other, "SELECT status FROM loyalty.job_run WHERE run_id >= $run->[0] ORDER BY run_id"), [ ['interrupted'], ['finished'] ],
	'and the first one was interrupted');
rows($other, "UPDATE loyalty.job_run SET status = 'running', finished_at = NULL WHERE run_id = $run->[0]");
is($stopped->query('CALL loyalty.book_expiries(batch_size => 10)')->{error}, undef, 'called in the same way');
is_deeply(rows($other, "SELECT status, as_of > '$run->[1]', done = total, last_key FROM loyalty.job_run WHERE run_id = $run->[0]"),
	[ [ 'finished', 't', 't', 4300 ] ], 'it is resumed');

# A session that is idle in its transaction keeps nobody waiting: neither the
# job, nor, while define_ladder() waits for it, those who post.
sub waits_for
{
	my ($call) = @_;
	rows($stopped, 'BEGIN');
	rows($stopped, 'SELECT loyalty.earn(5000, 1)');
	my $waiting = connect_to('jobs');
	$waiting->put(Wire::typed('Q', "$call\0"));
	return $waiting;
}
rows($other, q{SELECT count(*) FROM generate_series(4990, 5010) m, LATERAL loyalty.earn(m, 10, expires_at => '2024-02-01', effective_at => '2024-01-01')});
my $waiting = waits_for("CALL loyalty.book_expiries(batch_size => 5)");
is($waiting->answer()->{error}, undef, 'book_expiries() does not wait for it');
is_deeply(rows($other, q{SELECT message FROM loyalty.job_run ORDER BY run_id DESC LIMIT 1}),
	[ ['200 points booked; 1 members stayed locked by other sessions, the first is 5000: left to the next run'] ], 'and says what it has left');
rows($stopped, 'COMMIT');
is($other->query('CALL loyalty.book_expiries()')->{error}, undef, 'the next run');
is_deeply(rows($other, q{SELECT message FROM loyalty.job_run ORDER BY run_id DESC LIMIT 1}), [ ['10 points booked'] ], 'books that');

$waiting = waits_for(q{SELECT loyalty.define_ladder('other', '{"measures": [{"measure": "earned", "window": "lifetime"}], "levels": [{"level": "a"}]}')});
rows($other, "SET statement_timeout = '1s'");
my @slow = grep { defined } map { $other->query('SELECT loyalty.earn(1, 1)')->{error} } 1 .. 300;
is(scalar @slow, 0, 'others post while define_ladder() waits');
rows($other, 'RESET statement_timeout');
rows($stopped, 'COMMIT');
is_deeply($waiting->answer()->{rows}, [ [1] ], 'which has its turn then');

# Wallets that are not the fold of their entries, in any state of the ledger
rows($other, $_) for 'SET session_replication_role = replica',
	'UPDATE loyalty.wallet SET balance = loyalty.empty_balance() WHERE member_id % 7 = 0', 'DELETE FROM loyalty.wallet WHERE member_id = 1001',
	'UPDATE loyalty.ledger SET points = points + 1 WHERE member_id = 2000', 'RESET session_replication_role';
my ($wrong) = @{ rows($other, q{SELECT count(*) FROM loyalty.wallet WHERE member_id % 7 = 0})->[0] };
is($other->query('CALL loyalty.run_checks(500)')->{error}, undef, 'run_checks()');
is_deeply(rows($other, q{SELECT c.room, c.invariant, count(DISTINCT c.member_id) FROM loyalty.check_finding c GROUP BY 1, 2 ORDER BY 1, 2}),
	rows($other, q{SELECT c.room, c.invariant, count(DISTINCT c.member_id) FROM loyalty.check_all() c GROUP BY 1, 2 ORDER BY 1, 2}), 'finds what check_all() finds');
is_deeply(rows($other, q{SELECT count(*) FROM loyalty.check_finding c WHERE invariant = 'wallet'}), [ [ $wrong + 1 ] ], 'as many as were spoiled');
is_deeply(rows($other, q{SELECT done = total, done = (SELECT count(*) FROM loyalty.ledger), result = (SELECT count(*) FROM loyalty.check_finding) FROM loyalty.job_run WHERE job = 'run_checks'}),
	[ [ 't', 't', 't' ] ], 'over all entries');
is($other->query('CALL loyalty.rebuild_wallets(10)')->{error}, undef, 'rebuild_wallets()');
is_deeply(rows($other, q{SELECT message FROM loyalty.job_run WHERE job = 'rebuild_wallets'}),
	[ [ ($wrong + 1) . ' wallets rebuilt; 1 members have entries that are not sound, see check_all()' ] ], 'rebuilds them, and leaves what is not sound');
is_deeply(rows($other, q{SELECT string_agg(invariant || ' ' || member_id, ', ' ORDER BY invariant, entry_id) FROM loyalty.check_all()}), [ ['chain 2000, entry 2000, entry 2000'] ], 'which check_all() finds');
is($other->query('SELECT loyalty.rebuild_member_wallets(2000)')->{error}{C}, 'XX001', 'and rebuild_member_wallets() refuses');
rows($other, $_) for 'SET session_replication_role = replica', 'UPDATE loyalty.ledger SET points = points - 1 WHERE member_id = 2000', 'RESET session_replication_role';

# Stopped and resumed, it finds each violation once.
rows($other, $_) for 'SET session_replication_role = replica', 'UPDATE loyalty.wallet SET balance = loyalty.empty_balance() WHERE member_id = 2500', 'RESET session_replication_role';
rows($other, q{CREATE FUNCTION public.fails() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN IF NEW.last_key > 2700 THEN RAISE 'stopped'; END IF; RETURN NEW; END $$});
rows($other, 'CREATE TRIGGER fails BEFORE UPDATE ON loyalty.job_run FOR EACH ROW EXECUTE FUNCTION public.fails()');
is($stopped->query('CALL loyalty.run_checks(500)')->{error}{M}, 'stopped', 'run_checks() is stopped');
rows($other, 'DROP FUNCTION public.fails() CASCADE');
is($other->query('CALL loyalty.run_checks(500)')->{error}, undef, 'and called again');
is_deeply(rows($other, q{SELECT r.status, r.result, array_agg(c.member_id) FROM loyalty.job_run r JOIN loyalty.check_finding c USING (run_id)
	WHERE r.run_id = (SELECT max(run_id) FROM loyalty.job_run) GROUP BY 1, 2}), [ [ 'finished', 1, '{2500}' ] ], 'it has found it once');
rows($other, 'SELECT loyalty.rebuild_member_wallets(2500)');

# A ladder for members with a history: evaluate_tiers() of all, without
# statistics, as after backfill().  Meanwhile, and when it was stopped half-way,
# all answers are right; and it goes on where it was.
rows($other, $_) for q{ALTER TABLE loyalty.ledger SET (autovacuum_enabled = false)}, q{ALTER TABLE loyalty.wallet SET (autovacuum_enabled = false)},
	q{ALTER TABLE loyalty.tier_state SET (autovacuum_enabled = false)}, q{SELECT loyalty.create_currency('miles'), loyalty.define_measure('miles', 'points', 'miles'),
		loyalty.define_measure('visits')},
	q{CREATE TABLE public.history AS SELECT m::bigint AS member_id, 'miles' AS currency, 'earn' AS kind, (m % 100) * 10 AS points, timestamptz '2024-01-01' + i * interval '1 day' AS effective_at
		FROM generate_series(10001, 12000) m, generate_series(1, 3) i WHERE m % 100 > 0 ORDER BY 5, 1},
	q{SELECT count(*) FROM loyalty.backfill('public.history')},
	q{SELECT loyalty.record_qualification(m, 'visits', 3, '2024-02-01') FROM generate_series(20001, 20010) m},
	q{SELECT loyalty.define_ladder('flyers', '{"measures": [{"measure": "miles", "window": "lifetime"}, {"measure": "visits", "window": "lifetime"}],
		"levels": [{"level": "silver", "any": {"miles": 1500, "visits": 3}}, {"level": "gold", "any": {"miles": 2400}}]}')};
# who has what: three times as many miles as 10 times the rest by 100
my $truth = q{SELECT count(*) FILTER (WHERE loyalty.tier_of(m, 'flyers') IS NOT DISTINCT FROM
	CASE WHEN m > 20000 THEN 'silver' WHEN m % 100 >= 80 THEN 'gold' WHEN m % 100 >= 50 THEN 'silver' END) FROM (SELECT generate_series(10001, 12000) UNION SELECT generate_series(20001, 20010)) x (m)};
my $balances = q{SELECT sum((SELECT available FROM loyalty.balance(m, 'miles'))) FROM generate_series(10001, 12000) m};
my ($miles) = @{ rows($other, $balances)->[0] };
is_deeply(rows($other, $truth), [ [2010] ], 'before they are stored, tiers are right');
my $evaluating = connect_to('jobs');
rows($other, q{CREATE FUNCTION public.fails() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN IF NEW.result > 1000 THEN RAISE 'stopped'; END IF; RETURN NEW; END $$});
rows($other, 'CREATE TRIGGER fails BEFORE UPDATE ON loyalty.job_run FOR EACH ROW EXECUTE FUNCTION public.fails()');
is($evaluating->query("CALL loyalty.evaluate_tiers('flyers', batch_size => 10)")->{error}{M}, 'stopped', 'evaluate_tiers() is stopped');
rows($other, 'DROP FUNCTION public.fails() CASCADE');
is_deeply(rows($other, q{SELECT count(*) FROM loyalty.tier_state WHERE ladder = 'flyers'}), [ [1000] ], 'half of them are stored');
is_deeply(rows($other, $truth), [ [2010] ], 'half-way, tiers are right');
is_deeply(rows($other, $balances), [ [$miles] ], 'and balances');
is_deeply(rows($other, 'SELECT * FROM loyalty.check_all()'), [], 'and all else');
rows($other, q{SELECT loyalty.earn(m, 10000, 'miles') FROM unnest('{10001,11999}'::bigint[]) m});
is_deeply(rows($other, q{SELECT loyalty.tier_of(m, 'flyers') FROM unnest('{10001,11999}'::bigint[]) m}), [ ['gold'], ['gold'] ], 'who earns is seen to, whether it was stored or not');
# a session is idle in its transaction, with facts of members of both halves
rows($stopped, 'BEGIN');
rows($stopped, q{SELECT loyalty.earn(10002, 10000, 'miles'), loyalty.earn(11998, 10000, 'miles')});
is($evaluating->query("CALL loyalty.evaluate_tiers('flyers', batch_size => 10)")->{error}, undef, 'called again, it does not wait for a session that is idle');
my $evaluated = rows($other, q{SELECT count(*), min(status), min(result), min(message) FROM loyalty.job_run WHERE job = 'evaluate_tiers'})->[0];
is_deeply([ @$evaluated[0, 1] ], [ 1, 'finished' ], 'it went on with the same run');
like($evaluated->[3], qr/^1988 tiers stored; 1 members stayed locked by other sessions, the first is 11998: left to the next run$/, 'and says whom it left');
rows($stopped, 'COMMIT');
is_deeply(rows($other, q{SELECT count(*) FROM loyalty.tier_state WHERE ladder = 'flyers'}), [ [1990] ], 'all are stored');
is_deeply(rows($other, 'SELECT * FROM loyalty.check_all()'), [], 'and right');
rows($evaluating, 'DISCARD ALL');
undef $evaluating;	# what it counted is known when it has ended
sleep 1;
rows($other, 'SELECT 1');	# nor are the scans of check_all() before
my $scans = rows($other, q{SELECT pg_stat_get_numscans('loyalty.ledger'::regclass)})->[0][0];
$evaluating = connect_to('jobs');
rows($evaluating, 'SET session_replication_role = replica');
rows($evaluating, "DELETE FROM loyalty.$_ WHERE ladder = 'flyers'") for 'tier_state', 'tier_history';
rows($evaluating, 'RESET session_replication_role');
is($evaluating->query("CALL loyalty.evaluate_tiers('flyers', batch_size => 10)")->{error}, undef, 'from nothing');
undef $evaluating;
sleep 1;
is_deeply(rows($other, q{SELECT result FROM loyalty.job_run ORDER BY run_id DESC LIMIT 1}), [ [1990] ], 'all again');
cmp_ok(rows($other, q{SELECT pg_stat_get_numscans('loyalty.ledger'::regclass)})->[0][0] - $scans, '<', 5, 'no batch reads all of the ledger, though there are no statistics');
# a new version: states of before are right until they are evaluated, and after
rows($other, q{SELECT loyalty.define_ladder('flyers', '{"measures": [{"measure": "miles", "window": "lifetime"}, {"measure": "visits", "window": "lifetime"}],
	"levels": [{"level": "silver", "any": {"miles": 1200, "visits": 3}}, {"level": "gold", "any": {"miles": 2400}}]}')});
my $new_truth = q{SELECT count(*) FROM generate_series(10001, 12000) m WHERE loyalty.tier_of(m, 'flyers') IS DISTINCT FROM
	CASE WHEN m IN (10001, 10002, 11998, 11999) OR m % 100 >= 80 THEN 'gold' WHEN m % 100 >= 40 THEN 'silver' END};
is_deeply(rows($other, $new_truth), [ [0] ], 'a new version counts at once');
$evaluating = connect_to('jobs');
is($evaluating->query('CALL loyalty.evaluate_tiers()')->{error}, undef, 'its states are stored');
is_deeply(rows($other, $new_truth), [ [0] ], 'and are right');
is_deeply(rows($other, q{SELECT count(*) FROM loyalty.tier_state WHERE ladder = 'flyers' AND versions = 2}), [ [1990] ], 'of all');
is_deeply(rows($other, 'SELECT * FROM loyalty.check_all()'), [], 'check_all() finds nothing');
is($evaluating->query("CALL loyalty.evaluate_tiers('nowhere')")->{error}{C}, 'LY402', 'no such ladder');
is($evaluating->query("CALL loyalty.evaluate_tiers(as_of => 'infinity')")->{error}{C}, 'LY003', 'no such instant');
is($evaluating->query('SELECT loyalty.evaluate_member_tiers(NULL)')->{error}{C}, 'LY003', 'of nobody');

# Keys: whoever does not own the tables cannot make a call wait
rows($admin, $_) for 'DROP ROLE IF EXISTS jobs_guest', 'CREATE ROLE jobs_guest';
rows($other, $_) for "SELECT loyalty.define_measure('nights')", "SELECT loyalty.grant_access('jobs_guest', 'app')", "SET lock_timeout = '100ms'";
rows($stopped, 'SET ROLE jobs_guest');
rows($stopped, 'BEGIN');
rows($stopped, "SELECT pg_advisory_xact_lock(hashtextextended('loyalty.$_->[0]', $_->[1]))")
	for [ 'setup', 0 ], [ 'tier_event k', 1 ], [ 'tier_grant k', 1 ], [ 'tier_grant k2', 1 ];
is($stopped->query("SELECT loyalty.lock_key('setup')")->{error}{C}, '42501', 'lock_key() is not for everybody');
rows($stopped, 'ROLLBACK');
rows($stopped, 'BEGIN');
rows($stopped, "SELECT pg_advisory_xact_lock(hashtextextended('loyalty.$_->[0]', $_->[1]))")
	for [ 'setup', 0 ], [ 'tier_event k', 1 ], [ 'tier_grant k', 1 ], [ 'tier_grant k2', 1 ];
my $fact = "SELECT loyalty.record_qualification(1, 'nights', 2, '2025-01-01', idempotency_key => 'k')";
my $grant = "SELECT grant_id FROM loyalty.grant_tier(1, 'club', 'a', period => '1 month', starts_at => '2025-01-01', idempotency_key => 'k')";
is($other->query('SELECT loyalty.setup()')->{error}, undef, 'a guest does not stop setup()');
is_deeply(rows($other, $fact), [ [ 't' ] ], 'nor facts');
my $granted = rows($other, $grant);
my $renew = "SELECT new_grant_id FROM loyalty.renew_grant(1, $granted->[0][0], idempotency_key => 'k2')";
my $renewed = rows($other, $renew);
is(scalar @$renewed, 1, 'nor grants and their renewal');
rows($stopped, 'ROLLBACK');
rows($stopped, 'RESET ROLE');

# who is at the same key waits until the other has ended, and finds what he did
my $again = "SELECT new_grant_id FROM loyalty.renew_grant(1, $renewed->[0][0], idempotency_key => 'k2')";
for my $case ([ $fact, q{'k'}, q{'k3'} ], [ $grant, q{'k'}, q{'k4'} ], [ $again, q{'k2'}, q{'k5'} ])
{
	my ($call, $key, $another) = @$case;
	(my $repeated = $call) =~ s/idempotency_key => $key/idempotency_key => $another/;
	rows($stopped, 'BEGIN');
	my $first = rows($stopped, $repeated);
	is($other->query($repeated)->{error}{C}, '55P03', "a second session waits: $repeated");
	rows($stopped, 'COMMIT');
	is_deeply(rows($other, $repeated), $call eq $fact ? [ [ 'f' ] ] : $first, 'and finds what the first did');
	is_deeply(rows($stopped, "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype IN ('object', 'advisory')"), [ [ 0 ] ],
		'which holds nothing any more');
}
# through another number of the same member, too, and whatever was read before
my ($left, $right) = (900001, 900002);
rows($other, "SELECT loyalty.merge_tier(1, $left, $right)");
sub night { "SELECT loyalty.record_qualification($_[0], 'nights', 1, '2025-02-01', idempotency_key => '$_[1]')" }
for my $way ([ $left, $right, 'k6' ], [ $right, $left, 'k7' ])
{
	my ($one, $two, $key) = @$way;
	rows($stopped, 'BEGIN');
	is_deeply(rows($stopped, night($one, $key)), [ [ 't' ] ], 'a fact of a merged member');
	is($other->query(night($two, $key))->{error}{C}, '55P03', 'another session waits with the same key under the other number');
	rows($stopped, 'COMMIT');
	is_deeply(rows($other, night($two, $key)), [ [ 'f' ] ], 'and finds it');
	rows($other, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
	rows($other, 'SELECT FROM loyalty.request LIMIT 1');
	rows($stopped, night($one, "$key again"));
	is($other->query(night($two, "$key again"))->{error}{C}, '40001', 'a snapshot that is too old to see it is refused');
	rows($other, 'ROLLBACK');
}
is_deeply(rows($other, "SELECT member_id, count(*) FROM loyalty.request WHERE call = 'record_qualification' AND member_id IN ($left, $right) GROUP BY 1 ORDER BY 1"),
	[ [ $left, 2 ], [ $right, 2 ] ], 'each key is under the number that was given');
rows($stopped, 'BEGIN');
rows($stopped, 'SELECT loyalty.setup()');
is($other->query('SELECT loyalty.setup()')->{error}{C}, '55P03', 'one setup() at a time');
rows($stopped, 'ROLLBACK');
is($other->query('SELECT loyalty.setup()')->{error}, undef, 'and the next one after it');
rows($other, 'RESET lock_timeout');
rows($other, $_) for "SELECT loyalty.revoke_access('jobs_guest')", 'DROP ROLE jobs_guest';
is_deeply(rows($other, 'SELECT * FROM loyalty.check_all()'), [], 'check_all() finds nothing');
rows($admin, 'DROP DATABASE IF EXISTS jobs WITH (FORCE)');
done_testing();
