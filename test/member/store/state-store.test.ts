import assert from 'node:assert/strict';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { describe, test } from 'node:test';
import { AssertionError } from '../../../src/base/assert.js';
import { mapSizeFor, StateStore, type StateStoreOptions, type Table } from '../../../src/member/store/state-store.js';
import { StorageError, type StorageErrorKind } from '../../../src/member/store/storage-error.js';
import { STAMP, temporaryDirectory } from '../log/support.js';

const MAP_SIZE_BYTES = 1 << 30;

function openStore(directory: string, options: Partial<StateStoreOptions> = {}): StateStore {
  return StateStore.open({ directory, stamp: STAMP, mapSizeBytes: MAP_SIZE_BYTES, ...options });
}

function fails(kind: StorageErrorKind, text?: RegExp): (error: unknown) => boolean {
  return error =>
    error instanceof StorageError && error.kind === kind && (text === undefined || text.test(error.message));
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function text(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : Buffer.from(value).toString();
}

function recordsOf(store: StateStore, main = 0, sub = 0): string[] {
  const found: string[] = [];
  store.scanRecords({ main, sub }, (foundMain, foundSub, tombstone, value) => {
    found.push(`${foundMain}_${foundSub}${tombstone ? 't' : ''}=${text(value)}`);
    return true;
  });
  return found;
}

function tableOf(store: StateStore, table: Table): Record<string, string> {
  return Object.fromEntries(store.list(table).map(([key, value]) => [text(key), text(value)]));
}

describe('state store', () => {
  test('records are read from the buffer, from LMDB and from both, in order', async context => {
    const store = openStore(await temporaryDirectory(context));
    store.putRecord(2, 0, false, bytes('a'));
    store.putRecord(2, 1, true, bytes('gone'));
    store.putRecord(2, 2, false, bytes('b'));
    store.putRecord(3, 0, false, bytes(''));
    const check = () => {
      assert.equal(text(store.getRecord(2, 0)), 'a');
      assert.equal(store.getRecord(2, 1), undefined, 'a tombstone is no put');
      assert.equal(text(store.getRecord(2, 2)), 'b');
      assert.equal(text(store.getRecord(3, 0)), '');
      assert.equal(store.getRecord(1, 0), undefined);
      assert.equal(store.getRecord(2, 3), undefined);
    };
    check();
    store.setApplied(1, 1);
    store.commit();
    check();
    store.putRecord(4, 0, false, bytes('c'));
    store.putRecord(2 ** 40, 7, false, bytes('far'));
    const all = ['2_0=a', '2_1t=gone', '2_2=b', '3_0=', '4_0=c', `${2 ** 40}_7=far`];
    assert.deepEqual(recordsOf(store), all);
    assert.deepEqual(recordsOf(store, 2, 2), all.slice(2));
    assert.deepEqual(recordsOf(store, 5), all.slice(5));
    const stopped: number[] = [];
    store.scanRecords({ main: 0, sub: 0 }, main => stopped.push(main) < 3);
    assert.deepEqual(stopped, [2, 2, 2]);
    await store.close();
  });

  test('revisions ascend, also over a reopen', async context => {
    const directory = await temporaryDirectory(context);
    let store = openStore(directory);
    store.putRecord(5, 1, false, bytes('x'));
    assert.throws(() => store.putRecord(5, 1, false, bytes('y')), AssertionError);
    store.setApplied(1, 1);
    store.commit();
    assert.throws(() => store.putRecord(5, 0, false, bytes('y')), AssertionError);
    await store.close();
    store = openStore(directory);
    assert.throws(() => store.putRecord(5, 1, false, bytes('y')), AssertionError);
    store.putRecord(5, 2, false, bytes('y'));
    await store.close();
  });

  test('deleted records are gone from reads at once, buffered or committed', async context => {
    const directory = await temporaryDirectory(context);
    let store = openStore(directory);
    for (let main = 2; main < 8; main += 1) store.putRecord(main, 0, main === 4, bytes(`v${main}`));
    store.setApplied(1, 1);
    store.commit();
    store.putRecord(8, 0, false, bytes('v8'));
    store.putRecord(9, 0, false, bytes('v9'));
    store.deleteRecord(3, 0, false);
    store.deleteRecord(4, 0, true);
    store.deleteRecord(8, 0, false);
    const left = ['2_0=v2', '5_0=v5', '6_0=v6', '7_0=v7', '9_0=v9'];
    assert.deepEqual(recordsOf(store), left);
    assert.equal(store.getRecord(3, 0), undefined);
    assert.equal(store.getRecord(8, 0), undefined);
    store.setApplied(2, 1);
    store.commit();
    assert.deepEqual(recordsOf(store), left);
    store.deleteRecord(3, 0, false);
    store.setApplied(3, 1);
    assert.throws(() => store.commit(), AssertionError);
    await store.close();
    store = openStore(directory);
    assert.deepEqual(recordsOf(store), left);
    await store.close();
  });

  test('small tables: empty, binary and very long keys, merged lists in order', async context => {
    const directory = await temporaryDirectory(context);
    let store = openStore(directory);
    const long = 'k'.repeat(5000);
    store.put('meta', bytes(''), bytes('empty key'));
    store.put('meta', bytes('b'), bytes('1'));
    store.put('meta', bytes(long), bytes('long'));
    store.put('meta', bytes(`long ${long}`), bytes('long 2'));
    store.put('lease', new Uint8Array([0, 255, 1]), new Uint8Array(0));
    store.setApplied(1, 1);
    store.commit();
    store.put('meta', bytes('a'), bytes('0'));
    store.put('meta', bytes('b'), bytes('2'));
    store.delete('meta', bytes(''));
    store.delete('meta', bytes('never there'));
    const expected = { a: '0', b: '2', [long]: 'long', [`long ${long}`]: 'long 2' };
    assert.deepEqual(tableOf(store, 'meta'), expected);
    assert.deepEqual(Object.keys(tableOf(store, 'meta')), Object.keys(expected));
    assert.equal(store.get('meta', bytes('')), undefined);
    assert.equal(text(store.get('meta', bytes(long))), 'long');
    store.setApplied(2, 1);
    store.commit();
    await store.close();
    store = openStore(directory);
    assert.deepEqual(tableOf(store, 'meta'), expected);
    assert.deepEqual(store.list('lease'), [[new Uint8Array([0, 255, 1]), new Uint8Array(0)]]);
    assert.deepEqual(store.list('alarm'), []);
    assert.equal(text(store.get('meta', bytes(`long ${long}`))), 'long 2');
    await store.close();
  });

  test('without a commit everything since the last one is gone, and the applied index says so', async context => {
    const directory = await temporaryDirectory(context);
    let store = openStore(directory);
    const apply = (index: number) => {
      store.putRecord(index + 1, 0, false, bytes(`entry ${index}`));
      store.put('meta', bytes('last'), bytes(String(index)));
      store.setApplied(index, 1);
    };
    for (let index = 1; index <= 10; index += 1) apply(index);
    store.commit();
    for (let index = 11; index <= 15; index += 1) apply(index);
    assert.deepEqual([store.appliedIndex, store.durableAppliedIndex], [15, 10]);
    await store.close();
    store = openStore(directory);
    assert.deepEqual([store.appliedIndex, store.appliedTerm, text(store.get('meta', bytes('last')))], [10, 1, '10']);
    assert.equal(recordsOf(store).length, 10);
    for (let index = store.appliedIndex + 1; index <= 15; index += 1) apply(index);
    store.commit();
    assert.equal(recordsOf(store).length, 15);
    assert.throws(() => store.setApplied(15, 1), AssertionError);
    assert.throws(() => store.setApplied(16, 0), AssertionError);
    await store.close();
  });

  test('an entry without effects still moves the applied index', async context => {
    const directory = await temporaryDirectory(context);
    let store = openStore(directory);
    store.setApplied(7, 3);
    assert.equal(store.commitIfDue(0), false);
    assert.equal(store.commitIfDue(99), false);
    assert.equal(store.commitIfDue(100), true);
    assert.equal(store.commitIfDue(1000), false);
    await store.close();
    store = openStore(directory);
    assert.deepEqual([store.appliedIndex, store.appliedTerm], [7, 3]);
    await store.close();
  });

  test('much to commit makes a commit due at once', async context => {
    const store = openStore(await temporaryDirectory(context));
    store.putRecord(2, 0, false, new Uint8Array(2 << 20));
    store.setApplied(1, 1);
    assert.ok(store.pendingBytes > 2 << 20);
    assert.equal(store.commitIfDue(0), true);
    assert.equal(store.pendingBytes, 0);
    await store.close();
  });

  test('128 values of 1.5 MiB in one commit, and one beyond LMDB-js’s shared buffer', async context => {
    const store = openStore(await temporaryDirectory(context), { durable: false });
    const value = new Uint8Array(1.5 * 2 ** 20);
    for (let sub = 0; sub < 128; sub += 1) store.putRecord(2, sub, false, value.fill(sub, 0, 9));
    const giant = new Uint8Array(20 << 20).fill(9);
    store.putRecord(3, 0, false, giant);
    store.setApplied(1, 1);
    store.commit();
    for (let sub = 0; sub < 128; sub += 1) {
      const found = store.getRecord(2, sub);
      assert.equal(found?.length, value.length);
      assert.equal(found?.[8], sub);
    }
    assert.equal(Buffer.compare(store.getRecord(3, 0) ?? new Uint8Array(0), giant), 0);
    assert.equal(store.getRecord(2, 5)?.[0], 5);
    await store.close();
  });

  test('a flipped bit in a stored value is detected by every read', async context => {
    const directory = await temporaryDirectory(context);
    const store = openStore(directory);
    store.putRecord(2, 0, false, bytes('a needle in the haystack'));
    store.put('meta', bytes('k'), bytes('another needle'));
    store.setApplied(1, 1);
    store.commit();
    await store.close();
    const file = path.join(directory, 'data.mdb');
    const content = await fs.readFile(file);
    for (let at = content.indexOf('needle'); at >= 0; at = content.indexOf('needle', at + 1)) content[at]! ^= 0x20;
    await fs.writeFile(file, content);
    const damaged = openStore(directory);
    assert.throws(() => damaged.getRecord(2, 0), fails('corrupt', /checksum/));
    assert.throws(() => recordsOf(damaged), fails('corrupt'));
    assert.throws(() => damaged.get('meta', bytes('k')), fails('corrupt'));
    assert.throws(() => damaged.list('meta'), fails('corrupt'));
    await damaged.close();
  });

  test('a full map is refused before anything is written; the store goes on', async context => {
    const store = openStore(await temporaryDirectory(context), { mapSizeBytes: 64 << 20 });
    store.putRecord(2, 0, false, new Uint8Array(40 << 20));
    store.setApplied(1, 1);
    assert.throws(() => store.commit(), fails('mapFull', /do not fit/));
    assert.equal(store.durableAppliedIndex, 0);
    store.deleteRecord(2, 0, false);
    store.putRecord(3, 0, false, new Uint8Array(1 << 20));
    store.commit();
    assert.equal(store.durableAppliedIndex, 1);
    await store.close();
    assert.ok(mapSizeFor(2 ** 31) >= 2 ** 32);
  });

  test('a failed commit is final', async context => {
    const directory = await temporaryDirectory(context);
    let failing = false;
    const beforeWrite = () => {
      if (failing) throw new Error('ENOSPC: no space left on device');
    };
    let store = openStore(directory, { beforeWrite });
    store.putRecord(2, 0, false, bytes('kept'));
    store.setApplied(1, 1);
    store.commit();
    failing = true;
    store.putRecord(3, 0, false, bytes('lost'));
    store.setApplied(2, 1);
    assert.throws(() => store.commit(), fails('io', /ENOSPC/));
    failing = false;
    assert.throws(() => store.commit(), fails('unusable', /failed earlier/));
    assert.throws(() => store.getRecord(2, 0), fails('unusable'));
    await store.close();
    store = openStore(directory);
    assert.deepEqual(recordsOf(store), ['2_0=kept']);
    await store.close();
    assert.throws(() => store.getRecord(2, 0), fails('unusable', /closed/));
  });

  test('sizes grow with content; deleted content is no longer in use', async context => {
    const store = openStore(await temporaryDirectory(context));
    const empty = store.sizeInUseBytes();
    for (let main = 2; main < 2000; main += 1) store.putRecord(main, 0, false, new Uint8Array(500));
    store.setApplied(1, 1);
    store.commit();
    const full = store.sizeInUseBytes();
    assert.ok(full > empty + 500 * 1998);
    assert.ok(store.sizeBytes() >= full);
    for (let main = 2; main < 1900; main += 1) store.deleteRecord(main, 0, false);
    store.setApplied(2, 1);
    store.commit();
    assert.ok(store.sizeInUseBytes() < full / 4);
    assert.ok(store.sizeBytes() >= full);
    await store.close();
  });

  test('a state of another member, or one without a stamp, is refused', async context => {
    const directory = await temporaryDirectory(context);
    const store = openStore(directory);
    await store.close();
    assert.throws(() => openStore(directory, { stamp: { ...STAMP, memberId: 7n } }), fails('otherMember'));
    assert.throws(() => openStore(directory, { stamp: { ...STAMP, clusterId: 7n } }), fails('otherCluster'));
    assert.throws(() => openStore(directory, { stamp: { ...STAMP, formatVersion: 0 } }), fails('format', /newer/));
  });

  test('what a power cut left of an environment before its first commit is made anew', async context => {
    const unborn = [Buffer.alloc(0), Buffer.alloc(8192), Buffer.alloc(11_776), Buffer.alloc(300)];
    for (const content of unborn) {
      const directory = await temporaryDirectory(context);
      await fs.writeFile(path.join(directory, 'data.mdb'), content);
      const store = openStore(directory);
      store.putRecord(2, 0, false, bytes('a'));
      store.setApplied(1, 1);
      store.commit();
      await store.close();
      const again = openStore(directory);
      assert.deepEqual(recordsOf(again), ['2_0=a']);
      await again.close();
    }
  });
});
