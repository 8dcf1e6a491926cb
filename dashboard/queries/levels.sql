SELECT ladder, coalesce(name, 'None') AS level, coalesce(rank, 0) AS rank, members FROM loyalty_bi.level_now ORDER BY ladder, 3
