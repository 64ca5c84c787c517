/**
 * The open streams of a member's clients: which there are, who answers them, and their end when the leader is gone.
 *
 *     Watch           ─> WatchHub      half-close means nothing: the client may still be listening
 *     LeaseKeepAlive  ─> LeaseCalls    half-close ends the stream once everything is answered
 *     Snapshot        ─> SnapshotStreams   the state for the host's encoder; the request says nothing
 *
 * A stream opened with `hasleader` ends with "no leader" when three checks in a row, an election timeout apart, find
 * none (etcd: monitorLeader, W14).
 *
 * Invariant (B2): a stream ends once: by an error here, by whoever answers it, or by its client.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import type { Caller } from '../transport/caller.js';
import type { EtcdErrorCode } from '../wire/errors.js';
import { EtcdErrorCode as ErrorCode } from '../wire/errors.js';
import { Method } from '../wire/methods.js';
import { ProtoError } from '../wire/proto.js';
import { type Callers, statusText } from './callers.js';
import type { HostLink } from './host-link.js';
import type { LeaseCalls } from './lease-calls.js';
import type { OpenMember } from './open.js';
import { rare } from './rare.js';
import type { SnapshotStreams } from './snapshot-streams.js';
import type { WatchHub } from './watch/watch-hub.js';

/** Checks without a leader that end a stream which asked for one. */
const leaderlessChecksMax = 3;

interface OpenStream {
  readonly method: number;
  readonly requiresLeader: boolean;
  /** Who opened it; it stays this one's, whatever happens to the connection. */
  readonly caller: Caller | undefined;
  /** The user it was when its last watcher was created; undefined before, and for who needed to be none. */
  userName: string | undefined;
}

export class Streams {
  readonly #host: HostLink;
  readonly #watches: WatchHub;
  readonly #leases: LeaseCalls;
  readonly #member: OpenMember;
  #snapshots: SnapshotStreams | undefined;
  readonly #callers: Callers;
  readonly #checkEveryMs: number;
  readonly #open = new Map<number, OpenStream>();
  #checkedMs = 0;
  #leaderlessChecks = 0;

  constructor(host: HostLink, watches: WatchHub, leases: LeaseCalls, callers: Callers, open: OpenMember) {
    this.#host = host;
    this.#callers = callers;
    this.#watches = watches;
    this.#leases = leases;
    this.#member = open;
    this.#checkEveryMs = open.boot.settings.electionTimeoutMs;
  }

  /** A bounded piece of the snapshots that are being sent. Returns whether there is more to do at once. */
  pump(): boolean {
    return this.#snapshots?.pump() ?? false;
  }

  /** The state is about to be closed or replaced: nothing may read the former one any more. */
  stateLeaves(): void {
    this.#snapshots?.abandon();
  }

  open(method: number, streamId: number, requiresLeader: boolean, caller: Caller | undefined): void {
    const refusal = this.#callers.refuseCall(method, EMPTY_BYTES, caller);
    if (refusal !== undefined) {
      this.#host.end(streamId, refusal);
      return;
    }
    if (method === Method.Watch) this.#watches.open(streamId);
    else if (method === Method.LeaseKeepAlive) this.#leases.open(streamId, caller);
    else if (method === Method.Snapshot) this.#openSnapshot(streamId);
    else {
      this.#host.end(streamId, ErrorCode.UnknownMethod);
      return;
    }
    this.#open.set(streamId, { method, requiresLeader, caller, userName: undefined });
  }

  /** One more message of the client; `payload` is a view that is valid during the call only. */
  message(streamId: number, payload: Uint8Array, nowMs: number): void {
    const stream = this.#open.get(streamId);
    if (stream === undefined || stream.method === Method.Snapshot) return;
    try {
      if (stream.method === Method.Watch) this.#watches.request(streamId, Buffer.from(payload), nowMs);
      else this.#leases.keepAlive(streamId, payload, nowMs);
    } catch (error) {
      if (!(error instanceof ProtoError)) throw error;
      this.end(streamId, ErrorCode.Undecodable, error.message);
    }
  }

  halfClose(streamId: number): void {
    if (this.#open.get(streamId)?.method === Method.LeaseKeepAlive) this.#leases.halfClose(streamId);
  }

  credit(streamId: number, payload: Uint8Array): void {
    const bytes = new DataView(payload.buffer, payload.byteOffset, payload.length).getUint32(0, true);
    const method = this.#open.get(streamId)?.method;
    if (method === Method.Watch) this.#watches.credit(streamId, bytes);
    else if (method === Method.Snapshot) this.#snapshots?.credit(streamId, bytes);
  }

  /** The client went away. */
  cancel(streamId: number): void {
    if (this.#open.delete(streamId)) this.#forget(streamId);
  }

  /** Each tick. Ends the streams that want a leader when there has been none for too long. */
  checkLeader(nowMs: number, hasLeader: boolean): void {
    if (hasLeader) this.#leaderlessChecks = 0;
    if (nowMs - this.#checkedMs < this.#checkEveryMs) return;
    this.#checkedMs = nowMs;
    if (hasLeader) return;
    this.#leaderlessChecks += 1;
    if (this.#leaderlessChecks < leaderlessChecksMax) return;
    this.#leaderlessChecks = 0;
    for (const [streamId, { requiresLeader }] of this.#open) {
      if (requiresLeader) this.end(streamId, ErrorCode.NoLeader);
    }
  }

  /** The member stops. */
  failAll(visit: (streamId: number) => void): void {
    const streamIds = [...this.#open.keys()];
    this.#open.clear();
    streamIds.forEach(visit);
  }

  /** Ends a stream with an error, or in order. */
  end(streamId: number, error: EtcdErrorCode | undefined, detail = ''): void {
    if (!this.#open.delete(streamId)) return;
    this.#forget(streamId);
    if (error === undefined) this.#host.endStream(streamId);
    else this.#host.end(streamId, error, detail);
  }

  /** Why the stream's client may not create a watcher on a range, as the cancel_reason of the answer. */
  refuseWatch(streamId: number, key: Uint8Array, rangeEnd: Uint8Array): string | undefined {
    if (!this.#callers.enabled) return undefined;
    const stream = this.#open.get(streamId);
    const error = this.#callers.refuse(stream?.caller, (auth, _rights, identity) => {
      if (stream !== undefined && identity.username !== '') stream.userName = identity.username;
      return auth.refuseRead(identity, key, rangeEnd);
    });
    return error === undefined ? undefined : statusText(error);
  }

  /**
   * The same for a watcher that there is, after users or roles have changed. The stream is whose it was: a token that
   * has expired since is no reason. Whoever came while auth was off is asked now.
   */
  refuseWatcher(streamId: number, key: Uint8Array, rangeEnd: Uint8Array): string | undefined {
    const stream = this.#open.get(streamId);
    if (stream?.userName === undefined) return this.refuseWatch(streamId, key, rangeEnd);
    const { userName } = stream;
    const error = this.#callers.refuse(stream.caller, auth => auth.refuseReader(userName, key, rangeEnd));
    return error === undefined ? undefined : statusText(error);
  }

  #openSnapshot(streamId: number): void {
    const ended = (id: number, error: EtcdErrorCode | undefined) => this.end(id, error);
    this.#snapshots ??= new (rare.snapshotStreams().SnapshotStreams)(this.#host, this.#member, ended);
    this.#snapshots.open(streamId);
  }

  #forget(streamId: number): void {
    this.#watches.close(streamId);
    this.#leases.cancel(streamId);
    this.#snapshots?.close(streamId);
  }
}
