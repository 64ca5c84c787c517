/**
 * Auth from outside, on three members: etcdctl, the gateway, locks, npm's etcd3, the command, and tokens of both kinds.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { Etcd3 } from 'etcd3';
import { memberCommand } from '../../../src/cli/member.js';
import { snapshotCommand } from '../../../src/cli/snapshot.js';
import { type Cluster, type ClusterOptions, connect, StartError, startCluster } from '../../../src/index.js';
import { decode, encode } from '../../../src/wire/schema.js';
import { GrpcClient } from '../../support/grpc-client.js';
import { requirePeer } from '../../support/peers.js';

const directory = mkdtempSync(join(tmpdir(), 'kvorum-auth-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const privatePath = join(directory, 'private.pem');
const publicPath = join(directory, 'public.pem');
writeFileSync(privatePath, privateKey.export({ type: 'pkcs8', format: 'pem' }));
writeFileSync(publicPath, publicKey.export({ type: 'spki', format: 'pem' }));
const signed = `jwt,sign-method=ES256,pub-key=${publicPath},priv-key=${privatePath},ttl=10m`;

const denied = 'etcdserver: permission denied';
const nobody = 'etcdserver: user name is empty';

for (const authToken of ['simple', signed]) {
  const isSigned = authToken !== 'simple';
  test(isSigned ? 'signed tokens' : 'simple tokens', { timeout: 90_000 }, async t => {
    const cluster = await start({ members: 3, authToken });
    try {
      await prepare(cluster);
      await t.test('etcdctl', one => etcdctl(one, cluster));
      await t.test('the gateway', () => gateway(cluster));
      await t.test('locks, elections and streams have the rights of their caller', () => streams(cluster));
      await t.test('npm etcd3', () => npmClient(cluster, isSigned));
      await t.test('the command', () => command(cluster));
      if (isSigned) await t.test('a token of an old revision', () => oldRevision(cluster));
      else await t.test('a member that was restarted knows no tokens', () => restart(cluster));
      await t.test('whoever runs the cluster has every right', async () => {
        await cluster.client().put('other', 'x');
        const { records } = await cluster.snapshot(join(directory, `own-${isSigned}.db`));
        assert.ok(records > 0);
      });
    } finally {
      await cluster.close();
    }
  });
}

function start(options: ClusterOptions): Promise<Cluster> {
  return startCluster({ logLevel: 'silent', bcryptCost: 4, ...options });
}

/** root, and ann, who may do everything below a/. */
async function prepare(cluster: Cluster): Promise<void> {
  const { user, role, auth } = cluster.client();
  await user.add('root', 'secret');
  await user.grantRole('root', 'root');
  await user.add('ann', 'wonder');
  await role.add('a');
  await role.grantPermission('a', { prefix: 'a/' }, 'readwrite');
  await user.grantRole('ann', 'a');
  await auth.enable();
}

async function etcdctl(t: TestContext, cluster: Cluster): Promise<void> {
  const program = requirePeer(t, 'etcdctl');
  if (program === undefined) return;
  const endpoints = cluster.endpoints.join(',');
  const run = async (...args: string[]): Promise<string> => {
    const env = { ...process.env, ETCDCTL_API: '3' };
    return promisify(execFile)(program, ['--endpoints', endpoints, ...args], { env }).then(
      ({ stdout }) => stdout,
      (error: { stderr: string }) => error.stderr.split('\n').findLast(line => line.startsWith('Error: ')) ?? '',
    );
  };
  const root = ['--user', 'root:secret'];
  const ann = ['--user', 'ann', '--password', 'wonder'];
  assert.equal(await run(...root, 'put', 'b', '1'), 'OK\n');
  assert.equal(await run(...ann, 'put', 'a/b', '2'), 'OK\n');
  assert.equal(await run(...ann, 'get', 'a/', '--prefix', '--print-value-only'), '2\n');
  assert.equal(await run(...ann, 'get', 'b'), `Error: ${denied}`);
  assert.equal(await run('get', 'b'), `Error: ${nobody}`);
  const failed = 'Error: etcdserver: authentication failed, invalid user ID or password';
  assert.equal(await run('--user', 'ann:nothing', 'get', 'a/b'), failed);
  assert.equal(await run(...root, 'user', 'add', 'bo:pass'), 'User bo created\n');
  assert.equal(await run(...root, 'user', 'list'), 'ann\nbo\nroot\n');
  assert.equal(await run(...root, 'user', 'grant-role', 'bo', 'a'), 'Role a is granted to user bo\n');
  assert.equal(await run('--user', 'bo:pass', 'get', 'a/b', '--print-value-only'), '2\n');
  assert.equal(await run(...root, 'user', 'delete', 'bo'), 'User bo deleted\n');
  assert.equal(await run('--user', 'bo:pass', 'get', 'a/b'), failed);
  assert.equal(await run(...ann, 'role', 'list'), `Error: ${denied}`);
  assert.match(await run(...root, 'role', 'get', 'a'), /KV Read:\n\t\[a\/, a0\) \(prefix a\/\)/);
}

