# The columns of a table that C knows stand in one list in C and in one CREATE
# TABLE: the same names and types, in the same order.
use strict;
use warnings;

use Test::More;

my $top = $ENV{LOYALTY_TOP} || '.';
my %type = (
	INT4OID => 'integer', INT8OID => 'bigint', TEXTOID => 'text', BYTEAOID => 'bytea', BOOLOID => 'boolean',
	TIMESTAMPTZOID => 'timestamptz', JSONBOID => 'jsonb', NUMERICOID => 'numeric', InvalidOid => 'loyalty.points_lots');

sub slurp
{
	my ($file) = @_;
	open my $handle, '<', "$top/$file" or die "cannot read $file: $!";
	local $/;
	return scalar <$handle>;
}

foreach (['src/ledger/ledger_row.h', 'src/ledger/ledger_setup.sql', 'ledger'],
	['src/tier/tier_row.h', 'src/tier/tier_setup.sql', 'tier_state'],
	['src/benefit/coupon_row.h', 'src/benefit/benefit_setup.sql', 'coupon', 'COUPON_COLUMNS'],
	['src/benefit/coupon_row.h', 'src/benefit/benefit_setup.sql', 'coupon_act', 'COUPON_ACT_COLUMNS'])
{
	my ($header, $script, $table, $macro) = @$_;
	my (@in_c, @in_sql);

	my $list = slurp($header);
	# of several lists in one header that of the macro
	($list) = $list =~ /^#define \Q$macro\E\(COLUMN\)(.*?)\n\n/ms if $macro;
	while ($list =~ /^\tCOLUMN\((\w+), (\w+), (\w+)\)/mg)
	{
		is($1, uc $2, "$table: $2 has the symbol of its name");
		push @in_c, "$2 $type{$3}";
	}
	my ($create) = slurp($script) =~ /CREATE TABLE loyalty\.$table \(\n(.*?)\n\t*\)/s;
	push @in_sql, $1 while $create =~ /^\t*([a-z_]+ (?!KEY)[a-z_.]+)\b/mg;
	cmp_ok(scalar @in_c, '>', 10, "$table: columns in C");
	is_deeply(\@in_c, \@in_sql, "$table: the columns that C knows are those of the table");
}

done_testing();
