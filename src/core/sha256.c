/*
 * sha256.c
 *		SHA-256 of short strings.
 *
 * PostgreSQL's pg_cryptohash sets up and tears down OpenSSL's machinery with
 * each hash, which costs several times the hash of a few hundred bytes.  Where
 * PostgreSQL was built with OpenSSL and its headers are there, the context of
 * one hash is kept for the next.  It belongs to this file for the life of the
 * session, and each hash begins it anew, so an error leaves nothing behind.
 */
#include "postgres.h"

#ifdef HAVE_LIBCRYPTO
#include <openssl/evp.h>
#else
#include "common/cryptohash.h"
#endif

#include "core/compat.h"
#include "core/core.h"

#ifdef HAVE_LIBCRYPTO

/*
 * The SHA-256 of length bytes.
 */
void
Sha256(const void *bytes, Size length, uint8 hash[SHA256_LENGTH])
{
	static EVP_MD_CTX *ctx = NULL;

	if (ctx == NULL)
	{
		EVP_MD_CTX *made = EVP_MD_CTX_new();

		if (made == NULL || !EVP_DigestInit_ex(made, EVP_sha256(), NULL))
		{
			EVP_MD_CTX_free(made);
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("could not set up SHA-256")));
		}
		ctx = made;
	}
	/* without a name of the digest: the same as before */
	if (!EVP_DigestInit_ex(ctx, NULL, NULL) || !EVP_DigestUpdate(ctx, bytes, length) ||
		!EVP_DigestFinal_ex(ctx, hash, NULL))
		elog(ERROR, "could not compute SHA-256");
}

#else

void
Sha256(const void *bytes, Size length, uint8 hash[SHA256_LENGTH])
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	if (pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, bytes, length) < 0 ||
		pg_cryptohash_final(ctx, hash, SHA256_LENGTH) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
	pg_cryptohash_free(ctx);
}

#endif
