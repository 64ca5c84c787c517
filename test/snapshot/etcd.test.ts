/**
 * Snapshot files of a real etcd read here, and files written here restored and served by a real etcd.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Database } from '../../src/snapshot/bbolt/database.js';
import { checkSnapshot } from '../../src/snapshot/check.js';
import { SnapshotFile, writeSnapshotFile } from '../../src/snapshot/file.js';
import { formatStatus, snapshotStatus, statusFormats } from '../../src/snapshot/status.js';
import { control, served, stage } from './etcd-stage.js';

const run = promisify(execFile);
const command = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

for (const release of ['3.4', '3.5'] as const) {
  test(`status of a snapshot of etcd ${release} is what its etcdctl says, in every format`, async t => {
    const made = await stage(t, release);
    if (made === undefined) return;
    const { binaries, snapshot } = made;
    const file = SnapshotFile.open(snapshot);
    t.after(() => file.close());
    assert.deepEqual(checkSnapshot(file).problems, []);
    assert.equal(file.verifyDigest(), true);
    const status = snapshotStatus(file);
    for (const format of statusFormats) {
      const flags = ['snapshot', 'status', snapshot, '-w', format];
      const theirs = await control(binaries, flags);
      assert.equal(formatStatus(status, format), theirs, format);
      const ours = await run(process.execPath, [command, ...flags]);
      assert.equal(ours.stdout, theirs);
    }
  });

  test(`a file written here is restored by etcd ${release} and served with the same HashKV`, async t => {
    const made = await stage(t, release);
    if (made === undefined) return;
    const original = SnapshotFile.open(made.snapshot);
    t.after(() => original.close());
    const copy = join(made.directory, 'written.db');
    const length = writeSnapshotFile(copy, writer => {
      for (const bucket of Database.open(original).buckets()) {
        writer.bucket(bucket.name);
        for (const [key, value] of bucket.entries()) writer.put(key, value);
      }
    });
    assert.equal(readFileSync(copy).length, length);
    const written = SnapshotFile.open(copy);
    t.after(() => written.close());
    assert.deepEqual(checkSnapshot(written).problems, []);
    const { hash, revision, totalKeys } = snapshotStatus(written);
    const theirs = snapshotStatus(original);
    assert.deepEqual({ hash, revision, totalKeys }, pick(theirs));
    assert.equal(
      await control(made.binaries, ['snapshot', 'status', copy, '-w', 'json']),
      formatStatus(snapshotStatus(written), 'json'),
    );
    const server = await served(t, made, copy);
    assert.equal(server.hashKv, made.hashKv);
    assert.equal(server.values, made.values);
    await server.end();
    // What the server made of our file since: pages freed and split by the real library.
    const database = SnapshotFile.open(server.database);
    t.after(() => database.close());
    assert.equal(database.hasDigest, false);
    assert.deepEqual(checkSnapshot(database).problems, []);
  });
}

function pick({ hash, revision, totalKeys }: ReturnType<typeof snapshotStatus>) {
  return { hash, revision, totalKeys };
}
