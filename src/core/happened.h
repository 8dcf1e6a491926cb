/*
 * happened.h
 *		Word that something happened, for rooms to the right.
 *
 * A room declares what can happen there when it is set up for a session:
 *
 *		static const char *const kinds[] = {"tier_changed", NULL};
 *		DeclareHappenings(kinds);
 *
 * and says so when it happens, in the same transaction and as the owner of the
 * tables, once it holds the lock of the row that it happens to; nothing is done
 * where nobody hears:
 *
 *		if (IsHeard("tier_changed"))
 *			Happen(&(Happening) {.kind = "tier_changed", ...});
 *
 * Whoever hears may post.  So a call in which something may happen says that
 * before it locks a wallet, or a row that comes after wallets:
 *
 *		ExpectHappening("tier_changed", member_id, "status");
 *
 * In PL/pgSQL these are loyalty.is_heard(), loyalty.happen() and
 * loyalty.expect_happening().
 */
#ifndef LOYALTY_HAPPENED_H
#define LOYALTY_HAPPENED_H

#include "postgres.h"

#include "datatype/timestamp.h"

typedef struct Happening
{
	const char *kind;
	int64		member_id;		/* to whom; under this number it stays */
	TimestampTz at;				/* when, in the business */
	Datum		payload;		/* jsonb, an object: core types and ids, no
								 * personal data; "version" says of what shape */
	int64		beyond_id;		/* ids that are drawn for it lie beyond this one,
								 * which the locked row keeps; 0: it keeps none */
} Happening;

typedef struct Hearer
{
	bool		(*hears) (const char *kind);
	void		(*heard) (const Happening *happening);

	/*
	 * locks what heard() would, as far as it comes before a wallet in a currency
	 * (NULL: before what comes after wallets); may be NULL
	 */
	void		(*expected) (const char *kind, int64 member_id, const char *currency);
} Hearer;

extern void DeclareHappenings(const char *const *kinds);
extern void OnHappening(const Hearer *hearer);
extern bool IsHeard(const char *kind);
extern void ExpectHappening(const char *kind, int64 member_id, const char *currency);
extern void Happen(const Happening *happening);

#endif							/* LOYALTY_HAPPENED_H */
