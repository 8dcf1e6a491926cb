/*
 * currency.c
 *		Policies of currencies, and when points expire by them.
 *
 * Each session keeps the rows of loyalty.currency that it has used and drops
 * them when the table changes, told by the trigger forget_cached().
 *
 * All calendar arithmetic is PostgreSQL's own, in the currency's time zone.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "ledger/currency.h"
#include "ledger/points_ledger.h"

static HTAB *currencies = NULL;
static Oid	currency_relid = InvalidOid;
static uint64 changes_seen = 0;

static void
ForgetCurrencies(Oid relid)
{
	if (relid != InvalidOid && relid != currency_relid)
		return;
	changes_seen++;
	if (currencies != NULL)
	{
		hash_destroy(currencies);
		currencies = NULL;
	}
}

/*
 * Part of LedgerInit().
 */
void
CurrencyInit(void)
{
	OnTableChange(ForgetCurrencies);
}

static char *
GetString(int column)
{
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);
}

static bool
GetInterval(int column, Interval *interval)
{
	bool		isnull;
	Datum		datum = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	memset(interval, 0, sizeof(Interval));
	if (isnull)
		return false;
	*interval = *DatumGetIntervalP(datum);
	return interval->time != 0 || interval->day != 0 || interval->month != 0;
}

static ExpiryPolicy
ExpiryPolicyFromText(const char *name)
{
	if (strcmp(name, "none") == 0)
		return EXPIRY_NONE;
	if (strcmp(name, "rolling") == 0)
		return EXPIRY_ROLLING;
	if (strcmp(name, "calendar") == 0)
		return EXPIRY_CALENDAR;
	if (strcmp(name, "sliding") == 0)
		return EXPIRY_SLIDING;
	elog(ERROR, "unknown expiry policy \"%s\"", name);
}

static uint32
GetQualifyingKinds(int column)
{
	uint32		kinds = 0;
	bool		isnull;
	Datum		datum = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);
	Datum	   *names;
	bool	   *nulls;
	int			count;

	if (isnull)
		return 0;
	deconstruct_array(DatumGetArrayTypeP(datum), TEXTOID, -1, false, TYPALIGN_INT,
					  &names, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		text	   *name = DatumGetTextPP(names[i]);

		if (!nulls[i])
			kinds |= 1U << EntryKindFromName(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	}
	return kinds;
}

/*
 * Reads a currency's row, with a snapshot of its own: in REPEATABLE READ the
 * transaction's may be older than the change that made us read again.
 */
static void
ReadCurrency(const char *code, Currency *currency)
{
	static KeptPlan plan = {
		.query = "SELECT expiry_policy, expiry_interval, expiry_rounding, "
		"expiry_month, expiry_day, minimum_life, consumption_order, clawback_policy, "
		"refund_grace, qualifying_kinds, coalesce(time_zone, 'UTC'), life_from "
		"FROM loyalty.currency WHERE code OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(code);
	bool		isnull;

	PushLatestSnapshot();
	RunPlanReadOnly(&plan, &value, NULL, 1);
	PopActiveSnapshot();
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_CURRENCY),
				 errmsg("currency \"%s\" does not exist", code),
				 errdetail("The table loyalty.currency has no row with this code."),
				 errhint("Create it with loyalty.create_currency(), or see the table loyalty.currency.")));

	memset(currency, 0, sizeof(Currency));
	strlcpy(currency->code, code, sizeof(currency->code));
	currency->expiry = ExpiryPolicyFromText(GetString(1));
	if (currency->expiry == EXPIRY_CALENDAR)
	{
		GetInterval(6, &currency->lifetime);
		currency->expiry_month = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull));
		currency->expiry_day = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 5, &isnull));
	}
	else
		GetInterval(2, &currency->lifetime);
	strlcpy(currency->rounding, GetString(3), sizeof(currency->rounding));
	currency->fold.order = ConsumptionOrderFromText(GetString(7));
	currency->fold.clawback = ClawbackPolicyFromText(GetString(8));
	currency->fold.join = true;
	currency->fold.slides = currency->expiry == EXPIRY_SLIDING;
	currency->grants_grace = GetInterval(9, &currency->refund_grace);
	currency->qualifying = GetQualifyingKinds(10);
	strlcpy(currency->time_zone, GetString(11), sizeof(currency->time_zone));
	currency->life_from_earned = strcmp(GetString(12), "earned") == 0;
}

/*
 * The currency of a code; LY102 when there is none.  Needs an SPI connection.
 */
void
FindCurrency(const char *code, Currency *currency)
{
	Currency   *found = NULL;
	char		key[NAMEDATALEN] = {0};
	uint64		changes;

	if (strlen(code) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_CURRENCY),
				 errmsg("currency \"%s\" does not exist", code),
				 errdetail("The table loyalty.currency has no row with this code."),
				 errhint("A code has at most %d bytes.", NAMEDATALEN - 1)));
	strlcpy(key, code, sizeof(key));

	if (currencies != NULL)
		found = hash_search(currencies, key, HASH_FIND, NULL);
	if (found != NULL)
	{
		*currency = *found;
		return;
	}

	/* what changes while we read may not be in what we read: read again */
	currency_relid = LoyaltyTable("currency");
	do
	{
		changes = changes_seen;
		ReadCurrency(code, currency);
	} while (changes != changes_seen);

	if (currencies == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = NAMEDATALEN;
		ctl.entrysize = sizeof(Currency);
		ctl.hcxt = TopMemoryContext;
		currencies = hash_create("loyalty currencies", 16, &ctl,
								 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	found = hash_search(currencies, key, HASH_ENTER, NULL);
	*found = *currency;
}

/* ---------------------------------------------------------------------------
 * Expiry
 * ---------------------------------------------------------------------------
 */

static Timestamp
ToLocal(const Currency *currency, TimestampTz t)
{
	return DatumGetTimestamp(DirectFunctionCall2(timestamptz_zone,
												 CStringGetTextDatum(currency->time_zone),
												 TimestampTzGetDatum(t)));
}

static TimestampTz
FromLocal(const Currency *currency, Timestamp t)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone,
												   CStringGetTextDatum(currency->time_zone),
												   TimestampGetDatum(t)));
}

