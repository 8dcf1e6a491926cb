# The program on Citus: three machines, a coordinator and two workers, beside a
# twin, a copy of the same database on one machine.
#
# Every function that spread_functions() knows is called from each machine, for
# members of both workers.  It answers as the twin does, to the bit (ids that are
# drawn in the call apart), or is refused with LY007 by name.  Any other answer,
# error or difference fails.  Then: calls that stay, in one order, on both; a
# shard that moves between postings; settings that another session changes on
# another machine; all aggregates; memory over 2,000 postings.
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
# One program, twice
# ---------------------------------------------------------------------------

{
	my $one = session('coordinator', 'program');
	rows($one, split /;\n+/, <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup();
SET search_path = loyalty, public;
SELECT create_currency('miles', 'Miles', 'rolling', '12 months', 'month');
SELECT create_currency('slide', expiry_policy => 'sliding', expiry_interval => '1 year', refund_grace => '10 days');
SELECT configure_namespace('shop', max_per_member => 2), configure_namespace('tablet', shared => true);
SELECT member_id FROM generate_series(1, 40) i, resolve_member(jsonb_build_array(jsonb_build_object('namespace', 'email', 'value', format('m%s@x.example', i), 'verified', true),
	jsonb_build_object('namespace', 'shop', 'value', format('s%s', i)), jsonb_build_object('namespace', 'tablet', 'value', 't')), 'till', jsonb_build_object('name', format('Member %s', i)));
SELECT define_measure('miles_points', 'points', 'miles'), define_measure('spend', 'event');
SELECT define_ladder('club', '{"measures": [{"measure": "miles_points", "window": "rolling", "interval": "12 months"}, {"measure": "spend", "window": "lifetime"}],
	"validity": "interval", "validity_interval": "12 months", "at_end": "soft_landing", "grace": "30 days",
	"levels": [{"level": "blue"}, {"level": "silver", "any": {"miles_points": 100, "spend": 50}}, {"level": "gold", "any": {"miles_points": 1000, "spend": 500}}]}');
SELECT entry_id FROM unnest('{points,miles,slide}'::text[]) c, generate_series(1, 40) m, generate_series(1, 3) i, earn(m, 100 * i + m, c, timestamptz '2024-01-01' + i * interval '40 days' + m * interval '1 hour', idempotency_key => 'k' || i);
SELECT entry_id FROM unnest('{points,miles}'::text[]) c, generate_series(1, 40) m, earn(m, 50, c, '2024-05-01', pending => true);
SELECT entry_id FROM unnest('{points,miles}'::text[]) c, generate_series(1, 40) m, redeem(m, 30 + m, c, '2024-06-01', idempotency_key => 'r');
SELECT entry_id FROM unnest('{points,miles}'::text[]) c, generate_series(1, 40) m, generate_series(1, 2) i, hold(m, 10, '2040-01-01', c, effective_at => '2024-06-15');
SELECT record_qualification(m, 'spend', 100 * m, '2024-02-01', reference => 'order ' || m) FROM generate_series(3, 8) m;
SELECT grant_tier(m, 'club', 'gold', 'paid', '2024-01-01', '2041-01-01', fee => 365) FROM generate_series(5, 8) m;
SELECT define_product('T', 'drinks/tea', 'zeta', 'a');
SELECT define_campaign('base', '{"then": [{"points": {"give": 1, "per": 1}}]}', '2024-01-01'), define_campaign('often', '{"when": {"count": {"kind": "order", "within": "month", ">=": 1}}, "limits": {"member": {"points": 50, "within": "month"}}, "then": [{"points": {"give": 7, "per": 10}}]}', '2024-01-01');
SELECT record_activity(m, 'order', timestamptz '2024-02-01' + m * interval '1 hour', lines => '[{"sku": "T", "quantity": 3, "amount": 10}, {"sku": "B", "price": 2.5, "quantity": 2}]', external_id => 'o' || m, money => 'EUR', idempotency_key => 'a' || m) FROM generate_series(1, 40) m;
SELECT define_benefit('tea', '{"kind": "coupon", "discount": {"percent": 10}, "valid": "60 years"}'), define_benefit('drawn', '{"kind": "coupon", "discount": {"amount": 5, "every": 20}, "codes": "pool"}'), define_benefit('generic', '{"kind": "coupon", "discount": {"free": {"sku": "T"}}, "codes": "generic", "times": 3, "total": 1000}');
SELECT add_codes('drawn', '{D1,D2,D3,D4,D5,D6,D7,D8}'), add_codes('generic', '{GENERIC}');
SELECT issue_coupon(m, b, '2024-01-01') FROM generate_series(1, 8) m, unnest('{tea,generic}'::text[]) b;
SELECT define_benefit('uses', '{"kind": "entitlement", "quota": 100}'), define_benefit('lounge', '{"kind": "access"}'), define_benefit('mall', '{"kind": "payment", "points": 1, "worth": 1, "money": "EUR"}'),
	define_benefit('mug', '{"kind": "reward", "points": 1}'), define_benefit('kettle', '{"kind": "reward", "points": 1, "price": 5, "money": "EUR", "hold": "60 years"}'),
	define_benefit('member_day', '{"kind": "gift", "window": {"welcome": {"after": 3600}}, "gives": {"points": 1}}'), define_benefit('card', '{"kind": "card", "currency": "slide"}');
SELECT use_entitlement(m, 'uses', 2, '2024-01-01', u) FROM generate_series(5, 8) m, unnest('{2040-01-01,NULL}'::timestamptz[]) u;
SELECT order_reward(m, r, 2, at => '2024-07-01') FROM generate_series(5, 8) m, unnest('{mug,kettle}'::text[]) r;
SELECT r.entry_id FROM issue_card('card', 500, '2024-01-01') c, redeem_card(c.code, 5, '2024-01-02') r;
SELECT join_household(household_id, 6, at => '2023-01-02'), earn(household_id, 100, effective_at => '2023-02-01') FROM create_household('Home', 5, '2023-01-01');
SELECT define_badge('founder', '{}'), define_board('top', '{"kind": "order", "measure": "amount", "period": "month", "time_zone": "UTC"}');
SELECT give_badge(m, 'founder', at => '2023-12-01') FROM generate_series(5, 8) m;
SELECT define_label('vegan'), define_label('city', 'single'), define_purpose('news', '{"*": "opt_out"}'), define_list('guests', '{5,6,7}', at => '2023-01-01');
SELECT set_label(m, 'vegan', valid_from => '2023-01-01'), set_consent(m, 'email', 'news', m % 2 = 0, '2023-01-01') FROM generate_series(5, 8) m;
SELECT define_audience('vip', '{"label": "vegan"} | guests', '2023-01-01');
SELECT define_trial('spring', '{"shares": [0.5, 0.5]}', '2023-01-01', '2025-01-01');
SELECT transfer(37, 38, 5, effective_at => '2024-06-20');
SELECT set_point_value('points', 0.01), set_redemption_estimate('points', 0.8);
SELECT close_month('points', '2024-03-01');
CREATE TABLE public.orders (order_id bigint, member_id bigint, amount numeric, at timestamptz, PRIMARY KEY (member_id, order_id));
INSERT INTO orders SELECT i, 1 + i % 40, (i * 37 % 100) + 0.5, timestamptz '2024-01-01' + i * interval '7 hours' FROM generate_series(1, 2000) i;
CALL evaluate_tiers();
CALL book_expiries('2025-01-01');
SELECT count(*) FROM check_all();
SQL
	is(value($one, 'SELECT count(*) FROM loyalty.check_all()'), 0, 'check_all() finds nothing before');
	close_sessions();
}
$node{coordinator}->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'program'});
$node{coordinator}->safe_psql('postgres', 'CREATE DATABASE twin TEMPLATE program');

# What it needs is asked for before anything is spread.
my $spread = 'CALL loyalty.distribute(shard_count => 4)';
my $twin = session('coordinator', 'twin');
like(state_of($twin, $spread), qr/^LY007 .*no Citus/, 'without Citus there is nothing to spread');
rows(session($_, 'program'), 'CREATE EXTENSION citus') for @machines;
my %at = map { $_ => session($_, 'program') } @machines;
like(state_of($at{coordinator}, $spread), qr/^LY007 .*address/, 'the coordinator has no address');
join_machine($at{coordinator}, $_) for @machines;
$node{worker_2}->append_conf('postgresql.conf', 'citus.enable_unsafe_triggers = off');
$node{worker_2}->reload;
like(state_of($at{coordinator}, $spread), qr/^LY007 .*enable_unsafe_triggers/, 'triggers are not allowed');
$node{worker_2}->append_conf('postgresql.conf', 'citus.enable_unsafe_triggers = on');
$node{worker_2}->reload;
$at{coordinator}->query('SELECT pg_sleep(1)');

