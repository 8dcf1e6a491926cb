/*
 * label_init.c
 *		What room label sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"
#include "core/happened.h"
#include "label/label.h"

static const char *const happenings[] = {"label_set", "label_retracted", "consent_given", "consent_withdrawn", NULL};

ROOM_INIT(Label)
{
	ExpectLayout("label", 1);
	DeclareHappenings(happenings);
	LabelConditionInit();
	LabelEffectInit();
}
