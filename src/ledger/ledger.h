/*
 * ledger.h
 *		Room ledger: points, currencies, wallets, and the ledger.
 *
 * Two layers.  Primitives work on anybody's tables and need no set-up:
 *
 *		points_balance	the state of the fold (fold.h): lots, debt, totals
 *		points_lots		a list of lots
 *		points_ledger	a packed, append-only history of entries
 *		balance_agg, ledger_agg, fold, append_only
 *
 * The program stands on tables made by setup():
 *
 *		currency		a kind of point and its policies
 *		wallet			one member's holding of one currency: its balance,
 *						which is the fold of its entries, no more and no less
 *		ledger			the entries, never changed; each carries the hash of
 *						itself and of the entry before it in its wallet
 *
 * A posting is one UPDATE of the wallet, whose new balance is computed under
 * the row's lock, and one INSERT into the ledger.  Ids of entries come from
 * one sequence and are drawn under that lock, so they rise within a wallet.
 */
#ifndef LOYALTY_LEDGER_H
#define LOYALTY_LEDGER_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#include "core/core.h"
#include "ledger/fold.h"
#include "ledger/pack.h"

/* Stored values: a varlena header and the bytes of pack.c */
typedef struct varlena PackedValue;

extern PackedValue *FinishPacked(PackWriter *writer);
extern PackedValue *PackBalanceValue(const Balance *balance);
extern void UnpackBalanceDatum(Datum datum, Balance *balance);
extern Balance *NewBalanceDatum(ConsumptionOrder order, int64 entries, Datum *datum);
extern const Balance *ReadBalanceDatum(Datum datum, Balance *room);
extern PackedValue *PackLotsValue(const LotList *list);
extern void UnpackLotsDatum(Datum datum, LotList *list);

/* An argument to change, and one to read: see points_balance.c */
#define PG_GETARG_BALANCE(n, balance)	UnpackBalanceDatum(PG_GETARG_DATUM(n), balance)
#define PG_READARG_BALANCE(n, room)		ReadBalanceDatum(PG_GETARG_DATUM(n), room)

/* ledger_json.c: the text form of the stored types is JSON */
extern void LotsToJson(StringInfo buf, const LotList *list);
extern void BalanceToJson(StringInfo buf, const Balance *balance);
extern void EntryToJson(StringInfo buf, const Entry *entry);
extern Jsonb *ParseJson(const char *text);
extern void LotsFromJson(JsonbContainer *json, LotList *list);
extern void BalanceFromJson(JsonbContainer *json, Balance *balance);
extern void EntryFromJson(JsonbContainer *json, Entry *entry);

/*
 * Members that were merged.  Room member sets these; without it every member
 * is canonical.  canonical() replaces ids by those of their canonical members,
 * as the transaction sees it now (read_only: as the query sees it); kin() is,
 * likewise, a bigint[] of all members that were ever merged with one, itself included;
 * any() tells whether anybody is absorbed; opened() is told of each wallet that
 * is opened, and may refuse it.  They need an SPI connection.  Every merge and
 * every undoing of one writes to table; function is canonical() in SQL.
 */
typedef struct MergedMembers
{
	void		(*canonical) (int64 *member_ids, int n, bool read_only);
	Datum		(*kin) (int64 member_id, bool read_only);
	bool		(*any) (void);
	void		(*opened) (int64 member_id);
	const char *table;
	const char *function;
} MergedMembers;

extern MergedMembers *merged_members;

/* ledger_route.c */
extern int64 CanonicalMember(int64 member_id);
extern Datum KinOfMember(int64 member_id);
extern Datum KinAsOfQuery(int64 member_id);

/* ledger_errors.c: the wording of what is refused */
typedef struct Refused
{
	FoldRefusal refusal;
	const Entry *entry;
	const Balance *balance;		/* before the entry */
	int64		member_id;		/* 0 outside the program */
	const char *currency;		/* NULL outside the program */
} Refused;

pg_noreturn extern void RaiseRefusal(const Refused *refused);
extern int64 WholePoints(Datum numeric);
extern void CheckEntry(const Entry *entry, bool in_program);
pg_noreturn extern void RefuseArgument(const Entry *entry, const char *what, const char *value);
extern void CheckAsOf(const Balance *balance, TimestampTz as_of);
extern void ReturnLots(FunctionCallInfo fcinfo, const LotList *list, const TimestampTz *as_of);

/* The state of balance_agg and ledger_agg; see core/state.h. */
extern const struct StateKind entry_run_state;

#endif							/* LOYALTY_LEDGER_H */
