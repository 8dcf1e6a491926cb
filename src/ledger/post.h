/*
 * post.h
 *		Posting: one entry into one wallet and the ledger.
 */
#ifndef LOYALTY_POST_H
#define LOYALTY_POST_H

#include "postgres.h"

#include "storage/lockdefs.h"

#include "core/core.h"
#include "ledger/chain.h"
#include "ledger/currency.h"
#include "ledger/ledger.h"
#include "ledger/replay.h"

#define FINGERPRINT_LENGTH	16

/* An index has to carry it. */
#define MAX_KEY_LENGTH		2000

/* How far a caller's clock may run ahead of the server's. */
#define CLOCK_SKEW_ALLOWED	USECS_PER_MINUTE

/* How a posting ended. */
typedef enum PostingOutcome
{
	POSTING_OPEN,				/* not yet */
	POSTING_POSTED,
	POSTING_REPLAYED,			/* its key was used: the result is the earlier one's */
	POSTING_NOTHING,			/* an expire that has nothing to book; a row's
								 * posting of which nobody can tell whether it
								 * was made */
	POSTING_REFUSED				/* see refusal; the caller sees an error */
} PostingOutcome;

typedef struct PostingResult
{
	PostingOutcome outcome;
	FoldRefusal refusal;
	int64		entry_id;
	int64		available;
} PostingResult;

typedef struct Posting
{
	/* What is asked for.  Texts are NULL where absent. */
	int64		member_id;		/* whose wallet; changes to the canonical member
								 * of asked_id */
	int64		asked_id;		/* the member that the caller addressed */
	int64		asked_points;	/* entry.requested as asked for: applying the
								 * entry may settle it */
	bool		this_wallet;	/* not to be routed elsewhere */
	bool		together;		/* with others, by RunRestartable() */
	bool		is_move;		/* part of a merge, or of undoing one */
	bool		in_parts;		/* a merge was undone before its wallet was
								 * locked: it is in parts by now */
	bool		part;			/* of an act on lots of several members: prepared
								 * by ledger_parts.c */
	int64	   *taken_ids;		/* whose wallets a call that posts to several has
								 * taken for all parts, ascending; NULL: none */
	int			ntaken;
	struct PostingBatch *batch; /* with which its row goes into the ledger;
								 * NULL: by itself */
	bool		of_row;			/* the key names a row of somebody's table: one
								 * that was used is no error, whatever for */
	Currency	currency;
	Entry		entry;			/* kind, requested, target and instants */
	bool		effective_now;	/* effective_at is the instant of recording */
	bool		available_given;	/* otherwise available_at is effective_at */
	bool		expires_given;	/* otherwise expires_at is by the policy */
	int64		counterparty_id;
	char	   *reference;
	char	   *reason;
	Datum		details;		/* jsonb, or 0 */
	char	   *idempotency_key;

	PostingResult result;
	CommandId	command;		/* of what is posted: that put it into the
								 * ledger */
	bool		plain;			/* see PostedEntry, as these two */
	int64		collected;
	struct varlena *tiers;

	/* Working space */
	MemoryContext context;
	bool		has_kin;		/* entries of merged members count */
	int64		target_member_id;	/* in whose wallet the target is recorded */
	bool		target_expiry_given;	/* of the lot that it opened */
	bool		target_is_activity; /* it extended the lots */
	ActivityLog *log;			/* activities of the wallet, where they count */
	const LotList *target_taken;	/* target_lots as recorded there */
	int64		undone_id;		/* of a target that is a reversal: its target */
	int64		hold_id;		/* of a target that is a capture: its hold */
	Balance		before;
	struct varlena *stored;		/* the wallet's balance before, as stored */
	LedgerRow	row;
	char		fingerprint[VARHDRSZ + FINGERPRINT_LENGTH];
	char		hash[VARHDRSZ + CHAIN_LENGTH];
	char		salt[VARHDRSZ + SALT_LENGTH];
} Posting;

/* Postings into one wallet, to be stored at once. */
#define MAX_RUN		256

typedef struct PostingRun
{
	Posting    *postings[MAX_RUN];
	int			n;
	int			at;				/* the one that is at work, or was refused */
} PostingRun;

/* Postings that are settled, and whose rows are not in the ledger yet */
typedef struct PostingBatch
{
	Posting    *postings[2 * MAX_RUN];	/* up to MAX_RUN, then one more run */
	int			n;
	Posting   **storing;		/* those whose rows are put in just now, or NULL */
	int			nstoring;
	int			at;				/* the one of them that is at work; nstoring: all */
} PostingBatch;

/* An entry that is in the ledger, as rooms on our right are told of it. */
typedef struct PostedEntry
{
	int64		member_id;		/* in whose wallet */
	const char *currency;
	EntryKind	kind;
	int64		requested;
	TimestampTz effective_at;
	TimestampTz available_at;	/* -infinity: none is stored */
	int64		target_entry_id;	/* 0: none */
	int64		entry_id;
	CommandId	command;		/* of this transaction, which put it there */
	bool		plain;			/* by table access, so that no trigger has
								 * seen it; only then what follows is known */
	int64		collected;		/* lifetime points of the wallet after it:
								 * earned, and adjusted up */
	struct varlena *tiers;		/* what is noted on the wallet; NULL: nothing.
								 * Who is told and notes something else says
								 * so here */
} PostedEntry;

