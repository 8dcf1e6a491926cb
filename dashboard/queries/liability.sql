SELECT coalesce(to_char(expires_in, 'YYYY-MM'), 'never') AS month, points, expected_points, breakage_points, value
FROM loyalty_bi.liability_by_month WHERE currency = :'currency' ORDER BY expires_in NULLS LAST
