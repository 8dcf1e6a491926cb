/*
 * match: the same person without a shared identifier.
 *
 * Primitives, on anybody's tables, are in this file; the program, on tables
 * that setup_match() makes, is in match_*.sql.  The model, the levels and the
 * invariants are in src/match/match.h, em.h and compare.h.
 */

CREATE FUNCTION compare_values(a text, b text, kind text DEFAULT 'name', country text DEFAULT NULL) RETURNS text
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_compare_values';
COMMENT ON FUNCTION compare_values(text, text, text, text) IS
'The level on which two values of a field are: equal, close, similar or different; NULL where one is missing (NULL, empty or blanks). Both are compared in Unicode NFKC, case-folded, with one blank for several, up to 255 characters. A typing error is a character too many, too few, another one, or two neighbours exchanged.
kind ''name'': close is one typing error, or a Jaro-Winkler similarity of .92 or more; similar .80 or more. Chinese names, by characters: close is the same ones in another order, similar one different of two or more.
''address'': as names. Chinese: close is one typing error, the same as far as a street or village, or one without the province or city that leads the other; similar is the same as far as a district or city.
''date'': year, month and day, with or without something between them; close is one typing error, or day and month exchanged; similar two of the three the same.
''code'': letters and digits only; close is one typing error. ''phone'', ''email'': as normalize_identifier() has them (country is that of national telephone numbers), what is garbage is missing; close is one typing error.
''category'' and ''key'': equal or different. Error: LY003 kind, country.';

CREATE FUNCTION jaro_winkler(a text, b text) RETURNS double precision
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_jaro_winkler';
COMMENT ON FUNCTION jaro_winkler(text, text) IS
'The similarity of two names by their characters, from 0 to 1: Jaro (1989), raised by Winkler (1990) by a tenth of what is missing for each of up to four first characters that are the same. Values are prepared as in compare_values(); NULL where one is missing. Says little of Chinese names, which have two or three characters.';

CREATE FUNCTION preview_blocks(source regclass, definition jsonb,
	OUT block text, OUT pairs bigint, OUT keys bigint, OUT largest_key text, OUT largest bigint, OUT oversized boolean) RETURNS SETOF record
LANGUAGE c STABLE CALLED ON NULL INPUT ROWS 20 AS 'MODULE_PATHNAME', 'loyalty_preview_blocks';
COMMENT ON FUNCTION preview_blocks(regclass, jsonb) IS
'What the blocks of a definition (see find_matches()) would make, without making it: of each block its pairs, with those of earlier blocks, how many keys two records or more share, the key that most share, how many these are, and whether that is more than largest_key. Errors: LY844 definition, LY841 no block is small enough, LY003.';

CREATE FUNCTION match_pairs(source regclass, definition jsonb, OUT a text, OUT b text, OUT block integer, OUT pattern text) RETURNS SETOF record
LANGUAGE c STABLE CALLED ON NULL INPUT ROWS 100000 AS 'MODULE_PATHNAME', 'loyalty_match_pairs';
COMMENT ON FUNCTION match_pairs(regclass, jsonb) IS
'Every pair that the blocks of a definition (see find_matches()) make, once, in the first block that makes it: ids, of which a comes first, number of the block from 1 on, and how the pair agrees: a digit for each field that is compared, its level from 0, different, upwards, or - where it is missing. Fields are in the order in which jsonb has them (shorter names first). Errors: LY844 definition, LY841 a key that too many records share, LY003.';

CREATE FUNCTION match_patterns(source regclass, definition jsonb) RETURNS jsonb
LANGUAGE c STABLE CALLED ON NULL INPUT AS 'MODULE_PATHNAME', 'loyalty_match_patterns';
COMMENT ON FUNCTION match_patterns(regclass, jsonb) IS
'Counts for match_fit(): how many pairs of the blocks have each pattern, and how often each field is there and agrees over all pairs of records. Nothing is sampled but this: of a field with more than 2,001 values, pairs of those values whose hashes are smallest tell how often different values are nearly equal; compared says how many. Records that have none of the fields do not count. The same bytes for any order of rows and any plan. Errors: LY844 definition, LY841 a key that too many records share, LY003.';

