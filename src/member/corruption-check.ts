/**
 * Compares the members' key spaces by their hashes.
 *
 *     own HashKV ─> every other member's at the same revision (PeerCall) ─> [leader: confirm that it leads, once more
 *     its own] ─> verdict (hash-verdict.ts): CORRUPT for who differs, a warning for who is unknown
 *
 * Periodic (--corrupt-check-time): the leader asks. At start (gate InitialCorruptCheck): every member asks before it is
 * announced as ready, and ends when it finds itself different. A member that has not come so far is asked again; one
 * that does not answer is unknown, which is said and never passed over (etcd's checks once took it for healthy).
 *
 * Invariant: one round at a time; what belongs to a round that was given up changes nothing.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import { EtcdErrorCode } from '../wire/errors.js';
import { Method } from '../wire/methods.js';
import { decode, encode } from '../wire/schema.js';
import { AlarmType } from './apply/alarms.js';
import { answerOf, type HashAnswer, judgeHashes, type Verdict } from './hash-verdict.js';
import type { HostLink } from './host-link.js';
import type { OpenMember } from './open.js';
import type { PeerCalls } from './peer-calls.js';
import type { PeerLinks } from './peer-links.js';
import { ownRequest } from './publisher.js';
import { type MemberId, NO_MEMBER } from './raft/types.js';
import type { Reads } from './reads.js';
import { StorageError, StorageErrorKind } from './store/storage-error.js';

export interface CorruptionCheckContext {
  readonly host: HostLink;
  readonly open: OpenMember;
  readonly peers: PeerLinks;
  readonly calls: PeerCalls;
  readonly reads: Reads;
  /** Proposes the CORRUPT alarm for a member. */
  readonly raise: (memberId: MemberId) => void;
}

/** A member that has not come to the revision yet is asked again after this long. */
const askAgainMs = 100;
/** How long hashing a large store may take, in election timeouts; at start only members that are up are waited for. */
const patienceElections = { periodic: 30, initial: 5 } as const;

interface Round {
  readonly kind: 'periodic' | 'initial';
  readonly untilMs: number;
  own: HashAnswer | undefined;
  confirming: boolean;
  readonly answers: Map<MemberId, HashAnswer | undefined>;
  /** Members to be asked, and when. */
  readonly toAsk: Map<MemberId, number>;
  /** Members that have not answered. */
  readonly asked: Set<MemberId>;
}

export class CorruptionCheck {
  readonly #context: CorruptionCheckContext;
  readonly #intervalMs: number;
  readonly #electionMs: number;
  #initial: 'due' | 'done';
  #dueMs: number | undefined;
  #round: Round | undefined;
  #nowMs = 0;

  constructor(context: CorruptionCheckContext) {
    this.#context = context;
    const { corruptCheckIntervalMs, initialCorruptCheck, electionTimeoutMs } = context.open.boot.settings;
    this.#intervalMs = corruptCheckIntervalMs;
    this.#electionMs = electionTimeoutMs;
    this.#initial = initialCorruptCheck ? 'due' : 'done';
  }

  /** False while the check at start is not over. */
  get passedInitial(): boolean {
    return this.#initial === 'done';
  }

  /** Throws StorageError when the check at start finds that this member differs. */
  turn(nowMs: number): void {
    this.#nowMs = nowMs;
    const { raft } = this.#context.open;
    this.#dueMs ??= nowMs + this.#intervalMs;
    const round = this.#round;
    if (round === undefined) {
      if (this.#initial === 'due') {
        if (raft.leader !== NO_MEMBER) this.#start('initial');
      } else if (this.#intervalMs > 0 && nowMs >= this.#dueMs) {
        this.#dueMs = nowMs + this.#intervalMs;
        if (raft.isLeader) this.#start('periodic');
      }
      return;
    }
    if (round.kind === 'periodic' && !raft.isLeader) this.#round = undefined;
    else this.#proceed(round);
  }

  /** Another member asks for this one's hash. The payload is a HashKVRequest. */
  peerCall(from: MemberId, callId: number, payload: Uint8Array): void {
    const { open, peers } = this.#context;
    const { revision } = decode('etcdserverpb.HashKVRequest', payload);
    const error = open.state.applier.hashKv(
      Number(revision),
      () => open.raft.term,
      response => peers.sendReply(from, callId, 0, response),
      // The asker goes by its newest compact revision: a hash from the time before could not be compared with its own.
      true,
    );
    if (error !== undefined) peers.sendReply(from, callId, error, EMPTY_BYTES);
  }

  /** The leader's confirmation came: it led after everybody had answered. */
  confirmed(): void {
    const round = this.#round;
    if (round?.own === undefined || !round.confirming) return;
    this.#hash(round, again => this.#conclude(round, again));
  }

  /** The confirmation did not come: this round says nothing. */
  unconfirmed(): void {
    this.#round = undefined;
    this.#context.host.log('warn', 'peer corruption check could not be finished: this member may not lead any more');
  }

  /** A snapshot replaced the state: hashes under way are gone. */
  stateReplaced(): void {
    this.#round = undefined;
  }

