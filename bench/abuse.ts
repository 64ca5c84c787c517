/**
 * What an attack costs the client beside it: its p99 while the attack goes on, over its p99 in the quiet before.
 *
 *   node dist/bench/abuse.js --rounds 3 --seconds 1 --only reset
 *
 *   --rounds N      how often quiet and attack take turns; all rounds of an attack count together   (default 3)
 *   --seconds N     measured time of each                                                           (default 1)
 *   --only REGEXP   attacks whose name matches
 *   --nice N        how far the attacker's process stands back                                      (default 19)
 *
 * The attack is carried out again and again, one at a time, by a process of its own; the good client makes its calls one
 * after the other on four loops. Attackers have machines of their own: here they share two processors with the server
 * and the good client, so they get what those leave (`--nice 0`: as much as those). What it costs to be near somebody
 * busy is measured first, with neighbours that attack nobody: one only burns a processor, one puts as fast as it can,
 * one reads large values and takes every one.
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

/** An attacker's start and its end are not measured. */
const settleMs = 300;

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
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '1' },
      nice: { type: 'string', default: '19' },
      only: { type: 'string', default: '.' },
      attack: { type: 'string' },
      endpoints: { type: 'string', default: '' },
    },
  });
  if (values.attack !== undefined) return carryOut(values.attack, values.endpoints.split(','));
  const names = all.map(({ name }) => name).filter(name => new RegExp(values.only).test(name));
  const seconds = Number(values.seconds);
  const stage = await AbuseStage.start();
  let heard = new Histogram();
  const good = await GoodClient.start(stage.endpoint, latencyMs => heard.record(latencyMs));
  const measure = async (into: Histogram): Promise<void> => {
    heard = into;
    await delay(seconds * 1_000);
    heard = new Histogram();
  };
  await measure(new Histogram());
  process.stdout.write('quiet p99 ms   under attack   ratio   calls   failed   attack\n');
  let within = 0;
  for (const name of names) {
    const quiet = new Histogram();
    const under = new Histogram();
    for (let round = 0; round < Number(values.rounds); round++) {
      await measure(quiet);
      const attacker = startAttacker(name, values.nice, [stage.endpoint, stage.tlsEndpoint]);
      await delay(settleMs);
      await measure(under);
      attacker.kill('SIGKILL');
      await once(attacker, 'close');
      await delay(settleMs);
    }
    const ratio = under.quantile(0.99) / quiet.quantile(0.99);
    if (ratio <= 2) within += 1;
    const cells = [
      quiet.quantile(0.99).toFixed(2).padStart(12),
      under.quantile(0.99).toFixed(2).padStart(14),
      ratio.toFixed(2).padStart(7),
      String(under.count).padStart(7),
      String(good.failures.length).padStart(8),
    ];
    process.stdout.write(`${cells.join(' ')}   ${name}\n`);
  }
  process.stdout.write(`${within} of ${names.length} within twice the quiet p99\n`);
  await good.stop();
  await stage.end();
}

function startAttacker(name: string, nice: string, endpoints: readonly string[]): ChildProcess {
  const program = fileURLToPath(import.meta.url);
  const command = [process.execPath, program, '--attack', name, '--endpoints', endpoints.join(',')];
  return spawn('nice', ['-n', nice, ...command], { stdio: 'inherit' });
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
