/*
 * reward_order.c
 *		Orders of rewards: made, paid, fulfilled and cancelled.  What the
 *		functions do, without their idempotency keys.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "benefit/benefit_call.h"
#include "benefit/payment.h"
#include "benefit/reward.h"
#include "core/compat.h"
#include "core/errors.h"
#include "core/escrow.h"
#include "ledger/post.h"

#define MOST_UNITS		INT64CONST(100000)
#define MOST_GOODS		INT64CONST(1000)	/* that have a number each */

/* A call, which may begin anew. */
typedef struct RewardCall
{
	int64		member_id;
	const char *reward;
	int64		order_id;
	int64		quantity;		/* 0: all that is left of it */
	bool		points_given;	/* otherwise as many as can be paid */
	int64		points;
	TimestampTz at;
	bool		hold_given;
	TimestampTz hold_until;
	const char *reference;
	/* results */
	RewardOrder order;
	int64		entry_id;
	int64		points_back;
	Micros		money_back;
} RewardCall;

/* ---------------------------------------------------------------------------
 * Ordering
 * ---------------------------------------------------------------------------
 */

pg_noreturn static void
RefuseReward(const RewardCall *call, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_NOT_ELIGIBLE),
			 errmsg("member " INT64_FORMAT " may not have reward \"%s\"", call->member_id, call->reward),
			 errdetail("As of %s: %s.", TimestampText(call->at), detail),
			 errhint("See loyalty.rewards(), and the definition of the benefit.")));
}

static int64
AvailablePoints(const Asker *asker, const char *currency)
{
	static KeptPlan plan = {
		.query = "SELECT (loyalty.balance($1, $2, $3)).available",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {Int64GetDatum(asker->member_id), CStringGetTextDatum(currency), TimestampTzGetDatum(asker->at)};
	Datum		available;
	bool		isnull;

	RunPlan(&plan, values, NULL, 1);
	available = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? 0 : DatumGetInt64(available);
}

static int
DecimalsOf(const Benefit *benefit)
{
	Activity	money = {.money = benefit->money};

	return benefit->offer->price == 0 ? 2 : MoneyDecimals(&money);
}

/* What an order costs: points and money of its units. */
static void
SetPrice(const RewardCall *call, const Asker *asker, const Benefit *benefit, RewardOrder *order)
{
	const Offer *offer = benefit->offer;
	const Benefit *by;
	const Offer *payment;
	PaymentTerms terms;
	int64		most = call->points;

	order->decimals = DecimalsOf(benefit);
	order->currency = offer->currency;
	order->money = (Micros) Min((int128) offer->price * call->quantity, PG_INT64_MAX / 2);
	if (offer->payment == NULL)
	{
		order->points = offer->points * call->quantity;
		if (call->points_given && call->points != order->points)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("reward \"%s\" costs " INT64_FORMAT " points, not " INT64_FORMAT, call->reward, order->points, call->points),
					 errdetail("Of how many are paid is a choice only where its definition has a \"payment\"."),
					 errhint("Leave points out.")));
		return;
	}
	by = BenefitOfKind(offer->payment, BENEFIT_PAYMENT, call->at);
	payment = by->offer;
	if (!Meets(asker, by, by->available, NULL))
		most = 0;
	else if (!call->points_given)
		most = AvailablePoints(asker, payment->currency);
	terms = (PaymentTerms) {payment->points, payment->worth, payment->step, payment->least, payment->most, payment->share};
	order->currency = payment->currency;
	order->points = MostPoints(&terms, order->money, most);
	if (call->points_given && order->points != call->points)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg(INT64_FORMAT " points cannot be paid for reward \"%s\"", call->points, call->reward),
				 errdetail("By payment \"%s\" it would be " INT64_FORMAT ".", offer->payment, order->points),
				 errhint("See loyalty.split_payment(), or leave points out.")));
	order->money -= WorthOfPoints(&terms, order->points, order->decimals);
}

