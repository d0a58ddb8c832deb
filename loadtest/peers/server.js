// The answer that Stripe's guides lead to, on Express with Stripe's own library: verify, look at the amount, reply.
// `node server.js stateless` keeps nothing. `node server.js postgres` keeps a daily limit of each card in PostgreSQL,
// with the card's row locked from reading it to writing it. Both are what a good engineer writes in a day.
//
// PORT, STRIPE_WEBHOOK_SECRET, LIMIT (minor units), DATABASE_URL; it says `listening` when it is.

import express from 'express';
import pg from 'pg';
import Stripe from 'stripe';

const secret = process.env.STRIPE_WEBHOOK_SECRET;
const limit = Number(process.env.LIMIT ?? 50_000);
const stripe = new Stripe('sk_test_not_used_for_webhooks');

async function stateless(authorization) {
  return authorization.pending_request.amount <= limit;
}

async function keptInPostgres() {
  const pool = new pg.Pool({connectionString: process.env.DATABASE_URL, max: 20});
  await pool.query(`
    CREATE TABLE IF NOT EXISTS card (id text, day date, spent bigint NOT NULL, PRIMARY KEY (id, day));
    CREATE TABLE IF NOT EXISTS decision (event text PRIMARY KEY, card text NOT NULL, amount bigint NOT NULL,
                                         approved boolean NOT NULL, at timestamptz NOT NULL DEFAULT now())`);
  return async (authorization, event) => {
    const {amount} = authorization.pending_request;
    const card = authorization.card.id;
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      await client.query("INSERT INTO card VALUES ($1, (now() AT TIME ZONE 'utc')::date, 0) ON CONFLICT DO NOTHING", [card]);
      const {rows} = await client.query(
        "SELECT spent FROM card WHERE id = $1 AND day = (now() AT TIME ZONE 'utc')::date FOR UPDATE", [card]);
      // A delivery that comes again gets the answer of the first.
      const before = await client.query('SELECT approved FROM decision WHERE event = $1', [event.id]);
      let approved;
      if (before.rows.length > 0) {
        approved = before.rows[0].approved;
      } else {
        approved = Number(rows[0].spent) + amount <= limit;
        await client.query('INSERT INTO decision VALUES ($1, $2, $3, $4)', [event.id, card, amount, approved]);
        if (approved) {
          await client.query(
            "UPDATE card SET spent = spent + $2 WHERE id = $1 AND day = (now() AT TIME ZONE 'utc')::date", [card, amount]);
        }
      }
      await client.query('COMMIT');
      return approved;
    } catch (problem) {
      await client.query('ROLLBACK');
      throw problem;
    } finally {
      client.release();
    }
  };
}

const kinds = {stateless: async () => stateless, postgres: keptInPostgres};
const kind = kinds[process.argv[2]];
if (!kind || !secret) {
  console.error('usage: STRIPE_WEBHOOK_SECRET=… PORT=… node server.js stateless|postgres');
  process.exit(2);
}
const decide = await kind();

const app = express();
app.disable('x-powered-by');
app.post('/webhook', express.raw({type: 'application/json'}), async (request, reply) => {
  let event;
  try {
    event = stripe.webhooks.constructEvent(request.body, request.headers['stripe-signature'], secret);
  } catch {
    reply.status(400).end();
    return;
  }
  if (event.type !== 'issuing_authorization.request') {
    reply.json({received: true});
    return;
  }
  const approved = await decide(event.data.object, event);
  reply.set('Stripe-Version', '2022-08-01').json({approved});
});

const server = app.listen(Number(process.env.PORT ?? 4300), '127.0.0.1', () => console.log('listening'));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
