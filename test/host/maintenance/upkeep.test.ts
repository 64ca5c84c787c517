/**
 * What members do to their stores while they serve: defragmentation under load and beside snapshots, auto-compaction,
 * and the search for a member whose data differs.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Cluster, type ClusterMember, EtcdError } from '../../../src/index.js';
import { Environment } from '../../../src/member/store/environment.js';
import {
  CHECKSUM_BYTES,
  END_KEY,
  mainOf,
  RECORD_PREFIX,
  recordSeed,
  seal,
  subOf,
} from '../../../src/member/store/schema.js';
import type { GrpcClient } from '../../support/grpc-client.js';
import { call, clientFor, directoryFor, followerOf, idOf, leaderOf, outcome, startFor, until } from './stage.js';

type Size = { dbSize: bigint; dbSizeInUse: bigint };

/** Keys with half of their records compacted away again. */
async function wear(cluster: Cluster, keys: number): Promise<void> {
  const client = cluster.client();
  const value = 'v'.repeat(2_000);
  const range = Array.from({ length: keys }, (_, at) => `wear/${at}`);
  for (let round = 0; round < 4; round++) {
    for (let from = 0; from < keys; from += 50) {
      await Promise.all(range.slice(from, from + 50).map(key => client.put(key, `${round}${value}`)));
    }
  }
  const { revision } = await client.put('last', 'v');
  await client.compact(revision, { physical: true });
}

test('a defragmentation under load returns the space, member by member, and nobody notices', async t => {
  const dataDir = join(directoryFor(t), 'data');
  const cluster = await startFor(t, { dataDir });
  await wear(cluster, 1_000);
  const clients = await Promise.all(cluster.members.map(member => clientFor(t, member)));
  let writes = 0;
  let longestMs = 0;
  let going = true;
  const client = cluster.client();
  const load = (async () => {
    while (going) {
      const startMs = performance.now();
      await client.put('load', String(writes));
      longestMs = Math.max(longestMs, performance.now() - startMs);
      writes += 1;
    }
  })();
  for (const one of clients) {
    const size = async () => (await call(one, 'Maintenance/Status')) as unknown as Size;
    // A compaction is over on the member that answered, and elsewhere soon after.
    await until(async () => {
      const { dbSize, dbSizeInUse } = await size();
      return dbSizeInUse < dbSize / 2n;
    });
    const before = await size();
    assert.deepEqual(await call(one, 'Maintenance/Defragment'), {});
    const after = await size();
    assert.ok(after.dbSize < before.dbSize / 2n, `${before.dbSize} bytes became ${after.dbSize}`);
    assert.ok(after.dbSizeInUse <= after.dbSize);
  }
  going = false;
  await load;
  assert.ok(writes > 10, `${writes} writes`);
  t.diagnostic(`${writes} writes meanwhile, the longest took ${Math.round(longestMs)} ms`);
  const { revision } = await client.put('end', 'v');
  for (const one of clients) await call(one, 'KV/Range', { key: Buffer.from('end') });
  const hashes = await Promise.all(clients.map(one => call(one, 'Maintenance/HashKV', { revision: BigInt(revision) })));
  assert.equal(new Set(hashes.map(({ hash }) => hash)).size, 1);
  await cluster.close();
  const again = await startFor(t, { dataDir });
  assert.equal((await again.client().get('load'))?.value.toString(), String(writes - 1));
  assert.equal((await again.client().getAll({ prefix: 'wear/' }, { countOnly: true })).count, 1_000);
});

