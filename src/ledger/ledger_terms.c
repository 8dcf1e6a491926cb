/*
 * ledger_terms.c
 *		The terms of a trigger: read from its arguments, kept in the session,
 *		and evaluated for a row.
 *
 * A value that is just the name of a column is that column.  Anything else is
 * an expression over the row's columns, as in the WHEN of a trigger: no
 * subqueries, no aggregates.  It is parsed once per session, with the
 * search_path "pg_catalog, the table's schema", whatever the session's is; of a
 * partition it is that of the topmost table.
 *
 * What is kept belongs to one trigger of one table (a partition has its own)
 * and is made anew when the trigger's arguments or the table's columns change;
 * an expression also when a function or type in it does.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/xact.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type_d.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "ledger/chain.h"
#include "ledger/ledger_terms.h"

/* A key that is longer is replaced by its hash */
#define MAX_ROW_KEY		1000

/* What a session keeps of a trigger */
typedef struct KeptTerms
{
	Oid			trigger;		/* hash key */
	MemoryContext context;		/* NULL while there is nothing in it */
	int			nargs;
	char	  **args;
	TupleDesc	tupdesc;
	RowTerms	terms;
} KeptTerms;

static HTAB *kept_terms = NULL;

/* ---------------------------------------------------------------------------
 * Names of rows
 * ---------------------------------------------------------------------------
 */

/*
 * "source:part:part": the name under which the postings of a row are kept.
 * What separates parts, and what numbers postings (~), is escaped in them.
 */
char *
RowKey(const char *source, char **parts, int nparts)
{
	StringInfoData key;
	Preimage	preimage;
	uint8		hash[CHAIN_LENGTH];

	initStringInfo(&key);
	appendStringInfoString(&key, source);
	for (int i = 0; i < nparts; i++)
	{
		appendStringInfoChar(&key, ':');
		for (const char *c = parts[i]; *c; c++)
		{
			if (*c == ':' || *c == '~' || *c == '\\')
				appendStringInfoChar(&key, '\\');
			appendStringInfoChar(&key, *c);
		}
	}
	if (key.len <= MAX_ROW_KEY)
		return key.data;

	PreimageInit(&preimage, 1);
	PreimageText(&preimage, key.data);
	HashPreimage(&preimage, hash);
	resetStringInfo(&key);
	appendStringInfo(&key, "%s:\\h", source);
	for (int i = 0; i < CHAIN_LENGTH; i++)
		appendStringInfo(&key, "%02x", hash[i]);
	return key.data;
}

/*
 * The text of a key's column, the same whatever the session's settings.
 */
