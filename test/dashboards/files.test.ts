/**
 * The files of dashboards/ by themselves: complete panels that do not overlap, expressions and rules that parse, alerts
 * that fire when they should (rules.yml), and the command that writes it all.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { dashboardsCommand } from '../../src/cli/dashboards.js';
import { StartError, startCluster } from '../../src/index.js';
import { packageRoot } from '../support/package-root.js';
import { requirePeer } from '../support/peers.js';
import { type Dashboard, filled, type Panel, promtool, readDashboards } from '../support/prometheus.js';
import { ownDirectory } from '../support/server-process.js';
import { faultsOf } from './schema.js';

const units = ['none', 's', 'bytes', 'Bps', 'ops', 'reqps', 'percentunit'];
const panelTypes = ['stat', 'timeseries', 'state-timeline'];
const rules = ['alerts.yml', 'recording.yml'].map(name => join(packageRoot, 'dashboards', 'prometheus', 'rules', name));

test('every panel says what it shows, in which unit, and when it is too much', () => {
  const dashboards = readDashboards();
  assert.deepEqual(
    [...dashboards.keys()],
    ['client-api.json', 'cluster.json', 'member.json', 'rings-and-threads.json'],
  );
  assert.equal(new Set([...dashboards.values()].map(({ uid }) => uid)).size, dashboards.size);
  for (const [name, dashboard] of dashboards) {
    assert.deepEqual(
      dashboard.templating.list.map(variable => variable.name),
      ['datasource', 'job', 'instance'],
    );
    assert.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length, `${name}: ids`);
    assert.deepEqual(overlaps(dashboard), [], name);
    for (const panel of dashboard.panels.filter(({ type }) => type !== 'row')) {
      assert.deepEqual(lacking(panel), [], `${name}: ${panel.title}`);
    }
  }
});

function lacking(panel: Panel): string[] {
  const found: string[] = [];
  const { unit, thresholds } = panel.fieldConfig?.defaults ?? {};
  const steps = thresholds?.steps ?? [];
  const limits = steps.slice(1).map(({ value }) => value ?? Number.NaN);
  const targets = panel.targets ?? [];
  if (!panelTypes.includes(panel.type)) found.push(`type ${panel.type}`);
  if (panel.title === '' || !/\.$/.test(panel.description ?? '')) found.push('title or description');
  if (unit === undefined || !units.includes(unit)) found.push(`unit ${unit}`);
  if (steps[0]?.value !== null || limits.some((limit, at) => !(limit > (limits[at - 1] ?? -1))))
    found.push('thresholds');
  if (targets.length === 0 || new Set(targets.map(({ refId }) => refId)).size < targets.length) found.push('refIds');
  if (targets.length > 1 && targets.some(({ legendFormat }) => legendFormat === '')) found.push('legend');
  for (const { expr } of targets) {
    if (!expr.includes('job="$job"') || !expr.includes('instance=~"$instance"')) found.push(`variables in ${expr}`);
  }
  return found;
}

function overlaps({ panels }: Dashboard): string[] {
  const found: string[] = [];
  panels.forEach((one, at) => {
    if (one.gridPos.x + one.gridPos.w > 24) found.push(`${one.title} is too far right`);
    for (const other of panels.slice(at + 1)) {
      const [a, b] = [one.gridPos, other.gridPos];
      const apart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
      if (!apart) found.push(`${one.title} and ${other.title}`);
    }
  });
  return found;
}

test('every field is one of Grafana’s own schema, and none that it requires is missing', () => {
  for (const [name, dashboard] of readDashboards()) {
    assert.deepEqual(faultsOf(dashboard), [], name);
    const [, second] = dashboard.panels as unknown as [unknown, { options: Record<string, unknown> }];
    second.options.colourMode = 'value';
    delete second.options.colorMode;
    assert.deepEqual(faultsOf(dashboard), [
      'panels 1 options colorMode: missing',
      'panels 1 options colourMode: not in the schema',
    ]);
  }
});

test('promtool: configuration, rules, every expression of every panel, and the rules told by example', async t => {
  if (requirePeer(t, 'promtool') === undefined) return;
  await using directory = await temporary();
  const expressions = [...readDashboards().values()].flatMap(({ panels }) =>
    panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => filled(expr, '.*'))),
  );
  const asRules = expressions.map((expr, at) => ({ record: `panel:expression:${at}`, expr }));
  const file = join(directory.path, 'panels.json');
  writeFileSync(file, JSON.stringify({ groups: [{ name: 'panels', rules: asRules }] }));
  const checks = [
    ['check', 'config', '--lint=all', '--lint-fatal', join(packageRoot, 'dashboards', 'prometheus', 'prometheus.yml')],
    ['check', 'rules', '--lint=all', '--lint-fatal', ...rules, file],
    ['test', 'rules', join(packageRoot, 'test', 'dashboards', 'rules.yml')],
  ];
  for (const check of checks) {
    const { code, text } = await promtool(check);
    assert.equal(code, 0, text);
  }
  assert.ok(expressions.length > 100, `${expressions.length} expressions`);
});

test('every alert is told by example', () => {
  const alerts = readFileSync(rules[0] as string, 'utf8').matchAll(/^ +- alert: (\w+)$/gm);
  const examples = readFileSync(join(packageRoot, 'test', 'dashboards', 'rules.yml'), 'utf8');
  const missing = [...alerts]
    .map(match => match[1] as string)
    .filter(name => !examples.includes(`alertname: ${name}\n`));
  assert.deepEqual(missing, []);
});

test('kvorum dashboards writes everything for the members of the cluster that answers', async () => {
  await using directory = await temporary();
  await using cluster = await startCluster({ members: 3, logLevel: 'silent' });
  const out = join(directory.path, 'new', 'folder');
  const hosts = cluster.endpoints.map(endpoint => new URL(endpoint).host);
  const { said } = await run('--out', out, '--endpoints', cluster.endpoints[1] as string);
  const [written] = targetsIn(out);
  assert.deepEqual([...(written?.targets ?? [])].sort(), hosts.sort());
  assert.equal(said.split('\n')[0], `written to ${out} for ${written?.targets.join(', ')}`);
  const mounted = [...readFileSync(join(out, 'compose.yml'), 'utf8').matchAll(/^ +- \.\/([\w/]+):/gm)];
  assert.deepEqual(
    mounted.map(([, folder]) => readdirSync(join(out, folder as string)).sort()),
    [['prometheus.yml', 'rules', 'targets.json'], ['dashboards', 'datasources'], [...readDashboards().keys()]],
  );
});

test('kvorum dashboards takes the endpoints as they stand when nobody answers, and refuses in one line', async () => {
  await using directory = await temporary();
  const { said, warned } = await run('--out', directory.path, '--endpoints=http://127.0.0.1:1,localhost:2/');
  assert.match(warned, /^no cluster says who its members are \(.*\); taking 127\.0\.0\.1:1, localhost:2\n$/);
  assert.match(said, /^written to .* for 127\.0\.0\.1:1, localhost:2\n/);
  assert.deepEqual(targetsIn(directory.path), [
    { targets: ['127.0.0.1:1', 'localhost:2'], labels: { cluster: 'dev' } },
  ]);
  const refused = (words: RegExp, ...args: string[]) =>
    assert.rejects(run(...args), (error: Error) => error instanceof StartError && words.test(error.message));
  await refused(/^usage: kvorum dashboards --out DIR/);
  await refused(/^usage/, 'more', '--out=x');
  await refused(/^somewhere is no HOST:PORT$/, '--out=x', '--endpoints=somewhere');
  await refused(/^cannot write \/proc\/nowhere: .*--out$/, '--out=/proc/nowhere', '--endpoints=127.0.0.1:1');
});

function targetsIn(directory: string): { targets: string[]; labels: Record<string, string> }[] {
  return JSON.parse(readFileSync(join(directory, 'prometheus', 'targets.json'), 'utf8')) as ReturnType<
    typeof targetsIn
  >;
}

async function run(...args: string[]): Promise<{ said: string; warned: string }> {
  const text = { said: '', warned: '' };
  const print = {
    out: (more: string) => {
      text.said += more;
    },
    error: (more: string) => {
      text.warned += more;
    },
  };
  assert.equal(await dashboardsCommand(args, print), 0);
  return text;
}

async function temporary(): Promise<{ path: string; [Symbol.asyncDispose](): Promise<void> }> {
  const { path, remove } = await ownDirectory('kvorum-dashboards-');
  return { path, [Symbol.asyncDispose]: remove };
}
