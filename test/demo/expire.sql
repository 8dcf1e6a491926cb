-- Balances are right without it: the job only books, for the accountants.
SELECT closing FROM shop.calendar
\gset
CALL loyalty.book_expiries(as_of => :'closing');
SELECT format('as of %s: %s of %s %s', as_of::date,
			  to_char(done, 'FM999,999,990'), to_char(total, 'FM999,999,990'), unit)
FROM loyalty.job_run ORDER BY run_id DESC LIMIT 1;
