#!/usr/bin/env bash
# make freeze: keeps what this version installs, and a program that it has made,
# so that later versions can be tried from it; once, when the version is released.
set -euo pipefail
. "$(dirname "$0")/../test/lib.sh"

version=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" "$HERE/loyalty.control")
released=$HERE/upgrade/released
[ ! -e "$released/loyalty--$version.sql" ] || die "version $version is kept already: raise default_version in loyalty.control first"
install_extension
trap '"$HERE/test/cluster.sh" test remove' EXIT
"$HERE/test/cluster.sh" test start
eval "$("$HERE/test/cluster.sh" test env)"
psql -Xq -d postgres -c 'CREATE DATABASE released'
psql -Xq -v ON_ERROR_STOP=1 -d released -o /dev/null -f "$HERE/test/tap/programme.sql"
mkdir -p "$released"
{
	pg_dump --no-owner --no-privileges -d released | grep -v '^\\\(un\)\?restrict '
	printf '\n-- what members have\n'
	psql -XqAt -d released -f "$HERE/upgrade/figures.sql" | sed 's/^/-- /'
} > "$released/program--$version.sql"
cp "loyalty--$version.sql" "$released/"
say "Kept: $(cd "$released" && ls -- *"--$version.sql" | tr '\n' ' ')"
