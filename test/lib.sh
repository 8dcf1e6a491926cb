# What the scripts under test/ share: where things are, and how to run a
# program as the user whose server it is.  Sourced, never run.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
PG_CONFIG=${PG_CONFIG:-pg_config}
BINDIR=$("$PG_CONFIG" --bindir)
PGXS_TEST=$(dirname "$("$PG_CONFIG" --pgxs)")/../test

# What the environment says about other servers is none of our business.
unset PGHOST PGPORT PGDATABASE PGUSER PGSERVICE PGOPTIONS PGPASSWORD PGSSLMODE PGTZ PGDATESTYLE
unset LC_ALL LANGUAGE
export LANG=C.UTF-8 PGCONNECT_TIMEOUT=10
PATH=$PATH:/usr/sbin:/sbin		# runuser

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# A server does not run as root: postgres lends its name, or nobody.
if [ "$(id -u)" -ne 0 ]; then
	SERVER_USER=$(id -un)
elif id postgres >/dev/null 2>&1; then
	SERVER_USER=postgres
else
	SERVER_USER=nobody
fi

# as_server COMMAND...: runs it as the server's user, in a directory that this
# user can read.
as_server()
{
	if [ "$(id -u)" -eq 0 ]; then
		(cd / && HOME=/ exec runuser -u "$SERVER_USER" -- "$@")
	else
		(cd / && exec "$@")
	fi
}

# The directory of a private cluster.  It depends on the checkout, so that two
# checkouts do not meet; it is short, because a socket's path may have no more
# than 107 bytes; it is outside the checkout, which the server's user may be
# unable to read.
cluster_dir()
{
	local key
	key=$(printf '%s %s' "$HERE" "$(id -u)" | md5sum | cut -c1-8)
	printf '%s/loyalty-%s-%s' "${LOYALTY_TMP:-/tmp}" "$1" "$key"
}

# Real data, where the checkout has it beside it; empty otherwise.
data_dir()
{
	local dir=${LOYALTY_DATA:-$HERE/../shared/data}
	if [ -d "$dir" ]; then (cd "$dir" && pwd -P); fi
}

# seconds_since START: START from $EPOCHREALTIME; prints 1.2
seconds_since()
{
	awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'
}

# install_extension: installs what make has built, with sudo where the
# directories of PostgreSQL belong to somebody else.
install_extension()
{
	local sudo=
	if [ ! -w "$("$PG_CONFIG" --sharedir)/extension" ] || [ ! -w "$("$PG_CONFIG" --pkglibdir)" ]; then
		sudo=sudo
		say "Installing into $("$PG_CONFIG" --sharedir) with sudo"
	fi
	$sudo "${MAKE:-make}" -s -f "${LOYALTY_MAKEFILE:-$HERE/Makefile}" install PG_CONFIG="$PG_CONFIG" WERROR="${WERROR:-}" >/dev/null
}
