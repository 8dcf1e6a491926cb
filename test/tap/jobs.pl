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
	is_deeply(rows($other, "SELECT status, done, total, unit FROM loyalty.job_run WHERE job = '$job' ORDER BY run_id"),
		[ [ 'running', 990, 3000, $unit ] ], "$job says how far it is");
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
is_deeply(rows($other, 'SELECT * FROM loyalty.check_all()'), [], 'check_all() finds nothing');
rows($admin, 'DROP DATABASE IF EXISTS jobs WITH (FORCE)');
done_testing();
