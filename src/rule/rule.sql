/*
 * rule: what activities earn.  Primitives, over anybody's rows.
 */
SET LOCAL check_function_bodies = off;

CREATE FUNCTION check_campaign(definition jsonb, OUT path text, OUT severity text, OUT problem text) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 5
AS 'MODULE_PATHNAME', 'loyalty_check_campaign';
COMMENT ON FUNCTION check_campaign(jsonb) IS
'Everything that is wrong with the definition of a campaign: where (path), whether define_campaign() refuses it (severity error) or only warns (warning), and what.';

CREATE FUNCTION evaluate_campaigns(definitions jsonb, activity jsonb, member jsonb DEFAULT '{}', OUT campaign text, OUT effect integer,
	OUT kind text, OUT currency text, OUT points bigint, OUT wanted bigint, OUT item text, OUT limited_by text, OUT why text) RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 5
AS 'MODULE_PATHNAME', 'loyalty_evaluate_campaigns';
COMMENT ON FUNCTION evaluate_campaigns(jsonb, jsonb, jsonb) IS
'What campaigns give for an activity, by the code that also decides when it is recorded; needs no tables. definitions: {"code": definition, ...}. activity: {"kind", "at", "time_zone", "amount", "money", "lines", "channel", "document", "confirmed", "cancelled"}; kind is order, at is now, where they are missing. member, all optional: {"tier": {ladder: level}, "attributes": {"birthday": "2000-02-29", ...}, "count": {kind: {period: number}}, "spent": likewise, "holidays": {name: [dates]}, "facts": {question of another room, as in the inputs of its award: true or false}, "held": {code: [points of each effect before]}, "ceilings": likewise, "used": {limit: number}, "windows": {code: {"amount", "activities"}} without this activity}. A row for each effect of a campaign that matches: points is what it is to have in all, wanted what it would without limits, limited_by the limit that trimmed it, why the campaign that won instead. Errors: LY003, LY505 invalid activity, LY521 invalid definition.';

CREATE FUNCTION campaign_points(definitions jsonb, activity jsonb, member jsonb DEFAULT '{}', currency text DEFAULT 'points') RETURNS bigint
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'loyalty_campaign_points';
COMMENT ON FUNCTION campaign_points(jsonb, jsonb, jsonb, text) IS
'How many points of a currency campaigns give for an activity: the sum of points over evaluate_campaigns(), whose arguments and errors it has. Made for many rows: one number each, whatever the number of campaigns.';
