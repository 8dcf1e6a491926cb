/*
 * activity_day.c
 *		The local day of an activity.
 */
#include "postgres.h"

#include "pgtime.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "core/core.h"
#include "core/errors.h"

static pg_tz *
RequireTimeZone(const char *time_zone)
{
	pg_tz	   *tz = strlen(time_zone) <= TZ_STRLEN_MAX ? pg_tzset(time_zone) : NULL;

	if (tz == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ACTIVITY),
				 errmsg("unknown time zone \"%s\"", time_zone),
				 errdetail("The local day of an activity is that of a time zone."),
				 errhint("See the view pg_timezone_names; without one it is that of the program.")));
	return tz;
}

/*
 * The zone that is given, or that of the program (NULL).
 */
const char *
FindTimeZone(const char *time_zone)
{
	if (time_zone == NULL)
		return pstrdup(GetProgram()->time_zone);
	return pg_get_timezone_name(RequireTimeZone(time_zone));
}

/*
 * On which day an instant lies in a time zone.
 */
DateADT
LocalDay(TimestampTz at, const char *time_zone)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			behind;

	if (timestamp2tm(at, &behind, &tm, &fsec, NULL, RequireTimeZone(time_zone)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE;
}
