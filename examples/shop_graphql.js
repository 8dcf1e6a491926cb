// The story of an order over GraphQL, with PostGraphile 5 (npm install postgraphile).
//
//	PGDATABASE=shop PGUSER=shop node shop_graphql.js
//
// shop.sql and shop_api.sql make the database.  PGHOST, PGPORT and PGPASSWORD say where it is, as for psql.
import { createServer } from 'node:http';
import { once } from 'node:events';
import { postgraphile } from 'postgraphile';
import { GraphQLError } from 'postgraphile/graphql';
import { makePgService } from 'postgraphile/adaptors/pg';
import { grafserv } from 'postgraphile/grafserv/node';
import { defaultMaskError } from 'postgraphile/grafserv';
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber';

// ---- the server

const pgl = postgraphile({
  extends: [PostGraphileAmberPreset],
  pgServices: [makePgService({ connectionString: 'postgres://', schemas: ['shop_api'] })],
  grafserv: {
    graphiql: false,
    // By itself it shows nobody what the database says.  Refusals of loyalty, which have an SQLSTATE of class LY,
    // are meant for callers; anything else is a fault, and stays hidden.
    maskError(error) {
      const refusal = error.originalError;
      if (!refusal?.code?.startsWith('LY')) return defaultMaskError(error);
      return new GraphQLError(error.message, {
        nodes: error.nodes, source: error.source, positions: error.positions, path: error.path,
        extensions: { code: refusal.code, detail: refusal.detail, hint: refusal.hint },
      });
    },
  },
});
const server = createServer();
server.on('error', (error) => { throw error; });
const serv = pgl.createServ(grafserv);
await serv.addTo(server);
server.listen(0, '127.0.0.1');
await once(server, 'listening');

// ---- a client: any library, or none

async function ask(query, variables) {
  const response = await fetch(`http://127.0.0.1:${server.address().port}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  if (errors) throw Object.assign(new Error(errors[0].message), errors[0].extensions);
  return data;
}

const { joinMember } = await ask(
  `mutation ($email: String!, $name: String) { joinMember(input: { email: $email, name: $name }) { result } }`,
  { email: 'Ann@Example.org', name: 'Ann' });
const memberId = joinMember.result;
// JSON is jsonb as it is
const { member } = await ask(`query ($memberId: BigInt!) { member(memberId: $memberId) }`, { memberId });
console.log(`member ${memberId} is ${member.name}`);

const tea = {
  memberId,
  orderId: '1001',
  total: '120.50',
  placedAt: '2026-02-03T10:00:00Z',
  lines: [{ sku: 'TEA', amount: 40.5 }, { sku: 'CUP', quantity: 2, amount: 80 }],
};
for (let attempt = 1; attempt <= 2; attempt++) {
  const { placeOrder } = await ask(
    `mutation ($order: PlaceOrderInput!) { placeOrder(input: $order) { result { points replayed } } }`, { order: tea });
  console.log(`order ${tea.orderId}: ${placeOrder.result.points} points${placeOrder.result.replayed ? ', as answered before' : ''}`);
}

// BigInt and BigFloat (numeric) are strings, Datetime is a string with an offset
const { balance, statement } = await ask(
  `query ($memberId: BigInt!) {
    balance(memberId: $memberId) { available held nextExpiryAt }
    statement(memberId: $memberId) { nodes { effectiveAt kind points reference } }
  }`, { memberId });
console.log(`${Number(balance.available)} available, ${balance.held} held, the next expire ${balance.nextExpiryAt ?? 'never'}`);
for (const entry of statement.nodes) {
  console.log(`${new Date(entry.effectiveAt).toISOString().replace('.000', '')} ${entry.kind} ${entry.points}, order ${entry.reference}`);
}

try {
  await ask(`mutation ($order: PayWithPointsInput!) { payWithPoints(input: $order) { result } }`,
    { order: { memberId, orderId: '1002', total: '500.00', placedAt: '2026-02-04T10:00:00Z', points: '500' } });
} catch (error) {
  if (!error.code?.startsWith('LY')) throw error;
  console.log(`${error.code}: ${error.message}`);
  console.log(`detail: ${error.detail}`);
  console.log(`hint: ${error.hint}`);
}
const { orders } = await ask(`{ orders { nodes { orderId total } } }`);
console.log(`orders: ${orders.nodes.map((order) => `${order.orderId} of ${order.total}`).join(', ')}`);

const { hold } = await ask(
  `mutation ($hold: HoldInput!) { hold(input: $hold) { result { holdId available } } }`,
  { hold: { memberId, points: '100', until: new Date(Date.now() + 15 * 60_000), key: 'hold for order 1003' } });
console.log(`held 100, ${hold.result.available} available`);
const { capture } = await ask(
  `mutation ($capture: CaptureInput!) { capture(input: $capture) { result } }`,
  { capture: { memberId, holdId: hold.result.holdId, points: '60', key: 'payment of order 1003' } });
console.log(`captured 60, ${capture.result} available`);

server.close();
await pgl.release();