char *
KeyText(Datum value, Oid type)
{
	Oid			output;
	bool		is_varlena;
	int			nest = 0;
	char	   *string;

	if (type == INT8OID)
	{
		string = palloc(MAXINT8LEN + 1);
		pg_lltoa(DatumGetInt64(value), string);
		return string;
	}
	if (type == TEXTOID || type == VARCHAROID)
		return TextDatumGetCString(value);
	if (type != INT4OID && type != INT2OID && type != BPCHAROID && type != UUIDOID && type != NUMERICOID)
	{
		nest = NewGUCNestLevel();
		(void) set_config_option("datestyle", "ISO, YMD", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("timezone", "UTC", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("intervalstyle", "postgres", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("extra_float_digits", "1", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("bytea_output", "hex", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	getTypeOutputInfo(type, &output, &is_varlena);
	string = OidOutputFunctionCall(output, value);
	if (nest > 0)
		AtEOXact_GUC(true, nest);
	return string;
}

/* ---------------------------------------------------------------------------
 * Preparing
 * ---------------------------------------------------------------------------
 */

/* What an error is about while a term is read or evaluated */
typedef struct TermContext
{
	const char *trigger;
	const RowTerm *term;
} TermContext;

static void
DescribeTerm(void *arg)
{
	const TermContext *context = arg;

	if (context->trigger != NULL)
		errcontext("term \"%s=%s\" of trigger \"%s\"", context->term->name, context->term->text, context->trigger);
	else
		errcontext("term \"%s=%s\"", context->term->name, context->term->text);
}

/*
 * The expressions of a text "a, b, ...", as the parser sees them.
 */
static List *
ParseTerm(const RowTerm *term)
{
	List	   *statements = raw_parser(psprintf("SELECT %s", term->text), RAW_PARSE_DEFAULT);
	SelectStmt *select = statements == NIL ? NULL : (SelectStmt *) linitial_node(RawStmt, statements)->stmt;
	List	   *expressions = NIL;
	ListCell   *lc;

	if (list_length(statements) != 1 || !IsA(select, SelectStmt) || select->targetList == NIL ||
		select->distinctClause != NIL || select->intoClause != NULL || select->fromClause != NIL ||
		select->whereClause != NULL || select->groupClause != NIL || select->havingClause != NULL ||
		select->windowClause != NIL || select->sortClause != NIL || select->limitCount != NULL ||
		select->limitOffset != NULL || select->lockingClause != NIL || select->op != SETOP_NONE ||
		select->withClause != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("term \"%s\" is no expression", term->name),
				 errdetail("It is \"%s\".", term->text),
				 errhint("Give a column or an expression over the columns of the row.")));
	foreach(lc, select->targetList)
		expressions = lappend(expressions, lfirst_node(ResTarget, lc)->val);
	return expressions;
}

/*
 * Casts an expression to the type that its term has, unless that is as it is.
 */
static Node *
CastTerm(ParseState *pstate, const RowTerm *term, Node *node, Oid wanted)
{
	Oid			type = exprType(node);
	Node	   *cast;

	if (wanted == TIMESTAMPTZOID && type == DATEOID)
		wanted = TIMESTAMPOID;	/* where that is, the currency says */
	else if (wanted == TIMESTAMPTZOID && type == TIMESTAMPOID)
		wanted = type;
	else if (wanted == InvalidOid)
		wanted = type == UNKNOWNOID ? TEXTOID : type;
	cast = coerce_to_target_type(pstate, node, type, wanted, -1, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
	if (cast == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("term \"%s\" is of type %s", term->name, format_type_be(type)),
				 errdetail("It must be %s, or what can be cast to that.", format_type_be(wanted)),
				 errhint("Give another column, or an expression with a cast.")));
	return cast;
}

/*
 * Makes the expression of a term: of the parser's tree, or of its column where
 * that is not read as it is.
 */
static void
PlanTerm(RowTerm *term, Relation rel, Node *raw, int column, Oid wanted)
{
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item;
	Node	   *node;

	item = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, makeAlias("new", NIL), false, true);
	addNSItemToQuery(pstate, item, false, true, true);
	if (raw != NULL)
		node = transformExpr(pstate, raw, EXPR_KIND_TRIGGER_WHEN);
	else
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), column - 1);

		node = (Node *) makeVar(1, column, att->atttypid, att->atttypmod, att->attcollation, 0);
	}
	node = CastTerm(pstate, term, node, wanted);
	assign_expr_collations(pstate, node);
	node = ExpandVirtualColumns(node, rel);
	free_parsestate(pstate);
	term->type = exprType(node);
	term->expression = GetCachedExpression(node);
}

/*
 * Whether a column is read as it is for a term of a type.
 */
static bool
ReadAsItIs(Form_pg_attribute att, Oid wanted)
{
	if (ColumnIsVirtual(att))
		return false;
	switch (wanted)
	{
		case INT8OID:
			return att->atttypid == INT8OID || att->atttypid == INT4OID || att->atttypid == INT2OID;
		case NUMERICOID:
			return att->atttypid == NUMERICOID || att->atttypid == INT8OID ||
				att->atttypid == INT4OID || att->atttypid == INT2OID;
		case TIMESTAMPTZOID:
			return att->atttypid == TIMESTAMPTZOID || att->atttypid == TIMESTAMPOID;
		case InvalidOid:
			return true;
	}
	return att->atttypid == wanted;
}

/*
 * Number of the column of that very name; 0 when there is none.
 */
static int
ColumnOfName(Relation rel, const char *name)
{
	int			column = SPI_fnumber(RelationGetDescr(rel), name);

	return column > 0 ? column : 0;
}

static void
PrepareColumn(RowTerm *term, Relation rel, int column, Oid wanted)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), column - 1);

	if (ReadAsItIs(att, wanted))
	{
		term->column = column;
		term->type = att->atttypid;
	}
	else
		PlanTerm(term, rel, NULL, column, wanted);
}

