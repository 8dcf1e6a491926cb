// The story of an order, from Go with pgx: Debian's golang-github-jackc-pgx-v4-dev as here, or in a module of
// your own pgx v5, where the two imports are github.com/jackc/pgx/v5 and github.com/jackc/pgx/v5/pgconn.
//
//	GOPATH=/usr/share/gocode GO111MODULE=off PGDATABASE=shop PGUSER=shop go run shop.go
//
// shop.sql makes the database.  PGHOST, PGPORT and PGPASSWORD say where it is, as for psql.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

type line struct {
	SKU      string  `json:"sku"`
	Quantity int     `json:"quantity"`
	Amount   float64 `json:"amount"`
}

type order struct {
	id       int64
	total    string // money, as text: exact without a library; or a decimal type that pgx knows
	placedAt time.Time
	lines    []line
}

// resolveMember says who it is: found by any identifier, made where there is none.
func resolveMember(ctx context.Context, conn *pgx.Conn, identifiers, attributes map[string]string) (memberID int64, err error) {
	// maps and structs become jsonb by themselves, and jsonb becomes them
	err = conn.QueryRow(ctx, `SELECT member_id FROM loyalty.resolve_member($1, 'web', $2)`, identifiers, attributes).Scan(&memberID)
	return memberID, err
}

func insertOrder(ctx context.Context, tx pgx.Tx, memberID int64, o order) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO shop_order (order_id, member_id, total, placed_at)
		VALUES ($1, $2, $3, $4) ON CONFLICT (order_id) DO NOTHING`,
		o.id, memberID, o.total, o.placedAt)
	return err
}

// placeOrder writes the order and its points in one commit.  Whoever got no answer calls it again with the same
// arguments: the key makes it one order, and the answer is the first one.
func placeOrder(ctx context.Context, conn *pgx.Conn, memberID int64, o order) (points int64, replayed bool, err error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return 0, false, err
	}
	defer tx.Rollback(ctx) // does nothing after the commit
	if err := insertOrder(ctx, tx, memberID, o); err != nil {
		return 0, false, err
	}
	err = tx.QueryRow(ctx, `
		SELECT points, replayed
		  FROM loyalty.record_activity($1, 'order', $2, lines => $3, external_id => $4, idempotency_key => $5)`,
		memberID, o.placedAt, o.lines, fmt.Sprint(o.id), fmt.Sprintf("order %d", o.id)).Scan(&points, &replayed)
	if err != nil {
		return 0, false, err
	}
	return points, replayed, tx.Commit(ctx)
}

// payWithPoints takes an order that is paid with points: without the points there is no order.
func payWithPoints(ctx context.Context, conn *pgx.Conn, memberID int64, o order, points int64) (available int64, err error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback(ctx)
	if err := insertOrder(ctx, tx, memberID, o); err != nil {
		return 0, err
	}
	err = tx.QueryRow(ctx, `SELECT available FROM loyalty.redeem($1, $2, reference => $3, idempotency_key => $4)`,
		memberID, points, fmt.Sprint(o.id), fmt.Sprintf("payment %d", o.id)).Scan(&available)
	if err != nil {
		return 0, err
	}
	return available, tx.Commit(ctx)
}

// printStatement prints a member's entries.
func printStatement(ctx context.Context, conn *pgx.Conn, memberID int64) error {
	rows, err := conn.Query(ctx, `SELECT effective_at, kind, points, reference FROM loyalty.statement($1)`, memberID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var at time.Time
		var kind, reference string
		var points int64
		if err := rows.Scan(&at, &kind, &points, &reference); err != nil {
			return err
		}
		fmt.Printf("%s %s %d, order %s\n", at.UTC().Format(time.RFC3339), kind, points, reference)
	}
	return rows.Err()
}

// printOrders prints what is in the table of orders.
func printOrders(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `SELECT order_id, total::text FROM shop_order ORDER BY order_id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var orders []string
	for rows.Next() {
		var id int64
		var total string
		if err := rows.Scan(&id, &total); err != nil {
			return err
		}
		orders = append(orders, fmt.Sprintf("%d of %s", id, total))
	}
	fmt.Println("orders:", strings.Join(orders, ", "))
	return rows.Err()
}

