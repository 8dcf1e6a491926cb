# Each link between pages leads to a file that is there, and to a heading of it.
# (Whether that is so where they are installed, test/tap/frame.pl looks.)
use strict;
use warnings;
use utf8;

use FindBin;
use lib $FindBin::Bin;
use Test::More;

use Links;

my $top = $ENV{LOYALTY_TOP} || '.';
my @pages = map { s{^\Q$top\E/}{}r } glob "$top/*.md $top/doc/*.md";
my ($links, @dead) = dead_links($top, @pages);

cmp_ok($links, '>', 100, 'pages link to each other');
is(join("\n", @dead), '', 'and each link leads somewhere');
my $readme = do { open my $file, '<', "$top/README.md" or die "cannot read README.md: $!"; local $/; <$file> };
is(join(', ', grep { m{^doc/} && index($readme, "($_)") < 0 } @pages), '', 'README.md names every page');
done_testing();