CREATE FUNCTION match_fit(patterns jsonb, options jsonb DEFAULT NULL) RETURNS jsonb
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_match_fit';
COMMENT ON FUNCTION match_fit(jsonb, jsonb) IS
'The model that fits counts of patterns: the share lambda of matches among all pairs, and of each field and level its probability m in matches and u in other pairs (Fellegi, Sunter 1969), by EM (Dempster, Laird, Rubin 1977) until nothing changes. Pairs that no block took are in the likelihood as one cell, and u follows from the agreement counted over all pairs, u = (agreement - lambda m) / (1 - lambda). Counts by hand: {"patterns": {"110": 544, ...}} of all pairs; or with "pairs", "fields": [{"field": "a", "agreement": [0.7, 0.3]}, ...] and "blocks": [["a"], ...] of some. options: {"lambda", "m", "u": where to begin (m and u of equal), "clip": [least, most] of equal, "tolerance": of the root of the sum of squared changes (1e-12), "max_iterations": 10000}. A fit that makes no sense is no error but where it has matches and others the wrong way round; read match_report(). Errors: LY842 fewer than three fields, LY843 swapped, LY003.';

CREATE FUNCTION match_weight(model jsonb, pattern text, frequencies jsonb DEFAULT NULL,
	OUT weight numeric, OUT probability numeric, OUT parts jsonb) RETURNS record
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_match_weight';
COMMENT ON FUNCTION match_weight(jsonb, text, jsonb) IS
'What a model says of a pattern: the weight in bits, log2(lambda / (1 - lambda)) plus log2(m / u) of the level of each field that is there, the probability of a match, and the parts of the weight, which add up to it exactly. A fitted model says of a level no more than its numbers can: between -log2(expected matches + 1) and log2(other pairs + 1). frequencies: of equal values, the share of records that have them, {"surname": 0.0001}, which takes the place of u. A model by hand: {"lambda": 0.001, "fields": [{"field": "surname", "m": [0.1, 0.9], "u": [0.99, 0.01]}, ...]}, levels from 0 upwards. Error: LY003.';

CREATE FUNCTION match_levels(model jsonb, OUT field text, OUT level integer, OUT meaning text, OUT m numeric, OUT u numeric, OUT weight numeric)
RETURNS SETOF record
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 30 AS 'MODULE_PATHNAME', 'loyalty_match_levels';
COMMENT ON FUNCTION match_levels(jsonb) IS
'The levels of each field of a model, highest first: probability in matches (m) and in other pairs (u), and the weight in bits that match_weight() gives it. Error: LY003.';

CREATE FUNCTION match_report(model jsonb, OUT item text, OUT value numeric, OUT remark text) RETURNS SETOF record
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 20 AS 'MODULE_PATHNAME', 'loyalty_match_report';
COMMENT ON FUNCTION match_report(jsonb) IS
'How a fit went. The first row is the verdict, in the remark: safe, unsafe, or given, not fitted. Then lambda over all pairs and in the blocks, expected matches, how many of them are where no block looks, and what is wrong or should be known: not converged; fewer than 50 matches expected; blocks that have less than 95 % of them; a field that is equal no more often in matches than elsewhere; levels out of order; a field that is equal in all matches; fields that agree together more often than the model expects. Error: LY003.';

CREATE FUNCTION match_thresholds(model jsonb, patterns jsonb, thresholds numeric[] DEFAULT '{0.5,0.8,0.9,0.95,0.99,0.999}',
	OUT threshold numeric, OUT pairs numeric, OUT expected_false numeric, OUT expected_missed numeric, OUT "precision" numeric, OUT recall numeric)
RETURNS SETOF record
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE ROWS 6 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	PERFORM loyalty.match_levels(model);
	IF patterns IS NULL OR thresholds IS NULL THEN
		RAISE EXCEPTION '% must not be NULL', CASE WHEN patterns IS NULL THEN 'patterns' ELSE 'thresholds' END
			USING ERRCODE = 'LY003', DETAIL = 'It has no default that NULL could stand for.',
				HINT = 'Give the counts of match_patterns(), and thresholds or none.';
	ELSIF EXISTS (SELECT FROM unnest(thresholds) t (p) WHERE (t.p BETWEEN 0 AND 1) IS NOT TRUE) THEN
		RAISE EXCEPTION 'thresholds must be from 0 to 1'
			USING ERRCODE = 'LY003', DETAIL = format('They are %s.', thresholds), HINT = 'A threshold is a probability.';
	ELSIF jsonb_typeof($2 -> 'patterns') IS DISTINCT FROM 'object' OR jsonb_typeof(coalesce($2 -> 'beside', '{}')) <> 'object'
		OR EXISTS (SELECT FROM jsonb_each(($2 -> 'patterns') || coalesce($2 -> 'beside', '{}')) c WHERE jsonb_typeof(c.value) <> 'number' OR c.value < '0') THEN
		RAISE EXCEPTION 'invalid counts of patterns'
			USING ERRCODE = 'LY003', DETAIL = 'They are an object with "patterns", an object of numbers.',
				HINT = 'Give what match_patterns() returns, or {"patterns": {"10": 5, ...}} of all pairs.';
	END IF;
	RETURN QUERY
	WITH cell AS MATERIALIZED (
		SELECT w.probability AS p, c.value::numeric AS n
		FROM (SELECT * FROM jsonb_each_text($2 -> 'patterns') UNION ALL SELECT * FROM jsonb_each_text($2 -> 'beside')) c,
			LATERAL loyalty.match_weight($1, c.key) w
	)
	SELECT t.threshold, x.pairs, round(x.wrong, 6), round(x.missed, 6), round(1 - x.wrong / nullif(x.pairs, 0), 6),
		round((x.pairs - x.wrong) / nullif(x.pairs - x.wrong + x.missed, 0), 6)
	FROM unnest($3) WITH ORDINALITY t (threshold, n),
		LATERAL (SELECT coalesce(sum(c.n) FILTER (WHERE c.p >= t.threshold), 0) AS pairs,
				coalesce(sum(c.n * (1 - c.p)) FILTER (WHERE c.p >= t.threshold), 0) AS wrong,
				coalesce(sum(c.n * c.p) FILTER (WHERE c.p < t.threshold), 0) + coalesce(($1 ->> 'matches_outside')::numeric, 0) AS missed
			FROM cell c) x
	ORDER BY t.n;
