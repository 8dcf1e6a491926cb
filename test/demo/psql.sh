#!/usr/bin/env bash
# make psql: a session on the demo's cluster, in its database.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

cluster=$HERE/test/cluster.sh
[ -d "$(cluster_dir demo)/data" ] || die "there is no demo yet: run make demo first"
"$cluster" demo resume
exec "$cluster" demo psql -d demo "$@"
