/*
 * label_read.c
 *		What is said of members, as of an instant and as known at another.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "activity/activity_record.h"
#include "core/core.h"
#include "core/plain.h"
#include "label/label.h"
#include "member/member.h"

/* Columns of member_label that the rule reads, by their names. */
#define ASSERTION_COLUMNS(X) \
	X(MEMBER_ID, member_id, INT8OID) \
	X(NUMBER, assertion_no, INT8OID) \
	X(LABEL, label, TEXTOID) \
	X(VALUE, value, TEXTOID) \
	X(SAYS, says, TEXTOID) \
	X(SOURCE, source, TEXTOID) \
	X(CONFIDENCE, confidence, NUMERICOID) \
	X(VALID_FROM, valid_from, TIMESTAMPTZOID) \
	X(VALID_UNTIL, valid_until, TIMESTAMPTZOID) \
	X(RECORDED_AT, recorded_at, TIMESTAMPTZOID)

typedef enum AssertionColumn
{
#define COLUMN(symbol, name, type) ASSERTION_##symbol,
	ASSERTION_COLUMNS(COLUMN)
#undef COLUMN
	ASSERTION_NCOLUMNS
} AssertionColumn;

static const PlainColumn columns[ASSERTION_NCOLUMNS] = {
#define COLUMN(symbol, name, type) {#name, type},
	ASSERTION_COLUMNS(COLUMN)
#undef COLUMN
};

#define ASSERTION_LIST \
	"m.member_id, m.assertion_no, m.label, m.value, m.says, m.source, m.confidence, m.valid_from, m.valid_until, m.recorded_at"

static const char *const own_triggers[] = {NULL};

static const PlainTable member_label_table = {
	.name = "member_label",
	.ncolumns = ASSERTION_NCOLUMNS,
	.columns = columns,
	.nkeys = 1,
	.keys = {{2, {ASSERTION_MEMBER_ID, ASSERTION_NUMBER}}},
	.own_triggers = own_triggers
};

/* Assertions of a person, in the order of their labels or in any. */
typedef struct Gathered
{
	int			n;
	int			room;
	Assertion  *all;
	Assertion **list;
} Gathered;

static Assertion *
AddAssertion(Gathered *gathered)
{
	if (gathered->n == gathered->room)
	{
		gathered->room = Max(16, 2 * gathered->room);
		gathered->all = gathered->all == NULL ? palloc(gathered->room * sizeof(Assertion)) :
			repalloc(gathered->all, gathered->room * sizeof(Assertion));
	}
	return &gathered->all[gathered->n++];
}

static Assertion **
ListAssertions(Gathered *gathered)
{
	gathered->list = palloc(Max(gathered->n, 1) * sizeof(Assertion *));
	for (int i = 0; i < gathered->n; i++)
		gathered->list[i] = &gathered->all[i];
	return gathered->list;
}

static void
ReadAssertion(const Datum *values, const bool *nulls, const Label *label, Assertion *assertion)
{
	char	   *says = TextDatumGetCString(values[ASSERTION_SAYS]);
	int			decimals = 0;

	assertion->member_id = DatumGetInt64(values[ASSERTION_MEMBER_ID]);
	assertion->number = DatumGetInt64(values[ASSERTION_NUMBER]);
	assertion->label = label->name;
	assertion->value = nulls[ASSERTION_VALUE] ? NULL : TextDatumGetCString(values[ASSERTION_VALUE]);
	assertion->says = says[0] == 'y' ? SAYS_YES : says[1] == 'o' && says[2] == '\0' ? SAYS_NO : SAYS_NOTHING;
	assertion->source = TextDatumGetCString(values[ASSERTION_SOURCE]);
	assertion->rank = RankOfSource(label, assertion->source);
	assertion->confidence = MicrosFromNumeric(values[ASSERTION_CONFIDENCE], "confidence", &decimals);
	assertion->valid_from = DatumGetTimestampTz(values[ASSERTION_VALID_FROM]);
	assertion->valid_until = nulls[ASSERTION_VALID_UNTIL] ? TIMESTAMP_INFINITY : DatumGetTimestampTz(values[ASSERTION_VALID_UNTIL]);
	assertion->recorded_at = DatumGetTimestampTz(values[ASSERTION_RECORDED_AT]);
}

