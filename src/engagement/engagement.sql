/*
 * engagement: what brings members back.  Primitives, which need no tables:
 * streaks of anybody's rows, and draws that anybody can recompute.
 */

CREATE FUNCTION streak_at(activity activity_summary, on_date date, freezes integer DEFAULT 0, count_frozen boolean DEFAULT false,
	weekdays integer[] DEFAULT NULL, holidays date[] DEFAULT NULL, OUT length integer, OUT longest integer, OUT freezes_left integer) RETURNS record
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_streak_at';
COMMENT ON FUNCTION streak_at(activity_summary, date, integer, boolean, integer[], date[]) IS
'How a streak stands on a day: how many periods in a row had events, up to the one that holds the day, which is not over and so ends nothing. What lies after the day counts for nothing. freezes: how many missed periods are forgiven, each by one freeze, the first ones first; such a period adds 1 only with count_frozen. weekdays (1 is Monday) and holidays: in a summary of days, days on other weekdays and days of the list neither add nor end anything, with or without events. longest: the longest up to the day. NULL summary: NULL. Error: LY003.';

CREATE FUNCTION walk_streak(days date[], on_date date, period text DEFAULT 'day', weekdays integer[] DEFAULT NULL, holidays date[] DEFAULT NULL,
	bridged date[] DEFAULT NULL, freeze_from date[] DEFAULT NULL, freeze_until date[] DEFAULT NULL, freeze_for date[] DEFAULT NULL,
	free integer DEFAULT 0, free_per text DEFAULT NULL, count_frozen boolean DEFAULT false,
	OUT length integer, OUT longest integer, OUT alive boolean, OUT last_day date, OUT freezes_left integer, OUT due_day date,
	OUT starts date[], OUT lengths integer[]) RETURNS record
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_walk_streak';
COMMENT ON FUNCTION walk_streak(date[], date, text, integer[], date[], date[], date[], date[], date[], integer, text, boolean) IS
'A streak with all that streak_of() knows, of days with activity in any order. period: day, week, month, quarter or year. bridged: days that neither add nor end anything, such as those lost on a flight. Freezes, in the order in which they are used: the first and the last day that each may save (NULL: any), or the one day that it is for; free: so many of each period free_per, used before those. Returns how long it is and was at most; whether it is alive on on_date; the first day of its last period; the freezes left on that day; the last day by whose end activity is needed; and, for each period with activity, its first day and how long the streak was then (0 after on_date). Error: LY003, LY340 period.';

CREATE FUNCTION hmac_sha256(key bytea, data bytea) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_hmac_sha256';
COMMENT ON FUNCTION hmac_sha256(bytea, bytea) IS
'The HMAC-SHA256 of bytes under a key (RFC 2104), by which draws draw.';

CREATE FUNCTION commit_seed(seed text) RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_commit_seed';
COMMENT ON FUNCTION commit_seed(text) IS
'The commitment to a seed: its SHA-256, in hexadecimal digits, as the seed is. Published before a draw, so that the seed can be no other afterwards. Error: LY003.';

CREATE FUNCTION ticket_of_bits(bits bytea, total bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_ticket_of_bits';
COMMENT ON FUNCTION ticket_of_bits(bytea, bigint) IS
'A number from 0 and below total of 8 bytes, as likely as any other; NULL where these bytes are rejected, since 2^64 is no multiple of total. Part of draw_ticket(). Error: LY003.';

CREATE FUNCTION draw_ticket(seed text, draw text, member_id bigint, nonce bigint, total bigint, client_seed text DEFAULT NULL) RETURNS bigint
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_draw_ticket';
COMMENT ON FUNCTION draw_ticket(text, text, bigint, bigint, bigint, text) IS
'The ticket, from 0 and below total, of a member''s spin: the first 64 bits of the HMAC-SHA256 under the seed (hexadecimal digits), with rejection, modulo total. Authenticated are, big-endian: a version byte, 1; the length (4 bytes) and the name of the draw in UTF-8; member_id, nonce (the number of the member''s spin, from 1) and a counter from 0, 8 bytes each; with client_seed (at most 64 bytes) the version is 2, and its length (4 bytes) and itself follow. Error: LY003.';

CREATE FUNCTION shuffle_deck(seed text, draw text, n integer) RETURNS integer[]
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_shuffle_deck';
COMMENT ON FUNCTION shuffle_deck(text, text, integer) IS
'The tickets 0 to n - 1 (at most a million) in the order in which they lie in the deck of a draw: for i from n - 1 down to 1, places i and draw_ticket(seed, draw, 0, i, i + 1) are exchanged (Fisher and Yates). Error: LY003.';

CREATE FUNCTION check_draw_definition(definition jsonb) RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_check_draw_definition';
COMMENT ON FUNCTION check_draw_definition(jsonb) IS
'Answers with the definition of a draw. Error: LY752, whose detail names each mistake with its place.';

CREATE FUNCTION prize_of_ticket(definition jsonb, ticket bigint) RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_prize_of_ticket';
COMMENT ON FUNCTION prize_of_ticket(jsonb, bigint) IS
'The prize that a ticket draws: of a wheel by the weights, of a deck by the counts, in the order of the prizes; NULL for a blank of a deck. Errors: LY752 definition, LY003 ticket.';

CREATE FUNCTION verify_draw(draw text, definition jsonb, commitment text, seed text, member_ids bigint[], nonces bigint[], tickets bigint[],
	drawn text[], prizes text[], client_seeds text[] DEFAULT NULL, OUT member_id bigint, OUT nonce bigint, OUT problem text) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'loyalty_verify_draw';
COMMENT ON FUNCTION verify_draw(text, jsonb, text, text, bigint[], bigint[], bigint[], text[], text[], text[]) IS
'What is wrong with a draw whose seed was revealed, of all its spins, one element of each array for each: no row, nothing. The seed is that of the commitment; the spins of each member are numbered 1, 2, ...; each ticket, and the prize that it draws, is what the seed draws; no prize is given more often than it is there, and a lower one only where the drawn one and those between are all gone. Of a deck tickets are places, from 0: none is sold twice, and at each lies the prize that was given. Needs no tables. Errors: LY752 definition, LY003.';

CREATE FUNCTION check_engagement_definition(what text, definition jsonb) RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_check_engagement_definition';
COMMENT ON FUNCTION check_engagement_definition(text, jsonb) IS
'Answers with a definition of a streak, badge, challenge, board, referral, club or journey. Error: LY752, whose detail names each mistake with its place.';

CREATE FUNCTION fact_holds(condition jsonb, kind text, at timestamptz, time_zone text DEFAULT NULL, channel text DEFAULT NULL,
	amount numeric DEFAULT NULL, money text DEFAULT NULL, lines jsonb DEFAULT NULL, document jsonb DEFAULT NULL) RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_fact_holds';
COMMENT ON FUNCTION fact_holds(jsonb, text, timestamptz, text, text, numeric, text, jsonb, jsonb) IS
'Whether an activity meets a condition in the language of campaigns (see define_campaign()), of which only those count that ask for the activity itself; NULL condition: true. Errors: LY752 condition, LY505.';
