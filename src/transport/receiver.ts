/**
 * The consuming end of a link.
 *
 *   ring --> record --> stale? dropped --> fragment? assembled --> [fault queue] --> handler
 *
 * A message that is put together needs memory: its own, which the handler may keep, or (for kinds whose handler copies
 * what it wants) the same again and again, because a megabyte of garbage per message costs more than the message.
 *
 * Stale is a record of an older producer than the newest attached one, and a record that was sent to an earlier
 * consumer: a restarted member neither hears its own past life nor what was meant for it.
 *
 * Invariants: one Receiver lives per link, on one thread. HEAD <= #head <= #tail <= TAIL. The memory of a record is
 * given back (HEAD stored) only after its handler has returned or thrown. Sequences are contiguous per producer
 * incarnation; each lane has at most one message in assembly.
 */
import { assert } from '../base/assert.js';
import { Prng } from '../base/prng.js';
import type { Doorbell } from './doorbell.js';
import { FaultQueue } from './faults.js';
import {
  assertIncarnation,
  CELL_CONSUMER_INCARNATION,
  CELL_HEAD,
  CELL_PRODUCER_INCARNATION,
  CELL_PRODUCER_WAITING,
  CELL_TAIL,
  CONTROL_BYTES,
  FLAG_LOSSLESS,
  fragmentBytesMax,
  HEADER_BYTES,
  type LinkBuffers,
  MESSAGE_BYTES_MAX,
  ringBytes,
} from './layout.js';

/**
 * Takes one message. `payload` is a view of shared memory that is valid during the call only: copy what you keep, and
 * hand the view to nothing asynchronous (sockets, files, LMDB's put). `Buffer.from(payload)` copies 300 bytes in 0.2 us
 * because it takes them from a pool; `payload.slice()` and `new Uint8Array(payload)` need 2 us for an ArrayBuffer of
 * their own. (The view itself costs 0.05 us.) If the handler throws, the message counts as taken.
 */
export type MessageHandler = (kind: number, aux: number, id: number, payload: Uint8Array, flags: number) => void;

export interface ReceiverOptions {
  readonly link: LinkBuffers;
  /** Which start of this thread it is: greater than that of any earlier Receiver on this link. */
  readonly incarnation: number;
  /** The producer's doorbell, rung when it waits for room. */
  readonly doorbell: Doorbell;
  /** Chance for the faults of this link; the default is seeded with the incarnation. */
  readonly prng?: Prng;
  /** Messages of this kind that came in pieces are valid during the call only, as the others are. */
  readonly borrows?: (kind: number) => boolean;
}

/** A fragmented message on its way in. */
interface Assembly {
  readonly bytes: Uint8Array;
  filled: number;
}

/** The most that is kept to put messages together in: two of the largest requests, or what a large range brings. */
const spareBytesMax = 4 * 1024 * 1024;
const ownMemory = (): boolean => false;

export class Receiver {
  readonly #control: Int32Array;
  readonly #words: Int32Array;
  readonly #memory: SharedArrayBuffer;
  readonly #capacity: number;
  readonly #mask: number;
  readonly #fragmentBytes: number;
  readonly #incarnation: number;
  /** Records addressed to 0, sent before anybody had attached, are for the first consumer. */
  readonly #first: boolean;
  readonly #doorbell: Doorbell;
  readonly #faults: FaultQueue;
  /** Consumed up to here. */
  #head: number;
  /** What this thread last stored in HEAD. */
  #released: number;
  /** TAIL as last read: the producer may be further. */
  #tail: number;
  /** The producer whose records come out of the ring, 0 before the first; the newest attached may be ahead of it. */
  #producer = 0;
  #newestProducer = 0;
  #sequence = 0;
  #lossy: Assembly | undefined;
  #lossless: Assembly | undefined;
  readonly #borrows: (kind: number) => boolean;
  /** Memory to put the next borrowed message together in; undefined while one is, or is with the handler. */
  #spare: Buffer | undefined = undefined;
  #more = false;
  #draining = false;
  #consumedBytes = 0;
  #staleRecords = 0;
  #abandonedMessages = 0;

