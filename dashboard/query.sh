#!/usr/bin/env bash
# The rows of a query, as JSON: queries/<name>.sql, run by psql on the database
# that LOYALTY_DATABASE names (a connection string), or PGHOST, PGDATABASE and the
# like.  It finds the currency in the psql variable currency: LOYALTY_CURRENCY, or
# the one with most points outstanding.
set -euo pipefail

name=${1#--query=}
file=$(dirname "$0")/queries/$name.sql
ask() { psql -XqAt -v ON_ERROR_STOP=1 ${LOYALTY_DATABASE:+-d "$LOYALTY_DATABASE"} "$@"; }

[[ $name =~ ^[a-z_]+$ ]] && [ -f "$file" ] || { echo "there is no query $name" >&2; exit 1; }
currency=${LOYALTY_CURRENCY:-$(ask -c 'SELECT currency FROM loyalty_bi.liability ORDER BY points DESC, currency LIMIT 1')}
{ echo "SELECT coalesce(json_agg(q), '[]') FROM ("; cat "$file"; echo ') q'; } | ask -v currency="$currency" -f -
