# The least of PostgreSQL's protocol that hands binary values to the server:
# psql cannot.  One connection, one prepared statement at a time, unix socket,
# no password.
package Wire;

use strict;
use warnings;

use IO::Socket::UNIX;

sub new
{
	my ($class, %of) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => "$of{host}/.s.PGSQL.$of{port}") or die "cannot connect to $of{host}: $!";
	my $self = bless { socket => $socket, in => '' }, $class;
	my $startup = pack('N', 196608) . join('', map { "$_\0" } user => $of{user}, database => $of{database}, client_encoding => 'UTF8') . "\0";
	$self->put(pack('N', 4 + length $startup) . $startup);
	while (1)
	{
		my ($type, $body) = $self->message or die "the server closed the connection";
		die error($body)->{M} if $type eq 'E';
		$self->{pid} = unpack 'N', $body if $type eq 'K';
		last if $type eq 'Z';
	}
	return $self;
}

# Sends, and takes in meanwhile what the server has to say: neither side waits
# for the other to read.
sub put
{
	my ($self, $bytes) = @_;
	local $SIG{PIPE} = 'IGNORE';
	my $socket = $self->{socket};
	my $me = '';
	vec($me, fileno $socket, 1) = 1;
	while (length $bytes)
	{
		select my $readable = $me, my $writable = $me, undef, undef;
		if (vec($readable, fileno $socket, 1))
		{
			sysread $socket, $self->{in}, 65536, length $self->{in} or return 0;
		}
		elsif (vec($writable, fileno $socket, 1))
		{
			my $sent = syswrite $socket, $bytes, 4096;
			return 0 unless $sent;
			substr($bytes, 0, $sent) = '';
		}
	}
	return 1;
}

# The next message as (type, body); nothing when the connection is lost, or
# when $self->{patience} seconds have passed without one.
sub message
{
	my ($self) = @_;
	while (1)
	{
		if (length $self->{in} >= 5)
		{
			my ($type, $length) = unpack 'a N', $self->{in};
			if (length $self->{in} >= 1 + $length)
			{
				my $body = substr $self->{in}, 5, $length - 4;
				substr($self->{in}, 0, 1 + $length) = '';
				return ($type, $body);
			}
		}
		if (defined $self->{patience})
		{
			my $me = '';
			vec($me, fileno $self->{socket}, 1) = 1;
			return if !select $me, undef, undef, $self->{patience};
		}
		sysread $self->{socket}, $self->{in}, 65536, length $self->{in} or return;
	}
}

sub error
{
	my ($body) = @_;
	return { map { substr($_, 0, 1) => substr($_, 1) } grep { length } split /\0/, $body };
}

sub typed { my ($type, $body) = @_; return $type . pack('N', 4 + length $body) . $body }

# Prepares the statement that run() executes; binary: one flag for each
# parameter.  Returns undef or the error.
sub prepare
{
	my ($self, $sql, @binary) = @_;
	$self->{binary} = \@binary;
	$self->put(typed('P', "\0$sql\0" . pack('n', 0)) . typed('S', ''));
	return $self->answer->{error};
}

# Runs the statement once for each list of parameters (undef: NULL).  Returns
# for each {rows => [[...]]} or {error => {C => sqlstate, M => message}}, and
# fewer of them when the connection was lost.
sub run
{
	my ($self, @lists) = @_;
	my @answers;
	my $bind = pack('n n*', scalar @{ $self->{binary} }, map { $_ ? 1 : 0 } @{ $self->{binary} });
	$self->put(join '', map {
		typed('B', "\0\0" . $bind . pack('n', scalar @$_)
			  . join('', map { defined $_ ? pack('N', length $_) . $_ : pack('N', 0xffffffff) } @$_) . pack('n', 0))
		  . typed('E', "\0" . pack('N', 0)) . typed('S', '')
	} @lists);
	for (@lists)
	{
		my $answer = $self->answer or last;
		push @answers, $answer;
	}
	return @answers;
}

# Runs statements without parameters; returns what run() returns for one list,
# undef when the connection was lost.
sub query
{
	my ($self, $sql) = @_;
	$self->put(typed('Q', "$sql\0")) or return undef;
	return $self->answer;
}

# Everything up to the next ReadyForQuery, with all that the server warned of;
# undef when the connection is lost.
sub answer
{
	my ($self) = @_;
	my $answer = { rows => [] };
	while (my ($type, $body) = $self->message)
	{
		if ($type eq 'Z') { return $answer }
		elsif ($type eq 'E') { $answer->{error} = error($body) }
		elsif ($type eq 'N') { push @{ $answer->{notices} }, error($body) }
		elsif ($type eq 'D')
		{
			my $n = unpack 'n', $body;
			my $at = 2;
			my @row;
			for (1 .. $n)
			{
				my $length = unpack 'l>', substr $body, $at, 4;
				push @row, $length < 0 ? undef : substr $body, $at + 4, $length;
				$at += 4 + ($length < 0 ? 0 : $length);
			}
			push @{ $answer->{rows} }, \@row;
		}
	}
	return undef;
}

1;
