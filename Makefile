# loyalty: a membership and points engine inside PostgreSQL
#
#   make                 build the extension
#   make install         install it for the PostgreSQL that PG_CONFIG names
#   make demo            see it work on a private, throw-away cluster
#   make test            run every test on a private, throw-away cluster
#   make bench           measure it against hand-written SQL
#
# The rooms, in install order.  A room uses only rooms to its left.
ROOMS = core rfm

# src/<room>/<room>.sql of every room, in order, make the install script.
HERE := $(patsubst %/,%,$(dir $(firstword $(MAKEFILE_LIST))))

comma := ,
empty :=
space := $(empty) $(empty)

EXTENSION = loyalty
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(HERE)/loyalty.control)
MODULE_big = loyalty
OBJS = $(patsubst $(HERE)/%.c,%.o,$(foreach room,$(ROOMS),$(sort $(wildcard $(HERE)/src/$(room)/*.c))))
DATA_built = loyalty--$(EXTVERSION).sql
ROOM_SQL = $(foreach room,$(ROOMS),$(HERE)/src/$(room)/$(room).sql)

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

# Our headers are src/<room>/<room>.h, included as "core/errors.h".  The
# server's headers count as system headers: warnings in them are not ours.
PG_CPPFLAGS = -I$(HERE)/src -isystem $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)
PG_CFLAGS = -Wall -Wextra -MMD -MP
ifdef WERROR
PG_CFLAGS += -Werror
endif
SHLIB_LINK = -lm

ifneq ($(wildcard $(PGXS)),)

# Bitcode serves only the inlining of tiny functions by JIT; ours are not.
override with_llvm = no
include $(PGXS)
override with_llvm = no

# A VPATH build has no src/<room> folders of its own yet.
$(OBJS): | $(sort $(dir $(OBJS)))
$(sort $(dir $(OBJS))):
	mkdir -p $@

# PGXS knows no header dependencies: the compiler writes them beside each object.
-include $(OBJS:.o=.d)
EXTRA_CLEAN += $(OBJS:.o=.d)

$(DATA_built): $(ROOM_SQL) $(HERE)/loyalty.control $(HERE)/Makefile
	( echo '\echo Use "CREATE EXTENSION loyalty" to load this file. \quit'; \
	  cat $(ROOM_SQL); \
	  echo; \
	  echo 'CREATE FUNCTION rooms() RETURNS text[]'; \
	  echo 'LANGUAGE sql IMMUTABLE PARALLEL SAFE'; \
	  echo "RETURN '{$(subst $(space),$(comma),$(ROOMS))}'::text[];" ; \
	  echo "COMMENT ON FUNCTION rooms() IS 'The rooms of this extension, in install order.';" \
	) > $@.tmp
	mv $@.tmp $@

endif
