/**
 * Proof of the proof, second part: what writers and readers were told and what caches contain, right and wrong.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { History } from './history.js';
import { Ledger, type Operation, type ReadRecord, type WriteRecord } from './ledger.js';
import type { KeyRange, KeyValue, WatchEvent, WatchRequest } from './records.js';
import { type Listing, Reflector } from './reflector.js';
import type { WatchClient, WatchListener } from './watch-client.js';

const range: KeyRange = { key: 'a', rangeEnd: '\0' };
const nothing = { value: '', createRevision: 0, version: 0, lease: 0n };

function pair(key: string, modRevision: number, value: string, more: Partial<KeyValue> = {}): KeyValue {
  return { key, value, createRevision: modRevision, modRevision, version: 1, lease: 0n, ...more };
}

function put(kv: KeyValue): WatchEvent {
  return { type: 'put', kv, prevKv: undefined };
}

function deletion(key: string, modRevision: number): WatchEvent {
  return { type: 'delete', kv: { ...nothing, key, modRevision }, prevKv: undefined };
}

const a1 = pair('a', 2, 'v1');
const a2 = pair('a', 3, 'v2', { createRevision: 2, version: 2 });
const b1 = pair('b', 3, 'v3');
const leased = [pair('l1', 4, 'v4', { lease: 9n }), pair('l2', 5, 'v5', { lease: 9n })] as const;
const events = [put(a1), put(a2), put(b1), ...leased.map(put), deletion('l1', 6), deletion('l2', 6), deletion('b', 7)];
const history = new History([events]);

function operation({ key, value, lease }: KeyValue): Operation {
  return { type: 'put', key, value, lease };
}

function write(revision: number, operations: readonly Operation[], more: Partial<WriteRecord> = {}): WriteRecord {
  return { client: 'c', guard: undefined, operations, floor: revision - 1, outcome: 'acknowledged', revision, ...more };
}

const removalOfB: Operation = { type: 'delete', key: 'b', value: '', lease: 0n };
const writes: readonly WriteRecord[] = [
  write(2, [operation(a1)], { guard: { key: 'a', modRevision: 0 } }),
  write(3, [operation(a2), operation(b1)], { guard: { key: 'a', modRevision: 2 } }),
  write(4, [operation(leased[0])]),
  write(5, [operation(leased[1])]),
  write(7, [removalOfB], { guard: { key: 'b', modRevision: 3 } }),
  write(0, [operation(pair('a', 0, 'v6'))], { outcome: 'unknown', floor: 2 }),
];
const reads: readonly ReadRecord[] = [
  { client: 'c', range, floor: 3, revision: 3, pairs: [a2, b1] },
  { client: 'c', range: { key: 'b', rangeEnd: '' }, floor: 5, revision: 7, pairs: [] },
];

function flawsOf(changedWrites: readonly WriteRecord[], changedReads: readonly ReadRecord[] = reads): string[] {
  const ledger = new Ledger();
  ledger.writes.push(...changedWrites);
  ledger.reads.push(...changedReads);
  return ledger.check(history).map(({ text }) => text);
}

/** The right writes, one of them changed. */
function changed(at: number, more: Partial<WriteRecord>): WriteRecord[] {
  return writes.map((right, place) => (place === at ? { ...right, ...more } : right));
}

test('a ledger that is right passes', () => {
  assert.deepEqual(history.flaws(), []);
  assert.deepEqual(flawsOf(writes), []);
  // A lost answer explains a put and a deletion as well as an acknowledgement does.
  assert.deepEqual(flawsOf(changed(0, { outcome: 'unknown' })), []);
  assert.deepEqual(flawsOf(changed(4, { outcome: 'unknown' })), []);
});

const wrongWrites: readonly [string, readonly WriteRecord[]][] = [
  ['acknowledged at another revision', changed(0, { revision: 4 })],
  ['acknowledged and not there', [...writes, write(8, [operation(pair('x', 8, 'v8'))])]],
  ['another order than that of the operations', changed(1, { operations: [operation(b1), operation(a2)] })],
  ['another value', changed(0, { operations: [operation({ ...a1, value: 'other' })] })],
  ['without its lease', changed(2, { operations: [operation({ ...leased[0], lease: 0n })] })],
  ['one operation of two', changed(1, { operations: [operation(a2)] })],
  ['done although its guard was false', changed(1, { guard: { key: 'a', modRevision: 0 } })],
  ['done before it was asked for', changed(1, { floor: 3 })],
  ['refused and done', changed(0, { outcome: 'refused' })],
  ['of unknown outcome, done before it was asked for', changed(0, { outcome: 'unknown', floor: 5 })],
  ['nobody asked for it', writes.slice(1)],
  ['deleted, and nobody asked for it', changed(4, { outcome: 'refused' })],
];
for (const [text, list] of wrongWrites) {
  test(`a write is caught: ${text}`, () => assert.notDeepEqual(flawsOf(list), []));
}

const wrongReads: readonly [string, Partial<ReadRecord>][] = [
  ['stale', { floor: 4 }],
  ['a key is missing', { pairs: [a2] }],
  ['a key too much', { pairs: [a2, b1, leased[0]] }],
  ['a key comes twice', { pairs: [a2, b1, b1] }],
  ['an older pair', { pairs: [a1, b1] }],
  ['another value', { pairs: [{ ...a2, value: 'other' }, b1] }],
];
for (const [text, more] of wrongReads) {
  test(`a read is caught: ${text}`, () => assert.notDeepEqual(flawsOf(writes, [{ ...reads[0]!, ...more }]), []));
}

test('the same value twice is caught: a write that was done twice', () => {
  const again = new History([[...events, put(pair('a', 8, 'v2', { createRevision: 2, version: 3 }))]]);
  const ledger = new Ledger();
  ledger.writes.push(...changed(1, { outcome: 'unknown' }));
  assert.deepEqual(again.flaws(), []);
  assert.match(ledger.check(again)[0]!.text, /v2 is revision 3 and revision 8/);
});

/** A reflector that listed at revision 3 and was then told `told`. */
async function reflected(told: readonly (readonly WatchEvent[])[]): Promise<string[]> {
  let listener: WatchListener | undefined;
  const client = {
    add(request: WatchRequest, added: WatchListener) {
      assert.equal(request.startRevision, 4);
      listener = added;
    },
  };
  const listed: Listing = { revision: 3, pairs: [a2, b1] };
  const list = async () => listed;
  const reflector = new Reflector({ name: 'r', range, client: client as unknown as WatchClient, list });
  await reflector.start();
  for (const group of told) listener?.events(group);
  return reflector.check(history, 7).map(({ text }) => text);
}

const later = events.slice(3);

test('a cache that saw every event once, in order, is right', async () => {
  assert.deepEqual(await reflected([later]), []);
  assert.deepEqual(await reflected(later.map(event => [event])), []);
});

const wrongLives: readonly [string, readonly (readonly WatchEvent[])[]][] = [
  ['the last event is missing', [later.slice(0, -1)]],
  ['an event in the middle is missing', [[...later.slice(0, 1), ...later.slice(2)]]],
  ['an event comes again after a resume', [later.slice(0, 2), later.slice(1)]],
  ['two events are exchanged', [[later[1]!, later[0]!, ...later.slice(2)]]],
  ['an event from before the list', [[events[2]!], later]],
];
for (const [text, told] of wrongLives) {
  test(`a cache is caught: ${text}`, async () => assert.notDeepEqual(await reflected(told), []));
}
