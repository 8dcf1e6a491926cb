SELECT to_char(month, 'YYYY-MM') AS month, buyers, new_members, kept, won_back, churned
FROM loyalty_bi.buyers_by_month WHERE finished AND month >= date_trunc('month', now()) - interval '13 months' ORDER BY month
