SELECT coalesce(segment, 'none') AS segment, members, amount, amount_share FROM loyalty_bi.segment_size ORDER BY amount DESC, segment
