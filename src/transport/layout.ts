/**
 * The bytes of a link: one direction between two threads, in one SharedArrayBuffer.
 *
 *   byte 0     line 0   TAIL                  bytes published so far          written by the producer
 *   byte 128   line 1   HEAD                  bytes consumed so far           written by the consumer
 *   byte 256   line 2   PRODUCER_INCARNATION  the attached producer, 0 none   written when one attaches
 *                       CONSUMER_INCARNATION  the attached consumer, 0 none   written when one attaches
 *   byte 384   line 3   PRODUCER_WAITING      1: ring me when there is room   written by both, rarely
 *   byte 512   line 4   fault switches, see faults.ts                         written by whoever tests
 *   byte 1024           the ring itself, `capacity` bytes, a power of two
 *
 * A line is 128 bytes: two cache lines, because x86 prefetches them in pairs. TAIL and HEAD are counters modulo 2^32
 * kept as int32; the byte they name is `counter & (capacity - 1)`, and the bytes in use are `(tail - head) | 0`.
 *
 *   record                                             skip marker (what is left of the ring is too short)
 *   word 0   payload bytes, and padding << 28          word 0   bytes to the end of the ring
 *   word 1   kind, flags << 8, aux << 16               word 1   0
 *   word 2   id
 *   word 3   incarnation of the producer
 *   word 4   sequence, contiguous per incarnation
 *   word 5   bytes of the whole message
 *   word 6   offset of this payload in the message
 *   word 7   incarnation of the consumer it was sent to
 *   0..7 bytes of padding, payload, 0..7 bytes up to a multiple of 8
 *
 * Invariants: 0 <= tail - head <= capacity. A record lies in one piece, starts at a multiple of 8 and ends at or before
 * the end of the ring. What lies between head and tail is written completely and is not changed until head passes it;
 * what lies beyond tail is nobody's, so a producer that dies while writing leaves nothing behind.
 */
import { assert } from '../base/assert.js';

/** One direction between two threads. It may cross to a worker by structured clone: both sides see the same memory. */
export interface LinkBuffers {
  readonly memory: SharedArrayBuffer;
}

/** Int32 indices of the control cells. */
export const CELL_TAIL = 0;
export const CELL_HEAD = 32;
export const CELL_PRODUCER_INCARNATION = 64;
export const CELL_CONSUMER_INCARNATION = 65;
export const CELL_PRODUCER_WAITING = 96;
export const CELL_FAULTS = 128;

export const CONTROL_BYTES = 1024;
export const HEADER_BYTES = 32;

export const RING_BYTES_MIN = 1024;
export const RING_BYTES_MAX = 2 ** 30;

/** The largest message that may be sent: as large as gRPC responses and snapshots get. */
export const MESSAGE_BYTES_MAX = 512 * 2 ** 20;

/** In word 1's flags, set by the sender: the record belongs to the lossless lane (see sender.ts). */
export const FLAG_LOSSLESS = 0x80;

/** An incarnation counts the starts of a member thread: 1, 2, 3 ... */
export const INCARNATION_MAX = 2 ** 31 - 1;

/**
 * Creates the memory of a link whose ring holds `capacityBytes`, a power of two in [RING_BYTES_MIN, RING_BYTES_MAX].
 * `counter` is where head and tail begin (a multiple of 8); tests use it to cross 2^32 early.
 */
export function createLink(capacityBytes: number, counter = 0): LinkBuffers {
  assert(
    capacityBytes >= RING_BYTES_MIN && capacityBytes <= RING_BYTES_MAX && Number.isInteger(Math.log2(capacityBytes)),
    'link: the capacity is a power of two within limits',
    { capacityBytes },
  );
  assert(counter % 8 === 0, 'link: counters are multiples of 8', { counter });
  const memory = new SharedArrayBuffer(CONTROL_BYTES + capacityBytes);
  const control = new Int32Array(memory);
  control[CELL_TAIL] = counter | 0;
  control[CELL_HEAD] = counter | 0;
  return { memory };
}

/** The ring's size in bytes. */
export function ringBytes(link: LinkBuffers): number {
  return link.memory.byteLength - CONTROL_BYTES;
}

/**
 * The largest payload of one record, in bytes; longer messages travel as several. With its header and padding it takes
 * at most an eighth of the ring, so skipping the end of the ring for it wastes at most an eighth, too.
 */
export function fragmentBytesMax(capacity: number): number {
  return capacity / 8 - HEADER_BYTES - 8;
}

export function assertIncarnation(incarnation: number, previous: number): void {
  assert(
    Number.isInteger(incarnation) && incarnation > previous && incarnation <= INCARNATION_MAX,
    'link: incarnations only grow; two threads share one end of a link',
    { incarnation, previous },
  );
}
