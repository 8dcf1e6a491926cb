# Random baskets: what preview_basket() says of each is compared with what is
# recorded then, by redeem() and record_activity(): lines, amount, discounts and
# how they are spread, points and other awards.  Each code that it refuses is
# refused by record_activity() with the same SQLSTATE, alone or beside the codes
# that apply.  In between orders come back, are cancelled, coupons are issued,
# reserved and revoked, members are merged.  A standby says the same.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use JSON::PP;
use Test::More;

my $seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? time : 1);
my $worlds = $ENV{LOYALTY_SOAK} ? 30 : 4;
my $steps = $ENV{LOYALTY_SOAK} ? 400 : 150;
srand $seed;
note "LOYALTY_SEED=$seed";

my $json = JSON::PP->new->canonical;
my $node = PostgreSQL::Test::Cluster->new('basket');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "timezone = 'UTC'");
$node->start;

sub one_of { return $_[ int rand @_ ] }
sub some_of { my ($most, @of) = @_; my %some = map { one_of(@of) => 1 } 1 .. int rand($most + 1); return sort keys %some }
sub quoted { my ($text) = @_; return 'NULL' unless defined $text; $text =~ s/'/''/g; return "'$text'" }
sub array { return "'{" . join(',', @_) . "}'" }

# What a basket does, in the database: says in what the preview was wrong.
my $compare = <<'SQL';
CREATE FUNCTION public.refusal(member_id bigint, kind text, at timestamptz, amount numeric, lines jsonb, channel text, money text, codes text[], basket text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM loyalty.record_activity($1, $2, $3, $4, $5, channel => $6, money => $7, codes => $8, basket => $9);
	RAISE SQLSTATE 'ZZ999';
EXCEPTION
	WHEN SQLSTATE 'ZZ999' THEN RETURN NULL;
	WHEN OTHERS THEN RETURN SQLSTATE;
END$$;

CREATE FUNCTION public.spend_refusal(member_id bigint, points bigint, at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM loyalty.redeem($1, $2, effective_at => $3);
	RAISE SQLSTATE 'ZZ999';
EXCEPTION
	WHEN SQLSTATE 'ZZ999' THEN RETURN NULL;
	WHEN OTHERS THEN RETURN SQLSTATE;
END$$;

-- What differs; NULL: nothing.  Awards that hold nothing have a row only where a limit had a say for the first time.
CREATE FUNCTION public.wrong(member_id bigint, kind text, at timestamptz, amount numeric, lines jsonb, channel text, money text, codes text[], basket text, use_points bigint)
RETURNS text LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
	said jsonb := (SELECT coalesce(jsonb_agg(to_jsonb(p)), '[]') FROM loyalty.preview_basket(member_id, kind, at, amount, lines, channel, NULL, money, NULL, codes, basket, true, use_points) p);
	good text[] := ARRAY(SELECT r ->> 'item' FROM jsonb_array_elements(said) r WHERE r ->> 'what' = 'coupon' AND r ->> 'refusal' IS NULL);
	r record;
	is_refused text;
	recorded record;
	stored loyalty.activity;
	a jsonb;
	b jsonb;
BEGIN
	FOR r IN SELECT x ->> 'item' AS code, x ->> 'refusal' AS refusal FROM jsonb_array_elements(said) x WHERE x ->> 'what' = 'coupon' AND x ->> 'refusal' IS NOT NULL LOOP
		is_refused := public.refusal(member_id, kind, at, amount, lines, channel, money, good || CASE WHEN r.refusal = 'LY003' THEN ARRAY[r.code, r.code] ELSE ARRAY[r.code] END, basket);
		IF is_refused IS NULL THEN
			RETURN format('code %s is refused by %s, and is redeemed', r.code, r.refusal);
		END IF;
		-- what is wrong with the code itself comes first; a code that is given twice is not given alone
		is_refused := coalesce(CASE WHEN r.refusal <> 'LY003' THEN public.refusal(member_id, kind, at, amount, lines, channel, money, ARRAY[r.code], basket) END, is_refused);
		IF is_refused <> r.refusal AND NOT (r.refusal IN ('LY616', 'LY617') AND is_refused = 'LY611') THEN
			RETURN format('code %s is refused by %s, and not by %s', r.code, is_refused, r.refusal);
		END IF;
	END LOOP;
	FOR r IN SELECT (x ->> 'points')::bigint AS points, (x ->> 'wanted')::bigint AS wanted, x ->> 'refusal' AS refusal FROM jsonb_array_elements(said) x WHERE x ->> 'what' = 'points' LOOP
		is_refused := public.spend_refusal(member_id, r.wanted, at);
		IF is_refused IS DISTINCT FROM r.refusal THEN
			RETURN format('%s points are refused by %s, and not by %s', r.wanted, is_refused, r.refusal);
		END IF;
		IF r.points > 0 THEN
			PERFORM loyalty.redeem(member_id, r.points, effective_at => at);
		END IF;
	END LOOP;
	SELECT * INTO recorded FROM loyalty.record_activity(member_id, kind, at, amount, lines, channel => channel, money => money, codes => good, basket => basket);
	SELECT * INTO stored FROM loyalty.activity x WHERE x.member_id = wrong.member_id AND x.activity_id = recorded.activity_id;
	IF recorded.discount <> (SELECT coalesce(sum((x ->> 'discount')::numeric), 0) FROM jsonb_array_elements(said) x WHERE x ->> 'what' = 'coupon') THEN
		RETURN format('discount %s', recorded.discount);
	END IF;
	IF stored.amount <> (SELECT (x ->> 'price')::numeric - recorded.discount FROM jsonb_array_elements(said) x WHERE x ->> 'what' = 'total') THEN
		RETURN format('amount %s', stored.amount);
	END IF;
	a := (SELECT jsonb_agg(x -> 'details') FROM jsonb_array_elements(said) x WHERE x ->> 'what' = 'line');
	IF a <> coalesce(stored.lines, '[]') THEN
		RETURN format('lines %s', stored.lines);
	END IF;
	a := (SELECT jsonb_object_agg(coalesce(x ->> 'benefit', '') || ' ' || loyalty.normalize_code(x ->> 'item'), x -> 'details') FROM jsonb_array_elements(said) x WHERE x ->> 'what' = 'coupon' AND x ->> 'refusal' IS NULL);
	b := (SELECT jsonb_object_agg(c.benefit || ' ' || loyalty.normalize_code(c.code), x.spread) FROM loyalty.coupon_act x JOIN loyalty.coupon c USING (member_id, coupon_id)
		WHERE x.activity_id = recorded.activity_id AND x.kind = 'redeemed');
	IF a IS DISTINCT FROM b THEN
		RETURN format('spread %s', b);
	END IF;
	a := (SELECT jsonb_object_agg(format('%s %s %s %s', x ->> 'campaign', x ->> 'effect', x ->> 'currency', x ->> 'item'), format('%s %s', x ->> 'points', x ->> 'limited_by'))
		FROM jsonb_array_elements(said) x WHERE x ->> 'what' = 'award' AND (x ->> 'points')::bigint <> 0);
	-- what is taken back of several entries has a row for each
	b := (SELECT jsonb_object_agg(format('%s %s %s %s', x.campaign, x.effect, x.currency, x.item), format('%s %s', x.points, x.limited_by))
		FROM (SELECT w.campaign, w.effect, w.currency, w.item, sum(w.points) AS points, max(w.limited_by) AS limited_by FROM loyalty.award w
			WHERE w.activity_id = recorded.activity_id GROUP BY 1, 2, 3, 4) x WHERE x.points <> 0);
	IF a IS DISTINCT FROM b THEN
		RETURN format('awards %s', b);
	END IF;
	IF recorded.points <> (SELECT coalesce(sum((x ->> 'points')::bigint), 0) FROM jsonb_array_elements(said) x WHERE x ->> 'what' = 'award' AND x ->> 'currency' = 'points') THEN
		RETURN format('points %s', recorded.points);
	END IF;
	RETURN NULL;
END$$;

-- The same, or the error that it brings.
CREATE FUNCTION public.compared(VARIADIC arguments text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE format('SELECT public.wrong(%s)', array_to_string(arguments, ', ')) INTO said;
	RETURN CASE WHEN said IS NOT NULL THEN format('%s: %s', array_to_string(arguments, ', '), said) END;
EXCEPTION WHEN OTHERS THEN
	RETURN format('%s: %s %s', array_to_string(arguments, ', '), SQLSTATE, SQLERRM);
END$$;

-- Some of the codes that a member may know, or somebody else; now and then one twice.
CREATE FUNCTION public.some_codes(member_id bigint, n integer, salt text) RETURNS text[] LANGUAGE sql AS $$
	WITH known AS (
		SELECT code FROM (SELECT c.code FROM loyalty.coupon c WHERE c.member_id IN ($1, 3) AND c.code IS NOT NULL ORDER BY c.coupon_id DESC LIMIT 12) x
		UNION SELECT code FROM (SELECT k.shown AS code FROM loyalty.coupon_code k WHERE k.coupon_id IS NULL AND k.place IS NULL ORDER BY k.code LIMIT 12) y
		UNION SELECT 'NIX'),
	chosen AS (SELECT code FROM known ORDER BY md5(code || $3) LIMIT $2)
	SELECT array_agg(code) || CASE WHEN md5($3) < '1' THEN array_agg(lower(code)) END FROM chosen
$$;
SQL

# ---------------------------------------------------------------------------
# A world of benefits, campaigns and members
# ---------------------------------------------------------------------------

my @skus = qw(A B C D);
my (@generic, @benefits, @campaigns, @members);

sub random_lines_condition { return { sku => [ some_of(2, @skus) || 'A' ] } }

sub random_benefit
{
	my ($name) = @_;
	my %of = (kind => 'coupon', times => one_of(1, 1, 1, 2));
	my $how = one_of(qw(percent percent amount amount every units free));
	$of{class} = one_of(qw(lines order order));
	$of{discount} =
		$how eq 'percent' ? { percent => one_of(5, 10, 33.3, 100), (rand() < .3 ? (at_most => one_of(3, 7.5)) : ()) }
		: $how eq 'amount' ? { amount => one_of(1, 5, 12.34, 60) }
		: $how eq 'every' ? { amount => one_of(2, 5), every => one_of(20, 30) }
		: $how eq 'units' ? { percent => 50, every => 2, pick => one_of(qw(cheapest dearest)) }
		: { free => { sku => one_of(@skus), quantity => one_of(1, 2) } };
	if ($how =~ /percent|amount/ && rand() < .2) { $of{class} = 'shipping' }
	if ($how ne 'free' && rand() < .4) { $of{lines} = random_lines_condition() }
	if ($how ne 'free' && rand() < .2) { $of{except} = random_lines_condition() }
	if (rand() < .3) { $of{minimum} = one_of(10, 40) }
	if ($of{minimum} && rand() < .5) { $of{minimum_after} = JSON::PP::true }
	if (rand() < .5) { $of{exclusive} = one_of(undef, undef, 'g', 'h') }
	if (rand() < .3) { $of{priority} = one_of(1, 50, 200) }
	if (rand() < .2) { $of{valid} = one_of('10 days', '1 month') }
	if (rand() < .1) { $of{valid_after} = '5 days' }
	if (rand() < .15) { $of{between} = [ '2026-02-01', '2026-04-01' ] }
	if (rand() < .15) { $of{available} = one_of({ channel => ['app'] }, { count => { kind => 'order', within => 'lifetime', '>=' => 2 } }, { attribute => { club => ['yes'] } }, { amount => { '>=' => 30 } }) }
	if (rand() < .1) { $of{money} = 'EUR' }
	if (rand() < .15) { $of{on_return} = 'reevaluate' }
	if (rand() < .4) { $of{codes} = 'generic' }
	if (rand() < .3) { $of{member} = one_of(1, 2) }
	if (rand() < .2) { $of{total} = one_of(1, 4) }
	return \%of;
}

sub random_condition
{
	my @all;
	push @all, { amount => { '>=' => one_of(10, 30, 60) } } if rand() < .3;
	push @all, { lines => { sku => [ one_of(@skus) ], (rand() < .3 ? (quantity => { '>=' => 2 }) : ()) } } if rand() < .3;
	push @all, { channel => ['app'] } if rand() < .15;
	push @all, { weekday => [ 1, 2, 6 ] } if rand() < .15;
	push @all, { count => { kind => 'order', within => one_of(qw(lifetime month day)), one_of('=', '<=') => one_of(0, 1, 3) } } if rand() < .2;
	push @all, { spent => { kind => 'order', within => 'month', '>=' => 50 } } if rand() < .15;
	push @all, { attribute => { club => ['yes'] } } if rand() < .1;
	push @all, { tier => { club => ['gold'] } } if rand() < .1;
	return @all ? (when => { all => \@all }) : ();
}

sub random_campaign
{
	my ($lane, $coupons) = @_;
	my %of = (lane => $lane, random_condition());
	my @then = map
	{
		my $how = one_of(qw(rate rate fixed unit every coupon));
		$how eq 'coupon' && @$coupons ? { coupon => one_of(@$coupons) }
		: $how eq 'fixed' ? { points => one_of(5, 40) }
		: $how eq 'unit' ? { points => { give => 2, per => 'unit', (rand() < .5 ? (over => 'matching_lines') : ()) } }
		: $how eq 'every' ? { points => { give => 5, every => one_of(7, 20) } }
		: { points => { give => one_of(1, .5, 3), per => one_of(1, 2), round => one_of(qw(floor half_up ceil)), (rand() < .3 ? (round_at => 'line') : ()) }, (rand() < .2 ? (currency => 'status') : ()) }
	} 1 .. one_of(1, 1, 2);
	push @then, { multiply => one_of(2, 1.5), lane => 'base', (rand() < .4 && $of{when} ? (over => 'matching_lines') : ()) } if $lane eq 'bonus' && rand() < .5;
	$of{then} = \@then;
	$of{priority} = one_of(50, 100) if rand() < .5;
	$of{exclusive} = { group => 'x', pick => 'best' } if rand() < .2;
	$of{stop} = JSON::PP::true if rand() < .1;
	$of{at_limit} = 'refuse' if rand() < .3;
	my %limits;
	$limits{award} = one_of(20, 60) if rand() < .15;
	$limits{member} = [ { points => one_of(50, 200), within => one_of(qw(day month lifetime)), (rand() < .3 ? (name => 'daily') : ()) } ] if rand() < .3;
	push @{ $limits{member} }, { times => one_of(1, 3), within => 'month' } if rand() < .2;
	$limits{total} = { points => one_of(60, 500) } if rand() < .2;
	$of{limits} = \%limits if %limits;
	if ($lane eq 'base' && !$of{exclusive} && !$of{stop} && rand() < .3) { @of{qw(window having)} = ('month', { amount => { '>=' => one_of(20, 100) } }) }
	return \%of;
}

# Definitions that do not go together are refused, and others are tried.
sub define
{
	my ($db, $function, $name, $make, $from) = @_;
	for (1 .. 50)
	{
		my $definition = $make->();
		my ($status) = $node->psql($db, "SET client_min_messages = error; SELECT loyalty.$function('$name', " . quoted($json->encode($definition)) . ", effective_from => '$from')");
		return $definition if $status == 0;
	}
	die "no definition of $name was accepted";
}

sub make_world
{
	my ($db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION loyalty CASCADE; SELECT loyalty.setup(); SELECT loyalty.configure_program(time_zone => 'Europe/Berlin');
		SELECT loyalty.create_currency('status'); SELECT loyalty.define_measure('visits');
		SELECT loyalty.define_ladder('club', '{\"measures\": [{\"measure\": \"visits\", \"window\": \"lifetime\"}], \"levels\": [{\"level\": \"gold\", \"any\": {\"visits\": 10}}]}');
		INSERT INTO loyalty.member (member_id, attributes) SELECT m, CASE m % 2 WHEN 0 THEN '{\"club\": \"yes\"}' ELSE '{}' END::jsonb FROM generate_series(1, 6) m;
		SELECT loyalty.grant_tier(1, 'club', 'gold', starts_at => '2026-02-15');
		SELECT loyalty.earn(m, 700 * m, effective_at => '2026-01-01', expires_at => CASE WHEN m % 3 = 0 THEN timestamptz '2026-03-10' END) FROM generate_series(1, 5) m;
		SELECT loyalty.define_benefit('mall', '{\"kind\": \"payment\", \"points\": 100, \"worth\": 1, \"step\": 50, \"least\": 100, \"share\": 50}');
		SELECT loyalty.define_product('A', 'food/tea'), loyalty.define_product('D', earns => false);" . $compare);
	(@generic, @benefits, @campaigns) = ();
	@members = (1 .. 6);
	for my $n (1 .. 9)
	{
		my $definition = define($db, 'define_benefit', "b$n", sub { random_benefit() }, '2026-01-01');
		push @benefits, "b$n";
		next unless ($definition->{codes} // '') eq 'generic';
		my @codes = ("GEN$n", rand() < .3 ? "ALSO$n" : ());
		push @generic, @codes;
		$node->safe_psql($db, "SELECT loyalty.add_codes('b$n', " . array(@codes) . ")");
	}
	for my $n (1 .. 9)
	{
		my $lane = $n <= 5 ? 'base' : 'bonus';
		define($db, 'define_campaign', "c$n", sub { random_campaign($lane, \@benefits) }, '2026-01-01');
	}
}

# ---------------------------------------------------------------------------
# Baskets
# ---------------------------------------------------------------------------

my $last_at = '2026-01-15 10:00+01';

sub random_at
{
	$last_at = sprintf '2026-%02d-%02d %02d:%02d+01', one_of(1 .. 4), one_of(2 .. 28), one_of(0 .. 23), one_of(0, 30) unless rand() < .15;
	return $last_at;
}

# The arguments of a basket, as SQL: member, kind, at, amount, lines, channel, money, codes, basket
sub random_basket
{
	my ($member) = @_;
	my @lines = map
	{
		my %line = (sku => one_of(@skus), quantity => one_of(1, 1, 2, 3, .5));
		rand() < .5 ? ($line{amount} = one_of(5, 9.99, 20, 33.33, 47.10)) : ($line{price} = one_of(3.20, 10, 19.99));
		\%line
	} 1 .. int rand 4;
	my $amount = !@lines || rand() < .2 ? one_of(4.90, 25, 60, 88.88, 120) : undef;
	return ($member, quoted(one_of('order', 'order', 'order', 'review')), quoted(random_at()), quoted($amount), quoted(@lines ? $json->encode(\@lines) : undef),
		quoted(one_of('app', 'web', undef)), quoted(one_of('EUR', 'EUR', undef, 'JPY')), "public.some_codes($member, " . int(rand 5) . ", '" . int(rand 1e9) . "')",
		quoted(one_of(undef, undef, 'b 1', 'b 2')));
}

# Something else that happens; whether it is refused does not matter.
sub something_else
{
	my $member = one_of(@members);
	my $benefit = one_of(@benefits);
	my $at = quoted(random_at());
	my $activity = "(SELECT a FROM loyalty.activity a WHERE member_id = $member AND moved_to IS NULL ORDER BY activity_id DESC LIMIT 1)";
	return one_of(
		("SELECT loyalty.issue_coupon($member, '$benefit', $at)") x 4,
		("SELECT loyalty.generate_codes('$benefit', 1)") x 2,
		"SELECT loyalty.reserve_coupons($member, " . quoted(one_of('b 1', 'b 2')) . ", ARRAY[code], $at\::timestamptz + interval '20 days', $at) FROM (SELECT code FROM loyalty.coupon WHERE member_id = $member ORDER BY coupon_id DESC LIMIT 1) c",
		"SELECT loyalty.revoke_coupon($member, coupon_id) FROM (SELECT coupon_id FROM loyalty.coupon WHERE member_id = $member AND ended IS NULL AND basket IS NULL ORDER BY coupon_id LIMIT 1) c",
		"SELECT loyalty.revise_activity($member, (a).activity_id, cancelled => NOT (a).cancelled) FROM $activity a",
		"SELECT loyalty.record_return($member, (a).activity_id, at => '2026-05-01') FROM $activity a",
		"SELECT loyalty.earn($member, 300, effective_at => $at)") . " \\g /dev/null\n";
}

my %met;
for my $world (1 .. $worlds)
{
	my $db = "world_$world";
	make_world($db);
	my $script = "SET client_min_messages = warning;\n";
	$script .= "SELECT loyalty.issue_coupon(" . one_of(@members) . ", '" . one_of(@benefits) . "', '2026-01-20') \\g /dev/null\n" for 1 .. 15;
	for my $step (1 .. $steps)
	{
		$script .= something_else() if rand() < .5;
		$script .= "SELECT loyalty.merge_members(5, 6) \\g /dev/null\n" if $step == int $steps / 2;
		$script .= 'SELECT public.compared(' . join(', ', map { "\$_\$$_\$_\$" } random_basket(one_of(@members)), one_of('NULL', 'NULL', 100, 150, 777, 5000)) . ");\n";
	}
	$node->psql($db, $script, stdout => \my $said, stderr => \my $errors, on_error_stop => 0);
	my @wrong = grep { $_ ne '' } split /\n/, $said;
	is(scalar @wrong, 0, "world $world: what was previewed was recorded") or diag join "\n", @wrong;
	is($node->safe_psql($db, 'SELECT count(*) > 0.5 * ' . $steps . ' FROM loyalty.activity'), 't', "world $world: most baskets were");
	unlike($errors, qr/^.*ERROR:  (?!.*(?:LY|coupon|code|activity|points|member|benefit|cancelled))/m, "world $world: what else happened was refused for its own reasons");
	is($node->safe_psql($db, 'SELECT * FROM loyalty.check_all()'), '', "world $world: all is well");
	my $found = $node->safe_psql($db, q{SELECT string_agg(what, ' ') FROM (
		SELECT 'redeemed' AS what FROM loyalty.coupon_act WHERE kind = 'redeemed' UNION SELECT 'two of an order' FROM loyalty.coupon_act WHERE kind = 'redeemed' GROUP BY activity_id HAVING count(*) > 1
		UNION SELECT limited_by FROM loyalty.award WHERE limited_by IS NOT NULL UNION SELECT 'coupon given' FROM loyalty.award WHERE kind = 'coupon' AND points > 0
		UNION SELECT 'on the spot' FROM loyalty.coupon WHERE on_the_spot UNION SELECT 'points spent' FROM loyalty.ledger WHERE kind = 'redeem' UNION SELECT 'window' FROM loyalty.award WHERE window_start IS NOT NULL AND points <> 0) x});
	$met{$_} = 1 for qw(redeemed), grep { index($found, $_) >= 0 } ('two of an order', 'coupon given', 'on the spot', 'points spent', 'window', 'coupon_member', 'coupon_total', 'total');
}
is(join(', ', grep { !$met{$_} } 'redeemed', 'two of an order', 'coupon given', 'on the spot', 'points spent', 'window', 'coupon_member', 'total'), '', 'all that matters was met');

# ---------------------------------------------------------------------------
# A standby
# ---------------------------------------------------------------------------

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('basket_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my $queries = join '', map
{
	my ($member, $kind, $at, $amount, $lines, $channel, $money, $codes, $basket) = random_basket(one_of(@members, 'NULL'));
	$codes =~ s/\(NULL/(1/;
	"SELECT jsonb_agg(to_jsonb(p)) FROM loyalty.preview_basket($member, $kind, $at, $amount, $lines, $channel, NULL, $money, NULL, $codes, $basket, true, 100) p;\n"
} 1 .. 40;
$node->wait_for_catchup($standby);
my $here = $node->safe_psql('world_1', $queries);
is($standby->safe_psql('world_1', $queries), $here, 'a standby says the same');
cmp_ok(length $here, '>', 10000, 'which is something');

done_testing();
