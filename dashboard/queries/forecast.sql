SELECT to_char(month, 'YYYY-MM') AS month, redeemed, expired FROM loyalty_bi.liability_forecast WHERE currency = :'currency' ORDER BY month
