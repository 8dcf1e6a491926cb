SELECT board, to_char(period_start, 'FMMonth YYYY') AS period, rank, member_id, score FROM loyalty_bi.board_leader
WHERE board = (SELECT board FROM loyalty_bi.board_period ORDER BY period_start DESC, members DESC, board LIMIT 1) ORDER BY rank, member_id
