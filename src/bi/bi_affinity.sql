/*
 * bi: which goods go together, by counting baskets.
 *
 * Counts are whole numbers and shares are rounded numerics, so the same rows
 * give the same answer whatever the plan.
 */

CREATE FUNCTION affinity_items(lines regclass, basket_column text, item_column text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	missing CONSTANT text := (SELECT c FROM unnest(ARRAY[basket_column, item_column]) c
		WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = lines AND a.attname = c AND a.attnum > 0 AND NOT a.attisdropped) LIMIT 1);
BEGIN
	IF lines IS NULL OR basket_column IS NULL OR item_column IS NULL OR missing IS NOT NULL THEN
		RAISE EXCEPTION 'lines have no column "%"', coalesce(missing, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = format('They are read from %s.', coalesce(lines::text, 'NULL')), HINT = 'Name the column of the basket and that of the item.';
	END IF;
	RETURN format('SELECT DISTINCT (l.%1$I)::pg_catalog.text COLLATE "C" AS basket, (l.%2$I)::pg_catalog.text COLLATE "C" AS item FROM %3$s l WHERE l.%1$I IS NOT NULL AND l.%2$I IS NOT NULL',
		basket_column, item_column, lines);
END
$$;
COMMENT ON FUNCTION affinity_items(regclass, text, text) IS 'The query for the items of each basket. Part of product_affinity() and next_best(). Error: LY003.';

CREATE FUNCTION product_affinity(lines regclass, basket_column text DEFAULT 'activity_id', item_column text DEFAULT 'category', min_together bigint DEFAULT 1,
	OUT item text, OUT other text, OUT together bigint, OUT with_item bigint, OUT with_other bigint, OUT baskets bigint,
	OUT support numeric, OUT confidence numeric, OUT lift numeric) RETURNS SETOF record
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF min_together IS NULL OR min_together < 1 THEN
		RAISE EXCEPTION 'min_together must be positive'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(min_together::text, 'NULL')), HINT = 'Leave it out for all pairs.';
	END IF;
	RETURN QUERY EXECUTE format($q$
		WITH i AS MATERIALIZED (%s), n AS (SELECT i.item, count(*) AS n FROM i GROUP BY i.item), a AS (SELECT count(DISTINCT i.basket) AS n FROM i),
		p AS (SELECT x.item, y.item AS other, count(*) AS n FROM i x JOIN i y ON y.basket = x.basket AND y.item <> x.item GROUP BY 1, 2 HAVING count(*) >= $1)
		SELECT p.item, p.other, p.n, f.n, t.n, a.n, round(p.n::numeric / a.n, 6), round(p.n::numeric / f.n, 6), round(p.n::numeric * a.n / (f.n::numeric * t.n), 6)
		FROM p JOIN n f ON f.item = p.item JOIN n t ON t.item = p.other CROSS JOIN a
		ORDER BY 9 DESC, p.n DESC, p.item, p.other $q$, loyalty.affinity_items(lines, basket_column, item_column))
	USING min_together;
END
$$;
COMMENT ON FUNCTION product_affinity(regclass, text, text, bigint) IS
'Which items go together in baskets, from a table or view with a row for each item of a basket, such as loyalty_bi.purchase_line: a row for each ordered pair that is together in at least min_together baskets, the greatest lift first. basket_column: activity_id (one order) or member_id (whatever the member ever bought). item_column: category, brand, sku. An item counts once in a basket; rows with a NULL do not count. together: baskets with both; support = together / baskets; confidence = together / with_item: of baskets with the item the part that has the other, too; lift = confidence / (with_other / baskets): how many times as often as if they had nothing to do with each other. Six decimals. Error: LY003 a column that there is not.';

CREATE FUNCTION next_best(lines regclass, member_id bigint, basket_column text DEFAULT 'member_id', item_column text DEFAULT 'category', min_together bigint DEFAULT 5,
	at_most integer DEFAULT 5, OUT item text, OUT because text, OUT together bigint, OUT confidence numeric, OUT lift numeric) RETURNS SETOF record
LANGUAGE plpgsql STABLE ROWS 5 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	IF at_most IS NULL OR at_most < 0 THEN
		RAISE EXCEPTION 'at_most must not be negative'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(at_most::text, 'NULL')), HINT = 'It is the number of items.';
	END IF;
	PERFORM loyalty.affinity_items(lines, 'member_id', item_column);
	RETURN QUERY EXECUTE format($q$
		WITH mine AS MATERIALIZED (SELECT DISTINCT (l.%I)::pg_catalog.text COLLATE "C" AS item FROM %s l WHERE l.member_id = $1 AND l.%I IS NOT NULL)
		SELECT b.other, b.item, b.together, b.confidence, b.lift
		FROM (SELECT DISTINCT ON (p.other) p.* FROM loyalty.product_affinity($2, $3, $4, $5) p
			WHERE p.item IN (SELECT m.item FROM mine m) AND p.other NOT IN (SELECT m.item FROM mine m) AND p.lift > 1
			ORDER BY p.other, p.confidence DESC, p.lift DESC, p.item COLLATE "C") b
		ORDER BY b.confidence DESC, b.lift DESC, b.other COLLATE "C" LIMIT $6 $q$, item_column, lines, item_column)
	USING member_id, lines, basket_column, item_column, min_together, at_most;
END
$$;
COMMENT ON FUNCTION next_best(regclass, bigint, text, text, bigint, integer) IS
'What to offer a member next: items that it has not bought, and which those buy who bought what it has, at most at_most of them, the likeliest first. lines: as of product_affinity(), with a column member_id. because: the item of the member''s that says it; confidence: of those who bought that, the part that bought this, too; lift (above 1) how many times as often as everybody. Only pairs of at least min_together baskets say anything. Error: LY003.';
