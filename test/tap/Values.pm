# Valid values of every base type of the extension, their mutations, and what
# is asked of a value.  The same for the same seed of RandomHistory.
package Values;

use strict;
use warnings;

use FoldReference;
use RandomHistory;

*pick = \&RandomHistory::pick;
*one_of = \&RandomHistory::one_of;

# Valid values to begin with, as SQL expressions; reads: what is asked of a
# value of that type.
our %types = (
	points_ledger => {
		reads => q{(SELECT count(*) FROM loyalty.entries($1)), loyalty.fold($1)::text, loyalty.ledger_length($1), $1::jsonb::text},
		samples => [ q{'[]'} ] },
	points_balance => {
		reads => q{loyalty.available($1, '9999-01-01'), loyalty.held($1, '9999-01-01'), loyalty.pending($1, '9999-01-01'),
			loyalty.expired($1, '9999-01-01'), loyalty.next_expiry_at($1, '9999-01-01'), loyalty.expiring_points($1, '9999-12-01', '9999-01-01'),
			(SELECT count(*) FROM loyalty.balance_lots($1, '9999-01-01')), loyalty.last_effective_at($1), loyalty.next_unbooked_expiry($1), $1::jsonb::text},
		samples => [ q{'{"entries": 0}'} ] },
	points_lots => {
		reads => q{(SELECT sum(points) FROM loyalty.unnest_lots($1)), loyalty.total_points($1), $1::jsonb::text},
		samples => [ q{'[]'} ] });

# Types of other rooms have two-step aggregates: a few of their values.
my $events = q{(SELECT i, timestamptz '2024-01-01' + i * i * interval '1 hour' AS at, (i * 7919 %% 1000)::numeric / 7 AS amount FROM generate_series(1, %d) i) e};
my %aggregates = (
	rfm => "(SELECT loyalty.rfm_agg(at, amount) FROM $events)",
	rfm_breaks => q{loyalty.rfm_method(bins => 2 + %d %% 8)},
	activity_summary => "(SELECT loyalty.activity_agg(at, 'month', 'UTC') FROM $events)",
	member_set => "(SELECT loyalty.member_set_agg(i) FROM $events)",
	uplift => "(SELECT loyalty.uplift_agg((i %% 2)::int, i %% 3 = 0) FROM $events)",
	cohort_matrix => "(SELECT loyalty.retention_agg(a) FROM (SELECT loyalty.activity_agg(at, 'month', 'UTC') AS a FROM $events GROUP BY i %% 7) x)",
	repurchase => "(SELECT loyalty.repurchase_agg(a) FROM (SELECT loyalty.activity_agg(at, 'month', 'UTC') AS a FROM $events GROUP BY i %% 7) x)",
	concentration => "(SELECT loyalty.concentration_agg(amount) FROM $events)",
	tier_facts => "(SELECT loyalty.tier_facts_agg(CASE WHEN i %% 3 = 0 THEN 'orders' ELSE 'spend' END, at, round(amount, 4), NULL) FROM $events)",
	clv_sample => "(SELECT loyalty.clv_agg(r, '2040-01-01') FROM (SELECT loyalty.rfm_agg(at, amount) AS r FROM $events GROUP BY i %% 7) x)",
	clv_model => q{loyalty.clv_fit((SELECT loyalty.clv_agg(r, '2026-01-01') FROM (SELECT loyalty.rfm_agg(timestamptz '2024-01-01' + m * interval '1 day' + i * i * interval '5 days', 10 + m + i) AS r FROM generate_series(1, 40) m, generate_series(1, 1 + m %% 6) i GROUP BY m) x), CASE WHEN %d %% 2 = 0 THEN 'bg/nbd' ELSE 'mbg/nbd' END)});
for my $type (keys %aggregates)
{
	$types{$type} = { reads => '$1::text', samples => [ map { sprintf $aggregates{$type}, $_ } 1, 2, 3, 17, 300 ] };
}

