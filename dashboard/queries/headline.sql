SELECT :'currency' AS currency, to_char(now() AT TIME ZONE p.time_zone, 'FMDD FMMonth YYYY') AS day,
	(SELECT count(*) FROM loyalty_bi.member WHERE status = 'active') AS members,
	a.monthly AS active, a.stickiness, l.points, l.value, round(100 * l.expected_points / nullif(l.points, 0), 1) AS expected_percent,
	b.buyers, to_char(b.month, 'FMMonth') AS buyers_month, s.nps, to_char(s.month, 'FMMonth') AS nps_month
FROM loyalty.program p
LEFT JOIN loyalty_bi.liability l ON l.currency = :'currency'
LEFT JOIN (SELECT * FROM loyalty_bi.active_members ORDER BY local_day DESC LIMIT 1) a ON true
LEFT JOIN (SELECT * FROM loyalty_bi.buyers_by_month WHERE finished ORDER BY month DESC LIMIT 1) b ON true
LEFT JOIN (SELECT r.* FROM loyalty_bi.survey_result r, loyalty.program z WHERE r.nps IS NOT NULL AND r.month < date_trunc('month', now() AT TIME ZONE z.time_zone)
	ORDER BY r.month DESC, r.answers DESC LIMIT 1) s ON true
