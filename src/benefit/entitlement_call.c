/*
 * entitlement_call.c
 *		What the functions of entitlements do, without their idempotency keys.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "benefit/benefit_call.h"
#include "benefit/entitlement.h"
#include "core/compat.h"
#include "core/errors.h"

#define MOST_AT_ONCE	INT64CONST(1000000000)

/* A call, which may begin anew. */
typedef struct UseCall
{
	int64		member_id;
	const char *benefit;
	int64		quantity;
	TimestampTz at;
	TimestampTz until;			/* infinity: it is used, not reserved */
	const char *reference;
	int64		use_id;
	UseActKind	kind;
	int64		order_id;
	/* results */
	int64		remaining;		/* QUOTA_UNLIMITED */
} UseCall;

static int64
Remaining(const Entitled *entitled)
{
	return entitled->left == QUOTA_UNLIMITED ? QUOTA_UNLIMITED : entitled->left + entitled->granted_left;
}

pg_noreturn static void
RefuseUse(const UseCall *call, const Entitled *entitled)
{
	if (!entitled->open && entitled->granted_left == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_NOT_ELIGIBLE),
				 errmsg("member " INT64_FORMAT " may not use \"%s\"", call->member_id, call->benefit),
				 errdetail("As of %s: %s.", TimestampText(call->at), entitled->why),
				 errhint("See loyalty.entitlements(), and the definition of the benefit.")));
	ereport(ERROR,
			(errcode(ERRCODE_LY_QUOTA_USED_UP),
			 errmsg("member " INT64_FORMAT " cannot use \"%s\" " INT64_FORMAT " times more", call->member_id, call->benefit, call->quantity),
			 errdetail("As of %s, " INT64_FORMAT " are left.", TimestampText(call->at), Remaining(entitled)),
			 errhint("See loyalty.entitlements().")));
}

/*
 * Uses or reserves, of the quota first, and then of what was given beside it.
 */
static void
RunUse(void *arg)
{
	UseCall    *call = arg;
	const Benefit *benefit = BenefitOfKind(call->benefit, BENEFIT_ENTITLEMENT, call->at);
	NamedUse	use = {.member_id = call->member_id,.benefit = call->benefit};
	NamedUses	uses;
	Entitled	entitled;
	Asker		asker;

	InitAsker(&asker, call->member_id, call->at, false);
	LockBenefitOf(&asker, call->benefit);
	uses = ReadUses(&asker, TIMESTAMP_INFINITY, TIMESTAMP_INFINITY);
	DecideEntitlement(&asker, benefit, &uses, &entitled);
	if (Remaining(&entitled) < call->quantity)
		RefuseUse(call, &entitled);
	use.use.quantity = call->quantity;
	use.use.granted = Max(0, call->quantity - entitled.left);
	use.use.until = call->until;
	use.allowed = entitled.allowed;
	use.period = entitled.period;
	KeepUseAct(&use, call->kind, benefit, call->at, call->order_id, call->reference);
	call->use_id = use.use.use_id;
	call->remaining = Remaining(&entitled) == QUOTA_UNLIMITED ? QUOTA_UNLIMITED : Remaining(&entitled) - call->quantity;
}

static NamedUse *
FindUse(const NamedUses *uses, int64 member_id, int64 use_id)
{
	for (int i = 0; i < uses->n; i++)
	{
		if (uses->uses[i].use.use_id == use_id)
			return &uses->uses[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_USE_NOT_FOUND),
			 errmsg("member " INT64_FORMAT " has no use " INT64_FORMAT, member_id, use_id),
			 errdetail("No row of loyalty.entitlement_act has these numbers."),
			 errhint("use_entitlement() gives its number.")));
}

pg_noreturn static void
RefuseClosed(const NamedUse *use, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_USE_CLOSED),
			 errmsg("use " INT64_FORMAT " of \"%s\" %s", use->use.use_id, use->benefit, what),
			 errdetail("The last that was done to it: %s.", use_act_names[use->use.last]),
			 errhint("See the table loyalty.entitlement_act.")));
}

