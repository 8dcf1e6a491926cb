-- Room benefit, coupons, by statements instead of table access: the same results.
SET loyalty.table_access = off;
\ir benefit_coupon.sql