# States of aggregates, one of each kind, as a part of their rows leaves them.
$types{aggregate_state} = {
	reads => '$1::text',
	samples => [
		q{'\x010109224281f3decc16223481a3c7032226fd988706221881a3c703220a81a3c7030104fd98870681a68b9c01011281a3c70381abe0bf01012081a3c703932b012efd98870681f1d89002'},
		q{'\x02010102000000090000000000000002633100000000000000076f726465722030000000000000000263320000000300000002633300000003000000076f726465722031000000030000000263340000000300000002633500000000000000076f72646572203200000003000000076f726465722033'},
		q{'\x03010414000000056d6f6e74680000000355544300000000000000020002b0d5d4e9400000000000000000a2a15d09519be000000002b0d5d4e94000fffffffffffffffbef2a795df5b40000'},
		q{'\x0401000000627b2276223a312c226d6574686f64223a226d65616e222c226d6f6e6574617279223a22746f74616c222c2274696d655f7a6f6e65223a6e756c6c2c2262696e73223a5b322c322c325d2c2263757473223a6e756c6c2c226b657973223a6e756c6c7d0002ea470ae860000000000000000000094086380000000000400000000000000040040000000000004085e00000000000400000000000000040000000000000004086700000000000400000000000000040080000000000004085d800000000004008000000000000402380000000000040861000000000003ff0000000000000400c0000000000004086a000000000003ff000000000000040100000000000004086000000000000400000000000000040270000000000004085200000000000401000000000000040400000000000004085b0000000000040100000000000004041000000000000'},
		q{'\x050101000000000000000000000000000000090000000000000001000000000000000000000000000000000000377e7cd8f4000000000000000000000000000000000100000000000000000000000000000000000038f0212e7800000000000000000000000000000000010000000000000001000000b50c926000000037bf074148003ff800000000000000000000000000010000000000000001000000b50c9260000000381709cf8c00401900000000000000000000000000010000000000000001000000b50c926000000038981ea034003ffc00000000000000000000000000010000000000000001000000b50c92600000003930ab96cc004000000000000000000000000000000100000000000000020000016a1924c000000038579437e000400e000000000000000000000000000100000000000000030000021f25b720000000373df270a0004021000000000000000000000000000100000000000000030000021f25b72000000038af96c624004022000000000000'},
		q{'\x06010102010007c06e567d00000001000000080000000000000001000000000000000000000009'},
		q{'\x0701010007c06e567d0000000000000009000000000000000800000000000004c80000000100000000000000000000000100000000000004c50000000100000000000000000000000500000000000004c70000000100000000000000000000000600000000000004c40000000100000000000000000000000700000000000004c60000000100000000000000000000000400000000000004c60000000100000000000000000000000300000000000004c40000000100000000000000000000000900000000000004c50000000100000000000000000000000200000000000004c70000000100000000'},
		q{'\x080101000000000000000900000000000000010000000a0001000000000000000700000000000000010000000a0001000000000000000400000000000000010000000c0002000000000002000209c400000000000000010000000a0001000000000000000100000000000000010000000c0002000000000002000509c400000000000000010000000c00020000000000010003138800000000000000010000000a0001ffff400000021d4c00000000000000010000000c00020000000000010006138800000000000000010000000a0001ffff000000011388'},
		q{'\x0901000000000000000200000000000000000000000000000000000000000000000000000000000000000000000000000002000000000000000000000000000000000000000000000000000000000000000000000000000000010000000000000000000000000000000000000000000000000000000000000001000000000000000100000000000000000000000000000000000000000000000000000000000000020000000000000000000000000000000000000000000000000000000000000000'},
		q{'\x0a01000000000000000500000000000000010000000263350000000000000001000000026334000000000000000200000002633100000000000000020000000263320000000000000002000000026333'},
		q{'\x0b01000000000000000800000000000000050000000a0001000000000014001e0000000c0002000000000014001109c40000000a0001000000000000000b'} ] };

