/*
 * json.c
 *		Values of a jsonb object by keys that are known beforehand.
 */
#include "postgres.h"

#include "core/json.h"

/* The value at a place of a container, whose bytes begin there. */
static void
TakeValue(JsonbContainer *container, int i, char *bytes, uint32 offset, JsonbValue *value)
{
	JEntry		entry = container->children[i];

	if (JBE_ISSTRING(entry))
	{
		value->type = jbvString;
		value->val.string.val = bytes + offset;
		value->val.string.len = getJsonbLength(container, i);
	}
	else if (JBE_ISNUMERIC(entry))
	{
		value->type = jbvNumeric;
		value->val.numeric = (Numeric) (bytes + INTALIGN(offset));
	}
	else if (JBE_ISBOOL(entry))
	{
		value->type = jbvBool;
		value->val.boolean = JBE_ISBOOL_TRUE(entry);
	}
	else if (JBE_ISCONTAINER(entry))
	{
		value->type = jbvBinary;
		value->val.binary.data = (JsonbContainer *) (bytes + INTALIGN(offset));
		value->val.binary.len = getJsonbLength(container, i) - (INTALIGN(offset) - offset);
	}
}

/*
 * values[i] becomes the value of keys[i]; jbvNull where the object has none, or
 * null.
 */
void
FindJsonKeys(JsonbContainer *object, const JsonKey *keys, int n, JsonbValue *values)
{
	int			npairs = JsonContainerSize(object);
	char	   *bytes = (char *) &object->children[2 * npairs];
	uint32		key_offset = 0;
	uint32		value_offset = 0;

	for (int i = 0; i < n; i++)
		values[i].type = jbvNull;
	/* values begin behind the last key */
	for (int pair = 0; pair < npairs; pair++)
		JBE_ADVANCE_OFFSET(value_offset, object->children[pair]);
	for (int pair = 0; pair < npairs; pair++)
	{
		const char *key = bytes + key_offset;
		uint32		begin = key_offset;

		JBE_ADVANCE_OFFSET(key_offset, object->children[pair]);
		for (int i = 0; i < n; i++)
		{
			if ((uint32) keys[i].length == key_offset - begin && memcmp(keys[i].key, key, keys[i].length) == 0)
			{
				TakeValue(object, npairs + pair, bytes, value_offset, &values[i]);
				break;
			}
		}
		JBE_ADVANCE_OFFSET(value_offset, object->children[npairs + pair]);
	}
}
