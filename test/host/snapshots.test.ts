/**
 * Snapshots of a running cluster and clusters restored from them, through the library.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { restoreSnapshot } from '../../src/host/restore.js';
import {
  type Cluster,
  type ClusterOptions,
  connect,
  type EtcdClient,
  type KeyValue,
  StartError,
  startCluster,
} from '../../src/index.js';
import { Database } from '../../src/snapshot/bbolt/database.js';
import { checkSnapshot } from '../../src/snapshot/check.js';
import { SnapshotFile, writeSnapshotFile } from '../../src/snapshot/file.js';
import { decodeKeyValue } from '../../src/wire/kv.js';

let base = '';
let open: Cluster[] = [];
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'kvorum-snapshot-'));
});
afterEach(async () => {
  for (const cluster of open) await cluster.close();
  open = [];
  rmSync(base, { recursive: true, force: true });
});

async function start(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = await startCluster({ logLevel: 'silent', ...options });
  open.push(cluster);
  return cluster;
}

function contentOf(kvs: readonly KeyValue[]): unknown {
  return kvs.map(kv => [kv.key, kv.value, kv.createRevision, kv.modRevision, kv.version, kv.lease]);
}

/** The values of all puts in a file, by revision. */
function putsOf(path: string): Map<number, string> {
  const file = SnapshotFile.open(path);
  try {
    assert.deepEqual(checkSnapshot(file).problems, []);
    assert.equal(file.verifyDigest(), true);
    const puts = new Map<number, string>();
    for (const bucket of Database.open(file).buckets()) {
      if (Buffer.from(bucket.name).toString() !== 'key') continue;
      for (const [key, value] of bucket.entries()) {
        if (key.length === 17)
          puts.set(decodeKeyValue(value).modRevision, Buffer.from(decodeKeyValue(value).value).toString());
      }
    }
    return puts;
  } finally {
    file.close();
  }
}

test('the drill: write, snapshot, delete the data directory, restore: everything as it was, and writable', async () => {
  const dataDir = join(base, 'data');
  const file = join(base, 'backup.db');
  const before = await start({ dataDir });
  const client = before.client();
  for (let at = 0; at < 500; at += 1) await client.put(`k${at % 90}`, `value ${at}`);
  await client.delete({ prefix: 'k8' });
  await client.compact(300);
  const lease = await client.leaseGrant({ ttlSeconds: 5_000 });
  await client.put('leased', 'x', { lease });
  await client.put('long', 'l'.repeat(300_000));
  const all = await client.getAll({ prefix: '' });
  const saved = await before.snapshot(file);
  assert.equal(saved.revision, all.revision);
  assert.equal(saved.bytes, readFileSync(file).length);
  await client.put('afterwards', 'is lost');
  await before.close();
  rmSync(dataDir, { recursive: true });

  for (const members of [3, 1]) {
    const after = await start({ dataDir: join(base, `data-${members}`), members, fromSnapshot: file });
    const restored = after.client();
    const found = await restored.getAll({ prefix: '' });
    assert.deepEqual(contentOf(found.kvs), contentOf(all.kvs));
    assert.equal(found.revision, all.revision, 'revisions go on where they were');
    await assert.rejects(restored.getAll({ prefix: '' }, { revision: 299 }), /required revision has been compacted/);
    assert.deepEqual(await restored.leases(), [lease.id]);
    assert.equal((await restored.put('new', 'value')).revision, all.revision + 1);
    await restored.leaseRevoke(lease);
    assert.equal(await restored.get('leased'), undefined, 'a key still hangs on its lease');
    await after.close();
    // What a restore made is a data directory like any other.
    const again = await start({ dataDir: join(base, `data-${members}`), members });
    assert.equal((await again.client().get('new'))?.value, 'value');
    await again.close();
  }
});

test('a snapshot while everybody writes is the store at one revision, and a client reads the same', async () => {
  const cluster = await start({ dataDir: join(base, 'data') });
  const client = cluster.client();
  const values = new Map<number, string>();
  let going = true;
  const writers = Array.from({ length: 16 }, async (_, writer) => {
    for (let at = 0; going; at += 1) {
      const value = `${writer} ${at} ${'x'.repeat(at % 3_000)}`;
      values.set((await client.put(`w${writer}`, value)).revision, value);
    }
  });
  using remote = connect({ endpoints: cluster.endpoints });
  const newest = () => Math.max(0, ...values.keys());
  try {
    for (let round = 0; round < 3; round += 1) {
      while (newest() < 400 * (round + 1)) await client.get('w0');
      const acknowledged = newest();
      const file = join(base, `live-${round}.db`);
      const { revision } = await cluster.snapshot(file);
      assert.ok(revision >= acknowledged, 'what was acknowledged before is in it');
      const puts = putsOf(file);
      assert.equal(puts.size, revision - 1, 'every revision up to its own, and none beyond');
      for (const [at, value] of puts) if (values.has(at)) assert.equal(value, values.get(at));
      const streamed = join(base, `remote-${round}.db`);
      const pieces: Uint8Array[] = [];
      for await (const { bytes } of remote.snapshot()) pieces.push(bytes);
      writeFileSync(streamed, Buffer.concat(pieces));
      assert.ok(putsOf(streamed).size >= 400 * (round + 1));
    }
  } finally {
    going = false;
    await Promise.all(writers);
  }
});