/*
 * What a room registers that has to know of entries.  wants() says whether
 * those in a currency concern it; where nobody wants them a posting does no
 * more.  expected(), which may be NULL, is called before the wallet of an entry
 * to come is locked, for what comes before it: wallets in currencies before this
 * one.  posted() is called once for each entry, in their order, when its row
 * can be seen, in the posting's own subtransaction and as the owner of the
 * tables.  It may take locks on the member's own state rows, and refuse the
 * posting by an error.  Of a backfill it is called when all of a member's
 * entries are there, and all of its wallets locked.
 */
typedef struct EntryListener
{
	bool		(*wants) (const char *currency);
	void		(*expected) (int64 member_id, const char *currency);
	void		(*posted) (PostedEntry *entry);
} EntryListener;

extern void InitPosting(Posting *posting, EntryKind kind, int64 member_id);
extern void SetAvailability(Posting *posting, const Datum *available_at, bool pending);
extern bool ConcernsActivity(const Posting *posting);
extern void LoadActivities(const Posting *posting, ActivityLog *log);
extern void CheckPosting(const Posting *posting);
extern void RefuseFuture(const Entry *entry, TimestampTz now);
extern bool FindReplay(Posting *posting);
extern void PreparePosting(Posting *posting);
extern PostingOutcome SettleUnderLock(Posting *posting, bool has_kin, bool keys_erased, Balance *balance);
extern void SealTexts(Posting *posting);
extern bool KeysAreErased(int64 member_id, const char *code);
extern bool SettledByKey(Posting *posting, bool keys_erased);
pg_noreturn extern void RefuseErasedKeys(const Posting *posting);
extern bool UpdateWallet(Posting *posting);
extern void UndoWallet(Posting *posting);
extern bool InsertEntry(Posting *posting);
extern bool OpenWallet(const Posting *posting);
extern PostingOutcome RecordEntry(Posting *posting, Balance *balance, TimestampTz now);
pg_noreturn extern void RaisePostingRefusal(const Posting *posting);

/* posted.c: word of it */
extern void OnEntryPosted(const EntryListener *listener);
extern bool AnyoneWants(const char *currency);
extern void ExpectEntry(int64 member_id, const char *currency);
extern void DescribePosted(const Posting *posting, PostedEntry *entry);
extern void TellOfEntry(PostedEntry *entry);
extern void TellOfPosting(Posting *posting);

/* entry_id.c */
extern int64 DrawEntryId(int64 last_entry_id);
extern int64 LastDrawnEntryId(void);
extern const int64 *HorizonsArgument(FunctionCallInfo fcinfo, int n);
extern bool IsSettled(const int64 *horizons, int64 entry_id);

/* post_plain.c: into plain tables */
extern bool StorePlainly(PostingRun *run, bool *found);
extern void FlushBatch(PostingBatch *batch);

/* post_wallet.c: to whichever wallet it is */
extern bool RoutePosting(Posting *posting);
extern bool LockWallet(int64 member_id, const char *currency);
extern void TakeWallet(Posting *posting);
extern bool PostToWallet(Posting *posting);
extern bool MayFollow(const PostingRun *run, const Posting *posting);
extern bool PostRunToWallet(PostingRun *run);

/* post_target.c: the entry that a posting refers to */
extern void FindTarget(Posting *posting, int64 entry_id);
extern int64 ReversedOfTarget(const Posting *posting);
extern void FindReversals(Posting *posting);
extern bool HoldIsClosed(const Posting *posting);
extern int64 HomeOfLot(const Posting *posting, const Lot *lot);
extern int	FindOtherCaptures(const Posting *posting, Posting **others);
extern bool MayHaveParts(const Posting *posting);
extern bool HasParts(const Posting *posting);

/* ledger_route.c: where postings go whose members are merged */
extern void SendPosting(Posting *posting, int64 member_id);
extern void FindRoutes(int64 *member_ids, int n);
extern void LockMerges(LOCKMODE mode);
extern void PlaceTarget(Posting *posting);
extern bool ReadWallet(int64 member_id, const char *code, Balance *balance);
extern int64 MemberOfTarget(int64 asked_id, int64 entry_id);
extern bool MayReferTo(int64 asked_id, EntryKind kind, int64 home_id);

/* ledger_parts.c: postings, also of lots that are several members' now */
extern void PostEntry(Posting *posting);
extern void PostRun(PostingRun *run);
extern int	FindParticipants(Posting *posting, int64 **member_ids);

/* ledger_guard.c: our own statements pass the guards on our tables */
extern void RunGuarded(KeptPlan *kept, Datum *values, const char *nulls, Posting *posting);
extern int64 RunErasure(KeptPlan *kept, Datum *values);
extern int64 RunArchiving(const char *query, Datum member_ids, Datum before);
extern bool IsPermittedChange(int change);
extern void ExecuteGuarded(const char *query, int64 member_id, int guards);
extern Posting *CurrentPosting(void);

#endif							/* LOYALTY_POST_H */
