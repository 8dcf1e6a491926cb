# The proof of a program on several machines of Citus: digests and checks, asked
# from every machine, of what is on any.  Entries are changed, added and removed
# behind the program's back, on a worker, and are found from everywhere; a digest
# holds over postings, moves of members, a machine that is added, and the step from
# one machine to several.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use Test::More;

use Machines;
use Wire;

plan skip_all => has_citus() if has_citus();

my @machines = qw(coordinator worker_1 worker_2);
my %node = start_machines(@machines);

# ---------------------------------------------------------------------------
# A program of one machine, with an archive, and its digests
# ---------------------------------------------------------------------------

my $one = session('coordinator', 'program');
rows($one, split /;\n+/, <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup();
SET search_path = loyalty, public;
INSERT INTO member (member_id) SELECT generate_series(1, 40);
SELECT create_currency('miles', 'Miles', 'rolling', '12 months', 'month');
SELECT entry_id FROM generate_series(1, 40) m, unnest('{points,miles}'::text[]) c, generate_series(1, 15) i, earn(m, 100 + i, c, timestamptz '2024-01-01' + i * interval '1 day');
SELECT entry_id FROM generate_series(1, 40) m, redeem(m, 30, effective_at => '2024-02-01');
CALL archive_entries(clock_timestamp());
SELECT entry_id FROM generate_series(1, 40) m, earn(m, 7, effective_at => '2024-03-01')
SQL
my %digest = (single => value($one, 'SELECT loyalty.ledger_digest(blocks => 4)'));
rows($one, 'SELECT entry_id FROM generate_series(1, 40) m, earn(m, 9)');
$digest{'single, continued'} = value($one, "SELECT loyalty.ledger_digest('$digest{single}')");
close_sessions();

rows(session($_, 'program'), 'CREATE EXTENSION citus') for @machines;
my %at = map { $_ => session($_, 'program') } @machines;
join_machine($at{coordinator}, $_) for qw(coordinator worker_1);
is(state_of($at{coordinator}, 'CALL loyalty.distribute(shard_count => 4)'), '', 'spread over two machines');
sub reconnect
{
	close_sessions();
	%at = map { $_ => session($_, 'program') } @_;
	rows($_, 'SET search_path = loyalty, public', 'SET client_min_messages = error') for values %at;
	return;
}
my @here = qw(coordinator worker_1);
reconnect(@here);

# ---------------------------------------------------------------------------
# Digests
# ---------------------------------------------------------------------------

# What every machine says of every digest.
sub verdicts
{
	my ($names, $more) = @_;
	return map { my $machine = $_; map { [ $machine, $_, (rows($at{$machine}, "SELECT intact, first_entry_id, member_id, detail FROM verify_ledger('$digest{$_}'" . ($more // '') . ')'))[0] ] } @$names } @here;
}

sub intact
{
	my ($when, @names) = @_;
	is(join("\n", map { "$_->[1] from $_->[0]: $_->[2][3]" } grep { $_->[2][0] ne 't' } verdicts([ grep { exists $digest{$_} } @names ? @names : sort keys %digest ])), '', "$when: digests hold, from every machine");
	return;
}

intact('spread');
$digest{whole} = value($at{coordinator}, 'SELECT ledger_digest(blocks => 8)');
is(value($at{worker_1}, 'SELECT ledger_digest(blocks => 8)'), $digest{whole}, 'the same digest from every machine');
is(value($at{coordinator}, "SELECT entries FROM read_digest('$digest{whole}')"), 40 * (2 * 15 + 1 + 2), 'it is of all entries, the archive included');
$digest{continued} = value($at{worker_1}, "SELECT ledger_digest('$digest{'single, continued'}')");
is(value($at{coordinator}, "SELECT entries FROM read_digest('$digest{continued}')"), 0, 'a digest that follows one of a single machine begins behind it');
for my $machine (@here) { rows($at{$machine}, map { "SELECT * FROM earn($_, 5)" } 1 .. 40) }
intact('after postings', 'single', 'whole');
$digest{later} = value($at{coordinator}, "SELECT ledger_digest('$digest{continued}')");
is(value($at{coordinator}, "SELECT entries FROM read_digest('$digest{later}')"), 80, 'the next one has the entries since');
$digest{'all later'} = value($at{coordinator}, 'SELECT ledger_digest()');
$digest{'a piece'} = value($at{coordinator}, 'SELECT ledger_digest(up_to => 500)');
is(value($at{coordinator}, "SELECT entries FROM read_digest('$digest{'a piece'}')"), value($at{coordinator}, 'SELECT count(*) FROM every_entry WHERE entry_id <= 500'), 'up_to an id');
$digest{'the rest'} = value($at{coordinator}, "SELECT ledger_digest('$digest{'a piece'}')");
is(value($at{coordinator}, "SELECT sum((read_digest(d)).entries) FROM unnest(ARRAY['$digest{'a piece'}', '$digest{'the rest'}']) d"), value($at{coordinator}, "SELECT entries FROM read_digest('$digest{'all later'}')"), 'and on from there');
like(state_of($at{coordinator}, "SELECT ledger_digest('" . $digest{later} =~ s/(loyalty-digest-2:[^:]*:)[^:]*/${1}999999999/r . "')"), qr/^LY113 .*beyond this ledger/, 'one that reaches beyond the ledger');
rows($at{coordinator}, 'BEGIN', 'SELECT * FROM earn(1, 1)');
like(state_of($at{coordinator}, 'SELECT ledger_digest()'), qr/^25001 /, 'it does not wait for itself');
rows($at{coordinator}, 'ROLLBACK');

# Who posts at this moment is waited for, on whatever machine, and nobody else
for my $machine (@here)
{
	my $posting = connect_to($machine, 'program');
	my $digesting = connect_to('coordinator', 'program');
	my $before = value($at{coordinator}, 'SELECT count(*) FROM loyalty.every_entry');
	rows($posting, 'BEGIN', map { "SELECT * FROM loyalty.earn($_, 3)" } 1 .. 4);
	$digesting->put(Wire::typed('Q', "SELECT loyalty.ledger_digest()\0"));
	my $waits = sub { value($at{$_[0]}, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'settled_entry_id'}) };
	my $patience = 100;
	select undef, undef, undef, 0.1 until $waits->('worker_1') || --$patience == 0;
	cmp_ok($patience, '>', 0, "a digest waits for a posting that began on the $machine");
	rows($at{$_}, 'SELECT * FROM earn(30, 4)') for @here;
	rows($posting, 'COMMIT');
	my $answer = $digesting->answer;
	my $digest = $answer->{rows}[0][0] // "$answer->{error}{C} $answer->{error}{M}";
	my $entries = value($at{coordinator}, "SELECT entries FROM read_digest('$digest')");
	cmp_ok($entries, '>=', $before + 4, 'and has it');
	$digest{"beside $machine"} = $digest;
}
intact('digests beside postings');

# ---------------------------------------------------------------------------
# Forgeries on a worker
# ---------------------------------------------------------------------------

# Something done to what a machine has, past guards and the engine: a list of
# statements about tables {name}, those of the part of a member.
sub forge
{
	my ($machine, $member, @statements) = @_;
	my $shards = sub { value($at{coordinator}, sprintf q{SELECT shard_name(s.logicalrelid, s.shardid) FROM pg_dist_shard s WHERE s.logicalrelid = 'loyalty.%s'::regclass
		AND worker_hash(%d::bigint) BETWEEN s.shardminvalue::integer AND s.shardmaxvalue::integer}, $_[0], $member) };
	my $session = connect_to($machine, 'program');
	rows($session, 'SET session_replication_role = replica', "SET search_path = loyalty, public", 'BEGIN', map { s/\{(\w+)\}/$shards->($1)/ger } @statements);
	rows($session, 'COMMIT');
	return;
}

# Where a member is.
sub machine_of
{
	my ($member) = @_;
	my $port = value($at{coordinator}, "SELECT nodeport FROM citus_shards WHERE table_name = 'loyalty.wallet'::regclass AND shardid = get_shard_id_for_distribution_column('loyalty.wallet', $member)");
	return (grep { $node{$_}->port == $port } @here)[0];
}

my $victim = 17;
my $worker = machine_of($victim);
my %of = map { $_->[0] => $_->[1] } rows($at{coordinator}, "SELECT 'last', max(entry_id) FROM ledger WHERE member_id = $victim UNION ALL SELECT 'first', min(entry_id) FROM ledger_archive WHERE member_id = $victim
	UNION ALL SELECT 'middle', max(entry_id) FROM ledger WHERE member_id = $victim AND effective_at = '2024-03-01'");
my @forgeries = (
	[ 'an entry is changed', [ "UPDATE {ledger} SET reference = 'forged' WHERE member_id = $victim AND entry_id = $of{middle}" ], [ "UPDATE {ledger} SET reference = NULL WHERE member_id = $victim AND entry_id = $of{middle}" ], $of{middle} ],
	[ 'an entry of the archive is changed', [ "UPDATE {ledger_archive} SET points = points + 1 WHERE member_id = $victim AND entry_id = $of{first}" ], [ "UPDATE {ledger_archive} SET points = points - 1 WHERE member_id = $victim AND entry_id = $of{first}" ], $of{first} ],
	[ 'an entry is removed', [ 'CREATE TABLE public.gone AS SELECT * FROM {ledger} LIMIT 0', "WITH d AS (DELETE FROM {ledger} WHERE member_id = $victim AND entry_id = $of{middle} RETURNING *) INSERT INTO public.gone SELECT * FROM d" ],
		[ 'INSERT INTO {ledger} SELECT * FROM public.gone', 'DROP TABLE public.gone' ] ],
	[ 'a whole wallet is removed', [ 'CREATE TABLE public.gone AS SELECT * FROM {ledger_archive} LIMIT 0', "WITH d AS (DELETE FROM {ledger_archive} WHERE member_id = $victim AND currency = 'miles' RETURNING *) INSERT INTO public.gone SELECT * FROM d" ],
		[ 'INSERT INTO {ledger_archive} SELECT * FROM public.gone', 'DROP TABLE public.gone' ] ],
	[ 'an entry is added', [ "INSERT INTO {ledger} SELECT (jsonb_populate_record(l, '{\"entry_id\": 6}')).* FROM {ledger} l WHERE member_id = $victim AND entry_id = $of{middle}" ],
		[ "DELETE FROM {ledger} WHERE member_id = $victim AND entry_id = 6" ], 6 ]);
{
	# the columns of a table, but those that are computed
	my $generated = value($at{coordinator}, q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'loyalty.ledger'::regclass AND attgenerated <> ''});
	is($generated, 0, 'rows can be written whole');
}
for my $forgery (@forgeries)
{
	my ($what, $do, $undo, $entry) = @$forgery;
	forge($worker, $victim, @$do);
	my @seen = verdicts([ 'single', 'all later' ]);
	my @unseen = grep { $_->[2][0] ne 'f' } @seen;
	is(join("\n", map { "$_->[1] from $_->[0]: $_->[2][3]" } @unseen), '', "$what: found from every machine");
	if (defined $entry)
	{
		is(join(' ', map { $_->[2][1] } @seen), join(' ', ($entry) x @seen), "$what: and it is named");
	}
	my @blocks = grep { $_->[2][0] ne 'f' } verdicts([ 'single', 'all later' ], ', false');
	is(join("\n", map { "$_->[1] from $_->[0]: $_->[2][3]" } @blocks), '', "$what: by its blocks alone") if $what =~ /removed|added/;
	forge($worker, $victim, @$undo);
	intact("$what, and that is undone", 'single', 'all later');
}

# ---------------------------------------------------------------------------
# Members move, and a machine is added
# ---------------------------------------------------------------------------

sub move
{
	my ($member, $from, $to) = @_;
	my $shard = value($at{coordinator}, "SELECT get_shard_id_for_distribution_column('loyalty.wallet', $member)");
	is(state_of($at{coordinator}, sprintf "SELECT citus_move_shard_placement(%d, '%s', %d, '%s', %d, 'block_writes')", $shard, map { ($node{$_}->host, $node{$_}->port) } $from, $to), '', "member $member moves from $from to $to");
	return;
}
join_machine($at{coordinator}, 'worker_2');
reconnect(@machines);
like(state_of($at{coordinator}, 'SELECT ledger_digest()'), qr/^LY007 machine \S+ could not answer: .*not prepared/, 'a machine that is not prepared is said');
is(state_of($at{coordinator}, 'CALL loyalty.distribute()'), '', 'another machine');
@here = @machines;
reconnect(@here);
intact('with another machine', 'all later');
move($victim, $worker, 'worker_2');
intact('after a move', 'single', 'all later');
rows($at{$_}, "SELECT * FROM earn($victim, 2)", 'SELECT * FROM earn(2, 2)') for @here;
intact('after postings on the new machine');
$digest{'of three'} = value($at{worker_2}, "SELECT ledger_digest('$digest{'all later'}')");
$digest{'whole of three'} = value($at{worker_2}, 'SELECT ledger_digest()');
is(value($at{coordinator}, "SELECT entries FROM read_digest('$digest{'whole of three'}')"), value($at{coordinator}, 'SELECT count(*) FROM every_entry'), 'it has everything');
move($victim, 'worker_2', $worker);
rows($at{$_}, "SELECT * FROM earn($victim, 2)") for @here;
intact('and back', 'single, continued', 'all later', 'of three');
forge(machine_of($victim), $victim, "UPDATE {ledger} SET reason = 'forged' WHERE member_id = $victim AND entry_id = $of{last}");
is(scalar(grep { $_->[2][0] eq 'f' && $_->[2][1] == $of{last} } verdicts([ 'of three', 'whole of three' ])), 6, 'a forgery where members were moved');
forge(machine_of($victim), $victim, "UPDATE {ledger} SET reason = NULL WHERE member_id = $victim AND entry_id = $of{last}");
intact('undone', 'of three');

# A machine that does not answer is named
$node{worker_2}->stop('immediate');
like(state_of($at{coordinator}, "SELECT * FROM verify_ledger('$digest{whole}')"), qr/^LY007 machine \S*:${\ $node{worker_2}->port} could not answer/, 'a machine that does not answer');

done_testing();
