/**
 * etcd's gate CompactHashCheck: the leader compares the hashes that compactions took on the way, which cost nothing more.
 *
 *     own hashes not checked yet, newest first ─> every other member's of the same compaction (PeerCall)
 *         all have it and agree  ─> checked, up to this revision           ─┐
 *         some differ            ─> CORRUPT for whoever is not of the majority, for member 0 without one  ─┴> done
 *         some could not say     ─> the next older one
 *
 * A member forgets its hashes when it restarts and may still be compacting: who cannot say is never taken for healthy, but
 * is no reason for an alarm either. Invariant: one round at a time; one that was given up changes nothing.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import { EtcdErrorCode } from '../wire/errors.js';
import { Method } from '../wire/methods.js';
import { decode, encode } from '../wire/schema.js';
import { AlarmType } from './apply/alarms.js';
import { answerOf, type HashAnswer, isDecided, judgeHashes } from './hash-verdict.js';
import type { HostLink } from './host-link.js';
import type { OpenMember } from './open.js';
import type { PeerCalls } from './peer-calls.js';
import type { PeerLinks } from './peer-links.js';
import type { MemberId } from './raft/types.js';

export interface CompactHashCheckContext {
  readonly host: HostLink;
  readonly open: OpenMember;
  readonly peers: PeerLinks;
  readonly calls: PeerCalls;
  readonly requestTimeoutMs: number;
  /** Proposes the CORRUPT alarm for a member. */
  readonly raise: (memberId: MemberId) => void;
}

/** Whom an alarm is for when nobody knows who is right, as in etcd. */
const wholeCluster = 0n;

interface Round {
  /** Newest first; the first is being compared. */
  hashes: readonly HashAnswer[];
  checked: number;
  readonly answers: Map<MemberId, HashAnswer | undefined>;
  waiting: number;
}

export class CompactHashCheck {
  readonly #context: CompactHashCheckContext;
  readonly #intervalMs: number;
  #dueMs: number | undefined;
  #round: Round | undefined;
  /** The newest revision at which all members agreed. */
  #checkedRevision = 0;
  #nowMs = 0;

  constructor(context: CompactHashCheckContext) {
    this.#context = context;
    this.#intervalMs = context.open.boot.settings.compactHashCheckIntervalMs;
  }

  turn(nowMs: number): void {
    if (this.#intervalMs === 0) return;
    this.#nowMs = nowMs;
    this.#dueMs ??= nowMs + this.#intervalMs;
    const { isLeader } = this.#context.open.raft;
    if (!isLeader) this.#round = undefined;
    if (nowMs < this.#dueMs) return;
    this.#dueMs = nowMs + this.#intervalMs;
    if (isLeader && this.#round === undefined) this.#start();
  }

  /** Another member asks what this one's compaction at a revision hashed. The payload is a HashKVRequest. */
  peerCall(from: MemberId, callId: number, payload: Uint8Array): void {
    const { open, peers } = this.#context;
    const revision = Number(decode('etcdserverpb.HashKVRequest', payload).revision);
    const { applier } = open.state;
    const hash = applier.compactionHashes().find(other => other.revision === revision);
    if (hash === undefined) peers.sendReply(from, callId, EtcdErrorCode.Compacted, EMPTY_BYTES);
    else peers.sendReply(from, callId, 0, applier.hashKvReply(hash, open.raft.term));
  }

  /** A snapshot replaced the state. */
  stateReplaced(): void {
    this.#round = undefined;
  }

  #start(): void {
    const { applier } = this.#context.open.state;
    const { currentRevision } = applier.mvcc;
    const hashes = applier.compactionHashes().filter(({ revision }) => revision > this.#checkedRevision);
    const newestFirst = hashes.map(hash => ({ ...hash, currentRevision })).reverse();
    const round: Round = { hashes: newestFirst, checked: 0, answers: new Map(), waiting: 0 };
    this.#round = round;
    this.#compareNext(round);
  }

  #compareNext(round: Round): void {
    const { open, calls, requestTimeoutMs: timeoutMs } = this.#context;
    const others = open.state.members.list().filter(({ id }) => id !== open.identity.id);
    const [hash] = round.hashes;
    if (hash === undefined || others.length === 0) return this.#finish(round);
    round.checked += 1;
    round.waiting = others.length;
    const payload = encode('etcdserverpb.HashKVRequest', { revision: hash.revision });
    for (const { id } of others) {
      const settle = (answer: HashAnswer | undefined): void => {
        round.answers.set(id, answer);
        round.waiting -= 1;
        if (round.waiting === 0 && this.#round === round) this.#judge(round, hash);
      };
      const caller = {
        answered: (response: Uint8Array) => settle(answerOf(response)),
        refused: () => settle(undefined),
        lost: () => settle(undefined),
      };
      calls.call(id, Method.KvCompact, payload, caller, this.#nowMs, { anyone: true, timeoutMs });
    }
  }

  #judge(round: Round, own: HashAnswer): void {
    const { host, open } = this.#context;
    const self = open.identity.id;
    const others = new Map(round.answers);
    round.answers.clear();
    const verdict = judgeHashes({ self, own, others, confirmed: undefined });
    const { different, unknown, agreeing } = verdict;
    const { revision, compactRevision } = own;
    if (different.length > 0) {
      const isKnown = isDecided(verdict, self, others.size + 1);
      const fields = { revision, 'compact-revision': compactRevision, 'quorum-exist': isKnown };
      for (const id of different) {
        host.log('error', 'Detected compaction hash mismatch', { ...fields, 'peer-ids': id.toString(16) });
      }
      for (const id of isKnown ? different : [wholeCluster]) this.#raise(id);
      return this.#finish(round);
    }
    if (unknown.length === 0) {
      this.#checkedRevision = Math.max(this.#checkedRevision, revision);
      const numbers = { 'number-of-peers-checked': agreeing.length, revision, compactRevision };
      host.log('info', 'successfully checked hash on whole cluster', numbers);
      return this.#finish(round);
    }
    host.log('warn', 'skipped revision in compaction hash check; was not able to check all peers', {
      ...{ 'number-of-peers-checked': agreeing.length, 'number-of-peers': others.size, revision, compactRevision },
    });
    round.hashes = round.hashes.slice(1);
    this.#compareNext(round);
  }

  #raise(id: MemberId): void {
    const alarms = this.#context.open.state.applier.alarms();
    if (!alarms.some(({ memberID, alarm }) => memberID === id && alarm === AlarmType.Corrupt)) this.#context.raise(id);
  }

  #finish({ checked }: Round): void {
    this.#round = undefined;
    if (checked === 0) return;
    this.#context.host.log('info', 'finished compaction hash check', { 'number-of-hashes-checked': checked });
  }
}
