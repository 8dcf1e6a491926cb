SELECT coalesce(name, benefit) AS coupon, issued, used, expired, revoked, issued - used - expired - revoked AS open, discount
FROM loyalty_bi.coupon_funnel WHERE issued > 0 ORDER BY issued DESC, 1 LIMIT 8
