/**
 * Length-prefixed messages out of a stream's bytes (gRPC over HTTP/2, "Length-Prefixed-Message").
 *
 *     | flag u8: 0 plain, 1 compressed | length u32 | message |
 *
 *     whole in the chunk -> handed on where it lies
 *     cut by the chunk   -> collected: at most what arrived is allocated, twice over, never what the prefix claims, and
 *                           only as long as the connection's account has room
 */
import type { HeldBytes } from './held-bytes.js';

export interface MessageSink {
  /** A message `bytes[from, to)`, valid during the call. False: read no further. */
  onMessage(flag: number, bytes: Uint8Array, from: number, to: number): boolean;
  /** A prefix announces more than the limit. Nothing further is read. */
  onTooLarge(length: number): void;
  /** The connection holds too much of other messages. Nothing further is read. */
  onNoRoom(): void;
}

export const prefixBytes = 5;
const nothing = new Uint8Array(0);

export class MessageReader {
  readonly #bytesMax: number;
  readonly #account: HeldBytes;
  /** Prefix and message as far as they have arrived, when a chunk cut them. */
  #held: Uint8Array = nothing;
  #heldLength = 0;

  /** `bytesMax` bounds the length of one message, `account` what its connection holds of all of them. */
  constructor(bytesMax: number, account: HeldBytes) {
    this.#bytesMax = bytesMax;
    this.#account = account;
  }

  /** True between the first and the last byte of a message. */
  get midMessage(): boolean {
    return this.#heldLength > 0;
  }

  /** Bytes of a message that is not whole. */
  get heldBytes(): number {
    return this.#heldLength;
  }

  /** Bytes that it misses; of its prefix, as long as that is not whole. */
  get missingBytes(): number {
    if (this.#heldLength === 0) return 0;
    const wholeBytes = this.#heldLength < prefixBytes ? prefixBytes : prefixBytes + readLength(this.#held, 0);
    return wholeBytes - this.#heldLength;
  }

  /** Reads `bytes[from, to)`. */
  read(bytes: Uint8Array, from: number, to: number, sink: MessageSink) {
    let at = from;
    if (this.#heldLength > 0) {
      at = this.#complete(bytes, from, to, sink);
      if (at === -1) return;
    }
    let wholeBytes = Number.MAX_SAFE_INTEGER;
    while (to - at >= prefixBytes) {
      const length = readLength(bytes, at);
      if (length > this.#bytesMax) return sink.onTooLarge(length);
      const end = at + prefixBytes + length;
      if (end > to) {
        wholeBytes = end - at;
        break;
      }
      if (!sink.onMessage(bytes[at]!, bytes, at + prefixBytes, end)) return;
      at = end;
    }
    if (at < to && !this.#hold(bytes, at, to, wholeBytes)) sink.onNoRoom();
  }

  /** Forgets what is held: nothing further will be read. */
  drop(): void {
    this.#account.abandon(this.#held);
    this.#held = nothing;
    this.#heldLength = 0;
  }

  /** Adds to the message that is held until it is whole. Returns the place behind it, or -1: read no further. */
  #complete(bytes: Uint8Array, from: number, to: number, sink: MessageSink): number {
    let at = Math.min(to, from + Math.max(0, prefixBytes - this.#heldLength));
    if (!this.#hold(bytes, from, at)) return this.#noRoom(sink);
    if (this.#heldLength < prefixBytes) return at;
    const length = readLength(this.#held, 0);
    if (length > this.#bytesMax) {
      sink.onTooLarge(length);
      return -1;
    }
    const end = Math.min(to, at + prefixBytes + length - this.#heldLength);
    if (!this.#hold(bytes, at, end, prefixBytes + length)) return this.#noRoom(sink);
    at = end;
    if (this.#heldLength < prefixBytes + length) return at;
    const message = this.#held;
    this.#account.release(message);
    this.#held = nothing;
    this.#heldLength = 0;
    return sink.onMessage(message[0]!, message, prefixBytes, prefixBytes + length) ? at : -1;
  }

  #noRoom(sink: MessageSink): number {
    sink.onNoRoom();
    return -1;
  }

  /** False: there is no room for it. */
  #hold(bytes: Uint8Array, from: number, to: number, wholeBytes = Number.MAX_SAFE_INTEGER): boolean {
    if (from === to) return true;
    const length = this.#heldLength + to - from;
    if (length > this.#held.length) {
      const grownBytes = Math.max(length, Math.min(length * 2, wholeBytes));
      const grown = this.#account.grow(this.#held, this.#heldLength, grownBytes);
      if (grown === undefined) return false;
      this.#held = grown;
    }
    this.#held.set(bytes.subarray(from, to), this.#heldLength);
    this.#heldLength = length;
    return true;
  }
}

function readLength(bytes: Uint8Array, at: number): number {
  return bytes[at + 1]! * 2 ** 24 + ((bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!);
}
