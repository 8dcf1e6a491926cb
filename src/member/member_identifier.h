/*
 * member_identifier.h
 *		Normal form of identifiers.
 */
#ifndef LOYALTY_MEMBER_IDENTIFIER_H
#define LOYALTY_MEMBER_IDENTIFIER_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

typedef enum IdentifierKind
{
	IDENTIFIER_OPAQUE,
	IDENTIFIER_PHONE,
	IDENTIFIER_EMAIL
} IdentifierKind;

#define MAX_IDENTIFIER_BYTES	1024	/* of a result, in UTF-8 */
#define MAX_RAW_BYTES			4096
#define MAX_PHONE_DIGITS		32
#define PHONE_RESULT_SIZE		(MAX_PHONE_DIGITS + 16)

extern uint32 FoldCharacter(uint32 c);
extern bool IsPhoneCountry(const char *country);
extern const char *NormalizePhone(const char *text, const char *country, char *result);
extern void EncodePunycode(const pg_wchar *label, int n, StringInfo result);
extern int	DecodePunycode(const pg_wchar *code, int n, pg_wchar *label);
extern IdentifierKind KindOfNamespace(const char *name);
extern const char *NormalizeIdentifier(IdentifierKind kind, const char *raw, int rawlen,
									   const char *country, bool provider_rules, bool fold_case,
									   StringInfo result);

#endif							/* LOYALTY_MEMBER_IDENTIFIER_H */
