/**
 * Renewing leases and asking for the time they have left: only the leader knows when a lease expires, and only a leader
 * that has just made sure that it still leads may say so (etcd #15247, #20615).
 *
 *     keepAlive  ─> queue ─> round (one at a time) ─┬─ this member leads: read index confirmed ─> lessor
 *     timeToLive ───────────────────────────────────┴─ another leads: PeerCall ─> the same there ─> PeerReply
 *
 * A round takes every renewal there is, so ten thousand keep-alives in a turn cost one confirmation. What is lost (the
 * leader died, no answer came) goes back to the front and is asked again. Two leases are asked about again a little
 * later: one past its time but not yet revoked (by then it is gone, or a new leader has extended it), and one with a
 * checkpoint (a renewal counts once the checkpoint is forgotten everywhere: a next leader would go by it). What its
 * stream asked after it waits with it: answers come in the order of the questions, as etcd's do.
 *
 *   a round's payload: lease ids, i64 each; its answer: the new TTL of each in seconds, i64, or one of the two below
 *
 * Invariants: every question leaves once: answered, failed or cancelled (B2); those of a stream leave in their order.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import type { Caller } from '../transport/caller.js';
import { Scalar } from '../transport/metric-cells.js';
import type { EtcdErrorCode } from '../wire/errors.js';
import { EtcdErrorCode as ErrorCode } from '../wire/errors.js';
import type { ResponseHeaderTemplate } from '../wire/header.js';
import { Method } from '../wire/methods.js';
import { ProtoWriter } from '../wire/proto.js';
import { decode } from '../wire/schema.js';
import type { Callers } from './callers.js';
import type { HostLink } from './host-link.js';
import type { OpenMember } from './open.js';
import type { PeerCalls } from './peer-calls.js';
import type { PeerLinks } from './peer-links.js';
import { ownRequest } from './publisher.js';
import { type MemberId, NO_MEMBER } from './raft/types.js';
import type { Read, Reads } from './reads.js';

/** Answers of a round that are no TTL. */
const unknownLease = 0n;
const askAgain = -1n;

/**
 * How soon a lease is asked about again that waits for its revocation, or for its checkpoint to be forgotten; and a
 * member that has just said that it does not lead, however soon it may say so once more.
 */
const askAgainMs = 100;

export interface LeaseCallsContext {
  readonly host: HostLink;
  readonly peers: PeerLinks;
  readonly calls: PeerCalls;
  readonly reads: Reads;
  readonly open: OpenMember;
  readonly header: ResponseHeaderTemplate;
  readonly callers: Callers;
  /** A renewed lease's checkpoint is void: the cluster is to forget it. */
  readonly clearCheckpoint: (leaseId: bigint) => void;
  /** Ends a keep-alive stream: with an error, or in order; `cancel` is called for it meanwhile. */
  readonly endStream: (streamId: number, error: EtcdErrorCode | undefined) => void;
}

interface Renewal {
  readonly streamId: number;
  readonly leaseId: bigint;
  readonly startedMs: number;
}

interface KeepAliveStream {
  readonly caller: Caller | undefined;
  unanswered: number;
  halfClosed: boolean;
  /** One of its leases is to be asked about again, not before this. */
  notBeforeMs: number;
}

interface TimeQuestion {
  readonly caller: Caller | undefined;
  readonly requestId: number;
  readonly payload: Uint8Array;
  readonly startedMs: number;
  asked: boolean;
}

export class LeaseCalls {
  readonly #context: LeaseCallsContext;
  readonly #streams = new Map<number, KeepAliveStream>();
  readonly #times = new Map<number, TimeQuestion>();
  #queue: Renewal[] = [];
  #round: Renewal[] | undefined;
  #nowMs = 0;
  /** A call was refused: nothing is asked before this. */
  #notBeforeMs = 0;

  constructor(context: LeaseCallsContext) {
    this.#context = context;
  }