test('a snapshot that is given up, or that loses its member, leaves nothing behind and takes nothing down', async () => {
  const cluster = await start({ dataDir: join(base, 'data') });
  const client = cluster.client();
  for (let at = 0; at < 40; at += 1) await client.put(`k${at}`, 'x'.repeat(100_000));
  using remote = connect({ endpoints: cluster.endpoints[0] as string });
  for (const reader of [client, remote]) {
    for await (const piece of reader.snapshot()) {
      assert.ok(piece.remainingBytes > 0);
      break;
    }
    const signal = AbortSignal.timeout(1);
    await assert.rejects(async () => {
      for await (const _ of reader.snapshot({ signal }));
    });
  }
  const leader = cluster.leader();
  const file = join(base, 'lost.db');
  const saving = cluster.snapshot(file).then(
    () => 'saved',
    (error: Error) => error.message,
  );
  await leader?.kill();
  const outcome = await saving;
  assert.equal(existsSync(file), outcome === 'saved', outcome);
  assert.deepEqual(
    readdirSync(base).filter(name => name.endsWith('.part')),
    [],
  );
  await leader?.start();
  await client.put('after', 'that');
  await cluster.snapshot(file);
  assert.equal(putsOf(file).size, 41);
  for (const { name } of cluster.members) assert.ok(!existsSync(join(base, 'data', name, 'snapshot.spool')));
});

test('files that cannot be restored are refused with one line, and no data directory is left', async () => {
  const source = await start({ members: 1 });
  for (let at = 0; at < 200; at += 1) await source.client().put(`k${at}`, 'x'.repeat(at * 10));
  const whole = join(base, 'whole.db');
  await source.snapshot(whole);
  const bytes = readFileSync(whole);
  const hostile: Record<string, [bytes: Uint8Array, refusal: RegExp]> = {
    'cut.db': [bytes.subarray(0, 20_001), /cut short/],
    'pages.db': [bytes.subarray(0, 8_192), /snapshot missing hash/],
    'empty.db': [new Uint8Array(0), /is no snapshot/],
    'text.db': [Buffer.from('hello'.repeat(500)), /is no snapshot/],
    'flipped.db': [Buffer.from(bytes).fill(bytes[30_000]! ^ 1, 30_000, 30_001), /digest/],
  };
  const dataDir = join(base, 'restored');
  for (const [name, [content, refusal]] of Object.entries(hostile)) {
    const file = join(base, name);
    writeFileSync(file, content);
    await assert.rejects(startCluster({ dataDir, fromSnapshot: file, logLevel: 'silent' }), (error: Error) => {
      assert.ok(error instanceof StartError, `${name}: ${error.stack}`);
      assert.match(error.message, refusal);
      assert.ok(!error.message.includes('\n') && error.message.includes(name), error.message);
      return true;
    });
    assert.deepEqual(
      readdirSync(base).filter(entry => entry.startsWith('restored')),
      [],
      name,
    );
  }
  const foreign = join(base, 'foreign.db');
  writeSnapshotFile(foreign, writer => {
    writer.bucket(Buffer.from('key'));
    writer.put(Buffer.from('no revision'), Buffer.from('x'));
  });
  const options = { file: foreign, dataDir, token: 't', members: [{ name: 'm1', peerUrls: ['http://h:1'] }] };
  await assert.rejects(restoreSnapshot(options), /foreign\.db: bucket key.*its key is no revision/);
  await assert.rejects(restoreSnapshot({ ...options, file: base }), /is not a file/);
  writeFileSync(dataDir, 'a file');
  await assert.rejects(restoreSnapshot({ ...options, file: whole }), /not empty or could not be read/);
});

test('a start from a snapshot that finds its port in use leaves nothing, and can be tried again', async () => {
  const source = await start({ members: 1 });
  await source.client().put('k', 'v');
  const file = join(base, 'whole.db');
  await source.snapshot(file);
  const port = Number(new URL(source.endpoints[0] as string).port);
  const options = { dataDir: join(base, 'data'), fromSnapshot: file, logLevel: 'silent' } as const;
  await assert.rejects(startCluster({ ...options, ports: [0, 0, port] }), StartError);
  assert.ok(!existsSync(options.dataDir));
  const cluster = await start(options);
  assert.equal((await cluster.client().get('k'))?.value, 'v');
});

test('a restored member whose state is lost does not begin an empty one', async () => {
  const source = await start({ members: 1 });
  await source.client().put('k', 'v');
  const file = join(base, 'whole.db');
  await source.snapshot(file);
  const dataDir = join(base, 'data');
  const cluster = await start({ dataDir, fromSnapshot: file });
  await cluster.close();
  const [state] = readdirSync(join(dataDir, 'm2')).filter(name => name.startsWith('state-'));
  rmSync(join(dataDir, 'm2', state as string), { recursive: true });
  await assert.rejects(startCluster({ dataDir, logLevel: 'silent' }), /does not belong to the log/);
});