/*
 * Prepares a term of one value, in the context that lasts, with the
 * search_path that it is parsed with.
 */
static void
PrepareTerm(RowTerm *term, Relation rel, Oid wanted)
{
	int			column = ColumnOfName(rel, term->text);
	List	   *expressions;

	if (column > 0)
	{
		PrepareColumn(term, rel, column, wanted);
		return;
	}
	expressions = ParseTerm(term);
	if (list_length(expressions) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("term \"%s\" has %d values instead of one", term->name, list_length(expressions)),
				 errdetail("It is \"%s\".", term->text),
				 errhint("Give one expression.")));
	PlanTerm(term, rel, linitial(expressions), 0, wanted);
}

/*
 * Without a term "key", a row is known by the primary key of the topmost table.
 */
static void
PrepareDefaultKey(RowTerms *terms, Relation rel, MemoryContext context)
{
	Relation	top = relation_open(TopmostTable(rel), AccessShareLock);
	Relation	index = NULL;
	Oid			pkey;

	/* the list of indexes tells the primary key once it is loaded */
	list_free(RelationGetIndexList(top));
	pkey = top->rd_pkindex;
	if (OidIsValid(pkey))
		index = relation_open(pkey, AccessShareLock);
	if (index == NULL || !index->rd_index->indimmediate)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("\"%s\" has no primary key%s", RelationGetRelationName(top),
						index == NULL ? "" : " that is checked at once"),
				 errdetail("What names a row is missing."),
				 errhint("Add a primary key, or name columns that are unique in the table: 'key=order_id'.")));
	terms->pkey = pkey;
	terms->nkey = IndexRelationGetNumberOfKeyAttributes(index);
	terms->key = MemoryContextAllocZero(context, terms->nkey * sizeof(RowTerm));
	for (int i = 0; i < terms->nkey; i++)
	{
		RowTerm    *term = &terms->key[i];
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(top), index->rd_index->indkey.values[i] - 1);

		term->name = "key";
		term->text = MemoryContextStrdup(context, NameStr(att->attname));
		PrepareColumn(term, rel, ColumnOfName(rel, term->text), InvalidOid);
	}
	relation_close(index, AccessShareLock);
	relation_close(top, AccessShareLock);
}

static void
PrepareKey(RowTerms *terms, Relation rel, const RowTerm *given, MemoryContext context)
{
	int			column;
	List	   *expressions;
	ListCell   *lc;
	int			i = 0;

	if (given->name == NULL)
	{
		PrepareDefaultKey(terms, rel, context);
		return;
	}
	column = ColumnOfName(rel, given->text);
	expressions = column > 0 ? list_make1(NULL) : ParseTerm(given);
	terms->nkey = list_length(expressions);
	terms->key = MemoryContextAllocZero(context, terms->nkey * sizeof(RowTerm));
	foreach(lc, expressions)
	{
		RowTerm    *term = &terms->key[i++];
		ColumnRef  *ref = lfirst(lc);

		*term = *given;
		if (ref != NULL && IsA(ref, ColumnRef) && list_length(ref->fields) == 1 && IsA(linitial(ref->fields), String))
			column = ColumnOfName(rel, strVal(linitial(ref->fields)));
		else if (ref != NULL)
			column = 0;
		if (column > 0)
			PrepareColumn(term, rel, column, InvalidOid);
		else
			PlanTerm(term, rel, (Node *) ref, 0, InvalidOid);
	}
}

/*
 * Raises an error when another trigger knows its rows under the same name: the
 * rows of the two could not be told apart.  Those of the partitions of one
 * table are one trigger.
 */