  /** A LeaseKeepAlive stream begins. */
  open(streamId: number, caller?: Caller): void {
    this.#streams.set(streamId, { caller, unanswered: 0, halfClosed: false, notBeforeMs: 0 });
  }

  /** A LeaseKeepAliveRequest. Throws ProtoError. */
  keepAlive(streamId: number, payload: Uint8Array, nowMs: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    const { ID: leaseId } = decode('etcdserverpb.LeaseKeepAliveRequest', payload);
    stream.unanswered += 1;
    this.#queue.push({ streamId, leaseId, startedMs: nowMs });
  }

  /** The client sends no more: its stream ends when everything is answered. */
  halfClose(streamId: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    stream.halfClosed = true;
    this.#endIfDone(streamId, stream);
  }

  /** A LeaseTimeToLiveRequest. Throws ProtoError. */
  timeToLive(requestId: number, payload: Uint8Array, nowMs: number, caller?: Caller): void {
    decode('etcdserverpb.LeaseTimeToLiveRequest', payload);
    this.#times.set(requestId, { caller, requestId, payload: Buffer.from(payload), startedMs: nowMs, asked: false });
  }

  /** The client of a stream or request went away. */
  cancel(id: number): void {
    this.#times.delete(id);
    if (this.#streams.delete(id)) this.#queue = this.#queue.filter(({ streamId }) => streamId !== id);
  }

  /** Another member asks, believing that this one leads. */
  peerCall(from: MemberId, method: number, callId: number, payload: Uint8Array): void {
    const { open, peers, reads } = this.#context;
    const known = method === Method.LeaseKeepAlive || method === Method.LeaseTimeToLive;
    if (!known || !open.raft.isLeader) peers.sendReply(from, callId, ErrorCode.NotLeader, EMPTY_BYTES);
    else reads.add({ requestId: callId, method, payload: Buffer.from(payload), from });
  }

  /** Asks what is to be asked, if a leader is known. */
  offer(nowMs: number): void {
    this.#nowMs = nowMs;
    if (this.#queue.length === 0 && this.#times.size === 0) return;
    const { raft } = this.#context.open;
    if (raft.leader === NO_MEMBER || nowMs < this.#notBeforeMs) return;
    if (this.#round === undefined) this.#startRound(raft.leader, raft.isLeader);
    for (const question of this.#times.values()) {
      if (!question.asked) this.#askTime(question, raft.leader, raft.isLeader);
    }
  }

  /** A read of one of the two methods is confirmed: this member led after the question had come. */
  serve(read: Read): void {
    const { lessor } = this.#context.open.state.applier;
    if (!lessor.isPrimary) this.failed(read, ErrorCode.NotLeader);
    else if (read.method === Method.LeaseTimeToLive) this.#serveTime(read);
    else if (read.from === undefined) this.#renewOwn();
    else this.#serveRound(read, read.from);
  }

  /** A read of one of the two methods could not be confirmed. */
  failed(read: Read, error: EtcdErrorCode): void {
    if (read.from !== undefined) this.#context.peers.sendReply(read.from, read.requestId, error, EMPTY_BYTES);
    else if (read.method === Method.LeaseKeepAlive) this.#roundLost();
    else this.#timeLost(read.requestId);
  }

  /** Ends what has waited for `timeoutMs`: without a leader, or asked in vain. */
  expire(nowMs: number, timeoutMs: number): void {
    const error = this.#context.open.raft.leader === NO_MEMBER ? ErrorCode.NoLeader : ErrorCode.Timeout;
    const isLate = ({ startedMs }: { readonly startedMs: number }): boolean => nowMs - startedMs >= timeoutMs;
    for (const question of this.#times.values()) {
      if (!isLate(question)) continue;
      this.#times.delete(question.requestId);
      this.#context.host.end(question.requestId, error);
    }
    for (const { streamId } of [...this.#queue, ...(this.#round ?? [])].filter(isLate)) {
      if (this.#streams.has(streamId)) this.#context.endStream(streamId, error);
    }
  }

  /** The member stops: ends the requests; streams are ended by who keeps them. */
  failAll(visit: (requestId: number) => void): void {
    const requestIds = [...this.#times.keys()];
    this.#times.clear();
    requestIds.forEach(visit);
  }

  #startRound(leader: MemberId, leads: boolean): void {
    const isDue = ({ streamId }: Renewal): boolean => (this.#streams.get(streamId)?.notBeforeMs ?? 0) <= this.#nowMs;
    // Another leader knows nothing of this member's callers.
    const due = this.#queue.filter(isDue).filter(renewal => leads || this.#mayRenew(renewal));
    if (due.length === 0) return;
    this.#queue = this.#queue.filter(renewal => !isDue(renewal));
    this.#round = due;
    const { calls, reads } = this.#context;
    if (leads) {
      reads.add({ requestId: ownRequest, method: Method.LeaseKeepAlive, payload: EMPTY_BYTES });
      return;
    }
    const ids = new DataView(new ArrayBuffer(due.length * 8));
    due.forEach(({ leaseId }, at) => {
      ids.setBigInt64(at * 8, leaseId, true);
    });
    const caller = {
      answered: (payload: Uint8Array) => {
        const answers = viewOf(payload);
        if (payload.length !== due.length * 8) this.#roundLost();
        else this.#roundAnswered((_renewal, at) => answers.getBigInt64(at * 8, true));
      },
      refused: () => {
        this.#pause();
        this.#roundLost();
      },
      lost: () => this.#roundLost(),
    };
    calls.call(leader, Method.LeaseKeepAlive, new Uint8Array(ids.buffer), caller, this.#nowMs);
  }

  #serveRound(read: Read, from: MemberId): void {
    const asked = viewOf(read.payload);
    const answers = new DataView(new ArrayBuffer(asked.byteLength));
    for (let at = 0; at + 8 <= asked.byteLength; at += 8) {
      answers.setBigInt64(at, this.#renew(asked.getBigInt64(at, true)), true);
    }
    this.#context.peers.sendReply(from, read.requestId, 0, new Uint8Array(answers.buffer));
  }

  #renewOwn(): void {
    this.#round = (this.#round ?? []).filter(renewal => this.#mayRenew(renewal));
    this.#roundAnswered(({ leaseId }) => this.#renew(leaseId));
  }

  /** With auth on the stream of a caller without the right ends with the error. */
  #mayRenew({ streamId, leaseId }: Renewal): boolean {
    const { callers, endStream } = this.#context;
    const stream = this.#streams.get(streamId);
    if (!callers.enabled || stream === undefined) return true;
    const error = callers.refuse(stream.caller, (_auth, rights, identity) =>
      identity.authRevision === 0 ? ErrorCode.UserEmpty : rights.refuseLease(identity, leaseId),
    );
    if (error !== undefined) endStream(streamId, error);
    return error === undefined;
  }

  #renew(leaseId: bigint): bigint {
    const renewed = this.#context.open.state.applier.lessor.renew(leaseId);
    if (renewed === 'unknown') return unknownLease;
    if (renewed === 'expired') return askAgain;
    this.#context.open.cells.add(Scalar.leasesRenewed);
    if (!renewed.clearsCheckpoint) return BigInt(renewed.ttlSeconds);
    this.#context.clearCheckpoint(leaseId);
    return askAgain;
  }

  #roundAnswered(answer: (renewal: Renewal, position: number) => bigint): void {
    const round = this.#round ?? [];
    this.#round = undefined;
    const again: Renewal[] = [];
    round.forEach((renewal, position) => {
      const ttlSeconds = answer(renewal, position);
      const stream = this.#streams.get(renewal.streamId);
      if (stream === undefined) return;
      if (ttlSeconds === askAgain) stream.notBeforeMs = this.#nowMs + askAgainMs;
      if (stream.notBeforeMs > this.#nowMs) {
        again.push(renewal);
        return;
      }
      stream.unanswered -= 1;
      this.#context.host.message(renewal.streamId, this.#keepAliveResponse(renewal.leaseId, ttlSeconds));
      this.#endIfDone(renewal.streamId, stream);
    });
    this.#queue = [...again, ...this.#queue];
  }

  #roundLost(): void {
    const round = this.#round ?? [];
    this.#round = undefined;
    this.#queue = [...round.filter(({ streamId }) => this.#streams.has(streamId)), ...this.#queue];
  }

  #pause(): void {
    this.#notBeforeMs = this.#nowMs + askAgainMs;
  }

  #askTime(question: TimeQuestion, leader: MemberId, leads: boolean): void {
    question.asked = true;
    const { requestId, payload } = question;
    if (leads) {
      this.#context.reads.add({ requestId, method: Method.LeaseTimeToLive, payload });
      return;
    }
    const lost = (): void => this.#timeLost(requestId);
    const answered = (answer: Uint8Array): void => this.#timeAnswered(requestId, answer);
    const refused = (): void => {
      this.#pause();
      this.#timeLost(requestId);
    };
    this.#context.calls.call(leader, Method.LeaseTimeToLive, payload, { answered, refused, lost }, this.#nowMs);
  }

  #serveTime(read: Read): void {
    const body = this.#timeToLiveBody(read.payload);
    if (read.from === undefined) this.#timeAnswered(read.requestId, body);
    else this.#context.peers.sendReply(read.from, read.requestId, 0, body);
  }

