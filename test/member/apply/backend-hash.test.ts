/**
 * The hash of everything a member stores, against what a real etcd (3.5) answered for the same content.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '../../../src/base/bytes.js';
import { BackendHashJob, type HashedTable } from '../../../src/member/apply/backend-hash.js';
import { encodeConfState } from '../../../src/wire/conf-state.js';
import { MemoryStateStore } from '../../support/memory-state-store.js';

const MEMBER = 8951476252536197943n;
const MEMBER_JSON = `{"id":${MEMBER},"peerURLs":["http://127.0.0.1:44065"],"name":"m1"}`;
const COMPACTED = '00000000000000055f0000000000000000';
/** What etcd answered. */
const HASH = 2599186712;

const tables: readonly (readonly [HashedTable, key: Uint8Array, value: Uint8Array])[] = [
  ['auth', utf8Encode('authRevision'), hex('0000000000000001')],
  ['cluster', utf8Encode('clusterVersion'), utf8Encode('3.5.0')],
  ['lease', hex('5337a2007529cb0b'), hex('088b96a7a987c0e89b531064')],
  ['members', utf8Encode('7c3a083987c3d337'), utf8Encode(MEMBER_JSON)],
  ['meta', utf8Encode('finishedCompactRev'), hex(COMPACTED)],
  ['meta', utf8Encode('scheduledCompactRev'), hex(COMPACTED)],
];
const records: readonly (readonly [main: number, tombstone: boolean, value: string])[] = [
  [3, false, '0a026b311003180320012a027631'],
  [4, false, '0a026b321004180420012a027632'],
  [5, false, '0a026b301002180520022a027633'],
  [6, false, '0a026b311003180620022a027634'],
  [7, true, '0a026b31'],
];
const confState = encodeConfState({
  voters: [MEMBER],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
});

function hex(text: string): Uint8Array {
  return Buffer.from(text, 'hex');
}

function filled(): MemoryStateStore {
  const store = new MemoryStateStore();
  for (const [table, key, value] of tables) store.put(table, key, value);
  for (const [main, tombstone, value] of records) store.putRecord(main, 0, tombstone, hex(value));
  return store;
}

function hashOf(store: MemoryStateStore, recordsMax = 1_000, during = () => {}): number {
  const job = new BackendHashJob(store, confState, 7);
  for (;;) {
    const hash = job.step(recordsMax);
    if (hash !== undefined) return hash;
    during();
  }
}

test('the hash is etcd’s, in slices of any size', () => {
  for (const recordsMax of [1, 2, 3, 5, 100]) assert.equal(hashOf(filled(), recordsMax), HASH);
});

test('what is written while it is taken is not in it', () => {
  const store = filled();
  let main = 8;
  const hash = hashOf(store, 1, () => {
    store.putRecord(main, 0, false, hex('0a026b311003180620022a027634'));
    store.put('lease', utf8Encode(String(main)), hex('00'));
    main += 1;
  });
  assert.equal(hash, HASH);
  assert.ok(main > 9);
});

test('every table counts, and so does the configuration', () => {
  for (const [table, key] of tables) {
    const store = filled();
    store.put(table, key, hex('01'));
    assert.notEqual(hashOf(store), HASH, table);
  }
  const other = new BackendHashJob(filled(), utf8Encode('{}'), 7).step(1_000);
  assert.notEqual(other, HASH);
});

test('a configuration with learners and one on its way, as Go writes it', () => {
  const text = Buffer.from(
    encodeConfState({ voters: [1n, 2n], learners: [3n], votersOutgoing: [1n], learnersNext: [4n], autoLeave: true }),
  ).toString();
  const fields = '"voters":[1,2],"learners":[3],"voters_outgoing":[1],"learners_next":[4],"auto_leave":true';
  assert.equal(text, `{${fields}}`);
});