static void
CheckSource(TriggerData *data, const RowTerms *terms)
{
	static KeptPlan plan = {
		.query = "SELECT t.tgname::pg_catalog.text, t.tgrelid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_trigger t "
		"WHERE t.tgfoid OPERATOR(pg_catalog.=) $1 AND t.oid OPERATOR(pg_catalog.<>) $2 "
		"AND loyalty.trigger_term(t.tgargs, 'source') OPERATOR(pg_catalog.=) $4 "
		"AND coalesce(loyalty.trigger_term(t.tgargs, $6), $7) OPERATOR(pg_catalog.=) $5 "
		"AND (t.tgrelid OPERATOR(pg_catalog.=) $3 OR coalesce(pg_catalog.pg_partition_root(t.tgrelid), t.tgrelid) "
		"OPERATOR(pg_catalog.<>) coalesce(pg_catalog.pg_partition_root($3), $3)) ORDER BY t.oid",
		.nargs = 7,
		.argtypes = {OIDOID, OIDOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}
	};
	const TermSet *set = terms->set;
	Trigger    *trigger = data->tg_trigger;
	Datum		values[7] = {
		ObjectIdGetDatum(trigger->tgfoid), ObjectIdGetDatum(trigger->tgoid),
		ObjectIdGetDatum(RelationGetRelid(data->tg_relation)), CStringGetTextDatum(terms->words[0]),
		CStringGetTextDatum(terms->words[1]), CStringGetTextDatum(set->words[1].name), CStringGetTextDatum(set->words[1].otherwise)
	};
	Actor		writer;

	/* whoever writes the row need not know of our schema */
	ActForTable(&writer, data->tg_relation);
	RunPlan(&plan, values, NULL, 1);
	ActAsBefore(&writer);
	if (SPI_processed > 0 && TablesAreSpread())
		ereport(ERROR,
				(errcode(ERRCODE_LY_SPREAD),
				 errmsg("trigger \"%s\" does not work on a table that is spread over several machines", trigger->tgname),
				 errdetail("Each part of the table has a trigger of its own, with the source \"%s\" of \"%s\" on %s.", terms->words[0],
						   SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
						   SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2)),
				 errhint("Drop it, and call the function of the member with the row, in the same transaction.")));
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("source \"%s\" of trigger \"%s\" is also that of trigger \"%s\" on %s",
						terms->words[0], trigger->tgname,
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2)),
				 errdetail("Both %s \"%s\".", set->shared, terms->words[1]),
				 errhint("Give each trigger of a %s a source of its own.", set->words[1].name)));
}

/*
 * The value of an argument of the form "name=value"; false when it is another
 * term, or none.
 */
bool
TermValue(const char *arg, const char *name, char **value)
{
	size_t		len = strlen(name);

	arg += strspn(arg, " \t\n");
	if (strncmp(arg, name, len) != 0)
		return false;
	arg += len;
	arg += strspn(arg, " \t\n");
	if (*arg++ != '=')
		return false;
	arg += strspn(arg, " \t\n");
	len = strlen(arg);
	while (len > 0 && strchr(" \t\n", arg[len - 1]) != NULL)
		len--;
	*value = pnstrdup(arg, len);
	return true;
}

/*
 * Puts the value of an argument where its term has it: *word, or *term.  False
 * when it is no term that we know.
 */
static bool
FindTerm(RowTerms *terms, RowTerm *key, const char *arg, const char **name, const char ***word, RowTerm **term, char **value)
{
	const TermSet *set = terms->set;

	*word = NULL;
	*term = NULL;
	for (int i = 0; i < set->nwords; i++)
	{
		*name = set->words[i].name;
		*word = &terms->words[i];
		if (TermValue(arg, *name, value))
			return true;
	}
	*word = NULL;
	for (int i = 0; i < set->nvalues; i++)
	{
		*name = set->values[i].name;
		*term = &terms->values[i];
		if (TermValue(arg, *name, value))
			return true;
	}
	*name = "key";
	*term = key;
	return TermValue(arg, *name, value);
}

/*
 * The arguments of a trigger, by name.
 */
