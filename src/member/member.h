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
 * act is on the roots), so these edges are a forest, and the root of a
 * member's tree is its canonical member.  A thing is with the root of its home.
 *
 * So a merge adds an edge and moves what its subtree brings to the new root;
 * an unmerge takes an edge away, whichever it is and in whatever order, and
 * moves what has its home in the subtree back to the subtree's root.  No
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
 *		status ('active', 'absorbed', 'forgotten'); joined_at, joined_via;
 *		attributes jsonb, those of the root by the rules of survivorship.
 *
 * member_alias: member_id (primary key), canonical_id, merge_id.  One row for
 *		each absorbed member, always pointing at the root: depth one, however
 *		many merges.  A merge updates the rows of the absorbed tree.  It is
 *		small, which canonical_member() lives on.
 *
 * identifier: identifier_id bigint identity; namespace, value (normalized);
 *		home_member_id, member_id (its root); verified, channel, first_seen,
 *		last_seen; exclusive, copied from the namespace.  Primary key
 *		(member_id, identifier_id) as every key of a member's table; unique
 *		index (namespace, value) where exclusive, which is the arbiter between
 *		sessions; plain index (namespace, value) for shared values.
 *
 * identifier_namespace: namespace (primary key); kind ('phone', 'email',
 *		'opaque'), default_country, provider_rules, fold_case: how values are
 *		normalized; priority (smallest first); max_per_member; shared (such a
 *		value is known of several members, finds none and merges none);
 *		merge_unverified; personal.  Cached per session, told to forget by
 *		forget_cached().
 *
 * blocked_identifier: namespace, value (primary key), reason.  Blocked values
 *		are ignored by resolve_member and refused by link_identifier.
 *
 * attribute_rule: attribute (primary key, '*' for the others), rule ('recent',
 *		'frequent', 'priority', 'first_non_null'), channels text[] for
 *		'priority'.
 *
 * member_fact: home_member_id, attribute, value jsonb, channel, given_at,
 *		recorded_at: every attribute as it was given.  The attributes of a root
 *		are the rule applied to the facts of its whole tree, so that an unmerge
 *		recomputes them and restores nothing by hand.
 *
 * member_merge: merge_id bigint identity; survivor_id, absorbed_id (the roots,
 *		the edge); asked_survivor_id, asked_absorbed_id (as called); cause
 *		('identifier', 'operator'), identifier_id where one caused it, reason;
 *		effective_at, recorded_at, unmerged_at, unmerge_reason.  Unique index
 *		on absorbed_id where unmerged_at is null: a forest.
 *
 * member_merge_item: merge_id, room, kind, item jsonb: what moved, there and
 *		back; written by each room's functions and read by preview and report.
 *
 * member_act: act_id, member_id, act ('created', 'linked', 'unlinked',
 *		'merged', 'unmerged', 'attribute', 'forgotten'), identifier_id,
 *		merge_id, reason, recorded_at.  Append-only.  It names identifiers by
 *		number, never by value: forgetting has nothing to erase in it.
 *
 * member_request: member_id, idempotency_key, fingerprint, result: as in the
 *		ledger; a resolve without a member yet is keyed by member_id 0.
 *
 *
 * Functions
 * ---------
 *
 * resolve_member(identifiers jsonb, channel, attributes, on_conflict,
 *		effective_at, idempotency_key) -> member_id, outcome, why jsonb,
 *		merge_id, replayed.  identifiers is [{"namespace", "value",
 *		"verified"}, ...] or {"email": "a@b.c", ...}.
 *
 *		1. Normalize; drop blocked, shared and garbage values, and say so.
 *		2. Look all of them up at once, without locks.  One member, nothing new
 *		   and no attribute: done; that is the fast path, and it writes only
 *		   when last_seen is older than a day.
 *		3. Otherwise lock the members found, ascending by id, look up again,
 *		   and go on until locked and found are the same.
 *		4. None: insert the member, then its exclusive identifiers ascending by
 *		   (namespace, value) with ON CONFLICT DO NOTHING.  Where another
 *		   session was faster the statement waits for it, inserts nothing, and
 *		   the new member is deleted again before anybody saw it; back to 2.
 *		   Since all insert in one order, nobody waits in a circle.
 *		5. Several: they may be joined when each pair is linked by a value that
 *		   its namespace lets merge (exclusive, verified or merge_unverified)
 *		   and no namespace would exceed max_per_member.  on_conflict: 'merge'
 *		   joins into the member found by the highest priority, then the
 *		   oldest; 'first' answers that member and joins nothing; 'refuse'
 *		   answers none.  Where the rules forbid joining, outcome is conflict
 *		   with the reason, as a row and not as an error.
 *
 * link_identifier(member_id, namespace, value, ...), unlink_identifier(...):
 *		one identifier, same rules; a value of another member is LY204.
 * merge_members(survivor_id, absorbed_id, reason, effective_at,
 *		idempotency_key) -> merge_id, moved jsonb.
 * unmerge_members(merge_id, earned_since, reason, effective_at,
 *		idempotency_key) -> moved jsonb.  earned_since says whose points are
 *		that came since: 'home' of the member that the posting addressed (the
 *		default), 'survivor' all stay with the root, 'identifier' of the member
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
 * Points
 * ------
 *
 * A merge posts transfer_out and transfer_in for each wallet of the absorbed
 * root, lots keeping lot_id, origin, expiry and hold; holds are captured or
 * released afterwards under their own number, addressed to either member.  A
 * posting that addresses an absorbed member goes to the root's wallet and
 * records the member addressed: that is the new lot's home.  An unmerge posts
 * the same two kinds for the lots, or the parts that are left of them, whose
 * home is in the subtree.  Spent points are not reconstructed: whoever's lot
 * was consumed first bore it, as the consumption order said when it happened.
 * Debt goes with the entry that caused it, to the root of its home.
 *
 * Needed from the ledger: a transfer of chosen lots (lot_id, all holds with
 * them) in one posting, a transfer that carries debt without repaying it
 * first (else a merge would repay one's debt with the other's points, and an
 * unmerge could not be the inverse), and the member addressed in each entry.
 *
 *
 * Other rooms
 * -----------
 *
 * As setup_<room>() and check_<room>(), found by name for each room of rooms()
 * (never from stored text): merge_<room>(merge_id, survivor_id, absorbed_id),
 * unmerge_<room>(merge_id, root_id, subtree bigint[]), preview_merge_<room>,
 * forget_<room>(member_id).  A room whose setup made a table with a column
 * member_id, and which has no merge_<room>, is a violation in check_member().
 *
 *
 * Locks
 * -----
 *
 * Every writer takes: member rows ascending by member_id FOR UPDATE, then
 * identifiers ascending by (namespace, value), then wallets ascending by
 * (member_id, currency).  A posting takes its wallet first and no member row:
 * it reads the alias after it has locked the wallet, and starts again at the
 * root's wallet when a merge was faster.  Merges lock the wallets of both
 * sides before they write the alias.  So a redeem either comes before the
 * merge and its lots move, or after it and finds the root's wallet.
 *
 *
 * Refusals (class LY2; a code enters core/errors.h with its first use)
 * ---------------------------------------------------------------------
 *
 * 01 invalid identifier; 02 no such member; 03 member forgotten; 04 identifier
 * belongs to another member; 05 identifier blocked; 06 too many identifiers of
 * a namespace; 07 members may not be joined; 08 merge already undone; 09 same
 * member; 10 unknown namespace; 11 merge not found.
 *
 *
 * forget_member
 * -------------
 *
 * For all members of the tree: identifiers of personal namespaces, all
 * member_fact rows and attributes, idempotency results and merge items that
 * carry values are deleted; member rows stay as 'forgotten' with their points,
 * and merges of the tree can no longer be undone (LY203).  Nothing is left to
 * match, so later identifiers of that person make a new member.
 *
 *
 * check_member()
 * --------------
 *
 * Every identifier is with the root of its home, a live member; aliases are
 * exactly the roots that the standing merges give (components_agg over them
 * tells the trees); no exclusive value twice; no namespace beyond its limit;
 * every open lot is with the root of its home; attributes are what the rules
 * give; a forgotten member has no personal data; every room takes part.
 */
#ifndef LOYALTY_MEMBER_H
#define LOYALTY_MEMBER_H

#include "member/member_graph.h"
#include "member/member_identifier.h"

/* member_resolve.c */
extern void ResolveInit(void);

#endif							/* LOYALTY_MEMBER_H */
