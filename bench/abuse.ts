/**
 * What an attack costs the client beside it: its p99 while the attack goes on, over its p99 in the quiet before, and over
 * its p99 beside a process that attacks nobody.
 *
 *   node dist/bench/abuse.js --rounds 3 --seconds 1 --only reset
 *
 *   --rounds N      how often quiet, busy and attack take turns; all rounds of an attack count together   (default 3)
 *   --seconds N     measured time of each                                                                 (default 1)
 *   --only REGEXP   attacks whose name matches
 *   --nice N        how far the attacker's process stands back                                            (default 19)
 *
 * The attack is carried out again and again, one at a time, by a process of its own; the good client makes its calls one
 * after the other on four loops. Attackers have machines of their own: here they share the processors with the server
 * and the good client, so they stand back. What that alone costs is measured in each round: `busy` is a process that only
 * burns a processor, as far back. How often the attack was carried out in a second stands beside it, so that one sees
 * what came of it. Among the names are neighbours too: one that puts as fast as it can, one that reads large values and
 * takes every one, and one that the server never hears of: it sends megabytes to itself over loopback, which keeps the
 * kernel busy that all share.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
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
  run(endpoint: string, tlsEndpoint: string, hasty: boolean): Promise<unknown>;
}

const put = encodeMessage('PutRequest', { key: Buffer.from('neighbour'), value: Buffer.alloc(200) });
const large = encodeMessage('RangeRequest', { key: largeKey });

/** What another process leaves behind is not measured. */
const settleMs = 200;

const busy: Doing = { name: 'busy', run: async () => burn() };

/** What those do who attack nobody. */
const neighbours: readonly Doing[] = [
  { name: 'neighbour: puts, 100 at a time', run: endpoint => callAlways(endpoint, 100, 'Put', put) },
  { name: 'neighbour: sends megabytes to itself', run: () => sendToItself() },
  { name: 'neighbour: reads large values', run: endpoint => callAlways(endpoint, 4, 'Range', large) },
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
  process.stdout.write('p99 ms: quiet   busy   attack   : quiet   : busy   calls   failed   rounds/s   attack\n');
  const within = { quiet: 0, busy: 0 };
  for (const name of names) {
    const seen = { quiet: new Histogram(), busy: new Histogram(), attack: new Histogram() };
    let attacks = 0;
    for (let round = 0; round < Number(values.rounds); round++) {
      await measure(seen.quiet);
      for (const [doing, into] of [
        [busy.name, seen.busy],
        [name, seen.attack],
      ] as const) {
        const other = await startOther(doing, values.nice, [stage.endpoint, stage.tlsEndpoint]);
        let done = 0;
        other.stdout?.on('data', (dots: Buffer) => {
          done += dots.length;
        });
        await measure(into);
        if (into === seen.attack) attacks += done;
        other.kill('SIGKILL');
        await once(other, 'close');
        await delay(settleMs);
      }
    }
    const p99 = { quiet: 0, busy: 0, attack: 0 };
    for (const kind of ['quiet', 'busy', 'attack'] as const) p99[kind] = seen[kind].quantile(0.99);
    for (const kind of ['quiet', 'busy'] as const) if (p99.attack <= 2 * p99[kind]) within[kind] += 1;
    const cells = [
      p99.quiet.toFixed(2).padStart(13),
      p99.busy.toFixed(2).padStart(6),
      p99.attack.toFixed(2).padStart(8),
      (p99.attack / p99.quiet).toFixed(2).padStart(9),
      (p99.attack / p99.busy).toFixed(2).padStart(8),
      String(seen.attack.count).padStart(7),
      String(good.failures.length).padStart(8),
      (attacks / (Number(values.rounds) * seconds)).toFixed(1).padStart(10),
    ];
    process.stdout.write(`${cells.join(' ')}   ${name}\n`);
  }
  process.stdout.write(`of ${names.length}, within twice the p99 of quiet: ${within.quiet}, of busy: ${within.busy}\n`);
  await good.stop();
  await stage.end();
}

/** Starts the process that does this; resolves when it begins. A dot on stdout says that it has done it once more. */
async function startOther(name: string, nice: string, endpoints: readonly string[]): Promise<ChildProcess> {
  const program = fileURLToPath(import.meta.url);
  const command = [process.execPath, program, '--attack', name, '--endpoints', endpoints.join(',')];
  const other = spawn('nice', ['-n', nice, ...command], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(other.stdout, 'data');
  return other;
}

/** One attack after the other, until killed. */
async function carryOut(name: string, [endpoint = '', tlsEndpoint = '']: readonly string[]): Promise<void> {
  const doing = [busy, ...all].find(one => one.name === name);
  process.stdout.write('begins\n');
  for (; doing !== undefined; process.stdout.write('.')) await doing.run(endpoint, tlsEndpoint, true);
}

/** What is sent is read and forgotten, as much as the kernel takes. */
async function sendToItself(): Promise<never> {
  const server = createServer(socket => socket.resume());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const megabyte = Buffer.alloc(1024 * 1024);
  for (;;) if (!client.write(megabyte)) await once(client, 'drain');
}

function burn(): never {
  for (;;);
}

/** So many calls at a time, each followed by the next, for ever. */
async function callAlways(endpoint: string, loops: number, method: string, message: Uint8Array): Promise<void> {
  const client = await GrpcClient.connect(endpoint);
  const loop = async (): Promise<void> => {
    for (;;) await client.unary(`/etcdserverpb.KV/${method}`, message);
  };
  await Promise.all(Array.from({ length: loops }, loop));
}

await main();