  #start(kind: Round['kind']): void {
    const { identity, state } = this.#context.open;
    const others = state.members.list().filter(({ id }) => id !== identity.id);
    const round: Round = {
      kind,
      untilMs: this.#nowMs + patienceElections[kind] * this.#electionMs,
      own: undefined,
      confirming: false,
      answers: new Map(others.map(({ id }) => [id, undefined])),
      toAsk: new Map(),
      asked: new Set(),
    };
    this.#round = round;
    this.#hash(round, own => {
      round.own = own;
      for (const { id } of others) round.toAsk.set(id, this.#nowMs);
    });
  }

  /** This member's hash of its newest revision. */
  #hash(round: Round, done: (answer: HashAnswer) => void): void {
    const { open } = this.#context;
    open.state.applier.hashKv(
      0,
      () => open.raft.term,
      response => {
        if (this.#round === round) done(answerOf(response));
      },
    );
  }

  #proceed(round: Round): void {
    if (round.own === undefined || round.confirming) return;
    const over = this.#nowMs >= round.untilMs;
    for (const [id, atMs] of round.toAsk) {
      if (atMs > this.#nowMs || over) continue;
      round.toAsk.delete(id);
      this.#ask(round, id, round.own.revision);
    }
    if (!over && (round.toAsk.size > 0 || round.asked.size > 0)) return;
    if (round.kind === 'initial') {
      this.#conclude(round, undefined);
      return;
    }
    round.confirming = true;
    this.#context.reads.add({ requestId: ownRequest, method: Method.HashKv, payload: EMPTY_BYTES });
  }

  #ask(round: Round, id: MemberId, revision: number): void {
    round.asked.add(id);
    const settle = (answer: HashAnswer | undefined): void => {
      round.asked.delete(id);
      round.answers.set(id, answer);
    };
    const again = (): void => {
      round.asked.delete(id);
      round.toAsk.set(id, this.#nowMs + askAgainMs);
    };
    const caller = {
      answered: (payload: Uint8Array) => settle(answerOf(payload)),
      refused: (error: number) => (error === EtcdErrorCode.FutureRev ? again() : settle(undefined)),
      lost: again,
    };
    const payload = encode('etcdserverpb.HashKVRequest', { revision });
    const timeoutMs = round.kind === 'initial' ? this.#electionMs : round.untilMs - this.#nowMs;
    this.#context.calls.call(id, Method.HashKv, payload, caller, this.#nowMs, { anyone: true, timeoutMs });
  }

  #conclude(round: Round, confirmed: HashAnswer | undefined): void {
    this.#round = undefined;
    const { identity } = this.#context.open;
    const own = round.own as HashAnswer;
    const verdict = judgeHashes({ self: identity.id, own, others: round.answers, confirmed });
    if (round.kind === 'initial') this.#concludeInitial(own, verdict);
    else this.#concludePeriodic(own, verdict);
  }

  #concludePeriodic({ revision }: HashAnswer, { different, unknown, agreeing }: Verdict): void {
    const { host, open, raise } = this.#context;
    const alarms = open.state.applier.alarms();
    for (const id of different) {
      host.log('error', 'found different hash values', { 'remote-peer-id': hex(id), revision });
      if (!alarms.some(({ memberID, alarm }) => memberID === id && alarm === AlarmType.Corrupt)) raise(id);
    }
    const numbers = { revision, agreeing: agreeing.length, different: different.length, unknown: idsOf(unknown) };
    host.log(unknown.length > 0 ? 'warn' : 'info', 'finished peer corruption check', numbers);
  }

  #concludeInitial({ revision }: HashAnswer, { different, unknown }: Verdict): void {
    const { host, open } = this.#context;
    const { id, name } = open.identity;
    if (different.includes(id)) throw inconsistent(name, id, revision);
    this.#initial = 'done';
    for (const other of different)
      host.log('error', 'found different hash values', { 'remote-peer-id': hex(other), revision });
    // Two that differ, and no third to say which is right: neither may serve.
    if (different.length > 0 && this.#isOutnumbered(different.length, unknown.length)) {
      throw inconsistent(name, id, revision);
    }
    if (unknown.length === 0) host.log('info', 'initial corruption checking passed', { revision });
    else host.log('warn', 'initial corruption checking is incomplete', { revision, unknown: idsOf(unknown) });
  }

  /** Whether the members that agree with this one are no majority. */
  #isOutnumbered(different: number, unknown: number): boolean {
    const members = this.#context.open.state.members.list().length;
    return members - different - unknown <= members / 2;
  }
}

function inconsistent(name: string, id: MemberId, revision: number): StorageError {
  return new StorageError(
    StorageErrorKind.Inconsistent,
    `member ${name} (${hex(id)}) found data inconsistency with peers at revision ${revision}; remove its data and add ` +
      'it anew, or restore the cluster from a snapshot',
  );
}

function hex(id: MemberId): string {
  return id.toString(16);
}

function idsOf(ids: readonly MemberId[]): string {
  return ids.map(hex).join(',');
}
