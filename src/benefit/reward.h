/*
 * reward.h
 *		Rewards: goods for points, or for points and money.
 *
 * An order is a row of loyalty.reward_order, with the state that its acts
 * (reward_act, append-only) come to, and is the lock of the order.  One that
 * waits to be paid holds points and stock until an instant: the points by a
 * hold, which lapses by itself, the stock likewise, since whoever finds none
 * left takes back what has lapsed.  That an order has lapsed is stored nowhere,
 * only that its stock was taken back.
 *
 * Units of an order are cancelled one by one or all; what a unit gives back of
 * points and money is its share of what is left, so that the last one gives the
 * rest, exactly.
 */
#ifndef LOYALTY_REWARD_H
#define LOYALTY_REWARD_H

#include "postgres.h"

#include "benefit/gate.h"
#include "benefit/offer.h"

typedef enum RewardState
{
	REWARD_RESERVED,			/* until it is paid, or its time is over */
	REWARD_PAID,
	REWARD_FULFILLED,
	REWARD_CANCELLED			/* wholly */
} RewardState;

typedef struct RewardOrder
{
	int64		member_id;
	int64		order_id;
	const char *reward;
	int32		version;
	int64		quantity;
	const char *currency;
	int64		points;
	Micros		money;			/* in smallest decimals of its money */
	int			decimals;
	int64		entry_id;		/* that has taken or holds the points; 0: none */
	TimestampTz at;
	TimestampTz hold_until;		/* infinity: it never waited */
	const char *reference;
	/* what its acts come to */
	RewardState state;
	int32		nacts;
	int64		cancelled;		/* units */
	int64		points_back;
	Micros		money_back;
	bool		stock_back;		/* of one that has lapsed */
	int			ngoods;
	int64	   *goods;			/* coupons, or the number of further uses */
} RewardOrder;

/* What one act did. */
typedef struct RewardAct
{
	const char *kind;			/* ordered, paid, fulfilled, cancelled */
	TimestampTz at;
	int64		quantity;
	int64		points;			/* taken, or given back */
	Micros		money;
	int64		entry_id;		/* 0: none */
	const char *reference;
} RewardAct;

extern const char *const reward_state_names[];

/* reward_row.c */
extern bool LockOrder(const Asker *asker, int64 order_id, RewardOrder *order);
extern int64 NextOrderId(void);
extern void InsertOrder(RewardOrder *order);
extern void KeepRewardAct(RewardOrder *order, const RewardAct *act);
extern int64 OrderedBeside(const Asker *asker, const RewardOrder *order, const PeriodTerms *terms, TimestampTz anchor);
extern int64 TakeBackLapsedOrders(const char *reward, TimestampTz at);

/* reward_goods.c */
extern const char *StockName(const char *reward);
extern void TakeStock(const char *reward, int64 quantity, TimestampTz at);
extern void HandOut(RewardOrder *order, const Goods *goods, TimestampTz at);
extern void TakeBackGoods(RewardOrder *order, const Goods *goods, int64 quantity, TimestampTz at);
extern int64 PostPoints(int64 member_id, int kind, const char *currency, int64 points, int64 target_entry_id,
						TimestampTz at, TimestampTz hold_until, const char *reference);

#endif							/* LOYALTY_REWARD_H */
