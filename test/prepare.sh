#!/usr/bin/env bash
# Makes sure that what a make target needs is on the machine, then runs a
# command with PG_CONFIG=... appended:
#
#	test/prepare.sh TARGET COMMAND...
#
# What is missing is installed through apt, as root or with sudo, and named
# before.  No cluster is created by that.  Nothing missing: nothing done.
# Where the distribution has them, more come along: for test, libphonenumber, with
# which telephone numbers are compared, and psycopg for the examples; for long tests,
# the other languages of the examples, and Chromium, in which the page of make dashboard
# is looked at; for bench, pgRouting as a rival.
set -euo pipefail

target=$1
shift
pg_config=${PG_CONFIG:-pg_config}

# A pg_config is of use if the server's headers and make files are there.
usable() { local pgxs; pgxs=$("$1" --pgxs 2>/dev/null) && [ -f "$pgxs" ] && [ -f "$("$1" --includedir-server)/postgres.h" ]; }

# Without one on the PATH, the newest of those that Debian puts aside.  One
# that was named is not replaced by another.
find_pg_config()
{
	local candidate
	if usable "$pg_config"; then return; fi
	if [ "$pg_config" != pg_config ]; then
		echo "PG_CONFIG=$pg_config has no PostgreSQL with server headers behind it." >&2
		exit 1
	fi
	for candidate in $(ls -rv /usr/lib/postgresql/*/bin/pg_config 2>/dev/null); do
		if usable "$candidate"; then
			pg_config=$candidate
			return
		fi
	done
}

# What stands between us and the target: one word for each thing.
missing()
{
	local bindir sharedir pgxs_test
	# packages are built in a system of their own
	if [ "$target" = deb ]; then
		command -v debootstrap >/dev/null || echo debootstrap
		return
	fi
	command -v gcc >/dev/null || command -v cc >/dev/null || echo gcc
	[ -e /usr/include/stdio.h ] || echo libc6-dev
	has_library roaring || echo libroaring-dev
	command -v perl >/dev/null || echo perl
	command -v gzip >/dev/null || echo gzip
	if ! usable "$pg_config"; then
		echo server server-dev
		[ "$target" != test ] || echo pgtap
	else
		bindir=$("$pg_config" --bindir)
		sharedir=$("$pg_config" --sharedir)
		pgxs_test=$(dirname "$("$pg_config" --pgxs)")/../test
		[ -x "$bindir/postgres" ] && [ -x "$bindir/initdb" ] && [ -x "$bindir/psql" ] || echo server
		[ "$target" != test ] || [ -f "$sharedir/extension/pgtap.control" ] || echo pgtap
		[ "$target" != test ] || [ -x "$pgxs_test/isolation/pg_isolation_regress" ] || echo server-dev
	fi
	[ "$target" != lint ] || { command -v cppcheck >/dev/null || echo cppcheck; command -v clang-tidy >/dev/null || echo clang-tidy; }
	[ "$target" != dashboard ] || { command -v node >/dev/null || echo nodejs; command -v npm >/dev/null || echo npm; }
	[ "$target" != test ] || perl -MIPC::Run -MTest::More -e 1 2>/dev/null || echo libipc-run-perl
}

# Whether a library is there, with its header.
has_library()
{
	printf '#include <%s/%s.h>\nint main(void) { return 0; }\n' "$1" "$1" | ${CC:-cc} -x c -o /dev/null - -l"$1" 2>/dev/null
}

# What the target does without, too: wanted where apt has it, and nobody is asked
# for a password.
wishes()
{
	command -v apt-cache >/dev/null || return 0
	[ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null || return 0
	case $target in
		test)
			has_module phonenumbers || wish python3-phonenumbers
			has_module psycopg || wish python3-psycopg
			# long tests run all examples, and look at the page of make dashboard
			[ -z "${LOYALTY_SOAK:-}" ] || {
				command -v javac >/dev/null || wish default-jdk-headless
				[ -r /usr/share/java/postgresql.jar ] || wish libpostgresql-jdbc-java
				command -v go >/dev/null || wish golang-go
				[ -d /usr/share/gocode/src/github.com/jackc/pgx/v4 ] || wish golang-github-jackc-pgx-v4-dev
				command -v node >/dev/null || wish nodejs
				command -v npm >/dev/null || wish npm
				[ -x /usr/bin/chromium ] || wish chromium
			} ;;
		bench)
			# for the server that the distribution's packages are for
			local n
			n=$(version)
			usable "$pg_config" && [ "$("$pg_config" --pkglibdir)" = "/usr/lib/postgresql/$n/lib" ] || return 0
			ls "/usr/lib/postgresql/$n/lib"/libpgrouting-*.so >/dev/null 2>&1 || wish "postgresql-$n-pgrouting" ;;
	esac
}
has_module() { /usr/bin/python3 -c "import $1" >/dev/null 2>&1 || python3 -c "import $1" >/dev/null 2>&1; }
wish() { ! apt-cache show "$1" >/dev/null 2>&1 || echo "$1"; }

# The version of a pg_config that works, or the one that the distribution
# means by "postgresql".
version()
{
	if usable "$pg_config"; then
		"$pg_config" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/'
	else
		apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1
	fi
}

install_packages()
{
	local sudo= n word packages=() apt log
	command -v apt-get >/dev/null || {
		echo "make $target needs: $*; there is no apt here to install them with." >&2
		exit 1
	}
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || {
			echo "make $target needs: $*; become root, or install sudo." >&2
			exit 1
		}
		sudo=sudo
	fi
	apt=($sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)

	echo "make $target needs what is not on this machine: $*"
	echo "Reading the package lists (apt-get update)"
	"${apt[@]}" update >/dev/null
	n=$(version)
	[ -n "$n" ] || { echo "apt knows no package \"postgresql\"." >&2; exit 1; }
	for word; do
		case $word in
			server) packages+=("postgresql-$n") ;;
			server-dev) packages+=("postgresql-server-dev-$n") ;;
			pgtap) packages+=("postgresql-$n-pgtap") ;;
			*) packages+=("$word") ;;
		esac
	done
	echo "Installing through apt: ${packages[*]}"

	# The server's package would create and start a cluster of its own; it
	# does not while this file is there.
	local dropin=/etc/postgresql-common/createcluster.d/loyalty-no-main-cluster.conf
	$sudo mkdir -p "${dropin%/*}"
	echo 'create_main_cluster = false' | $sudo tee "$dropin" >/dev/null
	log=$(mktemp)
	trap "$sudo rm -f $dropin $log" EXIT
	"${apt[@]}" install -y --no-install-recommends "${packages[@]}" >"$log" 2>&1 </dev/null || {
		tail -n 40 "$log" >&2
		exit 1
	}
	echo "Installed $(grep -c '^Setting up ' "$log") packages"
	$sudo rm -f "$dropin" "$log"
	trap - EXIT
}

find_pg_config
needs=$(missing | xargs)
if [ -n "$needs" ]; then
	install_packages $needs
	hash -r
	find_pg_config
	needs=$(missing | xargs)
	if [ -n "$needs" ]; then
		echo "make $target still misses: $needs (PG_CONFIG is $pg_config)." >&2
		exit 1
	fi
fi
wishes=$(wishes)
[ -z "$wishes" ] || (install_packages $wishes) || echo "make $target goes on without $wishes." >&2
[ $# -eq 0 ] || exec "$@" PG_CONFIG="$pg_config"
