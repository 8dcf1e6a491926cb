/*
 * post_together.h
 *		Postings that other rooms make as parts of a larger call.
 */
#ifndef LOYALTY_POST_TOGETHER_H
#define LOYALTY_POST_TOGETHER_H

#include "ledger/post.h"

extern void PostTogether(Posting *posting);

#endif							/* LOYALTY_POST_TOGETHER_H */
