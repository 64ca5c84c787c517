/**
 * Streams that were reset lately: the peer may have had frames under way for them (RFC 9113 §5.1, "closed").
 *
 * A ring of the last n ids. Ids that fell out of the ring are only remembered as "an older one was forgotten": frames
 * for such streams get the benefit of the doubt.
 */
export class ResetStreams {
  readonly #remembered: number;
  /** Allocated with the first reset: most connections never see one. */
  #ids = new Uint32Array(0);
  #byPeer = new Uint8Array(0);
  #next = 0;
  #forgottenLargest = 0;

  constructor(remembered: number) {
    this.#remembered = remembered;
  }

  /** Remembers a stream that the peer (or we) reset. */
  add(streamId: number, byPeer: boolean): void {
    if (this.#ids.length === 0) {
      this.#ids = new Uint32Array(this.#remembered);
      this.#byPeer = new Uint8Array(this.#remembered);
    }
    const forgotten = this.#ids[this.#next]!;
    if (forgotten > this.#forgottenLargest) this.#forgottenLargest = forgotten;
    this.#ids[this.#next] = streamId;
    this.#byPeer[this.#next] = byPeer ? 1 : 0;
    this.#next = (this.#next + 1) % this.#ids.length;
  }

  /** Who reset the stream; undefined: nobody did, as far as is remembered. */
  find(streamId: number): 'peer' | 'us' | undefined {
    const at = this.#ids.indexOf(streamId);
    if (at !== -1) return this.#byPeer[at] === 1 ? 'peer' : 'us';
    return streamId <= this.#forgottenLargest ? 'us' : undefined;
  }
}