static TimestampTz
HeldUntil(const RewardCall *call, const Benefit *benefit, const RewardOrder *order)
{
	if (call->hold_given)
		return call->hold_until;
	/* what costs no money is paid at once */
	if (benefit->offer->hold == NULL || order->money == 0)
		return TIMESTAMP_INFINITY;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(call->at),
												   IntervalPGetDatum(unconstify(Interval *, benefit->offer->hold))));
}

/* A member may have an order beside its others. */
static void
RequireWithinLimit(const RewardCall *call, Asker *asker, const Benefit *benefit, const RewardOrder *order)
{
	const Offer *offer = benefit->offer;
	TimestampTz anchor = 0;
	int64		others;

	if (offer->member_limit == 0)
		return;
	if (offer->anchor == ANCHOR_JOINED && (!JoinedAt(asker, &anchor) || anchor > order->at))
		RefuseReward(call, "nobody knows when the member joined");
	LockBenefitOf(asker, order->reward);
	others = OrderedBeside(asker, order, &offer->period, anchor);
	if (others + order->quantity > offer->member_limit)
		ereport(ERROR,
				(errcode(ERRCODE_LY_MEMBER_LIMIT_REACHED),
				 errmsg("member " INT64_FORMAT " can have no " INT64_FORMAT " more of reward \"%s\"", call->member_id, order->quantity, order->reward),
				 errdetail("A member may have " INT64_FORMAT ", and has had " INT64_FORMAT ".", offer->member_limit, others),
				 errhint("The definition says so under \"member\".")));
}

/*
 * Points first, then the limit of the member, then the stock: in the order in
 * which the house locks.
 */
static void
RunOrder(void *arg)
{
	RewardCall *call = arg;
	const Benefit *benefit = BenefitOfKind(call->reward, BENEFIT_REWARD, call->at);
	const char *failed_at = NULL;
	RewardOrder *order = &call->order;
	Asker		asker;

	InitAsker(&asker, call->member_id, call->at, false);
	if (call->at < benefit->valid_from || call->at >= benefit->valid_until)
		RefuseReward(call, "it is not in the catalogue");
	if (!Meets(&asker, benefit, benefit->available, &failed_at))
		RefuseReward(call, psprintf("%s does not hold", failed_at));
	if (benefit->offer->goods.kind != GOODS_ITEM && call->quantity > MOST_GOODS)
		RefuseReward(call, psprintf("at most " INT64_FORMAT " at once", MOST_GOODS));
	memset(order, 0, sizeof(RewardOrder));
	order->member_id = call->member_id;
	order->order_id = NextOrderId();
	order->reward = call->reward;
	order->version = benefit->version;
	order->quantity = call->quantity;
	order->at = call->at;
	order->reference = call->reference;
	SetPrice(call, &asker, benefit, order);
	order->hold_until = HeldUntil(call, benefit, order);
	order->state = TIMESTAMP_NOT_FINITE(order->hold_until) ? REWARD_PAID : REWARD_RESERVED;
	if (order->points > 0)
		order->entry_id = PostPoints(call->member_id, order->state == REWARD_PAID ? ENTRY_REDEEM : ENTRY_HOLD, order->currency, order->points, 0,
									 call->at, order->hold_until, call->reference);
	RequireWithinLimit(call, &asker, benefit, order);
	if (order->state == REWARD_PAID)
		HandOut(order, &benefit->offer->goods, call->at);
	if (benefit->offer->has_stock)
		TakeStock(call->reward, call->quantity, call->at);
	InsertOrder(order);
}

static Datum
OrderResult(FunctionCallInfo fcinfo, const RewardCall *call)
{
	const RewardOrder *order = &call->order;
	Datum		values[4] = {
		Int64GetDatum(order->order_id), Int64GetDatum(order->entry_id), Int64GetDatum(order->points),
		MicrosToNumeric(order->money, order->decimals)
	};
	bool		nulls[4] = {false, order->entry_id == 0};

	return ResultRow(fcinfo, values, nulls);
}

