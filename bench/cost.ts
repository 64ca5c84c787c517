/**
 * What does one write cost, stage by stage? The budget of the design, as measured on this machine.
 *
 *     node dist/bench/cost.js [writes per batch, default 1000] [rounds, default 30]
 *
 * Every stage runs the members' own code on one thread with full batches of 256-byte puts, three members' worth where
 * three members do it; microseconds of this process's CPU a write, median of the rounds. The first stage runs the real
 * listener in a process of its own under the load generator and divides its CPU time by the calls it answered.
 */
import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Prng } from '../src/base/prng.js';
import { createGrpcListener } from '../src/host/grpc/server.js';
import { PendingTable } from '../src/host/pending.js';
import { Applier } from '../src/member/apply/applier.js';
import { RaftLog } from '../src/member/log/raft-log.js';
import { bootstrapLog } from '../src/member/membership/bootstrap.js';
import { decodeMessage, MessageEncoder } from '../src/member/raft/codec.js';
import { Raft } from '../src/member/raft/raft.js';
import type { ConfState, Entry, HardState, LogStorage } from '../src/member/raft/types.js';
import { FORMAT_VERSION } from '../src/member/store/stamp.js';
import { mapSizeFor, StateStore } from '../src/member/store/state-store.js';
import { createDoorbell, Doorbell } from '../src/transport/doorbell.js';
import { EnvelopeKind } from '../src/transport/envelope.js';
import { createLink } from '../src/transport/layout.js';
import { Receiver } from '../src/transport/receiver.js';
import { Sender } from '../src/transport/sender.js';
import {
  decodeInternalRequest,
  encodeInternalRequest,
  InternalField,
  newInternalRequest,
} from '../src/wire/internal.js';
import { encode } from '../src/wire/schema.js';

const batch = Number(process.argv[2] ?? 1_000);
const rounds = Number(process.argv[3] ?? 30);
const members = 3;
const reply = Buffer.alloc(30, 1);

function putRequest(at: number): Uint8Array {
  return encode('etcdserverpb.PutRequest', { key: Buffer.from(`key-${at}`), value: Buffer.alloc(256, 'v') });
}

/** CPU microseconds of this process a write: the median of `rounds` calls of `work`, each one batch. */
function measure<Input>(work: (input: Input) => void, prepare: (round: number) => Input): number {
  for (let round = 0; round < 5; round++) work(prepare(round));
  const costs: number[] = [];
  for (let round = 5; round < rounds + 5; round++) {
    const input = prepare(round);
    const before = process.cpuUsage();
    work(input);
    const { user, system } = process.cpuUsage(before);
    costs.push((user + system) / batch);
  }
  return costs.sort((a, b) => a - b)[costs.length >> 1] as number;
}

/** Request into a ring and out of it, pending table, reply back the same way. */
function ringCost(): number {
  const request = putRequest(1);
  const bell = new Doorbell(createDoorbell());
  const links = [createLink(4 << 20), createLink(4 << 20)] as const;
  const ends = links.map(link => ({
    sender: new Sender({ link, incarnation: 1, doorbell: bell }),
    receiver: new Receiver({ link, incarnation: 1, doorbell: bell }),
  }));
  const [out, back] = ends as [(typeof ends)[0], (typeof ends)[0]];
  const pending = new PendingTable<number>();
  return measure(() => {
    for (let at = 0; at < batch; at++) out.sender.send(EnvelopeKind.Open, 2, pending.add(at), request);
    out.sender.flush();
    out.receiver.drain((_kind, _aux, id) => back.sender.send(EnvelopeKind.Reply, 0, id, reply), batch);
    back.sender.flush();
    back.receiver.drain((_kind, _aux, id) => pending.take(id), batch);
  }, nothing);
}

/** A log in memory: what the core costs without a disk. */
class MemoryLog implements LogStorage {
  readonly #confState: ConfState;
  #entries: Entry[] = [];
  #first = 1;
  #term = 0;

