#!/usr/bin/env perl
# Writes specs/ledger_pairs_<level>.spec and specs/ledger_transfers_<level>.spec, one of each
# for every isolation level: every pair of writers on one wallet, the second
# starting while the first has not committed, and transfers in opposite
# directions.  Run it in test/isolation after a change of the tables below, run
# the tests, and look at what came out before it becomes expected/.
#
# After each permutation the oracle speaks: check_all() finds nothing, and the
# wallets have what the ledger's sum says.
use strict;
use warnings;

# Writers: name => call.  $m is the member of this permutation, $n the other
# one; e('x') is the entry with the reference x that the setup made.
my @writers = (
	earn => "earn(m(), 40, effective_at => '2024-03-01', reference => 'new')",
	redeem => "redeem(m(), 60, effective_at => '2024-03-01')",
	hold => "hold(m(), 60, hold_until => '2999-01-01', effective_at => '2024-03-01')",
	capture => "capture(m(), e('held'), 20, effective_at => '2024-03-01')",
	release => "release(m(), e('held'), effective_at => '2024-03-01')",
	unearn => "reverse(m(), e('earned'), 80, effective_at => '2024-03-01')",
	refund => "reverse(m(), e('redeemed'), 20, effective_at => '2024-03-01')",
	activate => "activate(m(), e('waiting'), effective_at => '2024-03-01')",
	adjust => "adjust(m(), -60, 'test', effective_at => '2024-03-01')",
	send => "transfer(m(), n(), 60, effective_at => '2024-03-01')",
	receive => "transfer(n(), m(), 60, effective_at => '2024-03-01')",
	many => "post_many(ARRAY[m(), n(), m()], ARRAY['redeem', 'redeem', 'earn'], ARRAY[60, 1, 5], effective_ats => array_fill('2024-03-01'::timestamptz, ARRAY[3]))",
	same_key => "redeem(m(), 10, effective_at => '2024-03-01', idempotency_key => 'key')",
);

my @levels = ('read committed', 'repeatable read', 'serializable');

# A member pair of its own for each permutation, and entries from 50 times its
# first number on, however many ids the one before has drawn; the rest is the same.
my $setup = <<'SPEC';
setup
{
	CREATE TABLE IF NOT EXISTS now_testing (member_id bigint);
	INSERT INTO now_testing SELECT 1 WHERE NOT EXISTS (SELECT FROM now_testing);
	UPDATE now_testing SET member_id = member_id + 2;
	CREATE OR REPLACE FUNCTION m() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT member_id FROM now_testing';
	CREATE OR REPLACE FUNCTION n() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT member_id + 1 FROM now_testing';
	CREATE OR REPLACE FUNCTION e(text) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT entry_id FROM loyalty.ledger WHERE member_id = m() AND reference = $1';
	CREATE OR REPLACE VIEW oracle AS
		SELECT s.member_id - m() AS member, b.available, b.pending, b.held, b.debt, s.entries,
			b.available + b.pending + b.held + b.expired - b.debt = s.points AS adds_up,
			(SELECT count(*) FROM loyalty.check_all()) AS violations
		FROM (SELECT member_id, sum(points) AS points, count(*) AS entries FROM loyalty.ledger
			  WHERE member_id IN (m(), n()) GROUP BY member_id) s,
			LATERAL loyalty.balance(s.member_id, as_of => '2024-04-01') b
		ORDER BY 1;
	SELECT FROM setval('loyalty.ledger_entry_id_seq', 50 * m());
	SELECT FROM loyalty.earn(m(), 150, effective_at => '2024-01-01', reference => 'earned');
	SELECT FROM loyalty.earn(m(), 50, effective_at => '2024-01-01', pending => true, reference => 'waiting');
	SELECT FROM loyalty.earn(n(), 100, effective_at => '2024-01-01');
	SELECT FROM loyalty.hold(m(), 30, hold_until => '2999-01-01', effective_at => '2024-02-01', reference => 'held');
	SELECT FROM loyalty.redeem(m(), 20, effective_at => '2024-02-01', reference => 'redeemed');
}

SPEC

my $oracle = <<'SPEC';
session oracle
step oracle { TABLE oracle; }

SPEC

sub session
{
	my ($name, $level, %calls) = @_;
	my $spec = "session $name\nstep ${name}_begin { BEGIN ISOLATION LEVEL " . uc($level) . "; }\n";
	for my $writer (sort keys %calls)
	{
		$spec .= "step ${name}_$writer { SELECT available, replayed FROM loyalty.$calls{$writer}; }\n";
	}
	return $spec . "step ${name}_commit { COMMIT; }\n" . ($name eq 's1' ? "step ${name}_rollback { ROLLBACK; }\n" : '') . "\n";
}

sub write_spec
{
	my ($name, $title, @parts) = @_;
	open my $file, '>', "specs/ledger_$name.spec" or die "specs/ledger_$name.spec: $!";
	print $file "# $title\n# Written by make_pairs.pl.\n\n", @parts;
	close $file or die $!;
}

my %calls = @writers;
my @names = map { $writers[ 2 * $_ ] } 0 .. $#writers / 2;
for my $level (@levels)
{
	my $suffix = $level =~ s/ /_/r;
	my @pairs;
	for my $first (@names)
	{
		push @pairs, "permutation s1_begin s2_begin s1_$first s2_$_ s1_commit s2_commit oracle\n" for @names;
	}
	push @pairs, "permutation s1_begin s2_begin s1_$_ s2_$_ s1_rollback s2_commit oracle\n" for @names;
	write_spec("pairs_$suffix", "Every pair of writers on one wallet under " . uc($level) . '.',
		$setup, session('s1', $level, %calls), session('s2', $level, %calls), $oracle, @pairs);

	my %there = map { ("give$_" => "transfer(m(), n(), $_, effective_at => '2024-03-01')", "take$_" => "transfer(n(), m(), $_, effective_at => '2024-03-01')") } 10, 50;
	my @transfers;
	for my $first (sort keys %there)
	{
		push @transfers, "permutation s1_begin s2_begin s1_$first s2_$_ s1_commit s2_commit oracle\n" for sort keys %there;
		push @transfers, "permutation s1_begin s2_begin s1_$first s2_$_ s1_rollback s2_commit oracle\n" for sort keys %there;
	}
	write_spec("transfers_$suffix", 'Transfers between two members, in both directions, under ' . uc($level) . '.',
		$setup, session('s1', $level, %there), session('s2', $level, %there), $oracle, @transfers);
}
