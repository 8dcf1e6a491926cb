#!/usr/bin/env perl
# How much do a room's tests notice?  Makes random single changes in the plain
# C of a room, runs the room's tests against each, and lists the survivors:
# the changes that no test noticed.  A survivor is a test that is missing, or a
# line that says more than it needs.
#
#	make mutants ROOM=rfm					300 changes, drawn by seed 1
#	make mutants ROOM=rfm N=50 SEED=7
#	make mutants ROOM=rfm ONLY='rfm_score.c:6[0-9]'		every change of these lines
#	make mutants ROOM=ledger FILES='ledger_move.c' ALSO=member	of other files than the plain ones
#
# The changes: a comparison becomes its neighbour or its opposite; && and ||,
# + and -, ++ and --, += and -=, 0 and 1, true and false change places; a
# condition is negated, a ! is dropped; and a statement is dropped: continue,
# break, return, an assignment or a call.  Not changed are assertions, the
# texts of errors, what the preprocessor and constants need at compile time,
# calls that only manage memory, and elog, which is for what cannot happen.  The same seed draws the same changes from
# the same source.
#
# One build holds all changes, each behind a switch, which is a number in a
# file that every backend has mapped (see $runtime).  The same file records
# which changes a test reaches.  The tests run once without a change; then each
# change is tried with those that reach it, the quickest first, until one
# fails.  A crash, or ten times the usual time, is a failure.
#
# All of it happens in a copy of the checkout and of PostgreSQL's programs, on
# a cluster of its own: make test may run beside it.  KEEP=1 leaves the copy and
# the cluster for a look.
#
# The tests of a room are golden/<room>, pgtap/<room> and pgtap/<room>_*, and
# tap/<room> and tap/<room>_* where these start no servers of their own;
# TESTS=pattern leaves those whose name matches.  ALSO=room adds another room's,
# where only they reach what is changed.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(basename dirname);
use File::Path qw(make_path remove_tree);
use List::Util qw(shuffle);
use POSIX ();
use Time::HiRes qw(time);

# As many random histories as notice something.
$ENV{LOYALTY_HISTORIES} ||= 5000;
$ENV{LOYALTY_ROUNDS} ||= 20;

# Settings come from make as variables of the environment or as arguments; the
# copy's own make has none of them.
/^(\w+)=(.*)$/s and $ENV{$1} = $2 for @ARGV;
delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES)};

my $here = abs_path(dirname($0) . '/..');
my $room = $ENV{ROOM} || '';
my $number = $ENV{N} || 300;
my $seed = $ENV{SEED} || 1;
my $only = $ENV{ONLY};
my @files = split ' ', $ENV{FILES} || '';
my $pg_config = $ENV{PG_CONFIG} || 'pg_config';

die "usage: make mutants ROOM=room [N=300] [SEED=1] [ONLY=pattern] [FILES='a.c b.c'] [TESTS=pattern] [ALSO=room]\n"
  unless $room =~ /^\w+$/ && -d "$here/src/$room";
