/*
 * event.h
 *		Room event: what happened, for whoever subscribed to it.
 *
 *		event				the outbox: what happened of kinds that somebody
 *							subscribed to, in the transaction in which it did
 *		event_consumer		who reads it, and how many workers share the work
 *		event_subscription	which kinds, since when
 *		event_position		how far each worker is
 *		notice_definition	what time brings that is to be told before it comes
 *		notice				what was told, to whom
 *
 * Ids of events and of ledger entries come from one sequence.  Whoever draws one
 * holds a lock on the table that the row goes into, until the transaction ends:
 * on wallet and ledger, or on event.  So read how far the sequence is, then wait
 * until all have ended who hold such a lock at that moment: every id up to there
 * is committed by then, or never will be.  A position is one number, and what is
 * read is in the order of ids.
 *
 * Whether a kind is heard of, a session knows by heart.  Who asks locks
 * event_subscription as a writer does, until the transaction ends; subscribe()
 * waits for all these, and whoever asks later has word of the change with the
 * lock.  So nothing is missed that happens after subscribe() is committed.
 */
#ifndef LOYALTY_EVENT_H
#define LOYALTY_EVENT_H

#include "postgres.h"

extern void EventHearerInit(void);

#endif							/* LOYALTY_EVENT_H */
