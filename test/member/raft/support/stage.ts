/**
 * The stage on which transcripts play: members, the messages between them, and the commands that move both.
 *
 * Messages wait in one queue until `deliver` or `settle`. A member's election timeout is electionTicks + (id - 1), so
 * that stories can name who times out first.
 *
 *     cluster 1 2 3 [learners=4] [fresh] [SETTINGS]      members that share a bootstrapped log
 *     join 4 [SETTINGS]                                  a member with nothing
 *     campaign 1 | tick 1 [COUNT] | propose 1 a b | conf 1 +4 -2 learner:3 [transition=joint|explicit|auto] | leave 1
 *     read 1 7 | transfer 1 2 | forget 2 1 | unreachable 1 2 | report-snapshot 1 2 ok|failed
 *     ready 1                  one round of the member's loop        ready 1 crash=POINT     as far as POINT
 *     deliver [1] [type=App] [from=2] [count=N]      what waits for it, in order; deliver all: for everybody
 *     settle                   rounds and deliveries until nothing moves; quiet before a command hides its output
 *     drop / keep / replay     lose waiting messages, copy them, put the copies back
 *     cut 1 2 | heal           messages between them are lost from now on
 *     stop 1 | restart 1 | save 1 | compact 1 INDEX | status [1 2] | log 1 | waiting | inject TYPE from= to= ...
 */
import assert from 'node:assert/strict';
import { encodeConfChange, encodeConfChangeV2 } from '../../../../src/member/raft/conf-change-codec.js';
import { draftMessage } from '../../../../src/member/raft/outbox.js';
import {
  type ConfChangeSingle,
  type ConfChangeTransition,
  ConfChangeType,
  EntryType,
  type MemberId,
  MessageType,
  type Proposal,
  type RandomSource,
  type Ready,
} from '../../../../src/member/raft/types.js';
import { bootstrap, bootstrapApplied, joining, type MemberPlan } from './bootstrap.js';
import { describeConfState, describeEntry, describeMessage, describeReady, describeStatus } from './describe.js';
import { CrashPoint, type Envelope, type MemberSettings, type TestMember } from './test-member.js';
import type { Command, Interpreter } from './transcript.js';

const ROUNDS_MAX = 200;

export class Stage {
  readonly #members = new Map<MemberId, TestMember>();
  readonly #stopped = new Set<MemberId>();
  readonly #cuts = new Set<string>();
  #waiting: Envelope[] = [];
  #kept: Envelope[] = [];
  #printed: string[] = [];

  static interpreter(): Interpreter {
    const stage = new Stage();
    return command => stage.run(command);
  }

  run(command: Command): readonly string[] {
    this.#printed = [];
    if (command.name === 'quiet') {
      const [name, ...positional] = command.positional;
      this.run({ ...command, name: name!, positional });
      return [];
    }
    const action = ACTIONS[command.name];
    assert.ok(action !== undefined, `unknown command ${command.name}`);
    action(this, new Arguments(command));
    return this.#printed;
  }

  print(...lines: string[]): void {
    this.#printed.push(...lines);
  }

  member(id: MemberId): TestMember {
    const member = this.#members.get(id);
    assert.ok(member !== undefined, `no member ${id}`);
    return member;
  }

