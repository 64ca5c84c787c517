/** The log view: where the persisted part ends and the part in memory begins must not show. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EMPTY_CONF_STATE } from '../../../src/member/raft/conf-change.js';
import { LogView } from '../../../src/member/raft/raft-log.js';
import { ENTRY_OVERHEAD_BYTES, type Entry, EntryType } from '../../../src/member/raft/types.js';
import { MemoryLog } from './support/memory-log.js';

const CONF_STATE = { ...EMPTY_CONF_STATE, voters: [1n] };

const entry = (index: number, term: number, bytes = 4): Entry => ({
  type: EntryType.Normal,
  term,
  index,
  data: new Uint8Array(bytes),
});

/** Entries 3..5 persisted (terms 1 1 2) behind a snapshot at 2, and 6..7 in memory (terms 2 3). */
function view(): { log: LogView; storage: MemoryLog } {
  const storage = new MemoryLog();
  storage.installSnapshot({ index: 2, term: 1, confState: CONF_STATE });
  storage.append([entry(3, 1), entry(4, 1), entry(5, 2)], undefined, true);
  const log = new LogView(storage, 4, 3);
  log.append([entry(6, 2), entry(7, 3)]);
  return { log, storage };
}

const indexes = (entries: readonly Entry[]) => entries.map(({ index, term }) => `${index}/${term}`);

test('terms and ranges across the boundary', () => {
  const { log } = view();
  assert.deepEqual([log.firstIndex(), log.stableIndex(), log.lastIndex(), log.lastTerm()], [3, 5, 7, 3]);
  const terms = [1, 2, 3, 4, 5, 6, 7, 8].map(index => log.term(index));
  assert.deepEqual(terms, [undefined, 1, 1, 1, 2, 2, 3, undefined]);
  assert.deepEqual(indexes(log.entries(3, 8, 1 << 20)), ['3/1', '4/1', '5/2', '6/2', '7/3']);
  assert.deepEqual(indexes(log.entries(6, 7, 1 << 20)), ['6/2']);
  assert.throws(() => log.entries(2, 5, 1), { name: 'AssertionError' }, 'compacted');
  assert.throws(() => log.entries(5, 9, 1), { name: 'AssertionError' }, 'beyond the end');
});

test('a limit of bytes counts across the boundary, and always leaves one entry', () => {
  const { log } = view();
  const weight = 4 + ENTRY_OVERHEAD_BYTES;
  for (let count = 1; count <= 5; count++) {
    assert.equal(log.entries(3, 8, count * weight).length, count);
    assert.equal(log.entries(3, 8, (count + 1) * weight - 1).length, count);
  }
  assert.equal(log.entries(3, 8, 1).length, 1);
  assert.equal(log.entries(7, 8, 1).length, 1);
});

test('an append that conflicts replaces the tail, in memory or below it', () => {
  const { log, storage } = view();
  assert.equal(log.maybeAppend(6, 2, [entry(7, 4)]), 7);
  assert.deepEqual(indexes(log.unstable()), ['6/2', '7/4']);
  assert.equal(log.maybeAppend(4, 1, [entry(5, 4), entry(6, 4)]), 6);
  assert.deepEqual(indexes(log.unstable()), ['5/4', '6/4']);
  assert.deepEqual([log.stableIndex(), log.lastIndex(), log.term(5)], [4, 6, 4], 'the storage still has 5/2');
  assert.deepEqual(indexes(log.entries(3, 7, 1 << 20)), ['3/1', '4/1', '5/4', '6/4']);
  storage.append(log.unstable(), undefined, true);
  log.stableTo(6, 4);
  assert.deepEqual([log.hasUnstable(), log.stableIndex()], [false, 6]);
  assert.throws(() => log.maybeAppend(3, 1, [entry(4, 4)]), /never overwritten/);
});

test('an append that is known already changes nothing, a shorter one does not cut', () => {
  const { log } = view();
  assert.equal(log.maybeAppend(3, 1, [entry(4, 1), entry(5, 2)]), 5);
  assert.equal(log.lastIndex(), 7);
  assert.equal(log.maybeAppend(7, 2, []), undefined, 'another term there');
  assert.equal(log.maybeAppend(8, 3, []), undefined, 'nothing there');
  assert.equal(log.maybeAppend(1, 1, []), undefined, 'compacted');
});

test('persisting a position that was overwritten meanwhile persists nothing', () => {
  const { log } = view();
  log.maybeAppend(6, 2, [entry(7, 4)]);
  log.stableTo(7, 3);
  assert.deepEqual(indexes(log.unstable()), ['6/2', '7/4']);
  log.stableTo(6, 2);
  assert.deepEqual(indexes(log.unstable()), ['7/4']);
});

test('the search for a common point goes down a term at a time', () => {
  const { log } = view();
  assert.deepEqual(log.findConflictByTerm(7, 3), { index: 7, term: 3 });
  assert.deepEqual(log.findConflictByTerm(7, 2), { index: 6, term: 2 });
  assert.deepEqual(log.findConflictByTerm(7, 1), { index: 4, term: 1 });
  assert.deepEqual(log.findConflictByTerm(7, 0), { index: 1, term: undefined }, 'down to what is compacted');
  assert.deepEqual(log.findConflictByTerm(99, 1), { index: 99, term: undefined }, 'beyond the end (raft 0c22de0)');
});

test('up to date: a later last term, or the same with at least as many entries (§5.4.1)', () => {
  const { log } = view();
  assert.equal(log.isUpToDate(7, 3), true);
  assert.equal(log.isUpToDate(6, 3), false);
  assert.equal(log.isUpToDate(3, 4), true);
  assert.equal(log.isUpToDate(99, 2), false);
});

test('a snapshot takes the place of everything, and nothing is applied until it is installed', () => {
  const { log, storage } = view();
  const snapshot = { index: 20, term: 5, confState: CONF_STATE };
  log.restore(snapshot);
  assert.deepEqual([log.firstIndex(), log.lastIndex(), log.committed], [21, 20, 20]);
  assert.deepEqual([log.term(20), log.term(19), log.term(7)], [5, undefined, undefined]);
  log.maybeAppend(20, 5, [entry(21, 5)]);
  log.commitTo(21);
  assert.deepEqual(log.committedToApply(1 << 20), []);
  assert.throws(() => log.snapshotInstalled(20), { name: 'AssertionError' }, 'the storage has not installed it');
  storage.installSnapshot(snapshot);
  log.snapshotInstalled(20);
  assert.equal(log.pendingSnapshot(), undefined);
  assert.deepEqual(indexes(log.committedToApply(1 << 20)), ['21/5']);
  assert.throws(() => log.restore(snapshot), /only moves forward/);
});
