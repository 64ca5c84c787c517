/**
 * /metrics beside a real etcd's: the same program runs against both, and whatever etcd then shows, kvorum shows too, by
 * the same name, type, labels and buckets. What counts the program's own doing has the same value.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { connect } from '../../src/index.js';
import { type EtcdVersion, requireEtcd, startEtcd } from '../support/etcd.js';
import { type Exposition, scrape } from '../support/exposition.js';
import { requirePeer } from '../support/peers.js';
import { startSubject } from '../support/subject.js';

/** What of etcd's is not shown, and why. */
const missing: readonly (readonly [names: RegExp, reason: string])[] = [
  [/^go_/, 'there is no Go runtime; nodejs_* tells of the one there is'],
  [/^promhttp_/, "the handler is not Go's; kvorum_scrape_duration_seconds tells what a scrape costs"],
];

/** Whose values are the program's own doing. */
const counted = [
  'etcd_mvcc_put_total',
  'etcd_mvcc_delete_total',
  'etcd_debugging_mvcc_total_put_size_in_bytes',
  'etcd_debugging_mvcc_keys_total',
  'etcd_debugging_lease_granted_total',
  'etcd_debugging_lease_revoked_total',
  'etcd_server_has_leader',
  'etcd_server_is_leader',
  'etcd_server_leader_changes_seen_total',
  'etcd_server_proposals_pending',
  'etcd_server_proposals_failed_total',
  ...['started', 'msg_received', 'msg_sent'].flatMap(what =>
    ['Put', 'Range', 'DeleteRange', 'Txn'].map(
      method => `grpc_server_${what}_total{grpc_method="${method}",grpc_service="etcdserverpb.KV",grpc_type="unary"}`,
    ),
  ),
  ...['LeaseGrant', 'LeaseRevoke'].flatMap(method =>
    ['OK', 'NotFound'].map(
      code =>
        `grpc_server_handled_total{grpc_code="${code}",grpc_method="${method}",grpc_service="etcdserverpb.Lease",grpc_type="unary"}`,
    ),
  ),
];

const puts = 20;
const attemptsMax = 100;

async function runProgram(endpoint: string): Promise<Exposition> {
  const client = connect({ endpoints: endpoint });
  for (let at = 0; at < puts; at += 1) await client.put(`key-${at}`, 'value');
  await client.get('key-1');
  await client.delete('key-2');
  await client.delete('nothing');
  await client.txn({
    success: [
      { put: 'key-3', value: 'a' },
      { put: 'key-4', value: 'b' },
    ],
  });
  const lease = await client.lease({ ttlSeconds: 60 });
  await lease.revoke();
  const response = await fetch(`http://${endpoint}/health`);
  assert.equal(response.status, 200);
  await response.text();
  await client.close();
  for (let attempt = 1; ; attempt += 1) {
    const found = await scrape(`http://${endpoint}`);
    // Gauges of kvorum follow within a tick.
    if (valueIn(found, 'etcd_debugging_mvcc_keys_total') === puts - 1 || attempt === attemptsMax) return found;
  }
}

/** Labels in one order: the order in which they stand means nothing. */
function ordered(series: string): string {
  const [, name = series, labels = ''] = /^([^{]+)\{(.*)\}$/.exec(series) ?? [];
  return labels === '' ? name : `${name}{${labels.split(',').sort().join(',')}}`;
}

function valueIn(exposition: Exposition, series: string): number | undefined {
  const family = exposition.families.get(series.split('{')[0] as string);
  for (const [key, value] of family?.series ?? []) if (ordered(key) === series) return value;
  return undefined;
}

async function compare(t: TestContext, version: EtcdVersion): Promise<void> {
  if ((await requireEtcd(t, version)) === undefined) return;
  const etcd = await startEtcd({ members: 1, version, flags: ['--metrics', 'extensive'] });
  t.after(() => etcd.stop());
  const kvorum = await startSubject('kvorum', { members: 1, kvorumFlags: ['--metrics', 'extensive'] });
  t.after(() => kvorum.stop());
  const theirs = await runProgram(etcd.endpoints[0] as string);
  const ours = await runProgram(kvorum.endpoints[0] as string);
  const differences: string[] = [];
  for (const [name, { type }] of theirs.families) {
    if (missing.some(([names]) => names.test(name))) continue;
    const family = ours.families.get(name);
    if (family === undefined) differences.push(`${name} is missing`);
    else if (family.type !== type) differences.push(`${name} is a ${family.type}, not a ${type}`);
    else if (family.series.size > 0 && ours.shape(name) !== theirs.shape(name)) {
      differences.push(`${name} is labelled ${ours.shape(name)}, not ${theirs.shape(name)}`);
    }
  }
  assert.deepEqual(differences, []);
  for (const series of counted) {
    const wanted = valueIn(theirs, series);
    // Some are newer than etcd 3.4.
    if (wanted !== undefined) assert.equal(valueIn(ours, series), wanted, series);
  }
  const grpcSeries = (of: Exposition) =>
    [...(of.families.get('grpc_server_handled_total')?.series.keys() ?? [])].map(ordered);
  const known = new Set(grpcSeries(ours));
  assert.deepEqual(
    grpcSeries(theirs).filter(series => !known.has(series)),
    [],
  );
}

test('whatever etcd 3.4 shows is shown', t => compare(t, '3.4'));
test('whatever etcd 3.5 shows is shown', t => compare(t, '3.5'));

test("promtool finds nothing but what it finds in etcd's own names", async t => {
  const promtool = requirePeer(t, 'promtool');
  if (promtool === undefined) return;
  const kvorum = await startSubject('kvorum', { members: 3, kvorumFlags: ['--metrics', 'extensive'] });
  t.after(() => kvorum.stop());
  await runProgram(kvorum.endpoints[0] as string);
  for (const endpoint of kvorum.endpoints) {
    const input: string = await (await fetch(`http://${endpoint}/metrics`)).text();
    const found: string[] = lint(promtool, input).filter(line => !/^etcd_/.test(line));
    assert.deepEqual(found, []);
  }
});

/** What promtool has to say, by line; it ends with an error when that is anything. */
function lint(promtool: string, input: string): string[] {
  try {
    execFileSync(promtool, ['check', 'metrics'], { input, stdio: ['pipe', 'pipe', 'pipe'] });
    return [];
  } catch (error) {
    const { stdout, stderr } = error as { stdout: Buffer; stderr: Buffer };
    return `${stdout}${stderr}`.split('\n').filter(line => line !== '');
  }
}
