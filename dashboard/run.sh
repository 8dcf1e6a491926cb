#!/usr/bin/env bash
# make dashboard: a page of charts, in dashboard/dist.
#
#	make dashboard								over a shop that is made for it, on the demo's cluster
#	make dashboard DATABASE='host=... dbname=...'	over a programme of one's own (reads, and writes nothing)
#
# CURRENCY=code says of which points; without it, those of which most are outstanding.
set -euo pipefail
. "$(dirname "$0")/../test/lib.sh"

page=$HERE/dashboard
cluster=$HERE/test/cluster.sh

# Modules as package-lock.json has them, once.
modules()
{
	[ "$page/node_modules/.package-lock.json" -nt "$page/package-lock.json" ] ||
		(cd "$page" && npm ci --ignore-scripts --no-audit --no-fund >"$page/npm.log" 2>&1) || {
			tail -n 5 "$page/npm.log" >&2
			die "npm could not install what the page is built with (package-lock.json)"
		}
	rm -f "$page/npm.log"
}

# The shop, made anew: it ends today.
shop()
{
	install_extension
	"$cluster" demo resume
	"$cluster" demo psql -Xq -d postgres -c 'SET client_min_messages = warning' -c 'DROP DATABASE IF EXISTS dashboard' -c 'CREATE DATABASE dashboard'
	"$cluster" demo psql -XqAt -v ON_ERROR_STOP=1 -d dashboard -f "$page/demo.sql" | tail -n 1
	eval "$("$cluster" demo env)"
	export LOYALTY_DATABASE=dbname=dashboard
}

modules
[ -n "${LOYALTY_DATABASE:-}" ] || shop
rm -rf "$page/dist" "$page/src/.observablehq"
(cd "$page" && OBSERVABLE_TELEMETRY_DISABLE=true npx observable build >"$page/build.log" 2>&1) || { tail -n 30 "$page/build.log" >&2; die 'the page was not built'; }
rm -f "$page/build.log"
say "The page is $page/dist: let a web server serve it, for example npx http-server, or python3 -m http.server -d $page/dist"
