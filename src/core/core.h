/*
 * core.h
 *		What every room may use: kept plans, the write guard, settings of the
 *		program, the check of triggers, the rooms' Init functions.
 */
#ifndef LOYALTY_CORE_H
#define LOYALTY_CORE_H

#include "core/compat.h"

#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "common/int.h"
#include "executor/spi.h"
#include "nodes/primnodes.h"
#include "storage/lock.h"
#include "pgtime.h"

/*
 * A statement that is planned once per backend and kept.  Declare it static,
 * filled in by hand; RunPlan() does the rest.
 */
#define KEPT_PLAN_MAX_ARGS	32

typedef struct KeptPlan
{
	const char *query;
	int			nargs;
	Oid			argtypes[KEPT_PLAN_MAX_ARGS];
	SPIPlanPtr	plan;			/* NULL until first used */
	bool		generic;		/* planned without the parameters' values */
} KeptPlan;

extern int	RunPlan(KeptPlan *kept, Datum *values, const char *nulls, long limit);
extern int	RunPlanReadOnly(KeptPlan *kept, Datum *values, const char *nulls, long limit);
extern int	RunPlanOnCommitted(KeptPlan *kept, Datum *values);
extern void PushLatestSnapshot(void);
extern void RethrowRefusal(MemoryContext context);

/* Which values are NULL, as SPI wants to be told. */
static inline const char *
NullFlags(const bool *isnull, int n, char *nulls)
{
	for (int i = 0; i < n; i++)
		nulls[i] = isnull[i] ? 'n' : ' ';
	return nulls;
}

/* Calls that run again from their beginning: see restart.c */
pg_noreturn extern void RestartCall(const char *why);
extern void RunRestartable(void (*run) (void *), void *call);

/* The call whose statement is running: see running.c. */
typedef struct Running
{
	const char *kind;			/* its address says of what kind the call is */
	void	   *call;			/* for the functions in its statement, or NULL */
	int			permits;		/* guards that the statement may pass: one for
								 * each table and kind of change */
	int			trigger_depth;
	struct Running *outer;
} Running;

extern void RunWhileNoted(Running *running, void (*run) (void *), void *arg);
extern void RunPlanOf(Running *running, KeptPlan *kept, Datum *values, const char *nulls);
extern void *RunningCall(const char *kind);
extern bool TakePermit(void);

/* The table layout: what a room expects, and the guard before each write. */
extern void ExpectLayout(const char *room, int32 version);
extern void RequireWritable(void);
extern Oid	RequireTables(void);

/* The program's tables by name, and word of their changes: see tables.c. */
typedef void (*TableChangeCallback) (Oid relid);

extern Oid	LoyaltyTable(const char *name);
extern Relation OpenLoyaltyTable(const char *name, LOCKMODE mode);
extern LOCKTAG NamedLock(const char *table, int64 member_id, const char *name);
extern void OnTableChange(TableChangeCallback callback);

/*
 * What a session keeps of small tables of settings, until one of them changes.
 * Declare it static, filled in by hand; KnowSettings() does the rest.
 */
#define SETTINGS_MAX_TABLES 3

typedef struct Settings
{
	const char *tables[SETTINGS_MAX_TABLES];	/* where the first is, all are */
	void		(*read) (void); /* reads all of them anew */
	bool		known;
	uint64		nchanges;
	Oid			relids[SETTINGS_MAX_TABLES];
	struct Settings *next;		/* of those that were ever asked for */
	bool		listed;
} Settings;

extern bool KnowSettings(Settings *settings);

/* Tables spread over several machines: see spread.c. */
extern bool TablesAreSpread(void);
extern bool IsCoordinator(void);
extern void DrawOnEachMachine(const char *sequence);
extern void RequirePreparedMachine(void);
extern bool IsOfMember(Oid function);
extern void RequireSpreadSettings(void);
struct PlannerInfo;
extern Node *KeepCallHere(struct PlannerInfo *root, FuncExpr *call);
extern void SendWhoActs(const char *name);
extern bool SeesPart(void);
extern const char *OverEntries(const char *query);
extern void RequireHere(int64 member_id, const char *name);
extern void RethrowUnplanned(MemoryContext context, const char *name);
extern bool IsForOneMember(void);
extern int64 ElementNumber(int i);

/* Who may write, and as whom: see rights.c. */
typedef enum Right
{
	RIGHT_POST,					/* post points, resolve members */
	RIGHT_CONSUME,				/* poll and consume events and notices */
	RIGHT_OPERATE,				/* adjust, merge, grant, forget, run jobs */
	RIGHT_CORRECT,				/* reverse entries, link identifiers: either of
								 * the two before */
	RIGHT_DEFINE				/* define currencies, ladders and the like */
} Right;

