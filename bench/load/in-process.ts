/**
 * kvorum as a library, measured in a process of its own: start-up and puts through `cluster.client()`.
 *
 *   node dist/bench/load/in-process.js --directory /var/tmp --outstanding 1,100,1000 --seconds 5 --warmup 1
 *
 * Starts three members with durable data below --directory. Prints one JSON object: milliseconds from the call of
 * startCluster() to the first acknowledged put, and one result per number of outstanding puts. A put that fails ends
 * the run.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Cluster, startCluster } from '../../src/index.js';
import { Histogram, type LatencySummary } from '../../src/load/histogram.js';
import { keyOf } from '../../src/load/requests.js';

export interface InProcessResult {
  readonly firstWriteMs: number;
  readonly puts: readonly { outstanding: number; perSecond: number; latencyMs: LatencySummary; cpuMicros: number }[];
}

const keySpace = 100_000;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      directory: { type: 'string', default: tmpdir() },
      outstanding: { type: 'string', default: '1,100,1000' },
      seconds: { type: 'string', default: '5' },
      warmup: { type: 'string', default: '1' },
      'value-bytes': { type: 'string', default: '256' },
    },
  });
  const directory = await mkdtemp(join(values.directory, 'kvorum-in-process-'));
  const startedMs = performance.now();
  const cluster = await startCluster({ members: 3, dataDir: join(directory, 'data'), ports: [0, 0, 0] });
  try {
    await cluster.client().put(keyOf(0), 'first');
    const firstWriteMs = performance.now() - startedMs;
    const value = Buffer.alloc(Number(values['value-bytes']), 'kvorum');
    const puts: InProcessResult['puts'][number][] = [];
    for (const outstanding of values.outstanding.split(',').map(Number)) {
      const puttingFor = { outstanding, warmupMs: Number(values.warmup) * 1000, ms: Number(values.seconds) * 1000 };
      puts.push({ outstanding, ...(await measurePuts(cluster, value, puttingFor)) });
    }
    process.stdout.write(`${JSON.stringify({ firstWriteMs, puts } satisfies InProcessResult)}\n`);
  } finally {
    await cluster.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** So many loops of put after put, side by side. */
async function measurePuts(
  cluster: Cluster,
  value: Uint8Array,
  { outstanding, warmupMs, ms }: { outstanding: number; warmupMs: number; ms: number },
) {
  const client = cluster.client();
  const histogram = new Histogram();
  let running = true;
  let key = 0;
  const loop = async () => {
    while (running) {
      key = (key + 7919) % keySpace; // A step that is prime to the key space visits all of it out of order.
      const fromMs = performance.now();
      await client.put(keyOf(key), value);
      histogram.record(performance.now() - fromMs);
    }
  };
  const loops = Promise.all(Array.from({ length: outstanding }, loop));
  await Promise.race([loops, delay(warmupMs)]);
  histogram.reset();
  const cpu = process.cpuUsage();
  const fromMs = performance.now();
  await Promise.race([loops, delay(ms)]);
  const seconds = (performance.now() - fromMs) / 1000;
  const used = process.cpuUsage(cpu);
  const { count } = histogram;
  const latencyMs = histogram.summary();
  running = false;
  await loops;
  return { perSecond: count / seconds, latencyMs, cpuMicros: (used.user + used.system) / Math.max(1, count) };
}

function delay(ms: number): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, ms);
  });
}

await main();