  constructor(founding: { entries: readonly Entry[]; confState: ConfState }) {
    this.#entries = [...founding.entries];
    this.#confState = founding.confState;
  }

  append(entries: readonly Entry[]): void {
    for (const entry of entries) this.#entries.push(entry);
    if (this.#entries.length <= 20_000) return;
    this.#term = this.#entries[9_999]?.term ?? 0;
    this.#entries.splice(0, 10_000);
    this.#first += 10_000;
  }

  initialState(): { hardState: HardState; confState: ConfState } {
    return { hardState: { term: 1, vote: 0n, commit: members }, confState: this.#confState };
  }
  firstIndex(): number {
    return this.#first;
  }
  lastIndex(): number {
    return this.#first + this.#entries.length - 1;
  }
  term(index: number): number | undefined {
    return index === this.#first - 1 ? this.#term : this.#entries[index - this.#first]?.term;
  }
  entries(lo: number, hi: number): Entry[] {
    return this.#entries.slice(lo - this.#first, hi - this.#first);
  }
  snapshotMetadata() {
    return { index: this.#first - 1, term: this.#term, confState: this.#confState };
  }
}

/** Leader and two followers, messages through the codec, no disk. */
function raftCost(): number {
  const ids = [1n, 2n, 3n];
  const founding = bootstrapLog(ids.map(id => ({ id, name: `m${id}`, peerUrls: [`http://m${id}:1`] })));
  const logs = ids.map(() => new MemoryLog(founding));
  const rafts = ids.map(
    (id, at) =>
      new Raft({
        id,
        storage: logs[at] as MemoryLog,
        electionTicks: 10,
        heartbeatTicks: 1,
        preVote: true,
        checkQuorum: true,
        messageBytesMax: 1 << 20,
        committedBytesMax: 4 << 20,
        inflightMessagesMax: 512,
        uncommittedBytesMax: 64 << 20,
        appliedIndex: members,
        prng: new Prng(Number(id)),
      }),
  );
  const encoder = new MessageEncoder();
  const settle = (): void => {
    for (let busy = true; busy; ) {
      busy = false;
      rafts.forEach((raft, at) => {
        if (!raft.hasReady()) return;
        busy = true;
        const ready = raft.ready();
        logs[at]?.append(ready.entries);
        const messages = [...ready.sendNow, ...ready.sendAfterPersist].map(message => encoder.encode(message).slice());
        raft.advance(ready);
        for (const bytes of messages) {
          const message = decodeMessage(bytes);
          rafts[ids.indexOf(message.to)]?.step(message);
        }
      });
    }
  };
  rafts[0]?.campaign();
  settle();
  return measure(entries => {
    rafts[0]?.propose(entries.map(data => ({ type: 0 as const, data })));
    settle();
  }, entriesOf);
}

function nothing(): void {}

function entriesOf(round: number): Uint8Array[] {
  return Array.from({ length: batch }, (_, at) =>
    encodeInternalRequest(InternalField.Put, putRequest(round * batch + at), 1, round * batch + at + 1),
  );
}

/** Three logs, one durable append of the batch each, and their moves to LMDB. */
async function logCost(directory: string): Promise<number> {
  const founding = bootstrapLog([{ id: 1n, name: 'm1', peerUrls: ['http://m1:1'] }]);
  const stamp = { clusterId: 1n, memberId: 1n, formatVersion: FORMAT_VERSION };
  const logs = Array.from({ length: members }, (_, at) =>
    RaftLog.open({ directory: join(directory, `log${at}`), stamp }),
  );
  for (const log of logs) log.bootstrap(founding.entries, founding.hardState, founding.confState);
  const data = entriesOf(0);
  const cost = measure(() => {
    for (const log of logs) {
      const first = log.lastIndex() + 1;
      const entries = data.map((bytes, at) => ({ type: 0 as const, term: 1, index: first + at, data: bytes }));
      log.append(entries, { term: 1, vote: 1n, commit: first - 1 }, true);
      log.flushIfDue(performance.now());
    }
  }, nothing);
  for (const log of logs) await log.close();
  return cost;
}

/** Three states: decode, index, record, reply on one of them, and their commits. */
async function applyCost(directory: string): Promise<number> {
  const stamp = { clusterId: 1n, memberId: 1n, formatVersion: FORMAT_VERSION };
  const stores = Array.from({ length: members }, (_, at) =>
    StateStore.open({ directory: join(directory, `state${at}`), stamp, mapSizeBytes: mapSizeFor(2 ** 31) }),
  );
  const unused = { clusterVersion: undefined, applyAttributes() {}, applyClusterVersion() {}, applyDowngrade() {} };
  const appliers = stores.map(
    storage =>
      new Applier({
        clusterId: 1n,
        memberId: 1n,
        quotaBackendBytes: -1,
        storage,
        members: unused,
        minimumLeaseTtlSeconds: 2,
        authTokenTtlSeconds: 300,
      }),
  );
  const request = newInternalRequest();
  let index = 0;
  const cost = measure(data => {
    appliers.forEach((applier, at) => {
      data.forEach((bytes, offset) => {
        decodeInternalRequest(bytes, request);
        applier.apply({ type: 0, term: 1, index: index + offset + 1, data: bytes }, request, 1, at === 0);
      });
      stores[at]?.commitIfDue(performance.now());
    });
    index += batch;
  }, entriesOf);
  for (const store of stores) await store.close();
  return cost;
}

/** The main thread's part alone: a listener that answers every call at once, in a process of its own. */
async function httpCost(): Promise<number> {
  const child = fork(fileURLToPath(import.meta.url), ['serve']);
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  const ask = async (): Promise<{ cpuMicros: number; calls: number }> => {
    child.send('usage');
    return ((await once(child, 'message')) as [{ cpuMicros: number; calls: number }])[0];
  };
  const generator = fileURLToPath(new URL('./load/main.js', import.meta.url));
  const load = (seconds: number) =>
    promisify(execFile)(process.execPath, [
      generator,
      ...['--endpoints', `127.0.0.1:${port}`, '--outstanding', String(batch), '--seconds', String(seconds)],
    ]);
  await load(1);
  const before = await ask();
  await load(3);
  const after = await ask();
  child.kill();
  return (after.cpuMicros - before.cpuMicros) / (after.calls - before.calls);
}

async function serve(): Promise<void> {
  let calls = 0;
  const listener = createGrpcListener({
    service: call => ({
      message: () => {
        calls += 1;
        call.reply(reply);
      },
      halfClose() {},
      cancel: () => call.end(1, ''),
    }),
  });
  const { port } = await listener.listen('127.0.0.1', 0);
  process.on('message', () => {
    const { user, system } = process.cpuUsage();
    process.send?.({ cpuMicros: user + system, calls });
  });
  process.send?.({ port });
}

async function main(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'kvorum-cost-'));
  try {
    const rows: [stage: string, budget: number, measured: number][] = [
      ['HTTP/2 + gRPC in and out', 6, await httpCost()],
      ['ring both ways, pending table', 3, ringCost()],
      ['raft leader + 2 followers', 6, raftCost()],
      ['log append x 3', 6, await logCost(directory)],
      ['apply to MVCC x 3', 9, await applyCost(directory)],
    ];
    const total = rows.reduce((sum, [, , measured]) => sum + measured, 0);
    process.stdout.write(`CPU microseconds a write, batches of ${batch} puts of 256 bytes\n\n`);
    process.stdout.write('| stage | budget | measured |\n| --- | --- | --- |\n');
    for (const [stage, budget, measured] of [...rows, ['total', 30, total] as const]) {
      process.stdout.write(`| ${stage} | ${budget} | ${measured.toFixed(2)} |\n`);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

await (process.argv[2] === 'serve' ? serve() : main());