  #timeAnswered(requestId: number, body: Uint8Array): void {
    const question = this.#times.get(requestId);
    if (question === undefined) return;
    this.#times.delete(requestId);
    const error = this.#refuseKeys(question, body);
    if (error !== undefined) {
      this.#context.host.end(requestId, error);
      return;
    }
    // Fields in any order make one message: the header of this member, then what the leader knows.
    const writer = this.#startResponse();
    writer.raw(body);
    this.#context.host.reply(requestId, writer.finish());
  }

  /** Why the caller may not be told the keys in an answer; they are looked at as they are told, not as they are here. */
  #refuseKeys({ caller }: TimeQuestion, body: Uint8Array): EtcdErrorCode | undefined {
    if (!this.#context.callers.enabled) return undefined;
    const { keys } = decode('etcdserverpb.LeaseTimeToLiveResponse', body);
    return this.#context.callers.refuse(caller, (_auth, rights, identity) => rights.refuseKeys(identity, keys));
  }

  #timeLost(requestId: number): void {
    const question = this.#times.get(requestId);
    if (question !== undefined) question.asked = false;
  }

  /** A LeaseTimeToLiveResponse without its header. */
  #timeToLiveBody(payload: Uint8Array): Uint8Array {
    const { ID: leaseId, keys } = decode('etcdserverpb.LeaseTimeToLiveRequest', payload);
    const { lessor, mvcc } = this.#context.open.state.applier;
    const lease = lessor.timeToLive(leaseId);
    const writer = bodies.reset();
    writer.bigint64Field(2, leaseId);
    writer.int64Field(3, lease?.remainingSeconds ?? -1);
    writer.int64Field(4, lease?.grantedSeconds ?? 0);
    if (keys) for (const slot of lease?.slots ?? []) writer.bytesField(5, mvcc.index.table.key(slot));
    return writer.finish();
  }

  #keepAliveResponse(leaseId: bigint, ttlSeconds: bigint): Uint8Array {
    const writer = this.#startResponse();
    writer.bigint64Field(2, leaseId);
    writer.bigint64Field(3, ttlSeconds);
    return writer.finish();
  }

  #startResponse(): ProtoWriter {
    const { header, open } = this.#context;
    header.write(responses.reset(), open.state.applier.currentRevision, open.raft.term);
    return responses;
  }

  #endIfDone(streamId: number, stream: KeepAliveStream): void {
    if (stream.halfClosed && stream.unanswered === 0) this.#context.endStream(streamId, undefined);
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

const responses = new ProtoWriter();
const bodies = new ProtoWriter();
