/**
 * Snapshot files on disk: lengths, digests, how one appears; what the command says of good and bad ones.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { utf8Encode } from '../../src/base/bytes.js';
import type { DatabaseWriter } from '../../src/snapshot/bbolt/writer.js';
import { checkSnapshot } from '../../src/snapshot/check.js';
import { SnapshotFile, writeSnapshotFile } from '../../src/snapshot/file.js';
import { encodeRecordKey, SnapshotError } from '../../src/snapshot/schema.js';
import { formatStatus, humanSize, snapshotStatus } from '../../src/snapshot/status.js';
import { encodeKeyValue } from '../../src/wire/kv.js';
import { MemorySource, writtenBy, writtenOf } from './bbolt/support.js';

const command = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kvorum-test-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

interface Change {
  readonly main: number;
  readonly key: string;
  /** Undefined: deleted. */
  readonly version: number | undefined;
}

/** A database of etcd with these changes, all values of 400 bytes. */
function fillWith(changes: readonly Change[], storageVersion?: string): (writer: DatabaseWriter) => void {
  return writer => {
    writer.bucket(utf8Encode('key'));
    for (const { main, key, version } of changes) {
      const tombstone = version === undefined;
      const kv = { key: utf8Encode(key), createRevision: 1, modRevision: main, version: version ?? 0 };
      const value = tombstone
        ? encodeKeyValue({ ...kv, createRevision: 0, modRevision: 0, value: new Uint8Array(0), lease: 0n })
        : encodeKeyValue({ ...kv, value: new Uint8Array(400), lease: 0n });
      writer.put(encodeRecordKey({ main, sub: 0, tombstone }), value);
    }
    writer.bucket(utf8Encode('meta'));
    if (storageVersion !== undefined) writer.put(utf8Encode('storageVersion'), utf8Encode(storageVersion));
  };
}

const changes: readonly Change[] = [
  { main: 2, key: 'a', version: 1 },
  { main: 3, key: 'b', version: 1 },
  { main: 4, key: 'a', version: 2 },
  { main: 5, key: 'b', version: undefined },
  { main: 6, key: 'gone before the compaction', version: undefined },
  { main: 7, key: 'c', version: 9 },
];

function kvorum(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [command, 'snapshot', ...args], { encoding: 'utf8' });
  return { status, stdout: stdout.replaceAll(directory, 'DIR'), stderr: stderr.replaceAll(directory, 'DIR') };
}

test('a file is the database and the digest of it', () => {
  const path = join(directory, 'made.db');
  const length = writeSnapshotFile(path, fillWith(changes));
  const bytes = readFileSync(path);
  assert.equal(bytes.length, length);
  assert.equal(bytes.length % 4096, 32);
  const image = bytes.subarray(0, -32);
  assert.deepEqual(bytes.subarray(-32), createHash('sha256').update(image).digest());
  assert.deepEqual(new Uint8Array(image), writtenBy(fillWith(changes)));
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(directory), ['made.db']);
});

test('a file that cannot be finished leaves nothing, and the one before as it was', () => {
  const path = join(directory, 'made.db');
  writeSnapshotFile(path, fillWith(changes));
  const before = readFileSync(path);
  const broken = (writer: DatabaseWriter): void => {
    fillWith(changes)(writer);
    throw new Error('no more');
  };
  assert.throws(() => writeSnapshotFile(path, broken), /no more/);
  assert.throws(() => writeSnapshotFile(join(directory, 'other.db'), broken), /no more/);
  assert.deepEqual(readFileSync(path), before);
  assert.deepEqual(readdirSync(directory), ['made.db']);
});

test('any flipped bit breaks the digest', () => {
  const path = join(directory, 'made.db');
  writeSnapshotFile(path, fillWith(changes));
  const sound = readFileSync(path);
  for (let at = 0; at < sound.length; at += 97) {
    const damaged = Buffer.from(sound);
    damaged[at] = damaged[at]! ^ (1 << (at % 8));
    writeFileSync(path, damaged);
    const file = SnapshotFile.open(path);
    assert.throws(() => file.verifyDigest(), SnapshotError);
    file.close();
  }
});

test('every length but that of whole sectors, with or without a digest, is refused', () => {
  const path = join(directory, 'cut.db');
  const sound = writtenBy(fillWith(changes));
  for (const length of [0, 1, 31, 33, 511, 513, 4096 + 31, sound.length - 1]) {
    writeFileSync(path, sound.subarray(0, length));
    assert.throws(() => SnapshotFile.open(path), new RegExp(`is no snapshot, or cut short: of ${length} bytes`));
  }
  assert.throws(() => SnapshotFile.open(join(directory, 'none')), /none: no such file or directory$/);
  assert.throws(() => SnapshotFile.open(directory), /is not a file$/);
});

test('reads across and behind the windows of a file', () => {
  const path = join(directory, 'long.db');
  const bytes = new Uint8Array(5 << 20).map((_, at) => (at * 7 + (at >> 9)) & 0xff);
  writeFileSync(path, bytes);
  const file = SnapshotFile.open(path);
  for (let at = 0; at < bytes.length - 200_000; at += 40_961) {
    for (const length of [0, 1, 4096, 70_000, 200_000]) {
      assert.ok(Buffer.from(bytes.subarray(at, at + length)).equals(file.read(at, length)), `${length} at ${at}`);
    }
  }
  assert.throws(() => file.read(bytes.length - 1, 2), /beyond the file/);
  file.close();
});

