/**
 * `etcdctl check datascale` passes on kvorum: it fills a prefix, reads how much memory that took on /metrics, and cleans
 * up. (`check perf` takes a minute by design and is run by hand.)
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { startCluster } from '../../src/index.js';
import { requireEtcd } from '../support/etcd.js';
import { environmentWithout } from '../support/server-process.js';

const run = promisify(execFile);

test('etcdctl check datascale passes', async t => {
  const binaries = await requireEtcd(t, '3.4');
  if (binaries === undefined) return;
  await using cluster = await startCluster({ logLevel: 'silent' });
  const endpoints = `--endpoints=${new URL(cluster.endpoints[0] as string).host}`;
  const env = { ...environmentWithout('ETCDCTL_'), ETCDCTL_API: '3' };
  const { stdout } = await run(binaries.control, [endpoints, 'check', 'datascale', '--load=s'], { env });
  assert.match(stdout, /^PASS: Approximate system memory used : [\d.]+ [KM]B\.$/m);
  assert.equal((await cluster.client().getAll({ prefix: '/etcdctl-check-datascale/' })).count, 0);
});
