/**
 * A seeded fuzzer for the connection: valid conversations, cut anywhere, with frames changed, doubled, swapped and
 * lost.
 *
 * Whatever arrives: nothing throws, every frame that comes back is well formed, the windows hold (an assertion of the
 * code under test), every accepted request hears its end exactly once, and nothing is left when the connection is over.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { clientPreface } from '../../../src/host/http2/frames.js';
import {
  block,
  dataFrame,
  endTrailers,
  FrameType,
  frame,
  headersFrame,
  joined,
  literal,
  okHeaders,
  Peer,
  Phase,
  post,
  type Request,
  rstStreamFrame,
  Setting,
  settingsFrame,
  windowUpdateFrame,
} from './peer.js';

const conversations = 800;
const nothing = new Uint8Array(0);
const interesting = [0, 1, 2, 4, 5, 8, 9, 100, 16_383, 16_384, 16_385, 65_535, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];

class Fuzzer {
  readonly #prng: Prng;
  #nextId = 1;

  readonly #goaways: boolean;

  /** Without `goaways` the peer does not say goodbye: when a connection that may end does end depends on the cuts. */
  constructor(seed: number, goaways: boolean) {
    this.#prng = new Prng(seed);
    this.#goaways = goaways;
  }

  below(limit: number): number {
    return this.#prng.nextBelow(limit);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }

  /** A conversation as a list of byte strings, most of them frames. */
  conversation(): Uint8Array[] {
    const parts: Uint8Array[] = [clientPreface, settingsFrame(this.#settings())];
    const length = 1 + this.below(30);
    for (let index = 0; index < length; index += 1) parts.push(this.#mutated(this.#frame()));
    if (this.below(8) === 0) parts.splice(this.below(parts.length), 1);
    if (this.below(8) === 0) {
      const at = this.below(parts.length);
      parts.splice(at, 0, parts[this.below(parts.length)]!);
    }
    return parts;
  }

  #settings(): [number, number][] {
    return Array.from({ length: this.below(4) }, () => [this.pick(Object.values(Setting)), this.pick(interesting)]);
  }

  #frame(): Uint8Array {
    const id = this.below(4) === 0 ? this.pick([0, 1, 2, 3, 5, 7, 2 ** 31 - 1]) : Math.max(1, this.#nextId - 2);
    switch (this.below(14)) {
      case 0:
      case 1:
      case 2:
      case 3:
        this.#nextId += 2;
        return headersFrame(this.#nextId - 2, this.below(2) === 0, post);
      case 4:
        return frame(FrameType.Headers, this.below(256), id, this.#block());
      case 5:
        return dataFrame(id, this.below(3) === 0, this.#bytes(this.pick([0, 1, 5, 100, 20_000])));
      case 6:
        return frame(FrameType.Data, this.below(256), id, this.#bytes(this.below(50)));
      case 7:
        return rstStreamFrame(id, this.below(20));
      case 8:
        return windowUpdateFrame(this.below(3) === 0 ? 0 : id, this.pick(interesting));
      case 9:
        return settingsFrame(this.#settings());
      case 10:
        return frame(FrameType.Ping, this.below(2), 0, this.#bytes(8));
      case 11:
        return frame(FrameType.Continuation, this.below(2) * 4, id, this.#block());
      case 12:
        return this.#goaways ? frame(FrameType.Goaway, 0, 0, this.#bytes(8)) : settingsFrame([]);
      default:
        return frame(
          this.#goaways ? this.below(16) : 8 + this.below(8),
          this.below(256),
          id,
          this.#bytes(this.below(30)),
        );
    }
  }

  /** A header block that is often valid: indices, literals, size updates, and noise. */
  #block(): number[] {
    const bytes: number[] = this.below(2) === 0 ? block(post) : [];
    for (let index = this.below(6); index > 0; index -= 1) {
      const pieces = [
        [0x80 | this.below(128)],
        [0x40, ...literal('x'), ...literal('y'.repeat(this.below(60)))],
        [0x40 | this.below(64), ...literal('z')],
        [0x20 | this.below(32)],
        [0x00, ...literal('n'), 0x80 | this.below(8), ...this.#bytes(6)],
        [...this.#bytes(4)],
      ];
      bytes.push(...this.pick(pieces));
    }
    return bytes;
  }

  #bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }

  #mutated(bytes: Uint8Array): Uint8Array {
    if (this.below(6) !== 0) return bytes;
    const changed = bytes.slice();
    for (let times = 1 + this.below(3); times > 0; times -= 1) changed[this.below(changed.length)] = this.below(256);
    if (this.below(4) !== 0) return changed;
    const at = this.below(changed.length);
    return joined([changed.slice(0, at), changed.slice(at + this.below(4))]);
  }
}

/** What handlers do: at once, later, in pieces, never. */
function answer(fuzzer: Fuzzer, request: Request): void {
  const body = new Uint8Array(fuzzer.pick([0, 1, 100, 30_000, 200_000]));
  const { stream } = request;
  switch (fuzzer.below(6)) {
    case 0:
      return stream.respond(okHeaders, nothing, body, endTrailers, false);
    case 1:
      stream.sendHeaders(okHeaders, false);
      stream.sendData(nothing, body, true);
      request.onEndDo = () => stream.end(endTrailers);
      return;
    case 2:
      request.onEndDo = () => request.respond();
      return;
    case 3:
      return stream.sendHeaders(okHeaders, true);
    case 4:
      request.onDataDo = () => stream.reset(8);
      return;
    default:
      return;
  }
}

function converse(seed: number): void {
  const fuzzer = new Fuzzer(seed, true);
  const peer = new Peer({ streamUnsentBytesMax: 100_000, connectionUnsentBytesMax: 300_000, outputBytesMax: 50_000 });
  peer.onRequest = request => answer(fuzzer, request);
  const bytes = joined(fuzzer.conversation());
  let at = 0;
  while (at < bytes.length && peer.connection.phase !== Phase.Finished) {
    const length = 1 + fuzzer.below(fuzzer.pick([3, 40, 70_000]));
    peer.send(bytes.slice(at, at + length));
    at += length;
    peer.nowMs += fuzzer.below(20);
    if (fuzzer.below(3) === 0) peer.frames();
    if (fuzzer.below(5) === 0) peer.connection.setBacklog(fuzzer.pick([0, 0, 100_000]));
    if (fuzzer.below(9) === 0) peer.connection.tick(peer.nowMs);
    if (fuzzer.below(40) === 0) peer.connection.shutdown();
  }
  peer.frames();
  peer.connection.abort();
  assert.equal(peer.connection.streams, 0);
  assert.equal(peer.connection.unsentBytes, 0);
  for (const { stream } of peer.requests) stream.release();
  assert.equal(peer.connection.handlers, 0);
}

it(`keeps its promises in ${conversations} broken conversations`, () => {
  for (let seed = 1; seed <= conversations; seed += 1) {
    try {
      converse(seed);
    } catch (error) {
      throw new Error(`conversation ${seed}`, { cause: error });
    }
  }
});

it('comes to the same requests wherever the bytes are cut', () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const bytes = joined(new Fuzzer(seed, false).conversation());
    const seen = [1, 7, bytes.length].map(size => {
      const peer = new Peer();
      for (let at = 0; at < bytes.length && peer.connection.phase !== Phase.Finished; at += size) {
        peer.send(bytes.slice(at, at + size));
      }
      const requests = peer.requests.map(({ head, received, ended, resets }) => [head.path, received, ended, resets]);
      return JSON.stringify([peer.connection.phase, requests]);
    });
    assert.equal(seen[0], seen[2], `conversation ${seed}`);
    assert.equal(seen[1], seen[2], `conversation ${seed}`);
  }
});
