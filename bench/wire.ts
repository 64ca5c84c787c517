/**
 * What one message costs in the codecs of the hot path, in nanoseconds.
 *
 *   node dist/bench/wire.js
 *
 * 16-byte keys, 256-byte values. Each number is the best of a hundred short rounds: noise of the machine only adds.
 */

import { encodePut } from '../src/client/requests.js';
import { decodePutResult } from '../src/client/results.js';
import { ResponseHeaderTemplate } from '../src/wire/header.js';
import {
  decodeInternalRequest,
  encodeInternalRequest,
  InternalField,
  newInternalRequest,
} from '../src/wire/internal.js';
import {
  decodeKeyValue,
  decodePutRequest,
  decodeRangeRequest,
  encodeKeyValue,
  encodePutResponse,
  encodeRangeResponse,
} from '../src/wire/kv.js';
import { decode, encode } from '../src/wire/schema.js';
import { decodeTxnRequest } from '../src/wire/txn.js';

const ROUNDS = 100;
const ROUND_MS = 4;

/** Results end up here, so that nothing is optimised away. */
let sink = 0;

function measure(name: string, work: () => number): void {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    let count = 0;
    const start = performance.now();
    let elapsed = 0;
    do {
      for (let i = 0; i < 200; i++) sink += work();
      count += 200;
      elapsed = performance.now() - start;
    } while (elapsed < ROUND_MS);
    best = Math.min(best, (elapsed * 1e6) / count);
  }
  process.stdout.write(`${name.padEnd(44)} ${best.toFixed(0).padStart(7)} ns\n`);
}

const key = new TextEncoder().encode('/registry/pods/x');
const value = new Uint8Array(256).fill(7);
const put = encode('etcdserverpb.PutRequest', { key, value });
const putWithLease = encode('etcdserverpb.PutRequest', { key, value, lease: 7_587_869_123_456_789_012n });
const range = encode('etcdserverpb.RangeRequest', { key, limit: 500n, revision: 1_000_000n });
const txn = encode('etcdserverpb.TxnRequest', {
  compare: [{ target: 2, key, mod_revision: 1_000_000n }],
  success: [{ request_put: { key, value } }],
  failure: [{ request_range: { key } }],
});
const entry = encodeInternalRequest(InternalField.Put, put, 0x89ad, 178_118_045_891_074);
const record = {
  key,
  createRevision: 1_000_000,
  modRevision: 1_000_001,
  version: 2,
  value,
  lease: 0n,
};
const kv = encodeKeyValue(record);
const kvs = Array.from({ length: 100 }, () => kv);
const header = new ResponseHeaderTemplate(0xcdf818194e3a8c32n, 0x8e9e05c52164694dn);
const peek = newInternalRequest();
const text = 'x'.repeat(256);
const putReply = encodePutResponse(header, 1_000_000, 2);

measure('put request, decode', () => decodePutRequest(put).key.length);
measure('put request with lease, decode', () => decodePutRequest(putWithLease).key.length);
measure('range request, decode', () => decodeRangeRequest(range).key.length);
measure('txn request (1 compare, 1 put, 1 range), decode', () => decodeTxnRequest(txn).success.length);
measure('internal request, wrap a put', () => encodeInternalRequest(InternalField.Put, put, 1, 3e13).length);
measure('internal request, peek', () => {
  decodeInternalRequest(entry, peek);
  return peek.bodyEnd;
});
measure('key-value record, encode', () => encodeKeyValue(record).length);
measure('key-value record, decode', () => decodeKeyValue(kv).version);
measure('put reply, encode', () => encodePutResponse(header, 1_000_000, 2).length);
measure(
  'range reply of 1, encode',
  () => encodeRangeResponse(header, 1_000_000, 2, { kvs: [kv], more: false, count: 1 }).length,
);
measure(
  'range reply of 100, encode',
  () => encodeRangeResponse(header, 1_000_000, 2, { kvs, more: false, count: 100 }).length,
);
measure('client: put request of two texts, encode', () => encodePut('/registry/pods/x', text, undefined).length);
measure('client: put reply, decode', () => decodePutResult(putReply).revision);
measure('put request by the generic codec, decode', () => decode('etcdserverpb.PutRequest', put).key.length);
process.stdout.write(`(${sink % 10})\n`);
