#!/usr/bin/env perl
#
# Reads what make -nB says and writes compile_commands.json, by which tools that
# read C know the flags of each file; those that matter for reading.
#
#	make -nB all | test/compile_commands.pl FOLDER > compile_commands.json
use strict;
use warnings;
use JSON::PP;
use Text::ParseWords qw(shellwords);

my ($folder) = @ARGV;
my @commands;
while (my $line = <STDIN>)
{
	next unless $line =~ /\s-c\s.*\.c\b/;
	my @words = shellwords($line);
	my ($file) = grep { /\.c$/ } @words or next;
	my @arguments = ('cc');
	while (defined(my $word = shift @words))
	{
		push @arguments, $word if $word =~ /^-(?:[IDU]|isystem|std)/;
		push @arguments, shift @words if $word =~ /^-(?:[IDU]|isystem)$/;
	}
	push @commands, { directory => $folder, file => $file, arguments => [ @arguments, '-c', $file ] };
}
print JSON::PP->new->canonical->pretty->encode(\@commands);
