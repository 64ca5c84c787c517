/**
 * The sending half of a connection: response frames, flow control, and fairness between streams.
 *
 *     respond/sendData --+-- windows open, nothing waits --> frames into the output at once
 *                        `-- otherwise --> the stream's queue --> round of ready streams --> one frame a turn
 *
 * A stream stands in the round while it has something queued and its own window is open; the round turns while the
 * connection's window is open and the output has room. So a large reply never holds more of itself in frames than
 * `outputBytesMax`, and a small one beside it waits for one frame, not for megabytes.
 *
 * Invariants: bytes sent on a stream never exceed its window nor the connection's (RFC 9113 §6.9.1); header blocks are
 * encoded when they are written, in that order; a part that waits was given, or is a copy of our own, whose segments go
 * back to the pool when they are written into frames or their stream is gone; `unsentBytes` is the sum of the streams'
 * `queuedBytes`, and that of streams which wait for nothing but their end is the measure of crowding: a connection
 * without streams is not crowded.
 */
import { assert } from '../../base/assert.js';
import {
  copyInto,
  FrameType,
  frameBytesDefault,
  frameHeaderBytes,
  sendHeaders,
  windowBytesDefault,
  windowBytesLargest,
  writeFrameHeader,
} from './frames.js';
import { Encoder, type HeaderSet } from './hpack/encoder.js';
import type { Http2Limits } from './limits.js';
import { type OutputBuffer, type SegmentPool, segmentBytes } from './output.js';
import type { Stream } from './stream.js';

/** What all connections of a process have queued together; whoever makes connections makes one. */
export interface SharedUnsent {
  bytes: number;
}

/** What a connection's options say of its sending half. */
export interface SendOptions {
  readonly limits: Http2Limits;
  /** Where copies of what waits are kept. */
  readonly pool: SegmentPool;
  /** Response bytes that wait on all connections together. */
  readonly shared: SharedUnsent;
  /** Many bytes of answers wait for the peer to take them; then, no longer so many. */
  readonly crowded: (isCrowded: boolean) => void;
}

/** Told when a stream's last frame has been written. */
export type LocalEndListener = (stream: Stream) => void;

const nothing = new Uint8Array(0);

export class SendSide {
  readonly encoder = new Encoder();
  readonly #output: OutputBuffer;
  readonly #limits: Http2Limits;
  readonly #pool: SegmentPool;
  /** Queued parts that go back to the pool. */
  readonly #kept = new Set<Uint8Array>();
  readonly #shared: SharedUnsent;
  readonly #crowded: (isCrowded: boolean) => void;
  readonly #localEnd: LocalEndListener;
  #roundFirst: Stream | undefined = undefined;
  #roundLast: Stream | undefined = undefined;
  #pumping = false;
  /** Bytes queued on streams whose trailers wait behind them. */
  #answerBytes = 0;
  #isCrowded = false;
  /** Since when nothing moves, and how far things had come; -1: they move. */
  #stalledSinceMs = -1;
  #dataFramesThen = 0;

  /** The connection's window: bytes of DATA that may still be sent. */
  windowBytes = windowBytesDefault;
  /** The peer's SETTINGS_INITIAL_WINDOW_SIZE. */
  initialWindowBytes = windowBytesDefault;
  /** Largest frame payload that we send: what the peer takes, but never more than everyone takes. */
  frameBytesMax = frameBytesDefault;
  /** Bytes that the socket holds unsent: set by whoever writes to it. */
  backlogBytes = 0;
  /** Bytes queued on all streams. */
  unsentBytes = 0;
  /** DATA frames sent so far, and header blocks. */
  dataFrames = 0;
  headerBlocks = 0;

  constructor(output: OutputBuffer, options: SendOptions, localEnd: LocalEndListener) {
    this.#output = output;
    this.#limits = options.limits;
    this.#pool = options.pool;
    this.#shared = options.shared;
    this.#crowded = options.crowded;
    this.#localEnd = localEnd;
  }

  /** False: the socket does not keep up; no DATA is made until it does. */
  get hasRoom(): boolean {
    return this.#output.length + this.backlogBytes < this.#limits.outputBytesMax;
  }

