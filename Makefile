# loyalty: a membership and points engine inside PostgreSQL
#
#   make                 build the extension
#   make install         install it for the PostgreSQL that PG_CONFIG names
#   make demo            see it work on a private, throw-away cluster
#                        (DATA=file.csv.gz: on your own order lines)
#   make psql            open a session on the cluster of the demo
#   make dashboard       build a page of charts over a shop on that cluster
#                        (DATABASE='host=... dbname=...': over your own)
#   make test            run every test on a private, throw-away cluster
#                        (ONLY=pattern: those whose name matches)
#   make versions        the same on each of several servers, a line for each
#                        (PG_CONFIGS='/path/to/pg_config ...'; see test/versions.sh)
#   make soak            run the long tests, within two hours
#   make lint            let tools that look for faults read the C (DEEP=1: longer;
#                        see test/lint.sh)
#   make sanitize        run tests with the compiler's sanitizers (see test/sanitize.sh)
#   make mutants         change single lines at random and list what no test
#                        notices (ROOM=rfm N=300 SEED=1; see test/mutate.pl)
#   make bench           measure it against hand-written SQL
#   make installcheck    run the golden tests against a running server on which
#                        it is installed (PGHOST, PGPORT, PGUSER as for psql)
#   make freeze          keep what this version installs, when it is released
#   make dist            an archive of the last commit, for PGXN
#   make deb             Debian packages, built and tried in clean chroots
#                        (SUITE=trixie: of another release; see test/package.sh)
#   make clean           remove what was built, and the private clusters
#
# demo, dashboard, test, lint, soak, bench, deb, mutants and sanitize install through apt what they miss, and say so.
#
# Sets of members need the library CRoaring, with its headers (libroaring-dev).
#
# The rooms, in install order.  A room uses only rooms to its left.
ROOMS = core ledger member rfm tier clv cohort event activity label audience benefit engagement rule liability trial match bi access

# The install script is put together of the rooms' SQL, in that order: of each
# room first src/<room>/<room>.sql (types and primitives), then its other .sql
# files, sorted by name.
HERE := $(patsubst %/,%,$(dir $(firstword $(MAKEFILE_LIST))))

# To PGXS, DATA means files to install; to us, the orders of the demo.
export LOYALTY_ORDERS := $(DATA)
override DATA :=
# and DATABASE is where the dashboard reads
export LOYALTY_DATABASE := $(DATABASE)
export LOYALTY_CURRENCY := $(CURRENCY)

comma := ,
empty :=
space := $(empty) $(empty)

