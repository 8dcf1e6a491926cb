/*
 * activity_happened.h
 *		Word of activities for whoever reads what happened.
 */
#ifndef LOYALTY_ACTIVITY_HAPPENED_H
#define LOYALTY_ACTIVITY_HAPPENED_H

#include "activity/activity.h"

extern void ActivityHappened(const char *kind, const ActivityChange *change);

#endif							/* LOYALTY_ACTIVITY_HAPPENED_H */
