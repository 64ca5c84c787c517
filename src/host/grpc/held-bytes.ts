/**
 * Bytes of messages that have begun and are not whole: what one connection may hold of them, and all together.
 *
 *     up to connectionBytesMax, and one message more    whatever the others hold
 *     up to shareBytes                                  when all together hold processBytesMax, and one message more
 *
 * It is the last bound: a connection comes near it only with thousands of calls side by side, each of which fills the
 * window that it began with, and large puts wait for windows long before (http2/receive-windows.ts). Without it a client
 * could make the process hold a window for every stream that it opens.
 */
const mib = 1024 * 1024;

const connectionBytesMax = 256 * mib;
const processBytesMax = 512 * mib;
const shareBytes = 4 * mib;

/** What all connections of the process hold. */
let processBytes = 0;

/** The account of one connection. */
export class HeldBytes {
  /** No message fills the bounds alone, however large messages may be. */
  readonly #messageBytesMax: number;
  #bytes = 0;

  constructor(messageBytesMax: number) {
    this.#messageBytesMax = messageBytesMax;
  }

  /** Asks for room; false: there is none. */
  take(bytes: number): boolean {
    const held = this.#bytes + bytes;
    if (held > connectionBytesMax + this.#messageBytesMax) return false;
    if (processBytes + bytes > processBytesMax + this.#messageBytesMax && held > shareBytes) return false;
    this.#bytes = held;
    processBytes += bytes;
    return true;
  }

  /** Gives room back. */
  give(bytes: number): void {
    this.#bytes -= bytes;
    processBytes -= bytes;
  }
}