  members(ids: readonly MemberId[]): readonly TestMember[] {
    const chosen = ids.length === 0 ? [...this.#members.keys()] : ids;
    return chosen.map(id => this.member(id));
  }

  create(id: MemberId, args: Arguments, make: (plan: MemberPlan) => TestMember): void {
    const events = {
      send: (envelope: Envelope) => this.#post(envelope),
      ready: (ready: Ready) => this.print(...describeReady(ready)),
      configured: (confState: Parameters<typeof describeConfState>[0]) =>
        this.print(`  in force: ${describeConfState(confState)}`),
    };
    this.#members.set(id, make({ settings: settings(id, args), events }));
  }

  ready(member: TestMember, indent: string, crashPoint?: CrashPoint): void {
    const outer = this.#printed;
    if (!member.raft.hasReady()) {
      this.print(`${indent}nothing to do`);
      return;
    }
    this.#printed = [];
    const survived = member.processReady(crashPoint);
    outer.push(...this.#printed.map(line => indent + line));
    this.#printed = outer;
    if (survived) return;
    this.#stopped.add(member.id);
    this.print(`${indent}crashed`);
  }

  /** Delivers waiting messages that match; those to stopped members are lost. */
  deliver(matches: (envelope: Envelope) => boolean, indent: string, countMax: number): boolean {
    let count = 0;
    const rest: Envelope[] = [];
    const batch = this.#waiting;
    this.#waiting = [];
    for (const envelope of batch) {
      if (count >= countMax || !matches(envelope)) {
        rest.push(envelope);
        continue;
      }
      count++;
      this.print(indent + describeMessage(envelope.message));
      const member = this.#members.get(envelope.message.to);
      if (member !== undefined && !this.#stopped.has(member.id)) member.receive(envelope);
      else this.print(`${indent}  lost: nobody is there`);
    }
    this.#waiting = [...rest, ...this.#waiting];
    return count > 0;
  }

  settle(): void {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      let busy = false;
      for (const member of this.#members.values()) {
        while (!this.#stopped.has(member.id) && member.raft.hasReady()) {
          busy = true;
          this.print(`${member.id} ready:`);
          this.ready(member, '  ');
        }
      }
      if (this.#waiting.length > 0) this.print('deliver:');
      if (this.deliver(() => true, '  ', Infinity)) busy = true;
      if (!busy) return;
    }
    assert.fail('the cluster does not settle');
  }

  /** Takes matching messages out of the queue. */
  take(matches: (envelope: Envelope) => boolean): readonly Envelope[] {
    const taken = this.#waiting.filter(matches);
    this.#waiting = this.#waiting.filter(envelope => !matches(envelope));
    return taken;
  }

  keep(matches: (envelope: Envelope) => boolean): readonly Envelope[] {
    const copies = this.#waiting.filter(matches);
    this.#kept.push(...copies);
    return copies;
  }

  replayKept(): readonly Envelope[] {
    this.#waiting.push(...this.#kept);
    return this.#kept.splice(0);
  }

  put(envelope: Envelope): void {
    this.#waiting.push(envelope);
  }

  waiting(): readonly Envelope[] {
    return this.#waiting;
  }

  cut(ids: readonly MemberId[]): void {
    const [first, ...others] = ids;
    const rest = others.length > 0 ? others : [...this.#members.keys()].filter(id => id !== first);
    for (const id of rest) this.#cuts.add(`${first}-${id}`).add(`${id}-${first}`);
  }

  /** A new story begins. */
  clear(): void {
    this.#members.clear();
    this.#stopped.clear();
    this.#cuts.clear();
    this.#waiting = [];
    this.#kept = [];
  }

  heal(): void {
    this.#cuts.clear();
  }

  stop(id: MemberId): void {
    this.#stopped.add(id);
  }

  restart(id: MemberId): void {
    this.#stopped.delete(id);
    this.member(id).restart();
  }

  #post(envelope: Envelope): void {
    const { from, to } = envelope.message;
    if (!this.#cuts.has(`${from}-${to}`)) this.#waiting.push(envelope);
  }
}

/** A command's words, read as what the action expects. */
class Arguments {
  readonly positional: readonly string[];
  readonly #named: ReadonlyMap<string, string>;

  constructor(command: Command) {
    this.positional = command.positional;
    this.#named = command.named;
  }

  has(word: string): boolean {
    return this.positional.includes(word);
  }

  get ids(): readonly MemberId[] {
    return this.positional.filter(word => /^\d+$/.test(word)).map(BigInt);
  }

  id(position = 0): MemberId {
    return BigInt(this.word(position));
  }

  word(position: number): string {
    const word = this.positional[position];
    assert.ok(word !== undefined, `argument ${position} is missing`);
    return word;
  }

  option(name: string): string | undefined {
    return this.#named.get(name);
  }

  number(name: string, otherwise: number): number {
    return Number(this.#named.get(name) ?? otherwise);
  }

  /** Which waiting messages are meant: to the positional members, and from=, type=. */
  filter(): (envelope: Envelope) => boolean {
    const to = this.ids;
    const from = this.option('from');
    const type = this.option('type');
    return ({ message }) =>
      (to.length === 0 || to.includes(message.to)) &&
      (from === undefined || BigInt(from) === message.from) &&
      (type === undefined || MessageType[type as keyof typeof MessageType] === message.type);
  }
}

type Action = (stage: Stage, args: Arguments) => void;

const ACTIONS: Readonly<Record<string, Action>> = {
  cluster(stage, args) {
    stage.clear();
    const voters = args.ids;
    const learners = args.option('learners')?.split(',').map(BigInt) ?? [];
    const fresh = args.has('fresh');
    for (const id of [...voters, ...learners]) {
      stage.create(id, args, plan =>
        fresh ? bootstrap(id, voters, plan) : bootstrapApplied(id, voters, learners, plan),
      );
    }
  },
  join: (stage, args) => stage.create(args.id(), args, plan => joining(args.id(), plan)),
  campaign: (stage, args) => stage.member(args.id()).raft.campaign(),
  tick(stage, args) {
    const count = Number(args.positional[1] ?? 1);
    for (let i = 0; i < count; i++) stage.member(args.id()).raft.tick();
  },
  propose(stage, args) {
    const size = args.option('bytes');
    const datas = size === undefined ? args.positional.slice(1) : ['#'.repeat(Number(size))];
    const proposals = datas.map(data => ({ type: EntryType.Normal, data: Buffer.from(data) }));
    stage.print(stage.member(args.id()).raft.propose(proposals));
  },
  conf: (stage, args) => stage.print(stage.member(args.id()).raft.propose([confChange(args)])),
  leave: (stage, args) =>
    stage.print(stage.member(args.id()).raft.propose([{ type: EntryType.ConfChangeV2, data: new Uint8Array(0) }])),
  read: (stage, args) => stage.print(stage.member(args.id()).raft.readIndex(Number(args.word(1)))),
  transfer: (stage, args) => stage.print(stage.member(args.id()).raft.transferLeadership(args.id(1))),
  forget: (stage, args) => stage.member(args.id()).raft.forgetLeader(args.id(1)),
  unreachable: (stage, args) => stage.member(args.id()).raft.reportUnreachable(args.id(1)),
  'report-snapshot': (stage, args) => stage.member(args.id()).raft.reportSnapshot(args.id(1), args.word(2) === 'ok'),
  ready(stage, args) {
    const point = args.option('crash');
    const crashPoint = point === undefined ? undefined : CrashPoint[point as keyof typeof CrashPoint];
    stage.ready(stage.member(args.id()), '', crashPoint);
  },
  deliver: (stage, args) => {
    if (!stage.deliver(args.filter(), '', args.number('count', Infinity))) stage.print('nothing to deliver');
  },
  settle: stage => stage.settle(),
  drop: (stage, args) => stage.print(...stage.take(args.filter()).map(({ message }) => describeMessage(message))),
  keep: (stage, args) => stage.print(...stage.keep(args.filter()).map(({ message }) => describeMessage(message))),
  replay: stage => stage.print(...stage.replayKept().map(({ message }) => describeMessage(message))),
  cut: (stage, args) => stage.cut(args.ids),
  heal: stage => stage.heal(),
  stop: (stage, args) => stage.stop(args.id()),
  restart: (stage, args) => stage.restart(args.id()),
  save: (stage, args) => stage.member(args.id()).saveState(),
  compact: (stage, args) => stage.member(args.id()).compact(Number(args.word(1))),
  status: (stage, args) => {
    for (const member of stage.members(args.ids)) stage.print(...describeStatus(member.raft.status));
  },
  log: (stage, args) => stage.print(...stage.member(args.id()).log.allEntries().map(describeEntry)),
  config: (stage, args) => {
    for (const { id, raft } of stage.members(args.ids)) stage.print(`${id} ${describeConfState(raft.confState)}`);
  },
  waiting: stage => stage.print(...stage.waiting().map(({ message }) => describeMessage(message))),
  inject(stage, args) {
    const type = MessageType[args.word(0) as keyof typeof MessageType];
    const message = draftMessage(
      type,
      BigInt(args.number('from', 0)),
      BigInt(args.number('to', 0)),
      args.number('term', 0),
    );
    message.index = args.number('index', 0);
    message.logTerm = args.number('logTerm', 0);
    message.commit = args.number('commit', 0);
    message.rejectHint = args.number('hint', 0);
    message.context = args.number('context', 0);
    message.reject = args.has('reject');
    stage.put({ message, state: undefined });
  },
};

/** +4 adds a voter, -4 removes, learner:4 adds a learner or demotes, =4 updates. */
function confChange(args: Arguments): Proposal {
  const changes = args.positional.slice(1).map(parseSingle);
  const transition = args.option('transition');
  if (transition === undefined && changes.length === 1) {
    const { type, nodeId } = changes[0]!;
    const data = encodeConfChange({ id: 1n, type, nodeId, context: new Uint8Array(0) });
    return { type: EntryType.ConfChange, data };
  }
  const transitions = { auto: 0, joint: 1, explicit: 2 } as const;
  const chosen = transitions[(transition ?? 'auto') as keyof typeof transitions] satisfies ConfChangeTransition;
  return { type: EntryType.ConfChangeV2, data: encodeConfChangeV2({ transition: chosen, changes }) };
}

function parseSingle(word: string): ConfChangeSingle {
  if (word.startsWith('+')) return { type: ConfChangeType.AddNode, nodeId: BigInt(word.slice(1)) };
  if (word.startsWith('-')) return { type: ConfChangeType.RemoveNode, nodeId: BigInt(word.slice(1)) };
  if (word.startsWith('learner:')) return { type: ConfChangeType.AddLearnerNode, nodeId: BigInt(word.slice(8)) };
  return { type: ConfChangeType.UpdateNode, nodeId: BigInt(word.slice(1)) };
}

function settings(id: MemberId, args: Arguments): MemberSettings {
  const prng: RandomSource = { nextBelow: limit => (Number(id) - 1) % limit };
  return {
    electionTicks: args.number('election', 10),
    heartbeatTicks: args.number('heartbeat', 1),
    preVote: args.has('prevote'),
    checkQuorum: args.has('checkquorum'),
    messageBytesMax: args.number('message-bytes', 1 << 20),
    inflightMessagesMax: args.number('inflight', 256),
    inflightBytesMax: args.number('inflight-bytes', Infinity),
    uncommittedBytesMax: args.number('uncommitted', 1 << 30),
    prng,
  };
}
