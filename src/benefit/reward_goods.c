/*
 * reward_goods.c
 *		What is handed out, and taken back: goods, stock, points.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "benefit/coupon.h"
#include "benefit/entitlement.h"
#include "benefit/reward.h"
#include "core/compat.h"
#include "core/errors.h"
#include "core/escrow.h"
#include "ledger/post_together.h"

/*
 * The name of the escrow that has a reward's stock.
 */
const char *
StockName(const char *reward)
{
	return psprintf("benefit/%s/stock", reward);
}

/*
 * Takes units out of stock; where it is empty, those of orders that have lapsed
 * are put back first.
 */
void
TakeStock(const char *reward, int64 quantity, TimestampTz at)
{
	const char *name = StockName(reward);
	int64		lapsed;

	for (;;)
	{
		if (TakeFromEscrow(name, quantity, ESCROW_ALL) > 0)
			return;
		lapsed = TakeBackLapsedOrders(reward, at);
		if (lapsed == 0)
			break;
		PutIntoEscrow(name, lapsed);
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_OUT_OF_STOCK),
			 errmsg("there are no " INT64_FORMAT " of reward \"%s\"", quantity, reward),
			 errdetail(INT64_FORMAT " are left.", Max(EscrowLeft(name), 0)),
			 errhint("Define a version with a larger \"stock\"; see loyalty.reward_stock().")));
}

/*
 * Posts a part of an order; returns the number of the entry.  target_entry_id is
 * that of a capture, release or reversal; hold_until that of a hold.
 */
int64
PostPoints(int64 member_id, int kind, const char *currency, int64 points, int64 target_entry_id,
		   TimestampTz at, TimestampTz hold_until, const char *reference)
{
	Posting		posting;

	InitPosting(&posting, (EntryKind) kind, member_id);
	if (target_entry_id != 0)
		FindTarget(&posting, target_entry_id);
	else
		FindCurrency(currency, &posting.currency);
	if (kind == ENTRY_EARN)
		SetAvailability(&posting, NULL, false);
	posting.entry.requested = points;
	if (kind == ENTRY_HOLD)
		posting.entry.hold_until = hold_until;
	posting.effective_now = at == GetCurrentStatementStartTimestamp();
	posting.entry.effective_at = at;
	posting.reference = reference == NULL ? NULL : pstrdup(reference);
	PostTogether(&posting);
	return posting.result.entry_id;
}

/*
 * Hands out what an order is of, for each of its units; what has no number, the
 * house sends.
 */
void
HandOut(RewardOrder *order, const Goods *goods, TimestampTz at)
{
	if (goods->kind == GOODS_ITEM)
		return;
	order->ngoods = (int) order->quantity;
	order->goods = palloc(order->ngoods * sizeof(int64));
	for (int i = 0; i < order->ngoods; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (goods->kind == GOODS_COUPON)
		{
			CouponIssue issue = {
				.member_id = order->member_id,
				.benefit = BenefitOfKind(goods->name, BENEFIT_COUPON, at),
				.at = at,
				.valid_until = TIMESTAMP_INFINITY,
				.reference = order->reference
			};
			IssueAnswer answer = IssueCoupon(&issue);

			if (answer != ISSUE_DONE)
				RefuseIssue(answer, order->member_id, issue.benefit);
			order->goods[i] = issue.coupon_id;
		}
		else if (goods->kind == GOODS_USES)
			order->goods[i] = GrantUses(order->member_id, goods->name, goods->quantity, at, order->order_id);
		else
			order->goods[i] = PostPoints(order->member_id, ENTRY_EARN, goods->name, goods->quantity, 0, at, 0, order->reference);
	}
}

/* Removes what was taken back from an order. */
static void
Remove(RewardOrder *order, int i)
{
	memmove(&order->goods[i], &order->goods[i + 1], (order->ngoods - i - 1) * sizeof(int64));
	order->ngoods--;
}

/*
 * Takes back what was handed out for some units, those that are unused first;
 * refused where too many are used.
 */
void
TakeBackGoods(RewardOrder *order, const Goods *goods, int64 quantity, TimestampTz at)
{
	CouponAnswer answer = COUPON_USED;
	Coupon		coupon = {0};

	if (goods->kind == GOODS_ITEM)
		return;
	for (int i = order->ngoods - 1; i >= 0 && quantity > 0; i--)
	{
		CHECK_FOR_INTERRUPTS();
		if (goods->kind == GOODS_USES)
			RevokeUses(order->member_id, order->goods[i], at);
		else if (goods->kind == GOODS_POINTS)
			(void) PostPoints(order->member_id, ENTRY_REVERSE, NULL, goods->quantity, order->goods[i], at, 0, order->reference);
		else
		{
			CouponAnswer this_one;

			LockCoupon(order->member_id, order->goods[i], &coupon);
			this_one = MayRevoke(&coupon.state, &coupon.terms);
			if (this_one != COUPON_GOOD)
			{
				answer = this_one;
				continue;
			}
			EndCoupon(&coupon, at, "order of a reward cancelled");
		}
		Remove(order, i);
		quantity--;
	}
	if (quantity > 0)
		RefuseCoupon(answer, &coupon, at);
}
