/**
 * Turns are bounded: a member that has much to catch up with takes, writes and applies it in pieces, and hears its
 * clients between them.
 *
 * A real member runs here without a thread of its own; its rings lead to this test, which plays the leader and the host.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { encodePut, encodeRange } from '../../src/client/requests.js';
import { Member } from '../../src/member/member.js';
import { decodeMessage, MessageEncoder } from '../../src/member/raft/codec.js';
import { draftMessage } from '../../src/member/raft/outbox.js';
import { type Entry, EntryType, entryBytes, MessageType } from '../../src/member/raft/types.js';
import { bytesPerTurn, recordsPerTurn, weightPerTurn } from '../../src/member/turn-limits.js';
import { type MemberBoot, type MemberSettings, StatusCells } from '../../src/transport/control.js';
import { createDoorbell, Doorbell } from '../../src/transport/doorbell.js';
import { EnvelopeKind, FLAG_END } from '../../src/transport/envelope.js';
import { createLink, type LinkBuffers } from '../../src/transport/layout.js';
import { MetricCells, Scalar } from '../../src/transport/metric-cells.js';
import { Receiver } from '../../src/transport/receiver.js';
import { Sender } from '../../src/transport/sender.js';
import { encodeInternalRequest, InternalField } from '../../src/wire/internal.js';
import { Method } from '../../src/wire/methods.js';
import { temporaryDirectory } from './log/support.js';

const settings: MemberSettings = {
  ...{ heartbeatIntervalMs: 100, electionTimeoutMs: 1_000, snapshotCount: 10_000, snapshotCatchUpEntries: 5_000 },
  ...{ maxTxnOps: 128, maxRequestBytes: 1_572_864, quotaBackendBytes: 0, watchProgressNotifyIntervalMs: 600_000 },
  ...{ leaseCheckpointIntervalMs: 0, strictReconfigCheck: true, corruptCheckIntervalMs: 0, initialCorruptCheck: false },
  ...{ compactHashCheckIntervalMs: 0, stopGrpcServiceOnDefrag: false },
  ...{ autoCompaction: { mode: 'periodic', retention: 0 }, authToken: 'simple', authTokenTtlSeconds: 300 },
  durable: false,
};
const names = ['m1', 'm2', 'm3'];
const founding = names.map((name, at) => ({ id: BigInt(at + 1), name, peerUrls: [`http://${name}`], clientUrls: [] }));
const [self, leader] = [founding[0] as (typeof founding)[0], founding[1] as (typeof founding)[0]];
const term = 2;
const firstIndex = founding.length + 1;

/** The other end of a member's ring. */
class End {
  readonly link: LinkBuffers = createLink(8 * 1024 * 1024);
  readonly back: LinkBuffers = createLink(8 * 1024 * 1024);
  readonly bell = createDoorbell();
  readonly sender: Sender;
  readonly #receiver: Receiver;

  constructor(member: Doorbell) {
    this.sender = new Sender({ link: this.link, incarnation: 1, doorbell: member });
    this.#receiver = new Receiver({ link: this.back, incarnation: 1, doorbell: member });
  }

  /** What the member has said since, of one kind. */
  heard(kind: number): { readonly id: number; readonly payload: Uint8Array }[] {
    const records: { id: number; payload: Uint8Array }[] = [];
    this.#receiver.drain((of, _aux, id, payload) => {
      if (of === kind) records.push({ id, payload: Uint8Array.from(payload) });
    }, 100_000);
    return records;
  }
}

class Stage {
  readonly member: Member;
  readonly host: End;
  readonly leader: End;
  readonly #metrics = new MetricCells();
  readonly #encoder = new MessageEncoder();
  #nowMs = 1_000;
  #acknowledged = 0;

