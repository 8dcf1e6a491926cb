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

my ($newest) = slurp("$top/CHANGELOG.md") =~ /^## (\d+\.\d+\.\d+)/m;
is($newest, $version, 'and it stands first in CHANGELOG.md');

done_testing();
