/*
 * compat.h
 *		Every difference between the PostgreSQL versions we build for (14 to
 *		18) stands here, and nowhere else.
 */
#ifndef LOYALTY_COMPAT_H
#define LOYALTY_COMPAT_H

#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#if PG_VERSION_NUM < 140000
#error "loyalty needs PostgreSQL 14 or later"
#endif

/* 16 moved the varlena access macros out of postgres.h */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 14 cannot say why a hash failed */
#if PG_VERSION_NUM < 150000
#define pg_cryptohash_error(ctx)	"no reason known"
#endif

/* 17 moved the number of this backend's transaction */
#if PG_VERSION_NUM >= 170000
#define LOCAL_TRANSACTION_ID	(MyProc->vxid.lxid)
#else
#define LOCAL_TRANSACTION_ID	(MyProc->lxid)
#endif

/* 17 numbers backends as processes; small numbers either way */
#if PG_VERSION_NUM >= 170000
#define BACKEND_NUMBER	MyProcNumber
#else
#define BACKEND_NUMBER	MyBackendId
#endif

/*
 * A setting that is defined in this session, or NULL.  16 finds it by its name.
 */
#include "utils/guc_tables.h"
static inline struct config_generic *
FindSetting(const char *name)
{
#if PG_VERSION_NUM >= 160000
	struct config_generic *setting = find_option(name, false, true, ERROR);

	return setting != NULL && (setting->flags & GUC_CUSTOM_PLACEHOLDER) == 0 ? setting : NULL;
#else
	struct config_generic **settings = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
	{
		if (strcmp(settings[i]->name, name) == 0)
			return (settings[i]->flags & GUC_CUSTOM_PLACEHOLDER) == 0 ? settings[i] : NULL;
	}
	return NULL;
#endif
}

/*
 * Whether this transaction has changed a setting: with its end it would be
 * changed back, or the change kept for the session.
 */
static inline bool
ChangedInTransaction(const char *name)
{
	struct config_generic *setting = FindSetting(name);

	return setting != NULL && setting->stack != NULL;
}

/* 17 gave the infinite timestamps function-like names of their own */
#ifndef TIMESTAMP_INFINITY
#define TIMESTAMP_INFINITY	PG_INT64_MAX
#define TIMESTAMP_MINUS_INFINITY PG_INT64_MIN
#endif

/* 16 asks for rights on objects of all kinds by one function */
#if PG_VERSION_NUM >= 160000
#define NamespaceAclCheck(schema, role, mode) object_aclcheck(NamespaceRelationId, schema, role, mode)
#else
#define NamespaceAclCheck(schema, role, mode) pg_namespace_aclcheck(schema, role, mode)
#endif

/* 18 marks functions that do not return in front, as C11 does */
#if PG_VERSION_NUM < 180000
#define pg_noreturn __attribute__((noreturn))
#endif

/* 16 brought soft errors: an input function may return instead of throwing */
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#define LY_ESCONTEXT(fcinfo)	((fcinfo)->context)
#define LY_INPUT_CALL(function, text, escontext, result) \
	DirectInputFunctionCallSafe(function, text, InvalidOid, -1, escontext, result)
#else
#define LY_ESCONTEXT(fcinfo)	NULL
#define LY_INPUT_CALL(function, text, escontext, result) \
	(*(result) = DirectFunctionCall1(function, CStringGetDatum(text)), true)
#define ereturn(escontext, dummy, ...) \
	do { \
		(void) (escontext); \
		ereport(ERROR, __VA_ARGS__); \
		return dummy; \
	} while (0)
#endif

/*
 * Starts a set-returning function that materializes its rows: afterwards
 * rsinfo->setResult and setDesc are ready.  Their columns are those that the
 * caller expects, which spares looking up what the function returns.  15.0 to
 * 15.1 and 16 differ in the name of the function behind it, 14 has none.
 */
#if PG_VERSION_NUM >= 160000
#define InitReturnSet(fcinfo)	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC)
#elif PG_VERSION_NUM >= 150000
#define InitReturnSet(fcinfo)	SetSingleFuncCall(fcinfo, SRF_SINGLE_USE_EXPECTED)
#else
static inline void
InitReturnSet(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		!(rsinfo->allowedModes & SFRM_Materialize) || rsinfo->expectedDesc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	rsinfo->setDesc = CreateTupleDescCopy(rsinfo->expectedDesc);
	rsinfo->setResult = tuplestore_begin_heap(true, false, work_mem);
	rsinfo->returnMode = SFRM_Materialize;
	MemoryContextSwitchTo(old);
}
#endif

