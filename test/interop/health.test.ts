/**
 * Health over plain HTTP, state by state, beside real etcd 3.5: well, out of space, without a leader. The answers are the
 * same, byte for byte, but for the check `non_learner`, which etcd has from 3.6 on.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startCluster } from '../../src/index.js';
import { requireEtcd, startEtcd } from '../support/etcd.js';
import { scrape } from '../support/exposition.js';

const electionTimeoutMs = 500;
const heartbeatIntervalMs = 50;
const quotaBackendBytes = 1_000_000;

interface Subject {
  readonly endpoints: readonly string[];
  kill(member: number): Promise<void>;
}

const paths = [
  ...['/health', '/health?exclude=NOSPACE', '/health?serializable=true&exclude=NOSPACE', '/health?exclude=CORRUPT'],
  ...['/livez', '/livez?verbose', '/livez/serializable_read', '/livez/linearizable_read'],
  ...['/readyz?exclude=linearizable_read', '/readyz/data_corruption?verbose', '/readyz/serializable_read'],
];

/** etcd lists its checks in no order, each time another one. */
function inOrder(body: string): string {
  return body.replace(/(?:^\[[+-]\].*\n)+/m, checks => checks.split(/^/m).sort().join(''));
}

/** Everything one member says of itself in each state, one line for each question. */
async function program({ endpoints, kill }: Subject): Promise<string[]> {
  const origin = `http://${endpoints[0]}`;
  const said: string[] = [];
  const ask = async (state: string, asked: readonly string[]): Promise<void> => {
    for (const path of asked) {
      const response = await fetch(`${origin}${path}`);
      const body = inOrder((await response.text()).replace('[+]non_learner ok\n', ''));
      said.push(`${state} ${path}: ${response.status} ${response.headers.get('content-type')} ${JSON.stringify(body)}`);
    }
  };
  await ask('well', [...paths, '/readyz', '/readyz?verbose']);
  const body = JSON.stringify({ key: 'aw==', value: Buffer.alloc(100_000).toString('base64') });
  while ((await fetch(`${origin}/v3/kv/put`, { method: 'POST', body })).ok);
  while ((await fetch(`${origin}/health`)).ok);
  await ask('out of space', [...paths, '/readyz', '/readyz?verbose']);
  await Promise.all([kill(1), kill(2)]);
  while ((await scrape(origin)).value('etcd_server_has_leader') === 1);
  // /readyz as a whole waits for a leader until the request's time is up: 5 s and two election timeouts.
  await ask('no leader', [...paths, '/readyz']);
  return said;
}

test('a member says of itself what real etcd 3.5 says, well, out of space and without a leader', async t => {
  if ((await requireEtcd(t, '3.5')) === undefined) return;
  const flags = [
    ...[`--heartbeat-interval=${heartbeatIntervalMs}`, `--election-timeout=${electionTimeoutMs}`],
    `--quota-backend-bytes=${quotaBackendBytes}`,
  ];
  const etcd = await startEtcd({ members: 3, version: '3.5', flags });
  t.after(() => etcd.stop());
  const settings = { heartbeatIntervalMs, electionTimeoutMs, quotaBackendBytes, logLevel: 'silent' } as const;
  await using cluster = await startCluster(settings);
  const kvorum = {
    endpoints: cluster.endpoints.map(endpoint => new URL(endpoint).host),
    kill: (member: number) => cluster.members[member]!.kill(),
  };
  const [theirs, ours] = await Promise.all([program(etcd), program(kvorum)]);
  assert.deepEqual(ours, theirs);
  assert.equal(ours.length, 3 * paths.length + 5);
});
