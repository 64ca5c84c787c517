/**
 * The flags of `kvorum bench`, and the plan they make.
 */
import { StartError } from '../../host/data-directory.js';
import { keyBytesDefault } from '../../load/requests.js';

/** As etcd's benchmark tool names them. */
export const benchOperations = [
  'put',
  'range',
  'txn-put',
  'txn-mixed',
  'watch',
  'watch-latency',
  'lease-keepalive',
] as const;
export type BenchOperation = (typeof benchOperations)[number];

export const benchUsage = [
  'usage: kvorum bench put|range [KEY [END]]|txn-put|txn-mixed|watch|watch-latency|lease-keepalive [flags]',
  '',
  '  --target embedded|URL,…   what is measured: a cluster started for the run (default), or endpoints of one that runs',
  '  --vs embedded|URL,…       a second target, measured in turn; ratios are printed',
  '  --clients N,N,…           calls under way, one run for each (default 100; with --svg 1,10,100,1000)',
  '  --conns N                 connections (default one for each endpoint)',
  '  --seconds S               measured time of each run (default 5)',
  '  --warmup S                time before it that does not count (default 1)',
  '  --total N                 so many calls instead of a time',
  '  --rate N                  at most so many calls (watch: puts) a second',
  '  --key-size BYTES          put, range, txn-*: default 16, the least',
  '  --val-size BYTES          default 256; requests of up to 16 KiB are sent',
  '  --key-space-size N        keys (default 100000)',
  '  --sequential-keys         one after the other instead of in no order',
  '  --consistency l|s         range, txn-mixed: linearizable (default) or serializable',
  '  --limit N, --count-only   range of KEY to END',
  '  --txn-ops N               operations of a transaction (default 1)',
  '  --rw-ratio R              txn-mixed: reads for each write (default 1)',
  '  --streams N               watch, lease-keepalive: default 10',
  '  --watch-per-stream N      watch, watch-latency: default 100',
  '  --watched-key-total N     watch: keys that are put in turn (default 1)',
  '  --leases N                lease-keepalive: default 10000',
  '  --json FILE               everything measured, as JSON (-: to stdout, instead of the text)',
  '  --svg FILE                a picture: throughput and latency against the clients',
  '',
].join('\n');

