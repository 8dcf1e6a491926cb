/*
 * label.h
 *		What is said of members: labels and consent.
 *
 * Tables
 * ------
 *
 * label: what there is to say.  A flag is true or not; a single label has one
 * value (city); a set any number of them (likes); a number one number; consent
 * is one of its own, for channels and purposes.
 *
 * member_label: what was said, never changed.  An assertion is by a source, of a
 * label (with a value), valid from an instant on, perhaps until another, and
 * recorded at a third.  It says yes, no (of a flag, and of consent), or nothing
 * (a retraction).
 *
 * consent_purpose: what members are written to for, and what holds where they
 * said nothing.
 *
 * label_rule: labels that are found out from what members did: where they come
 * from, hours and weekdays that they prefer, whether they buy at a discount.
 *
 *
 * Which assertion speaks
 * ----------------------
 *
 * At an instant t, as known at k, each source speaks by its last recorded
 * assertion (by k; in the order of recorded_at, member_id, assertion_no) whose
 * validity covers t, however sure it was: a source that changes its mind
 * replaces itself, and what it replaced speaks again where the newer one's
 * validity ends.  Of the sources that then say something the first speaks: by
 * rank of the source, then confidence, then the later valid_from, then the
 * later recorded.  Of a set the rule holds for each value.
 *
 * A source has the rank that the label gives it by its name, or by what stands
 * before a colon (rule:regular has that of rule): self, operator, rule, model,
 * import, in this order, and then others.
 *
 * A retraction is of one source, from an instant on, and ends nothing that
 * others say.
 *
 *
 * Consent
 * -------
 *
 * Label "consent", value channel/purpose, * for all.  Sources have no rank: of
 * all acts that cover channel and purpose and lie at or before t, the one with
 * the latest valid_from stands; of equal ones the withdrawal, then the later
 * recorded.  So neither a model nor an import outranks a withdrawal.  A grant
 * whose valid_until has come is over.  Nothing said: the default of the purpose
 * for the channel.
 *
 *
 * Merging
 * -------
 *
 * Rows stay under the number that they were given, and are read as of whoever
 * stands for it; so there is nothing to undo.  Consent: what was said to one
 * number before it was one with another is that number's alone, and all numbers
 * that said something must agree; what was said since speaks for both.
 *
 *
 * Invariants: check_label()
 * -------------------------
 *
 * Every assertion fits its label; a retraction has no end; no contact was made
 * against what was known then.
 */
#ifndef LOYALTY_LABEL_H
#define LOYALTY_LABEL_H

#include "postgres.h"

#include "activity/activity.h"
#include "datatype/timestamp.h"

typedef enum LabelKind
{
	LABEL_FLAG,
	LABEL_SINGLE,
	LABEL_SET,
	LABEL_NUMBER,
	LABEL_CONSENT
} LabelKind;

typedef enum Says
{
	SAYS_YES,
	SAYS_NO,
	SAYS_NOTHING
} Says;

typedef struct Assertion
{
	int64		member_id;		/* under which number it was given */
	int64		number;
	const char *label;
	const char *value;			/* or NULL */
	Says		says;
	const char *source;
	int			rank;			/* of the source, for the label */
	Micros		confidence;
	TimestampTz valid_from;
	TimestampTz valid_until;	/* infinity: no end */
	TimestampTz recorded_at;
} Assertion;

typedef struct SourceRank
{
	const char *source;
	int			rank;
} SourceRank;

typedef struct Label
{
	const char *name;
	LabelKind	kind;
	Micros		at_least;		/* from which confidence on it holds */
	int			nranks;
	SourceRank *ranks;
} Label;

/* label_speak.c: plain computing */
extern int	Speak(Assertion **assertions, int n, LabelKind kind, TimestampTz as_of, TimestampTz known_at);
extern int	RankOfSource(const Label *label, const char *source);

/* label_cache.c */
extern const Label *FindLabel(const char *name);
extern const Label *RequireLabel(const char *name);

/* label_read.c */
extern bool HasLabel(int64 member_id, const Label *label, char **values, int nvalues, TimestampTz as_of, TimestampTz known_at);

/* label_condition.c */
extern void LabelConditionInit(void);

/* label_effect.c */
extern void LabelEffectInit(void);

#endif							/* LOYALTY_LABEL_H */