EXTENSION = loyalty
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(HERE)/loyalty.control)
# The library's file has the version in its name: databases that are not yet
# upgraded go on with theirs when a new package is installed beside it.
MODULE_big = loyalty-$(EXTVERSION)
OBJS = $(patsubst $(HERE)/%.c,%.o,$(foreach room,$(ROOMS),$(sort $(wildcard $(HERE)/src/$(room)/*.c))))
# Of each version that was released its install script is kept, and an update
# script from it to this one is made.
RELEASED = $(filter-out $(EXTVERSION),$(patsubst $(HERE)/upgrade/released/loyalty--%.sql,%,$(wildcard $(HERE)/upgrade/released/loyalty--*.sql)))
DATA_built = loyalty--$(EXTVERSION).sql $(patsubst %,loyalty--%--$(EXTVERSION).sql,$(RELEASED))
DOCS = README.md CONTRIBUTING.md LICENSE NOTICE CHANGELOG.md
# Pages and examples keep their folders, so that links between them lead somewhere.
PAGES = $(patsubst $(HERE)/%,%,$(wildcard $(addprefix $(HERE)/,doc/*.md doc/*.png examples/*.* dashboard/queries/*)))
# a folder of its own among the documents of extensions
override docmoduledir = loyalty
ROOM_SQL = $(foreach room,$(ROOMS),$(HERE)/src/$(room)/$(room).sql $(sort $(filter-out %/$(room).sql,$(wildcard $(HERE)/src/$(room)/*.sql))))

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

# Our headers are src/<room>/<room>.h, included as "core/errors.h".  The
# server's headers count as system headers: warnings in them are not ours.
PG_CPPFLAGS = -I$(HERE)/src -isystem $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)
PG_CFLAGS = -Wall -Wextra -MMD -MP -fno-semantic-interposition
ifdef WERROR
PG_CFLAGS += -Werror
endif
# SHA-256 by OpenSSL itself, where PostgreSQL has it and its headers are there.
LIBCRYPTO = $(if $(filter -lcrypto,$(LIBS)),$(shell echo '\#include <openssl/evp.h>' | $(CC) -E - >/dev/null 2>&1 && echo -lcrypto))
PG_CFLAGS += $(if $(LIBCRYPTO),-DHAVE_LIBCRYPTO)
SHLIB_LINK = -lm $(LIBCRYPTO) $(if $(filter linux,$(PORTNAME)),-Wl$(comma)-Bsymbolic-functions)
EXTRA_CLEAN = $(OBJS:.o=.d) .built-for tmp_check loyalty-$(EXTVERSION).zip $(addprefix $(HERE)/dashboard/,dist node_modules src/.observablehq) $(HERE)/examples/node_modules

ifneq ($(wildcard $(PGXS)),)

# Bitcode serves only the inlining of tiny functions by JIT; ours are not.
override with_llvm = no
include $(PGXS)
override with_llvm = no

# Built out of tree, only C is looked for among the sources: not the objects of
# a build that was made there.  (A PostgreSQL that was itself built in its own
# tree says nothing of VPATH.)
VPATH :=
vpath %.c $(HERE)

# Such a build has no src/<room> folders of its own yet.
FOLDERS = $(addprefix $(CURDIR)/,$(sort $(dir $(OBJS))))
$(OBJS): | $(FOLDERS)
$(FOLDERS):
	mkdir -p $@

# <Room>Init() of the rooms that have a file <room>_init.c, for _PG_init().
ROOM_INITS := $(shell echo $(foreach room,$(ROOMS),$(if $(wildcard $(HERE)/src/$(room)/$(room)_init.c),$(room))) | \
	awk '{ for (i = 1; i <= NF; i++) printf("INIT(%s%s) ", toupper(substr($$i, 1, 1)), substr($$i, 2)) }')
src/core/core_init.o: $(HERE)/Makefile
src/core/core_init.o: override CPPFLAGS += -D'ROOM_INITS=$(ROOM_INITS)'

# The library CRoaring is loaded at its first use, by this name.
ROARING_LIBRARY := $(or $(shell objdump -p "$$($(CC) -print-file-name=libroaring.so)" 2>/dev/null | awk '$$1 == "SONAME" { print $$2 }'),libroaring.so)
src/audience/member_set_library.o: override CPPFLAGS += -DROARING_LIBRARY='"$(ROARING_LIBRARY)"'

# Objects made for another PostgreSQL, or other rooms, are made anew.
BUILT_FOR = $(VERSION) $(CC) $(ROOM_INITS)
.built-for: FORCE
	@echo '#include <roaring/roaring.h>' | $(CC) $(CPPFLAGS) -E - >/dev/null 2>&1 || \
		{ echo 'The headers of the library CRoaring are not here: install libroaring-dev; make demo and make test do so.'; false; }
	@echo '$(BUILT_FOR)' | cmp -s - $@ || echo '$(BUILT_FOR)' > $@
$(OBJS): .built-for
FORCE:

# PGXS knows no header dependencies: the compiler writes them beside each object.
-include $(OBJS:.o=.d)

# Characters beyond ASCII stand in JSON only, and in comments: a script in ASCII
# can be run in a database of any encoding.
ESCAPED = perl -CI -pe 's/([^\x00-\x7f])/sprintf "\\u%04x", ord $$1/ge'

loyalty--$(EXTVERSION).sql: $(ROOM_SQL) $(HERE)/loyalty.control $(HERE)/Makefile
	( printf '%s\n' '\echo Use "CREATE EXTENSION loyalty" to load this file. \quit'; \
	  sed 's|MODULE_PATHNAME|$$libdir/$(MODULE_big)|' $(ROOM_SQL) | $(ESCAPED); \
	  printf '%s\n' '' \
		'CREATE FUNCTION loyalty.rooms() RETURNS text[]' \
		'LANGUAGE sql IMMUTABLE PARALLEL SAFE' \
		"RETURN '{$(subst $(space),$(comma),$(ROOMS))}'::text[];" \
		"COMMENT ON FUNCTION loyalty.rooms() IS 'The rooms of this extension, in install order.';" \
	) > $@.tmp
	mv $@.tmp $@

loyalty--%--$(EXTVERSION).sql: $(HERE)/upgrade/released/loyalty--%.sql loyalty--$(EXTVERSION).sql $(HERE)/upgrade/update_script.pl $(wildcard $(HERE)/upgrade/by_hand/*.sql)
	perl $(HERE)/upgrade/update_script.pl $< loyalty--$(EXTVERSION).sql $(wildcard $(HERE)/upgrade/by_hand/$*.sql) > $@.tmp
	mv $@.tmp $@

clean: clean-clusters

ifdef docdir
DOC_FOLDER = $(DESTDIR)$(docdir)/$(docmoduledir)
install: install-pages
uninstall: uninstall-pages
install-pages:
	for page in $(PAGES); do \
		$(MKDIR_P) "$(DOC_FOLDER)/$${page%/*}" && $(INSTALL_DATA) "$(HERE)/$$page" "$(DOC_FOLDER)/$$page" || exit; \
	done
uninstall-pages:
	rm -f $(patsubst %,'$(DOC_FOLDER)/%',$(PAGES))
	-rmdir $(patsubst %,'$(DOC_FOLDER)/%',$(sort $(dir $(PAGES))) dashboard) 2>/dev/null
.PHONY: install-pages uninstall-pages
endif

# Each golden test makes the extension itself, in a database of its own.
GOLDENS = $(patsubst $(HERE)/sql/%.sql,%,$(wildcard $(HERE)/sql/*.sql))
installcheck:
	@failed=; for room in $(GOLDENS); do \
		mkdir -p "tmp_check/installcheck/$$room"; \
		$(pg_regress_installcheck) --inputdir='$(HERE)' --outputdir="tmp_check/installcheck/$$room" --dbname="loyalty_check_$$room" "$$room" || failed="$$failed $$room"; \
	done; [ -z "$$failed" ] || { echo "Failed:$$failed; what came out is in tmp_check/installcheck."; false; }

else

all install installcheck clean:
	@echo 'There is no PostgreSQL to build for: $(PG_CONFIG) finds no server headers.'
	@echo 'make demo and make test install what is missing; or name another PG_CONFIG.'
	@false

endif

# What runs on a private cluster first sees to what the machine lacks.
PREPARE = PG_CONFIG='$(PG_CONFIG)' $(HERE)/test/prepare.sh
AGAIN = $(MAKE) -s --no-print-directory -f $(firstword $(MAKEFILE_LIST))
CORES := $(shell nproc 2>/dev/null || echo 1)
export LOYALTY_MAKEFILE := $(firstword $(MAKEFILE_LIST))
export LOYALTY_ROOMS := $(ROOMS)
export PG_CONFIG

demo psql:
	@$(PREPARE) demo $(AGAIN) run-$@
dashboard:
	@$(PREPARE) dashboard $(AGAIN) run-$@
test:
	@$(PREPARE) test $(AGAIN) WERROR=1 run-$@
soak:
	@LOYALTY_SOAK=1 $(PREPARE) test $(AGAIN) WERROR=1 run-$@
bench:
	@$(PREPARE) bench $(AGAIN) run-$@
lint:
	@$(PREPARE) lint $(AGAIN) WERROR=1 run-$@
versions:
	@$(HERE)/test/versions.sh $(PG_CONFIGS)
mutants:
	@$(PREPARE) test $(HERE)/test/mutate.pl
sanitize:
	@$(PREPARE) test $(HERE)/test/sanitize.sh

freeze:
	@$(PREPARE) demo $(AGAIN) run-freeze

# Built on all cores; what follows runs by itself.
built:
	@$(AGAIN) -j$(CORES) all

run-demo: built
	@$(HERE)/test/demo/run.sh
run-dashboard: built
	@$(HERE)/dashboard/run.sh
run-psql:
	@$(HERE)/test/demo/psql.sh
run-test: built
	@$(HERE)/test/run.sh
run-soak: built
	@LOYALTY_SOAK=1 $(HERE)/test/run.sh
run-lint: built
	@$(HERE)/test/lint.sh
run-bench: built
	@$(HERE)/test/bench/run.sh

run-freeze: built
	@$(HERE)/upgrade/freeze.sh

# The archive has what is committed, under the name that PGXN expects.
dist:
	git -C $(HERE) archive --format=zip --prefix=loyalty-$(EXTVERSION)/ -o '$(CURDIR)/loyalty-$(EXTVERSION).zip' HEAD
	@echo 'loyalty-$(EXTVERSION).zip'

# Debian packages, of the release that runs here unless another is named.
SUITE = $(or $(shell . /etc/os-release 2>/dev/null && echo $$VERSION_CODENAME),bookworm)
deb:
	@$(PREPARE) deb $(HERE)/test/package.sh $(SUITE)

clean-clusters:
	@if $(PG_CONFIG) --bindir >/dev/null 2>&1; then \
		for name in demo test bench; do $(HERE)/test/cluster.sh $$name remove; done; \
	fi

.PHONY: FORCE built installcheck dist deb freeze run-freeze demo psql dashboard test lint versions soak bench mutants sanitize clean-clusters run-demo run-psql run-dashboard run-test run-lint run-soak run-bench
