/*
 * member_phone.h
 *		Numbering plans of telephones, as make_phone_plans.pl writes them.
 *
 * Sets of numbers are kept as one automaton: from a state, each digit leads to
 * another, and a number is in the set if the last state accepts.
 */
#ifndef LOYALTY_MEMBER_PHONE_H
#define LOYALTY_MEMBER_PHONE_H

#include "postgres.h"

typedef struct PhonePlan
{
	char		country[3];		/* ISO 3166-1 alpha-2; "" without country */
	int16		code;			/* country calling code */
	bool		trunk_written;	/* at home, the trunk prefix is always written */
	uint16		numbers;		/* state that accepts national significant numbers */
	uint16		trunk;			/* rules that undo what is written at home only */
	uint16		n_trunk;
	uint16		abroad;			/* rules that take off a prefix for calls abroad */
	uint16		n_abroad;
} PhonePlan;

/*
 * A way of writing a number.  "drop" digits in front give way to those of
 * "insert"; if "skip" is not 0, as many go after the "keep" digits that follow.
 */
typedef struct PhoneRule
{
	uint16		applies;		/* state that accepts numbers written so */
	uint8		drop;
	uint8		keep;
	uint8		skip;
	char		insert[5];
} PhoneRule;

extern const PhonePlan phone_plans[];
extern const PhoneRule phone_rules[];
extern const int16 phone_plan_of_country[26 * 26];
extern const int16 phone_plan_of_code[1000];
extern const int phone_first_accepting;
extern const uint16 phone_states[][10];

#endif							/* LOYALTY_MEMBER_PHONE_H */
