#!/usr/bin/env bash
# A private, throw-away cluster: own directory, own socket, no TCP.  Clusters
# that are already on the machine are never touched.
#
#	test/cluster.sh NAME start		make it anew and start it
#	test/cluster.sh NAME resume		start it as it is (make it, if there is none)
#	test/cluster.sh NAME stop		stop it
#	test/cluster.sh NAME remove		stop it and remove it
#	test/cluster.sh NAME psql ...	psql in it, for example psql -c 'SELECT 1'
#	test/cluster.sh NAME env		print shell assignments that reach it
#
# NAME is demo, test or bench.  FSYNC=on makes it safe against a power cut;
# SETTINGS holds more lines for postgresql.conf.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ $# -ge 2 ] || die "usage: cluster.sh NAME start|resume|stop|remove|psql|env"
name=$1
command=$2
shift 2
base=$(cluster_dir "$name")
data=$base/data

running() { [ -f "$data/postmaster.pid" ] && as_server "$BINDIR/pg_ctl" -D "$data" status >/dev/null 2>&1; }

stop()
{
	if running; then
		as_server "$BINDIR/pg_ctl" -D "$data" -m fast -w stop >/dev/null
	fi
}

remove()
{
	[ -e "$base" ] || return 0
	# /tmp is everybody's: only what is ours is removed
	[ ! -L "$base" ] && [ "$(stat -c %U "$base")" = "$SERVER_USER" ] ||
		die "$base belongs to somebody else; remove it or set LOYALTY_TMP"
	stop
	rm -rf "$base"
}

# Settings for a machine that does other things too: a quarter of the memory
# up to 1 GB, no TCP, dates and messages that do not depend on the machine.
settings()
{
	local quarter
	quarter=$(awk '/^MemTotal/ { m = int($2 / 4096); print (m > 1024 ? 1024 : m < 64 ? 64 : m) }' /proc/meminfo)
	cat <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$base'
		unix_socket_permissions = 0700
		cluster_name = 'loyalty-$name'
		max_connections = 100
		shared_buffers = ${quarter}MB
		work_mem = 64MB
		maintenance_work_mem = 256MB
		max_wal_size = 8GB
		checkpoint_timeout = 30min
		random_page_cost = 1.1
		fsync = ${FSYNC:-off}
		autovacuum = on
		timezone = 'UTC'
		log_timezone = 'UTC'
		datestyle = 'iso, ymd'
		lc_messages = 'C'
		log_line_prefix = '%m [%p] %d '
	CONF
	printf '%s\n' "${SETTINGS:-}"
}

create()
{
	(umask 077 && mkdir "$base")
	if [ "$(id -u)" -eq 0 ]; then chown "$SERVER_USER" "$base"; fi
	as_server "$BINDIR/initdb" -D "$data" -U postgres --auth=trust \
		-E UTF8 --locale=C.UTF-8 --no-sync >"/dev/null"
	settings | as_server tee -a "$data/postgresql.conf" >/dev/null
}

launch()
{
	as_server "$BINDIR/pg_ctl" -D "$data" -l "$base/log" -w -t 120 start >/dev/null </dev/null || {
		as_server tail -n 20 "$base/log" >&2
		die "the private cluster in $base did not start"
	}
}

case $command in
	start) remove; create; launch ;;
	resume)
		running || {
			[ -d "$data" ] || { remove; create; }
			launch
		} ;;
	stop) stop ;;
	remove) remove ;;
	psql) exec "$BINDIR/psql" -h "$base" -U postgres "$@" ;;
	env) printf 'export PGHOST=%q PGUSER=postgres PGPORT=5432 PATH=%q:"$PATH"\n' "$base" "$BINDIR" ;;
	*) die "unknown command $command" ;;
esac