test('status counts records in a file from before 3.6, and keys in one from 3.6', () => {
  const old = snapshotStatus(new MemorySource(writtenBy(fillWith(changes))));
  assert.deepEqual([old.revision, old.totalKeys, old.storageVersion], [7, 6, undefined]);
  const recent = snapshotStatus(new MemorySource(writtenBy(fillWith(changes, '3.6.0'))));
  assert.deepEqual([recent.revision, recent.totalKeys, recent.storageVersion], [7, 2, '3.6.0']);
  const status = { ...recent, hash: 0xbb392e0a, revision: 60, totalKeys: 136, totalSizeBytes: 3_645_440 };
  assert.equal(formatStatus(status, 'simple'), 'bb392e0a, 60, 136, 3.6 MB, 3.6.0\n');
  assert.equal(
    formatStatus(status, 'json'),
    '{"hash":3141086730,"revision":60,"totalKey":136,"totalSize":3645440,"version":"3.6.0"}\n',
  );
  assert.equal(
    formatStatus(status, 'fields'),
    '"Hash" : 3141086730\n"Revision" : 60\n"Keys" : 136\n"Size" : 3645440\n"Version" : 3.6.0\n',
  );
});

test('sizes for people', () => {
  const sizes = [
    0,
    9,
    10,
    999,
    1000,
    1049,
    1050,
    9949,
    9950,
    10_000,
    10_500,
    11_500,
    999_449,
    999_499,
    24_576,
    3_645_440,
    2 ** 31,
  ];
  const texts = ['0 B', '9 B', '10 B', '999 B', '1.0 kB', '1.0 kB', '1.1 kB', '9.9 kB', '10 kB', '10 kB'];
  assert.deepEqual(sizes.map(humanSize), [
    ...texts,
    '10 kB',
    '12 kB',
    '999 kB',
    '1000 kB',
    '25 kB',
    '3.6 MB',
    '2.1 GB',
  ]);
});

test('records that are not etcd’s are told by bucket and key', () => {
  const entries = (bucket: string, key: string | Uint8Array, value: string | Uint8Array) =>
    writtenBy(writer => {
      for (const name of ['key', 'lease', 'members', 'meta']) {
        writer.bucket(utf8Encode(name));
        if (name !== bucket) continue;
        writer.put(
          typeof key === 'string' ? utf8Encode(key) : key,
          typeof value === 'string' ? utf8Encode(value) : value,
        );
      }
    });
  const told = (file: Uint8Array): readonly string[] => checkSnapshot(new MemorySource(file)).problems;
  const record = encodeRecordKey({ main: 6, sub: 1, tombstone: false });
  assert.deepEqual(told(entries('key', record, '')), [], 'what a restore with a bumped revision leaves');
  assert.deepEqual(told(entries('key', 'odd', '')), ['bucket key, a key of 3 bytes: its key is no revision']);
  assert.deepEqual(told(entries('key', record, 'x')), ['bucket key, 6_1: its value does not decode: unexpected EOF']);
  const kv = { key: record, createRevision: 7, modRevision: 6, version: 1, value: record, lease: 0n };
  assert.deepEqual(told(entries('key', record, encodeKeyValue(kv))), ['bucket key, 6_1: created at 7 as version 1']);
  assert.deepEqual(told(entries('key', record, encodeKeyValue({ ...kv, modRevision: 5 }))), [
    'bucket key, 6_1: its value says revision 5',
  ]);
  assert.deepEqual(told(entries('lease', '12345678', new Uint8Array([8, 1]))), [
    'bucket lease, 12345678: its value says another id',
  ]);
  assert.deepEqual(told(entries('meta', 'finishedCompactRev', '8')), [
    'bucket meta, finishedCompactRev: its value is no revision',
  ]);
  assert.deepEqual(told(entries('members', 'xyz', '{}')), ['bucket members, xyz: its key is no member id']);
  assert.deepEqual(told(writtenOf([['other', []]])), ['no database of etcd: it has no bucket "key"']);
});

test('the command: check and status of a good file', () => {
  const path = join(directory, 'good.db');
  writeSnapshotFile(path, fillWith(changes));
  assert.deepEqual(kvorum('check', path), {
    status: 0,
    stdout: 'DIR/good.db: whole; revision 7, 6 records, 5 pages, digest verified\n',
    stderr: '',
  });
  const status = kvorum('status', path, '--write-out=table');
  assert.equal(status.status, 0);
  assert.match(
    status.stdout,
    /\| +HASH +\| REVISION \| TOTAL KEYS \| TOTAL SIZE \|\n.*\n\| +[0-9a-f]+ \| +7 \| +6 \| +20 kB \|/,
  );
});

test('the command: one line and exit code 1 for everything else', () => {
  const path = join(directory, 'bad.db');
  const damaged = writtenBy(fillWith(changes));
  damaged[3 * 4096 + 16 + 8] = 99;
  writeFileSync(path, damaged);
  const fails: [args: string[], stderr: string][] = [
    [['check', path], 'DIR/bad.db: page 3: element 1 does not begin where the one before ends\n'],
    [['status', path], 'kvorum: DIR/bad.db: page 3: element 1 does not begin where the one before ends\n'],
    [['status', join(directory, 'none.db')], 'kvorum: DIR/none.db: no such file or directory\n'],
    [['status'], 'kvorum: snapshot status takes one file\n'],
    [
      ['status', path, '-w', 'xml'],
      'kvorum: xml is no output format of snapshot status; there are simple, json, fields, table\n',
    ],
    [['status', path, '--what'], "kvorum: Unknown option '--what'\n"],
    [
      ['mend', path],
      'kvorum: unknown command snapshot mend; there are snapshot save, status, check and restore FILE\n',
    ],
  ];
  for (const [args, stderr] of fails) assert.deepEqual(kvorum(...args), { status: 1, stdout: '', stderr });
});
