/**
 * How fast is a link? Prints, for records of 300 bytes between two threads:
 *   - what the producer and the consumer pay for a record, on one thread, without waiting;
 *   - records a second from one thread to another, one way;
 *   - the time of a round trip when both threads sleep on their doorbells in between.
 *
 * Run: node dist/bench/transport.js
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { createDoorbell, Doorbell, type DoorbellBuffer } from '../src/transport/doorbell.js';
import { EnvelopeKind } from '../src/transport/envelope.js';
import { createLink, type LinkBuffers } from '../src/transport/layout.js';
import { Receiver } from '../src/transport/receiver.js';
import { Sender } from '../src/transport/sender.js';

const RING_BYTES = 4 * 2 ** 20;
const PAYLOAD_BYTES = 300;
const RECORDS = 2_000_000;
const BATCH = 64;
const ROUND_TRIPS = 20_000;

interface EchoData {
  readonly toEcho: LinkBuffers;
  readonly fromEcho: LinkBuffers;
  readonly echoBell: DoorbellBuffer;
  readonly mainBell: DoorbellBuffer;
}

if (isMainThread) await main();
else await echo(workerData as EchoData);

/** Counts messages; sends the Open ones back; ends on Cancel. */
async function echo({ toEcho, fromEcho, echoBell, mainBell }: EchoData): Promise<void> {
  const bell = new Doorbell(echoBell);
  const hostBell = new Doorbell(mainBell);
  const sender = new Sender({ link: fromEcho, incarnation: 1, doorbell: hostBell });
  const receiver = new Receiver({ link: toEcho, incarnation: 1, doorbell: hostBell });
  const keepAlive = setInterval(() => {}, 1000);
  let ended = false;
  const handle = (kind: number, aux: number, id: number, payload: Uint8Array): void => {
    if (kind === EnvelopeKind.Open || kind === EnvelopeKind.HalfClose) sender.send(kind, aux, id, payload);
    if (kind === EnvelopeKind.Cancel) ended = true;
  };
  parentPort?.postMessage('ready');
  while (!ended) {
    receiver.drain(handle, 1024);
    sender.flush();
    await bell.wait(1000);
  }
  clearInterval(keepAlive);
  bell.close();
}

async function main(): Promise<void> {
  oneThread();
  const data: EchoData = {
    toEcho: createLink(RING_BYTES),
    fromEcho: createLink(RING_BYTES),
    echoBell: createDoorbell(),
    mainBell: createDoorbell(),
  };
  const worker = new Worker(new URL(import.meta.url), { workerData: data });
  await new Promise(resolve => worker.once('message', resolve));
  const bell = new Doorbell(data.mainBell);
  const sender = new Sender({ link: data.toEcho, incarnation: 1, doorbell: new Doorbell(data.echoBell) });
  const receiver = new Receiver({ link: data.fromEcho, incarnation: 1, doorbell: new Doorbell(data.echoBell) });
  await oneWay(sender, receiver, bell);
  await roundTrips(sender, receiver, bell);
  sender.send(EnvelopeKind.Cancel, 0, 0, new Uint8Array(0));
  sender.flush();
  bell.close();
}

function oneThread(): void {
  const bell = new Doorbell(createDoorbell());
  const link = createLink(RING_BYTES);
  const sender = new Sender({ link, incarnation: 1, doorbell: bell });
  const receiver = new Receiver({ link, incarnation: 1, doorbell: bell });
  const payload = new Uint8Array(PAYLOAD_BYTES);
  let sendNs = 0n;
  let drainNs = 0n;
  let bytes = 0;
  for (let sent = 0; sent < RECORDS; sent += 1000) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < 1000; i++) sender.trySend(EnvelopeKind.Message, 0, i, payload);
    sender.flush();
    const middle = process.hrtime.bigint();
    receiver.drain(
      (_kind, _aux, _id, view) => {
        bytes += view.length;
      },
      1000,
      0,
    );
    sendNs += middle - start;
    drainNs += process.hrtime.bigint() - middle;
  }
  if (bytes !== RECORDS * PAYLOAD_BYTES) throw new Error('records were lost');
  print('send, one record of 300 bytes', Number(sendNs) / RECORDS, 'ns');
  print('drain, one record of 300 bytes', Number(drainNs) / RECORDS, 'ns');
}

async function oneWay(sender: Sender, receiver: Receiver, bell: Doorbell): Promise<void> {
  const payload = new Uint8Array(PAYLOAD_BYTES);
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  for (let sent = 0; sent < RECORDS; sent += BATCH) {
    for (let i = 0; i < BATCH; i++) sender.send(EnvelopeKind.Message, 0, i, payload);
    sender.flush();
    while (sender.backlogBytes > 0) {
      await bell.wait(1000);
      sender.flush();
    }
  }
  await ask(sender, receiver, bell, EnvelopeKind.HalfClose);
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  const used = process.cpuUsage(cpu);
  print('one way, two threads', RECORDS / seconds / 1e6, 'million records/s');
  print('  of CPU, both threads', ((used.user + used.system) / RECORDS) * 1000, 'ns a record');
}

async function roundTrips(sender: Sender, receiver: Receiver, bell: Doorbell): Promise<void> {
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  for (let i = 0; i < ROUND_TRIPS; i++) await ask(sender, receiver, bell, EnvelopeKind.Open);
  const us = Number(process.hrtime.bigint() - start) / 1000 / ROUND_TRIPS;
  const used = process.cpuUsage(cpu);
  print('round trip with doorbells', us, 'us');
  print('  of CPU, both threads', (used.user + used.system) / ROUND_TRIPS, 'us a round trip');
}

async function ask(sender: Sender, receiver: Receiver, bell: Doorbell, kind: number): Promise<void> {
  let answered = false;
  const handle = (): void => {
    answered = true;
  };
  sender.send(kind, 0, 0, new Uint8Array(PAYLOAD_BYTES));
  sender.flush();
  for (;;) {
    receiver.drain(handle, 16);
    if (answered) return;
    await bell.wait(1000);
  }
}

function print(what: string, value: number, unit: string): void {
  console.log(`${what.padEnd(36)} ${value.toFixed(value < 10 ? 2 : 1)} ${unit}`);
}
