/**
 * Buffers for messages that have begun and are not whole: what one connection may hold of them, and all together.
 *
 *     up to connectionBytesMax, and one message more    whatever the others hold
 *     up to shareBytes                                  when all together hold processBytesMax, and one message more
 *
 * It is the last bound: a connection comes near it only with thousands of calls side by side, each of which fills the
 * window that it began with, and large requests wait for windows long before (http2/receive-windows.ts). Without it a
 * client could make the process hold a window for every stream that it opens.
 *
 * A buffer that proved too small, or whose message never became whole, is used again for a while: fresh memory costs a
 * page fault every four kilobytes, and what is thrown away costs rounds of the collector, so that messages which come to
 * nothing would be dearer than others. Nobody has seen such a buffer; the one of a whole message goes with the message.
 */
const mib = 1024 * 1024;

const connectionBytesMax = 256 * mib;
const processBytesMax = 512 * mib;
const shareBytes = 4 * mib;

/** Between these sizes buffers are powers of two, and a bit for a prefix: so they can stand in for each other. */
const pooledBytesMin = mib / 16;
const pooledBytesMax = 2 * mib;
const prefixRoomBytes = 64;
/** Spare buffers of all connections, and how long they may lie unused. */
const spareBytesMax = 32 * mib;
const spareMs = 5_000;

/** What all connections of the process hold. */
let processBytes = 0;

const spares = new Map<number, Uint8Array[]>();
let spareBytes = 0;
let emptying: NodeJS.Timeout | undefined;

/** The account of one connection. */
export class HeldBytes {
  /** No message fills the bounds alone, however large messages may be. */
  readonly #messageBytesMax: number;
  #bytes = 0;

  constructor(messageBytesMax: number) {
    this.#messageBytesMax = messageBytesMax;
  }

  /** A buffer of at least `bytes` with what `buffer` holds at its beginning, in its place; undefined: there is no room. */
  grow(buffer: Uint8Array, heldBytes: number, bytes: number): Uint8Array | undefined {
    const size = sizeFor(bytes);
    const moreBytes = size - buffer.length;
    const held = this.#bytes + moreBytes;
    if (held > connectionBytesMax + this.#messageBytesMax) return undefined;
    if (processBytes + moreBytes > processBytesMax + this.#messageBytesMax && held > shareBytes) return undefined;
    this.#count(moreBytes);
    const grown = takeSpare(size) ?? new Uint8Array(size);
    grown.set(buffer.subarray(0, heldBytes));
    keepSpare(buffer);
    return grown;
  }

  /** A message is whole: its buffer goes with it. */
  release(buffer: Uint8Array): void {
    this.#count(-buffer.length);
  }

  /** A message will never be whole, and nobody has seen its buffer. */
  abandon(buffer: Uint8Array): void {
    this.#count(-buffer.length);
    keepSpare(buffer);
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    processBytes += bytes;
  }
}

function sizeFor(bytes: number): number {
  if (bytes < pooledBytesMin || bytes > pooledBytesMax + prefixRoomBytes) return bytes;
  return 2 ** Math.ceil(Math.log2(Math.max(pooledBytesMin, bytes - prefixRoomBytes))) + prefixRoomBytes;
}

function takeSpare(size: number): Uint8Array | undefined {
  const spare = spares.get(size)?.pop();
  if (spare !== undefined) spareBytes -= size;
  return spare;
}

function keepSpare(buffer: Uint8Array): void {
  const size = buffer.length;
  if (size < pooledBytesMin || size > pooledBytesMax + prefixRoomBytes || spareBytes + size > spareBytesMax) return;
  const alike = spares.get(size);
  if (alike === undefined) spares.set(size, [buffer]);
  else alike.push(buffer);
  spareBytes += size;
  emptying ??= setTimeout(emptySpares, spareMs);
  emptying.refresh().unref();
}

function emptySpares(): void {
  spares.clear();
  spareBytes = 0;
  emptying = undefined;
}
