/**
 * Data moves between kvorum and real etcd in both directions with nothing but a snapshot file.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { connect, startCluster } from '../../src/index.js';
import { checkSnapshot } from '../../src/snapshot/check.js';
import { SnapshotFile } from '../../src/snapshot/file.js';
import { formatStatus, snapshotStatus } from '../../src/snapshot/status.js';
import { control, served, stage } from '../snapshot/etcd-stage.js';
import { requireEtcd, startEtcd } from '../support/etcd.js';
import { ownDirectory } from '../support/server-process.js';
import { goAround } from './round-trip-steps.js';

const run = promisify(execFile);
const command = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

for (const release of ['3.4', '3.5'] as const) {
  test(`etcd ${release} -> kvorum -> etcd ${release}: keys, revisions, leases, users and roles; HashKV equal`, async t => {
    const made = await stage(t, release);
    if (made === undefined) return;
    const dataDir = join(made.directory, 'kvorum.data');
    const cluster = await startCluster({ dataDir, fromSnapshot: made.snapshot });
    t.after(() => cluster.close());
    const [endpoint] = cluster.endpoints as [string];
    const etcdctl = (...args: string[]) => control(made.binaries, ['--endpoints', endpoint, ...args]);

    // Every member by itself: HashKV is of the member that is asked.
    for (const each of cluster.endpoints) {
      const answer = await control(made.binaries, ['--endpoints', each, 'endpoint', 'hashkv', '-w', 'json']);
      const [{ HashKV }] = JSON.parse(answer.replace(/:(\d{16,})/g, ':"$1"'));
      assert.equal(JSON.stringify([HashKV.hash, HashKV.compact_revision, HashKV.header.revision]), made.hashKv);
    }
    const ofCluster = /^"(ClusterID|MemberID|RaftTerm)" : .*$/gm;
    const keys = (await etcdctl('get', '--prefix', '', '-w', 'fields')).replace(ofCluster, '');
    assert.ok(made.values.startsWith(keys), 'keys, values, versions and revisions are the ones of the file');
    const leases = await etcdctl('lease', 'list');
    assert.ok(made.values.includes(leases) && leases.includes('found 1 leases'), leases);

    const file = join(made.directory, 'back.db');
    await etcdctl('snapshot', 'save', file);
    const snapshot = SnapshotFile.open(file);
    t.after(() => snapshot.close());
    assert.deepEqual(checkSnapshot(snapshot).problems, []);
    assert.equal(snapshot.verifyDigest(), true);
    const status = await control(made.binaries, ['snapshot', 'status', file, '-w', 'json']);
    const ours = snapshotStatus(snapshot);
    assert.equal(JSON.parse(status).hash, ours.hash);
    assert.equal(JSON.parse(status).revision, ours.revision);
    assert.match(formatStatus(ours, 'table'), /3\.6\.0/);

    const server = await served(t, made, file);
    assert.equal(server.hashKv, made.hashKv);
    assert.equal(server.values, made.values);
    await server.end();
  });
}

test('20,000 keys go around: kvorum -> etcd -> kvorum, the same at every stop (any size: round-trip.ts)', async t => {
  const binaries = await requireEtcd(t, '3.5');
  if (binaries === undefined) return;
  const { path, remove } = await ownDirectory('kvorum-round-trip-');
  t.after(remove);
  await goAround({ binaries, directory: path, keys: 20_000, valueBytes: 300, say: line => t.diagnostic(line) });
});

test('the client and the command save the snapshot of a real etcd', async t => {
  const binaries = await requireEtcd(t, '3.5');
  if (binaries === undefined) return;
  const cluster = await startEtcd({ members: 1, version: '3.5' });
  t.after(() => cluster.stop());
  using client = connect({ endpoints: cluster.endpoints });
  await client.put('greeting', 'hello');
  let bytes = 0;
  let last = 0;
  for await (const piece of client.snapshot()) {
    last = piece.bytes.length;
    bytes += last;
  }
  assert.equal(last, 32, 'the digest is a message of its own');
  assert.equal(bytes % 512, 32);

  const directory = await ownDirectory('kvorum-save-');
  t.after(directory.remove);
  const file = join(directory.path, 'etcd.db');
  const kvorum = (...args: string[]) => run(process.execPath, [command, 'snapshot', ...args]);
  const { stdout } = await kvorum('save', file, '--endpoints', cluster.endpoints[0] as string);
  assert.equal(stdout, `Snapshot saved at ${file}\n`);
  assert.match((await kvorum('check', file)).stdout, /whole; revision 2, .* digest verified/);
});
