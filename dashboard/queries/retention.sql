SELECT to_char(cohort, 'YYYY-MM') AS cohort, cohort_size, months_later, active, round(rate, 4) AS rate
FROM loyalty_bi.retention WHERE finished AND months_later BETWEEN 1 AND 12
	AND cohort >= (SELECT max(r.cohort) FROM loyalty_bi.retention r) - interval '13 months'
ORDER BY 1, 3