/*
 * put_order(member_id bigint, reward text, quantity bigint, points bigint, hold_until timestamptz, at timestamptz, reference text)
 * -> (order_id bigint, entry_id bigint, points_taken bigint, money_due numeric)
 */
PG_FUNCTION_INFO_V1(loyalty_put_order);
Datum
loyalty_put_order(PG_FUNCTION_ARGS)
{
	RewardCall	call = {.member_id = MemberArgument(fcinfo, 0, "member_id")};

	RequireArgument(fcinfo, 1, "reward");
	call.reward = TextArgument(fcinfo, 1);
	call.quantity = QuantityArgument(fcinfo, 2, MOST_UNITS);
	call.points_given = !PG_ARGISNULL(3);
	call.points = call.points_given ? PG_GETARG_INT64(3) : PG_INT64_MAX;
	call.at = InstantArgument(fcinfo, 5, "at");
	call.hold_given = !PG_ARGISNULL(4);
	if (call.hold_given)
		call.hold_until = LaterArgument(fcinfo, 4, "hold_until", call.at);
	call.reference = TextArgument(fcinfo, 6);
	BeginCall();
	RunRestartable(RunOrder, &call);
	SPI_finish();
	return OrderResult(fcinfo, &call);
}

/* ---------------------------------------------------------------------------
 * What becomes of an order
 * ---------------------------------------------------------------------------
 */

pg_noreturn static void
RefuseSettled(const RewardOrder *order)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_USE_CLOSED),
			 errmsg("order " INT64_FORMAT " of reward \"%s\" is %s", order->order_id, order->reward, reward_state_names[order->state]),
			 errdetail("It was made at %s.", TimestampText(order->at)),
			 errhint("See the table loyalty.reward_act.")));
}

/* The order of a call, locked; one that waits has not lapsed. */
static void
TakeOrder(RewardCall *call)
{
	RewardOrder *order = &call->order;
	Asker		asker;

	InitAsker(&asker, call->member_id, call->at, false);
	if (!LockOrder(&asker, call->order_id, order))
		ereport(ERROR,
				(errcode(ERRCODE_LY_USE_NOT_FOUND),
				 errmsg("member " INT64_FORMAT " has no order " INT64_FORMAT, call->member_id, call->order_id),
				 errdetail("No row of loyalty.reward_order has these numbers."),
				 errhint("order_reward() gives its number.")));
	if (call->at < order->at)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("at must not be before the order"),
				 errdetail("It was made at %s.", TimestampText(order->at)),
				 errhint("Give a later instant, or leave it out for now.")));
	if (order->state == REWARD_RESERVED && order->hold_until <= call->at)
		ereport(ERROR,
				(errcode(ERRCODE_LY_RESERVATION_LAPSED),
				 errmsg("order " INT64_FORMAT " of reward \"%s\" was held until %s", order->order_id, order->reward, TimestampText(order->hold_until)),
				 errdetail("At %s that was over.", TimestampText(call->at)),
				 errhint("Order anew.")));
}

static void
Pay(RewardCall *call)
{
	RewardOrder *order = &call->order;
	const Benefit *benefit = BenefitVersion(order->reward, order->version);
	Asker		asker;
	RewardAct	paid = {.kind = "paid",.at = call->at,.quantity = order->quantity,.points = order->points,.money = order->money,.reference = call->reference};

	if (order->points > 0)
		paid.entry_id = PostPoints(order->member_id, ENTRY_CAPTURE, NULL, 0, order->entry_id, call->at, 0, call->reference);
	call->entry_id = paid.entry_id;
	/* within its time, and recorded after others that the member had in its place */
	InitAsker(&asker, call->member_id, call->at, false);
	call->reward = order->reward;
	RequireWithinLimit(call, &asker, benefit, order);
	HandOut(order, &benefit->offer->goods, call->at);
	/* within its time, and recorded after its stock was taken back */
	if (order->stock_back)
		TakeStock(order->reward, order->quantity, call->at);
	order->stock_back = false;
	order->state = REWARD_PAID;
	KeepRewardAct(order, &paid);
}

