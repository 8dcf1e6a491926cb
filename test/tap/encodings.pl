# Databases that are not in UTF-8: identifiers have the same normal form, and
# segments have names.
use strict;
use warnings;

use Encode qw(encode);
use IPC::Run;
use Test::More;

my @psql = ('psql', '-h', $ENV{LOYALTY_TEST_HOST}, '-p', $ENV{LOYALTY_TEST_PORT} || 5432, '-U', 'postgres', '-XqAt', '-v', 'ON_ERROR_STOP=1');

sub run_sql
{
	my ($db, $sql) = @_;
	my ($output, $errors);
	IPC::Run::run([ @psql, '-d', $db ], '<', \$sql, '>', \$output, '2>', \$errors) or die "psql: $errors";
	chomp $output;
	return $output;
}

for (['LATIN1', 'iso-8859-1'], ['SQL_ASCII', 'utf-8'])
{
	my ($encoding, $written) = @$_;
	my $database = lc "encoding_$encoding";
	my $mail = encode($written, "Ann\@B\x{dc}CHER.example");
	run_sql('postgres', "DROP DATABASE IF EXISTS $database; CREATE DATABASE $database ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C';");
	run_sql($database, 'SET client_min_messages = warning; CREATE EXTENSION loyalty CASCADE;');
	is(run_sql($database, "SET client_encoding = '$encoding'; SELECT loyalty.normalize_identifier('email', '$mail');"),
		'ann@xn--bcher-kva.example', "$encoding: a domain beyond ASCII");
	is(run_sql($database, "SELECT loyalty.normalize_identifier('email', 'ann\@xn--fiqs8s.example');"),
		'ann@xn--fiqs8s.example', "$encoding: a domain that the encoding may not have");
	is(run_sql($database, "SET client_encoding = '$encoding'; SELECT coalesce(loyalty.normalize_identifier('email', 'a\xfc\@x.de'), 'garbage');"),
		$encoding eq 'SQL_ASCII' ? 'garbage' : "a\xfc\@x.de", "$encoding: a byte that is no UTF-8");
	run_sql('postgres', "DROP DATABASE $database;");
}

# An encoding that has not all characters of our Chinese names has none of them
for (['EUC_CN', "\xe5\x86\xa0\xe5\x86\x9b\xe5\xae\xa2\xe6\x88\xb7"], ['EUC_JP', 'Champions'], ['EUC_KR', 'Champions'], ['LATIN1', 'Champions'], ['SQL_ASCII', 'Champions'])
{
	my ($encoding, $name) = @$_;
	my $database = lc "encoding_$encoding";
	run_sql('postgres', "DROP DATABASE IF EXISTS $database; CREATE DATABASE $database ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C';");
	run_sql($database, 'SET client_min_messages = warning; CREATE EXTENSION loyalty CASCADE; SELECT loyalty.setup();');
	is(run_sql($database, "SET client_encoding = 'UTF8'; SELECT loyalty.rfm_segment(5, 5, 5, 'code125', 'zh');"), $name, "$encoding: a segment in Chinese");
	is(run_sql($database, "SELECT string_agg(loyalty.rfm_segment(5, 5, 5, scheme), ', ' ORDER BY scheme) FROM loyalty.builtin_rfm_schemes() WHERE scheme IN ('code125', 'putler_ranges');"),
		'Champions, Champions', "$encoding: and in English");
	is(run_sql($database, 'SELECT count(*) FROM loyalty.check_all();'), '0', "$encoding: check_all() works");
	run_sql('postgres', "DROP DATABASE $database;");
}

done_testing();
