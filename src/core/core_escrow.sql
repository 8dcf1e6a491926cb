/*
 * Global limits (budgets, totals, stock) for rooms in PL/pgSQL; in C see
 * escrow.h, which says how it works.  Names begin with the room and what the
 * limit belongs to: campaign/summer/points, benefit/tea_5_off/total.
 */

CREATE FUNCTION open_escrow(name text, total bigint) RETURNS void
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_open_escrow';
COMMENT ON FUNCTION open_escrow(text, bigint) IS
'Makes the slots of a global limit, with its total. Part of functions that define one, and hold the lock of its definition. Error: LY003 it is there. 42501 for whoever has not the rights of the owner of our tables.';

CREATE FUNCTION change_escrow(name text, by bigint) RETURNS void
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_change_escrow';
COMMENT ON FUNCTION change_escrow(text, bigint) IS
'Raises the total of a global limit, or lowers it, also below what was taken: then nothing can be taken until enough is put back. Part of functions that define one, and hold the lock of its definition. Error: LY003 there is none, or more than a bigint. 42501 for whoever has not the rights of the owner of our tables.';

CREATE FUNCTION take_from_escrow(name text, n bigint, what_there_is boolean DEFAULT false, own_slot integer DEFAULT -1) RETURNS bigint
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_take_from_escrow';
COMMENT ON FUNCTION take_from_escrow(text, bigint, boolean, integer) IS
'Takes n of what is left of a global limit, until the transaction is rolled back or put_into_escrow() gives it back. Returns n, or, where there is less, 0, having locked nothing; with what_there_is as much as there is. own_slot: which slot is asked first (-1: that of the session). Part of the writing functions. Error: LY003. 42501 for whoever has not the rights of the owner of our tables.';

CREATE FUNCTION put_into_escrow(name text, n bigint) RETURNS void
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_put_into_escrow';
COMMENT ON FUNCTION put_into_escrow(text, bigint) IS
'Gives back what was taken from a global limit. Part of the writing functions. Error: LY003. 42501 for whoever has not the rights of the owner of our tables.';

CREATE FUNCTION escrow_left(name text) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT sum(e.remaining)::bigint FROM loyalty.escrow e WHERE e.name = $1
$$;
COMMENT ON FUNCTION escrow_left(text) IS
'What is left of a global limit, such as campaign/summer/points; below zero where more was given out than its total is now; NULL where there is none of this name.';
