/**
 * A member's state to etcd's file and back: of random histories, and with a real etcd at either end.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { utf8Encode } from '../../src/base/bytes.js';
import { Prng } from '../../src/base/prng.js';
import { Database } from '../../src/snapshot/bbolt/database.js';
import { BboltError, KEY_BYTES_MAX } from '../../src/snapshot/bbolt/format.js';
import type { DatabaseWriter } from '../../src/snapshot/bbolt/writer.js';
import { checkSnapshot } from '../../src/snapshot/check.js';
import { SnapshotFile, writeSnapshotFile } from '../../src/snapshot/file.js';
import { type FromEtcdOptions, type TakenState, takeFromEtcd } from '../../src/snapshot/from-etcd.js';
import { encodeRecordKey, SnapshotError, type StateTable } from '../../src/snapshot/schema.js';
import { snapshotStatus } from '../../src/snapshot/status.js';
import { type StatePosition, ToEtcd } from '../../src/snapshot/to-etcd.js';
import { KvSubject } from '../support/kv-subject.js';
import { MemoryStateStore } from '../support/memory-state-store.js';
import { generateProgram } from '../support/programs.js';
import { contentOf, MemorySource, writtenBy, writtenOf } from './bbolt/support.js';
import { control, served, stage } from './etcd-stage.js';

const position: StatePosition = {
  appliedIndex: 1234,
  appliedTerm: 5,
  voters: [2n ** 64n - 1n, 3n],
  learners: [4n],
  storageVersion: '3.6.0',
};
const kept = ['auth', 'authUsers', 'authRoles', 'lease', 'meta'] as const;
const all = [...kept, 'members', 'membersRemoved', 'cluster', 'alarm'] as const;

function exported(store: MemoryStateStore, writer: DatabaseWriter): void {
  const converter = new ToEtcd(writer, position);
  for (const table of all) {
    // Backwards: the order of a table's entries does not matter.
    for (const [key, value] of store.list(table).reverse()) converter.small(table, key, value);
  }
  store.scanRecords({ main: 0, sub: 0 }, (main, sub, tombstone, value) => {
    converter.record(main, sub, tombstone, value);
    return true;
  });
  converter.finish();
}

function imported(database: Database, options?: FromEtcdOptions): { store: MemoryStateStore; taken: TakenState } {
  const store = new MemoryStateStore();
  const taking = takeFromEtcd(database, store, options);
  for (;;) {
    const step = taking.next();
    if (step.done === true) return { store, taken: step.value };
  }
}

function databaseOf(bytes: Uint8Array): Database {
  return Database.open(new MemorySource(bytes));
}

function stateOf(store: MemoryStateStore, tables: readonly StateTable[] = kept): unknown {
  const records: unknown[] = [];
  store.scanRecords({ main: 0, sub: 0 }, (main, sub, tombstone, value) => {
    records.push([main, sub, tombstone, Buffer.from(value).toString('hex')]);
    return true;
  });
  const entries = tables.map(table =>
    store.list(table).map(pair => pair.map(bytes => Buffer.from(bytes).toString('hex'))),
  );
  return { records, entries };
}

/** A store after a random program of puts, deletions, transactions and compactions, and what else a member keeps. */
function randomStore(seed: number): MemoryStateStore {
  const store = new MemoryStateStore();
  const subject = new KvSubject(store);
  const options = { undefinedSortTargets: true, bigValues: false, operationsMax: 120, leases: false };
  for (const { method, request, body, local } of generateProgram(seed, 1n, { ...options, revisionsInTxns: true })) {
    const isKv = method === 'Put' || method === 'DeleteRange' || method === 'Txn' || method === 'Compact';
    if (isKv && request !== undefined && !local) subject.execute(method, body);
    if (seed % 2 === 0) subject.applier.background(3);
  }
  const put = (table: StateTable, key: string | Uint8Array, value: string | Uint8Array): void =>
    store.put(table, bytesOf(key), bytesOf(value));
  for (let lease = 1; lease <= seed % 50; lease += 1) {
    const key = new Uint8Array(8).fill(0, 0, 7);
    key[7] = lease;
    put('lease', key, new Uint8Array([0x08, lease, 0x10, 60]));
  }
  put('auth', 'authEnabled', new Uint8Array([1]));
  put('auth', 'authRevision', new Uint8Array([0, 0, 0, 0, 0, 0, 0, 9]));
  put('authUsers', 'u'.repeat(2000), new Uint8Array([0x0a, 1, 0x75]));
  put('authRoles', 'root', new Uint8Array([0x0a, 4, 0x72, 0x6f, 0x6f, 0x74]));
  put('members', 'a1', '{"id":161,"peerURLs":["http://x"]}');
  put('membersRemoved', 'b2', 'removed');
  put('cluster', 'clusterVersion', '3.6.0');
  put('alarm', new Uint8Array([0x08, 0xa1, 0x01, 0x10, 1]), new Uint8Array(0));
  return store;
}

