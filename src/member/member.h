/*
 * member.h
 *		Room member: one person, one member.
 *
 * Two layers.  Primitives work on anybody's tables and need no set-up:
 *
 *		components_agg, components_text_agg		connected components
 *		connected_components, expand_components	the same as rows
 *		normalize_identifier					one spelling of an identifier
 *
 * The program stands on tables made by setup().  Its design:
 *
 *
 * The present is a function of the merges that stand
 * --------------------------------------------------
 *
 * Everything that can move in a merge has a home: the member to whom it first
 * came.  A home never changes.  An identifier's home is the member it was
 * linked to; a lot's home is the member of the entry that opened it, as the
 * caller addressed it; an attribute's home is the member for whom it was given.
 *
 * A merge that stands is an edge from the member absorbed to its survivor.
 * Only a member that is not absorbed can be absorbed, and only into one that
 * is not absorbed itself (either argument may name any member of its tree, the
 * act is on the canonical ones), so these edges are a forest.  The words:
 *
 *		canonical	the member at the root of a tree, who stands for all in it
 *		tree		a member and all who are absorbed in it, at any depth
 *		kin			all with whom a member was ever merged, undone or not
 *		survivor	the member that one merge was into, canonical or not by now
 *
 * A thing is with the canonical member of its home.
 *
 * So a merge adds an edge and moves what the absorbed tree brings to the
 * survivor; an unmerge takes an edge away, whichever it is and in whatever
 * order, and moves what has its home in the absorbed tree back to it.  No
 * merge needs to be undone before another, merge and unmerge are inverse when
 * nothing happened in between, and the state can be recomputed from the
 * history, which is what check_member() does.  Members' ids never change; no
 * row of another room is rewritten.
 *
 *
 * Tables (layout 1)
 * -----------------
 *
 * member: member_id bigint identity, primary key; public_id uuid, unique;
 *		status ('active', 'absorbed', 'forgotten', 'no_person'); joined_at, joined_via;
 *		attributes jsonb, of a canonical member by the rules of survivorship.
 *
 * member_alias: member_id (primary key), canonical_id, merge_id.  One row for
 *		each absorbed member, always naming the canonical member: depth one, however
 *		many merges.  A merge updates the rows of the absorbed tree.  It is
 *		small, which canonical_member() lives on.
 *
 * identifier: identifier_id bigint identity; namespace, value (normalized);
 *		home_member_id, member_id (its canonical member); verified, channel, first_seen,
 *		last_seen; exclusive, copied from the namespace.  Primary key
 *		(member_id, identifier_id) as every key of a member's table; unique
 *		index (namespace, value) where exclusive, which is the arbiter between
 *		sessions; for shared values, and for members who came with a value of
 *		another (shared_above), unique (namespace, value, home).  claimed: see
 *		"Proof" below.
 *
 * identifier_namespace: namespace (primary key); kind ('phone', 'email',
 *		'opaque'), default_country, provider_rules, fold_case: how values are
 *		normalized; priority (smallest first); max_per_member; shared (such a
 *		value is known of several members, finds none and merges none);
 *		shared_above (so does a claim of one with which more members came, and
 *		what is verified when more than that verified it);
 *		merge_unverified; personal.  Cached per session, told to forget by
 *		forget_cached().
 *
 * blocked_identifier: namespace, value (primary key), reason.  Blocked values
 *		are ignored by resolve_member and refused by link_identifier.
 *
 * attribute_rule: attribute (primary key, '*' for the others), rule ('recent',
 *		'non_null', 'frequent', 'priority', 'first'), channels text[] for
 *		'priority'.
 *
 * member_fact: home_member_id, attribute, value jsonb, channel, given_at,
 *		last_given_at, times, recorded_at: every attribute as it was given; what
 *		a channel repeats is one row that counts.  The attributes of a member
 *		are the rule applied to the facts of its whole tree, so that an unmerge
 *		recomputes them and restores nothing by hand.
 *
 * member_merge: merge_id bigint identity; survivor_id, absorbed_id (the edge,
 *		both canonical then); asked_survivor_id, asked_absorbed_id (as called); cause
 *		('identifier', 'operator'), identifier_ids and what they were worth,
 *		reason; recorded_at, unmerged_at, unmerge_reason.  Unique index on
 *		absorbed_id where unmerged_at is null: a forest.
 *
 * member_merge_item: merge_id, room, kind, item jsonb: what moved, there and
 *		back; written by each room's functions and read by preview and report.
 *
 * member_act: act_id, member_id, act ('created', 'linked', 'unlinked',
 *		'merged', 'unmerged', 'attributes', 'forgotten'), identifier_id,
 *		merge_id, reason, recorded_at.  Append-only.  It names identifiers by
 *		number, never by value: forgetting has nothing to erase in it.
 *
 * merge_handler: how things of other rooms are merged; see below.
 *
 * Idempotency keys are core's (table request); a resolve, which addresses no
 * member, is keyed by member_id 0.
 *
 *
 * Functions
 * ---------
 *
 * resolve_member(identifiers jsonb, channel, attributes, on_conflict,
 *		effective_at, idempotency_key) -> member_id, outcome, why jsonb,
 *		merge_id, home_member_id, replayed.  identifiers is [{"namespace",
 *		"value", "verified", "country"}, ...] or {"email": "a@b.c", ...}.
 *		Steps 1 and 2 are in member_resolve.c, the others in
 *		resolve_member_fully().
 *
 *		1. Normalize; drop blocked, shared and garbage values, and say so.
 *		2. Look all of them up at once, without locks.  One member, nothing new
 *		   and no attribute: done; that is the fast path, and it writes only
 *		   when last_seen is older than a day.
 *		3. Otherwise lock the members found, ascending by id, look up again,
 *		   and go on until locked and found are the same.
 *		4. None: insert the member, then its exclusive identifiers ascending by
 *		   (namespace, value), in a subtransaction.  Where another session was
 *		   faster the statement waits for it and fails as a duplicate, the
 *		   subtransaction is undone before anybody saw the new member, and
 *		   back to 2.  Since all insert in one order, nobody waits in a circle.
 *		5. Several: they may be joined when each is proven and no namespace
 *		   would exceed max_per_member.  on_conflict: 'merge' joins into the
 *		   member found by the highest priority, then the oldest; 'first'
 *		   answers who is proven, then that member, and joins nothing; 'refuse'
 *		   answers none.  Where the rules forbid joining, outcome is conflict
 *		   with the reason, as a row and not as an error.
 *
 *		Numbers of new members are drawn from a sequence, past any under which
 *		something stands already.
 *
 * link_identifier(member_id, namespace, value, ..., move), unlink_identifier(...):
 *		one identifier, same rules; a value of another member is LY204.
 * merge_members(survivor_id, absorbed_id, reason, idempotency_key) -> merge_id,
 *		moved jsonb.
 * unmerge_members(merge_id, earned_since, reason, idempotency_key) -> member_id,
 *		moved jsonb, replayed.  Both are of the instant at which they are
 *		recorded, as the points that they move: dated back, a merge would have to
 *		rewrite what both wallets did in between.  earned_since says whose points
 *		are that came since: 'home' of the member that the posting addressed (the
 *		default), 'survivor' all stay where they are, 'identifier' of the member
 *		at home whose identifier the posting names.
 * preview_merge(survivor_id, absorbed_id): the same rows; nothing written.
 * canonical_member(member_id): STABLE, C.  The first calls of a query look
 *		the alias up in its index; after some of them the aliases of the
 *		query's snapshot are read once into a hash table, if they fit in
 *		work_mem, so that a join over millions of rows costs a probe each.
 * why_merged(a, b): the path between both in the forest, then for each edge
 *		the identifiers it stands on; the weakest (unverified before verified,
 *		then the lowest priority, then an operator's reason) is marked.
 * member_history(member_id), member_of(namespace, value), forget_member(...).
 *
 *
 * Proof
 * -----
 *
 * verified says that the person in front of us has shown, now, that a value is
 * his.  A member is owned when something of it was verified (or has a namespace
 * with merge_unverified, whose values prove themselves).  A value is claimed
 * when it was attached by a call that proved nothing of the member.
 *
 *	given			stands as			member			then
 *	not verified	anything			any				finds it, proves nothing
 *	verified		verified			any				proves it
 *	verified		not, not claimed	not owned		proves it, is verified
 *	verified		not, or claimed		proven else		is verified there
 *	verified		not, not claimed	owned			contested: moves to whoever
 *														gave it, a new member if
 *														nobody else is proven
 *	verified		claimed				any				contested, likewise
 *
 * merge_unverified: as if verified before and now, unless claimed.  What nobody
 * has is attached
 *
 *	given			member found by		then
 *	any				a proof, or new		it is linked
 *	verified		claims only			conflict; with 'first' somebody new
 *	self-proving	claims only			likewise if the member is owned, otherwise
 *										linked as claimed
 *	not verified	claims only			linked as claimed
 *
 * What is verified and one too many of its namespace is a conflict, unless
 * what is not verified there can give way; a claim too many is left out.
 * link_identifier() speaks for its caller, who knows the member: it links
 * without a claim, takes over what is contested, and moves what was verified
 * elsewhere only when told to.
 *
 *
 * Points
 * ------
 *
 * The ledger does the moving (ledger_move.c).  Each lot, and each part of a
 * debt, carries its home in the wallet's balance; a wallet's own is 0.  A merge
 * posts transfer_out and transfer_in for each wallet of the absorbed member with
 * all its lots, in whatever state, each keeping lot_id, origin, instants, hold
 * and home; debt moves the other way, as points sent that are not there, and is
 * repaid by what is available, for good.  Expired lots move too: a return of
 * what expired must find its lot.  An unmerge posts the same two kinds for what has
 * its home in the absorbed tree.  Points move at the instant of recording.
 *
 * A posting that addresses an absorbed member goes to the canonical member's wallet, and
 * its entry names the member addressed (home_id), the home of the lot that it
 * opens.  So a caller who posts to resolve_member()'s home_member_id need not
 * know of merges at all.  Entries are found through whoever is one with their
 * home now; the parts of a hold go where their lots go.  Spent points are not
 * reconstructed: whoever's lot was consumed first bore it, as the consumption
 * order said when it happened; what is given back goes to the homes of the lots
 * it came from, wherever they are by then (ledger_parts.c).
 *
 * A person's idempotency keys count together while its members are one: the
 * same call through another id is a replay.  Once they are two again, a key is
 * that of the member whom the call addressed; its entry stays where it was
 * recorded, and the other cannot use it there (LY004).
 *
 *
 * Other rooms
 * -----------
 *
 * register_merge_handler() names a room's tables with a column member_id and
 * its functions: merge(merge_id, survivor_id, absorbed_id), unmerge(merge_id,
 * canonical_id, member_id, tree bigint[]), preview(survivor_id, absorbed_id),
 * forget(member_ids bigint[]).  A table in schema loyalty that has a column
 * member_id and that no room has registered is a violation in check_member().
 *
 *
 * Locks
 * -----
 *
 * Every writer takes: its idempotency key, then member rows ascending by
 * member_id, then identifiers ascending by (namespace, value), then wallets:
 * those marked as moved first, live ones ascending by (member_id, currency).
 * One that joins several members takes the wallets of all of them before the
 * first merge.  Who finds that others are canonical by the time their
 * rows are locked gives all of them back and begins anew: his locks are those
 * of a subtransaction that is rolled back, and of none within it, since those
 * who wait for a subtransaction that has ended wait for the whole transaction
 * from then on.
 *
 * A posting takes its wallet and no member row; it leaves out wallets marked as
 * moved, and then asks for the canonical member, locks that wallet, and asks
 * again under the lock.  So a redeem either comes before the merge and its
 * lots move, or after it and finds the canonical member's wallet.  A batch takes its wallets
 * in the same order as merges do, and begins anew when the order changes under
 * way (ledger_route.c).  A merge puts new rows in the place of the wallets that
 * it marks, so that who waited for the old ones holds nothing when going on.
 *
 *
 * Refusals (class LY2)
 * --------------------
 *
 * 01 invalid identifier; 02 no such member; 03 member forgotten; 04 identifier
 * belongs to another member; 05 identifier blocked; 06 too many identifiers of
 * a namespace; 07 members may not be joined; 08 merge already undone; 09 same
 * member; 10 unknown namespace; 11 merge not found; 12 identifier not found.
 *
 *
 * forget_member
 * -------------
 *
 * For all members of the tree: identifiers, member_fact rows and attributes,
 * results of idempotency keys and reasons are deleted; member rows stay as
 * 'forgotten' with their points, and merges of the tree can no longer be undone
 * (LY203).  Identifiers of namespaces that are not personal go as well: nothing
 * is left to match, so later identifiers of that person make a new member.
 *
 *
 * check_member()
 * --------------
 *
 * Every identifier is with the canonical member of its home; aliases are
 * exactly those that the standing merges give, depth one, no circle; no
 * exclusive value twice; every point and debt is with the canonical member of its home, and
 * wallets are marked accordingly; attributes are what the rules give; a
 * forgotten member has no personal data; every table takes part.
 */
#ifndef LOYALTY_MEMBER_H
#define LOYALTY_MEMBER_H

#include "member/member_graph.h"
#include "member/member_identifier.h"

/* member_alias.c */
extern bool NobodyWasMerged(void);
extern bool FindPlainNumbers(int64 member_id, int64 *canonical, Datum *numbers);
extern void AliasInit(void);

/* The state of components_agg; see core/state.h. */
extern const struct StateKind components_state;

#endif							/* LOYALTY_MEMBER_H */
