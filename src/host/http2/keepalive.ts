/**
 * Pings in both directions: ours on a silent connection, and the judgement of a client that pings too often.
 *
 *     ours:    silent for keepaliveIntervalMs -> ping -> nothing heard for keepaliveTimeoutMs -> dead
 *     theirs:  a ping sooner than pingIntervalMsMin after the last one is a strike; more than two strikes are too many
 *
 * A client that measures its bandwidth pings right after data: an answer of ours, or a part of one, clears its strikes,
 * as in gRPC's own servers.
 */
import type { Http2Limits } from './limits.js';

const strikesMax = 2;
/** A client without a call has no reason to ping more often than this (gRPC's default for "no stream, no ping"). */
const idlePingIntervalMs = 2 * 60 * 60 * 1_000;

export class Keepalive {
  /** What our pings carry. */
  static readonly data = Uint8Array.of(0x6b, 0x76, 0x6f, 0x72, 0x75, 0x6d, 0x00, 0x02);

  readonly #limits: Http2Limits;
  #silentSinceMs: number;
  #pingedMs = -1;
  #strikes = 0;
  #lastPingMs = -1;
  #answersSeen = 0;

  /** Something has arrived since the last tick. */
  heard = false;

  constructor(limits: Http2Limits, nowMs: number) {
    this.#limits = limits;
    this.#silentSinceMs = nowMs;
  }

  /** What to do on a connection that may have been silent. */
  tick(nowMs: number): 'ping' | 'dead' | undefined {
    if (this.heard) {
      this.heard = false;
      this.#silentSinceMs = nowMs;
      this.#pingedMs = -1;
      return undefined;
    }
    const { keepaliveIntervalMs, keepaliveTimeoutMs } = this.#limits;
    if (keepaliveIntervalMs === 0) return undefined;
    if (this.#pingedMs !== -1) return nowMs - this.#pingedMs >= keepaliveTimeoutMs ? 'dead' : undefined;
    if (nowMs - this.#silentSinceMs < keepaliveIntervalMs) return undefined;
    this.#pingedMs = nowMs;
    return 'ping';
  }

  /** Judges a ping of the client. `answers` counts the HEADERS and DATA frames that we have sent. */
  mayPing(nowMs: number, hasStreams: boolean, answers: number): boolean {
    if (answers !== this.#answersSeen) {
      this.#answersSeen = answers;
      this.#strikes = 0;
      this.#lastPingMs = nowMs;
      return true;
    }
    const intervalMs = hasStreams ? this.#limits.pingIntervalMsMin : idlePingIntervalMs;
    if (this.#lastPingMs !== -1 && nowMs - this.#lastPingMs < intervalMs) this.#strikes += 1;
    this.#lastPingMs = nowMs;
    return this.#strikes <= strikesMax;
  }
}
