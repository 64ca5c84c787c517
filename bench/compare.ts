/**
 * kvorum beside a real etcd, in pairs: three members each, durable data on the same disk, one after the other.
 *
 *   npm run build && node dist/bench/compare.js --pairs 5 --seconds 5
 *
 *   --pairs N          how often each side is started and measured, alternating          (default 5)
 *   --seconds N        measured time of each scenario                                    (default 5)
 *   --warmup N         seconds before it that do not count                               (default 1)
 *   --only REGEXP      scenarios whose name matches; in-process ones are in-process-N
 *   --sides A,B        kvorum, etcd-3.4, etcd-3.5; ratios are to the last               (default kvorum,etcd-3.5)
 *   --directory DIR    where the data directories go: name a directory of the disk you mean (default: temporary)
 *   --json FILE        write everything measured there
 *
 * Prints medians over the pairs, and the median and range of the pairs' own ratios: a machine that slows down slows
 * both runs of a pair. Start-up is from starting the process (in-process: the call) to the first acknowledged put.
 */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import type { Family } from '../test/support/differential.js';
import { GrpcClient } from '../test/support/grpc-client.js';
import { decodeMessage, encodeMessage, type Message } from '../test/support/messages.js';
import { startSubject } from '../test/support/subject.js';
import { hasH2load } from './load/h2load.js';
import type { InProcessResult } from './load/in-process.js';
import { type Measurement, measure, preload, type RunSettings, type Scenario, scenarios } from './scenarios.js';

interface Settings extends RunSettings {
  readonly pairs: number;
  readonly only: RegExp;
  readonly sides: readonly Family[];
  readonly directory: string;
  readonly json: string | undefined;
}

/** Everything measured of one side in one pair, by scenario name. */
type Round = ReadonlyMap<string, Measurement>;

const startUp = 'start-up';
const startUpInProcess = 'start-up-in-process';
const run = promisify(execFile);

async function main(): Promise<void> {
  const settings = readSettings();
  const selected = await selectScenarios(settings);
  const rounds = new Map<Family, Round[]>(settings.sides.map(side => [side, []]));
  report(`${availableParallelism()} CPUs, load ${loadavg()[0]?.toFixed(2)}, Node.js ${process.version}`);
  for (let pair = 1; pair <= settings.pairs; pair++) {
    for (const side of settings.sides) {
      report(`pair ${pair} of ${settings.pairs}: ${side}`);
      rounds.get(side)?.push(await measureSide(side, selected, settings));
    }
  }
  process.stdout.write(`${table(rounds, settings.sides)}\n`);
  if (settings.json !== undefined) await writeFile(settings.json, json(rounds, settings));
}

function readSettings(): Settings {
  const { values } = parseArgs({
    options: {
      pairs: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '5' },
      warmup: { type: 'string', default: '1' },
      only: { type: 'string', default: '.' },
      sides: { type: 'string', default: 'kvorum,etcd-3.5' },
      'value-bytes': { type: 'string', default: '256' },
      directory: { type: 'string', default: tmpdir() },
      json: { type: 'string' },
    },
  });
  const families: readonly Family[] = ['kvorum', 'etcd-3.4', 'etcd-3.5'];
  const sides = values.sides.split(',').map(name => {
    const family = families.find(candidate => candidate === name);
    if (family === undefined) throw new Error(`--sides: ${name} is none of ${families.join(', ')}`);
    return family;
  });
  return {
    pairs: Number(values.pairs),
    seconds: Number(values.seconds),
    warmup: Number(values.warmup),
    valueBytes: Number(values['value-bytes']),
    only: new RegExp(values.only),
    sides,
    directory: values.directory,
    json: values.json,
  };
}

async function selectScenarios(settings: Settings): Promise<Scenario[]> {
  const selected = scenarios.filter(scenario => settings.only.test(scenario.name));
  if ((await hasH2load()) || !selected.some(scenario => scenario.generator === 'h2load')) return selected;
  report('*** h2load is not installed: its scenarios are left out ***');
  return selected.filter(scenario => scenario.generator !== 'h2load');
}

/** Starts one side on an empty directory, measures every scenario on it, stops it. */
async function measureSide(side: Family, selected: readonly Scenario[], settings: Settings): Promise<Round> {
  const round = new Map<string, Measurement>();
  const startedMs = performance.now();
  const subject = await startSubject(side, { members: 3, parentDirectory: settings.directory });
  try {
    await firstWrite(subject.endpoints[0]!);
    round.set(startUp, startUpTook(performance.now() - startedMs));
    const endpoints = await leaderFirst(subject.endpoints);
    if (selected.length > 0) await preload(endpoints, settings.valueBytes);
    for (const scenario of selected) {
      const measurement = await measure(scenario, subject, endpoints, settings);
      round.set(scenario.name, measurement);
      report(`  ${scenario.name}: ${measurement.perSecond.toFixed(0)}/s, p99 ${measurement.p99.toFixed(2)} ms`);
    }
  } finally {
    await subject.stop();
  }
  if (side === 'kvorum') for (const [name, measurement] of await inProcess(settings)) round.set(name, measurement);
  return round;
}