test('revisions move ahead, and what was before is compacted', async () => {
  const source = await start({ members: 1 });
  for (let at = 0; at < 10; at += 1) await source.client().put('k', `${at}`);
  const file = join(base, 'whole.db');
  await source.snapshot(file);
  const dataDir = join(base, 'data');
  const members = ['a', 'b', 'c'].map((name, at) => ({ name, peerUrls: [`http://host:${at + 1}`] }));
  const restored = await restoreSnapshot({ file, dataDir, members, token: 'mine', bumpRevision: 1_000 });
  assert.equal(restored.revision, 1_011);
  const cluster = await start({ dataDir, token: 'mine' });
  assert.deepEqual(
    cluster.members.map(({ name }) => name),
    ['a', 'b', 'c'],
  );
  const client = cluster.client();
  assert.deepEqual((await client.memberList()).map(member => member.peerUrls[0]).sort(), [
    'http://host:1',
    'http://host:2',
    'http://host:3',
  ]);
  assert.equal((await client.get('k'))?.modRevision, 11);
  await assert.rejects(client.getAll('k', { revision: 1_010 }), /required revision has been compacted/);
  assert.equal((await client.put('k', 'new')).revision, 1_012);
});

test('a file without a digest is taken when that is wanted', async () => {
  const source = await start({ members: 1 });
  await source.client().put('k', 'v');
  const file = join(base, 'whole.db');
  const { bytes } = await source.snapshot(file);
  truncateSync(file, bytes - 32);
  const options = { file, token: 't', members: [{ name: 'm1', peerUrls: ['http://h:1'] }] };
  const { revision } = await restoreSnapshot({ ...options, dataDir: join(base, 'data'), skipHashCheck: true });
  assert.equal(revision, 2);
});

test('a Raft snapshot replaces a member under its own snapshots: each is whole as of one revision, or fails', async () => {
  const dataDir = join(base, 'data');
  const settings = { snapshotCount: 20, snapshotCatchUpEntries: 5 };
  const cluster = await start({ dataDir, ...settings });
  const client = cluster.client();
  const values = new Map<number, string>();
  const put = async (at: number): Promise<void> => {
    const value = `${at} ${'x'.repeat(100_000)}`;
    values.set((await client.put(`k${at}`, value)).revision, value);
  };
  for (let at = 0; at < 60; at += 1) await put(at);
  const leader = cluster.leader();
  const behind = cluster.members.find(member => member.id !== leader?.id)!;
  const { endpoint, name } = behind;
  using remote = connect({ endpoints: endpoint });
  while ((await remote.getAll({ prefix: 'k' }, { serializable: true, keysOnly: true })).count < 60);
  const states = (): string[] => readdirSync(join(dataDir, name)).filter(entry => entry.startsWith('state-'));
  const former = states();

  cluster.partition([behind]);
  const slow = remote.snapshot()[Symbol.asyncIterator]();
  const pieces: Uint8Array[] = [(await slow.next()).value?.bytes as Uint8Array];
  for (let at = 60; at < 160; at += 1) await put(at);
  let replaced = false;
  const outcomes: string[] = [];
  const wholeOrNot = async (round: number): Promise<void> => {
    const taken: Uint8Array[] = [];
    try {
      for await (const { bytes } of remote.snapshot()) taken.push(bytes);
    } catch (error) {
      outcomes.push((error as Error).message);
      return;
    }
    outcomes.push('whole');
    checkPuts(join(base, `round-${round}.db`), taken, values);
  };
  const racing = [wholeOrNot(0), wholeOrNot(1)];
  cluster.heal();
  for (let round = 2; !replaced; round += 1) {
    await wholeOrNot(round);
    replaced = states().every(state => !former.includes(state));
  }
  await Promise.all(racing);
  for (const outcome of outcomes) assert.match(outcome, /^whole$|^etcdserver: /);

  for (let next = await slow.next(); next.done !== true; next = await slow.next()) pieces.push(next.value.bytes);
  assert.equal(checkPuts(join(base, 'slow.db'), pieces, values), 61, 'as of the moment when it was asked for');
  assert.equal(checkPuts(join(base, 'now.db'), await piecesOf(remote), values), 161);
});

async function piecesOf(client: EtcdClient): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = [];
  for await (const { bytes } of client.snapshot()) pieces.push(bytes);
  return pieces;
}

/** Asserts that the pieces make a whole file with every revision up to its last; returns that. */
function checkPuts(path: string, pieces: readonly Uint8Array[], values: ReadonlyMap<number, string>): number {
  writeFileSync(path, Buffer.concat(pieces));
  const puts = putsOf(path);
  const last = Math.max(...puts.keys());
  assert.equal(puts.size, last - 1, 'every revision up to its own, and none beyond');
  for (const [at, value] of puts) if (values.has(at)) assert.equal(value, values.get(at));
  return last;
}