/*
 * A reservation is good until its instant.  One that is confirmed within its
 * time and recorded later must find its place still free.
 */
static void
RequireFree(const NamedUse *use, const NamedUses *uses, const Asker *asker)
{
	const Benefit *benefit = BenefitOfKind(use->benefit, BENEFIT_ENTITLEMENT, use->use.at);
	NamedUses	others = {.uses = palloc(uses->n * sizeof(NamedUse))};
	Entitled	entitled;
	Asker		then = *asker;

	for (int i = 0; i < uses->n; i++)
	{
		if (&uses->uses[i] != use)
			others.uses[others.n++] = uses->uses[i];
	}
	then.at = use->use.at;
	DecideEntitlement(&then, benefit, &others, &entitled);
	if ((use->allowed != QUOTA_UNLIMITED && entitled.most + use->use.quantity - use->use.granted > use->allowed) ||
		entitled.granted_left < use->use.granted)
		ereport(ERROR,
				(errcode(ERRCODE_LY_QUOTA_USED_UP),
				 errmsg("what use " INT64_FORMAT " of \"%s\" had reserved is used", use->use.use_id, use->benefit),
				 errdetail("It was reserved until %s, and others came after that.", TimestampText(use->use.until)),
				 errhint("Confirm before a reservation lapses.")));
}

static void
RunSettle(void *arg)
{
	UseCall    *call = arg;
	NamedUses	uses;
	NamedUse   *use;
	Entitled	entitled;
	Asker		asker;
	const Benefit *benefit;

	InitAsker(&asker, call->member_id, call->at, false);
	uses = ReadUses(&asker, TIMESTAMP_INFINITY, TIMESTAMP_INFINITY);
	use = FindUse(&uses, call->member_id, call->use_id);
	call->benefit = use->benefit;
	LockBenefitOf(&asker, use->benefit);
	uses = ReadUses(&asker, TIMESTAMP_INFINITY, TIMESTAMP_INFINITY);
	use = FindUse(&uses, call->member_id, call->use_id);
	if (use->use.ended)
		RefuseClosed(use, "was given back");
	if (use->use.is_grant)
		RefuseClosed(use, "is none: it gives further ones");
	if (call->at < use->use.at)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("at must not be before the use"),
				 errdetail("It was made at %s.", TimestampText(use->use.at)),
				 errhint("Give a later instant, or leave it out for now.")));
	if (use->use.last == USE_RESERVED && use->use.until <= call->at)
		ereport(ERROR,
				(errcode(ERRCODE_LY_RESERVATION_LAPSED),
				 errmsg("use " INT64_FORMAT " of \"%s\" was reserved until %s", call->use_id, use->benefit, TimestampText(use->use.until)),
				 errdetail("At %s that was over.", TimestampText(call->at)),
				 errhint("Use it anew.")));
	if (call->kind == USE_CONFIRMED)
	{
		if (use->use.last != USE_RESERVED)
			RefuseClosed(use, "is used already");
		RequireFree(use, &uses, &asker);
	}
	KeepUseAct(use, call->kind, NULL, call->at, 0, call->reference);
	benefit = BenefitOfKind(use->benefit, BENEFIT_ENTITLEMENT, call->at);
	DecideEntitlement(&asker, benefit, &uses, &entitled);
	call->remaining = Remaining(&entitled);
}

static Datum
UseResult(FunctionCallInfo fcinfo, const UseCall *call)
{
	Datum		values[2] = {Int64GetDatum(call->use_id), Int64GetDatum(call->remaining)};
	bool		nulls[2] = {false, call->remaining == QUOTA_UNLIMITED};

	return ResultRow(fcinfo, values, nulls);
}