extern bool RunElsewhere(FunctionCallInfo fcinfo, Right right, Datum *result);

typedef struct Actor
{
	Oid			userid;
	int			sec_context;
} Actor;

extern void RequireOwner(void);
extern void ActAsOwner(Actor *before, Oid role, Right right);
extern void ActForTable(Actor *before, Relation rel);
extern void ActAsBefore(const Actor *before);
extern Oid	ChangeCaller(Oid role);
extern void RequireOfCaller(Right right);
extern void RequireOwnTriggers(Oid owner);
extern const char *OtherTriggerMaker(const HeapTupleData *class, Oid owner, bool *is_public);
extern void RequireOwner(void);

/*
 * An act that somebody does by hand.  Where it is done the room says so, in
 * its transaction, once it is done; room access keeps who did it, and refuses
 * it where another has to agree: see act.c.
 */
typedef struct Act
{
	const char *name;			/* of the function, such as adjust */
	int64		member_id;		/* whose thing is concerned; 0: nobody's */
	int64		object_id;		/* the entry, merge, grant or identifier; 0: none */
	const char *currency;		/* of points; NULL: it has no amount */
	int64		points;
	const char *subject;		/* what else it is about, such as a currency; or
								 * NULL */
} Act;

extern void KeepAct(const Act *act);
extern const char *NamedActor(void);
extern void (*KeepActHook) (const Act *act);

/* The row of loyalty.program: what holds for the whole program. */
typedef struct Program
{
	char		time_zone[TZ_STRLEN_MAX + 1];	/* of whatever names none of its own */
	bool		known_members_only; /* nobody else has a wallet */
} Program;

extern const Program *GetProgram(void);

/* sha256.c */
#define SHA256_LENGTH	32

extern void Sha256(const void *bytes, Size length, uint8 hash[SHA256_LENGTH]);

/* How a trigger function may be fired: the mask of RequireTrigger(). */
#define FIRED_BEFORE			0x01
#define FIRED_AFTER				0x02
#define FIRED_FOR_ROW			0x04
#define FIRED_FOR_STATEMENT		0x08
#define FIRED_BY_INSERT			0x10
#define FIRED_BY_UPDATE			0x20
#define FIRED_BY_DELETE			0x40
#define FIRED_BY_TRUNCATE		0x80

extern TriggerData *RequireTrigger(FunctionCallInfo fcinfo, const char *name, int allowed);
extern Oid	TopmostTable(Relation rel);
extern bool RowIsOurs(Relation rel, HeapTuple tuple);
extern TupleTableSlot *LatestRow(Relation rel, HeapTuple tuple, TupleTableSlot *slot);
extern AttrNumber FindAttribute(TupleDesc tupdesc, const char *name, AttrNumber *known);

/* argument.c */
extern void RequireArgument(FunctionCallInfo fcinfo, int n, const char *name);
extern int	CompareInstants(const void *a, const void *b);
extern int64 MemberArgument(FunctionCallInfo fcinfo, int n, const char *name);
extern char *TextArgument(FunctionCallInfo fcinfo, int n);
extern bool TextsArgument(FunctionCallInfo fcinfo, int n, const char *what, const char ***texts, int *ntexts);
extern void PutText(Datum *values, bool *nulls, int column, const char *text);
extern char *TimestampText(TimestampTz t);
extern TupleDesc ResultType(TupleDesc *kept, FunctionCallInfo fcinfo);

/* Whether two texts are the same, or both NULL. */
static inline bool
SameString(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* The context of an aggregate's state; refuses a call outside an aggregate. */
extern MemoryContext AggregateContext(FunctionCallInfo fcinfo);

/* Refuses a sum of counts that no bigint holds; for AddCounts(). */
pg_noreturn extern void CountsOverflow(void);

/* The sum of two counts, such as those of two summaries. */
static inline int64
AddCounts(int64 a, int64 b)
{
	int64		sum;

	if (unlikely(pg_add_s64_overflow(a, b, &sum)))
		CountsOverflow();
	return sum;
}

/* Parts of CoreInit(). */
extern void TablesInit(void);
extern void LayoutInit(void);
extern void BehindInit(void);
extern void OwnTriggersInit(void);
extern void SpreadPlaceInit(void);
extern void SpreadPartInit(void);

/*
 * What a room sets up once per session, in its file <room>_init.c; called by
 * _PG_init():
 *
 *		ROOM_INIT(Ledger)
 *		{
 *			ExpectLayout("ledger", 1);
 *		}
 */
#define ROOM_INIT(room) \
	extern void room##Init(void); \
	void room##Init(void)

#endif							/* LOYALTY_CORE_H */
