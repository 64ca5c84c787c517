/**
 * Faults of one link, for tests and for people who want to see a partition: switches in shared memory that anyone may
 * set, and the queue in which the receiving end holds messages that are late.
 *
 * Cells, from CELL_FAULTS on:  +0 any switch set?   +1 cut   +2 drop, permille   +3, +4 delay, least and most ms
 *                              +5 duplicate, permille   +6 reorder, permille
 *
 * The receiver reads the first cell once per drain; nothing else happens while it is 0 and no message is held.
 * Faults act on whole messages of every kind, also on those sent losslessly: they model a network.
 * Invariant of the queue: ascending by due time, equal times in order of arrival; bounded in messages and bytes, and
 * what exceeds the bound is dropped, as a network would.
 */
import { assert } from '../base/assert.js';
import type { Prng } from '../base/prng.js';
import { CELL_FAULTS, CONTROL_BYTES, type LinkBuffers } from './layout.js';

const CELL_ANY = CELL_FAULTS;
const CELL_CUT = CELL_FAULTS + 1;
const CELL_DROP = CELL_FAULTS + 2;
const CELL_DELAY_MIN = CELL_FAULTS + 3;
const CELL_DELAY_MAX = CELL_FAULTS + 4;
const CELL_DUPLICATE = CELL_FAULTS + 5;
const CELL_REORDER = CELL_FAULTS + 6;

/** A reordered message and the second copy of a duplicated one arrive up to this much later than they would have. */
const REORDER_MS_MAX = 20;

const HELD_MESSAGES_MAX = 4096;
const HELD_BYTES_MAX = 64 * 2 ** 20;

export interface Faults {
  /** Nothing arrives. */
  readonly cut: boolean;
  /** How many of a thousand messages are lost. */
  readonly dropPermille: number;
  /** Every message is late by a uniform time in [min, max]; the order is kept. */
  readonly delayMsMin: number;
  readonly delayMsMax: number;
  /** How many of a thousand messages arrive a second time, later. */
  readonly duplicatePermille: number;
  /** How many of a thousand messages are overtaken by later ones. */
  readonly reorderPermille: number;
}

export const NO_FAULTS: Faults = {
  cut: false,
  dropPermille: 0,
  delayMsMin: 0,
  delayMsMax: 0,
  duplicatePermille: 0,
  reorderPermille: 0,
};

/** The switches of one link, from any thread. Each set replaces all of them. */
export class LinkFaults {
  readonly #control: Int32Array;

  constructor(link: LinkBuffers) {
    this.#control = new Int32Array(link.memory, 0, CONTROL_BYTES / 4);
  }

  /** Sets the given faults and clears the others; `set({})` heals the link. The consumer's next drain obeys. */
  set(faults: Partial<Faults>): void {
    const all = { ...NO_FAULTS, ...faults };
    for (const permille of [all.dropPermille, all.duplicatePermille, all.reorderPermille]) {
      assert(Number.isInteger(permille) && permille >= 0 && permille <= 1000, 'faults: permille', { permille });
    }
    assert(0 <= all.delayMsMin && all.delayMsMin <= all.delayMsMax, 'faults: 0 <= delay min <= max');
    const control = this.#control;
    // Atomic, as other threads read them; a drain between two of these stores sees a mixture, as a network would be.
    Atomics.store(control, CELL_CUT, all.cut ? 1 : 0);
    Atomics.store(control, CELL_DROP, all.dropPermille);
    Atomics.store(control, CELL_DELAY_MIN, all.delayMsMin);
    Atomics.store(control, CELL_DELAY_MAX, all.delayMsMax);
    Atomics.store(control, CELL_DUPLICATE, all.duplicatePermille);
    Atomics.store(control, CELL_REORDER, all.reorderPermille);
    const any = all.cut || all.delayMsMax + all.dropPermille + all.duplicatePermille + all.reorderPermille > 0;
    // Atomic, and last: whoever sees it sees the switches above.
    Atomics.store(control, CELL_ANY, any ? 1 : 0);
  }

