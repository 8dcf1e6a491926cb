-- Points that live for twelve months, rounded up to the end of the month.
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup();
SELECT loyalty.create_currency(
	code => 'rewards',
	expiry_policy => 'rolling',
	expiry_interval => '12 months',
	expiry_rounding => 'month',
	clawback_policy => 'allow_debt',
	refund_grace => '14 days',
	time_zone => 'Europe/London') IS NOT NULL;
SELECT 'loyalty ' || extversion || '; currency rewards: 12 months to the end of the month'
FROM pg_extension WHERE extname = 'loyalty';