static void
ReadSpiRow(HeapTuple row, TupleDesc desc, Datum *values, bool *nulls)
{
	for (int i = 0; i < ASSERTION_NCOLUMNS; i++)
		values[i] = SPI_getbinval(row, desc, i + 1, &nulls[i]);
}

/*
 * All numbers of a person, given one of them.
 */
static int64 *
NumbersOfPerson(int64 member_id, int *n)
{
	static KeptPlan plan = {
		.query = "SELECT a.member_id, a.canonical_id FROM loyalty.member_alias a WHERE a.canonical_id OPERATOR(pg_catalog.=) "
		"coalesce((SELECT s.canonical_id FROM loyalty.member_alias s WHERE s.member_id OPERATOR(pg_catalog.=) $1), $1)",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(member_id);
	int64	   *numbers;
	bool		isnull;

	if (NobodyWasMerged())
	{
		numbers = palloc(sizeof(int64));
		numbers[0] = member_id;
		*n = 1;
		return numbers;
	}
	RunPlanReadOnly(&plan, &value, NULL, 0);
	numbers = palloc((SPI_processed + 1) * sizeof(int64));
	numbers[0] = member_id;
	*n = 1;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		/* who stands for them is none of the absorbed */
		numbers[0] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
		numbers[(*n)++] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
	return numbers;
}

/* Adds what was said to one number: of one label, or (NULL) of all but consent. */
static void
GatherOfNumber(Gathered *gathered, int64 number, const Label *label)
{
	static KeptPlan plan = {
		.query = "SELECT " ASSERTION_LIST " FROM loyalty.member_label m WHERE m.member_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[ASSERTION_NCOLUMNS];
	bool		nulls[ASSERTION_NCOLUMNS];
	PlainAccess access;
	HeapTuple  *rows = NULL;
	int			n;
	bool		is_plain = OpenPlain(&access, &member_label_table, number, PLAIN_READ);

	if (is_plain)
		n = FetchPlainRows(&access, number, GetActiveSnapshot(), &rows);
	else
	{
		values[0] = Int64GetDatum(number);
		RunPlanReadOnly(&plan, values, NULL, 0);
		n = (int) SPI_processed;
	}
	for (int i = 0; i < n; i++)
	{
		const Label *of = label;

		CHECK_FOR_INTERRUPTS();
		if (is_plain)
			PlainValues(&access, rows[i], values, nulls);
		else
			ReadSpiRow(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values, nulls);
		if (label != NULL)
		{
			text	   *name = DatumGetTextPP(values[ASSERTION_LABEL]);

			if (VARSIZE_ANY_EXHDR(name) != strlen(label->name) || memcmp(VARDATA_ANY(name), label->name, strlen(label->name)) != 0)
				continue;
		}
		else
		{
			of = RequireLabel(TextDatumGetCString(values[ASSERTION_LABEL]));
			if (of->kind == LABEL_CONSENT)
				continue;
		}
		ReadAssertion(values, nulls, of, AddAssertion(gathered));
	}
	if (is_plain)
		ClosePlain(&access);
	else
		SPI_freetuptable(SPI_tuptable);
}

/*
 * What was said of a person, under whichever number.  Needs an SPI connection.
 */
static void
GatherOfPerson(Gathered *gathered, int64 member_id, const Label *label)
{
	int			n;
	int64	   *numbers = NumbersOfPerson(member_id, &n);

	memset(gathered, 0, sizeof(Gathered));
	for (int i = 0; i < n; i++)
		GatherOfNumber(gathered, numbers[i], label);
	(void) ListAssertions(gathered);
}

static bool
IsOneOf(const char *value, char **values, int nvalues)
{
	for (int i = 0; i < nvalues; i++)
	{
		if (strcmp(value, values[i]) == 0)
			return true;
	}
	return false;
}

/* Whether what speaks holds: it says yes, surely enough. */
static bool
Holds(const Assertion *assertion, const Label *label)
{
	return assertion->says == SAYS_YES && assertion->confidence >= label->at_least;
}

/*
 * Whether a member has a label, with one of these values (nvalues 0: with
 * whichever).  Needs an SPI connection.
 */
bool
HasLabel(int64 member_id, const Label *label, char **values, int nvalues, TimestampTz as_of, TimestampTz known_at)
{
	Gathered	gathered;
	int			n;

	GatherOfPerson(&gathered, member_id, label);
	n = Speak(gathered.list, gathered.n, label->kind, as_of, known_at);
	for (int i = 0; i < n; i++)
	{
		if (Holds(gathered.list[i], label) &&
			(nvalues == 0 || (gathered.list[i]->value != NULL && IsOneOf(gathered.list[i]->value, values, nvalues))))
			return true;
	}
	return false;
}

/* An instant as of which is asked; NULL: now */
static TimestampTz
AsOfArgument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? GetCurrentStatementStartTimestamp() : PG_GETARG_TIMESTAMPTZ(n);
}

/* An instant as known at which is asked; NULL: as known now */
static TimestampTz
KnownAtArgument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(n);
}

