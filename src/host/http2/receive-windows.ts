/**
 * How much the peer may send on each stream of a connection: back-pressure for what is not whole yet.
 *
 *     narrow    what its receiver holds of something unfinished is not given back: at most `streamWindowBytes` of it
 *       |  ^    that will never fit
 *       v  |
 *     waiting   in line with the others of its connection; nothing is given back
 *       |  ^
 *       v  |    there is room: fewer than `wideStreamsMax` are wide, and all of them together will hold no more than
 *     wide      `wideBytesMax`, or it is alone
 *
 * A wide stream's window is opened for what it misses, at once. When its receiver holds that no longer, or the handler or
 * the stream has ended, its room goes to the next in line. So a large request beside hundreds of others only waits for
 * its turn, also with whoever is at work on them, and a connection holds no more than `wideBytesMax` (or one request, if
 * that is larger) and a narrow window a stream. Who says less than it misses, because it does not know, gets one narrow
 * window after the other.
 *
 * Invariants: a stream that is not wide holds at most `streamWindowBytes`; nobody waits while nobody is wide; who came
 * first is widened first, so that a message which needs the room of many is not passed over for ever. All steps are O(1).
 */
import { assert } from '../../base/assert.js';
import { sendWindowUpdate, windowBytesLargest } from './frames.js';
import type { Http2Limits } from './limits.js';
import type { OutputBuffer } from './output.js';
import { type Stream, StreamState, Width } from './stream.js';

export class ReceiveWindows {
  readonly #limits: Http2Limits;
  readonly #output: OutputBuffer;
  #firstWaiting: Stream | undefined = undefined;
  #lastWaiting: Stream | undefined = undefined;
  #wideStreams = 0;
  /** What they will hold, the sum of their `wholeBytes`. */
  #wideBytes = 0;

  constructor(limits: Http2Limits, output: OutputBuffer) {
    this.#limits = limits;
    this.#output = output;
  }

  /** The receiver of an open stream has heard `bytes` of data. */
  received(stream: Stream, bytes: number) {
    const { heldBytes, missingBytes } = stream.receiver!;
    // Otherwise it has let go of something, even if more has begun behind it.
    const goesOn = heldBytes === stream.heldBytes + bytes;
    stream.heldBytes = heldBytes;
    if (!goesOn) this.leave(stream);
    const wholeBytes = heldBytes + missingBytes;
    const narrowBytes = this.#limits.streamWindowBytes;
    if (stream.width === Width.Wide) {
      this.#wideBytes += wholeBytes - stream.wholeBytes;
      stream.wholeBytes = wholeBytes;
      if (stream.receiveWindow < Math.min(missingBytes, narrowBytes / 2)) this.#openWide(stream);
      return;
    }
    assert(heldBytes <= narrowBytes, 'a narrow stream holds more than its window', { stream: stream.id, heldBytes });
    if (wholeBytes > narrowBytes) return this.#wait(stream, wholeBytes);
    const moreBytes = narrowBytes - heldBytes - stream.receiveWindow;
    if (moreBytes * 2 >= narrowBytes || stream.receiveWindow < missingBytes) this.#open(stream, moreBytes);
  }

  /** Nothing that the stream's receiver holds matters any more: the next in line may go on. */
  leave(stream: Stream): void {
    if (stream.width === Width.Narrow) return;
    if (stream.width === Width.Waiting) {
      this.#unlink(stream);
    } else {
      this.#wideStreams -= 1;
      this.#wideBytes -= stream.wholeBytes;
    }
    stream.width = Width.Narrow;
    this.#widenNext();
  }

  /** The connection is gone: nobody is widened any more. */
  close(): void {
    let waiting = this.#firstWaiting;
    for (; waiting !== undefined; waiting = this.#firstWaiting) {
      this.#unlink(waiting);
      waiting.width = Width.Narrow;
    }
  }

  #wait(stream: Stream, wholeBytes: number): void {
    stream.wholeBytes = wholeBytes;
    if (stream.width === Width.Waiting) return;
    stream.width = Width.Waiting;
    stream.previousWaiting = this.#lastWaiting;
    if (this.#lastWaiting === undefined) this.#firstWaiting = stream;
    else this.#lastWaiting.nextWaiting = stream;
    this.#lastWaiting = stream;
    this.#widenNext();
  }

  #unlink(stream: Stream): void {
    const { previousWaiting, nextWaiting } = stream;
    if (previousWaiting === undefined) this.#firstWaiting = nextWaiting;
    else previousWaiting.nextWaiting = nextWaiting;
    if (nextWaiting === undefined) this.#lastWaiting = previousWaiting;
    else nextWaiting.previousWaiting = previousWaiting;
    stream.previousWaiting = undefined;
    stream.nextWaiting = undefined;
  }

  /** Widens those who wait, as long as there is room for the first of them. */
  #widenNext(): void {
    let next = this.#firstWaiting;
    for (; next !== undefined && this.#hasRoom(next.wholeBytes); next = this.#firstWaiting) {
      this.#unlink(next);
      next.width = Width.Wide;
      this.#wideStreams += 1;
      this.#wideBytes += next.wholeBytes;
      this.#openWide(next);
    }
    assert(next === undefined || this.#wideStreams > 0, 'streams wait for nobody', { wideBytes: this.#wideBytes });
  }

  #hasRoom(bytes: number): boolean {
    if (this.#wideStreams === 0) return true;
    const { wideStreamsMax, wideBytesMax } = this.#limits;
    return this.#wideStreams < wideStreamsMax && this.#wideBytes + bytes <= wideBytesMax;
  }

  #openWide(stream: Stream): void {
    const missingBytes = Math.min(stream.receiver!.missingBytes, windowBytesLargest);
    const windowBytes = Math.max(missingBytes, this.#limits.streamWindowBytes);
    if (stream.state === StreamState.Open) this.#open(stream, windowBytes - stream.receiveWindow);
  }

  #open(stream: Stream, bytes: number): void {
    assert(bytes > 0, 'a window may only grow', { stream: stream.id, bytes });
    sendWindowUpdate(this.#output, stream.id, bytes);
    stream.receiveWindow += bytes;
  }
}
