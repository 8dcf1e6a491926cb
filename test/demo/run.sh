#!/usr/bin/env bash
# make demo: a private cluster, a year of orders, the points they earn, what
# campaigns give, and who the customers are.
#
#	make demo								a data set made from a fixed seed
#	make demo DATA=orders.csv.gz			order lines of one's own, CSV or gzip
#
# They have a header and the columns InvoiceNo, StockCode, Description, Quantity,
# InvoiceDate, UnitPrice, CustomerID, Country; an invoice number that begins with C
# is a return.
#
# Each step is one file of SQL beside this one; the last line that it prints
# is its result.  The cluster stays, for make psql; make clean removes it.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

demo=$HERE/test/demo
cluster=$HERE/test/cluster.sh
orders=${LOYALTY_ORDERS:-}
began=$EPOCHREALTIME
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
steps=19
number=0

if [ -n "$orders" ]; then
	[ -r "$orders" ] || orders=$HERE/$orders
	[ -r "$orders" ] || die "cannot read DATA=$LOYALTY_ORDERS"
fi

sql() { "$cluster" demo psql -XqAt -P pager=off -v ON_ERROR_STOP=1 -d "${database:-demo}" "$@"; }

# step TITLE COMMAND...: runs it and shows its last line and its time.
step()
{
	local title=$1 start=$EPOCHREALTIME result
	shift
	number=$((number + 1))
	printf '%2d/%d  %-42s ' "$number" "$steps" "$title"
	result=$("$@" 2>"$errors" | tail -n 1) || {
		printf 'FAILED\n'
		cat "$errors" >&2
		exit 1
	}
	printf '%-66s %6s s\n' "$result" "$(seconds_since "$start")"
}

# A step's commands are joined by &&: set -e does not reach into it.
start_cluster()
{
	install_extension &&
	"$cluster" demo start &&
	database=postgres sql -c 'CREATE DATABASE demo' \
		-c "ALTER DATABASE demo SET timezone = 'Europe/London'" &&	# the shop's
	sql -c "SELECT split_part(version(), ' (', 1)"
}

load_lines()
{
	sql -f "$demo/tables.sql" &&
	if [ -n "$orders" ]; then
		gzip -dcf -- "$orders" | sql -c 'COPY shop.staging FROM STDIN (FORMAT csv, HEADER)'
	else
		sql -f "$demo/generate.sql"
	fi &&
	sql -c "SELECT to_char(count(*), 'FM999,999,999') || ' lines' FROM shop.staging"
}

if [ -n "$orders" ]; then
	say "Orders: $orders"
else
	say "Orders: made from a fixed seed (DATA=file.csv.gz loads your own)"
fi
step 'Start a private cluster'				start_cluster
step 'Set up the extension'					sql -f "$demo/setup.sql"
step 'Load order lines'						load_lines
step 'Clean them into orders'				sql -f "$demo/orders.sql"
step 'Earn 1 point per unit of money'		sql -f "$demo/earn.sql"
step 'Claw returns back, before rewards'	sql -v after=-infinity -v before=reward -f "$demo/returns.sql"
step 'Members redeem points'				sql -f "$demo/redeem.sql"
step 'Claw returns back, after rewards'		sql -v after=reward -v before=infinity -f "$demo/returns.sql"
step 'Book what has expired'				sql -f "$demo/expire.sql"
step 'Let members climb the tiers'			sql -f "$demo/tiers.sql"
step 'Members use what their levels give'	sql -f "$demo/benefits.sql"
step 'Record what members did'				sql -f "$demo/activities.sql"
step 'Back-test four campaigns'				sql -f "$demo/backtest.sql"
step 'Let the campaigns decide'				sql -f "$demo/campaigns.sql"
step 'Goods come back'						sql -f "$demo/goods_back.sql"
step 'Check every invariant'				sql -f "$demo/check.sql"
step 'Name the segments of customers'		sql -f "$demo/segments.sql"
step 'Follow the cohorts'					sql -f "$demo/cohorts.sql"
step 'Fit customer value'					sql -f "$demo/value.sql"

"$cluster" demo psql -Xq -P pager=off -P footer=off -P null='' -v ON_ERROR_STOP=1 -d demo -f "$demo/report.sql"

say "Done in $(seconds_since "$began") s.  make psql opens a session here; make clean removes the cluster."
