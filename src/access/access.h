/*
 * access.h
 *		Who may do what, and who did it: see access.sql.
 */
#ifndef LOYALTY_ACCESS_H
#define LOYALTY_ACCESS_H

extern void ActInit(void);

#endif							/* LOYALTY_ACCESS_H */
