#!/usr/bin/env bash
# Runs tests with the extension compiled for the compiler's sanitizers: reading or
# writing beyond what one may, and what C leaves undefined, ends the session with
# a report in the server's log, and the test fails.  make sanitize calls this;
# ONLY=pattern as for make test, by default golden tests, pgTAP and random input.
#
# Only a server that was started for it can load such a library, and Debian's
# cannot be: PG_CONFIG names one that is built from source, best with assertions.  All of it
# happens in a copy of PostgreSQL's programs, and in tmp_check/sanitize.  Leaks
# are not looked for, since contexts of memory free what is theirs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

out=$PWD/tmp_check/sanitize
base=$(cluster_dir sanitize)
trap 'rm -rf "$base"' EXIT
rm -rf "$base"
mkdir -p "$out" "$base"
chmod 755 "$base"

# The copy finds its other files beside itself.
for what in bindir pkglibdir sharedir includedir-server; do
	dir=$("$PG_CONFIG" --$what)
	mkdir -p "$base$(dirname "$dir")"
	[ -d "$base$dir" ] || cp -a "$dir" "$base$dir"
done

cc=${CC:-gcc}
mv "$base$BINDIR/postgres" "$base$BINDIR/postgres.plain"
cat >"$base$BINDIR/postgres" <<END
#!/bin/sh
LD_PRELOAD='$("$cc" -print-file-name=libasan.so) $("$cc" -print-file-name=libubsan.so)' \\
ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:handle_segv=0 UBSAN_OPTIONS=print_stacktrace=1 \\
exec '$base$BINDIR/postgres.plain' "\$@"
END
chmod 755 "$base$BINDIR/postgres"

# One that is linked with p11-kit, as Debian's is, waits forever in its first exit().
as_server timeout -k 1 20 "$base$BINDIR/postgres" -V >/dev/null ||
	die "the server of $PG_CONFIG does not run beside libasan; name another one, as built from source: PG_CONFIG=..."

export COPT='-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer'
export PG_CONFIG=$base$BINDIR/pg_config ONLY=${ONLY:-^golden/|^pgtap/|^tap/(fuzz|calls)}
cd "$out"
"${MAKE:-make}" -f "$HERE/Makefile" run-test CC="$cc"
