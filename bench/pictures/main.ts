/**
 * The README's pictures of the dashboards, from a real run:
 *
 *     npm run build && node dist/bench/pictures/main.js --out dashboards/pictures
 *
 *   three members with durable data   puts from 10, then 200 outstanding calls, and a little of everything else;
 *                                     the leader is killed and comes back
 *   Prometheus                        scrapes them each second with what `kvorum dashboards` writes
 *   the panels' own queries           asked over the run, drawn by chart.ts: Grafana is not involved
 *   chromium                          takes the pictures
 *
 *   --only NAME      one dashboard                                  --ports A,B,C   (default 2379,22379,32379)
 *   --keep DIR       leave the HTML pages there
 */
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { dashboardsCommand } from '../../src/cli/dashboards.js';
import { type Cluster, startCluster } from '../../src/index.js';
import { delay } from '../../src/load/waiting.js';
import { filled, type Panel, Prometheus, readDashboards } from '../../test/support/prometheus.js';
import { ownDirectory } from '../../test/support/server-process.js';
import { startWorkload } from '../../test/support/workload.js';
import type { NamedLine, Span } from './chart.js';
import { dashboardPage } from './page.js';
import { withPalette } from './png.js';

const run = promisify(execFile);

/** Seconds since the beginning. */
const plan = { heavier: 15, kill: 30, start: 42, end: 60 };

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      out: { type: 'string', default: 'dashboards/pictures' },
      ports: { type: 'string', default: '2379,22379,32379' },
      only: { type: 'string' },
      keep: { type: 'string' },
    },
  });
  const directory = await ownDirectory('kvorum-pictures-');
  const ports = values.ports.split(',').map(Number);
  const dataDir = join(directory.path, 'members');
  const cluster = await startCluster({ members: 3, dataDir, ports, metrics: 'extensive', logLevel: 'silent' });
  const targets = ['--endpoints', cluster.endpoints.join(',')];
  await dashboardsCommand(['--out', directory.path, ...targets], { out: () => undefined, error: report });
  const prometheus = await Prometheus.start(directory.path);
  try {
    const { span, victim } = await eventfulMinute(cluster);
    const pages = values.keep ?? directory.path;
    mkdirSync(values.out, { recursive: true });
    mkdirSync(pages, { recursive: true });
    for (const [name, dashboard] of readDashboards()) {
      const base = name.replace('.json', '');
      if (values.only !== undefined && values.only !== base) continue;
      const instance = base === 'member' ? victim : '.*';
      const lines = new Map<number, NamedLine[]>();
      for (const panel of dashboard.panels) lines.set(panel.id, await linesOf(prometheus, panel, instance, span));
      const subtitle = base === 'member' ? `instance = ${victim}` : '';
      const page = dashboardPage(dashboard, subtitle, span, panel => lines.get(panel.id) ?? []);
      const html = join(pages, `${base}.html`);
      writeFileSync(html, page.html);
      await photograph(html, join(values.out, `${base}.png`), page);
    }
  } finally {
    await prometheus.end();
    await cluster.close();
    await directory.remove();
  }
}

/** Load, more load, the leader is killed, and comes back. */
async function eventfulMinute(cluster: Cluster): Promise<{ span: Span; victim: string }> {
  const leader = cluster.leader();
  if (leader === undefined) throw new Error('the cluster has no leader');
  const others = cluster.members.filter(member => member !== leader).map(({ endpoint }) => endpoint);
  // The first scrapes, so that rates have something to begin with.
  await delay(6_000);
  const from = Date.now() / 1000;
  const until = (seconds: number): Promise<void> => delay(Math.max(0, (from + seconds) * 1000 - Date.now()));
  const workload = await startWorkload(others, 10);
  const light = putLoad(others, 10, plan.heavier);
  await until(plan.heavier);
  const heavy = putLoad(others, 200, plan.end - plan.heavier);
  await until(plan.kill);
  await leader.kill();
  report(`${leader.name} killed`);
  await until(plan.start);
  await leader.start();
  report(`${leader.name} started again`);
  await until(plan.end);
  const failures = await workload.stop();
  await Promise.all([light, heavy]);
  report(`${failures.length} calls of the small workload failed`);
  const marks = [
    { seconds: from + plan.kill, text: `${leader.name} killed` },
    { seconds: from + plan.start, text: 'started' },
  ];
  return { span: { from, to: from + plan.end, marks }, victim: new URL(leader.endpoint).host };
}

/** The load generator as its own process; calls that fail in the election are part of the picture. */
function putLoad(endpoints: readonly string[], outstanding: number, seconds: number): Promise<void> {
  const program = fileURLToPath(new URL('../load/main.js', import.meta.url));
  const hosts = endpoints.map(endpoint => new URL(endpoint).host).join(',');
  const flags = ['--endpoints', hosts, '--outstanding', String(outstanding), '--seconds', String(seconds)];
  const child = spawn(process.execPath, [program, ...flags, '--warmup', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  child.stdout.on('data', chunk => report(String(chunk).trim()));
  return new Promise(resolve => {
    child.once('close', () => resolve());
  });
}

async function linesOf(prometheus: Prometheus, panel: Panel, instance: string, span: Span): Promise<NamedLine[]> {
  const lines: NamedLine[] = [];
  for (const { expr, legendFormat } of panel.targets ?? []) {
    for (const line of await prometheus.range(filled(expr, instance), span.from, span.to, 1)) {
      lines.push({ ...line, name: legendFormat.replace(/\{\{(\w+)\}\}/g, (_, label) => line.metric[label] ?? '') });
    }
  }
  return lines;
}

async function photograph(html: string, picture: string, size: { width: number; height: number }): Promise<void> {
  const window = `--window-size=${size.width},${size.height}`;
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', window, `--screenshot=${picture}`];
  await run('chromium', [...flags, `file://${html}`], { timeout: 60_000 });
  writeFileSync(picture, withPalette(readFileSync(picture)));
}

function report(text: string): void {
  process.stderr.write(`${text}\n`);
}

await main();
