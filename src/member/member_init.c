/*
 * member_init.c
 *		What room member sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"
#include "member/member.h"

ROOM_INIT(Member)
{
	ExpectLayout("member", 1);
	AliasInit();
	ResolveInit();
}