async function firstWrite(endpoint: string): Promise<void> {
  const client = await GrpcClient.connect(endpoint);
  const request = encodeMessage('PutRequest', { key: Buffer.from('first'), value: Buffer.from('write') });
  const { grpcStatus, grpcMessage } = await client.unary('/etcdserverpb.KV/Put', request);
  client.close();
  if (grpcStatus !== 0) throw new Error(`the first put failed: ${grpcStatus} ${grpcMessage}`);
}

/** The endpoints with the leader's first. */
async function leaderFirst(endpoints: readonly string[]): Promise<string[]> {
  const leads = await Promise.all(
    endpoints.map(async endpoint => {
      const client = await GrpcClient.connect(endpoint);
      const { messages } = await client.unary('/etcdserverpb.Maintenance/Status', Buffer.alloc(0));
      client.close();
      const status = decodeMessage('StatusResponse', messages[0]!);
      return (status.header as Message).member_id === status.leader;
    }),
  );
  const leader = leads.indexOf(true);
  if (leader < 0) throw new Error('no member says that it leads');
  return [endpoints[leader]!, ...endpoints.filter((_, i) => i !== leader)];
}

/** Puts through the library's own client: there is nothing like it to compare with on the other side. */
async function inProcess(settings: Settings): Promise<Map<string, Measurement>> {
  const outstanding = [1, 100, 1000].filter(count => settings.only.test(`in-process-${count}`));
  const round = new Map<string, Measurement>();
  if (outstanding.length === 0) return round;
  const { stdout } = await run(process.execPath, [
    ...[fileURLToPath(new URL('./load/in-process.js', import.meta.url)), '--outstanding', outstanding.join(',')],
    ...['--directory', settings.directory, '--seconds', String(settings.seconds)],
    ...['--warmup', String(settings.warmup), '--value-bytes', String(settings.valueBytes)],
  ]);
  const result = JSON.parse(stdout) as InProcessResult;
  round.set(startUpInProcess, startUpTook(result.firstWriteMs));
  for (const { outstanding: count, perSecond, latencyMs, cpuMicros } of result.puts) {
    const { p50, p99 } = latencyMs;
    round.set(`in-process-${count}`, { perSecond, p50, p99, serverMicros: cpuMicros });
  }
  return round;
}

/** A start as a measurement: so many a second, so long each. */
function startUpTook(ms: number): Measurement {
  return { perSecond: 1000 / ms, p50: ms, p99: ms, serverMicros: undefined };
}

/** One line per scenario: medians of each side, then the ratio of throughputs to the last side. */
function table(rounds: ReadonlyMap<Family, readonly Round[]>, sides: readonly Family[]): string {
  const reference = sides.at(-1)!;
  const names = [...new Set([...rounds.values()].flat().flatMap(round => [...round.keys()]))];
  const head = ['scenario', ...sides.flatMap(side => [`${side} /s`, 'p50 ms', 'p99 ms', 'µs CPU'])];
  const ratioHeads = sides.filter(side => side !== reference).map(side => `${side} : ${reference} (range)`);
  const lines = names.map(name => {
    const cells = sides.flatMap(side => {
      const measured = measurementsOf(rounds.get(side) ?? [], name);
      if (measured.length === 0) return ['', '', '', ''];
      const micros = measured.flatMap(({ serverMicros }) => (serverMicros === undefined ? [] : [serverMicros]));
      return [
        median(measured.map(({ perSecond }) => perSecond)).toFixed(name.startsWith(startUp) ? 2 : 0),
        median(measured.map(({ p50 }) => p50)).toFixed(2),
        median(measured.map(({ p99 }) => p99)).toFixed(2),
        micros.length === 0 ? '' : median(micros).toFixed(1),
      ];
    });
    return [name, ...cells, ...sides.filter(side => side !== reference).map(side => ratio(side, name))];
  });
  return alignColumns([[...head, ...ratioHeads], ...lines]);

  function ratio(side: Family, name: string): string {
    const [own, other] = [side, reference].map(which => measurementsOf(rounds.get(which) ?? [], name));
    const ratios = (own ?? []).flatMap(({ perSecond }, i) => {
      const beside = other?.[i];
      return beside === undefined ? [] : [perSecond / beside.perSecond];
    });
    if (ratios.length === 0) return '';
    return `${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`;
  }
}

function measurementsOf(rounds: readonly Round[], name: string): Measurement[] {
  return rounds.flatMap(round => round.get(name) ?? []);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function alignColumns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0)));
  return rows
    .map(row => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '))
    .join('\n');
}

function json(rounds: ReadonlyMap<Family, readonly Round[]>, settings: Settings): string {
  const measured = [...rounds].map(([side, list]) => [side, list.map(round => Object.fromEntries(round))]);
  const { only, ...rest } = settings;
  const environment = { cpus: availableParallelism(), node: process.version, only: only.source, ...rest };
  return `${JSON.stringify({ environment, measured: Object.fromEntries(measured) }, undefined, 2)}\n`;
}

/** Progress goes to stderr: stdout is the table. */
function report(text: string): void {
  process.stderr.write(`${text}\n`);
}

await main();
