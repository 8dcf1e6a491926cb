# A transaction whose snapshot is older than what another session has committed
# about the same members: under REPEATABLE READ and SERIALIZABLE it ends with
# 40001, or it leaves behind exactly what the two acts leave one after the other.
# Every pair of acts, on two members who are apart and on two who are merged.
#
# The oracle is the same pair of acts, one after the other, on other members who
# have the same past: both answer alike, and what is known of the members then
# is the same; and check_all() finds nothing.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IPC::Run;
use Test::More;

use Wire;

my $database = 'snapshots';
my %server = (host => $ENV{LOYALTY_TEST_HOST}, port => $ENV{LOYALTY_TEST_PORT} || 5432, user => 'postgres');
my @levels = ('REPEATABLE READ', $ENV{LOYALTY_SOAK} ? ('SERIALIZABLE') : ());

# Acts: name => call, with {a} and {b} for the members, {m} for the merge of b
# into a, {e} for an earn of b's, {h} for a hold, {w} for an earn that waits,
# {g} for a grant of b's, {p} for the number of the pair.  The one who stands for
# both is a.
my %acts = (
	merge => 'merge_members({a}, {b})',
	merge_into_b => 'merge_members({b}, {a})',
	unmerge => 'unmerge_members({m})',
	link_a => "link_identifier({a}, 'email', 'a{p}\@x.example')",
	link_b => "link_identifier({b}, 'email', 'b{p}\@x.example', true)",
	link_shared_b => "link_identifier({b}, 'tablet', 't{p}')",
	unlink_b => "unlink_identifier({b}, 'shop', 'b{p}')",
	resolve_with_new => "resolve_member('{\"card\": \"b{p}\", \"email\": \"n{p}\@x.example\"}')",
	resolve_with_attributes => "resolve_member('{\"card\": \"b{p}\"}', 'app', '{\"city\": \"Bonn\"}')",
	resolve_both => "resolve_member('[{\"namespace\": \"card\", \"value\": \"a{p}\", \"verified\": true}, {\"namespace\": \"card\", \"value\": \"b{p}\", \"verified\": true}]')",
	forget => 'forget_member({b})',
	earn_b => "earn({b}, 7)",
	earn_b_in_new_wallet => "earn({b}, 7, 'fresh')",
	earn_a_in_new_wallet => "earn({a}, 7, 'fresh')",
	redeem_b => 'redeem({b}, 5)',
	redeem_a => 'redeem({a}, 5)',
	hold_b => "hold({b}, 5, '2999-01-01')",
	capture_b => 'capture({b}, {h})',
	release_b => 'release({b}, {h})',
	activate_b => 'activate({b}, {w})',
	adjust_b => "adjust({b}, -3, 'test')",
	reverse_b => 'reverse({b}, {e})',
	transfer_to_b => "transfer({a}, {b}, 3)",
	transfer_from_c_to_b => "transfer({c}, {b}, 3, 'other')",
	batch => "post_many('{{a},{b}}', '{earn,earn}', '{1,2}', '{fresh,points}')",
	grant_b => "grant_tier({b}, 'club', 'gold', 'invited', '2024-01-01', ends_at => '2999-01-01')",
	grant_with_key_b => "grant_tier({b}, 'club', 'blue', 'invited', '2024-01-01', ends_at => '2999-01-01', idempotency_key => 'g{p}')",
	renew_grant_b => "renew_grant({b}, {g}, period => '1 year')",
	renew_with_key_b => "renew_grant({b}, {g}, period => '1 year', idempotency_key => 'r{p}')",
	end_grant_b => "end_grant({b}, {g})",
	record_b => "record_qualification({b}, 'spend', 60, '2024-02-01')",
	record_with_key_b => "record_qualification({b}, 'spend', 60, '2024-02-01', idempotency_key => 'f{p}')",
	set_joined_b => "set_joined({b}, '2023-01-01')",
	evaluate_b => 'evaluate_member_tiers({b})',
	rebuild_b => 'rebuild_member_wallets({b})',
);

sub run_sql
{
	my ($sql) = @_;
	my ($output, $errors);
	IPC::Run::run([ 'psql', '-h', $server{host}, '-p', $server{port}, '-U', 'postgres', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $_[1] || $database ],
		'<', \$sql, '>', \$output, '2>', \$errors) or die "psql: $errors";
	chomp $output;
	return $output;
}

