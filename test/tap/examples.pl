# The programs of examples/ that tell the story of an order, each in a language of
# its own: what comes out is right, and the same of all.  A program runs where its
# language and its driver are; where not, the test says what is missing.
#
# Packages of npm are found in examples/node_modules, where npm ci puts them; make
# soak brings them for the run, as it does the other languages (test/prepare.sh).
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $examples = "$ENV{LOYALTY_TOP}/examples";
my $work = PostgreSQL::Test::Utils::tempdir();
my $postgraphile_needs = 22;	# of Node.js

# What every one prints.  An order of 120.50 earns a point for each whole unit;
# the same call again changes nothing; 500 of 120 cannot be redeemed, and that
# order is not there; of 120, 100 are set aside and 60 taken, so that 60 are left.
my $story = qr/\A\Qmember 1 is Ann
order 1001: 120 points
order 1001: 120 points, as answered before
120 available, 0 held, the next expire never
2026-02-03T10:00:00Z earn 120, order 1001
LY101: not enough points for redeem of 500
detail: member 1, currency "points" as of \E\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.\d]*[-+]\d\d(?::\d\d)?\Q: 120 available, 0 pending, 0 held.
hint: Ask for fewer points, or check the balance first.
orders: 1001 of 120.50
held 100, 20 available
captured 60, 60 available
\E\z/;

# The server listens on an address, since JDBC knows no sockets of Unix; who
# comes that way has a password.
my $node = PostgreSQL::Test::Cluster->new('examples');
my $password = 'p' . join '', map { int rand 10 } 1 .. 20;
$node->init;
$node->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1'");
my $hba = PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/pg_hba.conf') =~ s/^host\b.*\n//gmr;
open my $file, '>', $node->data_dir . '/pg_hba.conf' or die $!;
print $file "$hba\nhost all shop 127.0.0.1/32 scram-sha-256\n";
close $file;
$node->start;

