/*
 * member_set_library.c
 *		Loads the library CRoaring.  See member_set_library.h.
 */
#include "postgres.h"

#include <dlfcn.h>

#include "audience/member_set_library.h"
#include "core/compat.h"

#ifndef RTLD_DEEPBIND
#define RTLD_DEEPBIND 0
#endif

pg_noreturn static void
RefuseLibrary(const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 errmsg("could not load the library CRoaring"),
			 errdetail("%s", why),
			 errhint("Install %s, on Debian libroaring0 or what libroaring-dev needs.", ROARING_LIBRARY)));
}

/*
 * The functions of the library.  Error: 58P01 where it cannot be loaded.
 */
const Library *
RequireLibrary(void)
{
	static const char *const names[] = {
#define FUNCTION(name) "roaring_bitmap_" #name,
		LIBRARY_FUNCTIONS(FUNCTION)
#undef FUNCTION
	};
	static Library library;
	static bool is_loaded = false;
	void	   *handle;

	if (is_loaded)
		return &library;
	/* its names are seen by nobody else, and it sees its own first */
	handle = dlopen(ROARING_LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
	if (handle == NULL)
		RefuseLibrary(dlerror());
	for (int i = 0; i < (int) lengthof(names); i++)
	{
		void	   *function = dlsym(handle, names[i]);

		if (function == NULL)
			RefuseLibrary(psprintf("It has no function %s.", names[i]));
		memcpy((char *) &library + i * sizeof(void *), &function, sizeof(void *));
	}
	is_loaded = true;
	return &library;
}
