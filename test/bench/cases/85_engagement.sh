# Room engagement: streaks over check-ins by days, against counting them; the
# rank of a member on a large board, against the count in its index that a good
# engineer would write; a score, against an upsert; a draw, against earn().
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
checkins=$((ENTRIES * 3 / 5))
ranked=$((MEMBERS * 10))

# 30 check-ins of each member, on days of its own
psql -Xq -v ON_ERROR_STOP=1 -v checkins="$checkins" -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	CREATE TABLE bench_check_in AS SELECT i / 30 AS member_id, timestamptz '2026-01-01 12:00Z' + (hashint8(i) & 127) * interval '1 day' AS at FROM generate_series(1::bigint, :checkins) i;
	VACUUM ANALYZE bench_check_in;
SQL
cat >"$dir/streaks.sql" <<-'SQL'
	SET max_parallel_workers_per_gather = 0;
	\timing on
	SELECT sum((loyalty.streak_at(a, '2026-05-08')).length) FROM (SELECT loyalty.activity_agg(at, 'day', 'UTC') AS a FROM bench_check_in GROUP BY member_id) x;
SQL
cat >"$dir/count.sql" <<-'SQL'
	SET max_parallel_workers_per_gather = 0;
	\timing on
	SELECT sum(n) FROM (SELECT count(*) AS n FROM bench_check_in GROUP BY member_id) x;
SQL
cat >"$dir/islands.sql" <<-'SQL'
	SET max_parallel_workers_per_gather = 0;
	\timing on
	SELECT sum(n) FROM (SELECT member_id, count(*) AS n, max(day) AS last FROM (SELECT member_id, day, day - (row_number() OVER (PARTITION BY member_id ORDER BY day))::integer AS island
		FROM (SELECT DISTINCT member_id, (at AT TIME ZONE 'UTC')::date AS day FROM bench_check_in) d) i GROUP BY member_id, island) s WHERE last >= '2026-05-07';
SQL
paired --what "streak_at() over $checkins check-ins by day" --rival 'count(*) GROUP BY member_id' --target '<= 1.6' --rounds "$ROUNDS" "$dir/streaks.sql" "$dir/count.sql"
paired --what "streak_at() over $checkins check-ins by day" --rival 'gaps and islands' --target '<= 0.16' --rounds "$ROUNDS" "$dir/streaks.sql" "$dir/islands.sql"

# A board as its members left it; one with no changes since, which fold_board() would split.
psql -Xq -v ON_ERROR_STOP=1 -v ranked="$ranked" -o /dev/null <<-'SQL'
	SELECT loyalty.define_board('bench_board', '{"kind": "game", "measure": "amount", "period": "lifetime"}');
	INSERT INTO loyalty.board_score (member_id, board, period_start, score, activities, reached_at)
		SELECT i, 'bench_board', '2000-01-01', hashint8(i) & 1048575, 1, '2026-01-01Z' FROM generate_series(1::bigint, :ranked) i;
	INSERT INTO loyalty.board_change (board, period_start, was, score) SELECT board, period_start, NULL, score FROM loyalty.board_score WHERE board = 'bench_board';
	SELECT loyalty.fold_board('bench_board', '2000-01-01') FROM generate_series(1, 4);
	VACUUM ANALYZE loyalty.board_score, loyalty.board_bucket, loyalty.board_change;
SQL
cat >"$dir/rank.sql" <<-'SQL'
	\set m random(1, :ranked)
	SELECT rank, members FROM loyalty.rank_on('bench_board', :m);
SQL
cat >"$dir/index_count.sql" <<-'SQL'
	\set m random(1, :ranked)
	SELECT 1 + count(*) FROM loyalty.board_score s WHERE s.board = 'bench_board' AND s.period_start = '2000-01-01'
		AND s.score > (SELECT o.score FROM loyalty.board_score o WHERE o.member_id = :m AND o.board = 'bench_board' AND o.period_start = '2000-01-01');
SQL
# ten times as many transactions are a tenth of the time
paired --what "rank_on() of $ranked members" --rival 'count(*) in the index' --target '>= 10' --rounds "$ROUNDS" --set ranked="$ranked" \
	--pgbench '-c 1 -T 5 -M prepared' "$dir/rank.sql" "$dir/index_count.sql"

# What a score costs beside the activity itself: both record one, of a kind that
# a board scores, or of one that none does and an upsert beside it.
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null <<-'SQL'
	CREATE TABLE hand_score (member_id bigint, board text, period_start date, score numeric NOT NULL, activities bigint NOT NULL, reached_at timestamptz NOT NULL, PRIMARY KEY (member_id, board, period_start));
	CREATE INDEX ON hand_score (board, period_start, score);
	INSERT INTO hand_score SELECT member_id, board, period_start, score, activities, reached_at FROM loyalty.board_score WHERE board = 'bench_board';
	VACUUM ANALYZE hand_score;
SQL
cat >"$dir/score.sql" <<-'SQL'
	\set m random(1, :ranked)
	SELECT activity_id FROM loyalty.record_activity(:m, 'game', amount => 1);
SQL
cat >"$dir/upsert.sql" <<-'SQL'
	\set m random(1, :ranked)
	BEGIN;
	SELECT activity_id FROM loyalty.record_activity(:m, 'like', amount => 1);
	INSERT INTO hand_score AS s VALUES (:m, 'bench_board', '2000-01-01', 1, 1, now()) ON CONFLICT (member_id, board, period_start) DO UPDATE
		SET score = s.score + excluded.score, activities = s.activities + 1, reached_at = greatest(s.reached_at, excluded.reached_at);
	COMMIT;
SQL
paired --what 'an activity and its score, synchronous, 8 clients' --rival 'an activity and an upsert' --target '>= 0.75' --rounds "$ROUNDS" --set ranked="$ranked" \
	--pgbench '-c 8 -j 2 -T 10 -M prepared' "$dir/score.sql" "$dir/upsert.sql"

# A wheel of points: a spin pays by an entry, as earn() does.
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null <<-'SQL'
	SELECT loyalty.define_draw('bench_wheel', '{"prizes": [{"prize": "5 points", "weight": 9000, "points": 5}, {"prize": "10 points", "weight": 900, "points": 10}, {"prize": "mug", "weight": 100, "stock": 1000000, "points": 1}]}', '00112233445566778899aabbccddeeff');
	SELECT count(loyalty.grant_spin(m, 'bench_wheel', 100000)) FROM generate_series(1, 5000) m;
	SELECT count(loyalty.earn(m, 1)) FROM generate_series(1, 5000) m;
SQL
cat >"$dir/draw.sql" <<-'SQL'
	\set m random(1, 5000)
	SELECT prize, entry_id FROM loyalty.draw(:m, 'bench_wheel');
SQL
cat >"$dir/earn.sql" <<-'SQL'
	\set m random(1, 5000)
	SELECT entry_id, available FROM loyalty.earn(:m, 5);
SQL
paired --what 'draw(), synchronous, 8 clients' --rival 'earn()' --target '>= 0.70' --rounds "$ROUNDS" --pgbench '-c 8 -j 2 -T 10 -M prepared' "$dir/draw.sql" "$dir/earn.sql"
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -c 'DROP TABLE bench_check_in, hand_score'
