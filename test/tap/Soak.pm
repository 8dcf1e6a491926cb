# How many rounds a random test tries: a few in make test, and in make soak as
# many as fit into its minutes, so that all of that ends within two hours on two
# cores, however slow.
package Soak;
use strict;
use warnings;

# A function for the number of the next round, from 1 on, or undef when there
# was enough.  Asked for a number of rounds ($wanted, or undef), it is that.
sub rounds
{
	my ($few, $minutes, $wanted) = @_;
	my $round = 0;
	my $until = $ENV{LOYALTY_SOAK} && !$wanted ? CORE::time() + 60 * $minutes : 0;
	return sub {
		return undef unless $round < ($wanted || $few) || CORE::time() < $until;
		return ++$round;
	};
}

1;