static void
RunPay(void *arg)
{
	RewardCall *call = arg;

	TakeOrder(call);
	if (call->order.state != REWARD_RESERVED)
		RefuseSettled(&call->order);
	Pay(call);
}

static void
RunFulfil(void *arg)
{
	RewardCall *call = arg;
	RewardOrder *order = &call->order;
	RewardAct	fulfilled = {.kind = "fulfilled",.at = call->at,.reference = call->reference};

	TakeOrder(call);
	if (order->state == REWARD_RESERVED)
		Pay(call);
	if (order->state != REWARD_PAID)
		RefuseSettled(order);
	fulfilled.quantity = order->quantity - order->cancelled;
	order->state = REWARD_FULFILLED;
	KeepRewardAct(order, &fulfilled);
}

/* The entry by which an order's points were redeemed. */
static int64
RedeemingEntry(const RewardOrder *order)
{
	static KeptPlan plan = {
		.query = "SELECT a.entry_id FROM loyalty.reward_act a WHERE a.member_id OPERATOR(pg_catalog.=) $1 AND a.order_id OPERATOR(pg_catalog.=) $2 "
		"AND a.kind OPERATOR(pg_catalog.=) 'paid'",
		.nargs = 2,
		.argtypes = {INT8OID, INT8OID}
	};
	Datum		values[2] = {Int64GetDatum(order->member_id), Int64GetDatum(order->order_id)};
	bool		isnull;

	if (TIMESTAMP_NOT_FINITE(order->hold_until))
		return order->entry_id;
	RunPlan(&plan, values, NULL, 1);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * Cancels units of an order.  The order of locks is that of making one.
 */
static void
RunCancel(void *arg)
{
	RewardCall *call = arg;
	RewardOrder *order = &call->order;
	RewardAct	act = {.kind = "cancelled",.at = call->at,.reference = call->reference};
	const Benefit *benefit;
	int64		left;
	int64		quantity;

	TakeOrder(call);
	if (order->state == REWARD_CANCELLED)
		RefuseSettled(order);
	left = order->quantity - order->cancelled;
	quantity = call->quantity == 0 ? left : call->quantity;
	if (quantity > left || (order->state == REWARD_RESERVED && quantity < left))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("order " INT64_FORMAT " has no " INT64_FORMAT " units to be cancelled", order->order_id, quantity),
				 errdetail(INT64_FORMAT " are left of it; what is not paid is cancelled as a whole.", left),
				 errhint("Leave quantity out for all of them.")));
	benefit = BenefitVersion(order->reward, order->version);
	act.quantity = quantity;
	if (order->state == REWARD_RESERVED)
	{
		if (order->points > 0)
			act.entry_id = PostPoints(order->member_id, ENTRY_RELEASE, NULL, 0, order->entry_id, call->at, 0, call->reference);
		act.points = order->points;
		act.money = 0;
	}
	else
	{
		int64		unit = 1;

		for (int i = order->decimals; i < MICROS_DECIMALS; i++)
			unit *= 10;
		act.points = (int64) ((int128) (order->points - order->points_back) * quantity / left);
		act.money = (Micros) ((int128) ((order->money - order->money_back) / unit) * quantity / left) * unit;
		if (quantity == left)
			act.money = order->money - order->money_back;
		if (act.points > 0)
			act.entry_id = PostPoints(order->member_id, ENTRY_REVERSE, NULL, act.points, RedeemingEntry(order), call->at, 0, call->reference);
		TakeBackGoods(order, &benefit->offer->goods, quantity, call->at);
	}
	if (benefit->offer->has_stock && !order->stock_back)
		PutIntoEscrow(StockName(order->reward), quantity);
	order->cancelled += quantity;
	order->points_back += act.points;
	order->money_back += act.money;
	if (order->cancelled == order->quantity)
		order->state = REWARD_CANCELLED;
	call->entry_id = act.entry_id;
	call->points_back = act.points;
	call->money_back = act.money;
	KeepRewardAct(order, &act);
}