sub run
{
	my ($directory, @command) = @_;
	my ($out, $err) = ('', '');
	my $ok = eval { IPC::Run::run(\@command, '<', \'', '>', \$out, '2>', \$err, init => sub { chdir $directory or die $! }, IPC::Run::timeout(300)) };
	return ($ok, $out, $@ ? "$err$@" : $err);
}
sub answer { my ($ok, $out) = run('/', @_); return $ok ? $out =~ s/\s+\z//r : undef }

# ---- the database, twice: a migration that runs again changes nothing

$node->safe_psql('postgres', 'CREATE DATABASE shop_template');
for my $time ('first', 'second')
{
	for my $script ('shop.sql', 'shop_api.sql')
	{
		my ($ok, $out, $err) = run('/', 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('shop_template'), '-f', "$examples/$script");
		ok($ok, "$script, the $time time") or diag($err);
	}
}
$node->safe_psql('postgres', "ALTER ROLE shop PASSWORD '$password'");

# ---- what is here: the command of each program, or what it lacks

# Go and npm want a home, and leave what they make there.
@ENV{qw(HOME GOCACHE)} = ("$work/home", "$work/home/go");
mkdir $ENV{HOME};
delete @ENV{qw(PGSERVICE PGSSLMODE PGOPTIONS JAVA_TOOL_OPTIONS NODE_OPTIONS)};
@ENV{qw(GO111MODULE GOPATH GOFLAGS GRAPHILE_ENV)} = ('off', '/usr/share/gocode', '', 'production');

# A copy, for what npm brings; node_modules is a link
run('/', 'cp', '-R', $examples, "$work/examples");
my $programs = "$work/examples";
my $node_js = 'node';
my $node_version = answer($node_js, '--version') // '';
my $npm_failed;
if ($ENV{LOYALTY_SOAK} && $node_version && defined answer('npm', '--version'))
{
	npm(qw(ci --ignore-scripts)) unless -r "$programs/node_modules/pg/package.json";
	if (!$npm_failed && $node_version =~ /^v(\d+)/ && $1 < $postgraphile_needs)
	{
		mkdir "$work/node";
		npm('install', '--prefix', "$work/node", "node\@$postgraphile_needs");
		$node_js = "$work/node/node_modules/.bin/node" unless $npm_failed;
		$node_version = answer($node_js, '--version') // '';
	}
}

sub npm
{
	my ($ok, $out, $err) = run($programs, 'npm', @_, '--no-audit', '--no-fund');
	return if $ok;
	$npm_failed = 'npm cannot be reached';
	return if $err =~ /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|network/;
	fail("npm @_");
	diag($err);
}

sub package_of_npm
{
	my ($name) = @_;
	return 'there is no Node.js' unless $node_version;
	return undef if -r "$programs/node_modules/$name/package.json";
	return $npm_failed // "there is no package $name, which npm ci in examples/ brings";
}

sub of_node
{
	my ($program, $package, $least) = @_;
	my $lack = package_of_npm($package);
	return $lack if $lack;
	my ($major) = $node_version =~ /^v(\d+)/;
	return "$package wants Node.js $least, here is $node_version" if $major < ($least // 0);
	return [ $node_js, "$programs/$program" ];
}

sub of_python
{
	my ($python) = grep { defined answer($_, '-c', 'import psycopg') } '/usr/bin/python3', 'python3';
	return $python ? [ $python, "$programs/shop.py" ] : 'there is no psycopg (python3-psycopg)';
}

sub of_java
{
	my ($jar) = grep { -r } '/usr/share/java/postgresql.jar';
	return 'there is no Java compiler (default-jdk-headless)' unless defined answer('javac', '-version');
	return 'there is no driver (libpostgresql-jdbc-java)' unless $jar;
	return [ 'java', '-cp', $jar, "$programs/Shop.java", "jdbc:postgresql://127.0.0.1:" . $node->port . "/shop?user=shop&password=$password" ];
}

sub of_go
{
	return 'there is no Go (golang-go)' unless defined answer('go', 'version');
	return 'there is no pgx (golang-github-jackc-pgx-v4-dev)' unless defined answer('go', 'list', 'github.com/jackc/pgx/v4');
	return [ 'go', 'run', "$programs/shop.go" ];
}

# ---- each tells the story, in a database of its own

for my $case ([ 'node-postgres', of_node('shop.js', 'pg') ], [ 'psycopg', of_python() ], [ 'JDBC', of_java() ], [ 'Go', of_go() ],
	[ 'PostGraphile', of_node('shop_graphql.js', 'postgraphile', $postgraphile_needs) ])
{
	my ($name, $command) = @$case;
	SKIP:
	{
		skip "$name: $command", 4 unless ref $command;
		$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS shop WITH (FORCE)');
		$node->safe_psql('postgres', 'CREATE DATABASE shop TEMPLATE shop_template');
		my ($ok, $out, $err) = do
		{
			local @ENV{qw(PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE)} = ('127.0.0.1', $node->port, 'shop', $password, 'shop');
			run($programs, @$command);
		};
		ok($ok && $err eq '', "$name: the program runs, and complains of nothing") or diag($err);
		like($out, $story, "$name: the story");
		# and it is so; a hold posts no points
		is($node->safe_psql('shop', "SELECT string_agg(kind || ' ' || points, ', ' ORDER BY entry_id) FROM loyalty.ledger WHERE member_id = 1"),
			'earn 120, hold 0, capture -60', "$name: what is in the ledger");
		is($node->safe_psql('shop', 'SELECT order_id, member_id, total, extract(epoch FROM placed_at)::bigint FROM shop_order UNION ALL SELECT 0, 0, 0, count(*) FROM loyalty.check_all()'),
			"1001|1|120.50|1770112800\n0|0|0|0", "$name: the order is there, the other is not, and all is well");
	}
}

$node->stop;
done_testing();
