/*
 * activity_return.c
 *		What a return leaves of an activity.
 *
 * What is left of a line is a share of what was sold, whatever was returned
 * before, in however many parts; so nothing is lost or gained by rounding.
 */
#include "postgres.h"

#include "activity/activity_record.h"
#include "core/compat.h"
#include "core/errors.h"

pg_noreturn static void
RefuseTooMuch(const Activity *activity, const char *of_what, Micros returned, Micros left)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_RETURNED_TOO_MUCH),
			 errmsg("%s of %s of activity " INT64_FORMAT " cannot be returned",
					MicrosText(returned), of_what, activity->activity_id),
			 errdetail("%s is left of it.", MicrosText(left)),
			 errhint("Return at most that; without lines and amount, all that is left is returned.")));
}

static ActivityLine *
FindLine(const Activity *activity, int32 number)
{
	for (int i = 0; i < activity->nlines; i++)
	{
		if (activity->lines[i].number == number)
			return &activity->lines[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_LINE_NOT_FOUND),
			 errmsg("activity " INT64_FORMAT " has no line %d", activity->activity_id, number),
			 errdetail("It has %d lines.", activity->nlines),
			 errhint("See the view loyalty.activity_line.")));
}

/*
 * A line is worth less now, and the activity with it.
 */
static void
LowerLine(Activity *activity, ActivityLine *line, Micros amount)
{
	if (activity->has_amount)
		activity->amount -= Min(line->amount - amount, activity->amount);
	line->amount = amount;
	activity->lines_changed = true;
}

static void
TakeQuantity(Activity *activity, ActivityLine *line, Micros quantity, int decimals)
{
	if (quantity > line->quantity)
		RefuseTooMuch(activity, psprintf("the quantity of line %d", line->number), quantity, line->quantity);
	line->quantity -= quantity;
	LowerLine(activity, line, line->quantity == 0 ? 0 :
			  ShareOfMicros(line->sold_amount, line->quantity, line->sold_quantity, decimals));
}

static void
TakeAmount(Activity *activity, ActivityLine *line, Micros amount)
{
	if (amount > line->amount)
		RefuseTooMuch(activity, psprintf("the amount of line %d", line->number), amount, line->amount);
	LowerLine(activity, line, line->amount - amount);
	/* what is left of it from now on is a share of this */
	line->sold_quantity = line->quantity;
	line->sold_amount = line->amount;
}

static void
TakeLines(Activity *activity, Datum lines, int decimals)
{
	JsonbContainer *array = &DatumGetJsonbP(lines)->root;

	for (uint32 i = 0; JsonContainerIsArray(array) && !JsonContainerIsScalar(array) && i < JsonContainerSize(array); i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(array, i);
		JsonbContainer *object;
		ActivityLine *line;
		Micros		quantity;
		Micros		amount;
		bool		by_quantity;
		bool		by_amount;
		int			ignored = 0;

		CHECK_FOR_INTERRUPTS();
		object = element->type == jbvBinary ? element->val.binary.data : NULL;
		if (object == NULL || !JsonContainerIsObject(object) || LineNumber(object, i + 1) == 0)
			break;
		line = FindLine(activity, LineNumber(object, i + 1));
		by_quantity = LineMicros(object, "quantity", i + 1, &quantity, &ignored);
		by_amount = LineMicros(object, "amount", i + 1, &amount, &activity->decimals);
		if (by_quantity && by_amount)
			break;
		if (by_amount)
			TakeAmount(activity, line, amount);
		else
			TakeQuantity(activity, line, by_quantity ? quantity : line->quantity, decimals);
		if (i == JsonContainerSize(array) - 1)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ACTIVITY),
			 errmsg("lines of a return must be an array of lines with a number and a quantity or an amount"),
			 errdetail("It is %s.", JsonText(lines)),
			 errhint("Write [{\"line\": 2, \"quantity\": 1}] or [{\"line\": 2, \"amount\": 5.00}]; a line with neither is returned whole.")));
}

/*
 * Returns an amount of what belongs to no line.
 */
static void
TakeFromActivity(Activity *activity, Micros amount)
{
	Micros		left = activity->amount;

	for (int i = 0; i < activity->nlines; i++)
		left -= Min(activity->lines[i].amount, left);
	if (amount > left)
		RefuseTooMuch(activity, activity->nlines > 0 ? "the amount beyond the lines" : "the amount", amount, left);
	activity->amount -= amount;
}

static void
TakeAll(Activity *activity)
{
	for (int i = 0; i < activity->nlines; i++)
		TakeQuantity(activity, &activity->lines[i], activity->lines[i].quantity, 0);
	activity->amount = 0;
	activity->returned = true;
}

/*
 * Whether nothing is left: of the lines, or, where there are none, of the
 * amount.
 */
static bool
NothingIsLeft(const Activity *activity)
{
	for (int i = 0; i < activity->nlines; i++)
	{
		if (activity->lines[i].quantity > 0)
			return false;
	}
	return activity->nlines > 0 || activity->amount == 0;
}

/*
 * Makes an activity what a return leaves of it, in money of so many decimals.
 */
void
TakeReturn(Activity *activity, const Revision *revision, int money_decimals)
{
	if (activity->cancelled || activity->returned)
		ereport(ERROR,
				(errcode(ERRCODE_LY_RETURNED_TOO_MUCH),
				 errmsg("nothing of activity " INT64_FORMAT " is left to be returned", activity->activity_id),
				 errdetail("It %s.", activity->cancelled ? "was cancelled" : "was returned"),
				 errhint("A return that was entered wrongly is corrected by loyalty.revise_activity().")));
	if (revision->lines == 0 && !revision->has_amount)
	{
		TakeAll(activity);
		return;
	}
	if (revision->lines != 0)
		TakeLines(activity, revision->lines, money_decimals);
	if (revision->has_amount)
		TakeFromActivity(activity, revision->amount);
	activity->returned = NothingIsLeft(activity);
}
