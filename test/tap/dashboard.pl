# The page of make dashboard: what its queries answer over a small shop, against
# SQL that asks the tables; and, where the test is a long one (make soak), the
# page itself, built by Observable Framework and looked at in headless Chromium.
#
# To build it takes npm ci (a hundred megabytes), Chromium and more than a minute:
# too much for make test, which says that it skips it.
use strict;
use warnings;

use IPC::Run;
use JSON::PP;
use Test::More;

my $page = "$ENV{LOYALTY_TOP}/dashboard";
my $database = 'dashboard';
@ENV{qw(PGHOST PGPORT PGUSER PGDATABASE)} = ($ENV{LOYALTY_TEST_HOST}, 5432, 'postgres', $database);
my $json = JSON::PP->new->utf8;

sub run
{
	my ($in, @command) = @_;
	my ($out, $err) = ('', '');
	return (IPC::Run::run(\@command, '<', \$in, '>', \$out, '2>', \$err), $out, $err);
}

my ($ok, $out, $err) = run('', qw(psql -Xq -v ON_ERROR_STOP=1 -d postgres -c), "DROP DATABASE IF EXISTS $database", '-c', "CREATE DATABASE $database");
BAIL_OUT($err) unless $ok;
($ok, $out, $err) = run('', qw(psql -XqAt -v ON_ERROR_STOP=1 -v members=150 -f), "$page/demo.sql");
ok($ok, 'a small shop') or BAIL_OUT($err);

# ---- every query answers, with rows

my %rows;
for my $file (sort glob "$page/queries/*.sql")
{
	my ($name) = $file =~ m{([^/]+)\.sql$};
	($ok, $out, $err) = run('', "$page/query.sh", $name);
	ok($ok, "query $name") or BAIL_OUT($err);
	$rows{$name} = $json->decode($out);
	cmp_ok(scalar @{ $rows{$name} }, '>', 0, "$name has rows");
	# the first one has found it out
	$ENV{LOYALTY_CURRENCY} = 'leaves';
}
delete $ENV{LOYALTY_CURRENCY};
is($json->decode((run('', "$page/query.sh", 'headline'))[1])->[0]{currency}, 'leaves', 'of the currency of which most is outstanding');
ok(!(run('', "$page/query.sh", '../demo'))[0], 'nothing but queries is run');
{
	local $ENV{LOYALTY_CURRENCY} = 'points';
	is_deeply($json->decode((run('', "$page/query.sh", 'liability'))[1]), [], 'of another currency');
}

# ---- figures: what tables say, without a view, and what the page is told

sub sum
{
	my ($name, $column, $where) = @_;
	my $sum = 0;
	$sum += $_->{$column} // 0 for grep { !$where || $where->($_) } @{ $rows{$name} };
	return $sum;
}
sub first { return $rows{ $_[0] }[0]{ $_[1] } }
sub last_of { return $rows{ $_[0] }[-1]{ $_[1] } }
sub most { my ($name, $column) = @_; return (sort { $b <=> $a } map { $_->{$column} } @{ $rows{$name} })[0] }

# as the page shows them
sub whole { my $n = sprintf '%.0f', shift; 1 while $n =~ s/^(-?\d+)(\d{3})/$1,$2/; return $n }
sub percent { return sprintf '%.1f%%', 100 * shift }
sub money { my $n = sprintf '%.2f', shift; 1 while $n =~ s/^(-?\d+)(\d{3})/$1,$2/; return $n }
sub plain { return 0 + shift }