test('a member whose thread is killed while it defragments comes back whole, in the same process', async t => {
  const dataDir = join(directoryFor(t), 'data');
  const cluster = await startFor(t, { dataDir });
  await wear(cluster, 1_000);
  const member = followerOf(cluster);
  for (const afterMs of [1, 5, 15, 30, 50, 80]) {
    const one = await clientFor(t, member);
    const defragmented = outcome(one, 'Maintenance/Defragment').catch(() => 'cut');
    await new Promise(resolve => setTimeout(resolve, afterMs));
    await member.kill();
    await defragmented;
    await cluster.client().put('round', String(afterMs));
    await member.start();
    const back = await clientFor(t, member);
    const { kvs } = await call(back, 'KV/Range', { key: Buffer.from('round') });
    assert.equal(Buffer.from((kvs as { value: Uint8Array }[])[0]?.value ?? []).toString(), String(afterMs));
  }
  const clients = await Promise.all(cluster.members.map(each => clientFor(t, each)));
  const { revision } = await cluster.client().put('end', 'v');
  for (const one of clients) await call(one, 'KV/Range', { key: Buffer.from('end') });
  const hashes = await Promise.all(clients.map(one => call(one, 'Maintenance/HashKV', { revision: BigInt(revision) })));
  assert.equal(new Set(hashes.map(({ hash }) => hash)).size, 1);
  assert.deepEqual(
    await outcome(clients[cluster.members.indexOf(member)] ?? assert.fail(), 'Maintenance/Defragment'),
    {},
  );
});

test('R20: a snapshot replaces the state under a defragmentation, a restart has all of it (etcd #20271)', async t => {
  // What was written afterwards went to a file that was gone after a restart.
  const dataDir = join(directoryFor(t), 'data');
  let cluster = await startFor(t, { dataDir, snapshotCount: 50, snapshotCatchUpEntries: 5 });
  await wear(cluster, 2_000);
  const { name } = followerOf(cluster);
  const named = (): ClusterMember => cluster.members.find(member => member.name === name) ?? assert.fail();
  await named().kill();
  for (let at = 0; at < 400; at++) await cluster.client().put(`missed/${at % 20}`, `v${at}`);
  let starting = true;
  const started = named()
    .start()
    .finally(() => {
      starting = false;
    });
  let defragmentations = 0;
  let one = await connected(t, named());
  while (starting) {
    const answer = await outcome(one, 'Maintenance/Defragment').catch(() => undefined);
    if (answer === undefined) one = await connected(t, named());
    else defragmentations += 1;
  }
  await started;
  t.diagnostic(`${defragmentations} defragmentations until it was ready`);
  assert.deepEqual(await outcome(one, 'Maintenance/Defragment'), {});
  await call(one, 'KV/Put', { key: Buffer.from('after'), value: Buffer.from('it') });
  await cluster.close();
  cluster = await startFor(t, { dataDir });
  const restarted = await clientFor(t, named());
  const { kvs } = await call(restarted, 'KV/Range', { key: Buffer.from('after'), serializable: true });
  assert.equal((kvs as unknown[]).length, 1);
  const states = readdirSync(join(dataDir, name)).filter(entry => entry.startsWith('state-'));
  assert.equal(states.length, 1, String(states));
});

test('auto-compaction: the leader compacts to what is a period old, and the next leader goes on', async t => {
  const cluster = await startFor(t, { autoCompactionRetention: '400ms' });
  const client = cluster.client();
  const compactRevision = async (member: ClusterMember) =>
    Number((await call(await clientFor(t, member), 'Maintenance/HashKV')).compact_revision);
  const rises = async (member: ClusterMember) => {
    const from = await compactRevision(member);
    await until(async () => {
      await client.put('k', 'v');
      return (await compactRevision(member)) > Math.max(from, 1);
    });
  };
  for (const member of cluster.members) await rises(member);
  await assert.rejects(client.get('k', { revision: 1 }), (error: Error) => error instanceof EtcdError);
  const former = leaderOf(cluster);
  await former.kill();
  await until(() => cluster.leader() !== undefined && cluster.leader() !== former);
  await rises(leaderOf(cluster));
});

