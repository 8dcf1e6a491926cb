/*
 * json.h
 *		Values of a jsonb object by keys that are known beforehand, all in one go.
 */
#ifndef LOYALTY_JSON_H
#define LOYALTY_JSON_H

#include "postgres.h"

#include "utils/jsonb.h"

typedef struct JsonKey
{
	const char *key;
	int			length;
} JsonKey;

#define JSON_KEY(key)	{key, sizeof(key) - 1}

extern void FindJsonKeys(JsonbContainer *object, const JsonKey *keys, int n, JsonbValue *values);

#endif							/* LOYALTY_JSON_H */
