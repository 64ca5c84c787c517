/**
 * The load generator as a program of its own, so that it has its own core and its own garbage:
 *
 *   node dist/bench/load/main.js --endpoints 127.0.0.1:2379,127.0.0.1:22379 --operation put --outstanding 100
 *
 *   --operation      put | range | serializable-range
 *   --keys           sequential | random                      order in which keys are used (default random)
 *   --key-space      how many keys there are                  (default 100000; sequential starts over at the end)
 *   --value-bytes    size of a put's value                    (default 256)
 *   --outstanding    calls in flight over all endpoints       (default 100)
 *   --seconds        measured time after the warm-up          (default 5)
 *   --warmup         seconds that do not count                (default 1)
 *   --requests       instead of a time: this many calls, all counted, no warm-up
 *
 * One connection per endpoint, the calls in flight spread evenly. Prints one JSON object. A call that fails is counted
 * by its gRPC status and makes the exit code 1: a benchmark of errors is none.
 */
import { parseArgs } from 'node:util';
import { LoadConnection } from './connection.js';
import { Histogram, type LatencySummary } from './histogram.js';
import { type OperationName, operations, requestTemplate } from './requests.js';
import { delay, openPromise } from './waiting.js';

export interface LoadResult {
  readonly operation: OperationName;
  readonly keys: string;
  readonly outstanding: number;
  readonly connections: number;
  readonly seconds: number;
  readonly requests: number;
  readonly perSecond: number;
  /** Calls that failed, by gRPC status, over the whole run. */
  readonly failed: Readonly<Record<string, number>>;
  readonly latencyMs: LatencySummary;
  /** What the generator itself cost. */
  readonly clientMicrosPerRequest: number;
}

interface LoadOptions {
  readonly endpoints: readonly string[];
  readonly operation: OperationName;
  readonly keys: 'sequential' | 'random';
  readonly keySpace: number;
  readonly valueBytes: number;
  readonly outstanding: number;
  readonly seconds: number;
  readonly warmup: number;
  readonly requests: number | undefined;
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  const result = await runLoad(options);
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.exitCode = Object.keys(result.failed).length === 0 ? 0 : 1;
}

function readOptions(argv: string[]): LoadOptions {
  const { values } = parseArgs({
    args: argv,
    options: {
      endpoints: { type: 'string' },
      operation: { type: 'string', default: 'put' },
      keys: { type: 'string', default: 'random' },
      'key-space': { type: 'string', default: '100000' },
      'value-bytes': { type: 'string', default: '256' },
      outstanding: { type: 'string', default: '100' },
      seconds: { type: 'string', default: '5' },
      warmup: { type: 'string', default: '1' },
      requests: { type: 'string' },
    },
  });
  const operation = operations.find(name => name === values.operation);
  if (values.endpoints === undefined) throw new Error('--endpoints host:port,… is missing');
  if (operation === undefined) throw new Error(`--operation is one of ${operations.join(', ')}`);
  if (values.keys !== 'sequential' && values.keys !== 'random') throw new Error('--keys is sequential or random');
  return {
    endpoints: values.endpoints.split(','),
    operation,
    keys: values.keys,
    keySpace: Number(values['key-space']),
    valueBytes: Number(values['value-bytes']),
    outstanding: Number(values.outstanding),
    seconds: Number(values.seconds),
    warmup: values.requests === undefined ? Number(values.warmup) : 0,
    requests: values.requests === undefined ? undefined : Number(values.requests),
  };
}

async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const histogram = new Histogram();
  const failed: Record<string, number> = {};
  const nextKey = keyChooser(options);
  // With fewer calls in flight than endpoints the first ones get them.
  const used = options.endpoints.slice(0, options.outstanding);
  const end = openPromise();
  const finished = (status: number, latencyMs: number) => {
    histogram.record(latencyMs);
    if (status !== 0) failed[status] = (failed[status] ?? 0) + 1;
    if (histogram.count === options.requests) end.resolve();
  };
  const template = requestTemplate(options.operation, options.valueBytes);
  const open = await Promise.all(
    used.map(endpoint => LoadConnection.open({ endpoint, template, nextKey, finished, failed: end.reject })),
  );
  histogram.reset();
  for (const [i, connection] of open.entries()) connection.run(shareOf(options.outstanding, used.length, i));
  if (options.warmup > 0) await Promise.race([end.promise, delay(options.warmup * 1000)]);
  histogram.reset();
  const cpu = process.cpuUsage();
  const fromMs = performance.now();
  await (options.requests === undefined ? Promise.race([end.promise, delay(options.seconds * 1000)]) : end.promise);
  const seconds = (performance.now() - fromMs) / 1000;
  const cpuUsed = process.cpuUsage(cpu);
  const requests = histogram.count;
  const latencyMs = histogram.summary();
  await Promise.all(open.map(connection => connection.drain()));
  for (const connection of open) connection.close();
  return {
    operation: options.operation,
    keys: options.keys,
    outstanding: options.outstanding,
    connections: used.length,
    seconds,
    requests,
    perSecond: requests / seconds,
    failed,
    latencyMs,
    clientMicrosPerRequest: (cpuUsed.user + cpuUsed.system) / Math.max(1, requests),
  };
}

/** The calls in flight of the connection at `position`: as even as whole numbers allow. */
function shareOf(outstanding: number, connections: number, position: number): number {
  return Math.floor(outstanding / connections) + (position < outstanding % connections ? 1 : 0);
}

function keyChooser(options: LoadOptions): () => number {
  let last = -1;
  if (options.keys === 'sequential') {
    return () => {
      last = last + 1 === options.keySpace ? 0 : last + 1;
      return last;
    };
  }
  let state = 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % options.keySpace;
  };
}

await main();
