/**
 * How far a stream may be sent ahead of its client, counted on both sides of the ring.
 *
 *     member: credit starts at streamCreditBytes, every message takes its bytes (and an overhead) off
 *     host:   what the client's connection has taken comes back in steps of creditStepBytes
 *
 * A message is sent whole while any credit is left, so the last one may overdraw it.
 */

/** Bytes a stream may be sent ahead. */
export const streamCreditBytes = 256 * 1024;

/** What a message counts beside its bytes: frames, objects. */
export const messageOverheadBytes = 64;

/** Credit goes back in steps: small ones would cost a record each. */
const creditStepBytes = streamCreditBytes / 4;

/** The host's side of one stream: when to give how much back. */
export class CreditReturn {
  #takenBytes = 0;
  #blocked = false;

  /** A message of the stream has gone out; `taken`: its client keeps up. Returns the credit to give back now, or 0. */
  sent(messageBytes: number, taken: boolean): number {
    this.#takenBytes += messageBytes + messageOverheadBytes;
    if (!taken) this.#blocked = true;
    return this.#due(creditStepBytes);
  }

  /** The client keeps up again. Returns the credit to give back now. */
  drained(): number {
    this.#blocked = false;
    return this.#due(1);
  }

  #due(bytesMin: number): number {
    if (this.#blocked || this.#takenBytes < bytesMin) return 0;
    const bytes = this.#takenBytes;
    this.#takenBytes = 0;
    return bytes;
  }
}
