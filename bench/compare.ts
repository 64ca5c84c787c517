/**
 * kvorum beside a real etcd, in pairs: three members each, durable data on the same disk, one after the other.
 *
 *   npm run bench -- --pairs 5 --seconds 5
 *   npm run bench -- watch lease memory --pairs 3 --sides kvorum,etcd-3.4
 *
 *   groups             calls (the default), tls, watch, lease, memory: each starts a cluster of its own
 *   --pairs N          how often each side is started and measured, alternating          (default 5)
 *   --seconds N        measured time of each scenario                                    (default 5)
 *   --warmup N         seconds before it that do not count                               (default 1)
 *   --value-bytes N    size of the values                                                (default 256)
 *   --only REGEXP      scenarios whose name matches; in-process ones are in-process-N
 *   --sides A,B        kvorum, etcd-3.4, etcd-3.5; ratios are to the last               (default kvorum,etcd-3.5)
 *   --directory DIR    where the data directories go: name a directory of the disk you mean (default: temporary)
 *   --json FILE        write everything measured there
 *
 * Prints medians over the pairs, and the median and range of the pairs' own ratios: a machine that slows down slows
 * both runs of a pair. Start-up is from starting the process (in-process: the call) to the first acknowledged put.
 * What the scenarios of watch, lease and memory are is said in stream-scenarios.ts and memory.ts.
 *
 * Where does kvorum's time go in a fan-out? Run it by itself under the profiler, then the load, then end it:
 *
 *   node --cpu-prof --cpu-prof-dir=profile dist/src/cli/main.js --ephemeral \
 *     --listen-client-urls http://127.0.0.1:2379,http://127.0.0.1:22379,http://127.0.0.1:32379
 *   node dist/bench/load/watch.js --endpoints 127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379 \
 *     --watchers 10000 --outstanding 5 --seconds 10 --pids $(pgrep -f cli/main.js)
 *
 * and Ctrl-C: one .cpuprofile per thread, for the browser's developer tools.
 */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { certificates } from '../test/support/certificates.js';
import type { Family } from '../test/support/differential.js';
import { GrpcClient } from '../test/support/grpc-client.js';
import { decodeMessage, encodeMessage, type Message } from '../test/support/messages.js';
import { startSubject } from '../test/support/subject.js';
import { hasH2load } from './load/h2load.js';
import type { InProcessResult } from './load/in-process.js';
import { type MemoryMeasurement, type MemoryScenario, measureMemory, memoryScenarios } from './memory.js';
import { calls, type Group, type Measurement, type Running, type RunSettings, tls } from './scenarios.js';
import { lease, watch } from './stream-scenarios.js';
import { memoryTable, type Round, type Rounds, rateTable } from './table.js';

interface Settings extends RunSettings {
  readonly groups: readonly string[];
  readonly pairs: number;
  readonly only: RegExp;
  readonly sides: readonly Family[];
  readonly directory: string;
  readonly json: string | undefined;
}

/** What is to be measured: the groups without the scenarios that were not asked for. */
interface Selection {
  readonly groups: readonly Group[];
  readonly memory: readonly MemoryScenario[];
}

const rateGroups: readonly Group[] = [calls, tls, watch, lease];
const memoryGroup = 'memory';
const startUp = 'start-up';
const startUpInProcess = 'start-up-in-process';
const run = promisify(execFile);

async function main(): Promise<void> {
  const settings = readSettings();
  const selected = await select(settings);
  const rounds = new Map<Family, Round[]>(settings.sides.map(side => [side, []]));
  report(`${availableParallelism()} CPUs, load ${loadavg()[0]?.toFixed(2)}, Node.js ${process.version}`);
  for (let pair = 1; pair <= settings.pairs; pair++) {
    for (const side of settings.sides) {
      report(`pair ${pair} of ${settings.pairs}: ${side}`);
      rounds.get(side)?.push(await measureSide(side, selected, settings));
    }
  }
  process.stdout.write(rateTable(rounds, settings.sides));
  process.stdout.write(memoryTable(rounds, settings.sides));
  if (settings.json !== undefined) await writeFile(settings.json, json(rounds, settings));
}

