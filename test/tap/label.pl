# Random histories of labels and consent against a reference that is written from
# the rules and shares nothing with the extension: what was said of members, by
# several sources, at instants of their own; then every question, as of and as
# known at any instant, also of merged members.
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Soak;

my $seed = $ENV{LOYALTY_SEED} || ($ENV{LOYALTY_SOAK} ? time : 1);
srand $seed;
note "LOYALTY_SEED=$seed";

my $node = PostgreSQL::Test::Cluster->new('label');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\njit = off");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup();
SELECT loyalty.define_label('flag', at_least => 0.5), loyalty.define_label('single', 'single', ranks => '{"crm": 0}'), loyalty.define_label('many', 'set');
SELECT loyalty.define_purpose('news'), loyalty.define_purpose('offers', '{"*": "opt_out"}');
SQL

# Instants are days from 2026-01-01 on.
sub day { sprintf "'2026-01-01 00:00Z'::timestamptz + interval '%d days'", $_[0] }
my %rank = (self => 1, operator => 2, rule => 3, model => 4, import => 5);
my @sources = qw(self operator model model:b import crm rule:x);
sub rank_of { my ($label, $source) = @_; return 0 if $label eq 'single' && $source eq 'crm'; $source =~ s/:.*//; return $rank{$source} // 99 }

my $member = 0;
my $next = Soak::rounds(4, 4);
while (my $round = $next->())
{
	# two members, who become one on day 50 of what is recorded, or do not
	my @m = ($member + 1, $member + 2);
	$member += 2;
	my $merged = int(rand 3) == 0;
	my (@said, @consent, $sql);
	$sql = "INSERT INTO loyalty.member (member_id) VALUES ($m[0]), ($m[1]);\n";
	for my $n (1 .. 60)
	{
		my %a = (member => $m[ rand 2 ], label => (qw(flag single many))[ rand 3 ], source => $sources[ rand @sources ], recorded => int(rand 100),
			from => int(rand 100), confidence => (1 + int rand 10) / 10, says => 'yes', value => undef, n => $n);
		$a{until} = rand() < 0.4 ? $a{from} + 1 + int rand 40 : undef;
		if (rand() < 0.25) { @a{qw(says until confidence)} = ('nothing', undef, 1) }
		elsif ($a{label} eq 'flag' && rand() < 0.3) { $a{says} = 'no' }
		$a{value} = (qw(a b c))[ rand 3 ] if $a{label} eq 'many' || $a{label} eq 'single' && $a{says} eq 'yes';
		push @said, \%a;
		$sql .= sprintf "INSERT INTO loyalty.member_label (member_id, label, value, says, source, confidence, valid_from, valid_until, recorded_at) VALUES (%d, '%s', %s, '%s', '%s', %s, %s, %s, %s);\n",
			$a{member}, $a{label}, defined $a{value} ? "'$a{value}'" : 'NULL', $a{says}, $a{source}, $a{confidence}, day($a{from}), defined $a{until} ? day($a{until}) : 'NULL', day($a{recorded});
	}
	for my $n (1 .. 12)
	{
		my %c = (member => $m[ rand 2 ], channel => (qw(email sms *))[ rand 3 ], purpose => (qw(news offers *))[ rand 3 ], says => (qw(yes no))[ rand 2 ], from => int(rand 50),
			recorded => int(rand 100), n => $n);
		$c{until} = $c{says} eq 'yes' && rand() < 0.2 ? $c{from} + 1 + int rand 30 : undef;
		push @consent, \%c;
		$sql .= sprintf "INSERT INTO loyalty.member_label (member_id, label, value, says, source, confidence, valid_from, valid_until, recorded_at) VALUES (%d, 'consent', '%s/%s', '%s', 'self', 1, %s, %s, %s);\n",
			$c{member}, $c{channel}, $c{purpose}, $c{says}, day($c{from}), defined $c{until} ? day($c{until}) : 'NULL', day($c{recorded});
	}
	$sql .= "SELECT loyalty.merge_members($m[0], $m[1]); UPDATE loyalty.member_merge SET recorded_at = @{[ day(50) ]} WHERE survivor_id = $m[0];\n" if $merged;
	$node->safe_psql('postgres', $sql);

	my (@questions, @wanted);
	for (1 .. 60)
	{
		my ($of, $t, $k) = ($m[ rand 2 ], int(rand 130), rand() < 0.5 ? int(rand 100) : 1000);
		my @who = $merged ? @m : ($of);
		my %lookup = map { $_ => 1 } @who;
		push @questions, sprintf "SELECT coalesce(string_agg(concat(l.label, '=', l.value, '\@', l.source), ' ' ORDER BY l.label COLLATE \"C\", l.value COLLATE \"C\"), '') FROM loyalty.labels(%d, %s, %s) l;\n", $of, day($t), day($k);
		push @wanted, labels($t, $k, grep { $lookup{ $_->{member} } } @said);
		my ($channel, $purpose) = ((qw(email sms))[ rand 2 ], (qw(news offers))[ rand 2 ]);
		push @questions, sprintf "SELECT loyalty.may_contact(%d, '%s', '%s', %s, %s)::text;\n", $of, $channel, $purpose, day($t), day($k);
		push @wanted, may($t, $k, $channel, $purpose, \@who, grep { $lookup{ $_->{member} } } @consent);
	}
	my @got = split /\n/, $node->safe_psql('postgres', join '', @questions), -1;
	my @wrong = grep { ($got[$_] // '') ne $wanted[$_] } 0 .. $#questions;
	is(scalar @wrong, 0, "round $round: every answer") or diag("$questions[$wrong[0]]got $got[$wrong[0]]\nnot $wanted[$wrong[0]]");
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM loyalty.check_all() c WHERE c.room = 'label'}), 0, 'all is well');
$node->stop;
done_testing();

# Later recorded; of one instant by member, then by number.
sub later { my ($a, $b) = @_; return $a->{recorded} <=> $b->{recorded} || $a->{member} <=> $b->{member} || $a->{n} <=> $b->{n} }

sub labels
{
	my ($t, $k, @said) = @_;
	my (%last, %speaks);
	for my $a (grep { $_->{recorded} <= $k && $_->{from} <= $t && (!defined $_->{until} || $t < $_->{until}) } @said)
	{
		my $key = join '|', $a->{label}, $a->{label} eq 'many' ? $a->{value} : '', $a->{source};
		$last{$key} = $a if !$last{$key} || later($a, $last{$key}) > 0;
	}
	for my $a (grep { $_->{says} ne 'nothing' } values %last)
	{
		my $key = join '|', $a->{label}, $a->{label} eq 'many' ? $a->{value} : '';
		my $b = $speaks{$key};
		$speaks{$key} = $a
		  if !$b
		  || (rank_of($b->{label}, $b->{source}) <=> rank_of($a->{label}, $a->{source}) || $a->{confidence} <=> $b->{confidence} || $a->{from} <=> $b->{from} || later($a, $b)) > 0;
	}
	return join ' ', sort map { sprintf '%s=%s@%s', $_->{label}, $_->{value} // ($_->{says} eq 'yes' ? 'true' : 'false'), $_->{source} } values %speaks;
}

sub may
{
	my ($t, $k, $channel, $purpose, $who, @acts) = @_;
	my ($any, $all) = (0, 1);
	for my $home (@$who)
	{
		my $stands;
		for my $c (grep { $_->{recorded} <= $k && $_->{from} <= $t && $_->{channel} =~ /^(?:\*|$channel)$/ && $_->{purpose} =~ /^(?:\*|$purpose)$/ } @acts)
		{
			# what was said to the other number counts from the merge on
			next if $c->{member} != $home && $c->{recorded} < 50;
			$stands = $c if !$stands || ($c->{from} <=> $stands->{from} || ($c->{says} eq 'no') <=> ($stands->{says} eq 'no') || later($c, $stands)) > 0;
		}
		next if !$stands;
		$any = 1;
		$all = 0 if $stands->{says} eq 'no' || defined $stands->{until} && $stands->{until} <= $t;
	}
	return $any ? ($all ? 'true' : 'false') : $purpose eq 'offers' ? 'true' : 'false';
}