function bytesOf(text: string | Uint8Array): Uint8Array {
  return typeof text === 'string' ? utf8Encode(text) : text;
}

test('random states come back as they were, and hash as they did', () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const store = randomStore(seed);
    const file = writtenBy(writer => exported(store, writer));
    assert.deepEqual(checkSnapshot(new MemorySource(file)).problems, [], `seed ${seed}`);
    const { store: copy, taken } = imported(databaseOf(file));
    assert.deepEqual(stateOf(copy), stateOf(store), `seed ${seed}`);
    const [ours, theirs] = [new KvSubject(copy), new KvSubject(store)];
    const { revision } = taken;
    assert.ok(theirs.hash(revision) !== undefined && theirs.hash(revision + 1) === undefined, 'the current revision');
    assert.deepEqual(ours.hash(revision), theirs.hash(revision), `seed ${seed}`);
    assert.deepEqual(stateOf(copy, ['members', 'membersRemoved', 'cluster', 'alarm']), {
      ...(stateOf(store) as object),
      entries: [[], [], [], []],
    });
  }
});

test('the file has every bucket, and in meta what a member keeps elsewhere', () => {
  const file = writtenBy(writer => exported(randomStore(3), writer));
  const buckets = new Map(
    contentOf(file).map(([name, entries]) => [
      Buffer.from(name, 'hex').toString(),
      new Map(entries.map(([key, value]) => [Buffer.from(key, 'hex').toString(), value])),
    ]),
  );
  assert.equal(
    [...buckets.keys()].join(' '),
    'alarm auth authRoles authUsers cluster key lease members members_removed meta',
  );
  const meta = buckets.get('meta');
  assert.equal(meta?.get('consistent_index'), '00000000000004d2');
  assert.equal(meta?.get('term'), '0000000000000005');
  assert.equal(
    Buffer.from(meta?.get('confState') ?? '', 'hex').toString(),
    '{"voters":[18446744073709551615,3],"learners":[4],"auto_leave":false}',
  );
  assert.equal(Buffer.from(meta?.get('storageVersion') ?? '', 'hex').toString(), '3.6.0');
  assert.equal(buckets.get('cluster')?.size, 0, 'the restored cluster sets its own version');
  assert.equal(buckets.get('members')?.size, 1);
  assert.equal(snapshotStatus(new MemorySource(file)).storageVersion, '3.6.0');
});

test('an empty state makes a file too', () => {
  const file = writtenBy(writer => new ToEtcd(writer, position).finish());
  assert.deepEqual(checkSnapshot(new MemorySource(file)).problems, []);
  const { taken } = imported(databaseOf(file));
  assert.deepEqual(taken, { records: 0, revision: 1 });
});

test('alarms come along when wanted', () => {
  const file = writtenBy(writer => exported(randomStore(3), writer));
  assert.equal(imported(databaseOf(file), { keepAlarms: true }).store.list('alarm').length, 1);
});

test('a bumped revision: an empty record, and all before it marked as compacted', () => {
  const store = randomStore(5);
  const file = writtenBy(writer => exported(store, writer));
  const { revision } = imported(databaseOf(file)).taken;
  const { store: bumped, taken } = imported(databaseOf(file), { bumpRevision: 1000 });
  let last: unknown;
  bumped.scanRecords({ main: 0, sub: 0 }, (main, sub, tombstone, value) => {
    last = [main, sub, tombstone, value.length];
    return true;
  });
  const records = (stateOf(store) as { records: unknown[][] }).records;
  const lastMain = records.at(-1)?.[0] as number;
  assert.ok(revision >= lastMain);
  assert.deepEqual(last, [lastMain + 1000, 0, false, 0]);
  assert.equal(taken.revision, lastMain + 1000);
  assert.equal(taken.records, records.length + 1);
  assert.deepEqual(
    bumped.get('meta', utf8Encode('scheduledCompactRev')),
    encodeRecordKey({ main: lastMain + 1000, sub: 0, tombstone: false }),
  );
});

