/**
 * A real Prometheus scrapes a running cluster under load, on the files that `kvorum dashboards` wrote.
 *
 *     every query of every panel, and every series of etcd's own dashboard and alerts, finds data
 *     alerts are quiet while all is well; one member down, then two: the right ones speak
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { dashboardsCommand } from '../../src/cli/dashboards.js';
import { startCluster } from '../../src/index.js';
import { requirePeer } from '../support/peers.js';
import { filled, Prometheus, readDashboards } from '../support/prometheus.js';
import { ownDirectory } from '../support/server-process.js';
import { startWorkload } from '../support/workload.js';
import { officialAlerts, officialPanels, officialRules, seriesOf } from './official.js';

/** On a quiet machine everything is there after some seconds; this is for the busiest. */
const deadlineMs = 120_000;
const lookEveryMs = 500;

/**
 * etcd's alerts that only a broken cluster raises. Others speak of a slow or full machine, or of a database that would
 * outgrow its quota in four hours if it went on as in these seconds: on a test machine they may.
 */
const quietWhenWell = [
  'etcdMembersDown',
  'etcdInsufficientMembers',
  'etcdNoLeader',
  'etcdHighNumberOfLeaderChanges',
  'etcdHighNumberOfFailedGRPCRequestsCritical',
  'etcdHighNumberOfFailedProposals',
  'etcdDatabaseQuotaLowSpace',
  'etcdDatabaseHighFragmentationRatio',
  'KvorumMemberDown',
  'KvorumNoQuorum',
  'KvorumNoLeader',
  'KvorumManyLeaderChanges',
  'KvorumMemberRestarts',
  'KvorumMemberPaused',
  'KvorumAlarm',
  'KvorumBackupFailed',
  'KvorumDatabaseNearQuota',
];

test('a real Prometheus: every panel has data, and alerts speak when they should', async t => {
  if (requirePeer(t, 'prometheus') === undefined) return;
  const directory = await ownDirectory('kvorum-prometheus-');
  const cluster = await startCluster({ members: 3, logLevel: 'silent', metrics: 'extensive' });
  const [out, endpoints] = [directory.path, cluster.endpoints.join(',')];
  await dashboardsCommand(['--out', out, '--endpoints', endpoints], { out: () => undefined, error: assert.fail });
  writeFileSync(join(out, 'prometheus', 'rules', 'etcd.yml'), officialRules());
  const prometheus = await Prometheus.start(out);
  try {
    const workload = await startWorkload(cluster.endpoints, 20);
    await t.test('every query of every panel returns data', () => allHaveData(prometheus, queriesOfPanels()));
    await t.test("so does every series of etcd's dashboard and alerts", () =>
      allHaveData(prometheus, officialQueries()),
    );
    assert.deepEqual(await workload.stop(), []);
    await t.test('all is well, and nothing says otherwise', async () => {
      const names = (await prometheus.alerts()).map(({ name }) => name);
      assert.deepEqual(
        names.filter(name => quietWhenWell.includes(name)),
        [],
      );
    });
    await t.test('one member stops: it is down, another leads', async () => {
      await cluster.members[2]?.stop();
      await spoken(prometheus, ['etcdMembersDown', 'KvorumMemberDown']);
      await shows(prometheus, 'Who is up, who leads', ['0', '1', '2']);
      await shows(prometheus, 'Members down', ['1']);
      await shows(prometheus, 'Failures it can take', ['0']);
    });
    await t.test('a second stops: no quorum, no leader', async () => {
      await cluster.members[1]?.stop();
      await spoken(prometheus, ['etcdInsufficientMembers', 'etcdNoLeader', 'KvorumNoQuorum', 'KvorumNoLeader']);
      await shows(prometheus, 'Failures it can take', ['-1']);
    });
  } finally {
    await prometheus.end();
    await cluster.close();
    await directory.remove();
  }
});

/** What is asked, by a name that says where it stands. */
type Queries = ReadonlyMap<string, string>;

function queriesOfPanels(): Queries {
  const queries = new Map<string, string>();
  for (const [name, { panels }] of readDashboards()) {
    for (const { title, targets = [] } of panels) {
      for (const { refId, expr } of targets) queries.set(`${name}: ${title} ${refId}`, filled(expr, '.*'));
    }
  }
  return queries;
}

function officialQueries(): Queries {
  const queries = new Map<string, string>();
  for (const [panel, expression] of officialPanels) queries.set(panel, filled(expression, '.*'));
  for (const [alert, , condition] of officialAlerts) {
    for (const series of seriesOf(condition)) queries.set(`${alert}: ${series}`, series);
  }
  return queries;
}

/** Resolves when each query has returned a number at least once; rejects with those that have not at the deadline. */
async function allHaveData(prometheus: Prometheus, queries: Queries): Promise<void> {
  const missing = new Map(queries);
  await until(
    async () => {
      const asked = [...missing].map(async ([name, query]) => {
        if ((await prometheus.query(query)).some(({ value }) => Number.isFinite(value))) missing.delete(name);
      });
      await Promise.all(asked);
      return missing.size === 0;
    },
    () => `no data for ${[...missing].map(([name, query]) => `${name}\n    ${query}`).join('\n')}`,
  );
}

/** Resolves when all of these alerts are pending or firing. */
async function spoken(prometheus: Prometheus, names: readonly string[]): Promise<void> {
  let active: string[] = [];
  await until(
    async () => {
      active = (await prometheus.alerts()).map(({ name }) => name);
      return names.every(name => active.includes(name));
    },
    () => `${names.join(', ')} expected, active are ${active.join(', ')}`,
  );
}

/** Resolves when the overview's panel has these values, in ascending order. */
async function shows(prometheus: Prometheus, title: string, expected: readonly string[]): Promise<void> {
  const panel = readDashboards()
    .get('cluster.json')
    ?.panels.find(candidate => candidate.title === title);
  const query = filled(panel?.targets?.[0]?.expr ?? '', '.*');
  let values: string[] = [];
  await until(
    async () => {
      values = (await prometheus.query(query)).map(({ value }) => String(value)).sort();
      return isDeepStrictEqual(values, expected);
    },
    () => `${title} shows ${values.join(', ')}, not ${expected.join(', ')}`,
  );
}

async function until(done: () => Promise<boolean>, say: () => string): Promise<void> {
  for (const untilMs = performance.now() + deadlineMs; !(await done()); ) {
    assert.ok(performance.now() < untilMs, say());
    await new Promise(resolve => setTimeout(resolve, lookEveryMs));
  }
}
