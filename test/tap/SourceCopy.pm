# A copy of the sources, with what was compiled of them, and a copy of
# PostgreSQL's programs, into which it is built and installed: for tests that
# change the one and need the other for themselves.
package SourceCopy;

use strict;
use warnings;

use Exporter 'import';
use File::Basename qw(dirname);
use File::Path qw(make_path);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw($top $work $copy slurp spill change run config copy_sources copy_programs build);

our $top = $ENV{LOYALTY_TOP} || '.';
our ($work, $copy);
INIT
{
	# that module makes its directory in an INIT block, too
	$work = PostgreSQL::Test::Utils::tempdir;
	$copy = "$work/copy";
}
chomp(my $pg_config = `command -v '@{[ $ENV{PG_CONFIG} || 'pg_config' ]}'`);	# PATH will be another
delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES LOYALTY_MAKEFILE LOYALTY_ROOMS)};
$ENV{CCACHE_DISABLE} = 1;		# its directory may be another user's

sub slurp
{
	my ($file) = @_;
	open my $handle, '<', $file or die "cannot read $file: $!";
	local $/;
	return scalar <$handle>;
}

sub spill
{
	my ($file, $text) = @_;
	make_path(dirname($file));
	open my $handle, '>', $file or die "cannot write $file: $!";
	print $handle $text;
	close $handle or die "cannot write $file: $!";
}

# Changes a file of the copy, which must have what is to be changed.
sub change
{
	my ($file, $from, $to) = @_;
	my $text = slurp("$copy/$file");
	$text =~ s/$from/$to->()/e or die "$file has nothing like $from";
	spill("$copy/$file", $text);
}

sub run
{
	my (@command) = @_;
	my ($stdout, $stderr) = ('', '');
	my $done = IPC::Run::run(\@command, '<', \'', '>', \$stdout, '2>', \$stderr);
	diag("@command\n$stdout$stderr") unless $done;
	return $done;
}

sub config { chomp(my $answer = `'$pg_config' --$_[0]`); return $answer }

sub copy_sources
{
	make_path($copy);
	run('cp', '-R', (map { "$top/$_" } qw(Makefile README.md CONTRIBUTING.md LICENSE NOTICE CHANGELOG.md META.json loyalty.control dashboard doc examples src test upgrade)), $copy) or die;
	my $compiled = $ENV{LOYALTY_OBJECTS};
	return unless defined $compiled && -d $compiled;
	run('cp', '-R', "$compiled/.", $copy) or die;
	my $now = time + 2;			# newer than their sources
	utime $now - 1, $now - 1, "$copy/.built-for";
	utime $now, $now, glob "$copy/src/*/*.o";
	sleep 3;
}

# At the same places below a directory; from then on PATH leads there.
sub copy_programs
{
	for my $dir (map { config($_) } qw(bindir pkglibdir sharedir))
	{
		make_path("$work/pg" . dirname($dir));
		run('cp', '-R', $dir, "$work/pg" . dirname($dir)) or die unless -d "$work/pg$dir";
	}
	$ENV{PATH} = "$work/pg" . config('bindir') . ":$ENV{PATH}";
}

sub build
{
	my @make = ('make', '-s', '-j2', '-C', $copy, "PG_CONFIG=$pg_config", 'WERROR=1');
	return run(@make) && run(@make, 'install', "DESTDIR=$work/pg");
}

1;