END
$$;
COMMENT ON FUNCTION match_thresholds(jsonb, jsonb, numeric[]) IS
'What a model expects of linking all pairs from a probability on: pairs, false ones among them, matches missed (of pairs below, and where no block looks), precision and recall. By patterns, as match_patterns() counts them; frequencies of values, which find_matches() weighs too, are left out. Error: LY003.';

CREATE FUNCTION find_matches(source regclass, definition jsonb, model jsonb DEFAULT NULL, only_ids text[] DEFAULT NULL,
	OUT a text, OUT b text, OUT weight numeric, OUT probability numeric, OUT decision text, OUT block integer, OUT pattern text, OUT parts jsonb)
RETURNS SETOF record
LANGUAGE c STABLE CALLED ON NULL INPUT ROWS 10000 AS 'MODULE_PATHNAME', 'loyalty_find_matches';
COMMENT ON FUNCTION find_matches(regclass, jsonb, jsonb, text[]) IS
'Who is probably the same: pairs of records of any table or view that the caller may read, in the order of ids, a before b, with weight in bits, probability, decision (link or review), and the parts of the weight. Without a model one is fitted to the source first, as match_fit(match_patterns(source, definition)) would. only_ids: pairs with at least one of these, such as new records; with a model that was kept, others are not compared.
The definition: {"fields": {"surname": "name", "born": "date", "city": {"kind": "category", "frequencies": false}, ...}: columns and their kinds, see compare_values(); at most 16, and 8 keys, which only make blocks; "id": column that tells records apart (the primary key); "in": a jsonb column whose keys the fields are; "blocks": [["surname", "born"], ["phone"], ...]: pairs that agree in all fields of one of these are looked at; left out, they are chosen by their sizes: single fields, then two, then three, the smallest first, up to "pairs_per_record" (20); "largest_key" (1000): records that may share a key, and "oversized": "refuse" (default) or "skip" such a key; "garbage": values that are missing ones (unknown, none, n/a and the like); "country": of telephone numbers; "link" (0.99) and "review" (0.5): probabilities from which on a pair is one or the other}.
Nothing is random: the same records give the same bytes, whatever the order of rows or the plan. Errors: LY844 definition, LY841 a key that too many records share, LY842 fewer than three fields, LY843 the fit has it the wrong way round, LY003.';

CREATE FUNCTION cluster_pairs(a bigint[], b bigint[], weights numeric[], accepted boolean[] DEFAULT NULL,
	refused_a bigint[] DEFAULT '{}', refused_b bigint[] DEFAULT '{}',
	OUT node bigint, OUT cluster bigint, OUT weakest_a bigint, OUT weakest_b bigint, OUT weight numeric,
	OUT between_a bigint, OUT between_b bigint) RETURNS SETOF record
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'loyalty_cluster_pairs';
COMMENT ON FUNCTION cluster_pairs(bigint[], bigint[], numeric[], boolean[], bigint[], bigint[]) IS
'Persons, of pairs that belong together, and others that do not. Pairs are taken in order: accepted ones, then by weight downwards, then by ids; one that would bring two into a cluster who are refused is not taken. A row for each node: its cluster, named by its smallest node, and the pair that was taken last for it, its weakest, with its weight. Then a row without a node for each pair that was not taken: the pair (weakest_a, weakest_b), its weight, and the refused two that stand in its way. Lists of the same length: make them with array_agg(). Error: LY003.';
