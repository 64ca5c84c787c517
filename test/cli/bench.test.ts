/**
 * `kvorum bench` as its user runs it: reports, ratios, a picture, refusals.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { readArgs } from '../../src/cli/arguments.js';
import { benchOptions, planOf } from '../../src/cli/bench/flags.js';
import { LiveView } from '../../src/cli/bench/live.js';
import { drawPicture } from '../../src/cli/bench/picture.js';
import type { BenchReport } from '../../src/cli/bench/report.js';
import { textOf } from '../../src/cli/bench/report.js';
import type { EtcdClient } from '../../src/index.js';
import { startCluster } from '../../src/index.js';
import { Histogram } from '../../src/load/histogram.js';

const command = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const run = promisify(execFile);

function plan(...args: string[]) {
  const { values, positionals } = readArgs(args, benchOptions);
  return planOf(values, positionals);
}

test('every operation, against a cluster that runs: what it counts is what the cluster has done', async () => {
  const cluster = await startCluster({ members: 3 });
  const client = cluster.client();
  const target = cluster.endpoints.join(',');
  const bench = async (...args: string[]): Promise<BenchReport> => {
    const common = ['--target', target, '--warmup', '0', '--key-space-size', '50', '--json', '-'];
    const { stdout } = await run(process.execPath, [command, 'bench', ...args, ...common]);
    return JSON.parse(stdout) as BenchReport;
  };
  const revision = async (): Promise<number> => Number((await client.status()).revision);
  try {
    const before = await revision();
    const puts = await bench('put', '--total', '300', '--clients', '5', '--sequential-keys');
    assert.ok((puts.outcomes[0]?.requests ?? 0) >= 300);
    assert.ok((await revision()) - before >= 300);
    assert.equal((await client.getAll({ prefix: 'bench/' })).count, 50);

    const first = await revision();
    const txns = await bench('txn-put', '--total', '20', '--clients', '1', '--txn-ops', '4');
    assert.deepEqual(txns.outcomes[0]?.failed, {});
    assert.ok((await revision()) - first >= 20);

    const mixed = await revision();
    await bench('txn-mixed', '--total', '40', '--clients', '1', '--rw-ratio', '3');
    const writes = (await revision()) - mixed;
    assert.ok(writes >= 9 && writes <= 13, `a quarter of 40 calls writes, not ${writes}`);

    for (const consistency of ['l', 's']) {
      const ranges = await bench('range', '--total', '100', '--clients', '10', '--consistency', consistency);
      assert.deepEqual(ranges.outcomes[0]?.failed, {});
    }
    assert.deepEqual((await bench('range', 'bench/', 'bench0', '--total', '10')).outcomes[0]?.failed, {});

    const watched = await bench('watch', '--streams', '2', '--watch-per-stream', '5', '--seconds', '0.3');
    assert.equal((watched.outcomes[0]?.requests ?? 0) > 0, true);
    const latency = await bench('watch-latency', '--streams', '2', '--watch-per-stream', '2', '--seconds', '0.3');
    assert.equal((latency.outcomes[0]?.latencyMs.p50 ?? 0) > 0, true);
    const kept = await bench('lease-keepalive', '--leases', '20', '--clients', '4,8', '--seconds', '0.2');
    assert.equal(kept.outcomes.length, 2);
    assert.equal((await client.leases()).length, 20);
  } finally {
    await cluster.close();
  }
});

test('two targets in turn: ratios, JSON and picture', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-test-'));
  const cluster = await startCluster({ members: 1 });
  try {
    const [json, svg] = [join(directory, 'report.json'), join(directory, 'picture.svg')];
    const flags = [
      '--vs',
      cluster.endpoints.join(','),
      '--clients',
      '1,4',
      '--total',
      '50',
      '--json',
      json,
      '--svg',
      svg,
    ];
    const { stdout } = await run(process.execPath, [command, 'bench', 'put', ...flags]);
    assert.match(stdout, /with 1 clients the first has \d+\.\d\dx the throughput/);
    const report = JSON.parse(readFileSync(json, 'utf8')) as BenchReport;
    assert.deepEqual(
      report.outcomes.map(({ target, clients }) => [target, clients]),
      [
        ['embedded', 1],
        [cluster.endpoints[0], 1],
        ['embedded', 4],
        [cluster.endpoints[0], 4],
      ],
    );
    const [one] = report.ratios;
    const [first, second] = report.outcomes;
    assert.equal(one?.perSecond, (first?.perSecond ?? 0) / (second?.perSecond ?? 1));
    const picture = readFileSync(svg, 'utf8');
    assert.match(picture, /^<svg /);
    assert.equal(picture.match(/<polyline /g)?.length, 6);
  } finally {
    await cluster.close();
    rmSync(directory, { recursive: true, force: true });
  }
});

test('a cluster that refuses makes the exit code 1, one that is not there a line', async () => {
  const cluster = await startCluster({ members: 1, quotaBackendBytes: 1 });
  try {
    const flags = ['--target', cluster.endpoints.join(','), '--total', '5', '--clients', '1'];
    const failed = run(process.execPath, [command, 'bench', 'put', ...flags]);
    await assert.rejects(failed, (error: Error & { code: number; stdout: string }) => {
      assert.equal(error.code, 1);
      assert.match(error.stdout, /\d of status 8/);
      return true;
    });
  } finally {
    await cluster.close();
  }
  const gone = run(process.execPath, [command, 'bench', 'put', '--target', cluster.endpoints.join(',')]);
  await assert.rejects(gone, (error: Error & { stderr: string }) => {
    assert.match(error.stderr, /^kvorum: the run failed: .*ECONNREFUSED.*\n$/);
    return true;
  });
});

/** Kills a member under a run of 60 seconds, once it `runs`; the command ends with an error, at once. */
async function endsWithAMember(args: readonly string[], runs: (client: EtcdClient) => Promise<boolean>): Promise<void> {
  const cluster = await startCluster({ members: 3 });
  try {
    const flags = ['--target', cluster.endpoints.join(','), '--seconds', '60'];
    const ended = run(process.execPath, [command, 'bench', ...args, ...flags]);
    const refused = assert.rejects(ended, (error: Error & { code: number; stderr: string }) => {
      assert.equal(error.code, 1);
      assert.match(error.stderr, /^kvorum: the run failed: /);
      return true;
    });
    const client = cluster.client();
    while (!(await runs(client)));
    // Not the first: the watched puts go there, and their connection would be the one that breaks.
    await cluster.members[1]?.kill();
    await refused;
  } finally {
    await cluster.close();
  }
}

