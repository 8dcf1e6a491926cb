SELECT local_day AS day, daily, weekly, monthly, stickiness FROM loyalty_bi.active_members WHERE local_day > now() - interval '181 days' ORDER BY local_day
