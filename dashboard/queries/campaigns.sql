SELECT campaign, sum(given) AS given, sum(taken_back) AS taken_back, sum(given) - sum(taken_back) AS kept, sum(limited) AS limited
FROM loyalty_bi.campaign_result WHERE kind = 'points' AND currency = :'currency' AND local_day > now() - interval '180 days'
GROUP BY 1 ORDER BY 4 DESC, 1 LIMIT 12