/*
 * put_use(member_id bigint, benefit text, quantity bigint, at timestamptz, until timestamptz, reference text)
 * -> (use_id bigint, remaining bigint); until NULL: it is used, not reserved
 */
PG_FUNCTION_INFO_V1(loyalty_put_use);
Datum
loyalty_put_use(PG_FUNCTION_ARGS)
{
	UseCall		call = {.member_id = MemberArgument(fcinfo, 0, "member_id"),.kind = USE_USED,.until = TIMESTAMP_INFINITY};

	RequireArgument(fcinfo, 1, "benefit");
	call.benefit = TextArgument(fcinfo, 1);
	call.quantity = QuantityArgument(fcinfo, 2, MOST_AT_ONCE);
	call.at = InstantArgument(fcinfo, 3, "at");
	if (!PG_ARGISNULL(4))
	{
		call.kind = USE_RESERVED;
		call.until = LaterArgument(fcinfo, 4, "until", call.at);
	}
	call.reference = TextArgument(fcinfo, 5);
	BeginCall();
	RunRestartable(RunUse, &call);
	SPI_finish();
	return UseResult(fcinfo, &call);
}

/*
 * settle_use(member_id bigint, use_id bigint, kind text, at timestamptz, reference text)
 * -> (use_id bigint, remaining bigint); kind: confirmed or restored
 */
PG_FUNCTION_INFO_V1(loyalty_settle_use);
Datum
loyalty_settle_use(PG_FUNCTION_ARGS)
{
	UseCall		call = {.member_id = MemberArgument(fcinfo, 0, "member_id"),.use_id = MemberArgument(fcinfo, 1, "use_id")};

	RequireArgument(fcinfo, 2, "kind");
	call.kind = UseActOfName(TextArgument(fcinfo, 2));
	call.at = InstantArgument(fcinfo, 3, "at");
	call.reference = TextArgument(fcinfo, 4);
	BeginCall();
	RunRestartable(RunSettle, &call);
	SPI_finish();
	return UseResult(fcinfo, &call);
}

/*
 * Gives further uses of an entitlement, beside its quota and whatever the gate;
 * returns their number, as a use has one.
 */
int64
GrantUses(int64 member_id, const char *name, int64 quantity, TimestampTz at, int64 order_id)
{
	const Benefit *benefit = BenefitOfKind(name, BENEFIT_ENTITLEMENT, at);
	NamedUse	grant = {.member_id = member_id,.benefit = name,.period = {TIMESTAMP_MINUS_INFINITY, TIMESTAMP_INFINITY}};
	Asker		asker;

	InitAsker(&asker, member_id, at, false);
	LockBenefitOf(&asker, name);
	grant.use.quantity = quantity;
	grant.use.until = TIMESTAMP_INFINITY;
	grant.use.is_grant = true;
	KeepUseAct(&grant, USE_GRANTED, benefit, at, order_id, NULL);
	return grant.use.use_id;
}

/*
 * Takes further uses back; refused where they are used.
 */
void
RevokeUses(int64 member_id, int64 use_id, TimestampTz at)
{
	Asker		asker;
	NamedUses	uses;
	NamedUse   *grant;
	int64		left = 0;

	InitAsker(&asker, member_id, at, false);
	uses = ReadUses(&asker, TIMESTAMP_INFINITY, TIMESTAMP_INFINITY);
	grant = FindUse(&uses, member_id, use_id);
	LockBenefitOf(&asker, grant->benefit);
	uses = ReadUses(&asker, TIMESTAMP_INFINITY, TIMESTAMP_INFINITY);
	grant = FindUse(&uses, member_id, use_id);
	for (int i = 0; i < uses.n; i++)
	{
		const Use  *use = &uses.uses[i].use;

		if (strcmp(uses.uses[i].benefit, grant->benefit) == 0 && UseCounts(use, at))
			left += use->is_grant ? use->quantity : -use->granted;
	}
	if (grant->use.ended)
		RefuseClosed(grant, "was taken back");
	if (left < grant->use.quantity)
		ereport(ERROR,
				(errcode(ERRCODE_LY_COUPON_USED),
				 errmsg("further uses of \"%s\" are used", grant->benefit),
				 errdetail("Of " INT64_FORMAT " that are to be taken back, " INT64_FORMAT " are left.", grant->use.quantity, Max(left, 0)),
				 errhint("Give the uses back first, with loyalty.restore_use().")));
	KeepUseAct(grant, USE_REVOKED, NULL, at, 0, NULL);
}

