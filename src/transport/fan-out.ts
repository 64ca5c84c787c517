/**
 * One message body for many streams: the payload of a FanOut record.
 *
 *     | count u32 | { stream u32 | head length u8 | head } x count | body |
 *
 * Every stream gets its head followed by the body. So what 10,000 watchers are told of a change is encoded once, crosses
 * the ring once, and lies in the host's memory once, whoever reads slowly.
 */
import { assert } from '../base/assert.js';
import { copyBytes } from '../base/bytes.js';

/** Heads are field tags with a number: never long. */
const headBytesMax = 32;
const targetBytesMax = 5 + headBytesMax;

/** Collects the targets of a record; reused from record to record. */
export class FanOutTargets {
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #length = 4;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  reset(): void {
    this.#length = 4;
    this.#count = 0;
  }

  add(streamId: number, head: Uint8Array): void {
    assert(head.length <= headBytesMax, 'the head of a fanned out message is short', { length: head.length });
    if (this.#length + targetBytesMax > this.#bytes.length) this.#grow();
    this.#view.setUint32(this.#length, streamId, true);
    this.#bytes[this.#length + 4] = head.length;
    copyBytes(head, this.#bytes, this.#length + 5);
    this.#length += 5 + head.length;
    this.#count += 1;
  }

  /** What goes before the body in the record; valid until the next reset. */
  finish(): Uint8Array {
    this.#view.setUint32(0, this.#count, true);
    return this.#bytes.subarray(0, this.#length);
  }

  #grow(): void {
    const grown = new Uint8Array(this.#bytes.length * 2);
    grown.set(this.#bytes);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/** Reads a record's payload. The body is a copy that `visit` may keep and share; `head` is valid during the call only. */
export function readFanOut(
  payload: Uint8Array,
  visit: (streamId: number, head: Uint8Array, body: Uint8Array) => void,
): void {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const count = view.getUint32(0, true);
  let at = 4;
  for (let target = 0; target < count; target += 1) at += 5 + (payload[at + 4] as number);
  const body = new Uint8Array(payload.subarray(at));
  at = 4;
  for (let target = 0; target < count; target += 1) {
    const length = payload[at + 4] as number;
    const head = heads[length] as Uint8Array;
    for (let byte = 0; byte < length; byte += 1) head[byte] = payload[at + 5 + byte] as number;
    visit(view.getUint32(at, true), head, body);
    at += 5 + length;
  }
}

/** heads[n]: where a head of n bytes is read to; made once, because there are as many reads as watchers. */
const heads = Array.from({ length: headBytesMax + 1 }, (_, length) => new Uint8Array(length));
