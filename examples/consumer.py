#!/usr/bin/env python3
"""Copies events of loyalty into another database (SQLite), each exactly once.

    consumer.py DSN CONSUMER SLOT FILE

It may be killed at any moment, on either side, and started again.  An event is
acknowledged after it is stored, so none is lost; what was stored and not yet
acknowledged comes again, and is dropped: ids of a slot only rise, so the last
one that was stored, kept with it in one transaction, tells what is new.

Made for it: SELECT loyalty.subscribe('crm', '{points_changed,tier_changed}', slots => 2, wake => true);
"""
import json
import select
import sqlite3
import sys
import time

import psycopg


def open_receiver(file, slot):
    """The database that receives; and the last event of the slot that it has."""
    receiver = sqlite3.connect(file, timeout=60, isolation_level=None)
    receiver.execute("PRAGMA journal_mode = wal")
    receiver.execute("CREATE TABLE IF NOT EXISTS event (slot, event_id, member_id, kind, at, payload)")
    receiver.execute("CREATE TABLE IF NOT EXISTS place (slot INTEGER PRIMARY KEY, event_id)")
    last = receiver.execute("SELECT event_id FROM place WHERE slot = ?", (slot,)).fetchone()
    return receiver, last[0] if last else 0


def store(receiver, slot, events):
    """Stores events with the place that they lead to: all of it or nothing."""
    receiver.execute("BEGIN IMMEDIATE")
    receiver.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)",
                         [(slot, event_id, member_id, kind, at.isoformat(), json.dumps(payload))
                          for event_id, member_id, kind, at, payload in events])
    receiver.execute("INSERT OR REPLACE INTO place VALUES (?, ?)", (slot, events[-1][0]))
    receiver.execute("COMMIT")


def consume(dsn, consumer, slot, file):
    """Polls, stores, acknowledges; and waits for more to be committed."""
    receiver, last = open_receiver(file, slot)
    source = psycopg.connect(dsn, autocommit=True)
    woken = []
    source.add_notify_handler(woken.append)
    source.execute("LISTEN loyalty_event")
    while True:
        woken.clear()
        events = source.execute("SELECT event_id, member_id, kind, at, payload FROM loyalty.poll_events(%s, 500, %s)",
                                (consumer, slot)).fetchall()
        fresh = [event for event in events if event[0] > last]
        if fresh:
            store(receiver, slot, fresh)
            last = fresh[-1][0]
        # nothing there: move over what is not for this slot
        source.execute("SELECT loyalty.acknowledge(%s, %s, %s)", (consumer, events[-1][0] if events else None, slot))
        if not events and not woken:
            select.select([source], [], [], 5)      # what has come is read with the next answer


def main():
    dsn, consumer, slot, file = sys.argv[1:]
    while True:
        try:
            consume(dsn, consumer, int(slot), file)
        except (psycopg.Error, sqlite3.OperationalError) as error:
            if getattr(error, "sqlstate", None) and not isinstance(error, psycopg.OperationalError):
                raise               # the server refuses: nothing that passes
            print("again in a second:", error, file=sys.stderr)
            time.sleep(1)


if __name__ == "__main__":
    main()
