/**
 * What an attack costs the client beside it: its p99 while the attack goes on, over its p99 in the quiet before.
 *
 *   node dist/bench/abuse.js --seconds 3 --only reset
 *
 *   --seconds N     measured time under each attack, and of the quiet before it   (default 3)
 *   --only REGEXP   attacks whose name matches
 *
 * The attack is carried out again and again, one at a time, by a process of its own; the good client makes its calls one
 * after the other on four loops. On a machine of two processors the attacker also takes the good client's and the
 * server's time. What it costs there to be near somebody busy is measured first, with neighbours that attack nobody: one
 * only burns a processor, one puts as fast as it can, one reads large values and takes every one.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Histogram } from '../src/load/histogram.js';
import { quickAttacks, slowAttacks } from '../test/host/abuse/attacks.js';
import { AbuseStage, GoodClient, largeKey } from '../test/host/abuse/stage.js';
import { GrpcClient } from '../test/support/grpc-client.js';
import { encodeMessage } from '../test/support/messages.js';

interface Doing {
  readonly name: string;
  run(endpoint: string, tlsEndpoint: string): Promise<unknown>;
}

const put = encodeMessage('PutRequest', { key: Buffer.from('neighbour'), value: Buffer.alloc(200) });
const large = encodeMessage('RangeRequest', { key: largeKey });

/** What those do who attack nobody. */
const neighbours: readonly Doing[] = [
  { name: 'neighbour: burns a processor', run: async () => burn() },
  { name: 'neighbour: puts, 100 at a time', run: endpoint => busy(endpoint, 100, 'Put', put) },
  { name: 'neighbour: reads large values', run: endpoint => busy(endpoint, 4, 'Range', large) },
];
const all: readonly Doing[] = [...neighbours, ...quickAttacks, ...slowAttacks];

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '3' },
      only: { type: 'string', default: '.' },
      attack: { type: 'string' },
      endpoints: { type: 'string', default: '' },
    },
  });
  if (values.attack !== undefined) return carryOut(values.attack, values.endpoints.split(','));
  const names = all.map(({ name }) => name).filter(name => new RegExp(values.only).test(name));
  const stage = await AbuseStage.start();
  let histogram = new Histogram();
  const good = await GoodClient.start(stage.endpoint, latencyMs => histogram.record(latencyMs));
  const measure = async (): Promise<Histogram> => {
    histogram = new Histogram();
    await delay(Number(values.seconds) * 1_000);
    return histogram;
  };
  await measure();
  process.stdout.write('quiet p99 ms   under attack   ratio   calls   failed   attack\n');
  for (const name of names) {
    const quiet = (await measure()).quantile(0.99);
    const attacker = startAttacker(name, [stage.endpoint, stage.tlsEndpoint]);
    await delay(200);
    const under = await measure();
    attacker.kill('SIGKILL');
    await once(attacker, 'close');
    const p99 = under.quantile(0.99);
    const cells = [
      quiet.toFixed(2).padStart(12),
      p99.toFixed(2).padStart(14),
      (p99 / quiet).toFixed(2).padStart(7),
      String(under.count).padStart(7),
      String(good.failures.length).padStart(8),
    ];
    process.stdout.write(`${cells.join(' ')}   ${name}\n`);
  }
  await good.stop();
  await stage.end();
}

function startAttacker(name: string, endpoints: readonly string[]): ChildProcess {
  const program = fileURLToPath(import.meta.url);
  return spawn(process.execPath, [program, '--attack', name, '--endpoints', endpoints.join(',')], { stdio: 'inherit' });
}

/** One attack after the other, until killed. */
async function carryOut(name: string, [endpoint = '', tlsEndpoint = '']: readonly string[]): Promise<void> {
  const doing = all.find(one => one.name === name);
  while (doing !== undefined) await doing.run(endpoint, tlsEndpoint);
}

function burn(): never {
  for (;;);
}

/** So many calls at a time, each followed by the next, for ever. */
async function busy(endpoint: string, loops: number, method: string, message: Uint8Array): Promise<void> {
  const client = await GrpcClient.connect(endpoint);
  const loop = async (): Promise<void> => {
    for (;;) await client.unary(`/etcdserverpb.KV/${method}`, message);
  };
  await Promise.all(Array.from({ length: loops }, loop));
}

await main();
