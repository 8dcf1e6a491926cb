/*
 * post_together.c
 *		Postings that other rooms make as parts of a larger call.
 */
#include "postgres.h"

#include "ledger/post_together.h"

/*
 * Posts into the wallet of the canonical member, and those of others whose its
 * lots are by now; within RunRestartable().
 */
void
PostTogether(Posting *posting)
{
	int64	   *others;
	int			n;

	posting->together = true;
	SendPosting(posting, CanonicalMember(posting->asked_id));
	if (posting->entry.kind != ENTRY_EARN)
	{
		n = FindParticipants(posting, &others);
		for (int i = 0; i < n; i++)
		{
			Posting		wallet;

			InitPosting(&wallet, ENTRY_EARN, others[i]);
			wallet.currency = posting->currency;
			wallet.together = true;
			TakeWallet(&wallet);
		}
	}
	PostEntry(posting);
}
