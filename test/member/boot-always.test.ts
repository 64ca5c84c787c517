/**
 * R21 (etcd #10219, #11888: a crash behind the persisted hard state and before its snapshot, and the member never
 * started again) and R24 (etcd #16596: a power cut while the first files were made): a member that crashes between any
 * two steps opens again with everything that it had promised, and goes on.
 *
 * One life has everything that a member writes: it is founded, elects itself, appends, applies, compacts its log, moves
 * to a state of its own making (defragmentation) and to one of a leader (snapshot). Each entry, applied, is the record
 * with its index for a revision, so that a state shows at a glance which entries it holds.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextRound } from 'node:timers/promises';
import { Defragmentation } from '../../src/member/defragmentation.js';
import type { HostLink } from '../../src/member/host-link.js';
import { applyConfChange } from '../../src/member/member-table.js';
import { createImporter, type OpenMember, openMember, replaceState } from '../../src/member/open.js';
import { type Entry, EntryType, MessageType, type Ready } from '../../src/member/raft/types.js';
import { StateExporter } from '../../src/member/transfer/exporter.js';
import type { StateImporter } from '../../src/member/transfer/importer.js';
import type { MemberBoot } from '../../src/transport/control.js';
import { CrashPoints } from '../support/crash-points.js';
import { temporaryDirectory } from './log/support.js';

const identity = { id: 0xa1n, name: 'm1', peerUrls: ['http://127.0.0.1:12380'], clientUrls: [] };
const leaderId = 0xb2n;
const settings = {
  ...{ heartbeatIntervalMs: 100, electionTimeoutMs: 1_000, snapshotCount: 10_000, snapshotCatchUpEntries: 5_000 },
  ...{ maxTxnOps: 128, maxRequestBytes: 1_572_864, quotaBackendBytes: 0, leaseCheckpointIntervalMs: 0, durable: false },
};
/** The leader's snapshot covers more than the member ever had. */
const snapshotAt = { index: 20, term: 5 } as const;

/** What a member has promised to others: it must be there whatever happens. */
class Promised {
  mayFound = true;
  term = 0;
  lastIndex = 0;
  appliedDurably = 0;

  note({ log, state }: OpenMember): void {
    this.mayFound = false;
    this.term = log.initialState().hardState.term;
    this.lastIndex = log.lastIndex();
    this.appliedDurably = state.store.durableAppliedIndex;
  }

  check({ log, state }: OpenMember): void {
    assert.ok(log.initialState().hardState.term >= this.term, `term ${log.initialState().hardState.term}`);
    assert.ok(log.lastIndex() >= this.lastIndex, `the log ends at ${log.lastIndex()}, not at ${this.lastIndex}`);
    assert.ok(state.store.appliedIndex >= this.appliedDurably, `applied up to ${state.store.appliedIndex}`);
    checkState(state.store);
  }
}

function open(directory: string, promised: Promised): OpenMember {
  const boot = { position: 0, clusterId: 1n, identity, founding: [identity], directory, settings, seed: 1 };
  const member = openMember({ ...boot, mayFound: promised.mayFound } as unknown as MemberBoot);
  promised.check(member);
  promised.note(member);
  return member;
}

/** A KeyValue with nothing but a key and a value. */
function record(index: number): Uint8Array {
  const key = Buffer.from(`key ${index}`);
  const value = Buffer.alloc(1_000, index);
  const length = Buffer.from([0x2a, 0xe8, 0x07]);
  return Buffer.concat([Buffer.from([0x0a, key.length]), key, Buffer.from([0x10, 2, 0x18, 2, 0x20, 1]), length, value]);
}

/** The founding entry is the only one without a record. */
function checkState(store: OpenMember['state']['store']): void {
  let next = 2;
  store.scanRecords({ main: 0, sub: 0 }, main => {
    assert.equal(main, next, 'each entry has its record');
    next += 1;
    return true;
  });
  assert.equal(next - 1, Math.max(1, store.appliedIndex), 'no record is missing, none too many');
}

/** One batch of Raft's work after the other, in the member's order. */
function work(member: OpenMember, promised: Promised, received?: StateImporter): void {
  const { raft, log } = member;
  while (raft.hasReady()) {
    const ready = raft.ready();
    if (ready.snapshot !== undefined) install(member, ready, received as StateImporter);
    else log.append(ready.entries, ready.hardState, ready.mustSync);
    promised.note(member);
    for (const entry of ready.committedEntries) apply(member, entry);
    raft.advance(ready);
  }
}

function apply(member: OpenMember, entry: Entry): void {
  const { store, applier } = member.state;
  if (entry.type !== EntryType.Normal) {
    applyConfChange(member, entry);
    return;
  }
  store.putRecord(entry.index, 0, false, record(entry.index));
  applier.applyEmpty(entry);
}

