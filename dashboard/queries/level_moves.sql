SELECT m.ladder, coalesce(f.name, 'None') AS from_level, coalesce(f.rank, 0) AS from_rank, coalesce(t.name, 'None') AS to_level, coalesce(t.rank, 0) AS to_rank, count(*) AS moves
FROM loyalty_bi.level_move m
LEFT JOIN (SELECT DISTINCT ladder, level, name, rank FROM loyalty_bi.level_now) f ON f.ladder = m.ladder AND f.level = m.from_level
LEFT JOIN (SELECT DISTINCT ladder, level, name, rank FROM loyalty_bi.level_now) t ON t.ladder = m.ladder AND t.level = m.to_level
WHERE m.at > now() - interval '180 days' AND m.from_level IS DISTINCT FROM m.to_level
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 3, 5
