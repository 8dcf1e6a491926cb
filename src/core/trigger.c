/*
 * trigger.c
 *		How a trigger function may be fired, of which table, and for which row.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "core/core.h"

/*
 * What a mask allows, as in CREATE TRIGGER: "AFTER UPDATE or DELETE FOR EACH ROW".
 */
static char *
DescribeFiring(int allowed)
{
	static const struct
	{
		int			flag;
		const char *name;
	}			changes[] = {
		{FIRED_BY_INSERT, "INSERT"},
		{FIRED_BY_UPDATE, "UPDATE"},
		{FIRED_BY_DELETE, "DELETE"},
		{FIRED_BY_TRUNCATE, "TRUNCATE"}
	};
	StringInfoData text;
	int			left = allowed & (FIRED_BY_INSERT | FIRED_BY_UPDATE | FIRED_BY_DELETE | FIRED_BY_TRUNCATE);
	const char *before = " ";

	initStringInfo(&text);
	appendStringInfoString(&text, allowed & FIRED_BEFORE ? "BEFORE" : "AFTER");
	for (int i = 0; i < (int) lengthof(changes); i++)
	{
		if (!(left & changes[i].flag))
			continue;
		left &= ~changes[i].flag;
		appendStringInfo(&text, "%s%s", before, changes[i].name);
		before = left & (left - 1) ? ", " : " or ";
	}
	if (!(allowed & FIRED_FOR_ROW) != !(allowed & FIRED_FOR_STATEMENT))
		appendStringInfoString(&text, allowed & FIRED_FOR_ROW ? " FOR EACH ROW" : " FOR EACH STATEMENT");
	return text.data;
}

/*
 * Checks the context of a trigger function, which is called as name: that it
 * was called as a trigger, and fired as the mask allows (FIRED_...: one of
 * BEFORE and AFTER, and whatever is allowed of changes and levels).
 */
TriggerData *
RequireTrigger(FunctionCallInfo fcinfo, const char *name, int allowed)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TriggerEvent event;
	int			fired;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager", name)));

	event = trigger->tg_event;
	fired = TRIGGER_FIRED_FOR_ROW(event) ? FIRED_FOR_ROW : FIRED_FOR_STATEMENT;
	if (TRIGGER_FIRED_BEFORE(event))
		fired |= FIRED_BEFORE;
	else if (TRIGGER_FIRED_AFTER(event))
		fired |= FIRED_AFTER;
	if (TRIGGER_FIRED_BY_INSERT(event))
		fired |= FIRED_BY_INSERT;
	else if (TRIGGER_FIRED_BY_UPDATE(event))
		fired |= FIRED_BY_UPDATE;
	else if (TRIGGER_FIRED_BY_DELETE(event))
		fired |= FIRED_BY_DELETE;
	else
		fired |= FIRED_BY_TRUNCATE;
	if ((fired & ~allowed) != 0 || !(fired & (FIRED_BEFORE | FIRED_AFTER)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired %s", name, DescribeFiring(allowed)),
				 errdetail("Trigger \"%s\" fires it otherwise.", trigger->tg_trigger->tgname)));
	return trigger;
}

/*
 * The table at the top of the partitions that a table is part of; itself
 * otherwise.
 */
Oid
TopmostTable(Relation rel)
{
	if (!rel->rd_rel->relispartition)
		return RelationGetRelid(rel);
	return llast_oid(get_partition_ancestors(RelationGetRelid(rel)));
}

/*
 * Whether our own transaction has changed or deleted this version of a row
 * since.
 */
static bool
IsSuperseded(HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;

	return !(header->t_infomask & HEAP_XMAX_INVALID) && !HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(header));
}

/*
 * Whether our own transaction made this version of a row.
 */
bool
RowIsOurs(Relation rel, HeapTuple tuple)
{
	return rel->rd_rel->relkind == RELKIND_RELATION &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
}

/*
 * A row as it stands by now, of which a trigger was told a version; NULL when it
 * is gone from its table.  Another slot than the given one is to be dropped.
 */
TupleTableSlot *
LatestRow(Relation rel, HeapTuple tuple, TupleTableSlot *slot)
{
	Snapshot	snapshot;
	TableScanDesc scan;
	ItemPointerData tid = tuple->t_self;
	TupleTableSlot *latest;
	bool		found;

	if (rel->rd_rel->relkind != RELKIND_RELATION || !IsSuperseded(tuple))
		return slot;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan_tid(rel, snapshot);
	table_tuple_get_latest_tid(scan, &tid);
	table_endscan(scan);
	latest = table_slot_create(rel, NULL);
	found = table_tuple_fetch_row_version(rel, &tid, snapshot, latest);
	if (found)
		ExecMaterializeSlot(latest);
	else
		ExecDropSingleTupleTableSlot(latest);
	UnregisterSnapshot(snapshot);
	return found ? latest : NULL;
}