  /** Too much is queued to queue more: on this connection, or on all of them and this one has its share of that. */
  get isFull(): boolean {
    const { connectionUnsentBytesMax, sharedUnsentBytesMax, unsentShareBytes } = this.#limits;
    if (this.unsentBytes > connectionUnsentBytesMax) return true;
    return this.#shared.bytes > sharedUnsentBytesMax && this.unsentBytes > unsentShareBytes;
  }

  /** Much is queued and none of it could be sent for long. Ask about once a second. */
  isStalled(nowMs: number): boolean {
    const isMoving = this.unsentBytes <= this.#limits.stalledBytesMax || this.dataFrames !== this.#dataFramesThen;
    if (isMoving || this.#stalledSinceMs === -1) {
      this.#stalledSinceMs = isMoving ? -1 : nowMs;
      this.#dataFramesThen = this.dataFrames;
      return false;
    }
    return nowMs - this.#stalledSinceMs >= this.#limits.stalledTimeoutMs;
  }

  headers(stream: Stream, set: HeaderSet, endStream: boolean): void {
    this.headerBlocks += 1;
    sendHeaders(this.#output, stream.id, this.encoder.block(set), endStream, this.frameBytesMax);
    if (endStream) this.#localEnd(stream);
  }

  /** See Stream.sendData. */
  data(stream: Stream, head: Uint8Array, body: Uint8Array, given: boolean): boolean {
    const length = head.length + body.length;
    if (stream.queuedBytes === 0 && this.#fits(stream, length)) {
      const at = this.#output.reserve(frameHeaderBytes + length);
      const bytes = this.#output.bytes;
      const to = writeFrameHeader(bytes, at, length, FrameType.Data, 0, stream.id);
      copyInto(bytes, to, head, 0, head.length);
      copyInto(bytes, to + head.length, body, 0, body.length);
      this.#spent(stream, length);
      return true;
    }
    this.#enqueue(stream, head.slice());
    this.#enqueue(stream, body);
    this.#join(stream);
    this.pump();
    if (!given && stream.queuedBytes > 0) this.#keepLastPart(stream, body);
    stream.owesWritable ||= stream.queuedBytes > this.#limits.streamDrainBytes;
    return !stream.owesWritable;
  }

  /** Trailers behind what is queued. */
  end(stream: Stream, trailers: HeaderSet): void {
    assert(stream.trailers === undefined, 'a stream ended twice', { stream: stream.id });
    if (stream.queuedBytes === 0) {
      this.headers(stream, trailers, true);
      return;
    }
    stream.trailers = trailers;
    this.#countAnswer(stream.queuedBytes);
  }

  /** Forgets what a stream still had to send: it is gone. */
  drop(stream: Stream): void {
    this.#count(-stream.queuedBytes);
    if (stream.trailers !== undefined) this.#countAnswer(-stream.queuedBytes);
    for (let at = stream.queueFirst; at < stream.queue.length; at += 1) this.#release(stream.queue[at]!);
    stream.queuedBytes = 0;
    stream.queue = [];
    stream.queueFirst = 0;
    stream.queueOffset = 0;
    stream.trailers = undefined;
    stream.owesWritable = false;
  }

  /** The peer lets us send more on the connection. False: more than a window can hold (§6.9.1). */
  widenConnection(bytes: number): boolean {
    if (this.windowBytes + bytes > windowBytesLargest) return false;
    this.windowBytes += bytes;
    return true;
  }

  /** The peer lets us send more (or, with a negative number, less) on a stream. False: more than a window can hold. */
  widenStream(stream: Stream, bytes: number): boolean {
    if (stream.sendWindow + bytes > windowBytesLargest) return false;
    stream.sendWindow += bytes;
    this.#join(stream);
    return true;
  }

  /** Turns the round as long as windows and output allow. Call it whenever one of them opened. */
  pump(): void {
    if (this.#pumping) return; // a receiver sends more from within `onWritable`: the loop below sees it
    this.#pumping = true;
    while (this.windowBytes > 0 && this.hasRoom) {
      const stream = this.#roundFirst;
      if (stream === undefined) break;
      this.#roundFirst = stream.nextInRound;
      if (this.#roundFirst === undefined) this.#roundLast = undefined;
      stream.nextInRound = undefined;
      stream.inRound = false;
      if (stream.queuedBytes > 0 && stream.sendWindow > 0) this.#sendFrame(stream);
    }
    this.#pumping = false;
  }

  /**
   * One DATA frame of what a stream has queued, then its next place in the round, its trailers, or a word to its
   * owner.
   */
  #sendFrame(stream: Stream): void {
    const length = Math.min(stream.queuedBytes, stream.sendWindow, this.windowBytes, this.frameBytesMax);
    const at = this.#output.reserve(frameHeaderBytes + length);
    const to = writeFrameHeader(this.#output.bytes, at, length, FrameType.Data, 0, stream.id);
    this.#copyQueued(stream, this.#output.bytes, to, length);
    stream.queuedBytes -= length;
    this.#count(-length);
    if (stream.trailers !== undefined) this.#countAnswer(-length);
    this.#spent(stream, length);
    if (stream.queuedBytes > 0) {
      this.#join(stream);
    } else if (stream.trailers !== undefined) {
      this.headers(stream, stream.trailers, true);
      return;
    }
    if (stream.owesWritable && stream.queuedBytes <= this.#limits.streamDrainBytes / 2) {
      stream.owesWritable = false;
      stream.receiver?.onWritable();
    }
  }

  #copyQueued(stream: Stream, target: Uint8Array, at: number, length: number): void {
    let to = at;
    let left = length;
    while (left > 0) {
      const part = stream.queue[stream.queueFirst]!;
      const taken = Math.min(left, part.length - stream.queueOffset);
      copyInto(target, to, part, stream.queueOffset, stream.queueOffset + taken);
      to += taken;
      left -= taken;
      stream.queueOffset += taken;
      if (stream.queueOffset === part.length) {
        this.#release(part);
        stream.queue[stream.queueFirst] = nothing;
        stream.queueFirst += 1;
        stream.queueOffset = 0;
      }
    }
    if (stream.queueFirst === stream.queue.length) {
      stream.queue = [];
      stream.queueFirst = 0;
    } else if (stream.queueFirst >= 1_024) {
      stream.queue = stream.queue.slice(stream.queueFirst);
      stream.queueFirst = 0;
    }
  }

  #fits(stream: Stream, length: number): boolean {
    return length <= this.windowBytes && length <= stream.sendWindow && length <= this.frameBytesMax && this.hasRoom;
  }

  #spent(stream: Stream, length: number): void {
    stream.sendWindow -= length;
    this.windowBytes -= length;
    this.dataFrames += 1;
    assert(this.windowBytes >= 0 && stream.sendWindow >= 0, 'sent more than a window', { stream: stream.id });
  }