const hasPut = async (client: EtcdClient) => (await client.getAll({ prefix: 'bench/' })).count >= 10;

test('a member that dies ends the run, the other connections too', { timeout: 30_000 }, async () => {
  await endsWithAMember(['put', '--rate', '100'], hasPut);
});

test('so it does under watches', { timeout: 30_000 }, async () => {
  await endsWithAMember(['watch', '--streams', '3', '--watched-key-total', '30'], hasPut);
});

test('so it does under keep-alives', { timeout: 30_000 }, async () => {
  const granted = async (client: EtcdClient) => (await client.leases()).length === 30;
  await endsWithAMember(['lease-keepalive', '--streams', '3', '--leases', '30', '--warmup', '0'], granted);
});

test('what makes no sense is refused with the way out', () => {
  assert.throws(() => plan('fly'), /takes one of put, range,/);
  assert.throws(() => plan('put', 'key'), /takes one of/);
  assert.throws(() => plan('put', '--clients', '0'), /--clients is a number from 1 on, not 0/);
  assert.throws(() => plan('put', '--clients', '1.5'), /--clients are whole numbers/);
  assert.throws(() => plan('put', '--key-size', '8'), /--key-size is a number from 16 on/);
  assert.throws(() => plan('range', '--consistency', 'x'), /--consistency is l or s/);
  assert.throws(() => plan('txn-put', '--txn-ops', '3', '--key-space-size', '2'), /--txn-ops/);
  assert.throws(() => plan('put', '--val-size', '16384'), /--val-size: requests of up to 16384 bytes/);
  assert.throws(() => plan('watch', '--watched-key-total', '7'), /--watched-key-total must divide/);
  assert.deepEqual(plan('put', '--svg', 'x').clients, [1, 10, 100, 1000]);
  assert.equal(plan('watch-latency').ratePerSecond, 100);
});

test('the live line: progress, the rate of now, latencies, errors', t => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const shown: string[] = [];
  const print = { out: assert.fail, error: (text: string) => void shown.push(text.replace('\r\x1b[K', '')) };
  const view = new LiveView(print, true, plan('put', '--total', '200'));
  view.begin('embedded', 10);
  const histogram = new Histogram();
  view.measuring({ histogram, failed: { 8: 3 }, fromMs: performance.now() });
  for (let call = 0; call < 100; call += 1) histogram.record(2);
  t.mock.timers.tick(200);
  view.end();
  assert.equal(shown[0], 'put  embedded  10 clients  warming up');
  assert.match(
    shown[1] as string,
    /^put {2}embedded {2}10 clients {2}\[#{10}-{10}\] {2}[\d,]+\/s {2}p50 2\.\d\d ms {2}p99 2\.\d\d ms {2}3 errors$/,
  );
  assert.equal(shown.at(-1), '');
});

test('table and picture of a report, whole', () => {
  const latencyMs = { mean: 1.5, p50: 1.25, p90: 2, p99: 12.5, p999: 100, max: 250 };
  const outcome = { connections: 1, seconds: 1, requests: 1000, perSecond: 12_345.6, latencyMs, failed: {} };
  const report: BenchReport = {
    ...{ kvorum: '1.0.0', node: 'v20', cpus: 2, at: '', plan: plan('put', '--clients', '10,100') },
    targets: [{ name: '<embedded>', endpoints: [] }],
    outcomes: [
      { ...outcome, target: '<embedded>', clients: 10 },
      { ...outcome, target: '<embedded>', clients: 100, perSecond: 50_000, failed: { 14: 2 } },
    ],
    ratios: [{ clients: 10, perSecond: 2, p99: 0.5 }],
  };
  assert.equal(
    textOf(report),
    [
      'put',
      'clients  target      calls/s     mean      p50      p90      p99   p99.9     max          errors',
      '     10  <embedded>   12,346  1.50 ms  1.25 ms  2.00 ms  12.5 ms  100 ms  250 ms               0',
      '    100  <embedded>   50,000  1.50 ms  1.25 ms  2.00 ms  12.5 ms  100 ms  250 ms  2 of status 14',
      'with 10 clients the first has 2.00x the throughput, 0.50x the p99',
      '',
    ].join('\n'),
  );
  const picture = drawPicture(report);
  assert.match(picture, /&lt;embedded&gt;/);
  // Highest throughput on the 50k line, at the top; ten clients at the left edge, a hundred at the right.
  assert.match(picture, /points="80\.0,280\.9 410\.0,70\.0"/);
});