my $order = "kind = 'order' AND NOT cancelled AND NOT returned";
my $here = "AT TIME ZONE 'Europe/London'";
my $this_month = "date_trunc('month', now() $here)";
my @figures = (
	[ 'members', 'count(*) FROM loyalty.member', sub { first('headline', 'members') }, \&whole ],
	[ 'active', "count(DISTINCT member_id) FROM loyalty.activity, (SELECT max(local_day) AS last FROM loyalty.activity WHERE NOT cancelled AND kind <> 'contact') x
		WHERE NOT cancelled AND kind <> 'contact' AND local_day > last - 30", sub { first('headline', 'active') }, \&whole ],
	[ 'buyers', "count(DISTINCT member_id) FROM loyalty.activity WHERE $order AND at $here >= $this_month - interval '1 month' AND at $here < $this_month", sub { first('headline', 'buyers') }, \&whole ],
	[ 'outstanding', "sum(b.available + b.pending + b.held) FROM loyalty.member m, loyalty.balance(m.member_id, 'leaves') b", sub { first('headline', 'points') }, \&whole ],
	[ 'worth', "value FROM loyalty.liability('leaves')", sub { first('headline', 'value') }, \&money ],
	[ 'nps', "round(100.0 * (count(*) FILTER (WHERE score >= 9) - count(*) FILTER (WHERE score <= 6)) / count(*), 1) FROM (SELECT (document ->> 'score')::numeric AS score, local_day
		FROM loyalty.activity WHERE kind = 'survey') x WHERE local_day >= $this_month - interval '1 month' AND local_day < $this_month", sub { first('headline', 'nps') }, \&plain ],
	[ 'growth', "count(DISTINCT member_id) FROM loyalty.activity WHERE $order AND at $here >= $this_month - interval '1 month' AND at $here < $this_month", sub { last_of('growth', 'buyers') }, \&whole ],
	[ 'activity', "count(DISTINCT member_id) FROM loyalty.activity, (SELECT max(local_day) AS last FROM loyalty.activity WHERE NOT cancelled AND kind <> 'contact') x
		WHERE NOT cancelled AND kind <> 'contact' AND local_day > last - 30", sub { last_of('activity', 'monthly') }, \&whole ],
	[ 'segments', "count(DISTINCT member_id) FROM loyalty.activity WHERE $order", sub { sum('segments', 'members') }, \&whole ],
	[ 'retention', "sum((EXISTS (SELECT FROM loyalty.activity b WHERE b.member_id = f.member_id AND $order AND date_trunc('month', b.at $here) = f.month + interval '1 month'))::integer)::numeric / count(*)
		FROM (SELECT member_id, date_trunc('month', min(at) $here) AS month FROM loyalty.activity WHERE $order GROUP BY 1) f
		WHERE f.month < $this_month - interval '1 month' AND f.month >= $this_month - interval '14 months'",
		sub { my $next = sub { $_[0]{months_later} == 1 }; sum('retention', 'active', $next) / sum('retention', 'cohort_size', $next) }, \&percent ],
	[ 'levels', "count(*) FROM loyalty.member m WHERE loyalty.tier_of(m.member_id, 'club') IS NOT NULL", sub { sum('levels', 'members', sub { $_[0]{rank} > 0 }) }, \&whole ],
	[ 'moves', "count(*) FROM (SELECT t.starts_at, t.level, lag(t.level) OVER (PARTITION BY m.member_id ORDER BY t.starts_at) AS before FROM loyalty.member m, loyalty.member_tiers(m.member_id, 'club') t
		WHERE t.starts_at <= now()) x WHERE starts_at > now() - interval '180 days' AND level IS DISTINCT FROM before", sub { sum('level_moves', 'moves') }, \&whole ],
	[ 'points', "sum(CASE WHEN l.kind = 'earn' OR t.kind = 'earn' THEN l.points END) FROM loyalty.ledger l LEFT JOIN loyalty.ledger t ON t.member_id = l.member_id AND t.entry_id = l.target_entry_id
		WHERE l.currency = 'leaves' AND l.effective_at $here >= $this_month - interval '13 months'", sub { sum('points', 'points', sub { $_[0]{what} eq 'issued' }) }, \&whole ],
	[ 'liability', "sum(b.available + b.pending + b.held) FROM loyalty.member m, loyalty.balance(m.member_id, 'leaves') b", sub { sum('liability', 'points') }, \&whole ],
	[ 'forecast', "sum(redeemed) FROM loyalty.redemption_forecast('leaves')", sub { sum('forecast', 'redeemed') }, \&whole ],
	[ 'campaigns', "sum(points) FROM loyalty.award WHERE currency = 'leaves' AND local_day > now() - interval '180 days'", sub { sum('campaigns', 'kept') }, \&whole ],
	[ 'trials', "round(difference::numeric, 6) FROM loyalty.trial_report('tea_weeks') WHERE arm = 1", sub { first('trials', 'difference') }, sub { ($_[0] < 0 ? "\x{2212}" : '+') . percent(abs $_[0]) } ],
	[ 'coupons', 'count(*) FILTER (WHERE uses > 0)::numeric / count(*) FROM loyalty.coupon', sub { sum('coupons', 'used') / sum('coupons', 'issued') }, \&percent ],
	[ 'limits', "count(*) FROM (SELECT 1 - loyalty.campaign_budget_left('check_in', 'points') / 30000.0 UNION ALL SELECT 1 - loyalty.campaign_budget_left('review', 'points') / 20000.0
		UNION ALL SELECT 1 - loyalty.campaign_budget_left('tea_weeks', 'points') / 40000.0 UNION ALL SELECT 1 - loyalty.reward_stock('mug') / 120.0 UNION ALL SELECT 1 - loyalty.reward_stock('tasting') / 40.0
		UNION ALL SELECT (SELECT count(*) FROM loyalty.coupon WHERE benefit = 'tea_20') / 1000.0) x (used) WHERE used >= 0.8", sub { scalar grep { $_->{used_share} >= 0.8 } @{ $rows{limits} } }, \&whole ],
	[ 'audiences', 'max(loyalty.count_members(loyalty.audience_set(audience))) FROM loyalty.audience', sub { most('audiences', 'members') }, \&whole ],
	[ 'boards', "max(amount) FROM (SELECT sum(amount) AS amount FROM loyalty.activity WHERE $order AND local_day >= (SELECT max(period_start) FROM loyalty.board_score) GROUP BY member_id) x", sub { first('boards', 'score') }, \&plain ],
	[ 'surveys', "round(100.0 * (count(*) FILTER (WHERE score >= 9) - count(*) FILTER (WHERE score <= 6)) / count(*), 1) FROM (SELECT (document ->> 'score')::numeric AS score, local_day
		FROM loyalty.activity WHERE kind = 'survey') x WHERE local_day >= $this_month - interval '1 month' AND local_day < $this_month", sub { last_of('surveys', 'nps') },
		sub { sprintf '%s%.1f', $_[0] < 0 ? "\x{2212}" : '+', abs $_[0] } ],
	[ 'affinity', "round(max(p.n::numeric * a.n / (f.n::numeric * t.n)), 6) FROM (WITH i AS (SELECT DISTINCT activity_id, l ->> 'category' AS c FROM loyalty.activity, jsonb_array_elements(lines) l WHERE $order)
		SELECT x.c AS f, y.c AS t, count(*) AS n, (SELECT count(DISTINCT activity_id) FROM i) AS total, (SELECT count(*) FROM i WHERE i.c = x.c) AS nf, (SELECT count(*) FROM i WHERE i.c = y.c) AS nt
		FROM i x JOIN i y ON y.activity_id = x.activity_id AND y.c <> x.c GROUP BY 1, 2 HAVING count(*) >= 10) p, LATERAL (SELECT p.total AS n) a, LATERAL (SELECT p.nf AS n) f, LATERAL (SELECT p.nt AS n) t",
		sub { first('affinity', 'lift') }, sub { sprintf '%.2f', shift } ],
	[ 'channels', "sum(amount) / sum(joined) FROM (SELECT c.amount, (SELECT count(*) FROM loyalty.member m WHERE m.joined_via = c.channel AND m.joined_at >= c.from_at AND m.joined_at < c.until) AS joined
		FROM loyalty.channel_cost c) x WHERE joined > 0", sub { sum('channels', 'cost') / sum('channels', 'joined') }, \&money ]);
my %shown;
for my $figure (@figures)
{
	my ($id, $sql, $told, $format) = @$figure;
	($ok, $out, $err) = run('', qw(psql -XqAt -v ON_ERROR_STOP=1 -c), "SELECT $sql");
	BAIL_OUT("$id: $err") unless $ok;
	chomp $out;
	cmp_ok(abs($told->() - $out), '<', 1e-6 * (1 + abs $out), "figure $id is $out");
	$shown{$id} = $format->($out);
}

# ---- the report of psql says the same

($ok, $out, $err) = run('', qw(psql -X -f), "$ENV{LOYALTY_TOP}/examples/report.sql");
ok($ok && $err eq '', 'examples/report.sql') or diag $err;
like($out, qr/^ members +\| 150 +\| active accounts$/m, 'it says how many members there are');
like($out, qr/^ outstanding +\| @{[first('headline', 'points')]} +\| leaves$/m, 'and points outstanding');
like($out, qr/^ \Q$_->{segment}\E +\| +$_->{members} \|/m, "and how large $_->{segment} is") for @{ $rows{segments} };
like($out, qr/^ \Q$_\E +\|/m, "and of $_") for 'campaign/tea_weeks/points', 'evaluate_goals', 'tea_20';
($ok, $out, $err) = run('', qw(psql -X -v currency=points -f), "$ENV{LOYALTY_TOP}/examples/report.sql");
ok($ok, 'of another currency') or diag $err;

# ---- the page

SKIP:
{
	skip 'the page itself: make soak builds it, and make dashboard', 1 unless $ENV{LOYALTY_SOAK};
	my $chromium = (grep { -x } $ENV{CHROMIUM} // '', '/usr/bin/chromium', '/usr/bin/chromium-browser')[0];
	skip 'the page itself: there is no node, npm or chromium here', 1 unless $chromium && (run('', qw(node --version)))[0] && (run('', qw(npm --version)))[0];
	# a home of its own, for npm and for Chromium
	mkdir "$ENV{TESTDIR}/home";
	local @ENV{qw(HOME CHROMIUM TMPDIR)} = ("$ENV{TESTDIR}/home", $chromium, "$ENV{TESTDIR}/home");
	($ok, $out, $err) = run('', 'cp', '-R', $page, "$ENV{TESTDIR}/page");
	($ok, $out, $err) = run('', 'sh', '-c', "cd '$ENV{TESTDIR}/page' && npm ci --ignore-scripts --no-audit --no-fund");
	skip 'the page itself: npm cannot be reached', 1 if !$ok && $err =~ /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|network/;
	ok($ok, 'npm ci') or diag $err;
	($ok, $out, $err) = run('', 'sh', '-c', "cd '$ENV{TESTDIR}/page' && OBSERVABLE_TELEMETRY_DISABLE=true npx observable build");
	ok($ok, 'the page is built') or diag "$out\n$err";
	($ok, $out, $err) = run('', 'node', "$ENV{TESTDIR}/page/look.js", "$ENV{TESTDIR}/page.png");
	ok($ok, 'nothing on the console, nothing asked for elsewhere, nothing overlaps') or diag $err;
	my $cards = $json->decode($out);
	is_deeply([ sort keys %$cards ], [ sort keys %shown ], 'every card is there');
	for my $id (sort keys %shown)
	{
		my $card = $cards->{$id} // {};
		is($card->{figure}, $shown{$id}, "$id shows its figure");
	}
	# what charts draw: a mark for each row
	my %marks = (segments => [ bars => scalar @{ $rows{segments} } ], retention => [ cells => scalar @{ $rows{retention} } ], levels => [ bars => scalar @{ $rows{levels} } ],
		liability => [ bars => 2 * @{ $rows{liability} } ], forecast => [ bars => 2 * @{ $rows{forecast} } ], points => [ bars => scalar @{ $rows{points} } ], growth => [ bars => 4 * @{ $rows{growth} } ],
		campaigns => [ bars => scalar @{ $rows{campaigns} } ], coupons => [ bars => 4 * @{ $rows{coupons} } ], limits => [ bars => scalar @{ $rows{limits} } ], audiences => [ bars => scalar @{ $rows{audiences} } ],
		boards => [ bars => scalar @{ $rows{boards} } ], channels => [ bars => scalar @{ $rows{channels} } ], affinity => [ cells => scalar @{ $rows{affinity} } ], trials => [ dots => scalar @{ $rows{trials} } ],
		surveys => [ dots => scalar @{ $rows{surveys} } ], activity => [ lines => 3 ], moves => [ texts => scalar @{ $rows{level_moves} } ]);
	for my $id (sort keys %marks)
	{
		my ($what, $n) = @{ $marks{$id} };
		my $drawn = $cards->{$id}{$what};
		is(ref $drawn ? scalar @$drawn : $drawn, $n, "$id has $n $what");
	}
	# and their texts the numbers
	is_deeply([ sort @{ $cards->{levels}{texts} } ], [ sort map { whole($_->{members}) } @{ $rows{levels} } ], 'texts of levels');
	is_deeply([ sort @{ $cards->{campaigns}{texts} } ], [ sort map { whole($_->{kept}) } @{ $rows{campaigns} } ], 'texts of campaigns');
	cmp_ok(-s "$ENV{TESTDIR}/page.png", '>', 20_000, 'a picture');
}
done_testing();
