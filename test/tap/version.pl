# The version is written in loyalty.control; what must repeat it agrees.
use strict;
use warnings;

use JSON::PP;
use Test::More;

my $top = $ENV{LOYALTY_TOP} || '.';

sub slurp
{
	my ($file) = @_;
	open my $handle, '<', $file or die "cannot read $file: $!";
	local $/;
	return scalar <$handle>;
}

my ($version) = slurp("$top/loyalty.control") =~ /^default_version\s*=\s*'([^']+)'/m;
like($version, qr/^\d+\.\d+\.\d+$/, 'loyalty.control names a version');

my $meta = decode_json(slurp("$top/META.json"));
is($meta->{version}, $version, 'META.json has it');
is($meta->{provides}{loyalty}{version}, $version, 'and for the extension');

ok(-f "$top/$meta->{provides}{loyalty}{$_}", "META.json names a $_ that is there") for qw(file docfile);
my ($requires) = slurp("$top/loyalty.control") =~ /^requires\s*=\s*'([^']+)'/m;
is_deeply([sort grep { $_ ne 'PostgreSQL' } keys %{ $meta->{prereqs}{runtime}{requires} }], [sort split /[ ,]+/, $requires],
	'and the extensions that loyalty.control requires');

my ($packaged) = slurp("$top/debian/changelog") =~ /^postgresql-loyalty \((\d+\.\d+\.\d+)-\d+\)/;
is($packaged, $version, 'debian/changelog has the version');

my ($newest) = slurp("$top/CHANGELOG.md") =~ /^## (\d+\.\d+\.\d+)/m;
is($newest, $version, 'and it stands first in CHANGELOG.md');

done_testing();
