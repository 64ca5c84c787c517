/**
 * A whole cluster of cores in one thread, with a network that loses, delays, duplicates and cuts, and members that
 * crash in the middle of their loop. Everything is drawn from one seed, in separate streams.
 *
 *     safety:    faults; the Checker watches every step
 *     liveness:  faults end, everybody is back; a leader must come, a write must commit, all must converge (I23)
 */
import assert from 'node:assert/strict';
import { Prng } from '../../../../src/base/prng.js';
import { encodeConfChange, encodeConfChangeV2 } from '../../../../src/member/raft/conf-change-codec.js';
import {
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  EntryType,
  type MemberId,
  type Message,
  MessageType,
  type Proposal,
  Role,
} from '../../../../src/member/raft/types.js';
import { bootstrapApplied, joining, type MemberPlan } from './bootstrap.js';
import { Checker } from './checker.js';
import { CrashPoint, type Envelope, type MemberSettings, type TestMember } from './test-member.js';

const SAFETY_STEPS = 500;
const MEMBERS_MAX = 6n;
const CALM_ROUNDS_MAX = 20;

export interface SimulationResult {
  readonly trace: number;
  readonly applied: number;
  readonly readsAnswered: number;
  readonly elections: number;
  readonly snapshotsInstalled: number;
  readonly confChanges: number;
}

export class Simulation {
  readonly #seed: number;
  readonly #network: Prng;
  readonly #faults: Prng;
  readonly #workload: Prng;
  readonly #members = new Map<MemberId, TestMember>();
  readonly #down = new Map<MemberId, number>();
  readonly #paused = new Map<MemberId, number>();
  readonly #cuts = new Set<string>();
  readonly #settings: Omit<MemberSettings, 'prng'>;
  readonly #checker: Checker;
  readonly #membershipChanges: boolean;
  readonly #lossPercent: number;
  readonly #crashPercent: number;
  /** Messages on their way, by the time of their arrival. */
  readonly #inFlight = new Map<number, Envelope[]>();
  #faulty = true;
  #now = 0;
  #nextContext = 1;
  #nextValue = 1;
  #trace = 0;
  #snapshotsInstalled = 0;
  #confChanges = 0;
  #termMax = 1;

