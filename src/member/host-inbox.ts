/**
 * What the host sends, record by record: to the streams, to the requests, or to those who wait.
 *
 *     record ─┬─ follows a call whose token is newer than this member ─> waits with it (late-callers.ts)
 *             ├─ Open ─> who calls ─> may it be answered here ─> Streams | Requests
 *             └─ all others ─> by the id of the call they are about
 */
import { type Caller, callerBytes, decodeCaller, SERVER_CALLER } from '../transport/caller.js';
import {
  ControlNotice,
  EnvelopeKind,
  FLAG_CALLER,
  FLAG_END,
  FLAG_OF_SERVER,
  FLAG_REQUIRE_LEADER,
  methodOf,
  sourceOf,
} from '../transport/envelope.js';
import { EtcdErrorCode } from '../wire/errors.js';
import type { Callers } from './callers.js';
import type { HostLink } from './host-link.js';
import { LateCallers } from './late-callers.js';
import type { OpenMember } from './open.js';
import type { Proposals } from './proposals.js';
import { NO_MEMBER } from './raft/types.js';
import type { Reads } from './reads.js';
import { type Requests, servedByLearner } from './requests.js';
import type { Streams } from './streams.js';

export interface HostInboxContext {
  readonly host: HostLink;
  readonly open: OpenMember;
  readonly callers: Callers;
  readonly proposals: Proposals;
  readonly reads: Reads;
  readonly requests: Requests;
  readonly streams: Streams;
  readonly isLearner: () => boolean;
  /** The thread of the member at a position has ended. */
  readonly peerGone: (position: number) => void;
}

export class HostInbox {
  readonly #context: HostInboxContext;
  readonly #late = new LateCallers();
  #nowMs = 0;

  constructor(context: HostInboxContext) {
    this.#context = context;
  }

  /** Takes what a turn may take; true: there may be more. */
  drain(nowMs: number): boolean {
    this.#nowMs = nowMs;
    return this.#context.host.drain(this.#onRecord);
  }

  /** Entries were applied: calls that waited for a login may go on, as may those that waited for `timeoutMs`. */
  applied(timeoutMs: number): void {
    if (this.#late.size === 0) return;
    const { appliedIndex } = this.#context.open.state.store;
    this.#late.release(appliedIndex, this.#nowMs, timeoutMs, (kind, aux, id, payload, flags) =>
      this.#take(kind, aux, id, payload, flags, false),
    );
  }

  /** The member stops. */
  failAll(visit: (id: number) => void): void {
    this.#late.failAll(visit);
  }

  readonly #onRecord = (kind: number, aux: number, id: number, payload: Uint8Array, flags: number): void => {
    if (this.#late.size > 0 && this.#late.keeps(kind, aux, id, payload, flags)) return;
    this.#take(kind, aux, id, payload, flags, true);
  };

  /** `mayWait`: for the login of its caller; once. */
  #take(kind: number, aux: number, id: number, payload: Uint8Array, flags: number, mayWait: boolean): void {
    const { streams } = this.#context;
    if (kind === EnvelopeKind.Open) this.#identify(aux, id, payload, flags, mayWait);
    else if (kind === EnvelopeKind.Message) streams.message(id, payload, this.#nowMs);
    else if (kind === EnvelopeKind.Credit) streams.credit(id, payload);
    else if (kind === EnvelopeKind.HalfClose) streams.halfClose(id);
    else if (kind === EnvelopeKind.Cancel) this.#cancel(id);
    else if (kind === EnvelopeKind.Control) this.#notice(aux, id);
  }

  #notice(aux: number, id: number): void {
    const { peerGone, requests } = this.#context;
    if (aux === ControlNotice.PeerGone) peerGone(id);
    else if (aux === ControlNotice.Hold) requests.keyReads.hold(id);
    else if (aux === ControlNotice.GoOn) requests.keyReads.goOn(id);
  }

  #identify(aux: number, id: number, payload: Uint8Array, flags: number, mayWait: boolean): void {
    if ((flags & FLAG_OF_SERVER) !== 0) {
      this.#open(aux, id, payload, flags, SERVER_CALLER);
    } else if ((flags & FLAG_CALLER) === 0) {
      this.#open(aux, id, payload, flags, undefined);
    } else {
      const caller = decodeCaller(payload);
      const { callers, open } = this.#context;
      if (mayWait && callers.enabled && this.#late.mustWait(caller, open.state.store.appliedIndex)) {
        this.#late.hold(id, caller, aux, payload, flags, this.#nowMs);
      } else {
        this.#open(aux, id, payload.subarray(callerBytes(payload)), flags, caller);
      }
    }
  }

  #open(aux: number, id: number, payload: Uint8Array, flags: number, caller: Caller | undefined): void {
    const method = methodOf(aux);
    const { host, open, requests, streams } = this.#context;
    const requiresLeader = (flags & FLAG_REQUIRE_LEADER) !== 0;
    const unary = (flags & FLAG_END) !== 0;
    const ofServer = caller === SERVER_CALLER;
    if (!ofServer && this.#context.isLearner() && !servedByLearner(method, unary ? payload : undefined)) {
      host.end(id, EtcdErrorCode.NotSupportedForLearner);
    } else if (requiresLeader && open.raft.leader === NO_MEMBER) host.end(id, EtcdErrorCode.NoLeader);
    else if (!unary) streams.open(method, id, requiresLeader, caller);
    else requests.open(method, { requestId: id, caller, source: sourceOf(aux) }, payload, this.#nowMs);
  }

  #cancel(id: number): void {
    const { proposals, reads, requests, streams } = this.#context;
    proposals.cancel(id);
    reads.cancel(id);
    requests.cancel(id);
    streams.cancel(id);
  }
}
