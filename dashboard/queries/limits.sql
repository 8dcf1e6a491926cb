SELECT replace(name, '/', ' · ') AS name, total, taken, remaining, used_share FROM loyalty_bi.global_limit WHERE total > 0 ORDER BY used_share DESC, name LIMIT 12
