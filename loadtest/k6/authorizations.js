// Stripe's part, for k6: signed `issuing_authorization.request` events at a steady rate that does not wait for answers
// (an open model), with the objectives as thresholds. Everything is in this file; nothing is imported from the network.
//
//   k6 run -e TARGET=http://127.0.0.1:4242/webhook -e SECRET=whsec_… -e RATE=500 -e DURATION=30s authorizations.js
//
// What this cannot do, and `run.sh` does: check each answer against books of its own, and tell what Stripe tells later.

import http from 'k6/http';
import crypto from 'k6/crypto';
import {check} from 'k6';
import exec from 'k6/execution';
import {Counter, Rate} from 'k6/metrics';

const target = __ENV.TARGET || 'http://127.0.0.1:4242/webhook';
const secret = __ENV.SECRET || 'whsec_only_for_trying_it_out';
const cards = Number(__ENV.CARDS || 10000);
const rate = Number(__ENV.RATE || 200);
// Ids are new in each run: an answer that was given once would only be given again.
const run = __ENV.RUN || Date.now().toString(36);

export const options = {
  scenarios: {
    authorizations: {
      executor: 'constant-arrival-rate',
      rate,
      timeUnit: '1s',
      duration: __ENV.DURATION || '30s',
      preAllocatedVUs: Math.max(50, rate),
      maxVUs: Math.max(100, rate * 2),
    },
  },
  thresholds: {
    // Stripe waits for 2 seconds. An answer that was never asked for is as bad as one that never came.
    http_req_duration: ['p(99)<500', 'p(99.9)<1500'],
    answered: ['rate>0.9999'],
    dropped_iterations: ['count==0'],
  },
  summaryTrendStats: ['med', 'p(90)', 'p(99)', 'p(99.9)', 'max', 'count'],
};

const answered = new Rate('answered');
const approved = new Counter('approved');
const declined = new Counter('declined');

// Small amounts on many cards, a few cards used far more than the others.
function draw() {
  const popularity = Math.pow(Math.random(), 3);
  return {card: Math.floor(popularity * cards), amount: 100 + Math.floor(Math.random() * 4900)};
}

function authorizationRequest(number, created) {
  const {card, amount} = draw();
  const id = `${run}${number.toString(36)}`;
  const category = ['eating_places_restaurants', 'grocery_stores_supermarkets', 'taxicabs_limousines'][number % 3];
  const code = ['5812', '5411', '4121'][number % 3];
  const merchant = {
    category, category_code: code, city: 'San Francisco', country: 'US', name: 'ROCKET RIDES', network_id: '1234567890',
    postal_code: '94107', state: 'CA', tax_id: null, terminal_id: '99999999', url: null,
  };
  return {
    id: `evt_k6${id}`,
    object: 'event',
    api_version: '2025-06-30.basil',
    created,
    livemode: false,
    pending_webhooks: 1,
    request: {id: null, idempotency_key: null},
    type: 'issuing_authorization.request',
    data: {
      object: {
        id: `iauth_k6${id}`,
        object: 'issuing.authorization',
        amount: 0,
        amount_details: {atm_fee: null, cashback_amount: 0},
        approved: false,
        authorization_method: 'online',
        balance_transactions: [],
        card: {
          id: `ic_k6${card}`,
          object: 'issuing.card',
          brand: 'Visa',
          cancellation_reason: null,
          cardholder: {
            id: `ich_k6${card}`, object: 'issuing.cardholder', created: 1700000000, livemode: false, metadata: {},
            requirements: {disabled_reason: null, past_due: []}, status: 'active', type: 'individual',
            spending_controls: {
              allowed_categories: [], allowed_merchant_countries: [], blocked_categories: [],
              blocked_merchant_countries: [], spending_limits: [], spending_limits_currency: null,
            },
          },
          created: 1700000000,
          currency: 'usd',
          exp_month: 8,
          exp_year: 2031,
          livemode: false,
          metadata: {},
          replaced_by: null,
          replacement_for: null,
          replacement_reason: null,
          shipping: null,
          spending_controls: {
            allowed_categories: null, allowed_merchant_countries: null, blocked_categories: null,
            blocked_merchant_countries: null, spending_limits: [], spending_limits_currency: null,
          },
          status: 'active',
          type: 'virtual',
          wallets: {apple_pay: {eligible: true, ineligible_reason: null}, google_pay: {eligible: true, ineligible_reason: null}, primary_account_identifier: null},
        },
        created,
        currency: 'usd',
        fleet: null,
        fraud_challenges: null,
        fuel: null,
        livemode: false,
        merchant_amount: 0,
        merchant_currency: 'usd',
        merchant_data: merchant,
        metadata: {},
        network_data: {acquiring_institution_id: '123456', system_trace_audit_number: '654321', transaction_id: `${number}`},
        pending_request: {
          amount,
          amount_details: {atm_fee: null, cashback_amount: 0},
          currency: 'usd',
          is_amount_controllable: false,
          merchant_amount: amount,
          merchant_currency: 'usd',
          network_risk_score: 12,
        },
        request_history: [],
        status: 'pending',
        token: null,
        transactions: [],
        treasury: null,
        verification_data: {
          address_line1_check: 'not_provided', address_postal_code_check: 'match', authentication_exemption: null,
          cvc_check: 'match', expiry_check: 'match', postal_code: '94107', three_d_secure: null,
        },
        verified_by_fraud_challenge: null,
        wallet: null,
      },
    },
  };
}

export default function () {
  const created = Math.floor(Date.now() / 1000);
  const body = JSON.stringify(authorizationRequest(exec.scenario.iterationInTest, created));
  const signature = crypto.hmac('sha256', secret, `${created}.${body}`, 'hex');
  const response = http.post(target, body, {
    headers: {'Content-Type': 'application/json; charset=utf-8', 'Stripe-Signature': `t=${created},v1=${signature}`},
    timeout: '2s',
  });
  const isAnswer = check(response, {
    'answered in Stripe\'s terms': (reply) => reply.status === 200 && typeof reply.json('approved') === 'boolean',
  });
  answered.add(isAnswer);
  if (isAnswer) {
    (response.json('approved') ? approved : declined).add(1);
  }
}
