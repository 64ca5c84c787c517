/**
 * Reads of keys share a member's time by the bytes they bring: no client waits for all that another asked for before it.
 *
 *     read --- nothing waits, and little was read in this turn ---> made at once
 *        `---- else -> the queue of its source --- in rounds, quantumBytes a source (deficit round robin,
 *                                                  Shreedhar and Varghese 1995) ---> made, until the turn's bytes are spent
 *
 * How much a read brings is known when it is made, so a source goes into debt and sits out rounds. Sources are hashes of
 * clients (stochastic fair queueing, McKenney 1990): one byte, and the member knows no connections.
 *
 * A turn that begins while answers still wait for room in the ring reads less, or nothing: the ring's consumer rings
 * when there is room again.
 *
 * Invariants: a read that was added is served once or cancelled; a source is in the round while something of it waits.
 */
import { assert } from '../base/assert.js';
import type { Read } from './reads.js';

/** What is read in one turn. */
export const turnBytesMax = 512 * 1024;
const quantumBytes = 64 * 1024;
/** What making a read costs beside its bytes. */
const readBytes = 256;

interface Source {
  /** In the order in which they came, by request id. */
  readonly reads: Map<number, Read>;
  /** What it may still bring in this round; less than nothing: it brought more than its share. */
  leftBytes: number;
}

export class FairReads {
  readonly #sources = new Map<number, Source>();
  /** Those with something that waits; the first is served next. */
  #round: Source[] = [];
  #size = 0;
  #turnBytes = 0;

  /** How many reads wait. */
  get size(): number {
    return this.#size;
  }

  /** A turn begins while so many bytes of answers wait for room. */
  begin(backlogBytes: number): void {
    this.#turnBytes = backlogBytes;
  }

  /** A read may be made without waiting; say `spend` then. */
  get mayServe(): boolean {
    return this.#size === 0 && this.#turnBytes < turnBytesMax;
  }

  /** A read was made, and brought `bytes`. */
  spend(bytes: number): void {
    this.#turnBytes += bytes + readBytes;
  }

  /** Lets a read wait; its request id is unique among those that do. */
  add(read: Read): void {
    const sourceId = read.source ?? 0;
    let source = this.#sources.get(sourceId);
    if (source === undefined) {
      source = { reads: new Map(), leftBytes: 0 };
      this.#sources.set(sourceId, source);
    }
    if (source.reads.size === 0) this.#round.push(source);
    source.reads.set(read.requestId, read);
    this.#size += 1;
  }

  /** Makes reads until the turn's bytes are spent; `make` returns how many a read brought. */
  serve(make: (read: Read) => number): void {
    while (this.#size > 0 && this.#turnBytes < turnBytesMax) {
      const source = this.#round.shift();
      assert(source !== undefined, 'reads: what waits has a place in the round');
      source.leftBytes += quantumBytes;
      for (const [requestId, read] of source.reads) {
        if (source.leftBytes <= 0 || this.#turnBytes >= turnBytesMax) break;
        source.reads.delete(requestId);
        this.#size -= 1;
        const bytes = make(read);
        this.spend(bytes);
        source.leftBytes -= bytes + readBytes;
      }
      if (source.reads.size > 0) this.#round.push(source);
      else source.leftBytes = Math.min(0, source.leftBytes);
    }
  }

  /** The client gave a read up, if it is one of these. */
  cancel(requestId: number): void {
    for (const source of this.#round) {
      if (!source.reads.delete(requestId)) continue;
      this.#size -= 1;
      if (source.reads.size === 0) this.#round = this.#round.filter(other => other !== source);
      return;
    }
  }

  /** Hands out all that wait: the member stops. */
  takeAll(visit: (read: Read) => void): void {
    const reads = this.#round.flatMap(source => [...source.reads.values()]);
    this.#sources.clear();
    this.#round = [];
    this.#size = 0;
    reads.forEach(visit);
  }
}