func tell(ctx context.Context, conn *pgx.Conn) error {
	memberID, err := resolveMember(ctx, conn, map[string]string{"email": "Ann@Example.org"}, map[string]string{"name": "Ann"})
	if err != nil {
		return err
	}
	// a statement of its own: what a function writes is there for the next one
	var known struct{ Name string }
	if err := conn.QueryRow(ctx, `SELECT attributes FROM loyalty.member WHERE member_id = $1`, memberID).Scan(&known); err != nil {
		return err
	}
	fmt.Printf("member %d is %s\n", memberID, known.Name)

	tea := order{
		id:       1001,
		total:    "120.50",
		placedAt: time.Date(2026, 2, 3, 10, 0, 0, 0, time.UTC),
		lines:    []line{{"TEA", 1, 40.5}, {"CUP", 2, 80}},
	}
	for attempt := 1; attempt <= 2; attempt++ {
		points, replayed, err := placeOrder(ctx, conn, memberID, tea)
		if err != nil {
			return err
		}
		note := ""
		if replayed {
			note = ", as answered before"
		}
		fmt.Printf("order %d: %d points%s\n", tea.id, points, note)
	}

	// bigint is int64, timestamptz time.Time in the zone of the machine; what may be NULL is scanned into a pointer
	var available, held int64
	var expiry *time.Time
	err = conn.QueryRow(ctx, `SELECT available, held, next_expiry_at FROM loyalty.balance($1)`, memberID).Scan(&available, &held, &expiry)
	if err != nil {
		return err
	}
	expires := "never"
	if expiry != nil {
		expires = expiry.UTC().Format(time.RFC3339)
	}
	fmt.Printf("%d available, %d held, the next expire %s\n", available, held, expires)
	if err := printStatement(ctx, conn, memberID); err != nil {
		return err
	}

	dear := order{id: 1002, total: "500.00", placedAt: time.Date(2026, 2, 4, 10, 0, 0, 0, time.UTC)}
	if _, err := payWithPoints(ctx, conn, memberID, dear, 500); err != nil {
		// a refusal has an SQLSTATE of class LY; anything else is a fault
		var refusal *pgconn.PgError
		if !errors.As(err, &refusal) || !strings.HasPrefix(refusal.Code, "LY") {
			return err
		}
		fmt.Printf("%s: %s\n", refusal.Code, refusal.Message)
		fmt.Println("detail:", refusal.Detail)
		fmt.Println("hint:", refusal.Hint)
	}
	if err := printOrders(ctx, conn); err != nil {
		return err
	}

	// Points are set aside while something else is paid, then taken; what is not taken is free again.  Nobody has
	// to release a hold: it lapses by itself.  Until when is reckoned here, once, and not by now() in the call: that
	// would be another argument when the call is repeated, which is refused (LY004).
	until := time.Now().Add(15 * time.Minute)
	var hold int64
	err = conn.QueryRow(ctx, `SELECT entry_id, available FROM loyalty.hold($1, $2, $3, idempotency_key => $4)`,
		memberID, 100, until, "hold for order 1003").Scan(&hold, &available)
	if err != nil {
		return err
	}
	fmt.Printf("held 100, %d available\n", available)
	err = conn.QueryRow(ctx, `SELECT available FROM loyalty.capture($1, $2, $3, idempotency_key => $4)`,
		memberID, hold, 60, "payment of order 1003").Scan(&available)
	if err != nil {
		return err
	}
	fmt.Printf("captured 60, %d available\n", available)
	return nil
}

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := tell(ctx, conn); err != nil {
		log.Fatal(err)
	}
}