  constructor(seed: number) {
    this.#seed = seed;
    this.#network = new Prng(seed * 4);
    this.#faults = new Prng(seed * 4 + 1);
    this.#workload = new Prng(seed * 4 + 2);
    const knobs = new Prng(seed * 4 + 3);
    this.#membershipChanges = knobs.nextBelow(3) > 0;
    const careful = this.#membershipChanges;
    this.#settings = {
      electionTicks: 4 + knobs.nextBelow(8),
      heartbeatTicks: 1,
      preVote: careful || knobs.nextBelow(2) === 0,
      checkQuorum: careful || knobs.nextBelow(2) === 0,
      messageBytesMax: knobs.nextBelow(2) === 0 ? 1 + knobs.nextBelow(1_300) : 65_536,
      committedBytesMax: knobs.nextBelow(2) === 0 ? 1 + knobs.nextBelow(1_300) : 65_536,
      inflightMessagesMax: 1 + knobs.nextBelow(8),
      inflightBytesMax: knobs.nextBelow(2) === 0 ? 1 + knobs.nextBelow(2_600) : Infinity,
      uncommittedBytesMax: knobs.nextBelow(2) === 0 ? 1 + knobs.nextBelow(200) : 1 << 20,
    };
    this.#lossPercent = knobs.nextBelow(3) * 10;
    this.#crashPercent = knobs.nextBelow(3);
    const voters = [1n, 2n, 3n, 4n, 5n].slice(0, 3 + knobs.nextBelow(3));
    for (const id of voters) this.#members.set(id, bootstrapApplied(id, voters, [], this.#plan(id)));
    this.#checker = new Checker(this.#members, this.#members.get(1n)!.state);
  }

  run(): SimulationResult {
    for (let step = 0; step < SAFETY_STEPS; step++) {
      this.#injectFaults();
      this.#work();
      this.#advanceTime();
    }
    this.#checker.checkLogMatching();
    this.#heal();
    this.#converge();
    this.#checker.checkLogMatching();
    return {
      trace: this.#trace,
      applied: this.#checker.applied,
      readsAnswered: this.#checker.readsAnswered,
      elections: this.#termMax,
      snapshotsInstalled: this.#snapshotsInstalled,
      confChanges: this.#confChanges,
    };
  }

  #plan(id: MemberId): MemberPlan {
    return {
      settings: { ...this.#settings, prng: new Prng(this.#seed * 64 + Number(id)) },
      events: {
        send: envelope => this.#send(envelope),
        applied: (entry, state) => this.#checker.entryApplied(this.#members.get(id)!, entry, state),
        installed: (_snapshot, state) => {
          this.#snapshotsInstalled++;
          this.#checker.installed(this.#members.get(id)!, state);
        },
        configured: () => this.#confChanges++,
        read: ({ index, context }) => this.#checker.readConfirmed(index, context),
      },
    };
  }

  // ---- network

  #send(envelope: Envelope): void {
    const { message } = envelope;
    this.#checker.sent(message);
    this.#noteTrace(message);
    if (message.type === MessageType.Snap) this.#reportSnapshotLater(envelope);
    else if (!this.#isLost()) this.#launch(envelope);
    // A late duplicate, perhaps from long ago.
    if (this.#faulty && this.#network.nextBelow(20) === 0) this.#launch(envelope, this.#network.nextBelow(60));
  }

  #reportSnapshotLater(envelope: Envelope): void {
    const { from, to } = envelope.message;
    const ok = !this.#isLost();
    if (ok) this.#launch(envelope);
    if (!this.#faulty || this.#network.nextBelow(4) > 0) this.#members.get(from)!.raft.reportSnapshot(to, ok);
    else this.#members.get(from)!.raft.reportSnapshot(to, false);
  }

  #launch(envelope: Envelope, delay = this.#faulty ? this.#network.nextBelow(4) : 0): void {
    const at = this.#now + 1 + delay;
    const sameTime = this.#inFlight.get(at);
    if (sameTime === undefined) this.#inFlight.set(at, [envelope]);
    else sameTime.push(envelope);
  }

  #isLost(): boolean {
    return this.#faulty && this.#network.nextBelow(100) < this.#lossPercent;
  }

  #deliver(): void {
    const due = this.#inFlight.get(this.#now) ?? [];
    this.#inFlight.delete(this.#now);
    if (this.#faulty && this.#network.nextBelow(3) === 0) shuffle(due, this.#network);
    for (const envelope of due) {
      const { from, to } = envelope.message;
      const member = this.#members.get(to);
      if (member === undefined || this.#down.has(to) || this.#cuts.has(`${from}-${to}`)) continue;
      member.receive(envelope);
      this.#checker.afterStep(member);
      // Sometimes a member's loop runs between two messages, sometimes it takes them as one batch.
      if (this.#network.nextBelow(2) === 0) this.#runLoop(member);
    }
  }

  // ---- time

  #advanceTime(): void {
    this.#now++;
    this.#deliver();
    // Without faults messages are much faster than ticks.
    for (let i = 0; !this.#faulty && this.#inFlight.size > 0 && i < CALM_ROUNDS_MAX; i++) {
      for (const member of this.#members.values()) this.#runLoop(member);
      this.#now++;
      this.#deliver();
    }
    for (const member of this.#members.values()) {
      if (this.#down.has(member.id)) {
        this.#maybeRestart(member);
        continue;
      }
      if ((this.#paused.get(member.id) ?? 0) > this.#now) continue;
      // Clocks run at different speeds.
      if (!this.#faulty || this.#faults.nextBelow(8) > 0) member.raft.tick();
      this.#checker.afterStep(member);
      this.#runLoop(member);
    }
  }

  #runLoop(member: TestMember): void {
    while (!this.#down.has(member.id) && member.raft.hasReady()) {
      const survived = member.processReady(this.#drawCrash());
      if (!survived) this.#down.set(member.id, this.#now + this.#faults.nextBelow(40));
      else this.#checker.afterStep(member);
      this.#termMax = Math.max(this.#termMax, member.raft.term);
    }
  }

  #drawCrash(): CrashPoint | undefined {
    if (!this.#faulty || this.#faults.nextBelow(300) >= this.#crashPercent) return undefined;
    const points = Object.values(CrashPoint);
    return points[this.#faults.nextBelow(points.length)];
  }

  #maybeRestart(member: TestMember): void {
    if (this.#faulty && this.#down.get(member.id)! > this.#now) return;
    this.#down.delete(member.id);
    member.restart();
  }

  // ---- faults and work

  #injectFaults(): void {
    const ids = [...this.#members.keys()];
    const dice = this.#faults.nextBelow(100);
    const victim = ids[this.#faults.nextBelow(ids.length)]!;
    if (dice === 0) for (const other of ids) this.#cut(victim, other);
    else if (dice === 1) this.#cutInHalves(ids);
    else if (dice === 2) this.#cuts.add(`${victim}-${ids[this.#faults.nextBelow(ids.length)]}`);
    else if (dice < 8) this.#cuts.clear();
    else if (dice === 8) this.#paused.set(victim, this.#now + this.#faults.nextBelow(30));
    else if (dice === 9 && this.#crashPercent > 0) this.#down.set(victim, this.#now + this.#faults.nextBelow(40));
  }

  #cutInHalves(ids: readonly MemberId[]): void {
    const left = ids.filter(() => this.#faults.nextBelow(2) === 0);
    for (const a of left) for (const b of ids) if (!left.includes(b)) this.#cut(a, b);
  }

  #cut(a: MemberId, b: MemberId): void {
    this.#cuts.add(`${a}-${b}`).add(`${b}-${a}`);
  }

  #work(): void {
    const ids = [...this.#members.keys()];
    const member = this.#members.get(ids[this.#workload.nextBelow(ids.length)]!)!;
    if (this.#down.has(member.id)) return;
    const dice = this.#workload.nextBelow(100);
    if (dice < 40) this.#propose(member);
    else if (dice < 60) this.#read(member);
    else if (dice < 64) member.saveState();
    else if (dice < 68) this.#compact(member);
    else if (dice < 72) this.#changeMembers(member);
    else if (dice < 74) member.raft.transferLeadership(ids[this.#workload.nextBelow(ids.length)]!);
    else if (dice < 75) member.raft.reportUnreachable(ids[this.#workload.nextBelow(ids.length)]!);
    // Even when it is not true.
    else if (dice < 76) member.raft.forgetLeader(member.raft.leader);
  }

  #propose(member: TestMember): void {
    const count = 1 + this.#workload.nextBelow(3);
    const proposals: Proposal[] = [];
    for (let i = 0; i < count; i++) {
      const value = `${this.#nextValue++}`.padEnd(1 + this.#workload.nextBelow(30), '.');
      proposals.push({ type: EntryType.Normal, data: Buffer.from(value) });
    }
    member.raft.propose(proposals);
  }

  #read(member: TestMember): void {
    const context = this.#nextContext++;
    this.#checker.readAsked(context);
    member.raft.readIndex(context);
  }

  #compact(member: TestMember): void {
    const keep = this.#workload.nextBelow(10);
    const index = member.state.index - keep;
    if (index >= member.log.firstIndex()) member.compact(index);
  }

  /** Proposed on leaders only. A member that may be added exists from then on. */
  #changeMembers(member: TestMember): void {
    if (!this.#membershipChanges || !member.raft.isLeader) return;
    const count = 1 + this.#workload.nextBelow(2);
    const changes: ConfChangeSingle[] = [];
    for (let i = 0; i < count; i++) changes.push(this.#drawChange(member));
    for (const { nodeId } of changes) {
      if (!this.#members.has(nodeId)) this.#members.set(nodeId, joining(nodeId, this.#plan(nodeId)));
    }
    const explicit = this.#workload.nextBelow(4) === 0;
    const leave = { type: EntryType.ConfChangeV2, data: new Uint8Array(0) };
    if (member.raft.confState.votersOutgoing.length > 0) member.raft.propose([leave]);
    else member.raft.propose([confChangeProposal(changes, explicit)]);
  }

  #drawChange(member: TestMember): ConfChangeSingle {
    const nodeId = 1n + BigInt(this.#workload.nextBelow(Number(MEMBERS_MAX)));
    const few = member.raft.confState.voters.length <= 2;
    const types = few
      ? [ConfChangeType.AddNode]
      : [ConfChangeType.AddNode, ConfChangeType.RemoveNode, ConfChangeType.AddLearnerNode];
    return { type: types[this.#workload.nextBelow(types.length)]!, nodeId };
  }

  // ---- liveness

  #heal(): void {
    this.#faulty = false;
    this.#cuts.clear();
    this.#paused.clear();
  }

  #converge(): void {
    const electionTicks = this.#settings.electionTicks;
    // The cluster settles; then one more write and one more read must go through.
    for (let i = 0; i < 20 * electionTicks; i++) this.#advanceTime();
    const answered = this.#checker.readsAnswered;
    const target = this.#checker.applied + 1;
    for (let i = 0; i < 40 * electionTicks; i++) {
      this.#advanceTime();
      const leader = this.#leader();
      if (leader === undefined) continue;
      if (this.#checker.applied < target) leader.raft.propose([{ type: EntryType.Normal, data: Buffer.from('last') }]);
      if (this.#checker.readsAnswered === answered) this.#read(leader);
      this.#runLoop(leader);
      if (this.#checker.applied >= target && this.#checker.readsAnswered > answered && this.#agree(leader)) return;
    }
    const lines = [...this.#members.values()].map(({ raft }) => JSON.stringify(raft.status, bigintText));
    assert.fail(`I23: the cluster does not converge\n${lines.join('\n')}`);
  }

  #leader(): TestMember | undefined {
    let leader: TestMember | undefined;
    for (const member of this.#members.values()) {
      if (member.raft.role !== Role.Leader) continue;
      if (leader === undefined || member.raft.term > leader.raft.term) leader = member;
    }
    return leader;
  }

  #agree(leader: TestMember): boolean {
    const { voters, learners, votersOutgoing } = leader.raft.confState;
    for (const id of [...voters, ...learners, ...votersOutgoing]) {
      const { state } = this.#members.get(id)!;
      if (state.index !== leader.state.index || state.digest !== leader.state.digest) return false;
    }
    const { status } = leader.raft;
    return status.lastIndex === leader.state.index && status.uncommittedBytes === 0;
  }

  #noteTrace(message: Message): void {
    const { type, to, from, term, index, logTerm, commit, context } = message;
    for (const number of [type, Number(to), Number(from), term, index, logTerm, commit, context]) {
      this.#trace = Math.imul(this.#trace ^ number, 0x01000193);
    }
  }
}

function confChangeProposal(changes: readonly ConfChangeSingle[], explicit: boolean): Proposal {
  const [only] = changes;
  if (changes.length === 1 && !explicit) {
    const data = encodeConfChange({ id: 0n, type: only!.type, nodeId: only!.nodeId, context: new Uint8Array(0) });
    return { type: EntryType.ConfChange, data };
  }
  const transition = explicit ? ConfChangeTransition.JointExplicit : ConfChangeTransition.Auto;
  return { type: EntryType.ConfChangeV2, data: encodeConfChangeV2({ transition, changes }) };
}

function shuffle<Item>(items: Item[], prng: Prng): void {
  for (let i = items.length - 1; i > 0; i--) {
    const j = prng.nextBelow(i + 1);
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
}

function bigintText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `${value}` : value;
}
