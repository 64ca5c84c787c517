/**
 * The state written anew: the same content in less space, whatever is committed meanwhile, and nothing but the old or
 * the new state after a crash at any step.
 */
import assert from 'node:assert/strict';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { describe, test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { Defragmenter, type DefragmenterOptions } from '../../../src/member/store/defragmenter.js';
import { stateDirectory } from '../../../src/member/store/state-directory.js';
import { StateStore, type Table } from '../../../src/member/store/state-store.js';
import { StorageError } from '../../../src/member/store/storage-error.js';
import { entries, hardState, openLog, STAMP, temporaryDirectory } from '../log/support.js';

const MAP_SIZE_BYTES = 1 << 30;
const TABLES: readonly Table[] = ['meta', 'lease', 'alarm', 'members'];

function openStore(directory: string, generation = 1): StateStore {
  return StateStore.open({
    directory: stateDirectory(directory, generation),
    stamp: STAMP,
    mapSizeBytes: MAP_SIZE_BYTES,
    durable: false,
  });
}

function defragmenterOf(store: StateStore, directory: string, options: Partial<DefragmenterOptions> = {}) {
  const generation = 2;
  return new Defragmenter(store, {
    ...{ directory, generation, stamp: STAMP, mapSizeBytes: MAP_SIZE_BYTES, durable: false },
    ...options,
  });
}

function contentOf(store: StateStore): unknown {
  const records: string[] = [];
  store.scanRecords({ main: 0, sub: 0 }, (main, sub, tombstone, value) => {
    records.push(`${main}_${sub}_${tombstone}_${Buffer.from(value).toString('base64')}`);
    return true;
  });
  const tables = TABLES.map(table =>
    store.list(table).map(pair => pair.map(part => Buffer.from(part).toString('hex'))),
  );
  return { records, tables, applied: [store.appliedIndex, store.appliedTerm] };
}

/** Some megabytes of records of which four in five are deleted again, so that pages are left nearly empty. */
function worn(directory: string, records: number, valueBytes = 400): StateStore {
  const store = openStore(directory);
  for (let main = 1; main <= records; main += 1) {
    store.putRecord(main, 0, main % 9 === 0, new Uint8Array(valueBytes).fill(main));
    store.setApplied(main, 1);
    if (main % 500 === 0) store.commit();
  }
  for (let at = 0; at < 300; at += 1) store.put('lease', Buffer.from(`lease ${at}`), new Uint8Array(at));
  store.put('meta', new Uint8Array(3_000).fill(7), new Uint8Array([1]));
  store.commit();
  for (let main = 1; main <= records; main += 1) {
    if (main % 5 !== 0) store.deleteRecord(main, 0, main % 9 === 0);
  }
  store.commit();
  return store;
}

describe('defragmentation', () => {
  test('the same content in the space it needs', async context => {
    const directory = await temporaryDirectory(context);
    const store = worn(directory, 20_000);
    const before = contentOf(store);
    const [sizeBefore, inUseBefore] = [store.sizeBytes(), store.sizeInUseBytes()];
    const defragmenter = defragmenterOf(store, directory);
    let steps = 1;
    while (defragmenter.step()) steps += 1;
    const former = store.adopt(defragmenter.finish());
    await former.close();
    assert.ok(steps > 1, 'in slices');
    assert.deepEqual(contentOf(store), before);
    assert.ok(store.sizeBytes() < sizeBefore / 3, `${store.sizeBytes()} of ${sizeBefore} bytes`);
    assert.ok(store.sizeInUseBytes() <= inUseBefore);
    assert.ok(store.sizeInUseBytes() > store.sizeBytes() / 2, 'most of what is allocated is used');
    const file = await fs.stat(path.join(stateDirectory(directory, 2), 'data.mdb'));
    assert.ok(file.size <= store.sizeBytes() + 65_536, `a file of ${file.size} bytes`);
    store.putRecord(30_000, 0, false, new Uint8Array(10));
    store.setApplied(30_000, 1);
    store.commit();
    const expected = contentOf(store);
    await store.close();
    const reopened = openStore(directory, 2);
    assert.deepEqual(contentOf(reopened), expected);
    await reopened.close();
  });

  for (const seed of [1, 2, 3, 4]) {
    test(`whatever is written, deleted and compacted meanwhile is in it (${seed})`, async context => {
      const directory = await temporaryDirectory(context);
      const prng = new Prng(seed);
      const store = worn(directory, 8_000);
      const kept = Array.from({ length: 1_600 }, (_, at) => (at + 1) * 5);
      let main = 8_000;
      const change = (): void => {
        for (let times = prng.nextBelow(200); times > 0; times -= 1) {
          main += 1;
          store.putRecord(main, 0, false, new Uint8Array(prng.nextBelow(5_000)).fill(main));
          store.setApplied(main, 1);
          if (prng.nextBelow(2) === 0) kept.push(main);
        }
        for (let times = prng.nextBelow(40); times > 0; times -= 1) {
          const name = Buffer.from(`lease ${prng.nextBelow(400)}`);
          if (prng.nextBelow(2) === 0) store.delete('lease', name);
          else store.put('lease', name, new Uint8Array(prng.nextBelow(90)));
          const [doomed] = kept.splice(prng.nextBelow(kept.length), 1);
          if (doomed !== undefined) store.deleteRecord(doomed, 0, doomed <= 8_000 && doomed % 9 === 0);
        }
        if (prng.nextBelow(3) > 0) store.commit();
      };
      const defragmenter = defragmenterOf(store, directory);
      for (let more = true; more; ) {
        change();
        more = defragmenter.step();
      }
      change();
      store.commit();
      const expected = contentOf(store);
      await store.adopt(defragmenter.finish()).close();
      assert.deepEqual(contentOf(store), expected);
      await store.close();
      const reopened = openStore(directory, 2);
      assert.deepEqual(contentOf(reopened), expected);
      await reopened.close();
    });
  }

  test('R3: a crash at any step leaves the old state or the new one, whole (etcd #14685)', async context => {
    const base = await temporaryDirectory(context);
    let switched = 0;
    let steps = 0;
    for (let step = 0; ; step += 1) {
      const directory = path.join(base, `step-${step}`);
      const log = openLog(directory);
      log.append(entries(1, 4_000, 1), hardState(1, 4_000), true);
      const store = worn(directory, 4_000, 3_000);
      const expected = contentOf(store);
      const crashed = crashAt(step, directory, log, store);
      await Promise.all([log.abandon(), store.close()]);
      const logAgain = openLog(directory);
      const storeAgain = openStore(directory, logAgain.stateGeneration);
      const left = (await fs.readdir(directory)).filter(name => name.startsWith('state-'));
      assert.deepEqual(left, [`state-${logAgain.stateGeneration}`], `step ${step}`);
      assert.deepEqual(contentOf(storeAgain), expected, `step ${step}`);
      logAgain.reconcile(storeAgain.appliedIndex, storeAgain.appliedTerm);
      if (logAgain.stateGeneration === 2) switched += 1;
      await Promise.all([logAgain.close(), storeAgain.close()]);
      steps = step;
      if (!crashed) break;
    }
    assert.ok(steps > 6, `${steps} steps`);
    assert.equal(switched, 2, 'behind the switch, and to the end');
  });

  test('a disk that refuses leaves the store as it was', async context => {
    const directory = await temporaryDirectory(context);
    const store = worn(directory, 4_000);
    const before = contentOf(store);
    const beforeWrite = (): void => {
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    };
    const defragmenter = defragmenterOf(store, directory, { beforeWrite });
    assert.throws(() => defragmenter.step(), StorageError);
    defragmenter.abandon();
    assert.deepEqual(await fs.readdir(directory), ['state-1']);
    store.putRecord(9_000, 0, false, new Uint8Array(1));
    store.setApplied(9_000, 1);
    store.commit();
    store.deleteRecord(9_000, 0, false);
    assert.deepEqual((contentOf(store) as { records: unknown }).records, (before as { records: unknown }).records);
    await store.close();
  });

  test('a view of the former file goes on, and the file is closed behind it', async context => {
    const directory = await temporaryDirectory(context);
    const store = worn(directory, 4_000);
    const view = store.holdView();
    const defragmenter = defragmenterOf(store, directory);
    const former = store.adopt(defragmenter.finish());
    let isClosed = false;
    const closed = former.close().then(() => {
      isClosed = true;
    });
    await new Promise(resolve => setImmediate(resolve));
    let seen = 0;
    view.scan(new Uint8Array([0x80]), new Uint8Array([0xff]), () => {
      seen += 1;
      return true;
    });
    assert.equal(seen, 800);
    assert.equal(isClosed, false);
    view.done();
    await closed;
    await store.close();
  });
});

class Crash extends Error {}

/** Runs a defragmentation and cuts it at its `step`th write or move; false when it came to its end before. */
function crashAt(step: number, directory: string, log: ReturnType<typeof openLog>, store: StateStore): boolean {
  let left = step;
  const point = (): void => {
    left -= 1;
    if (left < 0) throw new Crash();
  };
  let environment: { close(): Promise<void> } | undefined;
  try {
    const defragmenter = defragmenterOf(store, directory, { beforeWrite: point });
    point();
    while (defragmenter.step()) point();
    const finished = defragmenter.finish();
    environment = finished;
    point();
    log.switchState(2);
    point();
    environment = store.adopt(finished);
  } catch (error) {
    if (!(error instanceof Crash || (error instanceof StorageError && error.cause instanceof Crash))) throw error;
    void environment?.close();
    return true;
  }
  void environment.close();
  return false;
}
