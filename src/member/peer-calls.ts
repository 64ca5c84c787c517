/**
 * Questions from member to member (etcd: HTTP over the peer port): those that only the leader can answer, asked by the
 * member whose client wants to know, and those to anyone (`anyone`), which survive a change of leader.
 *
 *     call(leader, method, payload) --PeerCall--> leader confirms that it leads --PeerReply--> answered(payload | error)
 *
 * Both ways are lossy, as all between members: a call that was not answered in time, or whose leader is no longer the
 * leader, ends as `lost`, and its owner asks again.
 *
 * Invariant: every call ends once, as answered, refused or lost.
 */
import type { EtcdErrorCode } from '../wire/errors.js';
import { isEtcdErrorCode } from '../wire/errors.js';
import type { PeerLinks } from './peer-links.js';
import type { MemberId } from './raft/types.js';

/** Who asked. `payload` is a view that is valid during the call only. */
export interface PeerCaller {
  answered(payload: Uint8Array): void;
  refused(error: EtcdErrorCode): void;
  lost(): void;
}

interface Outstanding {
  readonly to: MemberId;
  readonly caller: PeerCaller;
  readonly untilMs: number;
  readonly ofLeader: boolean;
}

/** A call that is not for the leader as such, and may take longer than those. */
export interface AnyoneOptions {
  readonly anyone: true;
  readonly timeoutMs: number;
}

export class PeerCalls {
  readonly #peers: PeerLinks;
  readonly #timeoutMs: number;
  /** In the order they were made. */
  readonly #outstanding = new Map<number, Outstanding>();
  #nextId: number;

  /** Ids of successive incarnations differ, because an answer to the former one's question may still arrive. */
  constructor(peers: PeerLinks, incarnation: number, timeoutMs: number) {
    this.#peers = peers;
    this.#timeoutMs = timeoutMs;
    this.#nextId = (incarnation * 2 ** 20) >>> 0;
  }

  call(
    to: MemberId,
    method: number,
    payload: Uint8Array,
    caller: PeerCaller,
    nowMs: number,
    options?: AnyoneOptions,
  ): void {
    const id = this.#nextId;
    this.#nextId = (id + 1) >>> 0;
    const untilMs = nowMs + (options?.timeoutMs ?? this.#timeoutMs);
    this.#outstanding.set(id, { to, caller, untilMs, ofLeader: options === undefined });
    // One that finds no room is lost on the way like any other, and asked again when its time is up.
    this.#peers.sendCall(to, method, id, payload);
  }

  reply(from: MemberId, id: number, errorCode: number, payload: Uint8Array): void {
    const outstanding = this.#outstanding.get(id);
    if (outstanding === undefined || outstanding.to !== from) return;
    this.#outstanding.delete(id);
    if (isEtcdErrorCode(errorCode)) outstanding.caller.refused(errorCode);
    else outstanding.caller.answered(payload);
  }

  /** A new leader is known, or none: what others were asked is lost. */
  leaderChanged(leader: MemberId): void {
    this.#lose(({ to, ofLeader }) => ofLeader && to !== leader);
  }

  expire(nowMs: number): void {
    this.#lose(({ untilMs }) => nowMs >= untilMs);
  }

  #lose(isLost: (outstanding: Outstanding) => boolean): void {
    for (const [id, outstanding] of this.#outstanding) {
      if (!isLost(outstanding)) continue;
      this.#outstanding.delete(id);
      outstanding.caller.lost();
    }
  }
}
