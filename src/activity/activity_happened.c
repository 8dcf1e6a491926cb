/*
 * activity_happened.c
 *		Word of activities for whoever reads what happened.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "activity/activity_happened.h"
#include "core/happened.h"

/*
 * An activity was recorded, revised or returned: which, and what it is now.
 */
void
ActivityHappened(const char *kind, const ActivityChange *change)
{
	const Activity *now = change->now;
	StringInfoData json;

	if (!IsHeard(kind))
		return;
	initStringInfo(&json);
	appendStringInfo(&json, "{\"version\": 1, \"activity_id\": " INT64_FORMAT ", \"revision\": %d, \"kind\": ",
					 now->activity_id, now->revision);
	escape_json(&json, now->kind);
	if (now->channel != NULL)
	{
		appendStringInfoString(&json, ", \"channel\": ");
		escape_json(&json, now->channel);
	}
	if (now->has_amount)
		appendStringInfo(&json, ", \"amount\": %s",
						 DatumGetCString(DirectFunctionCall1(numeric_out, MicrosToNumeric(now->amount, now->decimals))));
	if (now->money != NULL)
		appendStringInfo(&json, ", \"money\": \"%s\"", now->money);
	appendStringInfo(&json, ", \"confirmed\": %s, \"cancelled\": %s, \"returned\": %s",
					 now->confirmed ? "true" : "false", now->cancelled ? "true" : "false", now->returned ? "true" : "false");
	if (change->before != NULL && change->before->member_id != now->member_id)
		appendStringInfo(&json, ", \"from_member_id\": " INT64_FORMAT, change->before->member_id);
	appendStringInfo(&json, ", \"points\": " INT64_FORMAT ", \"awards\": %d}", change->points, change->awards);
	Happen(&(Happening) {
		.kind = kind,
		.member_id = now->member_id,
		.at = change->at,
		.payload = DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data))
	});
}
