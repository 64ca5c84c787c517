/**
 * What do snapshot files cost? Prints for a file of etcd's records MB/s, seconds and the process's greatest memory:
 *   - write: build, digest and sync;
 *   - digest, check (database and content), status, and a copy of every entry into another file.
 *
 * Run: node dist/bench/snapshot.js [records] [bytes a value] [directory]
 *
 * 4,000,000 records of 256 bytes make a file of more than 1 GB.
 */
import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import { utf8Encode } from '../src/base/bytes.js';
import { Database } from '../src/snapshot/bbolt/database.js';
import type { DatabaseWriter } from '../src/snapshot/bbolt/writer.js';
import { checkSnapshot } from '../src/snapshot/check.js';
import { SnapshotFile, writeSnapshotFile } from '../src/snapshot/file.js';
import { encodeRecordKey } from '../src/snapshot/schema.js';
import { snapshotStatus } from '../src/snapshot/status.js';
import { encodeKeyValue } from '../src/wire/kv.js';

const records = Number(process.argv[2] ?? '100000');
const valueBytes = Number(process.argv[3] ?? '256');
const directory = await fs.mkdtemp(path.join(process.argv[4] ?? os.tmpdir(), 'kvorum-bench-'));
const file = path.join(directory, 'snapshot.db');

try {
  let lengthBytes = 0;
  const show = (what: string, work: () => void): void => {
    const startedMs = performance.now();
    work();
    const seconds = (performance.now() - startedMs) / 1000;
    const rate = (lengthBytes / 1e6 / seconds).toFixed(0);
    const memoryMb = (process.resourceUsage().maxRSS / 1000).toFixed(0);
    console.log(
      `${what.padEnd(10)} ${rate.padStart(6)} MB/s ${seconds.toFixed(2).padStart(7)} s   peak ${memoryMb} MB`,
    );
  };
  const idleMb = (process.resourceUsage().maxRSS / 1000).toFixed(0);
  console.log(`${records} records with values of ${valueBytes} bytes; memory before: ${idleMb} MB`);
  show('write', () => {
    lengthBytes = writeSnapshotFile(file, fill);
  });
  const snapshot = SnapshotFile.open(file);
  show('digest', () => snapshot.verifyDigest());
  show('check', () => {
    const { problems } = checkSnapshot(snapshot);
    if (problems.length > 0) throw new Error(problems[0]);
  });
  show('status', () => {
    if (snapshotStatus(snapshot).revision !== records + 1) throw new Error('another revision than written');
  });
  show('copy', () => writeSnapshotFile(path.join(directory, 'copy.db'), writer => copy(snapshot, writer)));
  snapshot.close();
  console.log(`the file has ${(lengthBytes / 1e6).toFixed(0)} MB`);
} finally {
  await fs.rm(directory, { recursive: true, force: true });
}

function fill(writer: DatabaseWriter): void {
  const value = new Uint8Array(valueBytes).fill(7);
  writer.bucket(utf8Encode('key'));
  for (let at = 0; at < records; at += 1) {
    const main = at + 2;
    const key = utf8Encode(`/registry/things/${String(at).padStart(9, '0')}`);
    const kv = { key, createRevision: main, modRevision: main, version: 1, value, lease: 0n };
    writer.put(encodeRecordKey({ main, sub: 0, tombstone: false }), encodeKeyValue(kv));
  }
  writer.bucket(utf8Encode('meta'));
}

function copy(snapshot: SnapshotFile, writer: DatabaseWriter): void {
  for (const bucket of Database.open(snapshot).buckets()) {
    writer.bucket(bucket.name);
    for (const [key, value] of bucket.entries()) writer.put(key, value);
  }
}
