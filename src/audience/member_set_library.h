/*
 * member_set_library.h
 *		The library CRoaring, for this room alone.
 *
 * It is loaded at its first use, and not linked.  PostgreSQL loads extensions
 * into one scope of names, and up to version 15 they export all of theirs: with
 * another one that has a CRoaring of its own, such as pg_roaringbitmap, functions
 * of the one would work on what those of the other made, and crash.
 */
#ifndef LOYALTY_MEMBER_SET_LIBRARY_H
#define LOYALTY_MEMBER_SET_LIBRARY_H

#include <roaring/roaring.h>

#define LIBRARY_FUNCTIONS(X) \
	X(create_with_capacity) \
	X(free) \
	X(add_many) \
	X(and_inplace) \
	X(or_inplace) \
	X(xor_inplace) \
	X(andnot_inplace) \
	X(is_empty) \
	X(remove_run_compression) \
	X(portable_size_in_bytes) \
	X(portable_serialize) \
	X(portable_deserialize_size) \
	X(portable_deserialize_safe)

typedef struct Library
{
#define FUNCTION(name) __typeof__(&roaring_bitmap_##name) name;
	LIBRARY_FUNCTIONS(FUNCTION)
#undef FUNCTION
} Library;

extern const Library *RequireLibrary(void);

#endif							/* LOYALTY_MEMBER_SET_LIBRARY_H */