static void
ReadArguments(const Trigger *trigger, char **args, RowTerms *terms, RowTerm *key)
{
	const TermSet *set = terms->set;
	const char *missing = NULL;

	for (int i = 0; i < trigger->tgnargs; i++)
	{
		const char *name;
		const char **word;
		RowTerm    *term;
		char	   *value;

		if (!FindTerm(terms, key, args[i], &name, &word, &term, &value))
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("argument \"%s\" of trigger \"%s\" is no term", args[i], trigger->tgname),
					 errdetail("The terms are %s.", set->all),
					 errhint("Write each as 'name=value', such as 'member=member_id'.")));
		if (value[0] == '\0' || (term != NULL ? term->name != NULL : *word != NULL))
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("term \"%s\" of trigger \"%s\" is %s", name, trigger->tgname,
							value[0] == '\0' ? "empty" : "there twice"),
					 errdetail("The trigger has %d arguments.", trigger->tgnargs),
					 errhint("Give it once, with a value.")));
		if (term == NULL)
			*word = value;
		else
		{
			term->name = name;
			term->text = value;
		}
	}

	for (int i = set->nvalues - 1; i >= 0; i--)
	{
		if (set->values[i].needed && terms->values[i].name == NULL)
			missing = set->values[i].name;
	}
	if (terms->words[0] == NULL)
		missing = set->words[0].name;
	if (missing != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("trigger \"%s\" has no term \"%s\"", trigger->tgname, missing),
				 errdetail("%s needed.", set->needed),
				 terms->words[0] == NULL
				 ? errhint("Add 'source=orders' or the like: a name for the rows that never changes, whatever becomes of the table's.")
				 : errhint("%s", set->how)));
	if (strpbrk(terms->words[0], ":\\~") != NULL || strlen(terms->words[0]) > 100)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("source \"%s\" of trigger \"%s\" is not usable", terms->words[0], trigger->tgname),
				 errdetail("It is longer than 100 bytes, or contains one of : \\ and ~."),
				 errhint("Give a plain word, such as orders.")));
	for (int i = 0; i < set->nwords; i++)
	{
		if (terms->words[i] == NULL)
			terms->words[i] = set->words[i].otherwise;
	}
}