/*
 * An instant plus an interval, as PostgreSQL adds them: months and days by the
 * calendar of the currency's time zone, then the rest as time that passes.
 */
static TimestampTz
AddInterval(const Currency *currency, TimestampTz t, const Interval *interval)
{
	Interval	days = *interval;
	Interval	rest = {.time = interval->time};

	days.time = 0;
	if (days.month != 0 || days.day != 0)
	{
		Timestamp	local = ToLocal(currency, t);

		local = DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval,
													  TimestampGetDatum(local),
													  IntervalPGetDatum(&days)));
		t = FromLocal(currency, local);
	}
	if (rest.time != 0)
		t = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													TimestampTzGetDatum(t),
													IntervalPGetDatum(&rest)));
	return t;
}

/* Midnight of a date; day may be one past the last of its month. */
static Timestamp
Midnight(int year, int month, int day)
{
	return (Timestamp) (date2j(year, month, day) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
}

static void
DateOf(Timestamp t, int *year, int *month, int *day)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(t, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	*year = tm.tm_year;
	*month = tm.tm_mon;
	*day = tm.tm_mday;
}

/* Days of a month */
static int
MonthLength(int year, int month)
{
	return day_tab[isleap(year)][month - 1];
}

/*
 * The first end of a period that is not before t: of a day, month, quarter,
 * year, or named month.  An end is the midnight that the period runs up to.
 */
static Timestamp
RoundUp(Timestamp t, const char *rounding)
{
	static const char *const months[] = {
		"january", "february", "march", "april", "may", "june", "july",
		"august", "september", "october", "november", "december"
	};
	int			year,
				month,
				day;
	Timestamp	end;

	if (strcmp(rounding, "none") == 0)
		return t;

	DateOf(t, &year, &month, &day);
	if (strcmp(rounding, "day") == 0)
	{
		end = Midnight(year, month, day);
		return end == t ? t : end + USECS_PER_DAY;
	}
	for (int m = 1; m <= 12; m++)
	{
		if (strcmp(rounding, months[m - 1]) == 0)
		{
			/* the end of month m, of this year or the next */
			end = Midnight(year, m, MonthLength(year, m)) + USECS_PER_DAY;
			if (m == 12 && t == Midnight(year, 1, 1))
				return t;
			return end >= t ? end : Midnight(year + 1, m, MonthLength(year + 1, m)) + USECS_PER_DAY;
		}
	}

	/* month, quarter, year: the start of t's own, or else the next one's */
	if (strcmp(rounding, "quarter") == 0)
		month = (month - 1) / 3 * 3 + 1;
	else if (strcmp(rounding, "year") == 0)
		month = 1;
	if (t == Midnight(year, month, 1))
		return t;
	month += strcmp(rounding, "year") == 0 ? 12 : strcmp(rounding, "quarter") == 0 ? 3 : 1;
	if (month > 12)
	{
		month -= 12;
		year++;
	}
	return Midnight(year, month, 1);
}

/*
 * The end of the currency's yearly expiry day, the first that is not before
 * t, and after earned: what is earned at the end of one belongs to the next.
 * A 29th of February is the 28th in a common year.
 */
static Timestamp
EndOfExpiryDay(const Currency *currency, Timestamp t, Timestamp earned)
{
	int			year,
				month,
				day;

	DateOf(t, &year, &month, &day);
	for (int y = year - 1;; y++)
	{
		int			last = Min(currency->expiry_day, MonthLength(y, currency->expiry_month));
		Timestamp	end = Midnight(y, currency->expiry_month, last) + USECS_PER_DAY;

		if (end >= t && end > earned)
			return end;
	}
}

/*
 * When a lot whose life begins at an instant expires by the currency's policy;
 * infinity for never, and where it has not begun.  For a sliding currency also
 * the instant until which an activity at effective_at keeps all lots alive.
 */
TimestampTz
CurrencyExpiry(const Currency *currency, TimestampTz effective_at)
{
	TimestampTz end;

	if (currency->expiry == EXPIRY_NONE || TIMESTAMP_NOT_FINITE(effective_at))
		return TIMESTAMP_INFINITY;
	end = AddInterval(currency, effective_at, &currency->lifetime);
	if (currency->expiry == EXPIRY_CALENDAR)
		return FromLocal(currency, EndOfExpiryDay(currency, ToLocal(currency, end),
												  ToLocal(currency, effective_at)));
	if (strcmp(currency->rounding, "none") == 0)
		return end;
	return FromLocal(currency, RoundUp(ToLocal(currency, end), currency->rounding));
}

/*
 * Until when points live that have expired before a reversal at effective_at
 * gives them back; -infinity where no grace is granted.
 */
TimestampTz
CurrencyGrace(const Currency *currency, TimestampTz effective_at)
{
	if (!currency->grants_grace)
		return TIMESTAMP_MINUS_INFINITY;
	return AddInterval(currency, effective_at, &currency->refund_grace);
}
