/**
 * Scheduled backups: on time, whole, kept as many as wanted; nothing else in their directory is touched.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pino from 'pino';
import { Backups } from '../../src/host/backups.js';
import type { SavedSnapshot } from '../../src/host/snapshots.js';
import { StartError, startCluster } from '../../src/index.js';
import { checkSnapshot } from '../../src/snapshot/check.js';
import { SnapshotFile } from '../../src/snapshot/file.js';

let base = '';
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'kvorum-backups-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const clusterId = 'abc123';

/** Backups whose files are their numbers; resolves `made(n)` when the n-th was made or has failed. */
function scheduled(intervalMs: number, retention: number, failures: ReadonlySet<number> = new Set()) {
  const logged: { msg: string }[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => void logged.push(JSON.parse(line)) });
  let count = 0;
  const waiting = new Map<number, () => void>();
  const save = async (path: string): Promise<SavedSnapshot> => {
    count += 1;
    setImmediate(() => waiting.get(count)?.());
    if (failures.has(count)) throw new Error('no space');
    writeFileSync(path, `${count}`);
    return { bytes: 1, records: 1, revision: count, version: '' } as SavedSnapshot;
  };
  const backups = new Backups({ directory: base, intervalMs, retention }, clusterId, save, logger);
  const made = (number: number) => new Promise<void>(resolve => waiting.set(number, resolve));
  return { backups, made, logged, count: () => count };
}

test('the newest files stay, others are not touched, half ones of a killed process are gone', async () => {
  const half = `kvorum-${clusterId}-20200101T000000.000Z.db.part`;
  const foreign = [
    'kvorum-other-20200101T000000.000Z.db',
    'notes.txt',
    'kvorum-abc123-x.db',
    'kvorum-abc123-x.db.part',
  ];
  for (const name of [half, ...foreign]) writeFileSync(join(base, name), '');
  const { backups, made, logged } = scheduled(5, 3);
  await made(6);
  await backups.stop();
  const names = readdirSync(base);
  for (const name of foreign) assert.ok(names.includes(name), name);
  const own = names.filter(name => !foreign.includes(name)).sort();
  assert.equal(own.length, 3, own.join());
  for (const name of own) assert.match(name, /^kvorum-abc123-\d{8}T\d{6}\.\d{3}Z\.db$/);
  assert.ok(logged.filter(({ msg }) => msg === 'backup saved').length >= 6);
});

test('one that failed is tried again, and costs no old one', async () => {
  const { backups, made, logged } = scheduled(5, 1, new Set([2, 3]));
  await made(3);
  assert.equal(readdirSync(base).length, 1);
  await made(4);
  await backups.stop();
  const failed = logged.filter(({ msg }) => msg === 'backup failed');
  assert.equal(failed.length, 2);
  assert.equal(readdirSync(base).length, 1);
});

test('a restart waits for what is left of the interval', async () => {
  const recent = new Date(Date.now() - 1_000).toISOString().replace(/[-:]/g, '');
  writeFileSync(join(base, `kvorum-${clusterId}-${recent}.db`), '');
  const early = scheduled(60_000, 3);
  await delay(20);
  await early.backups.stop();
  assert.equal(early.count(), 0);
  const due = scheduled(1_000, 3);
  await due.made(1);
  await due.backups.stop();
  assert.equal(due.count(), 1);
});

test('a cluster writes whole snapshots of itself', async () => {
  const cluster = await startCluster({
    dataDir: join(base, 'data'),
    backupDir: join(base, 'backups', 'deep'),
    backupIntervalMs: 1_000,
    backupRetention: 2,
    logLevel: 'silent',
  });
  try {
    for (let at = 0; at < 100; at += 1) await cluster.client().put(`k${at}`, 'v');
    while (readdirSync(join(base, 'backups', 'deep')).filter(name => name.endsWith('.db')).length < 2) await delay(20);
    const response = await fetch(`${cluster.endpoints[0]}/metrics`);
    assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
    const text = await response.text();
    assert.match(text, /^process_resident_memory_bytes \d+$/m);
    assert.match(text, /^kvorum_backups_total\{cluster="[0-9a-f]+",result="saved"\} [2-9]/m);
    assert.match(text, /^kvorum_backup_last_bytes\{cluster="[0-9a-f]+"\} [1-9]\d+$/m);
    assert.equal((await fetch(`${cluster.endpoints[1]}/metrics`, { method: 'POST' })).status, 405);
  } finally {
    await cluster.close();
  }
  const names = readdirSync(join(base, 'backups', 'deep'));
  for (const name of names) {
    const file = SnapshotFile.open(join(base, 'backups', 'deep', name));
    assert.deepEqual(checkSnapshot(file).problems, []);
    assert.equal(file.verifyDigest(), true);
    file.close();
  }
  const restored = await startCluster({
    dataDir: join(base, 'restored'),
    fromSnapshot: join(base, 'backups', 'deep', names.sort().at(-1) as string),
    logLevel: 'silent',
  });
  assert.equal((await restored.client().getAll({ prefix: 'k' })).count, 100);
  await restored.close();
});

test('settings that make no sense are refused with a word about what does', async () => {
  const refused = (options: object, words: RegExp) =>
    assert.rejects(startCluster({ ...options, logLevel: 'silent' }), (error: Error) => {
      assert.ok(error instanceof StartError, error.stack);
      assert.match(error.message, words);
      return true;
    });
  await refused({ backupIntervalMs: 60_000 }, /need a --backup-dir/);
  await refused({ backupDir: base, backupIntervalMs: 10 }, /--backup-interval must be at least 1s/);
  await refused({ backupDir: base, backupRetention: 0 }, /--backup-retention must be a whole number of files/);
  await refused({ backupDir: '/proc/nothing' }, /cannot write backups to \/proc\/nothing/);
});