# Valid values of a type, each as [text, bytes].
sub corpus
{
	my ($wire, $type, $seed, $histories) = @_;
	my @expressions = map { "$_\::loyalty.$type" } @{ $types{$type}{samples} };
	for my $i (1 .. ($type =~ /^points_/ ? $histories : 0))
	{
		my $history = RandomHistory->new($seed * 7919 + $i);
		next if $history->{refused};
		next if (FoldReference::fold($history->{order}, $history->{clawback}, @{ $history->{entries} }))[1];
		my $text = "'" . $history->text . "'::loyalty.points_ledger";
		if ($type eq 'points_lots')
		{
			for my $e (grep { $_->{lots} } @{ $history->{entries} })
			{
				push @expressions, "'" . $history->lots_json($e->{lots}) . "'::loyalty.points_lots";
			}
		}
		else { push @expressions, $type eq 'points_ledger' ? $text : "loyalty.fold($text, '$history->{order}', '$history->{clawback}')" }
	}
	my @values;
	while (my @some = splice @expressions, 0, 100)
	{
		my $answer = $wire->query("SELECT v::text, encode(loyalty.${type}_send(v), 'hex') FROM (VALUES " . join(', ', map { "($_)" } @some) . ') x(v)');
		die "$type: $answer->{error}{M}" if $answer->{error};
		push @values, @{ $answer->{rows} };
	}
	return map { [ $_->[0], pack('H*', $_->[1]) ] } @values;
}

sub numbers { return one_of('0', '-1', '1', '9223372036854775807', '-9223372036854775808', '9223372036854775808', '1e400', '1.5', '4294967296', '2147483648', 'null', 'true', '""', '[]', '{}', '"infinity"', '"-infinity"', '"294276-12-31T23:59:59.999999Z"', '"4714-11-24T00:00:00Z BC"', '"now"', '"2024-02-30T00:00:00Z"') }

sub mutate_text
{
	my ($text, $other) = @_;
	for (0 .. pick(3))
	{
		my $at = pick(1 + length $text);
		my $what = pick(9);
		if ($what == 0) { substr($text, $at, pick(8)) = '' }
		elsif ($what == 1) { substr($text, $at, 0) = chr(1 + pick(255)) }
		elsif ($what == 2) { substr($text, $at, 1) = one_of(split //, '{}[]":,0123456789-eE. T+Zx') }
		elsif ($what == 3 || $what == 4)
		{
			# another value behind one of the keys
			my @keys = ();
			push @keys, [ $-[1], $+[1] - $-[1] ] while $text =~ /: ?("[^"]*"|-?\d+)/g;
			my $key = @keys ? $keys[ pick(scalar @keys) ] : [ 0, 0 ];
			substr($text, $key->[0], $key->[1]) = numbers();
		}
		elsif ($what == 5) { $text = substr($text, 0, $at) . substr $other, pick(1 + length $other) }
		elsif ($what == 6)
		{
			my $chunk = substr $text, $at, pick(80);
			substr($text, pick(1 + length $text), 0) = $chunk;
		}
		elsif ($what == 7) { $text =~ s/"(kind|points|lot_id|entries|earned|target|lots|debt)"/'"' . one_of(qw(kind points lot_id entries earned target lots debt hold_id chain order)) . '"'/e }
		else { $text = substr $text, 0, $at }
	}
	return $text =~ s/\0/ /gr;
}

sub mutate_bytes
{
	my ($bytes, $other) = @_;
	for (0 .. pick(4))
	{
		my $at = pick(1 + length $bytes);
		my $what = pick(8);
		if ($what == 0) { substr($bytes, $at, pick(4)) = '' }
		elsif ($what == 1) { substr($bytes, $at, 0) = chr pick(256) }
		elsif ($what == 2 && $at < length $bytes) { substr($bytes, $at, 1) = chr(ord(substr $bytes, $at, 1) ^ 1 << pick(8)) }
		elsif ($what == 3) { substr($bytes, $at, 1) = chr pick(256) }
		elsif ($what == 4) { substr($bytes, $at, pick(3)) = ("\xff" x pick(11)) . chr pick(128) }
		elsif ($what == 5) { $bytes = substr($bytes, 0, $at) . substr $other, pick(1 + length $other) }
		elsif ($what == 6) { substr($bytes, pick(1 + length $bytes), 0) = substr $bytes, $at, pick(20) }
		else { $bytes = substr $bytes, 0, $at }
	}
	return $bytes;
}

sub random_bytes { return join '', map { chr pick(256) } 1 .. pick(60) }

1;
