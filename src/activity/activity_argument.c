/*
 * activity_argument.c
 *		What arguments of activities may be.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "ledger/post.h"

/*
 * An instant that has come, give or take what a clock may be off.
 */
void
CheckActivityAt(TimestampTz at)
{
	if (TIMESTAMP_NOT_FINITE(at) || at > GetCurrentTimestamp() + CLOCK_SKEW_ALLOWED)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ACTIVITY),
				 errmsg("at of an activity must be an instant that has come"),
				 errdetail("It is %s.", TimestampText(at)),
				 errhint("Record it when it has happened; the clocks of both sides may differ by a minute.")));
}

/*
 * A text that names something: neither empty nor longer than an index carries.
 */
void
CheckActivityText(const char *what, const char *text)
{
	if (text == NULL)
		return;
	if (text[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s must not be empty", what),
				 errdetail("An empty one would make different activities the same."),
				 errhint("Give one of your own choice, or leave it out.")));
	if (strlen(text) > MAX_KEY_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s is longer than %d bytes", what, MAX_KEY_LENGTH),
				 errdetail("It has %zu bytes and begins with \"%.*s\".", strlen(text),
						   pg_mbcliplen(text, strlen(text), 40), text),
				 errhint("Give a shorter one, such as a hash of it.")));
}

void
CheckMoney(const char *money)
{
	if (money != NULL && (strlen(money) != 3 || strspn(money, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ACTIVITY),
				 errmsg("money \"%s\" is no code of ISO 4217", money),
				 errdetail("A code has three capital letters."),
				 errhint("Give a code such as EUR, JPY or KWD, or leave it out.")));
}
