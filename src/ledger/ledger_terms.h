/*
 * ledger_terms.h
 *		The terms of a trigger: what it knows of the rows of somebody's table.
 *
 * A term is an argument of the form 'name=value'.  A trigger function says
 * which terms it knows, by a TermSet, and reads their values out of rows.
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

#define MAX_TERM_WORDS	2
#define MAX_TERM_VALUES	11

/*
 * The terms that a trigger function knows, beside "key"; static.  Words are the
 * same for all rows; the first is "source".
 */
typedef struct TermSet
{
	int			nwords;
	struct
	{
		const char *name;
		const char *otherwise;	/* where it is not given; NULL: it must be */
	}			words[MAX_TERM_WORDS];
	int			nvalues;
	struct
	{
		const char *name;
		Oid			type;
		bool		needed;
	}			values[MAX_TERM_VALUES];
	const char *all;			/* for DETAIL and HINT: their names, ... */
	const char *needed;
	const char *how;			/* ... how those that are needed are given, */
	const char *shared;			/* and what is wrong where two triggers have
								 * their words in common */
} TermSet;

/* The terms of one trigger, as a session keeps them */
typedef struct RowTerms
{
	const TermSet *set;
	const char *words[MAX_TERM_WORDS];
	RowTerm		values[MAX_TERM_VALUES];
	RowTerm    *key;			/* what names a row in the source */
	int			nkey;
	Oid			pkey;			/* the index that says so, where none is given */
} RowTerms;

extern const RowTerms *FindTerms(TriggerData *data, const TermSet *set);
extern bool ReadTerm(const RowTerm *term, TupleTableSlot *slot, Datum *value);
extern int64 IntegerOf(Datum value, Oid type);
extern bool ReadInstant(const RowTerm *term, TupleTableSlot *slot, const char *time_zone, TimestampTz *instant);
extern char *KeyOfRow(const RowTerms *terms, TupleTableSlot *slot);
extern TupleTableSlot *FindHolder(const RowTerms *terms, Relation rel, TupleTableSlot *slot, const char *key);
extern bool TermValue(const char *arg, const char *name, char **value);
extern char *KeyText(Datum value, Oid type);
extern char *RowKey(const char *source, char **parts, int nparts);

#endif							/* LOYALTY_LEDGER_TERMS_H */
