# A server that is killed while sessions write, and comes back.
package Crash;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(crash);

# Kills the postmaster of a node, with its backends or (leave_backends) without;
# then whoever wrote, whose processes are handed over, has ended, and it is started.
sub crash
{
	my ($node, $leave_backends, @writers) = @_;
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my @backends = $leave_backends ? () : split ' ', `ps -o pid= --ppid $postmaster`;
	kill KILL => $postmaster, @backends;
	waitpid $_, 0 for @writers;

	# backends that outlive the postmaster hold its memory until they notice
	my $until = time + 120;
	while (time < $until)
	{
		$node->{_pid} = undef;
		return if $node->start(fail_ok => 1);
		sleep 0.1;
	}
	BAIL_OUT('the server does not start after a crash');
}

1;
