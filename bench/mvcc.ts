/**
 * What one request costs in the key space: microseconds a put, get, range and delete with a million keys, and the bytes
 * a key takes in the index. Each number is the best of many short rounds: noise of the machine only adds.
 *
 *     node dist/bench/mvcc.js [keys] [random | ordered]
 *
 * Entries are applied as a member applies them: decoded, put into index and records, answered. The records go to a
 * store that keeps nothing but a sample, so that the numbers are those of index, encoding and replies alone; LMDB is
 * measured by bench/storage.ts.
 */
import { Prng } from '../src/base/prng.js';
import { Applier, type ApplierStorage } from '../src/member/apply/applier.js';
import type { RecordVisitor, Revision } from '../src/member/mvcc/storage.js';
import type { Entry } from '../src/member/raft/types.js';
import {
  decodeInternalRequest,
  encodeInternalRequest,
  InternalField,
  newInternalRequest,
} from '../src/wire/internal.js';
import { decodeRangeRequest, encodeKeyValue } from '../src/wire/kv.js';
import { encode } from '../src/wire/schema.js';

const keys = Number(process.argv[2] ?? 1_000_000);
const order = process.argv[3] ?? 'random';
const rounds = 60;
const perRound = 2_000;
const value = Buffer.alloc(256, 'v');
const range = { key: Buffer.alloc(0), range_end: Buffer.alloc(0) };

/** Answers every read with the same record and forgets every write. */
class Sink implements ApplierStorage {
  readonly #record = encodeKeyValue({
    key: keyOf(0),
    createRevision: 1_000_000,
    modRevision: 2_000_000,
    version: 3,
    value,
    lease: 0n,
  });
  records = 0;

  putRecord(): void {
    this.records += 1;
  }

  getRecord(): Uint8Array {
    return this.#record;
  }

  deleteRecord(): void {}
  scanRecords(_from: Revision, _visit: RecordVisitor): void {}
  get(): undefined {}
  put(): void {}
  delete(): void {}
  setApplied(): void {}

  list(): [Uint8Array, Uint8Array][] {
    return [];
  }

  sizeBytes(): number {
    return 0;
  }
}

function keyOf(number: number): Buffer {
  const position = order === 'random' ? (Math.imul(number, 0x9e3779b1) >>> 0) * 4096 + (number & 4095) : number;
  return Buffer.from(`/registry/pods/${position.toString(36).padStart(12, '0')}`);
}

const storage = new Sink();
const applier = new Applier({
  clusterId: 0xcdf818194e3a8c32n,
  memberId: 0x8211f1d0f64f3269n,
  quotaBackendBytes: -1,
  storage,
  members: {
    clusterVersion: undefined,
    applyAttributes: () => {},
    applyClusterVersion: () => {},
    applyDowngrade: () => {},
  },
  minimumLeaseTtlSeconds: 2,
  authTokenTtlSeconds: 300,
});

const prng = new Prng(1);
const envelope = newInternalRequest();
let index = 0;

function entryOf(field: InternalField, body: Uint8Array): Entry {
  index += 1;
  return { type: 0, term: 3, index, data: encodeInternalRequest(field, body, 7, index) };
}

function apply(entry: Entry): void {
  decodeInternalRequest(entry.data, envelope);
  applier.apply(entry, envelope, 3, true);
}

function putOf(number: number): Entry {
  return entryOf(InternalField.Put, encode('etcdserverpb.PutRequest', { key: keyOf(number), value }));
}

/** The best round's microseconds per operation; what is prepared is not measured. */
function measure<T>(name: string, prepare: () => T, run: (prepared: T) => void, count = perRound): void {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round += 1) {
    const prepared = Array.from({ length: count }, prepare);
    const start = performance.now();
    for (const item of prepared) run(item);
    best = Math.min(best, ((performance.now() - start) * 1e3) / count);
  }
  console.log(`${name.padEnd(44)} ${best.toFixed(2)} µs`);
}

function memoryBytes(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const memoryBefore = memoryBytes();
let fillMs = 0;
for (let from = 0; from < keys; from += perRound) {
  const entries = Array.from({ length: Math.min(perRound, keys - from) }, (_, at) => putOf(from + at));
  const start = performance.now();
  for (const entry of entries) apply(entry);
  fillMs += performance.now() - start;
}
console.log(`${keys} keys, ${order}; values of ${value.length} bytes`);
console.log(`${'put of a new key, average of the filling'.padEnd(44)} ${((fillMs * 1e3) / keys).toFixed(2)} µs`);
console.log(`${'memory per key in the index'.padEnd(44)} ${((memoryBytes() - memoryBefore) / keys).toFixed(0)} bytes`);

let next = keys;
const anyKey = (): number => prng.nextBelow(keys);
const rangeOf = (fields: object): Uint8Array => encode('etcdserverpb.RangeRequest', { ...range, ...fields });
const read = (body: Uint8Array): unknown => applier.range(decodeRangeRequest(body), 3);
measure('put of a new key', () => putOf(next++), apply);
measure('put of an existing key', () => putOf(anyKey()), apply);
measure('get', () => rangeOf({ key: keyOf(anyKey()) }), read);
measure('get at an older revision', () => rangeOf({ key: keyOf(anyKey()), revision: BigInt(keys) }), read);
const fromAny = (fields: object) => () => rangeOf({ key: keyOf(anyKey()), range_end: Buffer.from([0]), ...fields });
measure('range of 100, with the count of the rest', fromAny({ limit: 100n }), read, 100);
measure('count of about half the keys', fromAny({ count_only: true }), read, 500);
const deletions = new Set<number>();
const undeletedKey = (): number => {
  let number = anyKey();
  while (deletions.has(number)) number = anyKey();
  deletions.add(number);
  return number;
};
measure(
  'delete of a key',
  () => entryOf(InternalField.DeleteRange, encode('etcdserverpb.DeleteRangeRequest', { key: keyOf(undeletedKey()) })),
  apply,
);
