// The story of an order, from Node.js with node-postgres (npm install pg).
//
//	PGDATABASE=shop PGUSER=shop node shop.js
//
// shop.sql makes the database.  PGHOST, PGPORT and PGPASSWORD say where it is, as for psql.
import pg from 'pg';

const pool = new pg.Pool();

// All of it is committed, or nothing.
async function transaction(work) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}

// Who it is: found by any identifier, made where there is none.
async function resolveMember(identifiers, attributes) {
  // an object becomes jsonb by itself, and jsonb an object
  const { rows } = await pool.query(
    `SELECT member_id FROM loyalty.resolve_member($1, 'web', $2)`,
    [identifiers, attributes]);
  return rows[0].member_id;
}

const insertOrder = (client, memberId, order) => client.query(
  `INSERT INTO shop_order (order_id, member_id, total, placed_at)
   VALUES ($1, $2, $3, $4) ON CONFLICT (order_id) DO NOTHING`,
  [order.id, memberId, order.total, order.placedAt]);

// The order and its points in one commit.  Whoever got no answer calls it again with the same arguments: the
// key makes it one order, and the answer is the first one.
function placeOrder(memberId, order) {
  return transaction(async (client) => {
    await insertOrder(client, memberId, order);
    const { rows } = await client.query(
      `SELECT points, replayed
         FROM loyalty.record_activity($1, 'order', $2, lines => $3, external_id => $4, idempotency_key => $5)`,
      // an array would become a PostgreSQL array: as jsonb it must be text
      [memberId, order.placedAt, JSON.stringify(order.lines), order.id, `order ${order.id}`]);
    return rows[0];
  });
}

// An order paid with points: without the points there is no order.
function payWithPoints(memberId, order, points) {
  return transaction(async (client) => {
    await insertOrder(client, memberId, order);
    const { rows } = await client.query(
      `SELECT available FROM loyalty.redeem($1, $2, reference => $3, idempotency_key => $4)`,
      [memberId, points, order.id, `payment ${order.id}`]);
    return rows[0];
  });
}

const memberId = await resolveMember({ email: 'Ann@Example.org' }, { name: 'Ann' });
// a statement of its own: what a function writes is there for the next one
const { rows: [member] } = await pool.query('SELECT attributes FROM loyalty.member WHERE member_id = $1', [memberId]);
console.log(`member ${memberId} is ${member.attributes.name}`);

const tea = {
  id: '1001',
  total: '120.50',
  placedAt: new Date('2026-02-03T10:00:00Z'),
  lines: [{ sku: 'TEA', amount: 40.5 }, { sku: 'CUP', quantity: 2, amount: 80 }],
};
for (let attempt = 1; attempt <= 2; attempt++) {
  const { points, replayed } = await placeOrder(memberId, tea);
  console.log(`order ${tea.id}: ${points} points${replayed ? ', as answered before' : ''}`);
}

// bigint and numeric come as strings, since a number of JavaScript holds whole ones to 2^53 only: leave ids and
// money as they are, and say Number(points) where you reckon.  timestamptz comes as a Date, which has
// milliseconds, NULL as null.
const { rows: [balance] } = await pool.query('SELECT available, held, next_expiry_at FROM loyalty.balance($1)', [memberId]);
console.log(`${Number(balance.available)} available, ${balance.held} held, the next expire ${balance.next_expiry_at ?? 'never'}`);

const { rows: entries } = await pool.query('SELECT effective_at, kind, points, reference FROM loyalty.statement($1)', [memberId]);
for (const entry of entries) {
  console.log(`${entry.effective_at.toISOString().replace('.000', '')} ${entry.kind} ${entry.points}, order ${entry.reference}`);
}

try {
  await payWithPoints(memberId, { id: '1002', total: '500.00', placedAt: new Date('2026-02-04T10:00:00Z') }, 500);
} catch (error) {
  // a refusal has an SQLSTATE of class LY; anything else is a fault
  if (!error.code?.startsWith('LY')) throw error;
  console.log(`${error.code}: ${error.message}`);
  console.log(`detail: ${error.detail}`);
  console.log(`hint: ${error.hint}`);
}
const { rows: orders } = await pool.query('SELECT order_id, total FROM shop_order ORDER BY order_id');
console.log(`orders: ${orders.map((order) => `${order.order_id} of ${order.total}`).join(', ')}`);

// Points are set aside while something else is paid, then taken; what is not taken is free again.  Nobody has
// to release a hold: it lapses by itself.  Until when is reckoned here, once, and not by now() in the call: that
// would be another argument when the call is repeated, which is refused (LY004).
const until = new Date(Date.now() + 15 * 60_000);
const { rows: [hold] } = await pool.query(
  `SELECT entry_id, available FROM loyalty.hold($1, $2, $3, idempotency_key => $4)`,
  [memberId, 100, until, 'hold for order 1003']);
console.log(`held 100, ${hold.available} available`);
const { rows: [capture] } = await pool.query(
  `SELECT available FROM loyalty.capture($1, $2, $3, idempotency_key => $4)`,
  [memberId, hold.entry_id, 60, 'payment of order 1003']);
console.log(`captured 60, ${capture.available} available`);

await pool.end();