PG_FUNCTION_INFO_V1(loyalty_has_label);
/*
 * has_label(member_id bigint, label text, value text, as_of timestamptz,
 *			 known_at timestamptz) -> boolean
 *
 * value NULL: with whichever value.  Errors: LY701, LY003.
 */
Datum
loyalty_has_label(PG_FUNCTION_ARGS)
{
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	const Label *label;
	char	   *value = TextArgument(fcinfo, 2);
	bool		has;

	RequireArgument(fcinfo, 1, "label");
	label = RequireLabel(TextArgument(fcinfo, 1));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	has = HasLabel(member_id, label, &value, value != NULL, AsOfArgument(fcinfo, 3), KnownAtArgument(fcinfo, 4));
	SPI_finish();
	PG_RETURN_BOOL(has);
}

static int
CompareLabels(const void *p, const void *q)
{
	return strcmp((*(Assertion *const *) p)->label, (*(Assertion *const *) q)->label);
}

PG_FUNCTION_INFO_V1(loyalty_labels);
/*
 * labels(member_id bigint, as_of timestamptz, known_at timestamptz, OUT label
 *		  text, OUT value text, OUT confidence numeric, OUT source text, OUT
 *		  valid_from timestamptz, OUT valid_until timestamptz) SETOF
 *
 * A row for each assertion that speaks, whatever its confidence; a flag has
 * value true or false.  Error: LY003.
 */
Datum
loyalty_labels(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	TimestampTz as_of = AsOfArgument(fcinfo, 1);
	TimestampTz known_at = KnownAtArgument(fcinfo, 2);
	Gathered	gathered;

	InitReturnSet(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	GatherOfPerson(&gathered, member_id, NULL);
	qsort(gathered.list, gathered.n, sizeof(Assertion *), CompareLabels);
	for (int i = 0, end; i < gathered.n; i = end)
	{
		const Label *label = RequireLabel(gathered.list[i]->label);
		int			n;

		for (end = i; end < gathered.n && strcmp(gathered.list[end]->label, label->name) == 0; end++)
			;
		n = Speak(gathered.list + i, end - i, label->kind, as_of, known_at);
		for (int k = i; k < i + n; k++)
		{
			const Assertion *a = gathered.list[k];
			Datum		row[6];
			bool		nulls[6] = {false};

			PutText(row, nulls, 0, a->label);
			PutText(row, nulls, 1, a->value != NULL ? a->value : a->says == SAYS_YES ? "true" : "false");
			row[2] = MicrosToNumeric(a->confidence, 0);
			PutText(row, nulls, 3, a->source);
			row[4] = TimestampTzGetDatum(a->valid_from);
			row[5] = TimestampTzGetDatum(a->valid_until);
			nulls[5] = a->valid_until == TIMESTAMP_INFINITY;
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row, nulls);
		}
	}
	SPI_finish();
	return (Datum) 0;
}

#define HOLDERS_AT_ONCE	1000

