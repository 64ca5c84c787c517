/**
 * Ranges, and transactions that only read.
 *
 *     serializable ------------------------------> may it be made now ---> made, and answered
 *     linearizable ---> is this member current ---'       `---> in its turn (fair-reads.ts), and not before its client
 *                                                               takes the answers that it has
 *
 * A read sees the state as it is when it is made: a linearizable one may see more than was committed when it came.
 */
import type { Caller } from '../transport/caller.js';
import { Histogram } from '../transport/metric-cells.js';
import { EtcdErrorCode } from '../wire/errors.js';
import { decodeRangeRequest, type RangeRequest } from '../wire/kv.js';
import { Method } from '../wire/methods.js';
import { decodeTxnRequest, type TxnRequest } from '../wire/txn.js';
import type { Reply } from './apply/reply.js';
import type { Callers } from './callers.js';
import { FairReads, turnBytesMax } from './fair-reads.js';
import type { HostLink } from './host-link.js';
import type { OpenMember } from './open.js';
import type { Read, Reads } from './reads.js';

/** What these reads need of their member. */
export interface KeyReadContext {
  readonly host: HostLink;
  readonly open: OpenMember;
  readonly callers: Callers;
  readonly reads: Reads;
}

/** Who asks, and under which number. */
export interface ReadOrigin {
  readonly requestId: number;
  readonly caller: Caller | undefined;
  /** Of transport/envelope.ts. */
  readonly source: number;
}

export class KeyReads {
  readonly #context: KeyReadContext;
  readonly #fair = new FairReads();

  constructor(context: KeyReadContext) {
    this.#context = context;
  }

  /** A turn begins. */
  begin(): void {
    this.#fair.begin(this.#context.host.untakenBytes);
  }

  /** A range whose request was checked; `payload` is its bytes, valid during the call only. */
  range(request: RangeRequest, payload: Uint8Array, origin: ReadOrigin): void {
    if (!request.serializable || !this.#fair.mayServe(origin.source))
      this.#wait(Method.KvRange, payload, origin, request.serializable);
    else this.#fair.spend(this.#answerRange(origin.requestId, request, origin.caller));
  }

  /** A transaction without writes, likewise. */
  txn(request: TxnRequest, serializable: boolean, payload: Uint8Array, origin: ReadOrigin): void {
    if (!serializable || !this.#fair.mayServe(origin.source)) this.#wait(Method.KvTxn, payload, origin, serializable);
    else this.#fair.spend(this.#answerTxn(origin.requestId, request, origin.caller));
  }

  /** A confirmed read: everything that was committed when it arrived is applied here. */
  serve(read: Read): void {
    if (this.#fair.mayServe(read.source ?? 0)) this.#fair.spend(this.#make(read));
    else this.#add(read);
  }

  /** Makes the reads whose turn it is. */
  turn(): void {
    this.#fair.serve(this.#make);
  }

  /** More wait, and no bell will ring for them: the next turn may make some. Ask after the last flush of a turn. */
  more(): boolean {
    if (this.#fair.size === 0) return false;
    const { host } = this.#context;
    if (host.untakenBytes < turnBytesMax) return true;
    host.ringWhenTaken();
    return host.untakenBytes < turnBytesMax;
  }

  /** How many wait for their client. */
  get held(): number {
    return this.#fair.heldSize;
  }

  /** A source's client does not take its answers: its reads wait until it goes on. */
  hold(sourceId: number): void {
    this.#fair.hold(sourceId);
  }

  goOn(sourceId: number): void {
    this.#fair.goOn(sourceId);
  }

  cancel(requestId: number): void {
    this.#fair.cancel(requestId);
  }

  /** The member stops. */
  failAll(visit: (requestId: number) => void): void {
    this.#fair.takeAll(read => visit(read.requestId));
  }

  #wait(method: number, payload: Uint8Array, origin: ReadOrigin, serializable: boolean): void {
    // Field by field: a spread costs a tenth of the thread at 100,000 reads a second.
    const { requestId, caller, source } = origin;
    const read: Read = { requestId, method, payload: Buffer.from(payload), caller, source };
    if (serializable) this.#add(read);
    else this.#context.reads.add(read);
  }

  #add(read: Read): void {
    if (!this.#fair.add(read)) this.#context.host.end(read.requestId, EtcdErrorCode.RequestTooManyRequests);
  }

  readonly #make = (read: Read): number => {
    const { method, requestId, payload, caller } = read;
    if (method === Method.KvRange) return this.#answerRange(requestId, decodeRangeRequest(payload), caller);
    return this.#answerTxn(requestId, decodeTxnRequest(payload), caller);
  };

  /** Nothing comes between the decision and the read: a turn is one piece. Returns the bytes of the answer. */
  #answerRange(requestId: number, request: RangeRequest, caller: Caller | undefined): number {
    const { callers, open } = this.#context;
    const beganMs = performance.now();
    const error = callers.enabled
      ? callers.refuse(caller, (auth, _rights, identity) => auth.refuseRead(identity, request.key, request.rangeEnd))
      : undefined;
    const reply = error === undefined ? open.state.applier.range(request, open.raft.term) : { error };
    const place = 'error' in reply ? Histogram.rangeFailed : Histogram.rangeOk;
    open.cells.observe(place, (performance.now() - beganMs) / 1_000);
    return this.#answer(requestId, reply);
  }

  #answerTxn(requestId: number, request: TxnRequest, caller: Caller | undefined): number {
    const { callers, open } = this.#context;
    const error = callers.enabled
      ? callers.refuse(caller, (_auth, rights, identity) => rights.refuseTxn(identity, request))
      : undefined;
    return this.#answer(
      requestId,
      error === undefined ? open.state.applier.readTxn(request, open.raft.term) : { error },
    );
  }

  #answer(requestId: number, reply: Reply): number {
    const { host } = this.#context;
    if ('ok' in reply) {
      host.reply(requestId, reply.ok);
      return reply.ok.length;
    }
    if ('error' in reply) host.end(requestId, reply.error, reply.detail);
    return 0;
  }
}
