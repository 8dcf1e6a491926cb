SELECT survey, to_char(month, 'YYYY-MM') AS month, answers, promoters, passives, detractors, nps
FROM loyalty_bi.survey_result WHERE nps IS NOT NULL AND month >= date_trunc('month', now()) - interval '13 months' AND month < date_trunc('month', now())
	AND survey = (SELECT survey FROM loyalty_bi.survey_result WHERE nps IS NOT NULL GROUP BY survey ORDER BY sum(answers) DESC, survey LIMIT 1)
ORDER BY month
