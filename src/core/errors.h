/*
 * errors.h
 *		All SQLSTATEs of the extension, by room.
 *
 * Refusals that are business answers ("not enough points") have class LY, so
 * that a driver can tell them from faults.  LY0xx is shared, LY1xx belongs to
 * the ledger, LY2xx to members, LY3xx to segmentation and value, LY4xx to
 * tiers, LY5xx to activities, LY65x to events.  No refusal has class 40 or
 * 55: REST layers answer 500 to them.
 *
 * The table in the README lists the same codes; a test compares the two.
 */
#ifndef LOYALTY_ERRORS_H
#define LOYALTY_ERRORS_H

#include "utils/elog.h"

/*
 * Class LX is for signals within the house: what has one is caught by us, and
 * is no answer to anybody.
 */
#define ERRCODE_RESTART_CALL			MAKE_SQLSTATE('L','X','0','0','1')

/* core */
#define ERRCODE_LY_NOT_SET_UP			MAKE_SQLSTATE('L','Y','0','0','1')
#define ERRCODE_LY_OUTDATED_LAYOUT		MAKE_SQLSTATE('L','Y','0','0','2')
#define ERRCODE_LY_INVALID_ARGUMENT		MAKE_SQLSTATE('L','Y','0','0','3')
#define ERRCODE_LY_IDEMPOTENCY_MISMATCH MAKE_SQLSTATE('L','Y','0','0','4')
#define ERRCODE_LY_APPEND_ONLY			MAKE_SQLSTATE('L','Y','0','0','5')
#define ERRCODE_LY_JOB_RUNNING			MAKE_SQLSTATE('L','Y','0','0','6')

/* access (LY020 to LY029) */
#define ERRCODE_LY_APPROVAL_NEEDED		MAKE_SQLSTATE('L','Y','0','2','0')
#define ERRCODE_LY_REQUEST_NOT_FOUND	MAKE_SQLSTATE('L','Y','0','2','1')
#define ERRCODE_LY_REQUEST_CLOSED		MAKE_SQLSTATE('L','Y','0','2','2')
#define ERRCODE_LY_SAME_PERSON			MAKE_SQLSTATE('L','Y','0','2','3')
#define ERRCODE_LY_ACTOR_NOT_NAMED		MAKE_SQLSTATE('L','Y','0','2','4')

/* ledger */
#define ERRCODE_LY_INSUFFICIENT_POINTS	MAKE_SQLSTATE('L','Y','1','0','1')
#define ERRCODE_LY_UNKNOWN_CURRENCY		MAKE_SQLSTATE('L','Y','1','0','2')
#define ERRCODE_LY_ENTRY_NOT_FOUND		MAKE_SQLSTATE('L','Y','1','0','3')
#define ERRCODE_LY_WRONG_KIND			MAKE_SQLSTATE('L','Y','1','0','4')
#define ERRCODE_LY_ALREADY_REVERSED		MAKE_SQLSTATE('L','Y','1','0','5')
#define ERRCODE_LY_HOLD_LAPSED			MAKE_SQLSTATE('L','Y','1','0','6')
#define ERRCODE_LY_HOLD_CLOSED			MAKE_SQLSTATE('L','Y','1','0','7')
#define ERRCODE_LY_ALREADY_ACTIVE		MAKE_SQLSTATE('L','Y','1','0','8')
#define ERRCODE_LY_POINTS_OVERFLOW		MAKE_SQLSTATE('L','Y','1','0','9')
#define ERRCODE_LY_AS_OF_TOO_EARLY		MAKE_SQLSTATE('L','Y','1','1','0')
#define ERRCODE_LY_CURRENCY_EXISTS		MAKE_SQLSTATE('L','Y','1','1','1')
#define ERRCODE_LY_SAME_WALLET			MAKE_SQLSTATE('L','Y','1','1','2')
#define ERRCODE_LY_INVALID_DIGEST		MAKE_SQLSTATE('L','Y','1','1','3')
#define ERRCODE_LY_LATER_REVERSAL		MAKE_SQLSTATE('L','Y','1','1','4')
#define ERRCODE_LY_KEYS_ERASED			MAKE_SQLSTATE('L','Y','1','1','5')

/* member */
#define ERRCODE_LY_INVALID_IDENTIFIER	MAKE_SQLSTATE('L','Y','2','0','1')
#define ERRCODE_LY_MEMBER_NOT_FOUND		MAKE_SQLSTATE('L','Y','2','0','2')
#define ERRCODE_LY_MEMBER_FORGOTTEN		MAKE_SQLSTATE('L','Y','2','0','3')
#define ERRCODE_LY_IDENTIFIER_TAKEN		MAKE_SQLSTATE('L','Y','2','0','4')
#define ERRCODE_LY_IDENTIFIER_BLOCKED	MAKE_SQLSTATE('L','Y','2','0','5')
#define ERRCODE_LY_TOO_MANY_IDENTIFIERS MAKE_SQLSTATE('L','Y','2','0','6')
#define ERRCODE_LY_MERGE_REFUSED		MAKE_SQLSTATE('L','Y','2','0','7')
#define ERRCODE_LY_ALREADY_UNMERGED		MAKE_SQLSTATE('L','Y','2','0','8')
#define ERRCODE_LY_SAME_MEMBER			MAKE_SQLSTATE('L','Y','2','0','9')
#define ERRCODE_LY_UNKNOWN_NAMESPACE	MAKE_SQLSTATE('L','Y','2','1','0')
#define ERRCODE_LY_MERGE_NOT_FOUND		MAKE_SQLSTATE('L','Y','2','1','1')
#define ERRCODE_LY_IDENTIFIER_NOT_FOUND MAKE_SQLSTATE('L','Y','2','1','2')