rows($at{coordinator}, q{SELECT loyalty.define_approval('adjust')});
like(state_of($at{coordinator}, $spread), qr/^LY007 .*Adjust needs approval/, 'an act needs approval');
rows($at{coordinator}, q{SELECT loyalty.drop_approval('adjust')});
is(state_of($at{coordinator}, $spread), '', 'the tables are spread');
is(state_of($at{coordinator}, $spread), '', 'and nothing happens to those that are');
rows($at{coordinator}, "SELECT create_distributed_table('public.orders', 'member_id', colocate_with => 'loyalty.wallet')");
close_sessions();
$twin = session('coordinator', 'twin');
%at = map { $_ => session($_, 'program') } @machines;
for my $session ($twin, values %at) { rows($session, 'SET search_path = loyalty, public', "SET timezone = 'UTC'", 'SET client_min_messages = error') }
like(state_of($at{worker_1}, $spread), qr/^LY007 .*not the coordinator/, 'a worker spreads nothing');

my %member;	# of each machine
push @{ $member{ $_->[1] } }, $_->[0] for rows($at{coordinator}, q{SELECT m, (SELECT nodeport FROM citus_shards s
	WHERE s.shardid = get_shard_id_for_distribution_column('loyalty.wallet', m)) FROM generate_series(1, 40) m});