static void
PrepareTerms(TriggerData *data, RowTerms *terms, char **args, MemoryContext context)
{
	Relation	rel = data->tg_relation;
	RowTerm		key = {0};
	TermContext about = {.trigger = data->tg_trigger->tgname};
	ErrorContextCallback callback = {.callback = DescribeTerm,.arg = &about,.previous = error_context_stack};
	MemoryContext old = MemoryContextSwitchTo(context);
	int			nest;

	ReadArguments(data->tg_trigger, args, terms, &key);
	MemoryContextSwitchTo(old);
	CheckSource(data, terms);

	nest = NewGUCNestLevel();
	(void) set_config_option("search_path",
							 psprintf("pg_catalog, %s, pg_temp", quote_identifier(get_namespace_name(get_rel_namespace(TopmostTable(rel))))),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	error_context_stack = &callback;
	for (int i = 0; i < terms->set->nvalues; i++)
	{
		about.term = &terms->values[i];
		if (about.term->name != NULL)
			PrepareTerm(&terms->values[i], rel, terms->set->values[i].type);
	}
	about.term = &key;
	if (key.name == NULL)
		error_context_stack = callback.previous;
	PrepareKey(terms, rel, &key, context);
	error_context_stack = callback.previous;
	AtEOXact_GUC(true, nest);
}

static void
ForgetTerms(KeptTerms *kept)
{
	if (kept->context == NULL)
		return;
	for (int i = 0; i < MAX_TERM_VALUES; i++)
	{
		if (kept->terms.values[i].expression != NULL)
			FreeCachedExpression(kept->terms.values[i].expression);
	}
	for (int i = 0; i < kept->terms.nkey; i++)
	{
		if (kept->terms.key[i].expression != NULL)
			FreeCachedExpression(kept->terms.key[i].expression);
	}
	/* a trigger that is at work further up may still look at it */
	MemoryContextSetParent(kept->context, TopTransactionContext);
	kept->context = NULL;
	memset(&kept->terms, 0, sizeof(RowTerms));
}

static bool
TermsAreCurrent(const KeptTerms *kept, const TriggerData *data, const TermSet *set)
{
	const Trigger *trigger = data->tg_trigger;

	if (kept->context == NULL || kept->terms.set != set || kept->nargs != trigger->tgnargs)
		return false;
	for (int i = 0; i < kept->nargs; i++)
	{
		if (strcmp(kept->args[i], trigger->tgargs[i]) != 0)
			return false;
	}
	for (int i = 0; i < MAX_TERM_VALUES; i++)
	{
		if (kept->terms.values[i].expression != NULL && !kept->terms.values[i].expression->is_valid)
			return false;
	}
	for (int i = 0; i < kept->terms.nkey; i++)
	{
		if (kept->terms.key[i].expression != NULL && !kept->terms.key[i].expression->is_valid)
			return false;
	}
	/* an index of a primary key that is another one by now is gone */
	if (OidIsValid(kept->terms.pkey) && !SearchSysCacheExists1(INDEXRELID, ObjectIdGetDatum(kept->terms.pkey)))
		return false;
	return equalTupleDescs(kept->tupdesc, RelationGetDescr(data->tg_relation));
}

/*
 * The terms of a trigger that has fired, by those that its function knows.
 * Needs an SPI connection.
 */
const RowTerms *
FindTerms(TriggerData *data, const TermSet *set)
{
	const Trigger *trigger = data->tg_trigger;
	KeptTerms  *kept;
	bool		found;
	RowTerms	terms = {.set = set};
	MemoryContext context;
	MemoryContext old;
	char	  **args;

	if (kept_terms == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(KeptTerms)};

		kept_terms = hash_create("loyalty terms of triggers", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	kept = hash_search(kept_terms, &trigger->tgoid, HASH_FIND, NULL);
	if (kept != NULL)
	{
		if (TermsAreCurrent(kept, data, set))
			return &kept->terms;
		ForgetTerms(kept);
	}

	context = AllocSetContextCreate(CurrentMemoryContext, "loyalty terms of a trigger", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	args = palloc(Max(trigger->tgnargs, 1) * sizeof(char *));
	for (int i = 0; i < trigger->tgnargs; i++)
		args[i] = pstrdup(trigger->tgargs[i]);
	MemoryContextSwitchTo(old);
	PrepareTerms(data, &terms, args, context);

	kept = hash_search(kept_terms, &trigger->tgoid, HASH_ENTER, &found);
	kept->terms = terms;
	kept->nargs = trigger->tgnargs;
	kept->args = args;
	old = MemoryContextSwitchTo(context);
	kept->tupdesc = CreateTupleDescCopyConstr(RelationGetDescr(data->tg_relation));
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, TopMemoryContext);
	kept->context = context;
	return &kept->terms;
}

/* ---------------------------------------------------------------------------
 * Evaluating
 * ---------------------------------------------------------------------------
 */

/*
 * The value of a term for a row.  NULL gives false, as does a term that is not
 * given.
 */
bool
ReadTerm(const RowTerm *term, TupleTableSlot *slot, Datum *value)
{
	TermContext about = {.term = term};
	ErrorContextCallback callback = {.callback = DescribeTerm,.arg = &about,.previous = error_context_stack};
	ExprContext *context;
	ExprState  *state;
	bool		isnull;

	if (term->name == NULL)
		return false;
	if (term->column > 0)
	{
		*value = slot_getattr(slot, term->column, &isnull);
		return !isnull;
	}
	error_context_stack = &callback;
	context = CreateStandaloneExprContext();
	context->ecxt_scantuple = slot;
	/* a copy: what it calls may have the kept one made anew */
	state = ExecInitExpr((Expr *) copyObject(term->expression->expr), NULL);
	*value = ExecEvalExprSwitchContext(state, context, &isnull);
	if (!isnull && !get_typbyval(term->type))
		*value = datumCopy(*value, false, get_typlen(term->type));
	FreeExprContext(context, true);
	error_context_stack = callback.previous;
	return !isnull;
}

/*
 * A value of a term that is bigint, or is read as it is.
 */
int64
IntegerOf(Datum value, Oid type)
{
	return type == INT8OID ? DatumGetInt64(value) : type == INT4OID ? DatumGetInt32(value) : DatumGetInt16(value);
}

/*
 * An instant; a time without zone, and a date, are those of time_zone.
 */
bool
ReadInstant(const RowTerm *term, TupleTableSlot *slot, const char *time_zone, TimestampTz *instant)
{
	Datum		value;

	if (!ReadTerm(term, slot, &value))
		return false;
	if (term->type == TIMESTAMPOID)
		value = DirectFunctionCall2(timestamp_zone, CStringGetTextDatum(time_zone), value);
	*instant = DatumGetTimestampTz(value);
	return true;
}

/*
 * The name of a row.
 */
char *
KeyOfRow(const RowTerms *terms, TupleTableSlot *slot)
{
	char	  **parts = palloc(terms->nkey * sizeof(char *));

	for (int i = 0; i < terms->nkey; i++)
	{
		Datum		value;

		if (!ReadTerm(&terms->key[i], slot, &value))
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("term \"key=%s\" is NULL", terms->key[i].text),
					 errdetail("What names a row is missing."),
					 errhint("Give a key that every row has.")));
		parts[i] = KeyText(value, terms->key[i].type);
	}
	return RowKey(terms->words[0], parts, terms->nkey);
}

