# The table of SQLSTATEs in doc/errors.md lists what src/core/errors.h defines:
# the same codes, each under the name of its macro.  And every refusal says
# what that page promises: a DETAIL of facts and a HINT of what to do.
use strict;
use warnings;

use Test::More;

my $top = $ENV{LOYALTY_TOP} || '.';

sub slurp
{
	my ($file) = @_;
	open my $handle, '<', $file or die "cannot read $file: $!";
	local $/;
	return scalar <$handle>;
}

# #define ERRCODE_LY_NOT_SET_UP MAKE_SQLSTATE('L','Y','0','0','1')
my %defined;
my $header = slurp("$top/src/core/errors.h");
while ($header =~ /^#define\s+ERRCODE_LY_(\w+)\s+MAKE_SQLSTATE\(([^)]*)\)/mg)
{
	my ($name, $code) = (lc $1, $2);
	$code =~ s/[',\s]//g;
	ok(!exists $defined{$code}, "$code is defined once");
	$defined{$code} = $name;
}
cmp_ok(scalar keys %defined, '>', 0, 'errors.h defines SQLSTATEs');

# | `LY001` | `not_set_up` | ...
my (%documented, @documented);
my $page = slurp("$top/doc/errors.md");
while ($page =~ /^\|\s*`(LY\w{3})`\s*\|\s*`(\w+)`\s*\|(.*)\|\s*$/mg)
{
	my ($code, $name, $rest) = ($1, $2, $3);
	ok(!exists $documented{$code}, "$code is documented once");
	$documented{$code} = $name;
	push @documented, $code;
	unlike($rest, qr/^\s*\||\|\s*$/, "$code has its meaning and its remedy");
}

is(join(' ', @documented), join(' ', sort @documented), 'in their order');
is_deeply(\%documented, \%defined, 'doc/errors.md documents exactly the codes of errors.h');

# Signals within the house (class LX) are no answers: what catches one names what
# errors.h defines, and no user is told of it.
my ($signals) = join ' ', sort map { tr/', //dr } $header =~ /^#define\s+ERRCODE_\w+\s+MAKE_SQLSTATE\(('L','X'[^)]*)\)/mg;
my %caught = map { $_ => 1 } map { slurp($_) =~ /SQLSTATE '(LX\w{3})'/g } glob "$top/src/*/*.sql";
is(join(' ', sort keys %caught), $signals, 'SQL catches the signals of errors.h');
unlike($page, qr/LX\d{3}/, 'doc/errors.md names none');

sub silent
{
	my ($file, $statement, $refusal, %parts) = @_;
	my $text = slurp($file);
	my @silent;
	while ($text =~ /$statement/g)
	{
		my ($body, $at) = ($1, $-[0]);
		next unless $body =~ $refusal;
		my @missing = grep { $body !~ $parts{$_} } sort keys %parts or next;
		push @silent, ($file =~ s{^\Q$top\E/}{}r) . ':' . (1 + substr($text, 0, $at) =~ tr/\n//) . ": no @missing";
	}
	return @silent;
}
my @silent = (
	(map { silent($_, qr/\b(?:ereport|ereturn)\((.*?)\)\)?;/s, qr/ERRCODE_LY_/, DETAIL => qr/errdetail/, HINT => qr/errhint/) } glob "$top/src/*/*.[ch]"),
	(map { silent($_, qr/\bRAISE EXCEPTION\b(.*?);\n/s, qr/'LY\d/, DETAIL => qr/DETAIL =/, HINT => qr/HINT =/) } glob "$top/src/*/*.sql"));
is(join("\n", @silent), '', 'every refusal has a DETAIL and a HINT');

done_testing();
