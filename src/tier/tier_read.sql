/*
 * tier: tiers as of any instant.
 */

CREATE FUNCTION tier_of(member_id bigint, ladder text, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_tier_of';
COMMENT ON FUNCTION tier_of(bigint, text, timestamptz, timestamptz) IS
'The tier of a member at an instant (NULL: now), as known at another (NULL: now); NULL for none. Right whether or not any job ever ran. Of a merged member it is that of the one who stands for it, from the instant of the merge on, and its own before. Where the ladder says so (household), that of its household, if it is better. Error: LY402 ladder.';

CREATE FUNCTION member_tiers(member_id bigint, ladder text, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT level text, OUT name text, OUT starts_at timestamptz, OUT ends_at timestamptz,
	OUT valid_until timestamptz, OUT event text, OUT reason text) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 5 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_member_tiers';
COMMENT ON FUNCTION member_tiers(bigint, text, timestamptz, timestamptz) IS
'The tiers of a member up to an instant (NULL: now), as known at another (NULL: now): rows as of tier_timeline(), computed from the facts; reason household: that of the household in which it is, or was. Error: LY402 ladder.';

CREATE FUNCTION tier_progress(member_id bigint, ladder text DEFAULT NULL, as_of timestamptz DEFAULT NULL,
	OUT ladder text, OUT goal text, OUT level text, OUT measure text, OUT have numeric, OUT needed numeric,
	OUT missing numeric, OUT measures_needed integer, OUT due_at timestamptz) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 4 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_tier_progress';
COMMENT ON FUNCTION tier_progress(bigint, text, timestamptz) IS
'What a member lacks, in each measure: to reach the next level, and to keep the earned one (then have is what will still count at the end of its term); measures_needed of the measures must be met, before due_at (NULL: no end). ladder NULL: on each ladder.';