/* ---------------------------------------------------------------------------
 * Looking up
 * ---------------------------------------------------------------------------
 */

/*
 * Prepares the search for another row with the key of a row, by an index on
 * columns of the key.  False when the index is no such one.
 */
static bool
SearchByKey(const RowTerms *terms, Relation index, TupleTableSlot *slot, ScanKeyData *search)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indisvalid || index->rd_rel->relam != BTREE_AM_OID ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		int			column = form->indkey.values[i];
		Oid			equals = get_opfamily_member(index->rd_opfamily[i], index->rd_opcintype[i],
												 index->rd_opcintype[i], BTEqualStrategyNumber);
		bool		in_key = false;
		bool		isnull;
		Datum		value;

		for (int k = 0; k < terms->nkey; k++)
			in_key = in_key || (column > 0 && terms->key[k].column == column);
		if (!in_key || !OidIsValid(equals))
			return false;
		value = slot_getattr(slot, column, &isnull);
		if (isnull)
			return false;
		ScanKeyEntryInitialize(&search[i], 0, column, BTEqualStrategyNumber, InvalidOid,
							   index->rd_indcollation[i], get_opcode(equals), value);
	}
	return true;
}

/*
 * Who has the key of a row that has given it up.  In general that is nobody.
 * But two rows may have exchanged their keys, where these are unique only at
 * the end of the statement or the transaction, or where the trigger fires that
 * late, and it may be that the other row was settled first: then it must not
 * lose what the key stands for.  NULL when there is no such row, or no unique
 * index to find it by.
 */
TupleTableSlot *
FindHolder(const RowTerms *terms, Relation rel, TupleTableSlot *slot, const char *key)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;
	TupleTableSlot *holder = NULL;
	bool		searched = false;

	/* what the statement itself has done is to be seen */
	CommandCounterIncrement();
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		ScanKeyData search[INDEX_MAX_KEYS];

		if (!searched && SearchByKey(terms, index, slot, search))
		{
			Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
			SysScanDesc scan = systable_beginscan(rel, RelationGetRelid(index), true, snapshot,
												  index->rd_index->indnkeyatts, search);
			HeapTuple	tuple;

			searched = true;
			while (holder == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
			{
				TupleTableSlot *other = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);

				ExecStoreHeapTuple(heap_copytuple(tuple), other, true);
				if (strcmp(KeyOfRow(terms, other), key) == 0)
					holder = other;
				else
					ExecDropSingleTupleTableSlot(other);
			}
			systable_endscan(scan);
			UnregisterSnapshot(snapshot);
		}
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return holder;
}
