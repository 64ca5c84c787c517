/**
 * Bytes of messages that have begun and are not whole: what one connection may hold of them, and all together.
 *
 *     up to connectionBytesMax   whatever the others hold
 *     up to shareBytes           when all together hold processBytesMax
 *
 * Large puts side by side are no attack, so the bounds are wide; without them a client could make the process hold two
 * megabytes for every stream that it opens.
 */
const mib = 1024 * 1024;

const connectionBytesMax = 256 * mib;
const processBytesMax = 512 * mib;
const shareBytes = 4 * mib;

/** What all connections of the process hold. */
let processBytes = 0;

/** The account of one connection. */
export class HeldBytes {
  #bytes = 0;

  /** Asks for room; false: there is none. */
  take(bytes: number): boolean {
    const held = this.#bytes + bytes;
    if (held > connectionBytesMax || (processBytes + bytes > processBytesMax && held > shareBytes)) return false;
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
