# Calls of everything that SQL can call, as pg_proc lists it: functions,
# aggregates, procedures and trigger functions, internal ones included, with
# arguments made by type, by name, and by mutating arguments of calls that work.
#
# Each round is on a copy of one small programme, in one of three ways: as a
# role with nothing but USAGE on the schema, which changes nothing whatever it
# calls; as the owner of the tables, taken back; as the owner, committed, with
# check_all() in between.  A call fails the test if
#
#	the server crashes, or the connection is lost;
#	its SQLSTATE is of no error that a caller makes (XX000, 42P01, 23502, ...);
#	it goes on for seconds after it was to be cancelled;
#	the server needs more memory than it may;
#	it returns a value that is refused by the input of its own type, as text or
#	binary, or is another one then;
#	it warns of what it leaves behind.
#
# And every function succeeds at least once that is not part of another one: what is
# passed to a new function has to be known here, by the name of the argument.
#
# LOYALTY_SEED=n LOYALTY_ROUND=m repeats one round, LOYALTY_CALLS_SECONDS=s and
# LOYALTY_SOAK=1 (ten minutes, from a new seed) are how long.  The statements of a
# round that fails stand in the log directory, to be pasted into psql.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use IO::Handle;
use File::Path qw(make_path);
use JSON::PP;
use List::Util qw(sum0);
use Test::More;
use Time::HiRes qw(time);

use RandomHistory;
use Values;
use Wire;

my $seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? CORE::time() : 1);
my $only_round = $ENV{LOYALTY_ROUND};
my $seconds = $ENV{LOYALTY_CALLS_SECONDS} || ($ENV{LOYALTY_SOAK} ? 600 : 40);
my %server = (host => $ENV{LOYALTY_TEST_HOST}, port => $ENV{LOYALTY_TEST_PORT} || 5432);
my $log_dir = $ENV{TESTLOGDIR} || '.';
make_path($log_dir);

# documents nested deeply are meant to be
$SIG{__WARN__} = sub { warn @_ unless $_[0] =~ /^Deep recursion/ };

my $time_limit = 2;				# seconds until a call is cancelled
my $patience = 5;				# of the processor's time, until it is at the latest
my $memory_limit = 1280 * 1024;	# kB beyond what a session began with
my $show = 20;					# failures of one kind that are shown

*pick = \&RandomHistory::pick;
*chance = \&RandomHistory::chance;
*one_of = \&RandomHistory::one_of;

# ---------------------------------------------------------------------------
# The programme
# ---------------------------------------------------------------------------

sub connect_as
{
	my ($user, $database) = @_;
	my $wire = Wire->new(%server, user => $user, database => $database);
	$wire->{patience} = 120;
	$wire->{began_with} = memory_of($wire);
	return $wire;
}

# Statements that must work; the rows of the last one.
sub run_sql
{
	my ($wire, @statements) = @_;
	my $answer;
	for my $sql (@statements)
	{
		$answer = $wire->query($sql) or BAIL_OUT("connection lost: $sql");
		BAIL_OUT("$sql: $answer->{error}{M}") if $answer->{error};
	}
	return @{ $answer->{rows} };
}

my $postgres = connect_as('postgres', 'postgres');
run_sql($postgres, "DROP DATABASE IF EXISTS $_ WITH (FORCE)") for 'calls', 'calls_programme';
run_sql($postgres, "DO \$\$ BEGIN CREATE ROLE $_ LOGIN; EXCEPTION WHEN duplicate_object THEN END \$\$") for 'calls_owner', 'calls_stranger', 'calls_clerk';
run_sql($postgres, 'CREATE DATABASE calls_programme OWNER calls_owner');
{
	my $owner = connect_as('calls_owner', 'calls_programme');
	run_sql($owner, split /;\n+/, do { local (@ARGV, $/) = ("$FindBin::Bin/programme.sql"); <> });
	run_sql($owner, 'GRANT USAGE ON SCHEMA loyalty TO calls_stranger', 'GRANT USAGE ON SCHEMA shop TO PUBLIC', 'GRANT SELECT ON series TO PUBLIC', 'ANALYZE');
	run_sql($owner, "SELECT loyalty.grant_access('calls_clerk', 'operator')");
	# what one requests another one approves or refuses
	my $request = q{SELECT loyalty.request_act('adjust', '{"member_id": 5, "points": 5, "reason": "a gift"}', 'a gift')};
	run_sql(connect_as('calls_clerk', 'calls_programme'), $request, $request);
	run_sql($owner, $request);
	my @wrong = run_sql($owner, 'SELECT * FROM loyalty.check_all()');
	is(scalar @wrong, 0, 'check_all() finds nothing wrong with the programme');
}
run_sql(connect_as('postgres', 'calls_programme'), 'CREATE SCHEMA mine AUTHORIZATION calls_stranger', 'GRANT USAGE ON SCHEMA mine TO PUBLIC');

# ---------------------------------------------------------------------------
# What can be called
# ---------------------------------------------------------------------------

my $catalog = connect_as('postgres', 'calls_programme');
run_sql($catalog, 'SET search_path = pg_catalog');