function readSettings(): Settings {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
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
  const groups = positionals.length === 0 ? [calls.name] : positionals;
  const known = [...rateGroups.map(({ name }) => name), memoryGroup];
  for (const name of groups) if (!known.includes(name)) throw new Error(`${name} is none of ${known.join(', ')}`);
  return {
    groups,
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

async function select(settings: Settings): Promise<Selection> {
  const asked = settings.groups.includes(memoryGroup) ? memoryScenarios : [];
  const memory = asked.filter(({ name }) => settings.only.test(name));
  const wanted = rateGroups.filter(({ name }) => settings.groups.includes(name));
  const withH2load = await hasH2load();
  const groups = wanted.map(group => {
    const scenarios = group.scenarios.filter(({ name }) => settings.only.test(name));
    const possible = scenarios.filter(({ needsH2load }) => withH2load || !needsH2load);
    if (possible.length < scenarios.length) report('*** h2load is not installed: its scenarios are left out ***');
    return { ...group, scenarios: possible };
  });
  // Without a scenario the calls still tell how long a start takes; the others tell nothing.
  return { groups: groups.filter(({ name, scenarios }) => name === calls.name || scenarios.length > 0), memory };
}

/** Starts one side on an empty directory for each group and measures all that was selected. */
async function measureSide(side: Family, selected: Selection, settings: Settings): Promise<Round> {
  const rates = new Map<string, Measurement>();
  const memory = new Map<string, MemoryMeasurement>();
  for (const group of selected.groups) {
    const flags = group.secure === true ? await tlsFlags() : undefined;
    await withCluster(side, settings, flags, async (running, startMs) => {
      if (group.name === calls.name) rates.set(startUp, startUpTook(startMs));
      if (group.scenarios.length > 0) await group.prepare(running.endpoints, settings);
      for (const { name, measure } of group.scenarios) {
        const measurement = await measure(running);
        rates.set(name, measurement);
        report(`  ${name}: ${measurement.perSecond.toFixed(0)}/s, p99 ${measurement.p99.toFixed(2)} ms`);
      }
    });
  }
  for (const scenario of selected.memory) {
    await withCluster(side, settings, undefined, async running => {
      const measurement = await measureMemory(scenario, running);
      memory.set(scenario.name, measurement);
      report(`  ${scenario.name}: ${(measurement.bytesEach / 1024).toFixed(2)} KiB each`);
    });
  }
  if (side === 'kvorum' && settings.groups.includes(calls.name)) {
    for (const [name, measurement] of await inProcess(settings)) rates.set(name, measurement);
  }
  return { rates, memory };
}

/** Starts one side on an empty directory, lets it be used, stops it. */
async function withCluster(
  side: Family,
  settings: Settings,
  tlsFlags: readonly string[] | undefined,
  use: (running: Running, startMs: number) => Promise<void>,
): Promise<void> {
  const startedMs = performance.now();
  const subject = await startSubject(side, { members: 3, parentDirectory: settings.directory, tls: tlsFlags });
  const scheme = tlsFlags === undefined ? '' : 'https://';
  const endpoints = subject.endpoints.map(endpoint => `${scheme}${endpoint}`);
  try {
    await firstWrite(endpoints[0]!);
    const startMs = performance.now() - startedMs;
    await use({ subject, endpoints: await leaderFirst(endpoints), settings }, startMs);
  } finally {
    await subject.stop();
  }
}

/** One certificate for whatever side serves. */
async function tlsFlags(): Promise<string[]> {
  const { server } = (await certificates()).of;
  return ['--cert-file', server.certFile, '--key-file', server.keyFile];
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
    round.set(`in-process-${count}`, { perSecond, p50, p99, serverMicros: cpuMicros, clientCpus: undefined });
  }
  return round;
}

/** A start as a measurement: so many a second, so long each. */
function startUpTook(ms: number): Measurement {
  return { perSecond: 1000 / ms, p50: ms, p99: ms, serverMicros: undefined, clientCpus: undefined };
}

function json(rounds: Rounds, settings: Settings): string {
  const measured = [...rounds].map(([side, list]) => [
    side,
    list.map(({ rates, memory }) => Object.fromEntries([...rates, ...memory])),
  ]);
  const { only, ...rest } = settings;
  const environment = { cpus: availableParallelism(), node: process.version, only: only.source, ...rest };
  return `${JSON.stringify({ environment, measured: Object.fromEntries(measured) }, undefined, 2)}\n`;
}

/** Progress goes to stderr: stdout is the table. */
function report(text: string): void {
  process.stderr.write(`${text}\n`);
}

await main();