/* rfm (LY300 to LY319) */
#define ERRCODE_LY_RFM_AMOUNT			MAKE_SQLSTATE('L','Y','3','0','1')
#define ERRCODE_LY_RFM_INSTANT			MAKE_SQLSTATE('L','Y','3','0','2')
#define ERRCODE_LY_RFM_BREAKS			MAKE_SQLSTATE('L','Y','3','0','3')
#define ERRCODE_LY_UNKNOWN_SCHEME		MAKE_SQLSTATE('L','Y','3','0','4')
#define ERRCODE_LY_INVALID_SCHEME		MAKE_SQLSTATE('L','Y','3','0','5')
#define ERRCODE_LY_RFM_UNIT				MAKE_SQLSTATE('L','Y','3','0','6')

/* clv (LY320 to LY339) */
#define ERRCODE_LY_CLV_HOLDOUT			MAKE_SQLSTATE('L','Y','3','2','0')
#define ERRCODE_LY_CLV_NOT_FITTED		MAKE_SQLSTATE('L','Y','3','2','1')

/* cohort (LY340 to LY359) */
#define ERRCODE_LY_INVALID_PERIOD		MAKE_SQLSTATE('L','Y','3','4','0')
#define ERRCODE_LY_PERIOD_MISMATCH		MAKE_SQLSTATE('L','Y','3','4','1')
#define ERRCODE_LY_INFINITE_INSTANT		MAKE_SQLSTATE('L','Y','3','4','2')
#define ERRCODE_LY_AMOUNT_NOT_FINITE	MAKE_SQLSTATE('L','Y','3','4','3')
#define ERRCODE_LY_ARGUMENT_VARIES		MAKE_SQLSTATE('L','Y','3','4','4')
#define ERRCODE_LY_INVALID_FUNNEL		MAKE_SQLSTATE('L','Y','3','4','5')
#define ERRCODE_LY_INVALID_PATTERN		MAKE_SQLSTATE('L','Y','3','4','6')
#define ERRCODE_LY_INVALID_POLICY		MAKE_SQLSTATE('L','Y','3','4','7')
#define ERRCODE_LY_INVALID_COHORT_VALUE MAKE_SQLSTATE('L','Y','3','4','8')

/* tier */
#define ERRCODE_LY_INVALID_LADDER		MAKE_SQLSTATE('L','Y','4','0','1')
#define ERRCODE_LY_UNKNOWN_LADDER		MAKE_SQLSTATE('L','Y','4','0','2')
#define ERRCODE_LY_UNKNOWN_LEVEL		MAKE_SQLSTATE('L','Y','4','0','3')
#define ERRCODE_LY_UNKNOWN_MEASURE		MAKE_SQLSTATE('L','Y','4','0','4')
#define ERRCODE_LY_GRANT_NOT_FOUND		MAKE_SQLSTATE('L','Y','4','0','5')
#define ERRCODE_LY_GRANT_ENDED			MAKE_SQLSTATE('L','Y','4','0','6')
#define ERRCODE_LY_INVALID_FACTS		MAKE_SQLSTATE('L','Y','4','0','7')

/* activity (LY500 to LY519) */
#define ERRCODE_LY_UNKNOWN_ACTIVITY_KIND MAKE_SQLSTATE('L','Y','5','0','1')
#define ERRCODE_LY_ACTIVITY_NOT_FOUND	MAKE_SQLSTATE('L','Y','5','0','2')
#define ERRCODE_LY_LINE_NOT_FOUND		MAKE_SQLSTATE('L','Y','5','0','3')
#define ERRCODE_LY_RETURNED_TOO_MUCH	MAKE_SQLSTATE('L','Y','5','0','4')
#define ERRCODE_LY_INVALID_ACTIVITY		MAKE_SQLSTATE('L','Y','5','0','5')
#define ERRCODE_LY_EXTERNAL_ID_TAKEN	MAKE_SQLSTATE('L','Y','5','0','6')

/* event (LY650 to LY659) */
#define ERRCODE_LY_UNKNOWN_CONSUMER		MAKE_SQLSTATE('L','Y','6','5','1')
#define ERRCODE_LY_NOT_SETTLED			MAKE_SQLSTATE('L','Y','6','5','3')
#define ERRCODE_LY_UNKNOWN_NOTICE		MAKE_SQLSTATE('L','Y','6','5','4')

/* rule (LY520 to LY539) */
#define ERRCODE_LY_INVALID_CAMPAIGN		MAKE_SQLSTATE('L','Y','5','2','1')
#define ERRCODE_LY_UNKNOWN_CAMPAIGN		MAKE_SQLSTATE('L','Y','5','2','2')
#define ERRCODE_LY_VERSION_NOT_LATER	MAKE_SQLSTATE('L','Y','5','2','3')

#endif							/* LOYALTY_ERRORS_H */
