/*
 * rule_init.c
 *		What room rule sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"
#include "rule/rule.h"

ROOM_INIT(Rule)
{
	ExpectLayout("rule", 1);
	RuleEffectsInit();
	RuleListenerInit();
	RuleStateInit();
}