/*
 * settle_order(member_id bigint, order_id bigint, act text, quantity bigint, at timestamptz, reference text)
 * -> (entry_id bigint, points bigint, money numeric); act: paid, fulfilled or
 * cancelled; points and money that are given back of what is cancelled, else
 * what it cost
 */
PG_FUNCTION_INFO_V1(loyalty_settle_order);
Datum
loyalty_settle_order(PG_FUNCTION_ARGS)
{
	RewardCall	call = {.member_id = MemberArgument(fcinfo, 0, "member_id"),.order_id = MemberArgument(fcinfo, 1, "order_id")};
	const char *act;
	bool		cancel;
	Datum		values[3];
	bool		nulls[3] = {false};

	RequireArgument(fcinfo, 2, "act");
	act = TextArgument(fcinfo, 2);
	cancel = strcmp(act, "cancelled") == 0;
	call.quantity = PG_ARGISNULL(3) ? 0 : QuantityArgument(fcinfo, 3, MOST_UNITS);
	call.at = InstantArgument(fcinfo, 4, "at");
	call.reference = TextArgument(fcinfo, 5);
	BeginCall();
	RunRestartable(cancel ? RunCancel : strcmp(act, "paid") == 0 ? RunPay : RunFulfil, &call);
	SPI_finish();
	nulls[0] = call.entry_id == 0;
	values[0] = Int64GetDatum(call.entry_id);
	values[1] = Int64GetDatum(cancel ? call.points_back : call.order.points);
	values[2] = MicrosToNumeric(cancel ? call.money_back : call.order.money, call.order.decimals);
	return ResultRow(fcinfo, values, nulls);
}

/*
 * split_payment(member_id bigint, payment text, amount numeric, points bigint, at timestamptz)
 * -> (points bigint, money numeric); points NULL: as many as can be paid
 */
PG_FUNCTION_INFO_V1(loyalty_split_payment);
Datum
loyalty_split_payment(PG_FUNCTION_ARGS)
{
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	TimestampTz at = AsOfArgument(fcinfo, 4);
	int			decimals;
	Micros		amount;
	int64		points;
	const Benefit *benefit;
	PaymentTerms terms;
	Asker		asker;
	Datum		values[2];
	bool		nulls[2] = {false};

	RequireArgument(fcinfo, 1, "payment");
	amount = AmountArgument(fcinfo, 2, "amount", &decimals);
	BeginRead();
	benefit = BenefitOfKind(TextArgument(fcinfo, 1), BENEFIT_PAYMENT, at);
	terms = (PaymentTerms) {
		benefit->offer->points, benefit->offer->worth, benefit->offer->step, benefit->offer->least, benefit->offer->most, benefit->offer->share
	};
	InitAsker(&asker, member_id, at, true);
	points = AvailablePoints(&asker, benefit->offer->currency);
	if (!PG_ARGISNULL(3))
		points = Min(points, PG_GETARG_INT64(3));
	points = Meets(&asker, benefit, benefit->available, NULL) ? MostPoints(&terms, amount, points) : 0;
	values[0] = Int64GetDatum(points);
	decimals = MoneyDecimals(&(Activity) {.money = benefit->money,.decimals = decimals});
	values[1] = SPI_datumTransfer(MicrosToNumeric(amount - WorthOfPoints(&terms, points, decimals), decimals), false, -1);
	SPI_finish();
	return ResultRow(fcinfo, values, nulls);
}
