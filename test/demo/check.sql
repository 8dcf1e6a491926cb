DO $$
DECLARE
	violations bigint := (SELECT count(*) FROM loyalty.check_all());
BEGIN
	IF violations > 0 THEN
		RAISE EXCEPTION '% invariants are violated', violations
			USING HINT = 'SELECT * FROM loyalty.check_all(); in make psql shows them.';
	END IF;
END
$$;
SELECT 'no violation';