function install(member: OpenMember, { snapshot, hardState }: Ready, importer: StateImporter): void {
  assert.ok(snapshot !== undefined);
  const former = member.log.stateGeneration;
  member.log.installSnapshot(snapshot, importer.generation, hardState);
  replaceState(member, former);
}

/** Elects itself, if need be, and has some entries committed and applied. */
function append(member: OpenMember, promised: Promised, entries: number): void {
  const { raft } = member;
  work(member, promised); // What is committed: nobody stands for election before he has applied a configuration.
  if (!raft.isLeader) raft.campaign();
  work(member, promised);
  for (let i = 0; i < entries; i += 1) {
    raft.propose([{ type: EntryType.Normal, data: Buffer.from(`entry ${i}`) }]);
    work(member, promised);
  }
  const { store } = member.state;
  assert.ok(raft.isLeader);
  assert.equal(store.appliedIndex, member.log.lastIndex());
  store.commit();
  promised.note(member);
}

function compact({ log, state }: OpenMember, kept: number, nowMs: number): void {
  log.compact(state.store.durableAppliedIndex - kept);
  for (const later of [0, 2_000, 4_000]) while (log.flushIfDue(nowMs + later));
}

function defragment(member: OpenMember): void {
  const host = { log: () => {}, reply: () => {}, end: assert.fail } as unknown as HostLink;
  const defragmentation = new Defragmentation(host, member);
  defragmentation.request(1);
  while (defragmentation.turn(0));
}

/** The state of a leader comes, whole, and with it the message that has it installed. */
function receive(member: OpenMember, promised: Promised, frames: readonly Uint8Array[]): void {
  const importer = createImporter(member);
  for (const frame of frames) importer.write(frame);
  importer.finish();
  const confState = { voters: [identity.id], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  member.raft.step({
    ...{ type: MessageType.Snap, to: identity.id, from: leaderId, term: snapshotAt.term },
    ...{ logTerm: 0, index: 0, entries: [], commit: 0, reject: false, rejectHint: 0, context: 0 },
    ...{ campaignTransfer: false, snapshot: { ...snapshotAt, confState } },
  });
  work(member, promised, importer);
  promised.note(member);
  assert.equal(promised.appliedDurably, snapshotAt.index);
}

async function leaderFrames(t: TestContext): Promise<Uint8Array[]> {
  const leader = open(await temporaryDirectory(t), new Promised());
  const { store } = leader.state;
  for (let index = 2; index <= snapshotAt.index; index += 1) store.putRecord(index, 0, false, record(index));
  store.setApplied(snapshotAt.index, snapshotAt.term);
  const exporter = StateExporter.start(store);
  const frames: Uint8Array[] = [];
  for (let frame = exporter.next(); frame !== undefined; frame = exporter.next()) frames.push(frame.slice());
  exporter.close();
  return frames;
}

/** Crashes at every step of what `life` does to a new directory; returns how many there were. */
async function crashEverywhere(
  t: TestContext,
  points: CrashPoints,
  life: (directory: string, promised: Promised) => void,
): Promise<number> {
  const root = await temporaryDirectory(t);
  for (let step = 0; ; step += 1) {
    const directory = join(root, `${step}`);
    const promised = new Promised();
    points.crashAfter(step);
    const isWhole = await points.live(() => life(directory, promised));
    // Twice: what the first start mended is whole for the second.
    for (const start of ['first', 'second']) {
      await points
        .live(() => append(open(directory, promised), promised, 2))
        .catch((error: unknown) => {
          throw new Error(`${start} start after a crash at step ${step}: ${error}`, { cause: error });
        });
    }
    await nextRound();
    if (isWhole) return step;
  }
}

test('R24: a first start that is cut at any step founds the member at the next (etcd #16596)', async t => {
  const steps = await crashEverywhere(t, new CrashPoints(t), (directory, promised) => {
    open(directory, promised);
  });
  t.diagnostic(`${steps} steps`);
  assert.ok(steps > 20, `${steps} steps`);
});

test('R21: a member that crashes at any step opens again and goes on (etcd #10219, #11888)', async t => {
  const points = new CrashPoints(t);
  let frames: Uint8Array[] = [];
  await points.live(async () => {
    frames = await leaderFrames(t);
  });
  const steps = await crashEverywhere(t, points, (directory, promised) => {
    const member = open(directory, promised);
    append(member, promised, 6);
    compact(member, 3, 0);
    append(member, promised, 2);
    defragment(member);
    append(member, promised, 2);
    receive(member, promised, frames);
    append(member, promised, 3);
    compact(member, 1, 10_000);
  });
  t.diagnostic(`${steps} steps`);
  assert.ok(steps > 100, `${steps} steps`);
});