export const benchOptions = {
  target: { type: 'string', default: 'embedded' },
  vs: { type: 'string' },
  clients: { type: 'string' },
  conns: { type: 'string' },
  seconds: { type: 'string', default: '5' },
  warmup: { type: 'string', default: '1' },
  total: { type: 'string' },
  rate: { type: 'string' },
  'key-size': { type: 'string', default: String(keyBytesDefault) },
  'val-size': { type: 'string', default: '256' },
  'key-space-size': { type: 'string', default: '100000' },
  'sequential-keys': { type: 'boolean', default: false },
  consistency: { type: 'string', default: 'l' },
  limit: { type: 'string', default: '0' },
  'count-only': { type: 'boolean', default: false },
  'txn-ops': { type: 'string', default: '1' },
  'rw-ratio': { type: 'string', default: '1' },
  streams: { type: 'string', default: '10' },
  'watch-per-stream': { type: 'string', default: '100' },
  'watched-key-total': { type: 'string', default: '1' },
  leases: { type: 'string', default: '10000' },
  json: { type: 'string' },
  svg: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

type Values = { readonly [name in keyof typeof benchOptions]?: string | boolean };

export interface BenchPlan {
  readonly operation: BenchOperation;
  readonly target: string;
  readonly vs: string | undefined;
  readonly clients: readonly number[];
  /** Undefined: one for each endpoint. */
  readonly connections: number | undefined;
  readonly seconds: number;
  readonly warmup: number;
  readonly total: number | undefined;
  readonly ratePerSecond: number | undefined;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly keySpace: number;
  readonly keys: 'sequential' | 'random';
  readonly isSerializable: boolean;
  /** A range that is asked for over and over; undefined: single keys of the key space. */
  readonly range: { readonly key: string; readonly rangeEnd: string | undefined } | undefined;
  readonly limit: number;
  readonly countOnly: boolean;
  readonly txnOps: number;
  readonly readsPerWrite: number;
  readonly streams: number;
  readonly watchersPerStream: number;
  readonly watchedKeys: number;
  readonly leases: number;
  readonly json: string | undefined;
  readonly svg: string | undefined;
}

const clientsMax = 100_000;
/** The load generator sends a request in one frame, and of that size everyone takes them (RFC 9113 §4.2). */
const requestBytesMax = 16_384;
/** What a key and its value may have around them in a transaction. */
const operationBytes = 64;

/** Throws StartError for what makes no sense. */
export function planOf(values: Values, positionals: readonly string[]): BenchPlan {
  const [name, key, rangeEnd, ...rest] = positionals;
  const operation = benchOperations.find(other => other === name);
  if (operation === undefined || rest.length > 0 || (key !== undefined && operation !== 'range')) {
    throw new StartError(`kvorum bench takes one of ${benchOperations.join(', ')}; see kvorum bench --help`);
  }
  if (values.consistency !== 'l' && values.consistency !== 's') throw new StartError('--consistency is l or s');
  const number = (flag: keyof Values, least: number): number => numberOf(flag, values[flag], least);
  const optional = (flag: keyof Values): number | undefined =>
    values[flag] === undefined ? undefined : numberOf(flag, values[flag], 1);
  const isLatency = operation === 'watch-latency';
  const plan: BenchPlan = {
    operation,
    target: String(values.target),
    vs: values.vs as string | undefined,
    clients: clientsOf(values, operation),
    connections: optional('conns'),
    seconds: number('seconds', 0.1),
    warmup: number('warmup', 0),
    total: optional('total'),
    // Latency is that of an unhurried cluster: etcd's tool sends a hundred puts a second.
    ratePerSecond: optional('rate') ?? (isLatency ? 100 : undefined),
    keyBytes: number('key-size', keyBytesDefault),
    valueBytes: number('val-size', 1),
    keySpace: number('key-space-size', 1),
    keys: values['sequential-keys'] === true ? 'sequential' : 'random',
    isSerializable: values.consistency === 's',
    range: key === undefined ? undefined : { key, rangeEnd },
    limit: number('limit', 0),
    countOnly: values['count-only'] === true,
    txnOps: number('txn-ops', 1),
    readsPerWrite: number('rw-ratio', 0),
    streams: number('streams', 1),
    watchersPerStream: number('watch-per-stream', 1),
    watchedKeys: number('watched-key-total', 1),
    leases: number('leases', 1),
    json: values.json as string | undefined,
    svg: values.svg as string | undefined,
  };
  if (plan.txnOps > plan.keySpace)
    throw new StartError('--txn-ops: a transaction puts a key once; enlarge --key-space-size');
  if (plan.txnOps * (plan.keyBytes + plan.valueBytes + operationBytes) > requestBytesMax) {
    throw new StartError(
      `--val-size: requests of up to ${requestBytesMax} bytes are sent, keys and --txn-ops included`,
    );
  }
  if ((plan.streams * plan.watchersPerStream) % plan.watchedKeys !== 0) {
    throw new StartError('--watched-key-total must divide the number of watchers (--streams times --watch-per-stream)');
  }
  return plan;
}

function clientsOf(values: Values, operation: BenchOperation): number[] {
  const isStream = operation === 'watch' || operation === 'watch-latency';
  const text = values.clients ?? (values.svg !== undefined && !isStream ? '1,10,100,1000' : isStream ? '1' : '100');
  const clients = String(text)
    .split(',')
    .map(part => numberOf('clients', part, 1));
  if (clients.some(count => !Number.isInteger(count) || count > clientsMax)) {
    throw new StartError(`--clients are whole numbers up to ${clientsMax}`);
  }
  return clients;
}

function numberOf(flag: string, text: unknown, least: number): number {
  const value = Number(text);
  if (text === '' || !Number.isFinite(value) || value < least) {
    throw new StartError(`--${flag} is a number from ${least} on, not ${text}`);
  }
  return value;
}