  get(): Faults {
    const control = this.#control;
    return {
      // Atomic, as other threads write them.
      cut: Atomics.load(control, CELL_CUT) === 1,
      dropPermille: Atomics.load(control, CELL_DROP),
      delayMsMin: Atomics.load(control, CELL_DELAY_MIN),
      delayMsMax: Atomics.load(control, CELL_DELAY_MAX),
      duplicatePermille: Atomics.load(control, CELL_DUPLICATE),
      reorderPermille: Atomics.load(control, CELL_REORDER),
    };
  }
}

/** Takes a message out of the queue: the receiver's handler, as in receiver.ts. */
type Deliver = (kind: number, aux: number, id: number, payload: Uint8Array, flags: number) => void;

interface Held {
  readonly dueMs: number;
  readonly kindWord: number;
  readonly id: number;
  readonly payload: Uint8Array;
}

/** The receiving end's side of the faults. Time and chance are parameters. */
export class FaultQueue {
  readonly #control: Int32Array;
  readonly #faults: LinkFaults;
  readonly #prng: Prng;
  readonly #held: Held[] = [];
  #heldBytes = 0;
  /** No message that keeps its order is due before this. */
  #orderedMs = 0;
  #droppedMessages = 0;

  constructor(link: LinkBuffers, prng: Prng) {
    this.#control = new Int32Array(link.memory, 0, CONTROL_BYTES / 4);
    this.#faults = new LinkFaults(link);
    this.#prng = prng;
  }

  get droppedMessages(): number {
    return this.#droppedMessages;
  }

  /** Whether messages must take the detour through this queue. */
  get active(): boolean {
    // Atomic, as other threads write it.
    return this.#held.length > 0 || Atomics.load(this.#control, CELL_ANY) !== 0;
  }

  /** When the first held message is due; Infinity if none is held. */
  get dueMs(): number {
    return this.#held.length === 0 ? Number.POSITIVE_INFINITY : this.#held[0]!.dueMs;
  }

  /** Lets chance decide what happens to a message that arrives at `nowMs`; the payload is copied. */
  offer(kindWord: number, id: number, payload: Uint8Array, nowMs: number): void {
    const faults = this.#faults.get();
    if (faults.cut || this.#chance(faults.dropPermille)) {
      this.#droppedMessages += 1;
      return;
    }
    const delayMs = faults.delayMsMin + this.#prng.nextBelow(faults.delayMsMax - faults.delayMsMin + 1);
    const dueMs = nowMs + delayMs;
    if (this.#chance(faults.duplicatePermille)) this.#hold(dueMs + this.#extraMs(), kindWord, id, payload);
    if (this.#chance(faults.reorderPermille)) {
      this.#hold(dueMs + this.#extraMs(), kindWord, id, payload);
      return;
    }
    this.#orderedMs = Math.max(this.#orderedMs, dueMs);
    this.#hold(this.#orderedMs, kindWord, id, payload);
  }

  /** Hands over what is due; a message leaves the queue before its handler runs. Returns how many. */
  release(deliver: Deliver, nowMs: number): number {
    const cut = this.#faults.get().cut;
    let count = 0;
    while (this.#held.length > 0 && this.#held[0]!.dueMs <= nowMs) {
      const { kindWord, id, payload } = this.#held.shift()!;
      this.#heldBytes -= payload.length;
      count += 1;
      if (cut) this.#droppedMessages += 1;
      else deliver(kindWord & 0xff, kindWord >>> 16, id, payload, (kindWord >>> 8) & 0x3f);
    }
    return count;
  }

  #hold(dueMs: number, kindWord: number, id: number, payload: Uint8Array): void {
    if (this.#held.length >= HELD_MESSAGES_MAX || this.#heldBytes + payload.length > HELD_BYTES_MAX) {
      this.#droppedMessages += 1;
      return;
    }
    let at = this.#held.length;
    while (at > 0 && this.#held[at - 1]!.dueMs > dueMs) at -= 1;
    this.#held.splice(at, 0, { dueMs, kindWord, id, payload: new Uint8Array(payload) });
    this.#heldBytes += payload.length;
  }

  #chance(permille: number): boolean {
    return permille > 0 && this.#prng.nextBelow(1000) < permille;
  }

  #extraMs(): number {
    return 1 + this.#prng.nextBelow(REORDER_MS_MAX);
  }
}
