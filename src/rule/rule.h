/*
 * rule.h
 *		What the files of room rule share.
 */
#ifndef LOYALTY_RULE_H
#define LOYALTY_RULE_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "rule/decide.h"

/* rule_evaluate.c */
extern Campaign **ParseCampaigns(const Jsonb *definitions, int *n);

#endif							/* LOYALTY_RULE_H */