/* Writes who of one person's values hold. */
static void
PutHolder(ReturnSetInfo *rsinfo, int64 person, Gathered *gathered, const Label *label, TimestampTz as_of, TimestampTz known_at)
{
	int			n = Speak(ListAssertions(gathered), gathered->n, label->kind, as_of, known_at);

	for (int i = 0; i < n; i++)
	{
		const Assertion *a = gathered->list[i];
		Datum		row[4];
		bool		nulls[4] = {false};

		if (!Holds(a, label))
			continue;
		row[0] = Int64GetDatum(person);
		PutText(row, nulls, 1, a->value);
		row[2] = MicrosToNumeric(a->confidence, 0);
		PutText(row, nulls, 3, a->source);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row, nulls);
	}
}

PG_FUNCTION_INFO_V1(loyalty_label_holders);
/*
 * label_holders(label text, as_of timestamptz, known_at timestamptz, from_id
 *				 bigint, to_id bigint, OUT member_id bigint, OUT value text,
 *				 OUT confidence numeric, OUT source text) SETOF
 *
 * Who has a label, by those who stand for others, of the members from one to
 * another (NULL: of all).  Errors: LY701, LY003.
 */
Datum
loyalty_label_holders(PG_FUNCTION_ARGS)
{
	/* those who were absorbed come with whoever stands for them */
	static const char *const query =
		"SELECT " ASSERTION_LIST ", m.person FROM ("
		"SELECT x.member_id AS person, x.* FROM loyalty.member_label x "
		"WHERE x.label OPERATOR(pg_catalog.=) $1 AND x.member_id OPERATOR(pg_catalog.>=) $2 AND x.member_id OPERATOR(pg_catalog.<=) $3 "
		"AND NOT EXISTS (SELECT FROM loyalty.member_alias a WHERE a.member_id OPERATOR(pg_catalog.=) x.member_id) "
		"UNION ALL SELECT a.canonical_id, x.* FROM loyalty.member_alias a "
		"JOIN loyalty.member_label x ON x.member_id OPERATOR(pg_catalog.=) a.member_id AND x.label OPERATOR(pg_catalog.=) $1 "
		"WHERE a.canonical_id OPERATOR(pg_catalog.>=) $2 AND a.canonical_id OPERATOR(pg_catalog.<=) $3) m ORDER BY m.person";
	static Oid	argtypes[3] = {TEXTOID, INT8OID, INT8OID};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz as_of = AsOfArgument(fcinfo, 1);
	TimestampTz known_at = KnownAtArgument(fcinfo, 2);
	int64		person = 0;
	Gathered	gathered = {0};
	MemoryContext context;
	MemoryContext old;
	const Label *label;
	Datum		values[3];
	SPIPlanPtr	plan;
	Portal		portal;

	RequireArgument(fcinfo, 0, "label");
	label = RequireLabel(TextArgument(fcinfo, 0));
	InitReturnSet(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	values[0] = PG_GETARG_DATUM(0);
	values[1] = Int64GetDatum(PG_ARGISNULL(3) ? PG_INT64_MIN : PG_GETARG_INT64(3));
	values[2] = Int64GetDatum(PG_ARGISNULL(4) ? PG_INT64_MAX : PG_GETARG_INT64(4));
	plan = SPI_prepare(query, lengthof(argtypes), argtypes);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, values, NULL, true);
	context = AllocSetContextCreate(CurrentMemoryContext, "loyalty holders of a label", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, HOLDERS_AT_ONCE);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			HeapTuple	row = SPI_tuptable->vals[i];
			Datum		columns_read[ASSERTION_NCOLUMNS];
			bool		nulls[ASSERTION_NCOLUMNS];
			bool		isnull;
			int64		next = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, ASSERTION_NCOLUMNS + 1, &isnull));

			CHECK_FOR_INTERRUPTS();
			old = MemoryContextSwitchTo(context);
			if (gathered.n > 0 && next != person)
			{
				PutHolder(rsinfo, person, &gathered, label, as_of, known_at);
				MemoryContextReset(context);
				memset(&gathered, 0, sizeof(gathered));
			}
			person = next;
			ReadSpiRow(row, SPI_tuptable->tupdesc, columns_read, nulls);
			ReadAssertion(columns_read, nulls, label, AddAssertion(&gathered));
			MemoryContextSwitchTo(old);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	if (gathered.n > 0)
		PutHolder(rsinfo, person, &gathered, label, as_of, known_at);
	SPI_cursor_close(portal);
	SPI_finish();
	return (Datum) 0;
}