test('what etcd could not have written is refused', () => {
  const record = encodeRecordKey({ main: 6, sub: 0, tombstone: false });
  const deletion = encodeRecordKey({ main: 6, sub: 0, tombstone: true });
  const withLease = writtenBy(writer => {
    writer.bucket(utf8Encode('key'));
    writer.bucket(utf8Encode('lease'));
    writer.put(utf8Encode('id'), new Uint8Array(0));
  });
  const aheadOf = (main: number): Uint8Array =>
    writtenBy(writer => {
      writer.bucket(utf8Encode('key'));
      writer.put(encodeRecordKey({ main, sub: 0, tombstone: false }), new Uint8Array(0));
    });
  const files: [file: Uint8Array, message: RegExp][] = [
    [writtenOf([['meta', []]]), /no bucket "key"/],
    [
      writtenBy(writer => {
        writer.bucket(utf8Encode('key'));
        writer.put(record, new Uint8Array(0));
        writer.put(deletion, new Uint8Array([0x0a, 1, 0x61]));
      }),
      /6_0: a put and a deletion of one revision/,
    ],
    [writtenOf([['key', [['short', '']]]]), /bucket key, a key of 5 bytes: its key is no revision/],
    [withLease, /bucket lease, id: its key is not 8 bytes/],
    [aheadOf(2 ** 52), /its key is no revision/],
  ];
  for (const [file, message] of files) {
    assert.throws(
      () => imported(databaseOf(file)),
      (error: unknown) => {
        assert.ok(error instanceof SnapshotError);
        assert.match(error.message, message);
        return true;
      },
    );
  }
  const last = 2 ** 52 - 1;
  assert.equal(imported(databaseOf(aheadOf(last))).taken.revision, last);
  assert.throws(() => imported(databaseOf(aheadOf(last)), { bumpRevision: 2 }), /cannot be moved ahead by 2/);
  const long = new Uint8Array(KEY_BYTES_MAX + 1);
  const tooLong = () => writtenBy(writer => new ToEtcd(writer, position).small('authUsers', long, long));
  assert.throws(tooLong, /a key of 32769 bytes in authUsers does not fit/);
});

test('random damage anywhere: an error that is meant, or a state that a member can open', () => {
  const sound = writtenBy(writer => exported(randomStore(6), writer));
  const meant = (error: unknown): void =>
    assert.ok(error instanceof BboltError || error instanceof SnapshotError, String((error as Error).stack));
  const prng = new Prng(7);
  let opened = 0;
  for (let round = 0; round < 3000; round += 1) {
    const damaged = sound.slice();
    for (let flips = 1 + prng.nextBelow(3); flips > 0; flips -= 1) {
      // From the third page on: damaged metas are another test's.
      const at = 3 * 4096 + prng.nextBelow(damaged.length - 3 * 4096);
      damaged[at] = damaged[at]! ^ (1 << prng.nextBelow(8));
    }
    const { problems } = checkSnapshot(new MemorySource(damaged));
    try {
      snapshotStatus(new MemorySource(damaged));
    } catch (error) {
      meant(error);
      assert.ok(problems.length > 0);
    }
    let store: MemoryStateStore;
    try {
      store = imported(databaseOf(damaged)).store;
    } catch (error) {
      meant(error);
      assert.ok(problems.length > 0);
      continue;
    }
    new KvSubject(store);
    opened += 1;
  }
  assert.ok(opened > 100 && opened < 2900, `${opened} of 3000 could be opened`);
});

for (const release of ['3.4', '3.5'] as const) {
  test(`etcd ${release} to a member's state, from there to a file, and that to etcd ${release} again`, async t => {
    const made = await stage(t, release);
    if (made === undefined) return;
    const file = SnapshotFile.open(made.snapshot);
    t.after(() => file.close());
    let read = 0;
    const progress = (bytes: number): void => {
      read += bytes;
    };
    const { store, taken } = imported(Database.open(file), { progress });
    assert.ok(read > 0 && read <= file.length);
    const hash = new KvSubject(store.crash()).hash(taken.revision);
    assert.equal(hash, undefined, 'nothing was committed');
    const ours = new KvSubject(store).hash(taken.revision);
    assert.deepEqual([ours?.hash, ours?.compactRevision, ours?.revision], JSON.parse(made.hashKv));
    const path = join(made.directory, 'ours.db');
    writeSnapshotFile(path, writer => exported(store, writer));
    const written = SnapshotFile.open(path);
    t.after(() => written.close());
    assert.deepEqual(checkSnapshot(written).problems, []);
    const status = JSON.parse(await control(made.binaries, ['snapshot', 'status', path, '-w', 'json']));
    assert.equal(status.hash, snapshotStatus(written).hash);
    const server = await served(t, made, path);
    assert.equal(server.hashKv, made.hashKv);
    assert.equal(server.values, made.values);
  });
}
