/*
 * ledger_terms.h
 *		The terms of a trigger: what it knows of the rows of somebody's table.
 *
 * A term is an argument of the form 'name=value'.  What a row says by the
 * terms is an Award.
 */
#ifndef LOYALTY_LEDGER_TERMS_H
#define LOYALTY_LEDGER_TERMS_H

#include "postgres.h"

#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/plancache.h"

/* A term that is read out of a row: a column, or an expression */
typedef struct RowTerm
{
	const char *name;			/* of the term; NULL where it is not given */
	const char *text;			/* as given */
	Oid			type;			/* of the value */
	int			column;			/* number of the column; 0 for an expression */
	CachedExpression *expression;
} RowTerm;

/* The terms of one trigger, as a session keeps them */
typedef struct RowTerms
{
	const char *source;			/* under which its rows are known */
	const char *currency;
	RowTerm		member;
	RowTerm		points;
	RowTerm		when;
	RowTerm		at;
	RowTerm		available_at;
	RowTerm    *key;			/* what names a row in the source */
	int			nkey;
	Oid			pkey;			/* the index that says so, where none is given */
} RowTerms;

/* What a row is worth by the terms */
typedef struct Award
{
	char	   *key;			/* names the row: row_key() */
	bool		has_member;
	int64		member_id;
	int64		points;			/* 0 where it does not count, or for nobody */
	bool		has_at;
	TimestampTz at;
	bool		has_available_at;
	TimestampTz available_at;
} Award;

extern const RowTerms *FindTerms(TriggerData *data);
extern void ReadAward(const RowTerms *terms, TupleTableSlot *slot, const char *time_zone, Award *award);
extern bool FindHolder(const RowTerms *terms, Relation rel, TupleTableSlot *slot, const char *time_zone, const char *key,
					   Award *holder);
extern bool TermValue(const char *arg, const char *name, char **value);
extern char *KeyText(Datum value, Oid type);
extern char *RowKey(const char *source, char **parts, int nparts);

#endif							/* LOYALTY_LEDGER_TERMS_H */
