/**
 * The sources (envelope.ts) of one endpoint's HTTP/2 connections: each has one of its own while there are any.
 *
 *     connection opens ---> take ---> its reads carry the source ---> closes ---> give, last of the free ones
 *     does not take its answers ---> hold(source, true) ---> takes them again, or closes ---> hold(source, false)
 *
 * Connections that find none free share hashes and are never held, because nobody else may feel a hold: they have the
 * other limits of HTTP/2. Likewise HTTP/1 and websockets, which have bounds of their own.
 *
 * Invariants: no two open connections have the same source; a source that is free is not held.
 */
import { SOURCES_HASHED, SOURCES_MAX } from '../transport/envelope.js';
import type { ConnectionSources } from './grpc/server.js';

export class Sources implements ConnectionSources {
  /** The one that has been free for longest comes first. */
  readonly #free = Array.from({ length: SOURCES_MAX - SOURCES_HASHED }, (_, at) => SOURCES_HASHED + at);
  readonly #held = new Set<number>();
  readonly #hold: (source: number, isHeld: boolean) => void;

  /** `hold`: tells who answers that a source is held, or no longer. */
  constructor(hold: (source: number, isHeld: boolean) => void) {
    this.#hold = hold;
  }

  take(): number | undefined {
    return this.#free.shift();
  }

  give(source: number): void {
    this.crowded(source, false);
    this.#free.push(source);
  }

  crowded(source: number, isCrowded: boolean): void {
    if (this.#held.has(source) === isCrowded) return;
    if (isCrowded) this.#held.add(source);
    else this.#held.delete(source);
    this.#hold(source, isCrowded);
  }
}