# FILES are names in the room; by default those that do not work through SPI.
@files = map { "src/$room/$_" } @files;
@files = grep { slurp("$here/$_") !~ /\bSPI_|spi\.h"|core\/plan\.h/ } map { "src/$room/" . basename($_) } sort glob "$here/src/$room/*.[ch]"
  unless @files;

my $base = ($ENV{LOYALTY_TMP} || '/tmp') . "/loyalty-mutants-$room-$$";
my $copy = "$base/copy";
my $switch = "$base/switch";
my $bindir = config('bindir');
my $cluster_made;

sub slurp
{
	my ($file) = @_;
	open my $handle, '<', $file or die "cannot read $file: $!\n";
	local $/;
	return scalar <$handle>;
}

sub spill
{
	my ($file, $text) = @_;
	open my $handle, '>', $file or die "cannot write $file: $!\n";
	print $handle $text;
	close $handle or die "cannot write $file: $!\n";
}

sub run
{
	my (@command) = @_;
	system(@command) == 0 or die "failed: @command\n";
}

sub config
{
	my ($what) = @_;
	chomp(my $answer = `'$pg_config' --$what`);
	die "$pg_config --$what says nothing\n" unless $answer;
	return $answer;
}

#
# Reading C: tokens, then the statements of function bodies, then the changes.
#

my $operator = qr/<<=|>>=|\.\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*\/%&|^]=|[-+*\/%&|^~!<>=?:;,.(){}\[\]]/;
my $assignment = qr/^(?:<<|>>|[-+*\/%&|^])?=$/;
my %closing = ('(' => ')', '[' => ']', '{' => '}');

# Tokens are [text, offset, line]; comments and the preprocessor are no tokens,
# nor is what is compiled for assertions alone.
sub tokens
{
	my ($text) = @_;
	my (@tokens, $line);
	$line = 1;
	pos($text) = 0;
	while (pos $text < length $text)
	{
		my $at = pos $text;
		my $token = $text =~ /\G(?:\s+|\/\*.*?\*\/|^#ifdef USE_ASSERT_CHECKING\n.*?^#endif|^[ \t]*#(?:\\\n|.)*?\n)/gcms ? undef
		  : $text =~ /\G(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\.?[0-9](?:[eE][-+]|[\w.])*|[A-Za-z_]\w*|$operator)/gc ? $&
		  : die "cannot read C at: " . substr($text, $at, 40);
		push @tokens, [ $token, $at, $line ] if defined $token;
		$line += substr($text, $at, pos($text) - $at) =~ tr/\n//;
	}
	return @tokens;
}

package Source;

# What a change may not touch: the arguments of these.
my $untouched = qr/^(?:Assert\w*|StaticAssert\w*|ereport|elog|ereturn|errsave|sizeof|offsetof|lengthof|U?INT64CONST|__builtin_prefetch|PG_FUNCTION_INFO_V1)$/;

# Statements that only manage memory or resources, or say that nothing is done.
my $housekeeping = qr/^(?:pfree|list_free\w*|hash_destroy|CHECK_FOR_INTERRUPTS|MemoryContext(?:SwitchTo|Delete|Reset)|ReleaseSysCache|ReleaseTupleDesc|(?:table|relation)_close|PG_FREE_IF_COPY|pg_unreachable|Assert\w*|StaticAssert\w*|va_\w+)$/;

my %instead = (
	'<' => [ '<=', '>=' ], '<=' => [ '<', '>' ], '>' => [ '>=', '<=' ], '>=' => [ '>', '<' ],
	'==' => ['!='], '!=' => ['=='], '&&' => ['||'], '||' => ['&&'],
	'++' => ['--'], '--' => ['++'], '+=' => ['-='], '-=' => ['+='],
	'0' => ['1'], '1' => ['0'], '0.0' => ['1.0'], '1.0' => ['0.0'], 'true' => ['false'], 'false' => ['true'],
	'!' => [''],
);
my %binary = ('+' => ['-'], '-' => ['+']);

sub new
{
	my ($class, $name, $text) = @_;
	my $self = bless { name => $name, text => $text, tokens => [ main::tokens($text) ], pair => {}, mutants => [] }, $class;
	my @open;
	for my $i (0 .. $#{ $self->{tokens} })
	{
		my $token = $self->{tokens}[$i][0];
		if ($closing{$token}) { push @open, $i }
		elsif ($token =~ /^[])}]$/)
		{
			my $from = pop @open;
			die "$name: brackets do not match\n" unless defined $from && $closing{ $self->{tokens}[$from][0] } eq $token;
			@{ $self->{pair} }{ $from, $i } = ($i, $from);
		}
	}
	# a function body is a brace after a parenthesis, outside all others
	for (my $i = 0; $i < @{ $self->{tokens} }; $i++)
	{
		next unless $self->is($i, '{');
		my $end = $self->{pair}{$i};
		if ($i > 0 && $self->is($i - 1, ')'))
		{
			my $head = $i;
			$head-- until $head < 0 || $self->token($head) =~ /^[;}]$/;
			$self->{noreturn} = grep { $self->is($_, 'pg_noreturn') } $head + 1 .. $i;
			$self->{body_end} = $end;
			$self->block($i);
		}
		$i = $end;
	}
	return $self;
}

sub token { my ($self, $i) = @_; return $self->{tokens}[$i][0] // '' }
sub is { my ($self, $i, $text) = @_; return $i < @{ $self->{tokens} } && $self->{tokens}[$i][0] eq $text }

# The source from token $from to token $to, with other texts for some tokens.
sub between
{
	my ($self, $from, $to, %other) = @_;
	my $text = '';
	for my $i ($from .. $to)
	{
		my ($token, $at) = @{ $self->{tokens}[$i] };
		$text .= $other{$i} // $token;
		if ($i < $to)
		{
			my $after = $at + length $token;
			$text .= substr $self->{text}, $after, $self->{tokens}[ $i + 1 ][1] - $after;
		}
	}
	return $text;
}

# kind: value or void (an expression from token to token) or drop (a statement).
sub change
{
	my ($self, $kind, $from, $to, $at, $said, $text) = @_;
	push @{ $self->{mutants} }, {
		file => $self->{name}, line => $self->{tokens}[$at][2], source => $self, kind => $kind,
		from => $from, to => $to, at => $at, said => $said, text => $text };
}

sub block
{
	my ($self, $i) = @_;
	my $end = $self->{pair}{ $i++ };
	$i = $self->statement($i) while $i < $end;
	return $end + 1;
}

# One statement beginning at token $i; returns where the next one begins.
sub statement
{
	my ($self, $i) = @_;
	my $token = $self->token($i);
	return $self->block($i) if $token eq '{';
	return $i + 1 if $token eq ';';
	if ($token eq 'do')
	{
		$i = $self->statement($i + 1);
		return $self->header($i) + 1;
	}
	if ($token eq 'case' || $token eq 'default' || $token =~ /^[A-Za-z_]\w*$/ && $self->is($i + 1, ':'))
	{
		$i++ until $self->is($i, ':');
		return $i + 1;
	}
	if ($token =~ /^(?:if|while|for|switch)$/ || $token =~ /^(?i:for_?each|for_both)/)
	{
		$self->{switch_end} = $self->{pair}{ $self->{pair}{ $i + 1 } + 1 } if $token eq 'switch';
		# what only decides how often to look for interrupts is housekeeping, too
		my $then = $self->{pair}{ $i + 1 } + 1;
		$i = $self->statement($token eq 'if' && $self->token($then) =~ $housekeeping ? $then : $self->header($i));
		$i = $self->statement($i + 1) if $token eq 'if' && $self->is($i, 'else');
		return $i;
	}
	my $end = $i;
	$end = ($self->{pair}{$end} // $end) + 1 until $self->is($end, ';') || $self->is($end, '}');
	# a macro of whole statements needs no semicolon
	return $end if $self->is($end, '}');
	$self->simple($i, $end);
	return $end + 1;
}

# The head of if, while, switch, for, do ... while and of loops by macro.
sub header
{
	my ($self, $i) = @_;
	my $token = $self->token($i);
	my ($from, $to) = ($i + 2, $self->{pair}{ $i + 1 } - 1);
	$self->change('value', $from, $to, $from, "condition negated", '!(' . $self->between($from, $to) . ')')
	  if $token =~ /^(?:if|while)$/;
	$self->expressions($from, $to);
	return $to + 2;
}

# A statement up to the semicolon $end.
sub simple
{
	my ($self, $from, $end) = @_;
	my ($token, $next) = ($self->token($from), $self->token($from + 1));
	my $leaves = $token =~ /^(?:return|break|continue|goto)$/ || $token =~ /^PG_RETURN/;
	my $declares = !$leaves && ($token =~ /^(?:static|const|struct|enum|union|unsigned|volatile)$/
		  || $token =~ /^[A-Za-z_]/ && ($next =~ /^[A-Za-z_]/ || $next eq '*'));

	return if $token eq 'static' || $token eq 'typedef' || $token =~ /^Static/;
	# the last return of a function, and the last break of a switch, are where they lead to anyway; and the
	# compiler believes that one which never returns does not
	my $last = $self->{noreturn} && $end + 1 == $self->{body_end} || $leaves && ($end + 1 == $self->{body_end} || $token eq 'break' && $end + 1 == ($self->{switch_end} // 0));
	my $does = $token =~ $housekeeping || $token eq 'elog' ? 0 : $next eq '('
	  || grep({ $self->token($_) =~ $assignment || $self->token($_) =~ /^(?:\+\+|--)$/ } $from .. $end)
	  || grep({ $self->token($_) eq '(' && $self->token($_ - 1) =~ /^[A-Za-z_]/ } $from + 1 .. $end);
	$does = 0 if $next eq '=' && $self->token($from + 2) eq 'MemoryContextSwitchTo';
	$self->change('drop', $from, $end, $from, "dropped", '') if !$last && ($leaves || $does && !$declares);
	$self->expressions($from, $end - 1);
}

# The changes of tokens between two others, which bound every expression there.
sub expressions
{
	my ($self, $from, $to) = @_;
	for (my $i = $from; $i <= $to; $i++)
	{
		my $token = $self->token($i);
		if ($token =~ $untouched)
		{
			$i = $self->{pair}{ $i + 1 } if $self->is($i + 1, '(');
			next;
		}
		my $before = $i > $from ? $self->token($i - 1) : '';
		my $others = $instead{$token};
		$others = $binary{$token} if $binary{$token} && $before =~ /^(?:[\w.]+|["'].*|[])])$/s && $before ne 'return';
		for my $other (@{ $others || [] })
		{
			my ($kind, $first, $last) = $self->extent($i, $from, $to);
			$self->change($kind, $first, $last, $i, "$token to " . (length $other ? $other : 'nothing'), $self->between($first, $last, $i => $other));
		}
	}
}

# The expression around token $i: up to what binds less than any operator that
# is changed.  What is assigned to is no value, so there the whole assignment.
sub extent
{
	my ($self, $i, $from, $to) = @_;
	my $stop = qr/^(?:[,;?:({[]|return|case|goto|else)$/;
	my ($first, $last) = ($i, $i);
	my $assigns = $self->token($i) =~ $assignment;

	while ($first > $from)
	{
		my $token = $self->token($first - 1);
		last if $token =~ $stop || $token =~ $assignment;
		$first = $token =~ /^[])}]$/ ? $self->{pair}{ $first - 1 } : $first - 1;
	}
	while ($last < $to)
	{
		my $token = $self->token($last + 1);
		last if $token =~ /^[,;\])}]$/ || !$assigns && $token =~ /^[?:]$/;
		$assigns = 1 if $token =~ $assignment;
		$last = $closing{$token} ? $self->{pair}{ $last + 1 } : $last + 1;
	}
	return ($assigns ? 'void' : 'value', $first, $last);
}

# The source with these mutants behind switches.  Notes in $map which mutant
# each line of it belongs to.
sub switched
{
	my ($self, $map, @mutants) = @_;
	my %regions;
	push @{ $regions{"$_->{from} $_->{to} $_->{kind}"} }, $_ for @mutants;
	# outer ones first
	my @regions = sort { $a->[0]{from} <=> $b->[0]{from} || $b->[0]{to} <=> $a->[0]{to} || $a->[0]{kind} cmp $b->[0]{kind} } values %regions;
	my (@open, @close, %alone);
	for my $region (@regions)
	{
		my ($from, $to, $kind) = @{ $region->[0] }{qw(from to kind)};
		my ($open, $close, $cast) = ('', '', $kind eq 'void' ? '(void) ' : '');
		if ($kind eq 'drop')
		{
			$open = "{ if (!MUTANT($region->[0]{id}))\n";
			$close = "\n}";
		}
		else
		{
			$open .= "(\x01$_->{id}\x01MUTANT($_->{id}) ? $cast($_->{text})\x02\n: " for @$region;
			$open .= "$cast(";
			$close = ")" . ")" x @$region;
		}
		push @{ $open[$from] }, $open;
		unshift @{ $close[$to] }, $close;
	}
	# Regions nest, so the parts only have to be put between the tokens.
	my ($out, $end) = ('', 0);
	for my $i (0 .. $#{ $self->{tokens} })
	{
		my ($token, $at) = @{ $self->{tokens}[$i] };
		$out .= substr($self->{text}, $end, $at - $end) . join('', @{ $open[$i] || [] }) . $token . join('', @{ $close[$i] || [] });
		$end = $at + length $token;
	}
	$out .= substr $self->{text}, $end;
	# what stands on a line of its own may be blamed for an error there
	my ($line, $id) = (1, undef);
	$out =~ s/\x01(\d+)\x01/\n\x01$1\x01/g;
	for (split /(\n|\x01\d+\x01|\x02)/, $out)
	{
		if ($_ eq "\n") { $line++ }
		elsif (/^\x01(\d+)/) { $id = $1 }
		elsif ($_ eq "\x02") { $map->{$line} //= $id; undef $id }
		$map->{$line} = $id if defined $id;
	}
	$out =~ s/\x01\d+\x01|\x02//g;
	return $out;
}

package main;

#
# The build: every change behind a switch.
#

# The first number of the file is the change that is on; then one byte for each
# change, set when it was asked about.
my $runtime = <<'C';
#ifndef MUTANT_H
#define MUTANT_H
extern volatile int *mutant_on;
extern volatile char *mutant_reached;
#define MUTANT(id) (mutant_reached[id] = 1, *mutant_on == (id))
#endif
C
my $mapping = <<'C';
#include "postgres.h"
#include <fcntl.h>
#include <sys/mman.h>
volatile int *mutant_on;
volatile char *mutant_reached;
static __attribute__((constructor)) void
map_mutants(void)
{
	int			file = open(MUTANT_FILE, O_RDWR);
	void	   *map = mmap(NULL, MUTANT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	if (map == MAP_FAILED)
		elog(FATAL, "cannot map %s", MUTANT_FILE);
	close(file);
	mutant_on = map;
	mutant_reached = (char *) map + sizeof(int);
}
C

sub copy_checkout
{
	make_path($copy);
	chmod 0755, $base;
	# with what has been built, and its times: only what is changed is built again
	run('cp', '-Rp', (grep { -e } map { "$here/$_" } qw(Makefile README.md CONTRIBUTING.md LICENSE NOTICE CHANGELOG.md META.json loyalty.control .built-for doc examples src sql expected test)), $copy);
	for my $dir (map { config($_) } qw(bindir pkglibdir sharedir))
	{
		make_path("$base/pg" . dirname($dir));
		run('cp', '-R', $dir, "$base/pg" . dirname($dir)) unless -d "$base/pg$dir";
	}
	my $data = $ENV{LOYALTY_DATA} || "$here/../shared/data";
	$ENV{LOYALTY_DATA} = -d $data ? abs_path($data) : '';
}

# Builds with as many of the mutants as compile, and returns these.
sub build
{
	my ($candidates, $wanted) = @_;
	my @mutants = splice @$candidates, 0, $wanted;
	my $next_id = 0;
	my @make = ('make', '-s', '-j2', '-C', $copy, "PG_CONFIG=$pg_config",
		"COPT=-include $copy/src/mutant.h -Werror=vla -Werror=int-conversion -Werror=incompatible-pointer-types -w");

	spill("$copy/src/mutant.h", $runtime);
	spill("$copy/src/core/mutant.c", "#define MUTANT_FILE \"$switch\"\n#define MUTANT_SIZE " . switch_size() . "\n$mapping");
	while (1)
	{
		my (%map, $errors, %bad);
		$_->{id} ||= ++$next_id for @mutants;
		for my $file (@files)
		{
			my @here = grep { $_->{file} eq $file } @mutants;
			my $text = @here ? $here[0]{source}->switched($map{$file} = {}, @here) : slurp("$here/$file");
			spill("$copy/$file", $text) if $text ne slurp("$copy/$file");
		}
		$errors = `@{[ join ' ', map { "'$_'" } @make ]} -k all 2>&1`;
		last if $? == 0;
		while ($errors =~ /^(?:\Q$copy\E\/|\.\/)?(src\/\S+?):(\d+):\d+: error/mg)
		{
			my ($id) = grep { $_ } @{ $map{$1} }{ $2, $2 - 1, $2 + 1 } or die "the build fails where nothing was changed:\n$errors";
			$bad{$id} = 1;
		}
		die "the build fails:\n$errors" unless %bad;
		@mutants = grep { !$bad{ $_->{id} } } @mutants;
		push @mutants, splice @$candidates, 0, $wanted - @mutants;
	}
	run(@make, 'install', "DESTDIR=$base/pg");
	return @mutants;
}

sub switch_size { return 1 << 20 }

# Switches one change on (0: none) and forgets what was reached.
sub switch_on
{
	my ($id) = @_;
	open my $handle, '+<', $switch or die "cannot open $switch: $!\n";
	syswrite $handle, pack('i', $id) . "\0" x (switch_size() - 4);
	close $handle;
}

sub reached
{
	my $bytes = substr slurp($switch), 4;
	my %reached;
	$reached{ pos($bytes) - 1 } = 1 while $bytes =~ /\x01/g;
	return \%reached;
}

#
# The cluster and the tests.
#

# A shell line with the functions of lib.sh, as those of the copy.
sub shell
{
	my ($line) = @_;
	return system('bash', '-c', ". '$copy/test/lib.sh'; cluster=$copy/test/cluster.sh; $line") == 0;
}

# A change must not eat the machine.
my $limits = 'ulimit -c 0; ulimit -v 8000000';

sub start_cluster
{
	local $ENV{SETTINGS} = "temp_file_limit = '2GB'\nmax_wal_size = '512MB'\n";
	shell("$limits; \"\$cluster\" test start") or die "the cluster does not start\n";
	# what every command needs, asked for once
	shell("printf '%s\\n' \"\$(cluster_dir test)\" \"\$PGXS_TEST\" >$base/names") or die "no names\n";
	@ENV{qw(base PGXS_TEST HERE BINDIR data out)} = (split(/\n/, slurp("$base/names")), $copy, "$base/pg$bindir", $ENV{LOYALTY_DATA}, "$base/out");
	delete @ENV{ grep { /^PG(?!XS_TEST|_CONFIG)/ } keys %ENV };
}

# Back to where the tests began: a server that answers, and nothing in it.
sub tidy
{
	my ($hard) = @_;
	my $clean = q{SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1') \gexec
		SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE rolname <> 'postgres' AND rolname !~ '^pg_' \gexec
	};
	switch_on(0);
	spill("$base/clean.sql", $clean) unless -f "$base/clean.sql";
	shell('as_server "$BINDIR/pg_ctl" -D "$base/data" -m immediate -w stop >/dev/null 2>&1') if $hard;
	for (1 .. 20)
	{
		return if system(qq{"\$BINDIR/psql" -h "\$base" -U postgres -XqAt -v ON_ERROR_STOP=1 -d postgres -f $base/clean.sql >/dev/null 2>&1}) == 0;
		shell("$limits; sleep 0.5; \"\$cluster\" test resume >/dev/null 2>&1");
	}
	die "the cluster is lost\n";
}

# A test's command writes TAP, or speaks by its exit status alone.
sub tests
{
	my @tests;
	my $psql = '"$BINDIR/psql" -h "$base" -U postgres -Xq';
	push @tests, { name => "golden/$room", run => 'cd "$out"; exec "$PGXS_TEST/regress/pg_regress" --bindir="$BINDIR" '
		  . "--inputdir=\"\$HERE\" --outputdir=\"\$out\" --host=\"\$base\" --user=postgres --dbname=golden $room >output 2>&1" } if -f "$copy/sql/$room.sql";
	for my $file (map { sort glob("$copy/test/pgtap/$_.sql $copy/test/pgtap/${_}_*.sql") } $room, split ' ', $ENV{ALSO} || '')
	{
		next unless -f $file;
		push @tests, { name => 'pgtap/' . basename($file, '.sql'), tap => 1, run => "cd \"\$HERE\"; $psql -d postgres -c 'CREATE DATABASE pgtap'; "
			  . "exec $psql -At -P pager=off -v ON_ERROR_STOP=1 -v data=\"\$data\" -d pgtap -f $file" };
	}
	for my $file (sort glob("$copy/test/tap/$room.pl $copy/test/tap/${room}_*.pl"))
	{
		next if !-f $file || slurp($file) =~ /PostgreSQL::Test::Cluster/;
		my $name = basename($file, '.pl');
		push @tests, { name => "tap/$name", tap => 1, run => '. "$HERE/test/lib.sh"; as_server env -C "$out" PATH="$BINDIR:$PATH" PERL5LIB="$PGXS_TEST/perl:$HERE/test/tap" '
			  . "LOYALTY_TOP=\"\$HERE\" LOYALTY_DATA=\"\$data\" LOYALTY_TEST_HOST=\"\$base\" perl \"\$HERE/test/tap/$name.pl\"" };
	}
	return grep { !defined $ENV{TESTS} || $_->{name} =~ /$ENV{TESTS}/ } @tests;
}

# Runs one test; true if it passes.  TAP is left at the first failure.
sub passes
{
	my ($test, $limit) = @_;
	my ($planned, $seen, $failed, $status) = (undef, 0, 0, undef);
	remove_tree($ENV{out});
	make_path($ENV{out});
	chmod 0777, $ENV{out};
	my $pid = open(my $reader, '-|') // die "fork: $!";
	if ($pid == 0)
	{
		setpgrp;
		open STDIN, '<', '/dev/null';
		open STDERR, '>&', \*STDOUT;
		exec 'bash', '-c', $test->{run} or POSIX::_exit(127);
	}
	eval {
		local $SIG{ALRM} = sub { die "late\n" };
		alarm int($limit) + 1;
		while (!$failed && defined(my $line = <$reader>))
		{
			$failed = $line =~ /^not ok/ && $line !~ /# *TODO/;
			$seen++ if $line =~ /^ok/;
			$planned = $1 if $line =~ /^1\.\.(\d+)/;
		}
		kill 'TERM', -$pid if $failed;
		waitpid $pid, 0;
		$status = $?;
	};
	alarm 0;
	if (!defined $status)
	{
		kill 'KILL', -$pid;
		waitpid $pid, 0;
		tidy('hard');
	}
	close $reader;
	$failed ||= !defined $status || $status != 0 || $test->{tap} && (!defined $planned || $planned != $seen);
	return !$failed;
}

#
# From the beginning to the end.
#

END
{
	my $status = $?;
	if ($base && !$ENV{KEEP})
	{
		shell('"$cluster" test remove') if $cluster_made;
		remove_tree($base, { error => \my $gone });
	}
	$? = $status;
}
$SIG{INT} = $SIG{TERM} = sub { exit 130 };
$| = 1;

my @candidates = map { @{ Source->new($_, slurp("$here/$_"))->{mutants} } } @files;
if (defined $only)
{
	@candidates = grep { "$_->{file}:$_->{line}: $_->{said}" =~ /$only/ } @candidates;
	$number = @candidates;
}
srand $seed;
my $population = @candidates;
@candidates = shuffle @candidates;

copy_checkout();
my @mutants = build(\@candidates, $number);
die "there is nothing to change\n" unless @mutants;
spill($switch, "\0" x switch_size());
chmod 0666, $switch;
$ENV{PG_CONFIG} = "$base/pg$bindir/pg_config";
$cluster_made = 1;
start_cluster();

my @tests = tests() or die "there is no such test\n";
for my $test (@tests)
{
	tidy();
	my $began = time;
	passes($test, 3600) or die "$test->{name} fails without a change\n";
	$test->{seconds} = time - $began;
	$test->{reached} = reached();
	printf "%-32s %6.1f s, reaches %d of %d changes\n", $test->{name}, $test->{seconds}, scalar(grep { $test->{reached}{ $_->{id} } } @mutants), scalar @mutants;
}
@tests = sort { $a->{seconds} <=> $b->{seconds} } @tests;

my %count = (noticed => 0);
for my $mutant (sort { $a->{file} cmp $b->{file} || $a->{line} <=> $b->{line} || $a->{at} <=> $b->{at} } @mutants)
{
	my @reaching = grep { $_->{reached}{ $mutant->{id} } } @tests;
	my $why = @reaching ? 'all tests passed' : 'not reached';
	for my $test (@reaching)
	{
		tidy();
		switch_on($mutant->{id});
		next if passes($test, 10 * $test->{seconds} + 5);
		$why = 'noticed';
		last;
	}
	$count{$why}++;
	next if $why eq 'noticed';
	my $line = (split /\n/, $mutant->{source}{text})[ $mutant->{line} - 1 ];
	$line =~ s/^\s+//;
	print "$mutant->{file}:$mutant->{line}: $mutant->{said}: $why\t$line\n";
}

# What a change left behind must not have failed the tests of later ones.
for my $test (@tests)
{
	tidy();
	passes($test, 10 * $test->{seconds} + 5) or die "$test->{name} fails without a change at the end: the figures are not to be trusted\n";
}
printf "%s: %d of %d changes noticed (%.1f %%), %d survived the tests, %d not reached; drawn from %d by seed %d\n",
  $room, $count{noticed}, scalar @mutants, 100 * $count{noticed} / @mutants, $count{'all tests passed'} || 0, $count{'not reached'} || 0, $population, $seed;
