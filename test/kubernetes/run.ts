/**
 * The Kubernetes load by hand, for minutes:
 *
 *   node dist/test/kubernetes/run.js [--minutes N] [--seed S] [--server kvorum|etcd-3.4|etcd-3.5] [--members 1|3]
 *       [--no-faults] [--compact-anywhere-ms N] [--target http://host:port,…] [--rules kvorum|etcd-3.4|etcd-3.5]
 *
 * kvorum runs in this process, and its members are killed, started again and cut off. Real etcd and servers elsewhere
 * (--target: empty ones) are left alone. Compaction to revisions of any kind finds deletions that etcd 3.4 loses, and
 * is therefore not the default. Prints the seed first, what was judged last, and ends with code 1 when anything was
 * violated.
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { startCluster } from '../../src/index.js';
import { type EtcdVersion, startEtcd } from '../support/etcd.js';
import { callDeadlineMs, disturb, loadedCluster } from './faults.js';
import { type Evidence, judge } from './judge.js';
import { etcdFlags, runLoad } from './load.js';
import { etcd34, etcd35, strict } from './validators.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    server: { type: 'string', default: 'kvorum' },
    members: { type: 'string', default: '3' },
    target: { type: 'string' },
    'no-faults': { type: 'boolean', default: false },
    rules: { type: 'string' },
    'compact-anywhere-ms': { type: 'string' },
  },
});

const violationsShown = 40;
const anywhere = values['compact-anywhere-ms'];
const load = {
  seed: Number(values.seed),
  durationMs: Number(values.minutes) * 60_000,
  ...(anywhere === undefined ? {} : { compactAnywhereEveryMs: Number(anywhere) }),
};
const rules = { kvorum: strict, 'etcd-3.4': etcd34, 'etcd-3.5': etcd35 }[values.rules ?? values.server] ?? strict;
const members = Number(values.members) as 1 | 3;

async function runOnce(): Promise<Evidence> {
  if (values.target !== undefined) {
    const endpoints = values.target.split(',').map(url => url.replace('http://', ''));
    return runLoad({ ...load, endpoints, rules });
  }
  if (values.server.startsWith('etcd-')) {
    const cluster = await startEtcd({
      members,
      version: values.server.replace('etcd-', '') as EtcdVersion,
      flags: etcdFlags,
    });
    try {
      return await runLoad({ ...load, endpoints: cluster.endpoints, rules });
    } finally {
      await cluster.stop();
    }
  }
  await using cluster = await startCluster({ ...loadedCluster, members });
  const endpoints = cluster.endpoints.map(url => url.replace('http://', ''));
  const counts = { kills: 0, isolations: 0 };
  const faults = values['no-faults'] ? {} : { faults: disturb(cluster, counts), callDeadlineMs };
  const evidence = await runLoad({ ...load, endpoints, rules, ...faults });
  process.stdout.write(`${JSON.stringify(counts)}\n`);
  return evidence;
}

process.stdout.write(`seed ${values.seed}\n`);
const { violations, counts, failures } = judge(await runOnce(), rules);
for (const { rule, where, text } of violations.slice(0, violationsShown)) {
  process.stdout.write(`${rule} ${where}: ${text}\n`);
}
process.stdout.write(`${JSON.stringify({ failures })}\n${JSON.stringify(counts)}\n`);
process.stdout.write(`${violations.length} violations\n`);
if (violations.length > 0) process.exitCode = 1;
