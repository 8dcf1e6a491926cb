SELECT to_char(x.month, 'YYYY-MM') AS month, x.what, sum(x.points) AS points
FROM (SELECT date_trunc('month', local_day) AS month, CASE WHEN movement IN ('earned', 'returned', 'undone') THEN 'issued' WHEN movement IN ('redeemed', 'refunded') THEN 'redeemed' ELSE 'other' END AS what, points
	FROM loyalty_bi.points_by_day WHERE currency = :'currency' AND movement NOT IN ('sent', 'received')
	UNION ALL SELECT date_trunc('month', local_day), 'expired', - points FROM loyalty_bi.expiry WHERE currency = :'currency' AND expired) x
WHERE x.month >= date_trunc('month', now()) - interval '13 months' AND x.month <= now()
GROUP BY 1, 2 ORDER BY 1, 2