async function gateway(cluster: Cluster): Promise<void> {
  const ask = async (path: string, body: object, headers: Record<string, string> = {}) => {
    const response = await fetch(`${cluster.endpoints[1]}${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
      headers,
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const key = Buffer.from('a/gateway').toString('base64');
  const login = await ask('/v3/auth/authenticate', { name: 'ann', password: 'wonder' });
  const token = login.body.token as string;
  for (const authorization of [token, `Bearer ${token}`]) {
    assert.equal((await ask('/v3/kv/put', { key, value: key }, { authorization })).status, 200);
  }
  assert.equal((await ask('/v3/kv/put', { key, value: key }, { 'grpc-metadata-token': token })).status, 200);
  const range = await ask('/v3/kv/range', { key }, { authorization: token });
  assert.equal(range.body.count, '1');
  const without = await ask('/v3/kv/range', { key });
  assert.deepEqual([without.status, without.body.message], [400, nobody]);
  const wrong = await ask('/v3/kv/range', { key }, { authorization: 'nonsense' });
  assert.deepEqual([wrong.status, wrong.body.message], [401, 'etcdserver: invalid auth token']);
  const other = await ask('/v3/kv/range', { key: 'YWE=' }, { authorization: token });
  assert.deepEqual([other.status, other.body.message], [403, denied]);
  const refused = await ask('/v3/auth/authenticate', { name: 'ann', password: 'x' });
  assert.equal(refused.status, 400);
  const locked = await ask('/v3/lock/lock', { name: key }, { authorization: token });
  assert.equal(locked.status, 200);
}

async function streams(cluster: Cluster): Promise<void> {
  const own = cluster.client();
  const ann = { metadata: { token: await own.auth.authenticate('ann', 'wonder') } };
  const client = await GrpcClient.connect(new URL(cluster.endpoints[2] as string).host);
  try {
    const lock = async (name: string, options: object) => {
      const request = encode('v3lockpb.LockRequest', { name: Buffer.from(name) });
      const { grpcStatus, grpcMessage } = await client.unary('/v3lockpb.Lock/Lock', request, options);
      return [grpcStatus, grpcMessage];
    };
    assert.deepEqual(await lock('a/lock', ann), [0, '']);
    assert.deepEqual(await lock('lock', ann), [2, denied]);
    assert.deepEqual(await lock('a/other', {}), [2, nobody]);
    const leader = encode('v3electionpb.LeaderRequest', { name: Buffer.from('jobs') });
    const { grpcMessage } = await client.unary('/v3electionpb.Election/Leader', leader, ann);
    assert.equal(grpcMessage, denied);
    for (const [options, text] of [
      [ann, denied],
      [{}, nobody],
    ] as const) {
      const snapshot = await client.unary('/etcdserverpb.Maintenance/Snapshot', new Uint8Array(0), options);
      assert.equal(snapshot.grpcMessage, text);
    }
    const watched = async (key: string, options: object): Promise<string> => {
      const stream = client.stream('/etcdserverpb.Watch/Watch', options);
      stream.send(encode('etcdserverpb.WatchRequest', { create_request: { key: Buffer.from(key) } }));
      const { value } = await stream.next();
      stream.cancel();
      return decode('etcdserverpb.WatchResponse', value as Buffer).cancel_reason;
    };
    assert.equal(await watched('a/x', ann), '');
    assert.match(await watched('x', ann), /permission denied/);
    assert.match(await watched('a/x', {}), /user name is empty/);
  } finally {
    client.close();
  }
}

async function npmClient(cluster: Cluster, isSigned: boolean): Promise<void> {
  const hosts = cluster.endpoints;
  const ann = new Etcd3({ hosts, auth: { username: 'ann', password: 'wonder' } });
  const root = new Etcd3({ hosts, auth: { username: 'root', password: 'secret' } });
  try {
    await ann.put('a/npm').value('1');
    assert.equal(await ann.get('a/npm').string(), '1');
    await assert.rejects(ann.get('npm').string(), /permission denied/);
    // It does not log in again when its token is of an old revision, not with etcd either.
    if (isSigned) return;
    await root.role('npm').create();
    await root.role('npm').grant({ permission: 'Read', range: root.range('npm') });
    await root.user('ann').addRole('npm');
    await root.put('npm').value('2');
    assert.equal(await ann.get('npm').string(), '2', 'a right that was given after the login');
    assert.deepEqual(
      (await root.user('ann').roles()).map(({ name }) => name),
      ['a', 'npm'],
    );
  } finally {
    ann.close();
    root.close();
  }
}

async function command(cluster: Cluster): Promise<void> {
  const printed: string[] = [];
  const print = { out: (text: string) => void printed.push(text), error: () => undefined };
  const host = new URL(cluster.endpoints[0] as string).host;
  const credentials = ['--endpoints', host, '--user', 'root', '--password', 'secret'];
  await memberCommand(['list', ...credentials], print);
  assert.equal(printed.length, 3);
  const file = join(directory, 'saved.db');
  await snapshotCommand(['save', file, '--endpoints', host, '--user', 'root:secret'], print);
  assert.ok(statSync(file).size > 10_000);
  const refused = join(directory, 'refused.db');
  const save = snapshotCommand(['save', refused, '--endpoints', host, '--user', 'ann:wonder'], print);
  await assert.rejects(save, (error: Error) => error instanceof StartError && error.message.includes(denied));
  assert.equal(existsSync(refused), false);
  await assert.rejects(memberCommand(['list', '--endpoints', host], print), /user name is empty/);
}

async function oldRevision(cluster: Cluster): Promise<void> {
  const own = cluster.client();
  const token = await own.auth.authenticate('ann', 'wonder');
  const claims = JSON.parse(Buffer.from(token.split('.')[1] as string, 'base64url').toString()) as object;
  assert.deepEqual(Object.keys(claims), ['username', 'revision', 'exp']);
  using ann = connect({ endpoints: cluster.endpoints, username: 'ann', password: 'wonder' });
  await ann.put('a/b', 'before');
  await own.role.grantPermission('a', 'more', 'read');
  const client = await GrpcClient.connect(new URL(cluster.endpoints[0] as string).host);
  const put = encode('etcdserverpb.PutRequest', { key: Buffer.from('a/b'), value: Buffer.from('x') });
  const answer = await client.unary('/etcdserverpb.KV/Put', put, { metadata: { token } });
  client.close();
  assert.deepEqual([answer.grpcStatus, answer.grpcMessage], [3, 'etcdserver: revision of auth store is old']);
  await ann.put('a/b', 'after');
  assert.equal((await ann.get('a/b'))?.value, 'after');
}

async function restart(cluster: Cluster): Promise<void> {
  const member = cluster.members.find(other => other !== cluster.leader());
  assert.ok(member !== undefined);
  using ann = connect({ endpoints: member.endpoint, username: 'ann', password: 'wonder' });
  await ann.put('a/restart', '1');
  await member.stop();
  await member.start();
  assert.equal((await ann.get('a/restart'))?.value, '1');
  await ann.put('a/restart', '2');
}

test('tokens signed elsewhere: a cluster with the public key reads them, and gives none itself', async () => {
  const cluster = await start({ members: 1, authToken: `jwt,sign-method=ES256,pub-key=${publicPath}` });
  try {
    await prepare(cluster);
    const { JwtTokens } = await import('../../../src/host/auth/jwt.js');
    const keys = { publicKeyPath: undefined, privateKeyPath: privatePath };
    const elsewhere = new JwtTokens({ method: 'ES256', ...keys, ttlMs: 60_000 });
    const { revision } = await cluster.client().auth.status();
    const client = await GrpcClient.connect(new URL(cluster.endpoints[0] as string).host);
    const range = encode('etcdserverpb.RangeRequest', { key: Buffer.from('a/b') });
    const ask = async (token: string) => {
      const { grpcStatus, grpcMessage } = await client.unary('/etcdserverpb.KV/Range', range, { metadata: { token } });
      return [grpcStatus, grpcMessage];
    };
    assert.deepEqual(await ask(await elsewhere.sign('ann', revision)), [0, '']);
    assert.deepEqual(await ask(`${await elsewhere.sign('ann', revision)}x`), [16, 'etcdserver: invalid auth token']);
    client.close();
    await assert.rejects(cluster.client().auth.authenticate('ann', 'wonder'), {
      code: 2,
      message: 'auth: token signing attempted with verify-only key',
    });
  } finally {
    await cluster.close();
  }
});

test('a key that does not fit ends the start before anything is written', async () => {
  const dataDir = join(directory, 'never');
  const options = { dataDir, authToken: `jwt,sign-method=RS256,priv-key=${privatePath}` };
  await assert.rejects(
    start(options),
    (error: Error) => error instanceof StartError && /no rsa key/.test(error.message),
  );
  assert.equal(existsSync(dataDir), false);
});

test('a plain start loads nothing of this', async () => {
  const coverage = join(directory, 'coverage');
  const index = new URL('../../../src/index.js', import.meta.url).href;
  const script = join(directory, 'start.mjs');
  const text = `
    const { startCluster } = await import('${index}');
    const cluster = await startCluster({ members: 1, logLevel: 'silent' });
    await cluster.client().put('a', 'b');
    await cluster.close();`;
  writeFileSync(script, text);
  await promisify(execFile)(process.execPath, [script], { env: { ...process.env, NODE_V8_COVERAGE: coverage } });
  const loaded = readdirSync(coverage).flatMap(file => {
    const { result } = JSON.parse(readFileSync(join(coverage, file), 'utf8')) as { result: { url: string }[] };
    return result.map(({ url }) => url);
  });
  assert.ok(
    loaded.some(url => url.endsWith('/host/router.js')),
    'what is loaded is known',
  );
  const heavy = /node_modules\/(jose|bcryptjs|piscina)\/|host\/auth\/jwt\.js|tasks\/passwords\.js/;
  assert.deepEqual(
    loaded.filter(url => heavy.test(url)),
    [],
  );
});