# those who have something of everything, where there are such
my @members = map { my @of = @{ $member{ $node{$_}->port } }; (grep { $_ >= 5 && $_ <= 8 } @of)[0] // $of[0] } qw(worker_1 worker_2);
is(scalar(keys %member), 2, "both workers have members, $members[0] and $members[1] for two");

# ---------------------------------------------------------------------------
# Every function from every machine
# ---------------------------------------------------------------------------

my %valid = (
	member_id => '{m}', household_id => '(SELECT member_id FROM loyalty.household)', referee_id => 9, survivor_id => '{m}', absorbed_id => 11, from_member_id => '{m}', to_member_id => 12,
	a => 1, b => 2, member_ids => "'{1,2}'", merge_id => 1, grant_id => '{g}', entry_id => '{e}', target_entry_id => '{e}', activity_id => '{o}', coupon_id => '{c}', use_id => '{u}', order_id => '{r}', points => 5, amount => 12.5,
	kind => "'order'", at => "'2024-07-15'", as_of => "'2030-01-01'", until => "'2040-01-01'", from_at => "'2023-06-01'", effective_at => "'2024-07-15'", currency => "'points'", measure => "'spend'", ladder => "'club'", level => "'gold'",
	definition => "'{}'", definitions => q{'{"base": {"then": [{"points": {"give": 1, "per": 1}}]}}'}, activity => q{'{"amount": 30, "at": "2024-05-01T10:00:00Z"}'}, identifiers => q{'{"email": "m3@x.example"}'},
	campaign => "'base'", benefit => "'uses'", reward => "'mug'", gift => "'member_day'", payment => "'mall'", code => "'generic'", codes => "'{generic}'", basket => "'b'", label => "'vegan'", purpose => "'news'", channel => "'email'", given => 'true',
	audience => "'vip'", audiences => "'{vip,guests}'", expression => "'guests'", trial => "'spring'", club => "'runners'", act => "'promote'", badge => "'founder'", challenge => "'sprint'", streak => "'daily'", board => "'top'", draw => "'wheel'",
	journey => "'welcome'", step => "'b'", referral => "'friends'", consumer => "'reader'", kinds => "'{points_changed}'", notice => "'soon'", about => "'birthday'", lead => "'30 days'", event_id => 1, goal => "'watched'", figure => q{'{"view": "wallet", "column": "available"}'},
	thresholds => "'{1000}'", namespace => "'shop'", value => "'fresh'", reason => "'a reason'", condition => q{'{"amount": {">=": 5}}'}, month => "'2024-02-01'", from_month => "'2023-11-01'", until_month => "'2024-01-01'", period_start => "'2024-02-01'",
	ticket => 1, sku => "'T'", list_price => 10, lines => q{'[{"sku": "T", "quantity": 2, "amount": 8.5}]'}, number => 1, request_id => 1, role => "'nobody'", act_no => 1, idempotency_key => 'NULL', name => "'x'", arguments => "'{}'",
	hold_until => "'2040-01-01'", joined_at => "'2023-01-01'", match => "'person'", other_id => 9, decision => "'accept'", digest => "'x'", to_id => 40, from_id => 1, scheme => "'cn_8_quadrant'", holidays => "'h'", days => "'{2024-12-25}'",
	time_zone => "'UTC'", language => "'en'", what => "'badge'", starts_at => "'2024-08-01'", ends_at => "'2040-01-01'", before => "'2020-01-01'", keep => "'100 years'", patience => "'0'", room => "'shop'", tables => "'{}'", argument => "'{}'",
	orders => "'orders'", member_column => "'member_id'", at_column => "'at'", amount_column => "'amount'", from_as_of => "'2024-06-01'", to_as_of => "'2024-12-01'", valid_from => "'2023-01-01'", notices => 'NULL', job => "'book_expiries'", shares => "'{0.5,0.5}'",
	'reverse.target_entry_id' => '{first}', 'explain_entry.entry_id' => '{first}', 'activate.target_entry_id' => '{pending}', 'capture.target_entry_id' => '{held}', 'release.target_entry_id' => '{held}',
	'revise_activity.activity_id' => '{o}', 'record_return.lines' => q{'[{"line": 1, "quantity": 1}]'}, 'record_return.at' => "'2026-01-01'", 'find_activity.external_id' => "'o5'", 'what campaign_budget_left' => "'points'", 'campaign_budget_left.what' => "'points'",
	'has_access.benefit' => "'lounge'", 'issue_coupon.benefit' => "'tea'", 'card_balance.code' => '(SELECT code FROM loyalty.gift_card)', 'engagement_in_force.name' => "'founder'", 'give_badge.at' => "'2024-01-01'", 'price_basket.definitions' => q{'[{"kind": "coupon", "discount": {"percent": 10}}]'},
	'link_identifier.namespace' => "'email'", 'link_identifier.value' => "'new\@x.example'", 'unlink_identifier.value' => "'s5'", 'member_of.value' => "'s5'", 'confirm_use.use_id' => '{reserved}', 'pay_reward.order_id' => '{unpaid}', 'expose.at' => "'2023-06-01'",
	'is_in_club.at' => "'2024-01-01'", 'join_club.member_id' => 20, 'enrol.member_id' => 20, 'create_currency.code' => "'new'", 'create_currency.name' => "'New'", 'escrow_left.name' => "'campaign/base/points'", 'resolve_member.identifiers' => q{'{"email": "m3@x.example"}'},
	'rfm_segment.r' => 1, 'rfm_segment.f' => 1, 'rfm_segment.m' => 1, 'adjust.reason' => "'a gift'", 'block_identifier.value' => "'blocked'", 'use_entitlement.quantity' => 1, 'grant_tier.kind' => "'manual'", 'end_grant.at' => "'2040-01-01'", 'record_activity.at' => "'2024-08-01'",
	'why_merged.a' => 1, 'why_merged.b' => 2, 'change_list.audience' => "'guests'", 'draw.at' => "'2024-02-02'", 'claim_gift.at' => "'2024-02-02'", 'review_referral.referee_id' => 7, 'due_at.at' => "'2024-02-02'");

# What some arguments are for a member
my %of_member = (
	first => "SELECT min(entry_id) FROM ledger WHERE member_id = {m} AND currency = 'points' AND kind = 'earn'", e => "SELECT min(entry_id) FROM ledger WHERE member_id = {m} AND currency = 'points' AND kind = 'earn'",
	pending => "SELECT min(entry_id) FROM ledger WHERE member_id = {m} AND currency = 'points' AND kind = 'earn' AND available_at IS NULL", held => "SELECT min(entry_id) FROM ledger WHERE member_id = {m} AND currency = 'points' AND kind = 'hold'",
	o => 'SELECT min(activity_id) FROM activity WHERE member_id = {m}', g => 'SELECT min(grant_id) FROM tier_grant WHERE member_id = {m}', c => 'SELECT min(coupon_id) FROM coupon WHERE member_id = {m}',
	u => 'SELECT min(use_id) FROM entitlement_act WHERE member_id = {m}', reserved => 'SELECT max(use_id) FROM entitlement_act WHERE member_id = {m} AND reserved_until IS NOT NULL', r => "SELECT min(order_id) FROM reward_order WHERE member_id = {m} AND reward = 'mug'",
	unpaid => "SELECT min(order_id) FROM reward_order WHERE member_id = {m} AND reward = 'kettle'");
my %known;

sub argument
{
	my ($function, $name, $type, $member) = @_;
	my $value = $valid{"$function.$name"} // $valid{$name} // 'NULL';
	$value =~ s/\{m\}/$member/g;
	if ($value =~ /^\{(\w+)\}$/) { my $of = $1; my $query = $of_member{$of} =~ s/\{m\}/$member/r; $value = $known{"$of/$member"} //= value($twin, $query) // 'NULL' }
	return "$name => $value\::$type";
}

# The answer of a call, in a transaction that is taken back: an error or rows,
# without ids that were drawn in it.
sub outcome
{
	my ($session, $call, $writes, @columns) = @_;
	my $alone = $call =~ /^CALL/;
	rows($session, 'BEGIN') unless $alone;
	my $answer = $session->query($call) or return "connection lost: $call";
	rows($session, 'ROLLBACK') unless $alone;
	return "$answer->{error}{C} $answer->{error}{M}" . (defined $answer->{error}{D} ? ": $answer->{error}{D}" : "") if $answer->{error};
	my @rows;
	for my $row (@{ $answer->{rows} })
	{
		# ids are drawn otherwise, and a digest is of the same entries
		my @values = map { s/^loyalty-digest-\d:[^:]*:[^:]*:(\d+):.*/a digest of $1 entries/r } map { $_ // 'NULL' } @$row;
		if ($writes)
		{
			for my $i (0 .. $#values)
			{
				$values[$i] = '...' if @columns ? $columns[$i] =~ /(?:_ids?|_no|position|recorded_at|code|ticket)$/ : $values[$i] =~ /^[0-9]+$/;
				$values[$i] =~ s/("\w*_?(?:ids?|no|position|recorded_at|code|ticket)": )("[^"]*"|[0-9]+|\[[^\]]*\])/$1.../g;
			}
		}
		push @rows, join ' | ', @values;
	}
	return join "\n", @rows;
}

my (%refused, %right, @wrong, @odd);
my @functions = rows($at{coordinator}, q{
	SELECT p.proname, f.place, p.prokind, p.provolatile, array_to_string(CASE WHEN t.typtype = 'c' THEN ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = t.typrelid AND attnum > 0 ORDER BY attnum)
			ELSE ARRAY(SELECT p.proargnames[i] FROM generate_series(1, cardinality(p.proargmodes)) i WHERE p.proargmodes[i] IN ('o', 't') ORDER BY i) END, ';'),
		array_to_string(ARRAY(SELECT coalesce(p.proargnames[i], '') || '=' || format_type((p.proargtypes::oid[])[i - 1], NULL) FROM generate_series(1, p.pronargs) i
			WHERE i <= p.pronargs - p.pronargdefaults OR p.proargnames[i] IN ('at', 'as_of', 'effective_at', 'until', 'starts_at')), ';')
	FROM loyalty.spread_functions() f JOIN pg_proc p ON p.oid = f.function JOIN pg_type t ON t.oid = p.prorettype ORDER BY 1});
cmp_ok(scalar @functions, '>', 250, scalar(@functions) . ' functions');
for my $f (@functions)
{
	my ($name, $place, $kind, $volatile, $columns, $arguments) = @$f;
	my @columns = split /;/, $columns;
	for my $member ($arguments =~ /\bmember_id=|survivor_id=/ ? @members : $members[0])
	{
		my $call = "loyalty.$name(" . join(', ', map { argument($name, split(/=/, $_, 2), $member) } split /;/, $arguments) . ')';
		$call = $kind eq 'p' ? "CALL $call" : "SELECT * FROM $call";
		# a job changes both: see below
		next if $kind eq 'p' && $place eq 'coordinator';
		my $expected = $kind eq 'p' ? 'a job' : outcome($twin, $call, $volatile eq 'v', @columns);
		for my $machine (@machines)
		{
			my $got = outcome($at{$machine}, $call, $volatile eq 'v', @columns);
			if ($got =~ /^LY007 (.*)/)
			{
				$refused{$name}{$machine}++;
				push @wrong, "$name from $machine: refused, though it is for $place: $got" if $place eq 'everywhere' || $place eq 'member' || $place eq 'coordinator' && $machine eq 'coordinator';
			}
			elsif ($got eq $expected || $expected =~ /^([0-9A-Z]{5}) / && $got =~ /^$1 /) { $right{$name}{$machine}++; push @odd, "$name: $expected" if $expected =~ /^[0-9A-Z]{5} / }
			else { push @wrong, "$name from $machine for $member: $call\n    twin: " . substr($expected, 0, 300) . "\n    here: " . substr($got, 0, 300) }
		}
	}
}
is(join("\n", @wrong), '', 'every function is right from every machine, or refused');
note(scalar(grep { keys %{ $right{$_} } == 3 } keys %right), ' functions are right from every machine: ', join ' ', sort grep { keys %{ $right{$_} } == 3 } keys %right);
note(scalar(keys %refused), ' are refused somewhere: ', join ' ', map { my $f = $_; $right{$f} ? "$f (but from " . join(' and ', sort keys %{ $right{$f} }) . ')' : $f } sort keys %refused);
note('errors of the call on both: ', join "\n", do { my %seen; grep { !$seen{$_}++ } @odd });

# Views for analysts: the same rows, or an error.  In sessions of their own: after
# a statement that the engine cannot plan it sends no calls any more.
{
	my (@same, @refused, @wrong);
	for my $view (map { "loyalty_bi.$_->[0]" } rows($twin, q{SELECT v FROM loyalty.bi_views() v WHERE v <> 'job' ORDER BY 1}))		# other jobs have run there
	{
		my $query = "SELECT x::text FROM $view x ORDER BY 1";
		my $expected = outcome($twin, $query, 0);
		for my $machine (@machines)
		{
			my $analyst = connect_to($machine, 'program');
			rows($analyst, "SET timezone = 'UTC'");
			my $got = outcome($analyst, $query, 0);
			if ($got eq $expected) { push @same, "$view from $machine" }
			elsif ($got =~ /^(?:LY007|0A000) /) { push @refused, "$view from $machine: " . substr($got, 0, 200) }
			else { push @wrong, "$view from $machine:\n    twin: " . substr($expected, 0, 300) . "\n    here: " . substr($got, 0, 300) }
		}
	}
	is(join("\n", @wrong), '', 'views for analysts are right from every machine, or refused');
	note(scalar @same, ' are right: ', join ', ', @same);
	note(scalar @refused, ' are refused: ', join "\n", @refused);
}

# ---------------------------------------------------------------------------
# Checks, from every machine, of what is wrong on one
# ---------------------------------------------------------------------------

# Past guards and the engine, where the rows of a member are, and on the twin: a
# statement in which {t} is the table.
sub forge
{
	my ($table, $member, $statement) = @_;
	my $place = (rows($at{coordinator}, "SELECT shard_name(s.logicalrelid, s.shardid), p.nodeport FROM pg_dist_shard s JOIN pg_dist_shard_placement p USING (shardid)
		WHERE s.logicalrelid = 'loyalty.$table'::regclass AND (s.shardminvalue IS NULL OR worker_hash($member\::bigint) BETWEEN s.shardminvalue::integer AND s.shardmaxvalue::integer) ORDER BY p.nodeport"))[0];
	my ($machine) = grep { $node{$_}->port == $place->[1] } @machines;
	for my $of ([ session($machine, 'program'), $place->[0] ], [ $twin, $table ])
	{
		my ($session, $name) = @$of;
		rows($session, "SET search_path = loyalty, public", 'SET session_replication_role = replica', $statement =~ s/\{t\}/$name/gr, 'RESET session_replication_role');
	}
	return;
}

my $turn = 0;
my @checks = map { $_->[0] } rows($twin, q{SELECT proname FROM pg_proc WHERE pronamespace = 'loyalty'::regnamespace AND proname ~ '^check_'
	AND proargnames[pronargs + 1 :] IN ('{invariant,member_id,currency,entry_id,detail}', '{room,invariant,member_id,currency,entry_id,detail}') ORDER BY proname = 'check_all' DESC, proname});
cmp_ok(scalar(@checks), '>', 20, scalar(@checks) . ' checks');
# figures of closed months are of all members, and not compared on several machines
sub found { my ($session, $check) = @_; return join "\n", grep { !/^(?:liability \| )?closed / } sort map { join ' | ', map { $_ // 'NULL' } @$_ } rows($session, "SELECT * FROM $check()") }
is(found($at{$_}, 'check_all'), '', "nothing is wrong, from $_") for @machines;

my @forged = ([ 'wallet', 'moved = true', 'moved = NULL' ], [ 'ledger', 'available = available + 1', 'available = available - 1', "kind = 'redeem'" ], [ 'member_label', 'confidence = confidence + 1', 'confidence = confidence - 1' ], [ 'activity', 'local_day = local_day + 5', 'local_day = local_day - 5' ],
	[ 'activity', "moved_to = $members[1], cancelled = true", 'moved_to = NULL, cancelled = false' ], [ 'coupon', 'uses = uses + 1', 'uses = uses - 1' ], [ 'coupon', 'given_back = NOT given_back', 'given_back = NOT given_back', "benefit = 'generic'" ], [ 'award', 'points = points + 1', 'points = points - 1' ], [ 'reward_order', 'points = points + 1', 'points = points - 1' ],
	[ 'entitlement_act', 'quantity = quantity + 200, granted = 0', 'quantity = quantity - 200, granted = 0' ], [ 'tier_grant', "level = 'none'", "level = 'gold'" ], [ 'tier_history', "ends_at = ends_at - interval '1 second'", "ends_at = ends_at + interval '1 second'", 'ends_at IS NOT NULL' ],
	[ 'ledger', 'counterparty_id = 39', 'counterparty_id = 38', "kind = 'transfer_out'", 37 ]);
for my $forgery (@forged)
{
	my ($table, $do, $undo, $more, $whose) = @$forgery;
	my $member = $whose // $members[ $turn % 2 ];
	my $which = "WHERE member_id = $member" . ($more ? " AND $more" : '');
	forge($table, $member, "UPDATE {t} SET $do $which");
	my $expected = found($twin, 'check_all');
	isnt($expected, '', "$table of $member, $do: the twin finds something");
	my $machine = $machines[ $turn++ % 3 ];
	is(found($at{$machine}, 'check_all'), $expected, "and $machine the same");
	forge($table, $member, "UPDATE {t} SET $undo $which");
}
# all at once, by each check from each machine
forge($_->[0], $members[0], "UPDATE {t} SET $_->[1] WHERE member_id = $members[0]" . ($_->[3] ? " AND $_->[3]" : '')) for @forged[ 1 .. 3, 5 .. 11 ];
for my $check (@checks)
{
	my $expected = found($twin, $check);
	is(found($at{$_}, $check), $expected, "$check() from $_") for @machines;
}
forge($_->[0], $members[0], "UPDATE {t} SET $_->[2] WHERE member_id = $members[0]" . ($_->[3] ? " AND $_->[3]" : '')) for reverse @forged[ 1 .. 3, 5 .. 11 ];
is(found($at{$_}, 'check_all'), '', "all is as it was, from $_") for @machines;

# What is on every machine, and is otherwise on one
{
	my ($copy) = map { $_->[0] } rows($at{coordinator}, "SELECT shard_name(logicalrelid, shardid) FROM pg_dist_shard WHERE logicalrelid = 'loyalty.operator_act'::regclass");
	my $session = connect_to('worker_2', 'program');
	my $port = $node{worker_2}->port;
	rows($session, 'SET session_replication_role = replica', 'SET search_path = loyalty', "UPDATE $copy SET person = 'nobody' WHERE act_id = (SELECT min(act_id) FROM $copy)");
	like(found($at{$_}, 'check_core'), qr/^copy \|.*table loyalty\.operator_act: \S*:$port with a row that .* without: .*nobody/m, "a copy that is otherwise, from $_") for @machines;
	rows($session, "UPDATE $copy SET person = session_role WHERE person = 'nobody'");
	is(found($at{$_}, 'check_core'), '', "and not any more, from $_") for @machines;
}

# A wallet that is not what its entries say is made so again, on its machine
for my $machine (@machines)
{
	forge('wallet', $members[0], "UPDATE {t} SET balance = (SELECT balance FROM {t} WHERE member_id = $members[0] AND currency = 'miles') WHERE member_id = $members[0] AND currency = 'points'");
	like(found($at{$machine}, 'check_wallets'), qr/^wallet \| $members[0] \| points/, "a wallet that is another, from $machine");
	is(value($_, "SELECT rebuild_member_wallets($members[0])"), 1, 'is rebuilt') for $at{$machine}, $twin;
	is(found($at{$machine}, 'check_wallets'), '', 'and right');
}

# The jobs of the same: what they find is kept, and what they can they mend
{
	my $same = join ' AND ', "member_id = $members[0]", "kind = 'redeem'";
	forge('wallet', $_, "UPDATE {t} SET balance = (SELECT balance FROM {t} WHERE member_id = $_ AND currency = 'miles') WHERE member_id = $_ AND currency = 'points'") for @members;
	forge('ledger', $members[0], "UPDATE {t} SET available = available + 1 WHERE $same");
	my @found;
	for my $session ($at{coordinator}, $twin)
	{
		rows($session, 'CALL run_checks(20)');
		push @found, join "\n", map { join ' | ', map { $_ // 'NULL' } @$_ }
			rows($session, 'SELECT f.room, f.invariant, f.member_id, f.currency, f.entry_id, f.detail FROM check_finding f WHERE f.run_id = (SELECT max(r.run_id) FROM job_run r) ORDER BY 1, 2, 3, 4, 5, 6');
	}
	is($found[0], $found[1], 'run_checks() finds what it finds on one machine');
	like($found[0], qr/wallet \| $members[0] .*wallet \| $members[1] /s, 'of members of both machines');
	forge('ledger', $members[0], "UPDATE {t} SET available = available - 1 WHERE $same");
	rows($_, 'CALL rebuild_wallets(1)') for $at{coordinator}, $twin;
	is(value($_, q{SELECT status || ' ' || result || ' ' || message FROM job_run ORDER BY run_id DESC LIMIT 1}), 'finished 2 2 wallets rebuilt', 'rebuild_wallets() rebuilds both') for $at{coordinator}, $twin;
	is(found($at{worker_1}, 'check_all'), '', 'and nothing is wrong then');
	like(state_of($at{worker_2}, "CALL $_()"), qr/^LY007 .*coordinator only/, "$_() from a worker") for qw(run_checks rebuild_wallets);
}

# ---------------------------------------------------------------------------
# Calls that stay, in one order
# ---------------------------------------------------------------------------

# A call on a machine and on the twin: the same answer, but for ids that were drawn.
sub alike
{
	my ($machine, $call, $what) = @_;
	my ($here, $there) = map {
		my $answer = $_->query($call) or BAIL_OUT("connection lost: $call");
		$answer->{error} ? "$answer->{error}{C} $answer->{error}{M}" : join "\n", map { join ' | ', map { $_ // 'NULL' } @$_ } @{ $answer->{rows} }
	} $at{$machine}, $twin;
	return is($here, $there, $what // "$call from $machine");
}

my @calls;
for my $m (@members)
{
	push @calls, "SELECT available FROM earn($m, 70, effective_at => '2024-08-01', idempotency_key => 'again')", "SELECT available, replayed FROM earn($m, 70, effective_at => '2024-08-01', idempotency_key => 'again')",
		"SELECT available FROM redeem($m, 20, effective_at => '2024-08-02')", "SELECT available FROM adjust($m, -3, 'test', effective_at => '2024-08-03')", "SELECT available FROM redeem($m, 1000000)",
		"SELECT available FROM hold($m, 5, '2040-01-01', effective_at => '2024-08-04')", "SELECT points FROM record_activity($m, 'order', '2024-08-05', 33, external_id => 'late')", "SELECT m, (earn(m, 4, 'miles', '2024-08-06')).available FROM unnest(ARRAY[$members[0], $members[1]]) m",
		"SELECT * FROM tier_of($m, 'club', '2030-01-01')", "SELECT e.available FROM unnest(ARRAY[$m]) m, LATERAL earn(m, 6, effective_at => '2024-08-07') e";
}
{
	my $good = 0;
	subtest 'calls that stay' => sub { alike($machines[ $turn++ % 3 ], $_) for @calls };
	alike($_, q{SELECT act, member_id, points, person FROM operator_act WHERE act = 'adjust' ORDER BY 1, 2, 3}, "who did it, from $_") for @machines;
	is(found($at{$_}, 'check_core'), '', "and nothing is wrong with sequences, from $_") for @machines;
}
for my $machine (@machines)
{
	rows($at{$machine}, 'BEGIN', map { "SELECT * FROM earn($_, 1, effective_at => '2024-08-08')" } @members);
	rows($at{$machine}, 'COMMIT');
	rows($twin, map { "SELECT * FROM earn($_, 1, effective_at => '2024-08-08')" } @members);
	rows($at{$machine}, 'BEGIN', "SELECT * FROM earn($members[0], 1)");
	like(state_of($at{$machine}, "SELECT * FROM redeem($members[1], 1000000)"), qr/^LY101 /, "refused within a transaction from $machine");
	rows($at{$machine}, 'ROLLBACK', "DO \$\$ BEGIN PERFORM loyalty.earn($members[0], 2, effective_at => '2024-08-09'); END \$\$");
	rows($twin, "SELECT * FROM earn($members[0], 2, effective_at => '2024-08-09')");
}

# What is known of the two then, but for the ids.
sub agree
{
	my ($when) = @_;
	my $good = 1;
	for my $machine (@machines)
	{
		for my $m (@members)
		{
			for my $reading ("balance($m, 'points', '2030-01-01')", "balance($m, 'miles', '2030-01-01')", "expiring($m, 'miles', NULL, '2024-09-01')", "tier_of($m, 'club', '2030-01-01')", "labels($m, '2030-01-01')")
			{
				$good &= alike($machine, "SELECT * FROM $reading", "$when: $reading from $machine");
			}
			$good &= alike($machine, "SELECT effective_at, kind, points, available, reference FROM statement($m)", "$when: statement of $m from $machine");
			$good &= alike($machine, "SELECT points, state, earned_at, available_at, expires_at FROM lots($m, 'points', '2030-01-01')", "$when: lots of $m from $machine");
		}
	}
	return $good;
}
subtest 'readings after them' => sub { agree('then') };

# Arguments are computed in the session that calls, with its settings
{
	my @zoned = map { my $m = $_; map { "SELECT available FROM earn($m, 1, effective_at => $_->[0], details => jsonb_build_object('zone', current_setting('timezone')), idempotency_key => '$_->[1]')" }
		[ q{'2024-08-09'::date}, 'date' ], [ q{timestamp '2024-08-09 01:00'}, 'timestamp' ], [ q{date_trunc('month', timestamptz '2024-08-09 20:00+00')}, 'month' ], [ q{'2024-08-08 22:00+00'::timestamptz + interval '1 month - 30 days'}, 'interval' ] } @members;
	my @sessions = ($twin, values %at);
	rows($_, q{SET timezone = 'Asia/Tokyo'}) for @sessions;
	alike($machines[ $_ % 3 ], $zoned[$_]) for 0 .. $#zoned;
	for my $session (@sessions)
	{
		rows($session, q{PREPARE zoned AS SELECT available FROM loyalty.earn($1, 1, effective_at => $2::timestamptz, idempotency_key => $3)});
	}
	alike($machines[ $_ % 3 ], "EXECUTE zoned($members[ $_ % 2 ], '2024-08-09 0$_:00', 'prepared $_')") for 0 .. 6;
	alike($_, "SELECT count(*) FROM statement($members[0], from_at => '2024-08-09'::date, until_at => date_trunc('hour', timestamptz '2024-08-10 00:00'))", "readings, from $_") for @machines;
	for my $machine (@machines)
	{
		for my $member (@members)
		{
			rows($_, 'BEGIN') for $at{$machine}, $twin;
			alike($machine, "SELECT c.benefit, c.replayed FROM unnest(ARRAY[$member]) m, LATERAL reserve_coupons(m, 'b', '{generic}', '2040-01-01'::date, at => '2024-08-09'::date) c");
			rows($_, 'ROLLBACK') for $at{$machine}, $twin;
		}
	}
	rows($_, q{SET timezone = 'UTC'}) for @sessions;
	alike($_, q{SELECT member_id, effective_at, details ->> 'zone', idempotency_key FROM ledger WHERE details ? 'zone' OR idempotency_key LIKE 'prepared%' ORDER BY 1, 2, 4}, "instants of the caller's time zone, from $_") for @machines;
	for my $setting ([ 'DateStyle', 'SQL, DMY' ], [ 'IntervalStyle', 'sql_standard' ], [ 'extra_float_digits', '0' ], [ 'standard_conforming_strings', 'off' ], [ 'plan_cache_mode', 'force_generic_plan' ])
	{
		my ($name, $value) = @$setting;
		for my $machine (@machines)
		{
			rows($at{$machine}, "SET $name = '$value'");
			like(state_of($at{$machine}, $_), qr/^LY007 $name cannot be "$value"/, "$_ with $name from $machine") for "SELECT balance($members[0], 'points', '2024-08-09 00:00')", "SELECT * FROM earn($members[0], 1)", "DO \$\$ BEGIN PERFORM loyalty.earn($members[1], 1); END \$\$";
			rows($at{$machine}, "RESET $name");
		}
	}
}

# Beside something else in a query, which the engine does not send
for my $machine (@machines)
{
	alike($machine, $_) for map { ("SELECT available FROM (SELECT 1) x, balance($_, 'points', '2030-01-01')", "SELECT available FROM (SELECT $_\::bigint AS m) v, balance(v.m, 'points', '2030-01-01')") } @members;
}

# Who did an act by hand, wherever the member is
{
	rows($at{coordinator}, 'CREATE ROLE clerk LOGIN', 'CREATE ROLE onlooker LOGIN', 'CREATE ROLE desk LOGIN', 'GRANT clerk TO onlooker');
	rows($_, "SELECT grant_access('clerk', 'clerk'), grant_access('onlooker', 'reader'), grant_access('desk', 'clerk')", "SELECT trust_actors('desk')") for $at{coordinator}, $twin;
	my $as = sub { my ($machine, $role, $database) = @_; my $session = connect_to($machine, $database, $role); rows($session, 'SET search_path = loyalty, public'); return $session };
	my $n = 1000;
	for my $machine (@machines)
	{
		my %both = map { $_ => [ $as->($machine, $_, 'program'), $as->('coordinator', $_, 'twin') ] } qw(clerk onlooker desk);
		for my $member (@members)
		{
			my $adjust = sub { $n++; return "SELECT * FROM adjust($member, $n, 'a reason', effective_at => '2024-08-10')" };
			for my $way (q{SET LOCAL loyalty.actor = 'alice'}, q{SELECT set_config('loyalty.actor', 'dora', true)}, q{SET LOCAL loyalty.actor = ''})
			{
				for my $role (qw(clerk desk))
				{
					my $call = $adjust->();
					next if $role eq 'desk' && $way =~ /''/;
					rows($_, 'BEGIN', $way, $call, 'COMMIT') for @{ $both{$role} };
				}
			}
			my $call = $adjust->();
			rows($_, $call) for @{ $both{clerk} };
			like(state_of($both{desk}[0], $adjust->()), qr/^LY024 /, "nobody is named, from $machine");
			my $here = value($at{$machine}, "SELECT groupid FROM pg_dist_local_group") == value($at{$machine}, "SELECT groupid FROM pg_dist_placement WHERE shardid = get_shard_id_for_distribution_column('loyalty.wallet', $member)");
			$call = $adjust->();
			rows($_, 'SET ROLE clerk') for @{ $both{onlooker} };
			if ($here) { rows($_, $call) for @{ $both{onlooker} } }
			else { like(state_of($both{onlooker}[0], $call), qr/^LY007 adjust\(\) for a member of another machine works only in a session of the role/, "another role has logged in, from $machine") }
			rows($_, 'RESET ROLE') for @{ $both{onlooker} };
		}
	}
	is(found($as->($_, 'onlooker', 'program'), 'check_all'), '', "a reader may check, from $_") for @machines;
	alike($_, 'SELECT member_id, points, person, actor, session_role FROM operator_act WHERE points > 1000 ORDER BY points', "who did it, from $_") for @machines;
	cmp_ok(value($twin, q{SELECT count(DISTINCT person) FROM operator_act WHERE points > 1000}), '==', 4, 'four persons');
	like(state_of($at{coordinator}, q{SELECT define_approval('adjust')}), qr/^LY007 /, 'approvals need one machine');
}

# A transaction that reads only, wherever the member is
for my $machine (@machines)
{
	my $call = join '; ', map { "PERFORM loyalty.earn($_, 1)" } @members;
	my @writing = ((map { ("SELECT * FROM earn($_, 1)", "SELECT earn($_, 1)", "SELECT * FROM issue_coupon($_, 'tea')", "SELECT * FROM adjust($_, 1, 'x')") } @members), "SELECT * FROM transfer($members[0], $members[1], 1)",
		"SELECT * FROM post_many('{$members[0],$members[1]}', '{earn,earn}', '{1,1}')", "DO \$\$ BEGIN $call; END \$\$");
	for my $way ([ 'BEGIN', 'SET TRANSACTION READ ONLY' ], ['BEGIN READ ONLY'], [ 'SET default_transaction_read_only = on', 'BEGIN' ])
	{
		for my $statement (@writing)
		{
			rows($at{$machine}, @$way);
			like(state_of($at{$machine}, $statement), qr/^25006 /, "$way->[-1], $statement from $machine");
			rows($at{$machine}, 'ROLLBACK', 'RESET default_transaction_read_only');
		}
	}
	like(state_of($at{$machine}, q{SET loyalty.part = '0'}), qr/^22023 /, "nobody else looks at a part, from $machine");
}

# What is sold out says so, and the session goes on
rows($_, q{SELECT define_benefit('few', '{"kind": "reward", "points": 1, "stock": 3}'), define_benefit('scarce', '{"kind": "coupon", "discount": {"amount": 1}, "valid": "60 years", "total": 2}')}, map { "SELECT issue_coupon($_, 'scarce')" } @members) for $at{coordinator}, $twin;
for my $machine (@machines)
{
	for my $member (@members)
	{
		alike($machine, $_, "$_ from $machine") for "SELECT * FROM order_reward($member, 'few', 5)", "SELECT * FROM issue_coupon($member, 'scarce')", map { "SELECT available FROM earn($_, 1, effective_at => '2024-08-11')" } @members;
	}
}

# Calls with keys do not stand in each other's way
{
	my @busy = map { my $machine = $_; my $s = connect_to($machine, 'program'); rows($s, 'SET search_path = loyalty, public'); $s } @machines;
	my @errors;
	for my $turn (1 .. 20)
	{
		my $m = 20 + $turn;
		for my $call ("set_label($m, 'vegan', idempotency_key => 'turn $turn of %d')", "use_entitlement($m, 'uses', idempotency_key => 'turn $turn of %d')", "order_reward($m, 'mug', idempotency_key => 'turn $turn of %d')")
		{
			$busy[$_]->put(Wire::typed('Q', sprintf("SELECT * FROM $call\0", $_))) for 0 .. $#busy;
			for my $session (@busy) { my $answer = $session->answer; push @errors, "$answer->{error}{C} $answer->{error}{M}" if $answer->{error} }
			for my $i (0 .. $#busy) { rows($twin, sprintf "SELECT * FROM $call", $i) }
		}
	}
	is(join("\n", @errors), '', 'calls with keys, from all machines at once');
	alike($_, "SELECT member_id, count(*), count(DISTINCT use_id) FROM entitlement_act WHERE member_id BETWEEN 21 AND 40 GROUP BY 1 ORDER BY 1", "each once, from $_") for @machines;
}

# Settings that another session changes on another machine
rows($at{$_}, "SELECT * FROM earn($members[0], 1, 'slide', '2024-08-10')") for @machines;
rows($twin, "SELECT * FROM earn($members[0], 1, 'slide', '2024-08-10')") for @machines;
rows($_, q{UPDATE loyalty.currency SET expiry_interval = '2 years' WHERE code = 'slide'}) for $at{coordinator}, $twin;
rows($at{$_}, "SELECT * FROM earn($members[0], 1, 'slide', '2024-08-11')") for @machines;
rows($twin, "SELECT * FROM earn($members[0], 1, 'slide', '2024-08-11')") for @machines;
alike($_, "SELECT points, expires_at FROM lots($members[0], 'slide', '2024-08-12')", "settings changed by another session, from $_") for @machines;
rows($at{coordinator}, q{SELECT define_campaign('more', '{"then": [{"points": {"give": 2, "per": 1}}]}', '2024-08-12')});
rows($twin, q{SELECT define_campaign('more', '{"then": [{"points": {"give": 2, "per": 1}}]}', '2024-08-12')});
alike($machines[ $_ % 3 ], "SELECT points FROM record_activity($members[0], 'order', '2024-08-13', 10, external_id => 'defined $_')") for 0 .. 2;

# ---------------------------------------------------------------------------
# A shard moves between postings
# ---------------------------------------------------------------------------

sub move
{
	my ($from, $to) = @_;
	my $shard = value($at{coordinator}, "SELECT get_shard_id_for_distribution_column('loyalty.wallet', $members[0])");
	return state_of($at{coordinator}, sprintf "SELECT citus_move_shard_placement(%d, '%s', %d, '%s', %d, 'block_writes')",
		$shard, $node{$from}->host, $node{$from}->port, $node{$to}->host, $node{$to}->port);
}
for my $turn ([qw(worker_1 worker_2)], [qw(worker_2 worker_1)])
{
	is(move(@$turn), '', "the member moves from $turn->[0] to $turn->[1]");
	alike($machines[ $_ % 3 ], "SELECT available FROM earn($members[0], 5, effective_at => '2024-08-14')") for 0 .. 2;
}
subtest 'readings after it' => sub { agree('moved') };
is(value($at{coordinator}, q{SELECT count(*) FROM (SELECT entry_id, lag(entry_id) OVER (PARTITION BY member_id, currency ORDER BY recorded_at, entry_id) AS before FROM ledger) x WHERE entry_id <= before}), 0, 'ids rise within a wallet');
is(value($at{coordinator}, 'SELECT count(*) - count(DISTINCT entry_id) FROM ledger'), 0, 'and are unique among all machines');
is(value($at{coordinator}, 'SELECT sum(available(w.balance, timestamptz $$2030-01-01$$)) FROM wallet w'), value($twin, 'SELECT sum(available(w.balance, timestamptz $$2030-01-01$$)) FROM wallet w'), 'all points together');

# ---------------------------------------------------------------------------
# Jobs
# ---------------------------------------------------------------------------

# All that is stored of points and tiers, but for what is drawn or read off the clock
my @stored = (
	q{SELECT member_id, currency, balance_homes(balance)::text, available(balance, '2030-01-01') FROM wallet ORDER BY 1, 2, 3},
	q{SELECT member_id, currency, kind, points, requested, available, effective_at, available_at, expires_at, hold_until, extends_to, counterparty_id, reference, reason, regexp_replace(details::text, '_id": [0-9]+', '_id": ...', 'g'), idempotency_key
		FROM ledger WHERE effective_at < '2026-01-01' ORDER BY member_id, currency COLLATE "C", entry_id},
	q{SELECT member_id, ladder, starts_at, ends_at, level, event, reason, valid_until FROM tier_history ORDER BY 1, 2, 3, 4},
	q{SELECT member_id, ladder, level, since, earned_level, event_at, valid_until, grace_until, next_at, counted_to, versions FROM tier_state ORDER BY 1, 2},
	q{SELECT member_id, gift, period_key, version, at, opens_at FROM gift_claim ORDER BY 1, 2, 3},
	q{SELECT member_id, campaign, points FROM award ORDER BY 1, 2, 3},
	q{SELECT member_id, kind, at, amount, external_id FROM activity ORDER BY 1, 2, 3, 5});

sub same_rows
{
	my ($when) = @_;
	subtest "rows $when" => sub { alike('coordinator', $_, (/FROM (\w+)\b(?! f)/)[0] . " $when") for @stored };
}

# How the last run of each has ended
my $last_run = q{SELECT job, status, CASE WHEN arguments ? 'as_of' THEN as_of END, done, result, message FROM job_run ORDER BY run_id DESC LIMIT 1};

sub job
{
	my ($call) = @_;
	alike('coordinator', $call);
	alike('coordinator', $last_run, "how $call ended");
}

rows($_, q{SELECT define_ladder('travel', '{"measures": [{"measure": "miles_points", "window": "rolling", "interval": "12 months"}], "validity": "interval", "validity_interval": "6 months",
	"levels": [{"level": "walker"}, {"level": "flyer", "any": {"miles_points": 300}}]}')}) for $at{coordinator}, $twin;
my @jobs = (q{CALL book_expiries('2024-12-01')}, q{CALL book_expiries('2025-06-01', 3)}, q{CALL evaluate_tiers('travel', '2024-09-01')}, q{CALL book_tiers('2024-12-01')}, q{CALL book_tiers('2026-01-01', 7)}, 'CALL evaluate_tiers()', 'CALL book_gifts()',
	q{CALL reapply_campaign('base', '-infinity', 'infinity', 'tripled')});
for my $machine (qw(worker_1 worker_2))
{
	like(state_of($at{$machine}, $_), qr/^LY007 \w+\(\) works on the coordinator only/, "$_ from $machine") for @jobs;
}
is(value($at{coordinator}, q{SELECT count(*) FROM job_run WHERE status = 'running'}), 0, 'nothing was begun there');
rows($_, q{SELECT define_campaign('base', '{"then": [{"points": {"give": 3, "per": 1}}]}', '2024-01-01')}) for $at{coordinator}, $twin;
for my $call (@jobs)
{
	job($call);
	is(move(qw(worker_1 worker_2)), '', 'the member moves') if $call =~ /evaluate_tiers\('/;
	is(move(qw(worker_2 worker_1)), '', 'and back') if $call =~ /book_tiers.*7/;
}
cmp_ok(value($twin, q{SELECT count(*) FROM job_run WHERE result > 0}), '>=', 7, 'jobs have had something to do');
same_rows('after jobs');
job($_) for @jobs;
same_rows('after the same jobs once more');

# A member who is locked is left to the next run, and keeps nobody from the others
rows($_, map { "SELECT * FROM earn($_, 11, 'miles', '2025-06-02', expires_at => '2025-07-01')" } @members, 20) for $at{coordinator}, $twin;
{
	my $busy = session('worker_1', 'program');
	rows($_, 'BEGIN', "SELECT * FROM loyalty.hold($members[1], 1, '2040-01-01', 'miles', '2025-06-02')") for $busy, my $twin_busy = connect_to('coordinator', 'twin');
	job(q{CALL book_expiries('2025-08-01')});
	like((rows($at{coordinator}, $last_run))[0][5], qr/1 members stayed locked by other sessions, the first is $members[1]/, 'a member who is locked elsewhere is left out');
	rows($_, 'ROLLBACK') for $busy, $twin_busy;
	job(q{CALL book_expiries('2025-08-01')});
	is((rows($at{coordinator}, $last_run))[0][4], 11, 'and booked by the next run');
}

# One run of a job at a time, and postings beside it
{
	my @other = map { connect_to($_, 'program') } qw(coordinator worker_2);
	rows($_, 'SET search_path = loyalty, public') for @other;
	rows($_, "SELECT * FROM earn($members[1], 12, 'miles', '2025-06-02', expires_at => '2025-07-01')") for $at{worker_2}, $twin;
	rows($other[1], 'BEGIN', "SELECT * FROM earn($members[1], 1, 'miles', '2025-08-02')");
	$other[0]->put(Wire::typed('Q', "CALL book_expiries('2025-08-02', 1)\0"));
	$at{coordinator}->query('SELECT pg_sleep(1)');
	like(state_of($at{coordinator}, q{CALL book_expiries('2025-08-03')}), qr/^LY006 /, 'it is running in another session');
	rows($at{worker_1}, map { "SELECT * FROM earn($_, 1, 'slide', '2025-08-02')" } 1 .. 40);
	rows($other[1], 'COMMIT');
	ok(!$other[0]->answer->{error}, 'the first has come to its end');
	rows($twin, "SELECT * FROM earn($members[1], 1, 'miles', '2025-08-02')", (map { "SELECT * FROM earn($_, 1, 'slide', '2025-08-02')" } 1 .. 40), q{CALL book_expiries('2025-08-02', 1)});
	alike('coordinator', $last_run, 'and has booked it');
	same_rows('after a job beside postings');
}

# A session of a worker that dies in the middle of a batch: nothing is half done, and the next run does the rest
{
	rows($_, map { "SELECT * FROM earn($_, 13, 'miles', '2025-08-05', expires_at => '2025-09-01')" } 1 .. 40) for $at{coordinator}, $twin;
	my ($shard) = map { $_->[0] } rows($at{coordinator}, "SELECT 'loyalty.wallet_' || get_shard_id_for_distribution_column('loyalty.wallet', $members[1])");
	my $worker = $node{worker_2};
	$worker->safe_psql('program', "SET citus.enable_ddl_propagation = off; SET citus.override_table_visibility = off;
		CREATE FUNCTION public.die() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END';
		CREATE TRIGGER dies BEFORE UPDATE ON $shard FOR EACH ROW WHEN (NEW.member_id = $members[1]) EXECUTE FUNCTION public.die()");
	my $of_it = "SELECT count(*) FROM ledger WHERE member_id = $members[1]";
	my $before = value($at{coordinator}, $of_it);
	my $session = connect_to('coordinator', 'program');
	isnt(state_of($session, q{CALL loyalty.book_expiries('2025-10-01')}), '', 'the session of a worker dies');
	is(value($at{coordinator}, $of_it), $before, 'nothing is booked of the member whose it was');
	is(value($at{coordinator}, 'SELECT status FROM job_run ORDER BY run_id DESC LIMIT 1'), 'running', 'the run was stopped');
	$worker->safe_psql('program', "SET citus.enable_ddl_propagation = off; SET citus.override_table_visibility = off; DROP TRIGGER dies ON $shard; DROP FUNCTION public.die()");
	rows($twin, q{CALL book_expiries('2025-10-01')});
	rows($at{coordinator}, q{CALL book_expiries('2025-10-01')});
	alike('coordinator', 'SELECT status, done FROM job_run ORDER BY run_id DESC LIMIT 1', 'the next run has finished it');
	$worker->stop('immediate');
	isnt(state_of($session, q{CALL loyalty.book_expiries('2025-10-02')}), '', 'no job without all machines');
	$worker->start;
	forget_session('worker_2', 'program');
	$at{worker_2} = session('worker_2', 'program');
	rows($at{worker_2}, 'SET search_path = loyalty, public', "SET timezone = 'UTC'", 'SET client_min_messages = error');
	job(q{CALL book_expiries('2025-10-02')});
	same_rows('after a worker has failed');
}

# ---------------------------------------------------------------------------
# Batches, and transfers
# ---------------------------------------------------------------------------

for my $n (0 .. 2)
{
	my $machine = $machines[$n];
	my ($a, $b) = @members;
	my $others = join ',', map { $member{ $node{$_}->port }[-1] } qw(worker_1 worker_2);
	my $batch = "SELECT ordinal, available, replayed FROM post_many(ARRAY[$b,$a,$others,$a,$b], '{earn,earn,earn,redeem,hold,redeem}', '{10,20,30,4,5,6}', '{miles,points,slide,points,points,miles}', " .
		"array_fill(timestamptz '2025-11-0" . ($n + 1) . "', '{6}'), hold_untils => '{NULL,NULL,NULL,NULL,2040-01-01,NULL}', idempotency_keys => '{b1$n,b2$n,b3$n,b4$n,b5$n,b6$n}')";
	alike($machine, $batch, "a batch of members of both from $machine");
	alike($machines[ $n - 1 ], $batch, "once more from $machines[$n - 1]");
	alike($machine, $_) for "SELECT * FROM post_many(ARRAY[$b,$a], '{earn,redeem}', '{10,1000000}')", "SELECT * FROM post_many(ARRAY[$b,NULL], '{earn,redeem}', '{10,1}')", "SELECT * FROM post_many(ARRAY[$a,$b], '{earn,expire}', '{10,1}')",
		"SELECT * FROM post_many(ARRAY[$a,$b], ARRAY['earn',NULL], '{10,1}')", "SELECT * FROM post_many('{}', '{}', '{}')";
	my $answer = $at{$machine}->query("SELECT * FROM post_many(ARRAY[$b,$a,$a], '{earn,earn,redeem}', '{10,1,1000000}')");
	like($answer->{error}{W}, qr/element 3 of post_many/, "its error names the element from $machine");
	like(state_of($at{$machine}, "SELECT * FROM post_many(ARRAY[$b], '{earn,earn}', '{1,1}')"), qr/^LY003 /, "arrays of several lengths from $machine");
	for my $way ([ $a, $b ], [ $b, $a ])
	{
		my $transfer = "SELECT available, replayed FROM transfer($way->[0], $way->[1], 7, effective_at => '2025-11-05', reference => 'a present', idempotency_key => 't$n', details => '{\"for\": \"you\"}')";
		alike($machine, $transfer);
		alike($machines[ $n - 1 ], $transfer);
	}
	my $now = "SELECT available, replayed FROM transfer($a, $b, 2, 'slide', idempotency_key => 'now$n')";
	alike($machine, $now);
	alike($machine, $now, "again: $now");
	alike($machine, $_) for "SELECT * FROM transfer($a, $b, 1000000)", "SELECT * FROM transfer($a, $a, 1)", "SELECT * FROM transfer($a, NULL, 1)", "SELECT * FROM transfer($a, $b, -1)", "SELECT * FROM transfer($a, $b, 1, 'none')",
		"SELECT * FROM transfer($a, $b, 1, effective_at => NULL)";
	my $again = "SELECT m, replayed FROM unnest(ARRAY[$a,$b]) m, LATERAL earn(m, 1, idempotency_key => 'always$n')";
	alike($machine, $again);
	alike($machine, $again, "again: $again");
	like(state_of($at{$machine}, "SELECT * FROM transfer($a, 1000000, 1)"), qr/^LY202 /, "nobody gets points from $machine");

	my @of_one = @{ $member{ $node{worker_1}->port } }[ 0, 1 ];
	alike($machine, "SELECT ordinal, points, awards, replayed FROM record_many(ARRAY[$of_one[1],$of_one[0],$of_one[1]], '{order,order,order}', array_fill(timestamptz '2025-11-06', '{3}'), '{10,20,30}', external_ids => '{r1$n,r2$n,r3$n}', idempotency_keys => '{r1$n,r2$n,r3$n}')") for 1 .. 2;
	alike($machine, "SELECT * FROM record_many(ARRAY[$of_one[0]], '{none}')");
	alike($machine, "SELECT ordinal, available FROM post_many(ARRAY[$of_one[0],$of_one[1]], '{adjust,adjust}', '{3,-2}', effective_ats => array_fill(timestamptz '2025-11-06', '{2}'), reasons => '{wrong,wrong}')");
	my $nothing = $at{$machine}->query('SELECT count(*) FROM activity');
	like(state_of($at{$machine}, "SELECT * FROM record_many(ARRAY[$a,$b], '{order,order}', array_fill(timestamptz '2025-11-06', '{2}'), '{10,20}')"), qr/^LY007 .*every machine/, "a board that is on every machine, for members of both from $machine");
	is_deeply($at{$machine}->query('SELECT count(*) FROM activity'), $nothing, "nothing is recorded then from $machine");
}
is(value($at{$_}, 'SELECT count(*) FROM board_change'), value($at{coordinator}, 'SELECT count(*) FROM board_change'), "the same on $_") for qw(worker_1 worker_2);
{
	# two who send to each other
	my @other = map { connect_to($_, 'program') } qw(worker_1 worker_2);
	for my $turn (1 .. 10)
	{
		$other[$_]->put(Wire::typed('Q', "SELECT * FROM loyalty.transfer($members[$_], $members[1 - $_], 1, effective_at => '2025-11-07')\0")) for 0, 1;
		is(join(' ', map { my $answer = $_->answer; $answer->{error} ? $answer->{error}{M} : () } @other), '', "transfers to and fro, $turn");
	}
	rows($twin, map { my $n = $_; map { "SELECT * FROM transfer($members[$_], $members[1 - $_], 1, effective_at => '2025-11-07')" } 0, 1 } 1 .. 10);
}
alike('coordinator', $_) for $stored[0], 'SELECT member_id, currency, kind, sum(points), sum(requested), count(*) FROM ledger GROUP BY 1, 2, 3 ORDER BY 1, 2, 3';

# ---------------------------------------------------------------------------
# Aggregates over a table of users, and memory
# ---------------------------------------------------------------------------

my $per_member = 'SELECT member_id, loyalty.rfm_agg(at, amount) AS r, loyalty.activity_agg(at, $$month$$, $$UTC$$) AS a FROM public.orders GROUP BY member_id';
alike('coordinator', $_) for 'SELECT rfm_agg(at, amount)::text FROM public.orders', "SELECT rollup(r)::text FROM ($per_member) x", 'SELECT member_id, rfm_agg(at, amount)::text FROM public.orders GROUP BY 1 ORDER BY 1',
	"SELECT activity_rollup(a)::text FROM ($per_member) x", "SELECT retention_agg(a)::text FROM ($per_member) x", "SELECT repurchase_agg(a)::text FROM ($per_member) x", "SELECT clv_agg(r, '2026-01-01')::text FROM ($per_member) x",
	"SELECT rfm_breaks(r, '2026-01-01', rfm_method(bins => 3))::text FROM ($per_member) x", 'SELECT concentration_agg(amount)::text FROM public.orders', 'SELECT member_set_agg(member_id)::text FROM public.orders',
	"SELECT retention_events_agg(member_id, at, 'month', 'UTC')::text FROM public.orders", 'SELECT ledger_length(ledger_agg(kind, points, effective_at, available_at, expires_at, hold_until, target_entry_id, extends_to, lots ORDER BY entry_id)) FROM ledger WHERE entry_id < 100';

sub memory { my ($session) = @_; my $pid = value($session, 'SELECT pg_backend_pid()'); open my $status, '<', "/proc/$pid/status" or return 0; return (map { /^VmRSS:\s+(\d+)/ ? $1 : () } <$status>)[0] }
for my $machine (qw(worker_1 coordinator))
{
	my $session = $at{$machine};
	rows($session, "SELECT * FROM earn($members[0], 1)") for 1 .. 200;
	my $before = memory($session);
	rows($session, "SELECT * FROM earn($members[0], 1)") for 1 .. 2000;
	my $after = memory($session);
	cmp_ok($after - $before, '<', 8000, "a session of $machine with $before kB has $after kB after 2,000 postings");
}

# A trigger of a table that is spread is many
rows($at{coordinator}, "CREATE TRIGGER award AFTER INSERT ON public.orders FOR EACH ROW EXECUTE FUNCTION award_points('source=orders', 'member=member_id', 'points=amount', 'at=at', 'currency=points')");
like(state_of(connect_to($_, 'program'), "INSERT INTO public.orders VALUES (100000, $members[0], 1, '2024-08-01')"), qr/^LY007 /, "an order with a trigger from $_") for @machines;
rows($at{coordinator}, 'DROP TRIGGER award ON public.orders');

# Rights, granted on the coordinator, hold everywhere
rows($at{coordinator}, 'CREATE ROLE till LOGIN', "SELECT grant_access('till', 'app')");
for my $machine (@machines)
{
	my $till = connect_to($machine, 'program', 'till');
	rows($till, "SELECT * FROM loyalty.earn($_, 1)", "SELECT * FROM loyalty.balance($_)") for @members;
	like(state_of($till, "SELECT * FROM loyalty.adjust($_, 1, 'x')"), qr/^42501 /, "a role that may post from $machine may do nothing else") for @members;
}

# Nobody gets points under a number that another machine could give to somebody
like(state_of($at{$_}, 'SELECT * FROM earn(1000000, 1)'), qr/^LY202 /, "an unknown member from $_") for @machines;

# What concerns all members is refused, and not wrong
like(state_of($at{$_->[0]}, $_->[1]), qr/^LY007 /, "$_->[1] from $_->[0]") for map { my $m = $_; map { [ $m, $_ ] } 'CALL refresh_summaries()',
	"SELECT merge_members($members[0], $members[1])" } @machines;
# ---------------------------------------------------------------------------
# The way back
# ---------------------------------------------------------------------------

rows($at{coordinator}, q{UPDATE pg_dist_partition SET colocationid = colocationid + 1000 WHERE logicalrelid = 'loyalty.member_label'::regclass});
like(state_of($at{coordinator}, $spread), qr/^LY007 .*Table loyalty\.member_label is not spread as loyalty\.wallet is/, 'tables that are spread in two ways');
rows($at{coordinator}, q{UPDATE pg_dist_partition SET colocationid = colocationid - 1000 WHERE logicalrelid = 'loyalty.member_label'::regclass});
{
	my $dump = "$ENV{TESTDATADIR}/program.dump";
	$node{coordinator}->command_ok([ 'pg_dump', '-Fc', '-n', 'loyalty', '-n', 'loyalty_bi', '-e', 'loyalty', '-e', 'btree_gist', '-f', $dump, 'program' ], 'a dump of the coordinator');
	$node{coordinator}->safe_psql('postgres', 'CREATE DATABASE back');
	$node{coordinator}->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'back', $dump ], 'is restored where Citus is not');
	my $back = session('coordinator', 'back');
	rows($back, 'SET search_path = loyalty, public', "SET timezone = 'UTC'", 'SELECT setup()');
	for my $finding (rows($back, 'SELECT detail FROM check_all()'))
	{
		like($finding->[0], qr/SELECT setval\(/, $finding->[0]);
		rows($back, $finding->[0] =~ /(SELECT setval.*)/);
	}
	is(value($back, 'SELECT count(*) FROM check_all()'), 0, 'nothing is wrong then');
	is(join("\n", map { join ' | ', map { $_ // 'NULL' } @$_ } rows($back, $_)), join("\n", map { join ' | ', map { $_ // 'NULL' } @$_ } rows($at{coordinator}, $_)), (/FROM (\w+)\b(?! f)/)[0] . ' is there') for @stored;
	like(state_of($back, "SELECT merge_members($members[0], $members[1])"), qr/^(?:$|LY207 )/, 'and what needs one machine works');
}

done_testing();
