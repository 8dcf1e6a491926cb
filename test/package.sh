#!/usr/bin/env bash
# Builds Debian packages of the last commit, and installs them where nothing else is:
#
#	test/package.sh SUITE		bookworm, trixie, ...
#
# Both happen in chroots that debootstrap makes, as root.  The packages are
# built, for each version of PostgreSQL that the suite has, with nothing there
# but what debian/control asks for.  They are installed into a clean system,
# with nothing but what they depend on, where debian/tests then make a cluster,
# with the extension, its tables, a posting, and a set of members, which needs
# a library that the packages have to bring.  Then the golden tests run there,
# and the packages are removed without a trace.  They are left in deb/SUITE.
# MIRROR=... is handed to debootstrap, DEB_BUILD_OPTIONS=... to the build.  KEEP=1
# leaves the chroots for a look, and the next run begins with the system of this one.
set -euo pipefail

HERE=$(cd "$(dirname "$0")/.." && pwd -P)
suite=${1:?usage: test/package.sh SUITE}
version=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" "$HERE/loyalty.control")
out=$PWD/deb/$suite
base=${LOYALTY_TMP:-/var/tmp}/loyalty-package-$suite

say() { printf '%s\n' "$*"; }
die() { printf 'package.sh: %s\n' "$*" >&2; exit 1; }

# inside ROOT COMMAND: runs it there; whatever it starts ends with it.
inside()
{
	unshare --mount --pid --fork --kill-child --mount-proc="$1/proc" chroot "$1" \
		env -i HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive bash -euo pipefail -c "mount -t tmpfs tmpfs /dev/shm; $2" </dev/null
}

# logged WHAT COMMAND...: keeps quiet unless it fails.
logged()
{
	local what=$1
	shift
	say "$what"
	"$@" >"$out/log" 2>&1 || { tail -n 60 "$out/log"; die "failed: $what (all of it: $out/log)"; }
}

# The system that both chroots begin with; no service starts in it.
make_base()
{
	rm -rf --one-file-system "$base/making"
	debootstrap --variant=minbase "$suite" "$base/making" ${MIRROR:-}
	printf '#!/bin/sh\nexit 101\n' >"$base/making/usr/sbin/policy-rc.d"
	chmod +x "$base/making/usr/sbin/policy-rc.d"
	mkdir -p "$base/making/etc/postgresql-common/createcluster.d"
	echo 'create_main_cluster = false' >"$base/making/etc/postgresql-common/createcluster.d/none.conf"
	mv "$base/making" "$base/base"
}

build()
{
	cp -a "$base/base" "$base/build"
	mkdir "$base/build/source"
	git -C "$HERE" archive --prefix="postgresql-loyalty-$version/" HEAD >"$base/build/source/archive.tar"
	inside "$base/build" "
		apt-get -q update
		apt-get -q install -y --no-install-recommends build-essential postgresql-server-dev-all
		cd /source
		tar xf archive.tar
		tar cf - --exclude=debian postgresql-loyalty-$version | gzip -n >postgresql-loyalty_$version.orig.tar.gz
		cd postgresql-loyalty-$version
		pg_buildext updatecontrol
		apt-get -q build-dep -y --no-install-recommends ./
		DEB_BUILD_OPTIONS='${DEB_BUILD_OPTIONS:-}' dpkg-buildpackage -us -uc"
	cp "$base"/build/source/postgresql-loyalty_* "$base"/build/source/*.deb "$out/"
}

install_clean()
{
	cp -a "$base/base" "$base/clean"
	mkdir "$base/clean/packages"
	cp "$out"/*.deb "$base/clean/packages/"
	rm -f "$base"/clean/packages/*dbgsym*
	inside "$base/clean" 'apt-get -q update && apt-get -q install -y --no-install-recommends /packages/*.deb'
}

# The tests that the packages bring; what the second needs comes when the first has run.
try_it()
{
	mkdir "$base/clean/source"
	git -C "$HERE" archive HEAD | tar xf - -C "$base/clean/source"
	inside "$base/clean" 'cd /source && debian/tests/program'
	# pages keep the names by which they link to each other
	inside "$base/clean" 'for folder in /usr/share/doc/postgresql-doc-*/loyalty; do
		ls "$folder/README.md" "$folder/CONTRIBUTING.md" "$folder/doc/points.md" "$folder/examples/shop.py" >/dev/null
	done'
}

golden()
{
	inside "$base/clean" '
		apt-get -q install -y --no-install-recommends make postgresql-server-dev-all
		useradd --create-home tester
		chown -R tester /source
		cd /source && runuser -u tester -- debian/tests/installcheck'
}

remove_packages()
{
	inside "$base/clean" '
		dpkg --purge $(dpkg-query -W -f "\${Package}\n" "postgresql-*-loyalty")
		left=$(find /usr /var/lib/postgresql -iname "*loyalty*")
		[ -z "$left" ] || { echo "left behind: $left"; exit 1; }'
}

[ "$(id -u)" -eq 0 ] || die "chroots need root"
[ -n "${KEEP:-}" ] || trap 'rm -rf --one-file-system "$base"' EXIT
rm -rf --one-file-system "$base/build" "$base/clean" "$out"
mkdir -p "$base" "$out"

[ -d "$base/base" ] || logged "Making a system of $suite" make_base
logged "Building the packages" build
say "Built: $(cd "$out" && ls ./*.deb | grep -v dbgsym | xargs)"
logged "Installing them into a clean system" install_clean
logged "A program in a new database" try_it
grep '^PostgreSQL ' "$out/log" | sed 's/^/  /'
logged "Golden tests" golden
grep -iE '^(ok|test|# All|All) ' "$out/log" || true
logged "Removing them" remove_packages
rm -f "$out/log"
say "The packages are in $out"
