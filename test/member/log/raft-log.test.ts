import assert from 'node:assert/strict';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { describe, test } from 'node:test';
import { AssertionError } from '../../../src/base/assert.js';
import type { RaftLog } from '../../../src/member/log/raft-log.js';
import { entryBytes } from '../../../src/member/raft/types.js';
import { inspectStamp } from '../../../src/member/store/stamp.js';
import { StorageError, type StorageErrorKind } from '../../../src/member/store/storage-error.js';
import { SimulatedFiles } from './simulated-files.js';
import {
  CONF_STATE,
  confStateOf,
  contentOf,
  described,
  entries,
  entry,
  hardState,
  openLog,
  STAMP,
  temporaryDirectory,
} from './support.js';

function fails(kind: StorageErrorKind, text?: RegExp): (error: unknown) => boolean {
  return error =>
    error instanceof StorageError && error.kind === kind && (text === undefined || text.test(error.message));
}

/** Moves everything to LMDB, as a quiet second would. */
function moveAll(log: RaftLog, nowMs = 1_000_000): void {
  log.flushIfDue(nowMs);
  for (let later = nowMs + 5000; log.flushIfDue(later); later += 5000);
}

describe('raft log', () => {
  test('a new log is empty and says so', async context => {
    const directory = await temporaryDirectory(context);
    assert.equal(inspectStamp(directory), undefined);
    const log = openLog(directory);
    assert.equal(log.bootstrapped, false);
    assert.equal(log.firstIndex(), 1);
    assert.equal(log.lastIndex(), 0);
    assert.equal(log.term(0), 0);
    assert.equal(log.term(1), undefined);
    assert.equal(log.stateGeneration, 1);
    assert.deepEqual(log.initialState().hardState, { term: 0, vote: 0n, commit: 0 });
    assert.deepEqual(inspectStamp(directory), STAMP);
    await log.close();
  });

  test('bootstrap, appends and a replaced suffix are there after a crash, from records alone', async context => {
    const directory = await temporaryDirectory(context);
    const log = openLog(directory);
    log.bootstrap(entries(1, 3, 1), hardState(1, 3), CONF_STATE);
    log.append(entries(4, 9, 1), hardState(2, 3), true);
    log.append(entries(6, 7, 2), hardState(2, 5), true);
    log.append([], hardState(3, 5, 0xb2n), true);
    const expected = described([...entries(1, 5, 1), ...entries(6, 7, 2)]);
    assert.deepEqual(contentOf(log), expected);
    await log.abandon();
    const again = openLog(directory);
    assert.equal(again.bootstrapped, true);
    assert.deepEqual(contentOf(again), expected);
    assert.deepEqual(again.initialState(), { hardState: hardState(3, 5, 0xb2n), confState: CONF_STATE });
    assert.equal(again.term(7), 2);
    assert.equal(again.term(8), undefined);
    await again.close();
  });

  test('a commit index alone is not written, and travels with the next write', async context => {
    const directory = await temporaryDirectory(context);
    const log = openLog(directory);
    log.append(entries(1, 5, 1), hardState(1, 0), true);
    log.append([], hardState(1, 4), false);
    assert.equal(log.initialState().hardState.commit, 4);
    await log.abandon();
    const again = openLog(directory);
    assert.equal(again.initialState().hardState.commit, 0);
    again.append([], hardState(1, 4), false);
    again.append([entry(6, 1)], undefined, true);
    await again.abandon();
    const third = openLog(directory);
    assert.equal(third.initialState().hardState.commit, 4);
    await third.close();
  });

  test('entries moved to LMDB read the same, and a conflicting suffix replaces them there too', async context => {
    const directory = await temporaryDirectory(context);
    let log = openLog(directory, { cacheBytesMax: 0 });
    log.append(entries(1, 50, 1), hardState(1, 10), true);
    moveAll(log);
    assert.deepEqual(contentOf(log), described(entries(1, 50, 1)));
    log.append(entries(20, 25, 2), hardState(2, 10), true);
    const expected = described([...entries(1, 19, 1), ...entries(20, 25, 2)]);
    assert.deepEqual(contentOf(log), expected);
    await log.abandon();
    log = openLog(directory, { cacheBytesMax: 0 });
    assert.deepEqual(contentOf(log), expected);
    log.append(entries(26, 60, 2), undefined, true);
    moveAll(log);
    await log.close();
    log = openLog(directory);
    assert.deepEqual(contentOf(log), [...expected, ...described(entries(26, 60, 2))]);
    await log.close();
  });

  test('compaction moves the first index and survives a close; LMDB gets rid of the garbage', async context => {
    const directory = await temporaryDirectory(context);
    let log = openLog(directory);
    log.append(entries(1, 3000, 1, 10), hardState(1, 2500), true);
    moveAll(log);
    log.compact(2400);
    assert.equal(log.firstIndex(), 2401);
    assert.equal(log.term(2400), 1);
    assert.equal(log.term(2399), undefined);
    assert.throws(() => log.entries(2400, 2402, 1000), AssertionError);
    assert.deepEqual(log.snapshotMetadata().index, 2400);
    moveAll(log);
    await log.close();
    log = openLog(directory);
    assert.equal(log.firstIndex(), 2401);
    assert.deepEqual(contentOf(log), described(entries(2401, 3000, 1, 10)));
    assert.throws(() => log.compact(2600), AssertionError);
    await log.close();
  });

  test('entries that are compacted before they were moved never reach LMDB, and nothing is lost', async context => {
    const directory = await temporaryDirectory(context);
    let log = openLog(directory);
    let last = 0;
    for (let round = 0; round < 40; round += 1) {
      log.append(entries(last + 1, last + 100, 1, 200), hardState(1, last), true);
      last += 100;
      log.append([], hardState(1, last), false);
      log.compact(last - 20);
      log.flushIfDue(0);
    }
    const expected = described(entries(last - 19, last, 1, 200));
    assert.deepEqual(contentOf(log), expected);
    await log.abandon();
    log = openLog(directory);
    assert.equal(log.lastIndex(), last);
    assert.deepEqual(contentOf(log).slice(-20), expected);
    await log.close();
  });

  test('a compaction that an append carried holds after a crash', async context => {
    const directory = await temporaryDirectory(context);
    let log = openLog(directory);
    log.append(entries(1, 100, 1), hardState(1, 0), true);
    log.append([], hardState(1, 90), false);
    log.compact(80);
    await log.abandon();
    log = openLog(directory);
    assert.equal(log.firstIndex(), 1, 'nothing was written since');
    log.append([], hardState(1, 90), false);
    log.compact(80);
    log.append(entries(101, 105, 2), undefined, true);
    await log.abandon();
    log = openLog(directory);
    assert.deepEqual([log.firstIndex(), log.term(80), log.initialState().hardState.commit], [81, 1, 90]);
    assert.deepEqual(contentOf(log), described([...entries(81, 100, 1), ...entries(101, 105, 2)]));
    await log.close();
  });

  test('write-ahead files grow under load, and the log reads the same after a crash', async context => {
    const directory = await temporaryDirectory(context);
    const log = openLog(directory, { walFileBytes: 4 << 20 });
    const sizes = () =>
      Promise.all(['wal-0', 'wal-1'].map(async name => (await fs.stat(path.join(directory, name))).size));
    assert.deepEqual(await sizes(), [256 << 10, 256 << 10]);
    let last = 0;
    while (Math.min(...(await sizes())) < 4 << 20) {
      log.append(entries(last + 1, last + 50, 1, 2000), hardState(1, last), true);
      last += 50;
      log.append([], hardState(1, last), false);
      log.compact(last - 60);
      log.flushIfDue(0);
      assert.ok(last < 10_000, 'the files do not grow');
    }
    log.append(entries(last + 1, last + 50, 1, 2000), undefined, true);
    const expected = contentOf(log);
    assert.ok(log.sizeBytes() < 1 << 20, 'what is compacted in time never reaches LMDB');
    await log.abandon();
    const again = openLog(directory);
    assert.deepEqual(contentOf(again).slice(-expected.length), expected);
    await again.close();
  });

  test('an append larger than a write-ahead file goes to LMDB in one piece', async context => {
    const directory = await temporaryDirectory(context);
    const log = openLog(directory, { walFileBytes: 64 << 10 });
    log.append(entries(1, 4, 1, 100), hardState(1, 0), true);
    log.append(entries(3, 10, 2, 50_000), hardState(2, 2), true);
    log.append(entries(11, 12, 2, 100), hardState(2, 10), true);
    const expected = contentOf(log);
    assert.equal(expected.length, 12);
    await log.abandon();
    const again = openLog(directory);
    assert.deepEqual(contentOf(again), expected);
    assert.deepEqual(again.initialState().hardState, hardState(2, 10));
    await again.close();
  });

  test('entries() stops at the byte limit but returns at least one', async context => {
    const log = openLog(await temporaryDirectory(context));
    log.append(entries(1, 10, 1, 84), undefined, true);
    assert.equal(log.entries(1, 11, 3 * entryBytes(entry(1, 1, 84))).length, 3);
    assert.equal(log.entries(1, 11, 1).length, 1);
    assert.equal(log.entries(4, 6, 1_000_000).length, 2);
    await log.close();
  });

  test('holes, and replacing what was committed, are broken laws', async context => {
    const log = openLog(await temporaryDirectory(context));
    log.append(entries(1, 10, 1), hardState(1, 5), true);
    assert.throws(() => log.append(entries(12, 13, 1), undefined, true), AssertionError);
    assert.throws(() => log.append(entries(5, 6, 2), undefined, true), AssertionError);
    assert.throws(() => log.append([entry(11, 1), entry(13, 1)], undefined, true), AssertionError);
    await log.close();
  });

  test('configurations are durable and chosen by what the state has applied', async context => {
    const directory = await temporaryDirectory(context);
    let log = openLog(directory);
    log.bootstrap(entries(1, 1, 1), hardState(1, 1), CONF_STATE);
    log.append(entries(2, 20, 1), hardState(1, 20), true);
    log.setConfState(confStateOf(1n, 2n), 5);
    log.setConfState(confStateOf(1n, 2n, 3n), 12);
    await log.abandon();
    log = openLog(directory);
    assert.deepEqual(log.initialState().confState, confStateOf(1n, 2n, 3n));
    assert.deepEqual(log.metadataAt(11).confState, confStateOf(1n, 2n));
    assert.deepEqual(log.metadataAt(4).confState, CONF_STATE);
    assert.deepEqual(log.reconcile(8, 1), confStateOf(1n, 2n));
    log.setConfState(confStateOf(1n, 2n, 3n), 12);
    log.compact(12);
    assert.deepEqual(log.snapshotMetadata(), { index: 12, term: 1, confState: confStateOf(1n, 2n, 3n) });
    moveAll(log);
    await log.close();
    log = openLog(directory);
    assert.deepEqual(log.snapshotMetadata(), { index: 12, term: 1, confState: confStateOf(1n, 2n, 3n) });
    await log.close();
  });

  test('reconcile raises the commit index and refuses a state that is not of this log', async context => {
    const log = openLog(await temporaryDirectory(context));
    log.append(entries(1, 10, 2), hardState(2, 3), true);
    log.reconcile(7, 2);
    assert.equal(log.initialState().hardState.commit, 7);
    assert.throws(() => log.reconcile(11, 2), fails('inconsistent', /does not belong/));
    assert.throws(() => log.reconcile(7, 1), fails('inconsistent'));
    log.compact(6);
    assert.throws(() => log.reconcile(3, 2), fails('inconsistent'));
    await log.close();
  });

  test('a snapshot empties the log and names the new state at once', async context => {
    const directory = await temporaryDirectory(context);
    let log = openLog(directory);
    log.append(entries(1, 2000, 1, 20), hardState(1, 100), true);
    moveAll(log);
    log.append(entries(2001, 2100, 1, 20), undefined, true);
    await fs.mkdir(path.join(directory, 'state-1'));
    await fs.mkdir(path.join(directory, 'state-2'));
    log.installSnapshot({ index: 1500, term: 3, confState: confStateOf(1n, 9n) }, 2);
    assert.deepEqual([log.firstIndex(), log.lastIndex(), log.term(1500), log.stateGeneration], [1501, 1500, 3, 2]);
    assert.deepEqual(log.initialState(), { hardState: hardState(3, 1500, 0n), confState: confStateOf(1n, 9n) });
    await log.abandon();
    log = openLog(directory);
    assert.deepEqual([log.firstIndex(), log.lastIndex(), log.term(1500), log.stateGeneration], [1501, 1500, 3, 2]);
    assert.deepEqual(log.initialState(), { hardState: hardState(3, 1500, 0n), confState: confStateOf(1n, 9n) });
    assert.deepEqual((await fs.readdir(directory)).sort(), ['log', 'stamp', 'state-2', 'wal-0', 'wal-1']);
    log.append(entries(1501, 1600, 3), hardState(3, 1550), true);
    moveAll(log);
    await log.close();
    log = openLog(directory);
    assert.deepEqual(contentOf(log), described(entries(1501, 1600, 3)));
    await log.close();
  });

  test('directories of another cluster, another member or another time are refused by name', async context => {
    const directory = await temporaryDirectory(context);
    const log = openLog(directory);
    log.append(entries(1, 3, 1), hardState(1, 0), true);
    await log.close();
    const open = (stamp: object) => () => openLog(directory, { stamp: { ...STAMP, ...stamp } });
    assert.throws(open({ clusterId: 9n }), fails('otherCluster', /belongs to cluster c1, not to cluster 9/));
    assert.throws(open({ memberId: 9n }), fails('otherMember', /belongs to member a1.*swapped/));
    assert.throws(open({ formatVersion: 0 }), fails('format', /newer/));
    await fs.rm(path.join(directory, 'stamp'));
    assert.throws(open({ memberId: 9n }), fails('otherMember'));
    await openLog(directory).close();
    assert.deepEqual(inspectStamp(directory), STAMP);
  });

  test('a directory that lost its log or a write-ahead file is refused', async context => {
    const directory = await temporaryDirectory(context);
    const log = openLog(directory);
    log.append(entries(1, 3, 1), hardState(1, 0), true);
    await log.close();
    await fs.rename(path.join(directory, 'wal-1'), path.join(directory, 'elsewhere'));
    assert.throws(() => openLog(directory), fails('inconsistent', /wal-1 is missing/));
    await fs.rename(path.join(directory, 'elsewhere'), path.join(directory, 'wal-1'));
    await openLog(directory).close();
    await fs.rm(path.join(directory, 'log'), { recursive: true });
    assert.throws(() => openLog(directory), fails('inconsistent', /must not vote again/));
  });

  test('a flipped bit in an entry that LMDB holds is detected when it is read', async context => {
    const directory = await temporaryDirectory(context);
    const log = openLog(directory);
    log.append([{ ...entry(1, 1), data: Buffer.from('a needle in the haystack') }], hardState(1, 0), true);
    await log.close();
    const file = path.join(directory, 'log', 'data.mdb');
    const bytes = await fs.readFile(file);
    for (let at = bytes.indexOf('needle'); at >= 0; at = bytes.indexOf('needle', at + 1)) bytes[at]! ^= 4;
    await fs.writeFile(file, bytes);
    const damaged = openLog(directory);
    assert.throws(() => damaged.entries(1, 2, 1000), fails('corrupt', /log entry 1 fails its checksum/));
    await damaged.close();
  });

  test('after a failed write the log refuses every further one', async context => {
    const directory = await temporaryDirectory(context);
    let failing = false;
    const beforeWrite = (what: string) => {
      if (failing && what === 'wal') throw new Error('EIO: i/o error, fdatasync');
    };
    let log = openLog(directory, { beforeWrite });
    log.append(entries(1, 3, 1), hardState(1, 0), true);
    failing = true;
    assert.throws(() => log.append(entries(4, 5, 1), undefined, true), fails('io', /EIO/));
    failing = false;
    assert.throws(() => log.append(entries(4, 5, 1), undefined, true), fails('unusable', /failed earlier/));
    assert.throws(() => log.flushIfDue(0), fails('unusable'));
    await log.close();
    log = openLog(directory);
    assert.equal(log.lastIndex(), 3);
    await log.close();
    assert.throws(() => log.append([], hardState(2, 0), true), fails('unusable', /closed/));
  });

  test('what a failed sync left in the page cache is written anew before anything follows it', async context => {
    const directory = await temporaryDirectory(context);
    const files = new SimulatedFiles();
    let log = openLog(directory, { files });
    log.append(entries(1, 3, 1), hardState(1, 0), true);
    files.beforeSync = () => {
      throw new Error('EIO: i/o error, fdatasync');
    };
    assert.throws(() => log.append(entries(4, 5, 1), undefined, true), fails('io', /EIO/));
    files.beforeSync = () => {};
    await log.abandon();
    log = openLog(directory, { files });
    assert.equal(log.lastIndex(), 5, 'still readable');
    log.append(entries(6, 6, 1), undefined, true);
    await log.abandon();
    files.crash(() => false);
    log = openLog(directory, { files });
    assert.deepEqual(contentOf(log), described(entries(1, 6, 1)));
    await log.close();
  });
});
