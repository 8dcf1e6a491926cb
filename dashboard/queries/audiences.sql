SELECT coalesce(name, audience) AS audience, members, to_char(as_of, 'YYYY-MM-DD') AS as_of FROM loyalty_bi.audience_size WHERE members IS NOT NULL ORDER BY members DESC, 1 LIMIT 12