  /** Attaches to the link. The first consumer gets all that was sent; a later one nothing that was sent before. */
  constructor({ link, incarnation, doorbell, prng = new Prng(incarnation), borrows = ownMemory }: ReceiverOptions) {
    this.#borrows = borrows;
    this.#control = new Int32Array(link.memory, 0, CONTROL_BYTES / 4);
    this.#words = new Int32Array(link.memory, CONTROL_BYTES);
    this.#memory = link.memory;
    this.#capacity = ringBytes(link);
    this.#mask = this.#capacity - 1;
    this.#fragmentBytes = fragmentBytesMax(this.#capacity);
    this.#incarnation = incarnation;
    this.#doorbell = doorbell;
    this.#faults = new FaultQueue(link, prng);
    // Atomic: a predecessor on another thread wrote it, as it did HEAD.
    const previous = Atomics.load(this.#control, CELL_CONSUMER_INCARNATION);
    assertIncarnation(incarnation, previous);
    this.#first = previous === 0;
    this.#released = Atomics.load(this.#control, CELL_HEAD);
    // Atomic: the records before this tail are complete. A successor skips them: they are its predecessor's.
    this.#tail = Atomics.load(this.#control, CELL_TAIL);
    this.#head = this.#first ? this.#released : this.#tail;
    // Atomic, and before the skipped room is given back: what the producer sends from now on is for this incarnation.
    Atomics.store(this.#control, CELL_CONSUMER_INCARNATION, incarnation);
    this.#release();
  }

  /** Bytes that were taken from the ring, as the sender counts them. */
  get consumedBytes(): number {
    return this.#consumedBytes;
  }

  /** Records dropped because their producer or their addressee is gone. */
  get staleRecords(): number {
    return this.#staleRecords;
  }

  /** Fragmented messages that will never be complete, because their producer is gone. */
  get abandonedMessages(): number {
    return this.#abandonedMessages;
  }

  /** Messages that the faults of this link dropped. */
  get faultDroppedMessages(): number {
    return this.#faults.droppedMessages;
  }

  /** When to drain again although no bell rings: the due time of the first message a fault holds back, or Infinity. */
  get dueMs(): number {
    return this.#faults.dueMs;
  }

  /** The last drain stopped before the ring was empty: no bell will ring for the rest, so drain again before you wait. */
  get more(): boolean {
    return this.#more;
  }

  /**
   * Hands records to `handler` (a fragmented message is handed over with its last record) until the ring is empty,
   * `recordsMax` were taken, or `bytesMax` with the last of them; gives their room back, and rings the producer if it
   * waits for room. Returns the number of records and delayed messages taken. `nowMs` is any monotone clock, needed only
   * if faults may be set on this link.
   */
  drain(handler: MessageHandler, recordsMax: number, nowMs = 0, bytesMax = Number.POSITIVE_INFINITY): number {
    assert(!this.#draining, 'receiver: a handler does not drain the link it is called by');
    this.#draining = true;
    const head = this.#head;
    try {
      return this.#consume(handler, recordsMax, nowMs, bytesMax);
    } finally {
      this.#draining = false;
      if (this.#head !== head) this.#release();
    }
  }

  #consume(handler: MessageHandler, recordsMax: number, nowMs: number, bytesMax: number): number {
    // Atomic: another thread wrote it when it attached; records of older producers are dropped from here on.
    this.#newestProducer = Atomics.load(this.#control, CELL_PRODUCER_INCARNATION);
    const faulty = this.#faults.active;
    assert(!faulty || nowMs > 0, 'receiver: faults need a clock');
    const words = this.#words;
    const from = this.#head;
    let count = 0;
    this.#more = true;
    while (count < recordsMax && ((this.#head - from) | 0) < bytesMax) {
      if (this.#head === this.#tail && !this.#readTail()) {
        this.#more = false;
        break;
      }
      const position = this.#head & this.#mask;
      const word = position >> 2;
      const kindWord = words[word + 1]!;
      if ((kindWord & 0xff) === 0) {
        this.#skip(position, words[word]!);
        continue;
      }
      const length = words[word]! & 0xfffffff;
      const start = HEADER_BYTES + (words[word]! >>> 28);
      const size = (start + length + 7) & ~7;
      const inside = length <= this.#fragmentBytes && position + size <= this.#capacity;
      assert(inside && size <= ((this.#tail - this.#head) | 0), 'receiver: a record lies within the ring', { length });
      this.#head = (this.#head + size) | 0;
      count += 1;
      if (this.#isStale(word)) continue;
      const id = words[word + 2]! >>> 0;
      let payload: Uint8Array | undefined = new Uint8Array(this.#memory, CONTROL_BYTES + position + start, length);
      const inPieces = words[word + 5] !== length;
      if (inPieces) payload = this.#assemble(kindWord, words[word + 5]!, words[word + 6]!, payload);
      if (payload === undefined) continue;
      if (faulty) this.#faults.offer(kindWord, id, payload, nowMs);
      else handler(kindWord & 0xff, kindWord >>> 16, id, payload, (kindWord >>> 8) & 0x3f);
      if (inPieces && this.#borrows(kindWord & 0xff)) this.#keep(payload);
      // A long drain gives room back on its way, so that the producer does not stall until its end.
      if (((this.#head - this.#released) | 0) > this.#capacity >> 2) this.#storeHead();
    }
    return faulty ? count + this.#faults.release(handler, nowMs) : count;
  }

  #readTail(): boolean {
    // Atomic: everything the producer wrote before it published this tail is visible after this load.
    this.#tail = Atomics.load(this.#control, CELL_TAIL);
    const used = (this.#tail - this.#head) | 0;
    assert(used >= 0 && used <= this.#capacity, 'receiver: 0 <= tail - head <= capacity', { used });
    return used > 0;
  }

  #skip(position: number, bytes: number): void {
    const toEnd = this.#capacity - position;
    const inside = bytes === toEnd && bytes < ((this.#tail - this.#head) | 0);
    assert(inside, 'receiver: a skip marker reaches to the end of the ring and a record follows', { bytes, toEnd });
    this.#head = (this.#head + bytes) | 0;
  }

  /** Checks the sequence, notices a new producer, and says whether the record belongs to a life that is over. */
  #isStale(word: number): boolean {
    const producer = this.#words[word + 3]!;
    const sequence = this.#words[word + 4]!;
    if (producer === this.#producer) {
      assert(sequence === this.#sequence, 'receiver: sequences are contiguous', { sequence, expected: this.#sequence });
    } else {
      // Before the first record we do not know how many our predecessor has taken.
      const began = this.#producer !== 0;
      assert(producer > this.#producer, 'receiver: producer incarnations only grow', { producer });
      assert(!began || sequence === 0, 'receiver: a new producer starts at sequence 0', { sequence });
      this.#producer = producer;
      this.#abandon();
      if (producer > this.#newestProducer) this.#newestProducer = producer;
    }
    this.#sequence = (sequence + 1) | 0;
    const addressee = this.#words[word + 7]!;
    const mine = addressee === this.#incarnation || (addressee === 0 && this.#first);
    if (mine && producer === this.#newestProducer) return false;
    if (producer !== this.#newestProducer) this.#abandon();
    this.#staleRecords += 1;
    return true;
  }

  /** Adds a fragment to its lane's message; returns the whole once it is complete. */
  #assemble(kindWord: number, bytesTotal: number, offset: number, part: Uint8Array): Uint8Array | undefined {
    assert(bytesTotal > part.length && bytesTotal <= MESSAGE_BYTES_MAX, 'receiver: message length', { bytesTotal });
    const lossless = (kindWord & (FLAG_LOSSLESS << 8)) !== 0;
    let assembly = lossless ? this.#lossless : this.#lossy;
    if (offset === 0) {
      assert(assembly === undefined, 'receiver: a lane finishes a message before it begins another');
      assembly = { bytes: this.#memoryFor(kindWord & 0xff, bytesTotal), filled: 0 };
    }
    assert(assembly !== undefined && offset === assembly.filled, 'receiver: fragments are contiguous', { offset });
    assert(offset + part.length <= bytesTotal, 'receiver: a fragment lies within its message', { offset, bytesTotal });
    assembly.bytes.set(part, offset);
    assembly.filled += part.length;
    const whole = assembly.filled === bytesTotal;
    if (lossless) this.#lossless = whole ? undefined : assembly;
    else this.#lossy = whole ? undefined : assembly;
    return whole ? assembly.bytes : undefined;
  }

  /** Memory for a message. What is kept is handed out once: it comes back when its handler has returned. */
  #memoryFor(kind: number, bytesTotal: number): Uint8Array {
    const spare = this.#spare;
    if (!this.#borrows(kind) || spare === undefined || spare.length < bytesTotal) {
      return Buffer.allocUnsafeSlow(bytesTotal);
    }
    this.#spare = undefined;
    return spare.subarray(0, bytesTotal);
  }

  /** A borrowed message has been handled. */
  #keep({ buffer, byteLength }: Uint8Array): void {
    if (byteLength > spareBytesMax || buffer.byteLength <= (this.#spare?.length ?? 0)) return;
    this.#spare = Buffer.from(buffer as ArrayBuffer);
  }

  #abandon(): void {
    if (this.#lossless !== undefined) this.#abandonedMessages += 1;
    if (this.#lossy !== undefined) this.#abandonedMessages += 1;
    this.#lossless = undefined;
    this.#lossy = undefined;
  }

  #release(): void {
    this.#storeHead();
    // Atomic, and after the store of HEAD: either the producer sees the room, or we see that it waits.
    if (Atomics.load(this.#control, CELL_PRODUCER_WAITING) === 0) return;
    // Atomic: the flag goes down before the bell rings; the producer raises it again if the room is not enough.
    Atomics.store(this.#control, CELL_PRODUCER_WAITING, 0);
    this.#doorbell.ring();
  }

  #storeHead(): void {
    // Atomic: all reads of the records before it are done, so the producer may write over them.
    Atomics.store(this.#control, CELL_HEAD, this.#head);
    this.#consumedBytes += (this.#head - this.#released) | 0;
    this.#released = this.#head;
  }
}
