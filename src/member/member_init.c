/*
 * member_init.c
 *		What room member sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"
#include "core/happened.h"
#include "core/state.h"
#include "member/member.h"

ROOM_INIT(Member)
{
	static const char *const kinds[] = {"member_created", "members_merged", "merge_undone", "member_forgotten", NULL};

	ExpectLayout("member", 1);
	DeclareHappenings(kinds);
	AliasInit();
	RegisterState(&components_state);
}