# Whatever is returned of our own types, composite ones included, is tried to
# be read again.
my %is_ours = map { $_->[0] => $_->[1] } run_sql($catalog, <<'SQL');
SELECT format_type(t.oid, NULL), CASE t.typtype WHEN 'c' THEN 'record_send' ELSE t.typsend::text END
FROM pg_type t JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'loyalty') AND t.typelem = 0 AND t.typtype IN ('b', 'c')
SQL
is(join(' ', grep { !$Values::types{ s/loyalty\.//r } && $is_ours{$_} ne 'record_send' } sort keys %is_ours), '', 'there are values of every base type');

# schema, kind, arguments, how many have no default, columns of our own types
my @callables = map {
	my ($schema, $name, $kind, $variadic, $types, $names, $least, $returns, $columns, $part, $of_aggregate, $writes, $volatile) = @$_;
	# what no rule of rights stands before is part of a function that has one
	{ schema => $schema, name => $name, kind => $kind, variadic => $variadic eq 't', least => $least, returns => $returns, part => $part eq 't' || $volatile eq 't' && $writes ne 't', of_aggregate => $of_aggregate eq 't', writes => $writes eq 't', volatile => $volatile eq 't',
		types => [ split /;/, $types ], names => [ split /;/, $names, -1 ], columns => [ map { [ split /=/ ] } split /;/, $columns ] }
} run_sql($catalog, <<'SQL');
SELECT n.nspname, p.proname, p.prokind, p.provariadic <> 0,
	coalesce((SELECT string_agg(format_type(t, NULL), ';' ORDER BY i) FROM unnest(p.proargtypes) WITH ORDINALITY u (t, i)), ''),
	coalesce((SELECT string_agg(coalesce(a.name, ''), ';' ORDER BY a.i) FROM (SELECT i, p.proargnames[i] AS name FROM generate_series(1, cardinality(p.proargtypes)) i
		WHERE p.proargmodes IS NULL
		UNION ALL SELECT i, p.proargnames[i] FROM generate_series(1, cardinality(p.proargmodes)) i WHERE p.proargmodes[i] IN ('i', 'b', 'v')) a), ''),
	p.pronargs - p.pronargdefaults, format_type(p.prorettype, NULL),
	coalesce((SELECT string_agg(p.proargnames[i] || '=' || format_type(p.proallargtypes[i], NULL), ';') FROM generate_series(1, cardinality(p.proargmodes)) i
		WHERE p.proargmodes[i] IN ('o', 'b', 't')), ''),
	obj_description(p.oid, 'pg_proc') ~ 'Part of |; part of |called by setup',
	EXISTS (SELECT FROM pg_aggregate a WHERE p.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn)),
	n.nspname = 'loyalty' AND (p.prokind = 'p' OR p.proname IN ('setup', 'partition_tables', 'backfill', 'grant_access', 'revoke_access')
		OR EXISTS (SELECT FROM pg_proc q WHERE q.proname = p.proname AND q.pronamespace = 'loyalty_as_owner'::regnamespace)),
	p.provolatile = 'v' AND p.prorettype <> 'trigger'::regtype
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'loyalty')
	-- SQL has no value of that type, NULL included: only aggregates and types call these
	AND 'internal'::regtype <> ALL (p.proargtypes)
ORDER BY n.nspname, p.proname
SQL
cmp_ok(scalar @callables, '>', 400, 'functions were found');

# Aggregates of anybody's own, made of our functions and a state of any value
my @states = map { { name => $_->[0], state => $_->[1], arguments => $_->[2] } } run_sql($catalog, <<'SQL');
SELECT p.proname, format_type(p.proargtypes[0], NULL), coalesce((SELECT string_agg(format_type(t, NULL), ', ' ORDER BY i)
	FROM unnest(p.proargtypes) WITH ORDINALITY u (t, i) WHERE i > 1), '')
FROM pg_proc p WHERE p.oid IN (SELECT aggtransfn FROM pg_aggregate WHERE aggtranstype <> 'internal'::regtype)
	AND p.pronamespace = 'loyalty'::regnamespace ORDER BY 1
SQL
my %finals;
push @{ $finals{ $_->[1] } }, $_->[0] for run_sql($catalog, <<'SQL');
SELECT p.proname, format_type(p.proargtypes[0], NULL) FROM pg_proc p
WHERE p.pronamespace = 'loyalty'::regnamespace AND p.pronargs = 1 AND p.prokind = 'f' AND p.proargtypes[0] <> 'internal'::regtype
	AND (p.oid IN (SELECT aggfinalfn FROM pg_aggregate) OR random() < 0) ORDER BY 1
SQL

# ---------------------------------------------------------------------------
# Arguments
# ---------------------------------------------------------------------------

my %corpus;
for my $type (sort keys %Values::types)
{
	$corpus{"loyalty.$type"} = [ Values::corpus($catalog, $type, $seed, 60) ];
}

sub column
{
	my @values = map { $_->[0] } run_sql($catalog, $_[0]);
	return @values ? \@values : BAIL_OUT("no rows: $_[0]");
}
# Values of a type that has no mutations of its own, as Values::corpus() has them
sub pairs { return [ map { [ $_, undef ] } @{ column($_[0]) } ] }

my $instants = [ map { "2024-$_+00" } '01-15 10:00', '06-15 00:00', '07-01 12:34:56.789', '09-30 23:59:59.999999' ];
my $ladders = column('SELECT definition FROM loyalty.ladder_version ORDER BY ladder, version');

# Arguments of calls that work, by their names or that of their function
my %valid = (
	member_id => [ 1 .. 8 ], 'member_id of components' => [1],
	(map { $_ => [ 5 .. 8 ] } qw(survivor_id asked_survivor_id from_member_id from_id holder_id root_id home_member_id)),
	(map { $_ => [ 10 .. 12 ] } qw(absorbed_id asked_absorbed_id to_member_id to_id)),
	(map { $_ => ['{1,2,5}'] } qw(member_ids members live_ids subtree known homes opened_by)), moved_ids => ['{2}'],
	merge_id => [3], grant_id => [ 1, 2 ], run_id => [1], entry_id => [ 1 .. 4 ], target => [1], renews_grant_id => [undef],
	currency => [ 'points', 'miles' ], ladder => ['club'], level => ['gold'], measure => ['spend'], source => ['orders'], code => ['new'],
	namespace => [ 'shop', 'email' ], value => ['s5'], raw => [ '+49 170 1234567', 'Ann@B.example' ], channel => ['till'],
	kind => ['manual'], period => ['1 month'], time_zone => [ 'UTC', 'Europe/London' ], job => ['book_expiries'], unit => ['wallets'],
	model => $corpus{'loyalty.clv_model'}, scheme => ['mine'], language => ['en'], dimension => [ 'r', 'f', 'm' ], mode => ['strict_once'],
	effective_at => $instants, at => $instants, as_of => [ '2040-01-01', '2041-06-15 12:00+01' ], known_at => [ undef, '2040-01-01' ],
	(map { $_ => [undef] } qw(idempotency_key available_at expires_at known_at from_at until_at counts_at details reference fee_currency fee_decimals)),
	until => ['2041-01-01'], until_at => [ undef, '2040-01-01' ], hold_until => ['2040-01-01'], starts_at => [ '2024-01-01', undef ], ends_at => [ undef, '2040-01-01' ],
	orders => ['shop.orders'], history => ['shop.history'], member_column => ['member_id'], at_column => ['at'], amount_column => ['amount'], key_column => [ undef, 'order_id' ],
	identifiers => [ '{"email": "m3@x.example"}', '[{"namespace": "email", "value": "new@x.example", "verified": true}, {"namespace": "tablet", "value": "t"}]', '{"openid": "oA", "shop": "s7"}' ],
	attributes => [ undef, '{"name": "Ann"}' ], definition => $ladders, on_conflict => ['merge'], on_garbage => ['null'], clawback_policy => ['allow_debt'],
	consumption_order => ['earliest_expiry'], digest => column('SELECT loyalty.ledger_digest()'), previous => [undef], blocks => [ 4, 64 ],
	machine => column('SELECT machine FROM loyalty.tier_state WHERE machine IS NOT NULL ORDER BY ladder, member_id'),
	policy => column('SELECT loyalty.lifecycle_policy()'), pattern => [ '(?1)(?2)', '(?1)(?t<=3600).*(?2)' ], within => [ '90 days', '1 hour' ], horizon => [ '365 days', '0' ],
	conditions => [ '{t,f,f}', '{t,t,f}', '{f,f,t}' ], points => [ 5, 1 ], amount => [ 12.5, 30, 0.01 ], percent => [ 20, 50 ], fraction => [ 0.5, 1 ], coverage => [0.8],
	bins => [5], r => [ 1, 5 ], f => [ 1, 5 ], m => [ 1, 5 ], refund => ['pro_rata'], reason => ['a reason'], fee => [ 365, undef ], role => ['calls_clerk'],
	consumer => ['reader'], kinds => ['{points_changed,soon}'], slots => [ 1, 2 ], slot => [ 0, 1 ], batch => [ 1, 100 ], patience => ['0'], from_position => [undef], wake => ['f'],
	event_id => [undef], notice => ['soon'], notices => [ undef, '{soon}' ], about => ['birthday'], lead => ['30 days'], scope => [undef],
	batch_size => [ 1, 100 ], goal => ['watched'], figure => ['{"view": "wallet", "column": "available", "each": "currency"}'], thresholds => ['{1,2}'], base => ['=NULL::loyalty.tier_state'], room => ['shop'], on_date => ['2025-06-01'], key => ['{1,x}'],
	audience => ['vip'], audiences => ['{vip,guests}'], label => ['vegan'], purpose => ['news'], rule => ['came'], board => ['top'], streak => ['daily'], badge => ['founder'], challenge => ['sprint'], club => ['runners'],
	draw => ['wheel'], referral => ['friends'], journey => ['welcome'], trial => ['spring'], match => ['person'], benefit => ['uses'], reward => ['mug'], gift => ['member_day'], payment => ['mall'],
	seed => ['00112233'], household_id => column('SELECT member_id FROM loyalty.household'), use_currency => ['points'], money => ['EUR'], period_start => [ undef, '2024-02-01' ], month => ['2024-02-01'], from_month => ['2023-11-01'], until_month => ['2024-01-01'],
	confidence => [ 1, 0.5 ], valid_from => [ '2024-01-01', '2024-02-01' ], (map { $_ => [undef] } qw(effective_from valid_until address only_ids codes basket use_points definitions for_day)), 'source regclass' => ['shop.persons'],
	condition => [ '{"amount": {">=": 5}}', undef ], frequencies => [ undef, '{"surname": 0.001}' ], options => [ undef, '{}' ], other_id => [ 10 .. 12 ], referee_id => [7]);

# What the arguments of some functions have of their own
my $some_identifiers = '{"email": "m3@x.example", "shop": "s5"}';
# of composite types, and their arrays
my $given = "ARRAY(SELECT r FROM loyalty.read_identifiers('$some_identifiers') r)";
$corpus{'loyalty.given_identifier[]'} = pairs("SELECT $given");
$corpus{'loyalty.triangle_cell[]'} = pairs("SELECT ARRAY[ROW('2026-01-01', 1, i, i * 7, i, 0)::loyalty.triangle_cell] FROM generate_series(0, 3) i");
$corpus{'loyalty.outstanding_cell[]'} = pairs("SELECT ARRAY[ROW('2026-01-01', '2026-06-01', i, i * 7, i, 0)::loyalty.outstanding_cell] FROM generate_series(0, 3) i");
$corpus{'loyalty.weighed_identifier[]'} = pairs("SELECT loyalty.evidence_of($given)");
for my $type ('loyalty.given_identifier', 'loyalty.weighed_identifier', 'loyalty.triangle_cell', 'loyalty.outstanding_cell')
{
	$corpus{$type} = pairs("SELECT unnest(" . quote($corpus{"$type\[]"}[0][0]) . "::${type}\[])");
}
my $of_three = 'SELECT entry_id FROM loyalty.ledger WHERE member_id = 3 AND';
my $wheel = '{"prizes": [{"prize": "none", "weight": 3}, {"prize": "one", "weight": 1, "points": 1}]}';
my @engaging = ([ streak => '{"kind": "order", "free": 1, "per": "month"}' ], [ badge => '{"kind": "order", "levels": [1, 2]}' ], [ challenge => '{"kind": "order", "target": 2}' ], [ board => '{"kind": "game", "period": "month"}' ],
	[ club => '{"capacity": 5}' ], [ referral => '{"within": "30 days"}' ], [ journey => '{"start": {"kind": "order"}, "steps": [{"step": "a", "after": "3 days", "list": true}]}' ]);
my @terms = ([ attribute => '{"name": ["Ann"]}' ], [ bought => '{"sku": ["T"], ">=": 1}' ], [ label => '"vegan"' ], [ measure => '{"of": "spend", ">=": 5}' ], [ stage => '{"in": ["dormant"]}' ], [ tier => '{"club": ["gold"]}' ],
	[ segment => @{ column(q{SELECT jsonb_build_object('in', '["Champions"]'::jsonb, 'breaks', loyalty.rfm_thresholds('{30,90,180,365}', '{2,3,4,5}', '{20,50,90,200}')::text::jsonb)}) } ],
	[ value => @{ column(q{SELECT jsonb_build_object('model', loyalty.make_clv_model('bg/nbd', r => 0.243, alpha => 4.414, a => 0.793, b => 2.426, p => 6.25, q => 3.74, v => 15.44)::jsonb, 'read', 'value', 'horizon', '365 days', '>=', 1)}) } ]);
my $uses = column('SELECT use_id FROM loyalty.entitlement_act GROUP BY 1 ORDER BY 1');
my $reserved = column('SELECT use_id FROM loyalty.entitlement_act WHERE reserved_until IS NOT NULL ORDER BY 1');
my %valid_of = (
	(map { ("$_.member_id" => [3]) } qw(activate capture release reverse explain_entry)),
	'drop_goal.goal' => ['unwatched'], (map { ("$_.lines" => ['loyalty_bi.purchase_line'], "$_.basket_column" => ['member_id'], "$_.item_column" => ['category'], "$_.min_together" => [1]) } qw(product_affinity next_best)),
	'activate.target_entry_id' => column("$of_three kind = 'earn' AND available_at IS NULL ORDER BY 1"),
	'reverse.target_entry_id' => column("$of_three kind IN ('earn', 'redeem') AND currency <> 'slide' ORDER BY 1"),
	(map { ("$_.target_entry_id" => column("$of_three kind = 'hold' ORDER BY 1")) } qw(capture release)), 'explain_entry.entry_id' => column("$of_three kind = 'redeem' ORDER BY 1"),
	(map { ("$_.points" => [ undef, 5 ]) } qw(capture reverse)),
	(map { ("${_}_in.1" => [ map { $_->[0] } @{ $corpus{"loyalty.$_"} } ]) } sort keys %Values::types),
	(map { ("$_.definition" => column('SELECT definition FROM loyalty.builtin_rfm_schemes() ORDER BY scheme')) } qw(define_rfm_scheme list_rfm_scheme_problems rfm_scheme_codes)),
	(map { ("$_.breaks" => column("SELECT loyalty.rfm_breaks(r, '2040-01-01', loyalty.rfm_method(bins => b)) FROM (SELECT i % 20 AS i, loyalty.rfm_agg(timestamptz '2024-01-01' + i * interval '1 day', i) AS r
		FROM generate_series(1, 100) i GROUP BY i % 20) x, generate_series(2, 5, 3) b GROUP BY b ORDER BY b")) } qw(rfm_cuts rfm_score rfm_segment_of)),
	(map { ("$_.sample" => column("SELECT loyalty.clv_holdout_agg(before, '2024-06-01', behind, '2024-12-01') FROM (SELECT loyalty.rfm_agg(at, 5) FILTER (WHERE at <= '2024-06-01') AS before,
		loyalty.rfm_agg(at, 7) FILTER (WHERE at > '2024-06-01' AND at <= '2024-12-01') AS behind
		FROM (SELECT i, timestamptz '2024-01-01' + (j * i * 7919 % 340) * interval '1 day' AS at FROM generate_series(1, 30) i, generate_series(1, 6) j) y GROUP BY i) x")) } qw(clv_backtest clv_holdout_error)),
	'connected_components.pairs' => ['{{1,2},{2,3}}'], 'connected_components_text.pairs' => ['{{a,b},{b,c}}'],
	'expand_components.components' => ['{{1,1},{2,1}}'], 'expand_components_text.components' => ['{{a,a},{b,a}}'],
	(map { ("$_.member_id" => [5], "$_.holder_id" => [5], "$_.grant_id" => [1], "$_.fee" => [ undef, 100 ], "$_.period" => [undef], "$_.starts_at" => [undef]) } qw(end_grant renew_grant grant_holder open_grant)),
	(map { ("$_.as_of" => ['9999-12-01'], "$_.until" => ['9999-12-02']) } map { $_->{name} } grep { ($_->{types}[0] // '') eq 'loyalty.points_balance' } @callables),
	'end_grant.at' => ['2040-01-01'], 'join_members.cause' => ['operator'], 'unlink_identifier.member_id' => [5], 'unlink_identifier.value' => ['s5'], 'unlink_identifier.namespace' => ['shop'],
	'link_identifier.value' => ['fresh'], 'block_identifier.value' => ['blocked'], 'claim_request.idempotency_key' => ['c'], 'lock_key.key' => ['k'],
	(map { ("$_.as_of" => [ '2024-12-31', '2025-01-01' ]) } qw(begin_job run_job book_expiries book_gifts book_tiers evaluate_tiers book_expiry book_expiries_of run_batch)),
	'check_orders_column.argument' => ['member_column'], 'check_orders_column.column_name' => ['member_id'], 'check_rfm_bins.method' => column('SELECT loyalty.rfm_method(bins => 2)'),
	(map { ("$_.within" => ['90 days']) } qw(funnel_agg window_funnel_agg)), 'funnel_agg.mode' => ['strict_increase'], 'grant_access.level' => [ 'app', 'reader' ],
	'ladder_moves.definition_now' => $ladders, 'ladder_moves.definition_then' => $ladders,
	(map { ("$_.kind" => [ 'earn', 'redeem' ]) } qw(ledger_agg ledger_entry)), (map { ("$_.model" => [ 'bg/nbd', 'mbg/nbd' ]) } qw(make_clv_model clv_fit)),
	(map { ("$_.models" => ['{bg/nbd,mbg/nbd}']) } qw(clv_compare clv_backtest)), 'measure_function.name' => ['shop.visits'],
	'partition_tables.partitions' => [8], 'partition_tables.tables' => [ '{award_counter}', undef ],
	'stored_function.name' => ['shop.visits'], 'stored_function.arguments' => ['bigint,timestamptz'], 'post_many.member_ids' => ['{5,6}'], 'post_many.kinds' => ['{earn,redeem}'], 'post_many.points' => ['{10,2}'],
	(map { ("post_many.$_" => [undef]) } qw(currencies effective_ats available_ats expires_ats hold_untils target_entry_ids reasons refs idempotency_keys details pending)),
	(map { my $f = $_; ("$f.tables" => ['{brought}'], "$f.merge_function" => [ undef, 'shop.on_merge' ], map { ("$f.$_" => [undef]) } qw(unmerge_function preview_function forget_function)) } qw(put_merge_handler register_merge_handler)),
	'rebuilt_balance.bytes' => column('SELECT loyalty.points_balance_send(balance) FROM loyalty.wallet ORDER BY member_id, currency'), 'retention_signup_agg.period' => ['month'], 'retention_signup_agg.time_zone' => ['UTC'],
	'retention_signup_agg.signup_at' => ['2023-12-01'], 'rfm_agg_by.unit' => [ 'day', 'hour' ], 'rfm_cuts.dimension' => [ 'recency', 'monetary' ], 'new_member_probability.orders' => [3],
	'define_measure.measure' => ['new'], 'define_measure.source' => ['event'], 'define_measure.currency' => [undef], 'define_measure.function_name' => [undef], 'watch_facts.source' => ['event'],
	'unsubscribe.consumer' => ['leaver'], 'drop_notice.notice' => ['other'], 'consume_notices.until' => ['2024-07-01'], 'prune_events.keep' => ['100 years'],
	'define_ladder.ladder' => ['new'], 'moved_items.direction' => ['in'], 'run_batch.job' => ['book_expiries'], 'next_of_job.job' => ['book_expiries'], 'run_job.job' => ['book_expiries'], 'run_merge_handlers.direction' => ['merge'], 'require_usable_identifier.namespace' => ['shop'], 'list_differences.stored' => ['{"a": 1}'], 'transfer.currency' => ['points'],
	(map { ("$_.request_id" => [ 1, 2 ]) } qw(approve_act refuse_act)), 'withdraw_act.request_id' => [3], 'define_approval.act' => ['adjust'], 'define_approval.above' => [ 0, 100 ],
	'define_approval.within' => [ undef, '1 day' ], 'request_act.act' => ['adjust'], 'request_act.arguments' => ['{"member_id": 5, "points": 5, "reason": "a gift"}'], 'request_act.lapses_at' => [ undef, '2040-01-01' ], 'transfer.from_member_id' => [ 5, 6 ],
	(map { ("$_.member_id" => [5], "$_.activity_id" => column("SELECT activity_id FROM loyalty.activity WHERE member_id = 5 AND external_id = 'o5'")) } qw(revise_activity record_return)),
	(map { ("$_.kind" => [ 'order', 'review' ], "$_.external_id" => [undef], "$_.lines" => [ undef, '[{"sku": "T", "quantity": 2, "amount": 8.5, "note": "x"}]' ]) } qw(record_activity revise_activity)),
	'record_return.lines' => ['[{"line": 1, "quantity": 1}]'], (map { ("$_.amount" => [undef]) } qw(record_return)), 'record_return.at' => ['2026-01-01'], 'revise_activity.to_member_id' => [undef],
	'record_many.member_ids' => ['{5,6}'], 'record_many.kinds' => ['{order,review}'], (map { ("record_many.$_" => [undef]) } qw(ats amounts lines channels documents external_ids moneys time_zones confirmed idempotency_keys)),
	(map { ("$_.kind" => ['order']) } qw(activities find_activity)), 'find_activity.external_id' => ['o5'], 'define_activity_kind.kind' => ['new'], 'define_activity_kind.same_when' => [ 'never', 'external_id_and_day' ],
	'define_product.effective_from' => [ undef, '2024-06-01' ], 'define_holidays.days' => ['{2024-12-25,2024-12-26}'], (map { ("$_.money" => [ 'EUR', undef ], "$_.codes" => [undef], "$_.basket" => [undef], "$_.document" => [ undef, '{"a": 1}' ]) } qw(record_activity revise_activity)),
	(map { ("$_.history" => ['shop.done'], "$_.source" => [ undef, 'done' ]) } qw(backfill_activities history_query)),
	(map { ("$_.definition" => ['{"when": {"all": [{"amount": {">=": 5}}, {"count": {"kind": "order", "within": "month", ">=": 0}}]}, "limits": {"member": {"points": 50, "within": "day"}, "total": {"points": 1000}}, "then": [{"points": {"give": 1, "per": 1}}]}']) }
		qw(check_campaign define_campaign require_campaign campaign_totals campaign_limits store_campaign_version)),
	(map { ("$_.definitions" => [ '{"base": {"then": [{"points": {"give": 1, "per": 1}}]}, "tea": {"lane": "bonus", "when": {"lines": {"sku": ["T"]}}, "then": [{"multiply": 2, "lane": "base", "over": "matching_lines"}]}}', '{}' ]) }
		qw(evaluate_campaigns campaign_points preview_activity backtest_campaigns backtest_summary backtest_cost)),
	(map { ("$_.activity" => ['{"amount": 30, "at": "2024-05-01T10:00:00Z", "lines": [{"sku": "T", "quantity": 2, "amount": 8.5}]}'], "$_.member" => ['{"held": {"base": [5]}, "used": {"base/day": 5}}']) } qw(evaluate_campaigns campaign_points)),
	(map { ("$_.campaign" => ['base']) } qw(define_campaign end_campaign require_campaign campaign_limits campaign_budget_left store_campaign_version)), 'campaign_budget_left.what' => ['points'],
	(map { ("$_.member_id" => [5], "$_.activity_id" => column("SELECT activity_id FROM loyalty.activity WHERE member_id = 5 AND external_id = 'o5'")) } qw(explain_award award_violations)),
	'preview_activity.kind' => ['order'], 'preview_activity.lines' => [ undef, '[{"sku": "T", "quantity": 2, "amount": 8.5}]' ], 'preview_activity.money' => ['EUR'], 'preview_activity.document' => [ undef, '{"a": 1}' ],
	(map { ("$_.kinds" => [undef], "$_.from_at" => ['-infinity'], "$_.until" => ['infinity'], "$_.currency" => ['points']) } qw(backtest_campaigns backtest_summary backtest_cost)), 'campaign_points.currency' => ['points'],
	'define_campaign.effective_from' => [undef], 'store_campaign_version.effective_from' => [undef], 'end_campaign.at' => [undef],
	'impersonal_lines.lines' => [ '[{"sku": "T", "note": "x"}]', undef ],
	'issue_coupon.benefit' => [ 'tea', 'drawn' ], 'put_coupon.benefit' => ['tea'], 'issue_coupon.valid_until' => [ undef, '2040-01-01' ], 'add_codes.benefit' => [ 'drawn', 'generic' ], 'add_codes.codes' => ['{n1,n2}'],
	'generate_codes.benefit' => ['tea'], 'generate_codes.number' => [ 1, 3 ], 'define_benefit.benefit' => ['new'], (map { ("$_.definition" => ['{"kind": "coupon", "discount": {"percent": 10}}']) } qw(define_benefit check_benefit_definition)),
	'claim_code.code' => ['generic'], 'claim_code.member_id' => [ 20 .. 40 ], 'reserve_coupons.codes' => ['{GENERIC}'], 'release_coupons.codes' => [undef], (map { ("$_.basket" => ['b']) } qw(reserve_coupons release_coupons hold_coupons let_coupons_go)),
	'revoke_coupon.member_id' => [5], 'revoke_coupon.coupon_id' => column("SELECT coupon_id FROM loyalty.coupon WHERE member_id = 5"), 'transfer_coupon.from_member_id' => [6], 'transfer_coupon.coupon_id' => column("SELECT coupon_id FROM loyalty.coupon WHERE member_id = 6"),
	'spread_amount.total' => [10], 'spread_amount.weights' => ['{1,2}'], 'price_basket.lines' => ['[{"sku": "T", "quantity": 2, "amount": 8.5}]'], 'price_basket.definitions' => ['[{"kind": "coupon", "discount": {"percent": 10}}, {"kind": "coupon", "discount": {"free": {"sku": "T"}}}]'],
	(map { ("$_.decimals" => [2]) } qw(spread_amount price_basket)), 'price_basket.shipping' => [ 0, 5 ],
	'ledger_append.entry' => ['{"kind": "earn", "points": 5, "effective_at": "2300-01-01T00:00:00+00:00"}'],
	(map { ("make_clv_model.$_" => [ 0.8, 1.5 ]) } qw(r alpha a b)), (map { ("make_clv_model.$_" => [undef]) } qw(s beta p q v)), 'make_clv_model.unit_days' => [7],
	(map { ("clv_holdout_agg.$_->[0]" => column("SELECT loyalty.rfm_agg(timestamptz '$_->[1]' + i * interval '1 day', 5) FROM generate_series(1, 3) i")) } [ summary => '2024-01-01' ], [ held => '2024-07-01' ]),
	'clv_holdout_agg.as_of' => ['2024-06-01'], 'clv_holdout_agg.until' => ['2024-12-01'],
	# benefits, gift cards, households
	'configure_namespace.kind' => ['opaque'], 'configure_namespace.default_country' => [undef], 'configure_namespace.namespace' => ['crm'], 'confirm_use.use_id' => $reserved, 'restore_use.use_id' => $uses, 'has_access.benefit' => ['lounge'], 'issue_card.benefit' => ['card'],
	(map { ("$_.code" => column('SELECT code FROM loyalty.gift_card')) } qw(card_balance claim_card redeem_card refund_card)), 'refund_card.entry_id' => column("SELECT e.entry_id FROM loyalty.ledger e JOIN loyalty.gift_card USING (member_id) WHERE e.kind = 'redeem'"),
	(map { ("$_.amount" => [ undef, 5 ]) } qw(claim_card refund_card)), (map { ("$_.amount" => [ 5, 30 ]) } qw(issue_card redeem_card)), (map { ("$_.member_id" => [5]) } qw(confirm_use restore_use fulfil_reward pay_reward cancel_reward)),
	(map { ("$_.order_id" => column("SELECT order_id FROM loyalty.reward_order WHERE reward = 'mug'")) } qw(fulfil_reward cancel_reward)), 'pay_reward.order_id' => column("SELECT order_id FROM loyalty.reward_order WHERE reward = 'kettle'"),
	'order_reward.points' => [undef], 'order_reward.hold_until' => [undef], 'cancel_reward.quantity' => [ undef, 1 ], (map { ("$_.at" => ['2024-06-15']) } qw(order_reward fulfil_reward pay_reward cancel_reward)), 'claim_gift.at' => ['now'], 'redemption_triangle_agg.issued' => [undef], 'redemption_triangle_agg.redeemed_at' => ['2024-07-01'], 'redemption_triangle_agg.issued_at' => ['2024-01-15'], 'redemption_triangle_agg.period' => ['month'], 'redemption_triangle_agg.expires_at' => [undef],
	, 'use_entitlement.until' => [ undef, '2041-01-01' ],
	(map { ("$_.member_id" => [ 5, 6 ]) } qw(redeem_for set_allowance)), 'redeem_for.currency' => ['points'], 'leave_household.member_id' => [6], 'leave_household.take' => [ 'nothing', 'own' ], 'join_household.member_id' => [ 7, 8 ],
	(map { ("$_.role" => ['person'], "$_.period" => ['month']) } qw(join_household set_allowance)), 'split_payment.points' => [ undef, 5 ], (map { ("preview_basket.$_->[0]" => [ $_->[1] ]) } [ kind => 'order' ], [ document => undef ], [ payment => undef ]), 'preview_basket.lines' => [ undef, '[{"sku": "T", "quantity": 2, "amount": 8.5}]' ],
	# streaks, badges, challenges, boards, clubs, draws, journeys, referrals
	(map { my ($what, $definition) = @$_; ("define_$what.$what" => ['new'], "define_$what.definition" => [$definition]) } @engaging), 'check_draw_definition.definition' => [$wheel], 'define_draw.draw' => ['new'], (map { ("$_.definition" => [$wheel]) } qw(define_draw prize_of_ticket verify_draw)),
	'check_engagement_definition.what' => ['badge'], 'check_engagement_definition.definition' => ['{}'], 'engagement_in_force.what' => ['badge'], 'engagement_in_force.name' => ['founder'], 'audit_draw.draw' => ['drawn'], (map { ("$_.level" => [1]) } qw(give_badge take_badge)),
	(map { ("verify_draw.$_" => ['{}']) } qw(member_ids nonces tickets drawn prizes client_seeds)), 'prize_of_ticket.ticket' => [ 0 .. 3 ], 'take_badge.member_id' => [ 5 .. 8 ], 'take_steps.until' => ['2024-12-31'], 'close_board.period_start' => ['2024-02-01'], 'board_period.at' => ['2024-02-01'],
	(map { ("$_.member_id" => [ 5 .. 8 ]) } qw(draw leave_club progress)), 'join_club.member_id' => [ 10 .. 12 ], 'club_act.act' => [ 'promote', 'remove', 'ban' ], 'club_act.role' => ['host'], 'club_act.member_id' => [ 5 .. 8 ], 'club_figures.from_at' => ['2023-06-01'], 'club_figures.until' => ['2024-06-01'], 'club_figures.period' => ['month'], 'club_figures.kind' => ['order'],
	'create_referral_code.code' => [ undef, 'ANNA-2' ], 'refer.code' => ['ANNA'], 'refer.referee_id' => [ 10 .. 12 ], 'review_referral.decision' => [ 'accept', 'refuse' ], 'fact_holds.lines' => [undef],
	'walk_streak.days' => ['{2024-06-01,2024-06-03}'], 'walk_streak.period' => ['day'], 'walk_streak.weekdays' => [ undef, '{1,6,7}' ], 'walk_streak.free_per' => ['month'], (map { ("walk_streak.$_" => [ undef, '{}' ]) } qw(holidays bridged)), (map { ("walk_streak.$_" => [undef]) } qw(freeze_from freeze_until freeze_for)),
	# labels, audiences, trials, what a point is worth
	(map { ("$_.value" => [undef]) } qw(set_label has_label retract_label)), 'define_label.label' => [ 'city', 'new' ], 'define_label.kind' => ['single'], 'define_label.at_least' => [ 0, 0.5 ], 'define_label.ranks' => [ '{}', '{"rule": 2}' ], 'define_label_rule.rule' => ['new'], 'define_label_rule.definition' => ['{"label": "city", "from": "joined_via"}'], 'define_audience.audience' => ['new'], 'define_audience.expression' => ['guests | {"count": {}}'],
	'change_list.audience' => ['guests'], 'define_list.audience' => [ 'guests', 'new' ], (map { ("$_.as_of" => ['2024-12-31']) } qw(refresh_audience refresh_labels evaluate_tiers_of past_instant)), 'term_texts.given' => ['"x"'], (map { ("audience_term_$_->[0].argument" => [ $_->[1] ]) } @terms),
	'define_trial.trial' => ['new'], 'define_trial.definition' => ['{"shares": [0.5, 0.5]}'], 'define_trial.starts_at' => ['2024-01-01'], 'define_trial.ends_at' => ['2040-01-01'], 'trial_report.measure' => [ undef, 'amount' ], 'trial_report.level' => [0.9],
	(map { ("$_.from_at" => ['2023-06-01'], "$_.until" => ['2024-12-31'], "$_.kinds" => ['{order}']) } qw(acquisition set_channel_cost reapply_campaign reapply_terms)), (map { ("$_.campaign" => ['base']) } qw(reapply_campaign reapply_terms)), 'set_point_value.value' => [0.02], 'sample_ratio.shares' => ['{0.5,0.5}'], 'archive_entries.before' => ['2024-01-01'], (map { ("$_.currency" => ['points']) } qw(close_month deferral_schedule recognised_revenue)), 'close_month.month' => ['2024-01-15'], 'recognised_revenue.from_month' => ['2024-01-01'], 'recognised_revenue.until_month' => ['2024-03-31'],
	# matches
	(map { ("$_.definition" => ['{"id": "member_id", "fields": {"given": "name", "surname": "name", "born": "date"}}']) } qw(find_matches match_fields match_pairs match_patterns preview_blocks)), 'define_match.match' => ['new'], 'define_match.definition' => ['{"fields": {"given": "name", "surname": "name", "born": "date"}}'],
	(map { ("$_.model" => column('SELECT model FROM loyalty.match_model')) } qw(match_levels match_report match_thresholds match_weight)), 'find_matches.model' => [ undef, @{ column('SELECT model FROM loyalty.match_model') } ], 'match_weight.pattern' => ['330'], 'match_thresholds.patterns' => ['{"patterns": {"333": 3, "000": 10}}'], 'match_thresholds.thresholds' => ['{0.5,0.99}'], 'match_fit.patterns' => ['{"patterns": {"111": 1056, "110": 544, "101": 444, "100": 556, "011": 544, "010": 1056, "001": 1756, "000": 4044}}'],
	'merge_match.survivor_id' => column('SELECT member_id FROM loyalty.match_pair ORDER BY 1 LIMIT 1'), 'merge_match.absorbed_id' => column('SELECT other_id FROM loyalty.match_pair ORDER BY member_id LIMIT 1'), 'review_pair.member_id' => [ 5 .. 7 ], 'review_pair.decision' => [ 'same', 'different' ],
);

my @odd_texts = ('', ' ', 'x', '%', "'; DROP TABLE loyalty.ledger; --", '"', '\\', "a\tb\nc", "\xc3\xbc\xc4\xb0\xe2\x82\xac\xf0\x9f\x98\x80", "e\xcc\x81", '{}', '[]', '{"a": 1}', '$1', '%s%n',
	'null', 'NaN', '0', '-1', '9223372036854775808', '1e400', 'loyalty.ledger', 'pg_catalog', '(((((', '.*(a+)+$', "\xe4\xb8\xad\xe6\x96\x87", "\xff\xfe", "\xef\xbb\xbfx", '2024-02-30', '+00491701234567890123',
	'@', 'a@', '@b', 'a@b@c', 'Mars/Phobos', 'day', '2 weeks', '99999999999 months');
my %odd = (
	bigint => [ 0, -1, 1, 2, 7, 31, 32, 63, 64, 100, 2147483647, 2147483648, 4294967296, 1000000000000, '9223372036854775807', '-9223372036854775808', '4611686018427387904' ],
	integer => [ 0, -1, 1, 2, 3, 5, 31, 32, 33, 63, 64, 65, 1000, 65536, 1000000, 2147483647, -2147483648 ],
	numeric => [ 0, -1, 1, '0.5', '1e-30', '12.50', '1e30', '9223372036854775807', '9223372036854775808', '-9223372036854775809', 'NaN', 'Infinity', '-Infinity', '1e131071', '1e-16383', '99999999999999999999999999999999999999' ],
	'double precision' => [ 0, -1, 1, '0.5', '2', '-0', '1e-300', '1e-320', '1e15', '1e308', '-1e308', 'NaN', 'Infinity', '-Infinity' ],
	boolean => [ 't', 'f' ], '"char"' => [ 'd', 'i', '', '\\', 'long', "\xc3\xbc" ],
	'timestamp with time zone' => [ 'infinity', '-infinity', '4713-01-01 00:00+00 BC', '4714-11-24 00:00+00 BC', '294276-12-31 23:59:59.999999+00', '9999-12-31', '0001-01-01', '1970-01-01', '2000-01-01 00:00+00',
		'1999-12-31 23:59:59.999999+00', '2024-03-29 01:30+00', '294270-01-01', 'now', '2024-02-29 12:00+00' ],
	date => [ 'infinity', '-infinity', '4713-01-01 BC', '5874897-12-31', '2000-01-01', '2024-02-29', '0001-01-01', '294277-01-01' ],
	interval => [ '0', '-1 day', '1 day', '1 microsecond', '-1 microsecond', '178000000 years', '-178000000 years', '2147483647 days', '-2147483648 days', '1 mon -30 days', '1 mon', '2562047788 hours', '1 year 1 day 1 hour' ],
	bytea => [ '', '\x00', '\x', '\xffffffffffffffffffff', '\x0100000000000000' ],
	jsonb => [ 'null', '{}', '[]', '1', '"x"', 'true', '[null]', '[[]]', '{"": null}', '[' x 3000 . ']' x 3000, '{"a":' x 500 . '1' . '}' x 500, '[1e400, -1e400]', '{"email": null}', '{"email": {"email": "x"}}', '[{"namespace": 1}]' ],
	aclitem => [ 'calls_clerk=r/calls_owner', '=arwdDxt/calls_owner', 'calls_stranger=r*w*/calls_clerk' ],
	regprocedure => [ 'loyalty.rooms()', 'loyalty.member_kin(bigint)', 'loyalty.rfm_agg(timestamptz,numeric)', 'shop.visits(bigint,timestamptz)', 'pg_catalog.now()', 0, 4294967295, 1 ],
	regclass => [ 'shop.history', 'shop.orders', 'loyalty.ledger', 'loyalty.wallet', 'loyalty.job_run', 'pg_catalog.pg_class', 'pg_catalog.pg_stat_activity', 'loyalty.ledger_entry_id_seq', 'pg_catalog.pg_class_oid_index', 0, 4294967295, 1 ],
	regrole => [ 'calls_owner', 'calls_stranger', 'postgres', 0, 4294967295 ],
	cstring => \@odd_texts, text => \@odd_texts);

sub odd_text
{
	return one_of(@odd_texts) if chance(60);
	return one_of('x', "\xe2\x82\xac", '{', '1', '(?1)', "'", '0123456789abcdef') x one_of(2, 100, 1000, 8000, 100_000) if chance(30);
	my $of = one_of(sort keys %valid);
	my $value = one_of(@{ $valid{$of} }) // 'null';
	return ref $value ? $value->[0] : $value;
}

# Anything in place of something in a document
sub mutate_json
{
	my ($text) = @_;
	my $json = JSON::PP->new->allow_nonref->canonical;
	my $document = eval { $json->decode($text) };
	return Values::mutate_text($text, $text) if !defined $document || chance(5);
	my $anything = sub {
		my $what = eval { $json->decode(one_of((grep { length() < 100 } @{ $odd{jsonb} }), '-1', '0.5', '1e30', '9223372036854775808', '"infinity"', '"1 day"', '"gold"', '"\u0000"', '"m3@x.example"', '[{"a": [1, {"b": null}]}]')) };
		return ref $what ? $what : chance(20) ? $what : "$what" if defined $what;
		return undef;
	};
	my $change;
	$change = sub {
		my ($node) = @_;
		return $anything->() if !ref $node || chance(10);
		if (ref $node eq 'ARRAY')
		{
			my $at = pick(1 + @$node);
			if (chance(20)) { splice @$node, $at, 0, @$node ? $node->[ pick(scalar @$node) ] : $anything->() }
			elsif (chance(20)) { splice @$node, $at, 1 if $at < @$node }
			elsif ($at < @$node) { $node->[$at] = $change->($node->[$at]) }
			else { push @$node, $anything->() }
		}
		elsif (ref $node eq 'HASH')
		{
			my @keys = sort keys %$node;
			my $key = @keys ? one_of(@keys) : 'a';
			if (chance(20)) { delete $node->{$key} }
			elsif (chance(15)) { $node->{ one_of('x', '', 'level', 'measure', 'namespace', 'value', 'verified', 'all', 'interval') } = $anything->() }
			else { $node->{$key} = $change->($node->{$key}) }
		}
		return $node;
	};
	$document = $change->($document) for 0 .. pick(3);
	return $json->encode($document);
}

sub array_of
{
	my ($element) = @_;
	my $item = sub {
		my $value = chance(15) ? undef : (odd_value($element))->{value};
		return 'NULL' unless defined $value;
		return '"' . ($value =~ s/([\\"])/\\$1/gr) . '"';
	};
	my $what = pick(10);
	return '{}' if $what == 0;
	return '{NULL}' if $what == 1;
	return '{{' . $item->() . ',' . $item->() . '},{' . $item->() . ',' . $item->() . '}}' if $what == 2;
	return '[5:6]={' . $item->() . ',' . $item->() . '}' if $what == 3;
	return '[-2147483647:-2147483646]={' . $item->() . ',' . $item->() . '}' if $what == 4;
	my @items = map { $item->() } 1 .. 1 + pick(7);
	@items = map { length > 100 ? 'NULL' : $_ } @items if $what == 5;
	return '{' . join(',', map { $items[ $_ % @items ] } 1 .. one_of(33, 64, 100, 20_000)) . '}' if $what == 5;
	return '{' . join(',', @items) . '}';
}

sub quote { return "'" . ($_[0] =~ s/'/''/gr) . "'" }

# An argument: {type, value (undef is NULL)}, {type, bytes} in binary form, or
# {type, inline}: an expression.
sub odd_value
{
	my ($type, $base) = @_;
	return { type => $type, inline => one_of("ROW(1, 'x')", 'ROW()', 'NULL::record', "ROW(NULL, now(), '{}'::jsonb)", "ROW(1, ROW(2, ARRAY[3]))") } if $type eq 'record';
	return { type => $type, inline => one_of("'x'::text", '1', 'NULL::text', "'{}'::jsonb", "'2024-01-01'::date") } if $type =~ /^"?any/;
	return { type => $type, value => undef } if chance(15);
	if (my $values = $corpus{$type})
	{
		my $one = one_of(@$values);
		my $other = one_of(@$values);
		my $what = defined $one->[1] ? pick(6) : one_of(0, 3);
		return { type => $type, value => $one->[0] } if $what < 2;
		return { type => $type, bytes => $one->[1] } if $what == 2;
		return { type => $type, value => Values::mutate_text($one->[0], $other->[0]) } if $what == 3;
		return { type => $type, bytes => Values::mutate_bytes($one->[1], $other->[1]) };
	}
	return { type => $type, value => array_of($1) } if $type =~ /^(.*)\[\]$/;
	return { type => $type, value => odd_text() } if $type eq 'text' || $type eq 'cstring';
	if ($type eq 'jsonb' && chance(75))
	{
		$base //= one_of(@{ $valid{ one_of(qw(definition identifiers policy)) } });
		return { type => $type, value => mutate_json($base) };
	}
	if ($type eq 'bytea' && chance(80))
	{
		$base //= one_of(@{ $valid{machine} });
		return { type => $type, value => '\x' . unpack 'H*', Values::mutate_bytes(pack('H*', substr $base, 2), pack('H*', substr $base, 2)) };
	}
	return { type => $type, value => pick(2**31) - 2**30 } if $type =~ /^(?:bigint|integer|numeric)$/ && chance(10);
	my $values = $odd{$type} or die "no values of type $type";
	return { type => $type, value => one_of(@$values) };
}

sub valid_value
{
	my ($f, $i) = @_;
	my $type = $f->{types}[$i];
	my $name = $f->{names}[$i] // '';
	my $values = $valid_of{"$f->{name}.$name"} // $valid_of{"$f->{name}." . ($i + 1)};
	return odd_value($type) if !$values && $type =~ /^(?:record$|"?any)/;
	$values //= $corpus{$type};
	$values //= $valid{"$name $type"} // $valid{$name} if length $name;
	$values //= $type =~ /^(.*)\[\]$/ ? ['{1}'] : { bigint => [ 1, 5 ], integer => [ 1, 2 ], numeric => [ 1, 2.5 ], 'double precision' => [ 1, 0.5 ], boolean => [ 't', 'f' ], text => ['x'], cstring => ['x'],
		'timestamp with time zone' => $instants, date => ['2024-06-01'], interval => ['1 day'], bytea => ['\x'], jsonb => ['{}'], regclass => ['shop.orders'], regrole => ['calls_owner'], regprocedure => ['loyalty.rooms()'], 'aclitem[]' => ['{calls_clerk=r/calls_owner}'] }->{$type};
	die "no values for $f->{name}.$name of type $type" unless $values;
	my $value = one_of(@$values);
	return { type => $type, inline => substr $value, 1 } if defined $value && !ref $value && $value =~ /^=/;
	return { type => $type, value => ref $value ? $value->[0] : $value };
}

# The arguments of a call: those of one that works, with some of them changed.
sub arguments
{
	my ($f, $change) = @_;
	my $n = $f->{least} + pick(1 + @{ $f->{types} } - $f->{least});
	my @list = map { valid_value($f, $_) } 0 .. $n - 1;
	return @list unless $change && $n;
	my $how = pick(20);
	my @which = $how < 4 ? () : $how < 12 ? (pick($n)) : $how < 16 ? (pick($n), pick($n)) : (0 .. $n - 1);
	$list[$_] = odd_value($list[$_]{type}, $list[$_]{value}) for @which;
	return @list;
}

sub literal
{
	my ($argument) = @_;
	return $argument->{inline} if defined $argument->{inline};
	return "NULL::$argument->{type}" unless defined $argument->{value};
	return quote($argument->{value}) . "::$argument->{type}";
}

{
	my %types = map { map { $_ => 1 } @{ $_->{types} } } @callables;
	is(join("\n", map { eval { odd_value($_) } ? () : $@ } sort keys %types), '', 'there are values of every type');
}

# ---------------------------------------------------------------------------
# Calls
# ---------------------------------------------------------------------------

# {sql, parameters}: with parameters, where it has any that are binary or if
# it is to have them.
sub call_with
{
	my ($build, $parameters, @arguments) = @_;
	my @given;
	my @expressions = map {
		if (!defined $_->{inline} && (defined $_->{bytes} || $parameters && $_->{type} ne 'cstring')) { push @given, $_; '$' . @given . "::$_->{type}" }
		else { literal($_) }
	} @arguments;
	return { sql => $build->(@expressions), given => \@given };
}

# To be pasted into psql; binary values are shown beside it.
sub pasted
{
	my ($call) = @_;
	my $sql = $call->{sql};
	my @binary;
	for my $i (reverse 1 .. @{ $call->{given} })
	{
		my $argument = $call->{given}[ $i - 1 ];
		if (defined $argument->{bytes}) { push @binary, "\n-- \$$i in binary: " . unpack 'H*', $argument->{bytes} }
		else { my $text = literal($argument); $sql =~ s/\$$i\::\Q$argument->{type}\E/$text/ }
	}
	return "$sql;" . join '', @binary;
}

# What is selected of a function's result: all of it, and each value of our own
# types with its text and binary form.
sub select_result
{
	my ($f, $call, $from) = @_;
	$from //= '';
	if ($f->{returns} eq 'cstring' || $f->{kind} eq 'p') { return ($f->{kind} eq 'p' ? 'CALL ' : 'SELECT ') . $call }
	if (my $send = $is_ours{ $f->{returns} })
	{
		return ("SELECT v::text, $send(v) FROM (SELECT $call AS v $from OFFSET 0) x", [ 0, 1, $f->{returns} ]);
	}
	my @ours = grep { $is_ours{ $_->[1] } } @{ $f->{columns} };
	if (@ours && !$from)
	{
		my $at = 1;
		return ('SELECT x::text, ' . join(', ', map { "x.\"$_->[0]\"::text, $is_ours{$_->[1]}(x.\"$_->[0]\")" } @ours) . " FROM $call x",
			map { $at += 2; [ $at - 2, $at - 1, $_->[1] ] } @ours);
	}
	return "SELECT * FROM $call" if !$from && chance(40);
	return "SELECT $call $from" . (chance(20) ? ' LIMIT 1' : '');
}

sub call_function
{
	my ($f, $change) = @_;
	my @arguments = arguments($f, $change);
	my @checks;
	my $build = sub {
		my @expressions = @_;
		$expressions[-1] = "VARIADIC $expressions[-1]" if $f->{variadic} && @expressions == @{ $f->{types} };
		(my $sql, @checks) = select_result($f, "$f->{schema}.$f->{name}(" . join(', ', @expressions) . ')');
		return $sql;
	};
	my $call = call_with($build, $f->{returns} ne 'trigger' && chance(50), @arguments);
	$call->{checks} = \@checks;
	return $call;
}

# Over a few rows, or many and with workers; of groups, or as a window function.
sub call_aggregate
{
	my ($f, $change) = @_;
	my $n = @{ $f->{types} };
	my @rows = map { [ map { valid_value($f, $_) } 0 .. $n - 1 ] } 0 .. ($change ? pick(6) : 3);
	if ($change)
	{
		# what is one for all rows of a group is so here mostly, too
		for my $i (0 .. $n - 1)
		{
			my $one = $rows[0][$i];
			if ($f->{names}[$i] =~ /^(?:time_zone|period|unit|method|within|mode|pattern|until|as_of)$/ && chance(90)) { $_->[$i] = $one for @rows }
		}
		for (0 .. pick(3)) { my $row = one_of(@rows); my $i = pick($n); $row->[$i] = odd_value($f->{types}[$i], $row->[$i]{value}) }
	}
	else { for my $i (0 .. $n - 1) { $_->[$i] = $rows[0][$i] for grep { $f->{names}[$i] =~ /^(?:time_zone|period|unit|method|within|mode|pattern|until|as_of|held)$/ } @rows } }
	my @checks;
	my $build = sub {
		my @expressions = @_;
		my @columns = map { my $i = $_; [ map { $expressions[ $_ * $n + $i ] } 0 .. $#rows ] } 0 .. $n - 1;
		my ($from, @arguments);
		if (chance(30))
		{
			$from = 'FROM shop.series';
			@arguments = map { my $c = $_; 'CASE i % ' . @rows . join('', map { " WHEN $_ THEN $c->[$_]" } 0 .. $#rows) . ' END' } @columns;
		}
		else
		{
			$from = 'FROM (VALUES ' . join(', ', map { my $row = $_; "($row, " . join(', ', map { $_->[$row] } @columns) . ')' } 0 .. $#rows)
			  . ') r (i, ' . join(', ', map { "c$_" } 1 .. $n) . ')';
			@arguments = map { "c$_" } 1 .. $n;
		}
		$arguments[-1] = "VARIADIC $arguments[-1]" if $f->{variadic};
		my $what = $change ? pick(8) : 7;
		my $inside = join(', ', @arguments) . ($what == 0 ? ' ORDER BY i DESC' : '');
		my $after = $what == 1 ? ' FILTER (WHERE i > 1)' : $what == 2 ? ' OVER (ORDER BY i ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)' : $what == 3 ? ' OVER (PARTITION BY i % 2)' : '';
		$from .= ' GROUP BY GROUPING SETS ((), (i), (i % 2))' if $what == 4;
		$from .= ' GROUP BY i % 7' if $what == 5;
		$from .= ' WHERE false' if $what == 6 && chance(30);
		(my $sql, @checks) = select_result($f, "$f->{schema}.$f->{name}($inside)$after", $from);
		return $sql;
	};
	my $call = call_with($build, chance(40), map { @$_ } @rows);
	$call->{checks} = \@checks;
	return $call;
}

# An aggregate of the stranger's own
sub call_own_aggregate
{
	my $state = one_of(@states);
	my $initial = odd_value($state->{state});
	$initial = odd_value($state->{state}) while defined $initial->{bytes};
	my $final = $finals{ $state->{state} };
	my @types = split /, /, $state->{arguments};
	my @setup = ('DROP AGGREGATE IF EXISTS mine.own(' . ($state->{arguments} || '*') . ')',
		'CREATE AGGREGATE mine.own(' . ($state->{arguments} || '*') . ") (sfunc = loyalty.$state->{name}, stype = $state->{state}"
		  . ($final && chance(80) ? ', finalfunc = loyalty.' . one_of(@$final) : '') . (defined $initial->{value} ? ', initcond = ' . quote($initial->{value}) : '') . ')');
	my $call = call_with(sub { 'SELECT mine.own(' . join(', ', @_) . ') FROM generate_series(1, ' . one_of(1, 2, 40) . ')' }, 0,
		map { my $v = odd_value($_); $v = odd_value($_) while defined $v->{bytes}; $v } @types);
	$call->{setup} = \@setup;
	$call->{checks} = [];
	$call->{name} = 'own aggregates';
	return $call;
}

# A trigger function on a table of the caller's own
sub call_trigger
{
	my ($f, $schema) = @_;
	my @terms = ('source=orders', 'source=mine', 'member=member_id', 'member=1', 'points=amount', 'points=1/0', 'at=at', 'when=amount > 0', 'when=', 'currency=miles', 'currency=none', 'key=member_id', 'key=',
		'points=(SELECT 1)', 'points=amount; DROP TABLE x', 'available_at=at', 'member_id', 'amount', 'at', 'measure=spend', 'spend', 'x', '', 'loyalty.wallet', 'note', 'ledger', '=', 'at=infinity');
	my @arguments = map { one_of(@terms) } 1 .. pick(7);
	@arguments = ('source=mine', 'member=member_id', 'points=amount', 'currency=points', @arguments) if chance(30);
	@arguments = ('source=mine', 'member=member_id', 'amount=amount', 'at=at', grep { !/^(?:source|member|amount|at|points|currency|available_at)/ } @arguments) if $f->{name} eq 'record_from_row' && chance(60);
	my $when = one_of('BEFORE', 'AFTER', 'AFTER');
	my $event = one_of('INSERT', 'UPDATE', 'DELETE', 'INSERT OR UPDATE OR DELETE', 'INSERT OR UPDATE OR DELETE', 'TRUNCATE');
	my $level = $event eq 'TRUNCATE' ? 'STATEMENT' : one_of('ROW', 'ROW', 'STATEMENT');
	my @setup = ("DROP TABLE IF EXISTS $schema.t",
		"CREATE TABLE $schema.t (id bigint PRIMARY KEY, member_id bigint, amount numeric, at timestamptz, note text, ledger loyalty.points_ledger)",
		"INSERT INTO $schema.t VALUES (1, 5, 10, '2024-01-01', 'x', '[]')",
		"CREATE TRIGGER t $when $event ON $schema.t FOR EACH $level EXECUTE FUNCTION loyalty.$f->{name}(" . join(', ', map { quote($_) } @arguments) . ')');
	my $call = call_with(sub { one_of("INSERT INTO $schema.t VALUES (2, $_[0], $_[1], $_[2], 'y', '[]')", "UPDATE $schema.t SET member_id = $_[0], amount = $_[1], at = $_[2]", "UPDATE $schema.t SET id = id", "UPDATE $schema.t SET ledger = NULL", "DELETE FROM $schema.t", "TRUNCATE $schema.t") },
		0, odd_value('bigint'), odd_value('numeric'), odd_value('timestamp with time zone'));
	$call->{setup} = \@setup;
	$call->{teardown} = "DROP TABLE IF EXISTS $schema.t";
	$call->{checks} = [];
	return $call;
}

# ---------------------------------------------------------------------------
# Running them
# ---------------------------------------------------------------------------

# SQLSTATEs of errors that a caller makes
my $proper = qr/^(?:LY...|22...|54...|0A000|42501|57014|25001|25006|08P01|42704|40001|55P03)$/;
# Parts of other functions, called by the owner with what these never pass, may
# fail in any way but as a fault of the server
my $improper_inside = qr/^XX/;
# what single functions answer on purpose: COMMENT ON FUNCTION has it
my %proper_of = (backfill => '23505', end_layout => 'XX000', setup => 'XX000');
# what the definition of a trigger or aggregate may be refused for as well
my $proper_setup = qr/^(?:42...|23502|2201B|39P01)$/;

sub memory_of
{
	my ($wire) = @_;
	open my $status, '<', "/proc/$wire->{pid}/status" or return undef;
	while (<$status>) { return $1 if /^VmPeak:\s+(\d+)/ }
	return undef;
}

sub processor_time
{
	my ($wire) = @_;
	open my $stat, '<', "/proc/$wire->{pid}/stat" or return undef;
	my $line = <$stat> // return undef;
	my @fields = split ' ', $line =~ s/^.*\) //sr;
	return ($fields[11] + $fields[12]) / 100;
}

my (%failures, %seen, %tried, %succeeded, %states, %last_error, $calls);
my ($round, $log);

# Of one kind and function, and with one SQLSTATE, the first is shown.
sub failure
{
	my ($kind, $call, $what) = @_;
	my $which = join ' ', $call->{name} // '', $what =~ /^([0-9A-Z]{5}) /;
	push @{ $failures{$kind} }, "round $round: $what\n" . pasted($call) unless $seen{"$kind $which"}++;
}

# Returns the answer; undef when the connection was lost.
sub run_call
{
	my ($wire, $call) = @_;
	for my $sql (@{ $call->{setup} // [] })
	{
		print $log "$sql;\n";
		my $answer = $wire->query($sql) or return undef;
		if (my $error = $answer->{error})
		{
			failure('an error that is not the caller\'s', { sql => $sql, given => [] }, "$error->{C} $error->{M}") unless "$error->{C}" =~ $proper || $error->{C} =~ $proper_setup;
			return $answer;
		}
	}
	print $log pasted($call), "\n";
	if (@{ $call->{given} })
	{
		my $error = $wire->prepare($call->{sql}, map { defined $_->{bytes} } @{ $call->{given} });
		return { error => $error } if $error;
		my ($answer) = $wire->run([ map { $_->{bytes} // $_->{value} } @{ $call->{given} } ]);
		return $answer;
	}
	return $wire->query($call->{sql});
}

# Whether a value, given as text and bytes, is read again as the same.
sub check_value
{
	my ($wire, $call, $type, $text, $hex) = @_;
	my $bytes = pack 'H*', substr $hex, 2;
	my $send = $is_ours{$type};
	for my $how ([ 0, $text ], [ 1, $bytes ])
	{
		my ($binary, $value) = @$how;
		my $error = $wire->prepare("SELECT $send(v), v::text FROM (SELECT \$1::$type AS v OFFSET 0) x", $binary);
		my ($answer) = $error ? { error => $error } : $wire->run([$value]);
		return failure('a connection lost', $call, "reading a value of type $type") unless $answer;
		my $what = $binary ? 'binary' : 'text';
		if ($answer->{error}) { failure('a value that is refused', $call, "$type as $what: $answer->{error}{C} $answer->{error}{M}: $text") }
		elsif ($answer->{rows}[0][0] ne $hex || $answer->{rows}[0][1] ne $text) { failure('another value when read again', $call, "$type as $what: $text is $answer->{rows}[0][1]") }
	}
}

sub try_call
{
	my ($wire, $f, $call, $taken_back) = @_;
	my $name = $call->{name} //= $f->{name};
	# what is not evaluated is on no board before somebody asks for it
	$call->{teardown} //= 'CALL loyalty.refresh_engagements()' if $name eq 'backfill_activities';
	if ($taken_back) { print $log "BEGIN;\n"; $wire->query('BEGIN') }
	my $processor = processor_time($wire);
	my $peak = memory_of($wire);
	my $began = time;
	my $answer = run_call($wire, $call);
	my $took = time - $began;
	$calls++;
	$tried{$name}++;
	if (!$answer)
	{
		failure($took > 100 ? 'a call that does not end' : 'a connection lost', $call, sprintf 'after %.1f s', $took);
		return 0;
	}
	$processor = processor_time($wire) - $processor if defined $processor;
	failure('a call that could not be cancelled', $call, sprintf 'it took %.1f s of the processor\'s time', $processor) if defined $processor && $processor > $time_limit + $patience;
	my $memory = memory_of($wire);
	if (defined $memory && $memory > $peak && $memory - $wire->{began_with} > $memory_limit)
	{
		failure('too much memory', $call, sprintf '%d MB', ($memory - $wire->{began_with}) / 1024);
	}
	my $error = $answer->{error};
	$states{ $error ? $error->{C} : 'none' }{$name}++;
	if ($error)
	{
		$last_error{$name} = "$error->{C} $error->{M}: " . pasted($call) if $error->{C} ne '42501' || !$last_error{$name};
		failure('an error that is not the caller\'s', $call, "$error->{C} $error->{M}" . ($error->{W} ? "\n$error->{W}" : '')) unless $error->{C} =~ $proper || $error->{C} eq ($proper_of{$name} // '') || $f->{part} && $error->{C} !~ $improper_inside || ($call->{setup} || $f->{returns} eq 'trigger') && $error->{C} =~ $proper_setup;
	}
	else
	{
		$succeeded{$name}++;
		for my $check (@{ $call->{checks} })
		{
			for my $row (@{ $answer->{rows} }[ 0 .. (@{ $answer->{rows} } > 5 ? 4 : $#{ $answer->{rows} }) ])
			{
				check_value($wire, $call, $check->[2], @$row[ $check->[0], $check->[1] ]) if defined $row->[ $check->[0] ];
			}
		}
	}
	for my $notice (@{ $answer->{notices} // [] })
	{
		failure('a warning', $call, $notice->{M}) if $notice->{V} eq 'WARNING' && $notice->{M} =~ /leak|not closed|problem in|still referenced|snapshot/;
	}
	if (my $end = $taken_back ? 'ROLLBACK' : $call->{teardown}) { print $log "$end;\n"; $wire->query($end) or return 0 }
	return 1;
}

# Everything that the tables and sequences hold
sub contents
{
	my ($wire) = @_;
	my @tables = run_sql($wire, "SELECT format('SELECT %L || md5(coalesce(string_agg(t::text, '','' ORDER BY t::text), '''')) FROM loyalty.%I t', relname, relname) FROM pg_class WHERE relnamespace = 'loyalty'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname");
	return join "\n", (map { (run_sql($wire, $_->[0]))[0][0] } @tables), map { "@$_" } run_sql($wire, "SELECT sequencename, coalesce(last_value::text, '') FROM pg_sequences WHERE schemaname = 'loyalty' ORDER BY 1");
}

sub check_programme
{
	my ($admin) = @_;
	# points may be anybody's, as long as configure_program() is not called
	my $answer = $admin->query("SELECT room, invariant, member_id, currency, entry_id, detail FROM loyalty.check_all() WHERE invariant <> 'stranger'");
	return 1 if $answer && !$answer->{error} && !@{ $answer->{rows} };
	my $what = !$answer ? 'connection lost' : $answer->{error} ? "$answer->{error}{C} $answer->{error}{M}" : join "\n", map { join ' | ', map { $_ // '' } @$_ } @{ $answer->{rows} };
	push @{ $failures{'check_all() that is not empty'} }, "round $round: after what round_$round.sql has\n$what";
	return 0;
}

sub shuffled
{
	my @list = @_;
	for my $i (reverse 1 .. $#list) { my $j = pick($i + 1); @list[ $i, $j ] = @list[ $j, $i ] }
	return @list;
}

my @settings = ("SET statement_timeout = '${time_limit}s'", "SET lock_timeout = '1s'", 'SET client_min_messages = warning');
my @parallel = ('SET parallel_setup_cost = 0', 'SET parallel_tuple_cost = 0', 'SET min_parallel_table_scan_size = 0', 'SET max_parallel_workers_per_gather = 2');

sub session
{
	my ($mode) = @_;
	my $wire = connect_as($mode eq 'stranger' ? 'calls_stranger' : 'calls_owner', 'calls');
	for my $sql (@settings, chance(50) ? @parallel : ()) { print $log "$sql;\n"; run_sql($wire, $sql) }
	return $wire;
}

sub run_round
{
	my ($mode, $change) = @_;
	RandomHistory::seed($seed * 1_000_003 + $round);
	my $file = "$log_dir/round_$round.sql";
	open $log, '>', $file or die "$file: $!";
	$log->autoflush(1);
	print $log "-- seed $seed, round $round: $mode\n";
	my $failed = sum0(map { scalar @$_ } values %failures);
	run_sql($postgres, 'DROP DATABASE IF EXISTS calls WITH (FORCE)', 'CREATE DATABASE calls TEMPLATE calls_programme');
	my $admin = connect_as('postgres', 'calls');
	my $before = $mode eq 'stranger' ? contents($admin) : undef;
	my $wire = session($mode);
	my $n = 0;
	for my $f (shuffled(@callables))
	{
		next if $mode eq 'committed' && ($f->{schema} ne 'loyalty' || $f->{part} || $f->{volatile} && !$f->{writes} || !$f->{writes} && chance(70));
		next if $f->{kind} eq 'p' && $mode eq 'taken back';
		# without changes: until it succeeds; a procedure has to in a round that is committed
		for my $changed (!$change || $mode eq 'committed' && $f->{kind} eq 'p' ? (0) x 20 : (), !$change ? () : $mode eq 'committed' && $f->{writes} ? (1) x 3 : 1)
		{
			next if !$changed && $succeeded{ $f->{name} };
			my $call = $f->{kind} eq 'a' ? call_aggregate($f, $changed)
			  : $f->{returns} eq 'trigger' && chance(80) ? call_trigger($f, $mode eq 'stranger' ? 'mine' : 'shop')
			  : $mode eq 'stranger' && chance(4) ? call_own_aggregate() : call_function($f, $changed);
			if (!try_call($wire, $f, $call, $mode eq 'taken back'))
			{
				# a server that crashed is back after a while
				for (1 .. 60) { sleep 1; last if eval { $postgres = connect_as('postgres', 'postgres') } }
				$admin = connect_as('postgres', 'calls');
				$wire = session($mode);
			}
			elsif (defined(memory_of($wire)) && memory_of($wire) - $wire->{began_with} > $memory_limit / 4) { $wire = session($mode) }
			last if $mode eq 'committed' && ++$n % 50 == 0 && !check_programme($admin);
		}
	}
	if ($mode eq 'committed') { check_programme($admin) }
	elsif ($mode eq 'stranger')
	{
		my $after = contents($admin);
		push @{ $failures{'a stranger who changed something'} }, "round $round: $file\n$before\n$after" if $after ne $before;
	}
	close $log;
	unlink $file if $failed == sum0(map { scalar @$_ } values %failures);
}

undef $catalog;					# nobody may be in what is copied
my @modes = ('taken back', 'stranger', 'committed');
if (defined $only_round) { $round = $only_round; run_round($modes[ $round % 3 ], $round > 0) }
else
{
	my $until = time + $seconds;
	for ($round = 0; $round < 3 || time < $until; $round++) { run_round($modes[ $round % 3 ], $round > 0) }
}

note("seed $seed: $calls calls in $round rounds; ", join ', ', map { my $s = $_; "$s " . sum0(values %{ $states{$s} }) } sort keys %states);
for my $kind ('a connection lost', 'a call that does not end', 'an error that is not the caller\'s', 'a call that could not be cancelled', 'too much memory', 'a value that is refused',
	'another value when read again', 'a warning', 'check_all() that is not empty', 'a stranger who changed something')
{
	my @found = @{ $failures{$kind} // [] };
	is(scalar @found, 0, "no call brings $kind");
	diag("seed $seed, ", substr $_, 0, 3000) for @found > $show ? @found[ 0 .. $show - 1 ] : @found;
}

# Functions of aggregates do only within one.  These refuse whoever calls them
# by themselves: parts of statements of ours, and what a procedure asks; and
# distribute() wants machines.
my %never = map { $_ => 1 } qw(distribute posted_lots require_autocommit step_tier wallet_apply wallet_unapply);
my @failed = grep { $_->{returns} ne 'trigger' && !$_->{of_aggregate} && !$succeeded{ $_->{name} } && !$never{ $_->{name} }++ } @callables;
if (!defined $only_round)
{
	my @whole = grep { !$_->{part} } @failed;
	is(join(' ', sort map { $_->{name} } @whole), '', 'every function that is no part of another succeeds');
	diag("$_->{name}: tried $tried{ $_->{name} } times, last: ", substr $last_error{ $_->{name} } // '', 0, 600) for @whole;
	note('parts of other functions that never succeeded: ', join ' ', sort map { $_->{name} } grep { $_->{part} } @failed);
}

run_sql($postgres, 'DROP DATABASE IF EXISTS calls WITH (FORCE)', 'DROP DATABASE calls_programme WITH (FORCE)', map { "DROP ROLE $_" } 'calls_owner', 'calls_stranger', 'calls_clerk');
done_testing();