run_sql("DROP DATABASE IF EXISTS $database; CREATE DATABASE $database;", 'postgres');
run_sql(<<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup();
SET search_path = loyalty, public, pg_catalog;
SELECT create_currency('fresh'), create_currency('other');
SELECT configure_namespace('card', priority => 5), configure_namespace('shop'), configure_namespace('tablet', shared => true);
SELECT define_measure('earned', 'points', 'points'), define_measure('spend');
SELECT define_ladder('club', '{"time_zone": "UTC", "measures": [{"measure": "earned", "window": "lifetime"}, {"measure": "spend", "window": "lifetime"}],
	"levels": [{"level": "blue", "any": {"earned": 1}}, {"level": "silver", "any": {"earned": 105, "spend": 50}}, {"level": "gold", "any": {"earned": 500}}]}');
CREATE SEQUENCE public.pair;

-- Two members with a past, and a third: b is merged into a, or apart.
CREATE FUNCTION public.make_pair(together boolean, OUT a bigint, OUT b bigint, OUT c bigint, OUT m bigint, OUT e bigint, OUT h bigint,
	OUT w bigint, OUT g bigint, OUT p bigint)
LANGUAGE plpgsql SET search_path = loyalty, public, pg_catalog AS $$
BEGIN
	p := nextval('public.pair');
	a := (SELECT member_id FROM resolve_member(jsonb_build_object('card', 'a' || p)));
	b := (SELECT member_id FROM resolve_member(jsonb_build_object('card', 'b' || p, 'shop', 'b' || p)));
	c := (SELECT member_id FROM resolve_member(jsonb_build_object('card', 'c' || p)));
	PERFORM earn(a, 40, effective_at => '2024-01-01'), earn(c, 20, 'other', effective_at => '2024-01-01');
	e := (SELECT entry_id FROM earn(b, 60, effective_at => '2024-01-01'));
	w := (SELECT entry_id FROM earn(b, 9, pending => true, effective_at => '2024-01-01'));
	h := (SELECT entry_id FROM hold(b, 4, '2999-01-01', effective_at => '2024-01-02'));
	g := (SELECT grant_id FROM grant_tier(b, 'club', 'silver', 'invited', '2024-01-01', ends_at => '2999-01-01'));
	IF together THEN
		m := (SELECT merge_id FROM merge_members(a, b));
	END IF;
END $$;

-- What is known of them, by the parts that they play.
CREATE FUNCTION public.state(a bigint, b bigint, c bigint, p bigint) RETURNS text
LANGUAGE sql SET search_path = loyalty, public, pg_catalog AS $$
	WITH part (id, part) AS (VALUES (a, 'a'), (b, 'b'), (c, 'c')),
	line AS (
		SELECT format('member %s: %s, %s, is %s, tier %s', part, m.status, m.attributes,
			(SELECT q.part FROM part q WHERE q.id = canonical_member(m.member_id)), tier_of(m.member_id, 'club')) AS line
		FROM part JOIN member m ON m.member_id = id
		UNION ALL
		SELECT format('identifier %s %s of %s, home %s, verified %s', i.namespace, replace(i.value, $4::text, '#'), part,
			(SELECT q.part FROM part q WHERE q.id = i.home_member_id), i.verified)
		FROM part JOIN identifier i ON i.member_id = id
		UNION ALL
		SELECT format('wallet %s %s: %s %s %s %s', part, x.code, v.available, v.pending, v.held, v.debt)
		FROM part, currency x, LATERAL balance(id, x.code) v
		UNION ALL
		SELECT format('home %s %s %s: %s %s', part, w.currency, (SELECT q.part FROM part q WHERE q.id = coalesce(nullif(h.home_id, 0), w.member_id)), h.points, h.debt)
		FROM part JOIN wallet w ON w.member_id = id, LATERAL balance_homes(w.balance) h WHERE h.points + h.debt <> 0
		UNION ALL
		SELECT format('merge %s into %s, undone %s', (SELECT q.part FROM part q WHERE q.id = x.absorbed_id), part, x.unmerged_at IS NOT NULL)
		FROM part JOIN member_merge x ON x.survivor_id = id
		UNION ALL
		SELECT format('joined %s %s', part, t.joined_at) FROM part JOIN tier_joined t ON t.member_id = id
		UNION ALL
		SELECT format('grant %s %s to %s, ended %s', part, t.level, t.ends_at, t.ended_at IS NOT NULL) FROM part JOIN tier_grant t ON t.member_id = id
		UNION ALL
		SELECT format('fact %s %s', part, x.amount) FROM part JOIN tier_event x ON x.member_id = id
		UNION ALL
		SELECT format('attribute %s %s %s', part, x.attribute, x.value) FROM part JOIN member_fact x ON x.home_member_id = id
	)
	SELECT string_agg(line, E'\n' ORDER BY line COLLATE "C") FROM line
$$;
SQL

my ($late, $other) = map { Wire->new(%server, database => $database) } 1 .. 2;
$_->query("SET search_path = loyalty, public, pg_catalog; SET client_min_messages = warning; SET statement_timeout = '20s'") for $late, $other;

sub rows
{
	my ($sql) = @_;
	my $answer = $other->query($sql);
	die "$sql: $answer->{error}{M}" if $answer->{error};
	return $answer->{rows};
}

sub make_pair
{
	my ($together) = @_;
	my %pair;
	@pair{qw(a b c m e h w g p)} = @{ rows("SELECT * FROM make_pair($together)")->[0] };
	return \%pair;
}

# The act as a statement that gives nothing back: numbers differ.
sub call
{
	my ($act, $pair) = @_;
	my $call = $acts{$act};
	$call =~ s!\{([abcmehwgp])\}!defined $pair->{$1} ? $pair->{$1} : "NULL"!ge;
	return "SELECT count(*) FROM $call";
}

sub code { my ($answer) = @_; return $answer->{error} ? $answer->{error}{C} : 'fine' }
sub state_of { my ($pair) = @_; return rows("SELECT state($pair->{a}, $pair->{b}, $pair->{c}, $pair->{p})")->[0][0] }

my (%count, %known);
for my $level (@levels)
{
	for my $act (sort keys %acts)
	{
		my @wrong;
		for my $before (sort keys %acts)
		{
			for my $together ('false', 'true')
			{
				my ($pair, $twin) = (make_pair($together), make_pair($together));
				my $name = "$act after $before of members " . ($together eq 'true' ? 'merged' : 'apart');

				$late->query("BEGIN ISOLATION LEVEL $level");
				$late->query('SELECT count(*) FROM loyalty.member');
				my $first = code($other->query(call($before, $pair)));
				my $answer = $late->query(call($act, $pair));
				my $commit = $late->query($answer->{error} ? 'ROLLBACK' : 'COMMIT');
				my $second = $answer->{error} ? code($answer) : code($commit);

				$count{ $second eq '40001' ? 'refused' : 'compared' }++;
				next if $second eq '40001';
				my @serial = map { code($other->query(call($_, $twin))) } $before, $act;
				if ("$first $second" ne "@serial")
				{
					push @wrong, "$name: $first, $second ($answer->{error}{M}); in order: @serial";
					next;
				}
				my ($is, $should) = (state_of($pair), state_of($twin));
				push @wrong, "$name leaves\n$is\nand not\n$should" if $is ne $should;
			}
		}
		is(join("\n", @wrong), '', "$act under $level");
		my @new = grep { !$known{$_}++ } split /\n/, run_sql('SELECT * FROM loyalty.check_all()');
		is(join("\n", @new), '', "check_all() after $act under $level");
	}
}

# Definitions: the same of acts on settings, that each pair has of its own ({p}).
# What was given to both may be given twice; what differs must not be lost.
my $ladder = '{"time_zone": "UTC", "measures": [{"measure": "spend", "window": "lifetime"}], "levels": [{"level": "blue"}, {"level": "gold", "all": {"spend": %d}}]}';
my %definitions = (
	measure => "define_measure('m{p}')",
	measure_of_points => "define_measure('m{p}', 'points', 'points')",
	ladder => sprintf("define_ladder('l{p}', '$ladder')", 100),
	ladder_of_more => sprintf("define_ladder('l{p}', '$ladder')", 200),
	ladder_named => sprintf("define_ladder('l{p}', '$ladder', name => 'Club')", 100),
	currency => "create_currency('c{p}')",
	currency_named => "create_currency('c{p}', 'Stars')",
	namespace => "configure_namespace('n{p}', priority => 7)",
	namespace_shared => "configure_namespace('n{p}', shared => true)",
	block => "block_identifier('email', 'x{p}\@x.example', 'shop')",
	block_again => "block_identifier('email', 'x{p}\@x.example', 'till')",
	handler => "register_merge_handler('room{p}', '{thing}')",
	handler_of_more => "register_merge_handler('room{p}', '{thing,other_thing}')",
	scheme => q{define_rfm_scheme('s{p}', '{"bins": 2, "rules": [{"segment": "good", "r": 2}]}')},
	scheme_of_others => q{define_rfm_scheme('s{p}', '{"bins": 2, "rules": [{"segment": "good", "r": 1}]}')},
	known_members_only => 'configure_program(known_members_only => true)',
	time_zone => "configure_program(time_zone => 'UTC')",
);
run_sql(<<'SQL');
CREATE TABLE loyalty.thing (member_id bigint);
CREATE TABLE loyalty.other_thing (member_id bigint);
SET search_path = loyalty, public, pg_catalog;
CREATE FUNCTION public.settings(p bigint) RETURNS text
LANGUAGE sql SET search_path = loyalty, public, pg_catalog AS $$
	WITH line AS (
		SELECT format('measure %s %s', m.source, m.currency) AS line FROM tier_measure m WHERE m.measure = 'm' || p
		UNION ALL SELECT format('ladder %s', l.name) FROM ladder l WHERE l.ladder = 'l' || p
		UNION ALL SELECT format('version %s %s', v.version, v.definition) FROM ladder_version v WHERE v.ladder = 'l' || p
		UNION ALL SELECT format('level %s %s', t.version, t.level) FROM tier_level t WHERE t.ladder = 'l' || p
		UNION ALL SELECT format('currency %s', c.name) FROM currency c WHERE c.code = 'c' || p
		UNION ALL SELECT format('namespace %s %s', n.priority, n.shared) FROM identifier_namespace n WHERE n.namespace = 'n' || p
		UNION ALL SELECT format('blocked %s', b.reason) FROM blocked_identifier b WHERE b.value = format('x%s@x.example', p)
		UNION ALL SELECT format('handler %s', h.tables) FROM merge_handler h WHERE h.room = 'room' || p
		UNION ALL SELECT format('scheme %s', s.definition) FROM rfm_scheme s WHERE s.scheme = 's' || p
		UNION ALL SELECT format('program %s', x) FROM program x
	)
	SELECT string_agg(replace(line, p::text, '#'), E'\n' ORDER BY line COLLATE "C") FROM line
$$;
SQL
for my $level (@levels)
{
	for my $act (sort keys %definitions)
	{
		my @wrong;
		for my $before (sort keys %definitions)
		{
			my ($p, $twin) = map { rows("SELECT nextval('public.pair')")->[0][0] } 1, 2;
			my @calls = map { (my $call = $definitions{$_}) =~ s/\{p\}/$p/g; "SELECT count(*) FROM $call" } $before, $act;
			my @serial_calls = map { (my $call = $definitions{$_}) =~ s/\{p\}/$twin/g; "SELECT count(*) FROM $call" } $before, $act;
			my $name = "$act after $before";

			$late->query("BEGIN ISOLATION LEVEL $level");
			$late->query('SELECT count(*) FROM loyalty.member');
			my $first = code($other->query($calls[0]));
			my $answer = $late->query($calls[1]);
			my $commit = $late->query($answer->{error} ? 'ROLLBACK' : 'COMMIT');
			my $second = $answer->{error} ? code($answer) : code($commit);

			$count{ $second eq '40001' ? 'refused' : 'compared' }++;
			next if $second eq '40001';
			my @serial = map { code($other->query($_)) } @serial_calls;
			push @wrong, "$name: $first, $second ($answer->{error}{M}); in order: @serial" if "$first $second" ne "@serial";
			my ($is, $should) = map { rows("SELECT settings($_)")->[0][0] } $p, $twin;
			push @wrong, "$name leaves\n$is\nand not\n$should" if $is ne $should;
		}
		is(join("\n", @wrong), '', "$act under $level");
	}
	is(run_sql("SELECT * FROM loyalty.check_core()"), '', "check_core() after definitions under $level");
}
diag(join ', ', map { "$_ $count{$_}" } sort keys %count);
cmp_ok($count{$_}, '>', 100, "often enough $_") for qw(refused compared);
done_testing();