  constructor(directory: string, alone = false) {
    const bell = createDoorbell();
    const doorbell = new Doorbell(bell);
    this.host = new End(doorbell);
    this.leader = new End(doorbell);
    const { link: fromPeer, back: toPeer } = this.leader;
    const boot: MemberBoot = {
      ...{ position: 0, clusterId: 1n, identity: self, founding: alone ? [self] : founding, directory, mayFound: true },
      ...{ settings, incarnation: 1, startTimeMs: 1, seed: 1, doorbell: bell, hostDoorbell: this.host.bell },
      ...{ cells: new StatusCells().buffer, metrics: this.#metrics.buffer },
      ...{ fromHost: this.host.link, toHost: this.host.back },
      peers: alone ? [] : [{ position: 1, id: leader.id, doorbell: this.leader.bell, fromPeer, toPeer }],
    };
    this.member = new Member(boot);
  }

  /** One turn: how far it may rest, and how far it has come. */
  turn(): { readonly restMs: number; readonly appended: number; readonly applied: number } {
    this.#nowMs += 1;
    const restMs = this.member.turn(this.#nowMs, false);
    for (const { payload } of this.leader.heard(EnvelopeKind.Raft)) {
      const message = decodeMessage(payload);
      if (message.type === MessageType.AppResp) this.#acknowledged = message.index;
    }
    return { restMs, appended: this.#acknowledged, applied: this.#metrics.get(Scalar.proposalsApplied) };
  }

  /** Sends the entries as a leader does: in messages of limited weight. */
  append(entries: readonly Entry[], commit: number): void {
    let part: Entry[] = [];
    let bytes = 0;
    const send = () => {
      const index = (part[0]?.index ?? 0) - 1;
      const logTerm = index < firstIndex ? 1 : term;
      const draft = draftMessage(MessageType.App, leader.id, self.id, term);
      const message = this.#encoder.encode({ ...draft, index, logTerm, entries: part, commit });
      assert.ok(this.leader.sender.trySend(EnvelopeKind.Raft, 0, 0, message), 'the ring has room');
      [part, bytes] = [[], 0];
    };
    for (const entry of entries) {
      if (bytes + entryBytes(entry) > weightPerTurn) send();
      part.push(entry);
      bytes += entryBytes(entry);
    }
    send();
    this.leader.sender.flush();
  }

  commit(index: number): void {
    const draft = draftMessage(MessageType.Heartbeat, leader.id, self.id, term);
    this.leader.sender.trySend(EnvelopeKind.Raft, 0, 0, this.#encoder.encode({ ...draft, commit: index }));
    this.leader.sender.flush();
  }

  request(id: number, method: number, payload: Uint8Array): void {
    this.host.sender.send(EnvelopeKind.Open, method, id, payload, undefined, FLAG_END);
    this.host.sender.flush();
  }
}

async function stageOf(context: TestContext, alone = false): Promise<Stage> {
  const stage = new Stage(await temporaryDirectory(context), alone);
  context.after(() => {
    stage.member.end('stop');
    return stage.member.close();
  });
  return stage;
}

function puts(count: number, valueBytes: number): Entry[] {
  const value = Buffer.alloc(valueBytes, 'v');
  return Array.from({ length: count }, (_, at) => {
    const data = encodeInternalRequest(InternalField.Put, encodePut(`key-${at}`, value, undefined), 7, at + 1);
    return { type: EntryType.Normal, term, index: firstIndex + at, data };
  });
}

/** Turns until the member may rest; how far each came. */
function turnsOf(stage: Stage, what: 'appended' | 'applied'): number[] {
  const reached: number[] = [];
  for (let done = false; !done; ) {
    const turn = stage.turn();
    reached.push(turn[what]);
    done = turn.restMs > 0;
  }
  return reached;
}

/** What each turn came further by. */
function steps(reached: readonly number[], from: number): number[] {
  return reached.map((index, at) => index - (reached[at - 1] ?? from));
}

test('what a leader sends is written in bounded pieces, with no wait between them', async context => {
  const stage = await stageOf(context);
  stage.turn();
  const entries = puts(20_000, 20);
  stage.append(entries, 0);
  const appended = steps(turnsOf(stage, 'appended'), founding.length);
  assert.ok(Math.max(...appended) <= 2 * recordsPerTurn, `a turn wrote ${Math.max(...appended)} entries`);
  assert.ok(appended.filter(step => step > 0).length >= 3, `${appended} entries in the turns`);
  assert.equal(
    appended.reduce((sum, step) => sum + step),
    entries.length,
    'it rests when it has all',
  );
});

test('what is committed is applied in bounded pieces, and clients are answered between them', async context => {
  const stage = await stageOf(context);
  stage.turn();
  const entries = puts(20_000, 20);
  stage.append(entries, 0);
  turnsOf(stage, 'appended');
  stage.commit(entries.length + founding.length);
  const before = stage.turn().applied;
  assert.ok(before < entries.length, `${before} applied in the first turn`);
  stage.host.heard(EnvelopeKind.Reply);
  stage.request(9, Method.KvRange, encodeRange('key-0', { serializable: true }));
  const { applied } = stage.turn();
  assert.deepEqual(
    stage.host.heard(EnvelopeKind.Reply).map(({ id }) => id),
    [9],
  );
  assert.ok(applied < entries.length, 'the answer came before the end');
  const pieces = steps(turnsOf(stage, 'applied'), applied);
  assert.ok(Math.max(...pieces, applied - before) <= 2 * recordsPerTurn, `a turn applied ${Math.max(...pieces)}`);
  assert.equal(stage.turn().applied, entries.length + founding.length, 'it rests when it has applied all');
});

test('large entries are bounded by their bytes', async context => {
  const stage = await stageOf(context);
  stage.turn();
  const entries = puts(60, 100_000);
  stage.append(entries, entries.length + founding.length);
  const perTurn = Math.ceil((2 * weightPerTurn) / 100_000);
  const applied = steps(turnsOf(stage, 'applied'), founding.length);
  assert.ok(Math.max(...applied) <= perTurn, `${applied} entries in the turns`);
  assert.equal(
    applied.reduce((sum, step) => sum + step),
    entries.length,
  );
});

test('what clients send is taken in bounded pieces', async context => {
  const stage = await stageOf(context, true);
  stage.turn();
  stage.member.campaign();
  turnsOf(stage, 'applied');
  const value = Buffer.alloc(50_000, 'v');
  for (let id = 1; id <= 60; id += 1) stage.request(id, Method.KvPut, encodePut(`key-${id}`, value, undefined));
  const answers: number[] = [];
  for (let done = false; !done; ) {
    done = stage.turn().restMs > 0;
    answers.push(stage.host.heard(EnvelopeKind.Reply).length);
  }
  const perTurn = Math.ceil((2 * bytesPerTurn) / value.length);
  assert.ok(Math.max(...answers) <= perTurn, `${answers} answers in the turns`);
  assert.equal(
    answers.reduce((sum, count) => sum + count),
    60,
  );
});
