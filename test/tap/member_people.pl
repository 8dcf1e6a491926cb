# Who members are, elsewhere: labels, consent, sets, audiences and matches read the
# same on a standby, which writes nothing, and in a database restored from a dump.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('people');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "timezone = 'UTC'");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup();
SELECT loyalty.configure_namespace('crm', 'opaque');
CREATE TEMP TABLE person AS SELECT i AS id, substr(md5('g' || i % 40), 1, 6) AS given, substr(md5('s' || i % 97), 1, 7) AS surname,
	date '1950-01-01' + i * 37 % 20000 AS born, substr(md5('t' || i), 1, 9) || ' street' AS street FROM generate_series(1, 120) i;
SELECT count(r.member_id) FROM (SELECT p.id AS n, p.* FROM person p UNION ALL SELECT 1000 + p.id, p.* FROM person p WHERE p.id % 2 = 1 ORDER BY 1) x,
	LATERAL loyalty.resolve_member(jsonb_build_object('crm', x.n, 'email', x.n || '@example.org'), 'crm', to_jsonb(x) - 'n' - 'id', effective_at => '2026-01-01') r;
SELECT loyalty.define_label('tea'), loyalty.define_label('city', 'single'), loyalty.define_purpose('news');
SELECT count(loyalty.set_label(m, 'tea', confidence => 0.5, valid_from => '2026-01-01')) FROM generate_series(1, 90, 2) m;
SELECT count(loyalty.set_label(m, 'city', c, s, valid_from => '2026-01-01')) FROM generate_series(1, 20) m, (VALUES ('Bonn', 'import'), ('Köln', 'self')) v (c, s);
SELECT count(loyalty.set_consent(m, 'email', 'news', true, '2026-01-01', address => jsonb_build_object('email', m || '@example.org'))) FROM generate_series(1, 10) m;
SELECT loyalty.set_consent(7, '*', '*', false, '2026-01-02'), loyalty.forget_member(7);
SELECT loyalty.define_list('press', '{2,3,4}', at => '2026-01-01'), loyalty.define_audience('bonn', 'tea & city = "Köln" - press | {"attribute": {"given": ["x"]}}');
SELECT loyalty.define_match('person', '{"fields": {"given": "name", "surname": "name", "born": "date", "street": "address"}}');
SQL
$node->safe_psql('postgres', q{CALL loyalty.refresh_audience('bonn', '2026-06-01')});
$node->safe_psql('postgres', q{CALL loyalty.find_duplicates('person')});
$node->safe_psql('postgres', q{SELECT loyalty.review_pair(member_id, other_id, 'different') FROM loyalty.match_candidates('person', 1)});
$node->safe_psql('postgres', q{SELECT count(*) FROM loyalty.merge_matches('person', 5)});

my @reads = (
	q{SELECT m, l.* FROM generate_series(1, 25) m, loyalty.labels(m, '2026-02-01') l ORDER BY 1, 2, 3},
	q{SELECT * FROM loyalty.label_history(5)},
	q{SELECT * FROM loyalty.label_holders('city', '2026-02-01') h ORDER BY 1},
	q{SELECT m, loyalty.may_contact(m, 'email', 'news'), loyalty.may_contact(m, 'email', 'news', address => jsonb_build_object('email', m || '@example.org')) FROM generate_series(1, 12) m},
	q{SELECT * FROM loyalty.consents(1)},
	q{SELECT * FROM loyalty.consent_kept},
	q{SELECT m FROM generate_series(1, 180) m WHERE loyalty.in_audience(m, 'bonn', '2026-06-01')},
	q{SELECT loyalty.audience_set('bonn')::bytea, loyalty.audience_set('press', '2026-06-01'), loyalty.audience_state('bonn')},
	q{SELECT * FROM loyalty.explain_membership(5, 'bonn', '2026-06-01')},
	q{SELECT * FROM loyalty.contact_list('bonn', 'email', 'news', ignore_consent => true)},
	q{SELECT * FROM loyalty.match_candidates('person', 100)},
	q{SELECT * FROM loyalty.review_queue('person', 100)},
	q{SELECT * FROM loyalty.match_clusters('person')},
	q{SELECT loyalty.match_fit(loyalty.match_patterns('loyalty.member', m.definition)) = x.model FROM loyalty.existing_match('person') m, loyalty.match_model x},
	q{SELECT * FROM loyalty.preview_merge(10, 12)},
	q{SELECT * FROM loyalty.check_all()});
my %here = map { $_ => $node->safe_psql('postgres', $_) } @reads;
is($here{ $reads[-1] }, '', 'all is well');
like($here{ $reads[6] }, qr/\d/, 'there is somebody to read of');

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('people_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', $_), $here{$_}, "standby: $_") foreach @reads;
foreach my $write (q{SELECT loyalty.set_label(1, 'tea')}, q{SELECT loyalty.retract_label(1, 'tea')}, q{SELECT loyalty.set_consent(1, 'email', 'news', true)}, q{SELECT loyalty.define_label('x')},
	q{SELECT loyalty.define_audience('x', 'tea')}, q{SELECT loyalty.change_list('press', '{9}')}, q{CALL loyalty.refresh_audience('bonn')}, q{CALL loyalty.find_duplicates('person')},
	q{SELECT loyalty.review_pair(10, 12, 'same')}, q{SELECT loyalty.merge_match('person', 10, 12)})
{
	my ($status, $stdout, $stderr) = $standby->psql('postgres', "\\set VERBOSITY sqlstate\n$write");
	like($stderr, qr/ERROR:\s+25006/, "standby: $write");
}
$standby->stop;

my $file = PostgreSQL::Test::Utils::tempdir() . '/people.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, 'postgres' ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'restored', $file ], 'restored');
is($node->safe_psql('restored', $_), $here{$_}, "restored: $_") foreach @reads;
# withdrawals of the forgotten hold there, too, with the key of their hashes
is($node->safe_psql('restored', q{SELECT loyalty.consent_address('email', 'x')}), $node->safe_psql('postgres', q{SELECT loyalty.consent_address('email', 'x')}), 'the key of hashes is with them');
$node->safe_psql('restored', q{CALL loyalty.refresh_audience('bonn', '2026-06-02')});
is($node->safe_psql('restored', q{SELECT loyalty.member_set_eq(loyalty.audience_set('bonn'), loyalty.audience_set('bonn', '2026-06-01'))}), 't', 'refreshed there');
$node->stop;
done_testing();