  #enqueue(stream: Stream, part: Uint8Array): void {
    if (part.length === 0) return;
    stream.queue.push(part);
    stream.queuedBytes += part.length;
    this.#count(part.length);
  }

  #count(bytes: number): void {
    this.unsentBytes += bytes;
    this.#shared.bytes += bytes;
  }

  /** Says it once when one of the marks is passed. */
  #countAnswer(bytes: number): void {
    this.#answerBytes += bytes;
    const { crowdedFromBytes, crowdedUntilBytes } = this.#limits;
    const isCrowded =
      this.#answerBytes > crowdedFromBytes || (this.#isCrowded && this.#answerBytes > crowdedUntilBytes);
    if (isCrowded === this.#isCrowded) return;
    this.#isCrowded = isCrowded;
    this.#crowded(isCrowded);
  }

  #join(stream: Stream): void {
    if (stream.inRound || stream.queuedBytes === 0 || stream.sendWindow <= 0) return;
    stream.inRound = true;
    if (this.#roundLast === undefined) this.#roundFirst = stream;
    else this.#roundLast.nextInRound = stream;
    this.#roundLast = stream;
  }

  /** Copies what is still queued of the borrowed `body`, the last part of the stream's queue. */
  #keepLastPart(stream: Stream, body: Uint8Array): void {
    const last = stream.queue.length - 1;
    if (stream.queue[last] !== body) return;
    stream.queue.pop();
    let at = stream.queueFirst === last ? stream.queueOffset : 0;
    if (at > 0) stream.queueOffset = 0;
    for (; body.length - at >= segmentBytes; at += segmentBytes) {
      const segment = this.#pool.take(true);
      copyInto(segment, 0, body, at, at + segmentBytes);
      this.#kept.add(segment);
      stream.queue.push(segment);
    }
    if (at < body.length) stream.queue.push(body.slice(at));
  }

  #release(part: Uint8Array): void {
    if (part.length === segmentBytes && this.#kept.delete(part)) this.#pool.give(part);
  }
}
