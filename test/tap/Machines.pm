# Machines of Citus, for tests of a program that is spread over them: servers, and
# sessions that say what went wrong.
package Machines;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Wire;

our @EXPORT = qw(has_citus start_machines connect_to session forget_session close_sessions rows value state_of join_machine);

my (%node, %session);

# Whether the server has Citus, or where it is looked for.
sub has_citus
{
	chomp(my $library_dir = qx(pg_config --pkglibdir));
	return -e "$library_dir/citus.so" ? '' : "no citus.so in $library_dir";
}

# Servers of these names, the first of which is to be the coordinator, each with
# an empty database "program".
sub start_machines
{
	for my $name (@_)
	{
		$node{$name} = PostgreSQL::Test::Cluster->new($name);
		$node{$name}->init;
		$node{$name}->append_conf('postgresql.conf', join "\n", "shared_preload_libraries = 'citus'", 'citus.enable_unsafe_triggers = on', 'wal_level = logical',
			'max_prepared_transactions = 100', 'max_connections = 100', 'max_locks_per_transaction = 256', "timezone = 'UTC'", 'autovacuum = off',
			'citus.enable_statistics_collection = off', "citus.local_hostname = '" . $node{$name}->host . "'");
		$node{$name}->start;
		$node{$name}->safe_psql('postgres', 'CREATE DATABASE program');
	}
	return %node;
}

# A session with a database, of whoever runs the test or another role.
sub connect_to
{
	my ($name, $database, $role) = @_;
	return Wire->new(host => $node{$name}->host, port => $node{$name}->port, user => $role // scalar getpwuid($<), database => $database);
}

# One that is kept.
sub session
{
	my ($name, $database) = @_;
	return $session{"$name/$database"} //= connect_to($name, $database);
}

# One whose server has ended.
sub forget_session { my ($name, $database) = @_; delete $session{"$name/$database"}; return }

sub close_sessions { $_->{socket}->close for values %session; %session = (); return }

# Rows of the last of some statements, which must work.
sub rows
{
	my ($session, @statements) = @_;
	my $answer;
	for my $sql (@statements)
	{
		$answer = $session->query($sql) or BAIL_OUT("connection lost: $sql");
		BAIL_OUT("$sql: $answer->{error}{C} $answer->{error}{M} " . ($answer->{error}{D} // '')) if $answer->{error};
	}
	return @{ $answer->{rows} };
}

sub value { return (rows(@_))[0][0] }

# What an error of a statement is, '' where there is none.
sub state_of
{
	my ($session, $sql) = @_;
	my $answer = $session->query($sql) or BAIL_OUT("connection lost: $sql");
	return $answer->{error} ? "$answer->{error}{C} $answer->{error}{M}" . (defined $answer->{error}{D} ? ": $answer->{error}{D}" : '') : '';
}

# Tells the coordinator of a machine; of itself first.
sub join_machine
{
	my ($coordinator, $name) = @_;
	my $function = $name eq 'coordinator' ? 'citus_set_coordinator_host' : 'citus_add_node';
	rows($coordinator, sprintf "SELECT %s('%s', %d)", $function, $node{$name}->host, $node{$name}->port);
	return;
}

1;