/*
 * grant_uses(member_id bigint, benefit text, quantity bigint, at timestamptz, order_id bigint) -> bigint
 */
PG_FUNCTION_INFO_V1(loyalty_grant_uses);
Datum
loyalty_grant_uses(PG_FUNCTION_ARGS)
{
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	int64		use_id;

	RequireArgument(fcinfo, 1, "benefit");
	BeginCall();
	use_id = GrantUses(member_id, TextArgument(fcinfo, 1), QuantityArgument(fcinfo, 2, MOST_AT_ONCE), InstantArgument(fcinfo, 3, "at"),
					   PG_ARGISNULL(4) ? 0 : PG_GETARG_INT64(4));
	SPI_finish();
	PG_RETURN_INT64(use_id);
}

/*
 * revoke_uses(member_id bigint, use_id bigint, at timestamptz) -> void
 */
PG_FUNCTION_INFO_V1(loyalty_revoke_uses);
Datum
loyalty_revoke_uses(PG_FUNCTION_ARGS)
{
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");

	BeginCall();
	RevokeUses(member_id, MemberArgument(fcinfo, 1, "use_id"), InstantArgument(fcinfo, 2, "at"));
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------------------
 * Reading
 * ---------------------------------------------------------------------------
 */

static void
PutEntitled(ReturnSetInfo *rsinfo, const Benefit *benefit, const Entitled *entitled)
{
	Datum		values[7] = {
		CStringGetTextDatum(benefit->name), Int64GetDatum(entitled->allowed), Int64GetDatum(entitled->used),
		Int64GetDatum(Remaining(entitled)), TimestampTzGetDatum(entitled->period.from), TimestampTzGetDatum(entitled->period.until),
		CStringGetTextDatum(entitled->why)
	};
	bool		nulls[7] = {false};

	nulls[1] = entitled->allowed == QUOTA_UNLIMITED;
	nulls[3] = Remaining(entitled) == QUOTA_UNLIMITED;
	nulls[4] = TIMESTAMP_NOT_FINITE(entitled->period.from);
	nulls[5] = TIMESTAMP_NOT_FINITE(entitled->period.until);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * entitlements(member_id bigint, as_of timestamptz, known_at timestamptz)
 * -> rows (benefit text, allowed bigint, used bigint, remaining bigint,
 * period_start timestamptz, period_end timestamptz, why text), by benefit
 */
PG_FUNCTION_INFO_V1(loyalty_entitlements);
Datum
loyalty_entitlements(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	TimestampTz at = AsOfArgument(fcinfo, 1);
	TimestampTz known_at = PG_ARGISNULL(2) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(2);
	NamedUses	uses;
	List	   *benefits;
	ListCell   *cell;
	Asker		asker;

	InitReturnSet(fcinfo);
	BeginRead();
	benefits = BenefitsOfKind(BENEFIT_ENTITLEMENT, at);
	if (benefits != NIL)
	{
		InitAsker(&asker, member_id, at, true);
		uses = ReadUses(&asker, at, known_at);
		foreach(cell, benefits)
		{
			Entitled	entitled;

			DecideEntitlement(&asker, lfirst(cell), &uses, &entitled);
			PutEntitled(rsinfo, lfirst(cell), &entitled);
		}
	}
	SPI_finish();
	return (Datum) 0;
}
