/**
 * kill -9 at every step of a restore and of a scheduled backup: nobody ever finds a half cluster or a half file.
 *
 * A step is seen by what it leaves on the disk; the process is killed as soon as that is there.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { setImmediate as nextRound } from 'node:timers/promises';
import { memberName, peerUrl } from '../../src/host/options.js';
import { restoreSnapshot } from '../../src/host/restore.js';
import { connect, startCluster } from '../../src/index.js';
import { checkSnapshot } from '../../src/snapshot/check.js';
import { SnapshotFile } from '../../src/snapshot/file.js';
import { ownDirectory } from '../support/server-process.js';
import { kvorumCommand, planKvorum, ServerLife } from './server-life.js';

const keys = 600;
const valueBytes = 10_000;
const revision = keys + 1;

const root = await ownDirectory('kvorum-kill-');
const file = join(root.path, 'whole.db');

before(async () => {
  const cluster = await startCluster({ members: 1, logLevel: 'silent' });
  const client = cluster.client();
  const puts = Array.from({ length: keys }, (_, at) => client.put(`k${at}`, 'x'.repeat(valueBytes)));
  await Promise.all(puts);
  assert.equal((await cluster.snapshot(file)).revision, revision);
  await cluster.close();
});

function isWhole(path: string): boolean {
  const opened = SnapshotFile.open(path);
  try {
    return checkSnapshot(opened).problems.length === 0 && opened.verifyDigest();
  } finally {
    opened.close();
  }
}

/** Names in a directory; none when it is not there. */
function list(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}

const members = [0, 1, 2].map(at => ({ name: memberName(at), peerUrls: [peerUrl(at)] }));

/** What is on the disk, seen from DIR, when a step has begun; in the order of the steps. */
const steps: Record<string, (dir: string) => boolean> = {
  'the process has begun': () => true,
  'its directory is locked': dir => existsSync(`${dir}.restoring/lock`),
  'the first log is there': dir => existsSync(`${dir}.restoring/m1/log/data.mdb`),
  'the first state is being written': dir => list(`${dir}.restoring/m1`).some(name => name.startsWith('state-')),
  'the second log is there': dir => existsSync(`${dir}.restoring/m2/stamp`),
  'the second state is being copied': dir => list(`${dir}.restoring/m2`).some(name => name.startsWith('state-')),
  'the third state is being copied': dir => list(`${dir}.restoring/m3`).some(name => name.startsWith('state-')),
  'the cluster is being described': dir => list(`${dir}.restoring`).some(name => name.startsWith('cluster.json')),
  'the directory has its name': dir => existsSync(dir),
};

function restore(dir: string) {
  const args = [kvorumCommand, 'snapshot', 'restore', file, '--data-dir', dir];
  const child = spawn(process.execPath, args, { stdio: 'ignore' });
  return { child, exited: once(child, 'close') };
}

async function checkRestored(dataDir: string): Promise<void> {
  const cluster = await startCluster({ dataDir, logLevel: 'silent' });
  const { count, revision: found } = await cluster.client().getAll({ prefix: 'k' }, { countOnly: true });
  assert.deepEqual([count, found], [keys, revision]);
  assert.equal((await cluster.client().put('after', 'that')).revision, revision + 1);
  await cluster.close();
}

test('a restore that is killed at any step leaves no cluster or a whole one, and can be done again', async t => {
  t.after(root.remove);
  let killedEarly = 0;
  for (const [step, isReached] of Object.entries(steps)) {
    const dir = join(root.path, 'restored', step.replaceAll(' ', '-'));
    const { child, exited } = restore(dir);
    while (!isReached(dir) && child.exitCode === null) await nextRound();
    child.kill('SIGKILL');
    await exited;
    if (existsSync(dir)) assert.ok(existsSync(join(dir, 'cluster.json')), `${step}: a directory without a cluster`);
    else {
      killedEarly += 1;
      await restoreSnapshot({ file, dataDir: dir, members, token: 'etcd-cluster' });
      assert.ok(!existsSync(`${dir}.restoring`), step);
    }
    await checkRestored(dir);
    await assert.rejects(restoreSnapshot({ file, dataDir: dir, members, token: 'etcd-cluster' }), /not empty/);
  }
  assert.ok(killedEarly >= 5, `only ${killedEarly} restores were killed before they were done`);
});

test('a server that is killed while it writes a backup leaves whole files only, and loses nothing', async t => {
  const own = await ownDirectory('kvorum-backup-kill-');
  t.after(own.remove);
  const backups = join(own.path, 'backups');
  const flags = ['--backup-dir', backups, '--backup-interval', '1s', '--backup-retention', '3'];
  const plan = await planKvorum(own.path, 3, flags);
  const parts = () => list(backups).filter(name => name.endsWith('.part'));
  let written = 0;
  let halves = 0;
  for (let life = 0; life < 4; life += 1) {
    const server = ServerLife.start(plan);
    for (const ready of await server.ready()) ready.close();
    using client = connect({ endpoints: plan.endpoints });
    assert.equal((await client.getAll({ prefix: 'k' }, { countOnly: true })).count, written, server.lastWords);
    const batch = Array.from({ length: 300 }, (_, at) => client.put(`k${written + at}`, 'x'.repeat(valueBytes)));
    written += (await Promise.all(batch)).length;
    // In odd lives as soon as a file has begun, in even ones as soon as one is done.
    const known = list(backups).filter(name => name.endsWith('.db')).length;
    const isDone = () => list(backups).filter(name => name.endsWith('.db')).length > known;
    const isReached = life % 2 === 1 ? () => parts().length > 0 : () => isDone() || known >= 3;
    while (!isReached()) await nextRound();
    await server.kill();
    halves += parts().length;
    for (const name of list(backups).filter(entry => entry.endsWith('.db')))
      assert.ok(isWhole(join(backups, name)), name);
  }
  assert.ok(halves > 0, 'no backup was killed halfway');
  const server = ServerLife.start(plan);
  for (const ready of await server.ready()) ready.close();
  while (parts().length > 0) await nextRound();
  await server.terminate();
  const names = list(backups);
  assert.ok(names.length <= 3 && names.every(name => name.endsWith('.db')), names.join());
});