test('a member whose data differs is found: the periodic check raises CORRUPT for it', async t => {
  const dataDir = join(directoryFor(t), 'data');
  const first = await startFor(t, { dataDir });
  for (let at = 0; at < 20; at++) await first.client().put(`k${at}`, 'v');
  const { name } = leaderOf(first);
  await first.close();
  falsify(join(dataDir, name));
  const cluster = await startFor(t, { dataDir, corruptCheckIntervalMs: 300 });
  const odd = cluster.members.find(member => member.name === name) ?? assert.fail();
  const client = await clientFor(t, odd);
  const alarms = async () => (await call(client, 'Maintenance/Alarm', { action: 0 })).alarms as unknown[];
  await until(async () => (await alarms()).length > 0);
  assert.deepEqual(await alarms(), [{ memberID: idOf(odd), alarm: 2 }], 'the odd one, even if it leads');
  const refused = await outcome(client, 'KV/Put', { key: Buffer.from('k') });
  assert.equal(refused, '15 etcdserver: corrupt cluster');
});

test('the hashes of compactions are compared: equal ones are checked, a member that differs gets CORRUPT', async t => {
  const directory = directoryFor(t);
  const dataDir = join(directory, 'data');
  const log = join(directory, 'log');
  const settings = { dataDir, compactHashCheck: true, compactHashCheckIntervalMs: 100 };
  const first = await startFor(t, { ...settings, logLevel: 'info', logOutputs: [log] });
  for (let at = 0; at < 20; at++) await first.client().put(`k${at}`, 'v');
  await first.client().compact(10, { physical: true });
  await until(() => readFileSync(log, 'utf8').includes('"successfully checked hash on whole cluster"'));
  const { name } = followerOf(first);
  await first.close();
  falsify(join(dataDir, name));
  const cluster = await startFor(t, settings);
  const odd = cluster.members.find(member => member.name === name) ?? assert.fail();
  const { revision } = await cluster.client().put('k', 'v');
  await cluster.client().compact(revision);
  const client = await clientFor(t, odd);
  const alarms = async () => (await call(client, 'Maintenance/Alarm', { action: 0 })).alarms as unknown[];
  await until(async () => (await alarms()).length > 0);
  assert.deepEqual(await alarms(), [{ memberID: idOf(odd), alarm: 2 }]);
});

test('a member whose data differs does not start with the initial check', async t => {
  const dataDir = join(directoryFor(t), 'data');
  const cluster = await startFor(t, { dataDir, initialCorruptCheck: true });
  for (let at = 0; at < 20; at++) await cluster.client().put(`k${at}`, 'v');
  const member = followerOf(cluster);
  await member.stop();
  await member.start();
  assert.equal(member.running, true, 'an equal one does');
  await until(async () => (await outcomeOfRead(member)) === 1);
  await member.stop();
  falsify(join(dataDir, member.name));
  void member.start().catch(() => {});
  await until(() => member.running);
  await until(() => !member.running);
  await member.stop();
  await cluster.client().put('k', 'the others serve');

  async function outcomeOfRead(of: ClusterMember): Promise<number> {
    const { kvs } = await call(await clientFor(t, of), 'KV/Range', { key: Buffer.from('k1') });
    return (kvs as unknown[]).length;
  }
});

/** A client of a member whose endpoint is about to open. */
async function connected(t: TestContext, member: ClusterMember): Promise<GrpcClient> {
  for (;;) {
    const client = await clientFor(t, member).catch(() => undefined);
    if (client !== undefined) return client;
    await new Promise(resolve => setTimeout(resolve, 1));
  }
}

/** Changes the newest value in a stopped member's store, checksum and all. */
function falsify(directory: string): void {
  const [state = assert.fail()] = readdirSync(directory).filter(name => name.startsWith('state-'));
  const environment = Environment.open({
    what: 'state',
    directory: join(directory, state),
    mapSizeBytes: 2 ** 30,
    durable: true,
  });
  const key = environment.lastKey(new Uint8Array([RECORD_PREFIX]), END_KEY) ?? assert.fail('there is a record');
  const value = environment.getCopy(key) ?? assert.fail('it can be read');
  value[value.length - CHECKSUM_BYTES - 1]! ^= 1;
  seal(value, recordSeed(mainOf(key), subOf(key)));
  environment.commit(value.length, writer => writer.put(key, value));
  void environment.close();
}
