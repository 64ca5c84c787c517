/**
 * Reads of keys share a member's time by the bytes they bring: no client waits for all that another asked for before it.
 *
 *     read --- nothing waits, and little was read in this turn ---> made at once
 *        `---- else -> the queue of its source --- in rounds, quantumBytes a source (deficit round robin,
 *                      |           ^               Shreedhar and Varghese 1995) ---> made, until the turn's bytes are spent
 *                     hold        goOn
 *                      `-> aside --'
 *
 * How much a read brings is known when it is made, so a source goes into debt and sits out rounds. Sources are numbers of
 * connections, or hashes where there are too many (stochastic fair queueing, McKenney 1990; transport/envelope.ts).
 *
 * A source that is held does not take its answers, so none are made for it: its reads wait aside, in no round, until it
 * goes on or gives them up. What may wait so is bounded.
 *
 * A turn that begins while the host has not taken what was answered before reads less, or nothing: whoever waits for a
 * small answer of this member waits behind that much in the ring, and a client that is to be held (below) must be heard
 * of before all that it asked for is made.
 *
 * Invariants: a read that was added is served once or cancelled; a source is in the round while something of it waits
 * and it is not held; `size` is what waits in the round, `#heldBytes` what all that waits aside costs.
 */
import { assert } from '../base/assert.js';
import type { Read } from './reads.js';

/** What is read in one turn. */
export const turnBytesMax = 512 * 1024;
const quantumBytes = 64 * 1024;
/** What making a read costs beside its bytes. */
const readBytes = 256;
/** What a read that waits aside costs beside its request, with what the host keeps of its call. */
const heldReadBytes = 512;
/** What all that wait aside may cost together; a source that has no more than its share is left alone. */
export const heldBytesMax = 32 * 1024 * 1024;
export const heldShareBytes = 64 * 1024;

interface Source {
  /** In the order in which they came, by request id. */
  readonly reads: Map<number, Read>;
  /** What it may still bring in this round; less than nothing: it brought more than its share. */
  leftBytes: number;
  /** What its reads cost that wait. */
  waitingBytes: number;
  isHeld: boolean;
}

export class FairReads {
  readonly #sources = new Map<number, Source>();
  /** Those with something that waits; the first is served next. */
  #round: Source[] = [];
  #size = 0;
  #turnBytes = 0;
  readonly #held = new Map<number, Source>();
  #heldBytes = 0;

  /** How many reads wait for their turn; those of held sources wait for something else. */
  get size(): number {
    return this.#size;
  }

  /** How many reads of held sources wait. */
  get heldSize(): number {
    let size = 0;
    for (const { reads } of this.#held.values()) size += reads.size;
    return size;
  }

  /** A turn begins while so many bytes of answers have not been taken. */
  begin(untakenBytes: number): void {
    this.#turnBytes = untakenBytes;
  }

  /** A read of this source may be made without waiting; say `spend` then. */
  mayServe(sourceId: number): boolean {
    return this.#size === 0 && this.#turnBytes < turnBytesMax && !this.#held.has(sourceId);
  }

  /** A read was made, and brought `bytes`. */
  spend(bytes: number): void {
    this.#turnBytes += bytes + readBytes;
  }

  /** Lets a read wait; its request id is unique among those that do. False: too much of held sources waits already. */
  add(read: Read): boolean {
    const source = this.#source(read.source ?? 0);
    if (source.isHeld && this.#heldBytes > heldBytesMax && source.waitingBytes > heldShareBytes) return false;
    if (source.reads.size === 0 && !source.isHeld) this.#round.push(source);
    source.reads.set(read.requestId, read);
    this.#count(source, read, 1);
    return true;
  }

  /** The source does not take its answers: its reads wait. */
  hold(sourceId: number): void {
    const source = this.#source(sourceId);
    if (source.isHeld) return;
    source.isHeld = true;
    source.leftBytes = Math.min(0, source.leftBytes);
    this.#held.set(sourceId, source);
    this.#heldBytes += source.waitingBytes;
    this.#size -= source.reads.size;
    this.#leaveRound(source);
  }

  /** It takes them again. */
  goOn(sourceId: number): void {
    const source = this.#held.get(sourceId);
    if (source === undefined) return;
    source.isHeld = false;
    this.#held.delete(sourceId);
    this.#heldBytes -= source.waitingBytes;
    this.#size += source.reads.size;
    if (source.reads.size > 0) this.#round.push(source);
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
        this.#count(source, read, -1);
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
    const isIts = ({ reads }: Source): boolean => reads.has(requestId);
    const source = this.#round.find(isIts) ?? [...this.#held.values()].find(isIts);
    const read = source?.reads.get(requestId);
    if (source === undefined || read === undefined) return;
    source.reads.delete(requestId);
    this.#count(source, read, -1);
    if (source.reads.size === 0) this.#leaveRound(source);
  }

  /** Hands out all that wait: the member stops. */
  takeAll(visit: (read: Read) => void): void {
    const sources = [...this.#round, ...this.#held.values()];
    this.#sources.clear();
    this.#held.clear();
    this.#round = [];
    this.#size = 0;
    this.#heldBytes = 0;
    for (const { reads } of sources) reads.forEach(visit);
  }

  #source(sourceId: number): Source {
    let source = this.#sources.get(sourceId);
    if (source === undefined) {
      source = { reads: new Map(), leftBytes: 0, waitingBytes: 0, isHeld: false };
      this.#sources.set(sourceId, source);
    }
    return source;
  }

  /** A read of the source has begun to wait, or (`by` is -1) ended it. */
  #count(source: Source, read: Read, by: 1 | -1): void {
    const bytes = by * (read.payload.length + heldReadBytes);
    source.waitingBytes += bytes;
    if (source.isHeld) this.#heldBytes += bytes;
    else this.#size += by;
  }

  #leaveRound(source: Source): void {
    const at = this.#round.indexOf(source);
    if (at !== -1) this.#round.splice(at, 1);
  }
}