/* 18 brought columns that are computed whenever they are read */
#if PG_VERSION_NUM >= 180000
#include "rewrite/rewriteHandler.h"
#define ColumnIsVirtual(att)	((att)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
#define ExpandVirtualColumns(node, rel)	expand_generated_columns_in_expr(node, rel, 1)
#else
#define ColumnIsVirtual(att)	false
#define ExpandVirtualColumns(node, rel)	(node)
#endif

/* 17 lets an index clean up after insertions, 18 counts what scans do */
#if PG_VERSION_NUM >= 170000
#define IndexInsertCleanup(index, info) index_insert_cleanup(index, info)
#else
#define IndexInsertCleanup(index, info) ((void) 0)
#endif
#if PG_VERSION_NUM >= 180000
#define BeginIndexScan(heap, index, snapshot, nkeys) index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#define HasGeneratedColumns(constr) ((constr)->has_generated_stored || (constr)->has_generated_virtual)
#else
#define BeginIndexScan(heap, index, snapshot, nkeys) index_beginscan(heap, index, snapshot, nkeys, 0)
#define HasGeneratedColumns(constr) ((constr)->has_generated_stored)
#endif

/* 16 knows more of the indexes that an update concerns than whether */
#if PG_VERSION_NUM >= 160000
#define UpdatedIndexes		TU_UpdateIndexes
#define NO_INDEX_UPDATED	TU_None
#define OnlySummarizingIndexes(updated) ((updated) == TU_Summarizing)
#define IndexSummarizes(info)	((info)->ii_Summarizing)
#else
#define UpdatedIndexes		bool
#define NO_INDEX_UPDATED	false
#define OnlySummarizingIndexes(updated) false
#define IndexSummarizes(info)	true
#endif

/* Asks the processor to fetch memory that is soon to be read, or written. */
#ifdef __GNUC__
#define PrefetchMemory(address)	__builtin_prefetch(address)
#define PrefetchForWrite(address)	__builtin_prefetch(address, 1)
#else
#define PrefetchMemory(address)	((void) (address))
#define PrefetchForWrite(address)	((void) (address))
#endif

/* Whether the search_path is the one that a plan was made with. */
#if PG_VERSION_NUM >= 170000
#define SearchPathIsStill(path)	SearchPathMatchesCurrentEnvironment(path)
#else
#define SearchPathIsStill(path)	OverrideSearchPathMatchesCurrent(path)
#endif

/* whether this session holds a lock of just this mode */
#if PG_VERSION_NUM >= 170000
#define HoldsLock(tag, mode) LockHeldByMe(tag, mode, false)
#else
#define HoldsLock(tag, mode) LockHeldByMe(tag, mode)
#endif

/*
 * What a table is read with: the rights that are asked of whoever reads, and
 * columns.  16 keeps them beside the entries of the range table, by the table's
 * name, so that they stay when the entry becomes a subquery.
 */
#if PG_VERSION_NUM >= 160000
#define PassRights(from, to)			((void) (from), (void) (to))
#define PassRightsOfColumn(from, column, to, number) ((void) (from), (void) (to))
#define DropRights(rte)					((rte)->relkind = RELKIND_VIEW)
#else
#define PassRights(from, to) \
	((to)->requiredPerms = (from)->requiredPerms, (to)->checkAsUser = (from)->checkAsUser)
#define PassRightsOfColumn(from, column, to, number) \
	do { \
		if (bms_is_member((column) - FirstLowInvalidHeapAttributeNumber, (from)->selectedCols)) \
			(to)->selectedCols = bms_add_member((to)->selectedCols, (number) - FirstLowInvalidHeapAttributeNumber); \
	} while (0)
#define DropRights(rte) \
	((rte)->relid = InvalidOid, (rte)->relkind = 0, (rte)->rellockmode = 0, (rte)->requiredPerms = 0, (rte)->selectedCols = NULL)
#endif

/* what a setting keeps beside its value: 16 has memory of its own for it */
#if PG_VERSION_NUM >= 160000
#define SETTING_ALLOC(size) guc_malloc(LOG, size)
#define SETTING_FREE(memory) guc_free(memory)
#else
#define SETTING_ALLOC(size) malloc(size)
#define SETTING_FREE(memory) free(memory)
#endif

#endif							/* LOYALTY_COMPAT_H */
