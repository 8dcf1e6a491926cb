#!/usr/bin/env python3
"""The story of an order, from Python with psycopg 3 (pip install psycopg, or Debian's python3-psycopg).

    PGDATABASE=shop PGUSER=shop ./shop.py

shop.sql makes the database.  PGHOST, PGPORT and PGPASSWORD say where it is, as for psql.
"""
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import psycopg
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb


def resolve_member(conn, identifiers, attributes):
    """Who it is: found by any identifier, made where there is none."""
    # a dict goes in as Jsonb(…), and comes out as a dict
    return conn.execute(
        "SELECT member_id FROM loyalty.resolve_member(%s, 'web', %s)",
        (Jsonb(identifiers), Jsonb(attributes))).fetchone().member_id


def insert_order(conn, member_id, order):
    conn.execute(
        """INSERT INTO shop_order (order_id, member_id, total, placed_at)
           VALUES (%s, %s, %s, %s) ON CONFLICT (order_id) DO NOTHING""",
        (order["id"], member_id, order["total"], order["placed_at"]))


def place_order(conn, member_id, order):
    """The order and its points in one commit.

    Whoever got no answer calls it again with the same arguments: the key makes it one order, and the answer is
    the first one.
    """
    with conn.transaction():
        insert_order(conn, member_id, order)
        return conn.execute(
            """SELECT points, replayed
                 FROM loyalty.record_activity(%s, 'order', %s, lines => %s, external_id => %s, idempotency_key => %s)""",
            (member_id, order["placed_at"], Jsonb(order["lines"]), str(order["id"]), f"order {order['id']}")).fetchone()


def pay_with_points(conn, member_id, order, points):
    """An order paid with points: without the points there is no order."""
    with conn.transaction():
        insert_order(conn, member_id, order)
        return conn.execute(
            "SELECT available FROM loyalty.redeem(%s, %s, reference => %s, idempotency_key => %s)",
            (member_id, points, str(order["id"]), f"payment {order['id']}")).fetchone()


def main():
    # each statement is a transaction, unless conn.transaction() makes it one of several
    with psycopg.connect(autocommit=True, row_factory=namedtuple_row) as conn:
        member_id = resolve_member(conn, {"email": "Ann@Example.org"}, {"name": "Ann"})
        # a statement of its own: what a function writes is there for the next one
        member = conn.execute("SELECT attributes FROM loyalty.member WHERE member_id = %s", (member_id,)).fetchone()
        print(f"member {member_id} is {member.attributes['name']}")

        tea = {
            "id": 1001,
            "total": Decimal("120.50"),
            "placed_at": datetime(2026, 2, 3, 10, tzinfo=timezone.utc),
            "lines": [{"sku": "TEA", "amount": 40.5}, {"sku": "CUP", "quantity": 2, "amount": 80}],
        }
        for _ in range(2):
            points, replayed = place_order(conn, member_id, tea)
            print(f"order {tea['id']}: {points} points{', as answered before' if replayed else ''}")

        # bigint comes as int, numeric as Decimal, timestamptz as an aware datetime in the zone of the session,
        # NULL as None.  Points may be int or Decimal; a float, which PostgreSQL takes for double precision,
        # needs %s::numeric.
        balance = conn.execute("SELECT available, held, next_expiry_at FROM loyalty.balance(%s)", (member_id,)).fetchone()
        print(f"{balance.available} available, {balance.held} held, the next expire {balance.next_expiry_at or 'never'}")

        for entry in conn.execute("SELECT effective_at, kind, points, reference FROM loyalty.statement(%s)", (member_id,)):
            print(f"{entry.effective_at.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ} {entry.kind} {entry.points}, order {entry.reference}")

        try:
            dear = {"id": 1002, "total": Decimal("500.00"), "placed_at": datetime(2026, 2, 4, 10, tzinfo=timezone.utc)}
            pay_with_points(conn, member_id, dear, 500)
        except psycopg.Error as error:
            # a refusal has an SQLSTATE of class LY; anything else is a fault
            if not (error.sqlstate or "").startswith("LY"):
                raise
            print(f"{error.sqlstate}: {error.diag.message_primary}")
            print(f"detail: {error.diag.message_detail}")
            print(f"hint: {error.diag.message_hint}")
        orders = conn.execute("SELECT order_id, total FROM shop_order ORDER BY order_id")
        print(f"orders: {', '.join(f'{order.order_id} of {order.total}' for order in orders)}")

        # Points are set aside while something else is paid, then taken; what is not taken is free again.  Nobody
        # has to release a hold: it lapses by itself.  Until when is reckoned here, once, and not by now() in the
        # call: that would be another argument when the call is repeated, which is refused (LY004).
        until = datetime.now(timezone.utc) + timedelta(minutes=15)
        hold = conn.execute(
            "SELECT entry_id, available FROM loyalty.hold(%s, %s, %s, idempotency_key => %s)",
            (member_id, 100, until, "hold for order 1003")).fetchone()
        print(f"held 100, {hold.available} available")
        capture = conn.execute(
            "SELECT available FROM loyalty.capture(%s, %s, %s, idempotency_key => %s)",
            (member_id, hold.entry_id, 60, "payment of order 1003")).fetchone()
        print(f"captured 60, {capture.available} available")


if __name__ == "__main__":
    main()
