# Links of pages to files, and to headings of pages, as GitHub names them.
package Links;

use strict;
use warnings;
use utf8;

use Exporter 'import';
use File::Basename qw(dirname);

our @EXPORT = qw(dead_links);

sub lines
{
	my ($file) = @_;
	my ($fence, @lines);
	open my $handle, '<:encoding(UTF-8)', $file or die "cannot read $file: $!";
	while (my $line = <$handle>)
	{
		# what is fenced is no text
		if ($line =~ /^\s*(```+)/) { $fence = defined $fence ? undef : $1; next }
		push @lines, $line unless defined $fence;
	}
	close $handle;
	return @lines;
}

# The places of a page that a link can name.
sub places
{
	my ($file) = @_;
	my (%times, %places);
	for my $line (lines($file))
	{
		$places{$1} = 1 while $line =~ /<a name="([^"]+)"/g;
		next unless $line =~ /^#+\s+(.*?)\s*$/;
		my $name = lc $1 =~ s/\[([^\]]*)\]\([^)]*\)/$1/gr;
		$name = $name =~ s/[^\w\- ]//gr =~ tr/ /-/r;
		my $n = $times{$name}++;
		$places{ $n ? "$name-$n" : $name } = 1;
	}
	return \%places;
}

# Of the pages below a directory: each link that leads nowhere, "page: link".
sub dead_links
{
	my ($root, @pages) = @_;
	my (%places, @dead, $links);
	for my $page (@pages)
	{
		my $text = join '', lines("$root/$page");
		$text =~ s/`[^`\n]*`/`/g;		# what is quoted links to nothing
		while ($text =~ /\]\(([^)\s]+)\)/g)
		{
			my $link = $1;
			next if $link =~ /^\w+:/;
			my ($path, $place) = $link =~ /^([^#]*)(?:#(.+))?$/;
			my $file = $path eq '' ? "$root/$page" : dirname("$root/$page") . "/$path";
			$links++;
			push @dead, "$page: $link" unless -e $file && (!defined $place || ($places{$file} //= places($file))->{$place});
		}
	}
	return ($links // 0, @dead);
}

1;
