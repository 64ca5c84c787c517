/**
 * The streams of a server connection: which exist, what arrives for them, how they end.
 *
 * Frames for a stream that is not in the table are judged by its id (RFC 9113 §5.1): above the last one it is idle, and
 * only HEADERS may come; below, it is closed, and what happens depends on how it closed: silently ignored after a reset
 * of ours, a stream error after one of the peer's, a connection error after a regular end.
 *
 * A stream whose response is complete while the request is not gets an RST_STREAM(NO_ERROR) behind it (§8.1): sent with
 * the output of the tick, so that a request whose end is already under way ends in peace.
 *
 * Invariants: `held` counts the streams that are open or whose handler still runs; a receiver hears of the end of its
 * stream exactly once: both sides ended, or `onReset`.
 */
import { assert } from '../../base/assert.js';
import type { ConnectionBudgets } from './connection-budgets.js';
import { ErrorCode } from './error-codes.js';
import { sendRstStream, streamIdLargest } from './frames.js';
import type { BlockProblem, HeaderBlocks } from './header-blocks.js';
import type { HeaderSet } from './hpack/encoder.js';
import type { HeaderField } from './hpack/field.js';
import type { Http2Limits } from './limits.js';
import type { OutputBuffer } from './output.js';
import { ReceiveWindows } from './receive-windows.js';
import type { RequestHead } from './request-head.js';
import { ResetStreams } from './reset-streams.js';
import type { SendSide } from './send-side.js';
import { type ResetCause, Stream, type StreamOwner, type StreamReceiver, StreamState } from './stream.js';

/** What the table needs of the connection around it. */
export interface StreamTableOptions {
  readonly limits: Http2Limits;
  readonly budgets: ConnectionBudgets;
  readonly blocks: HeaderBlocks;
  readonly output: OutputBuffer;
  readonly accept: (stream: Stream, head: RequestHead) => StreamReceiver;
  /** A connection error. */
  readonly fail: (code: ErrorCode, text: string) => void;
  /** Something may have been written. */
  readonly touch: () => void;
}

const noTrailers: readonly HeaderField[] = [];

export class StreamTable implements StreamOwner {
  readonly #options: StreamTableOptions;
  readonly #limits: Http2Limits;
  readonly #output: OutputBuffer;
  readonly #streams = new Map<number, Stream>();
  readonly #resets: ResetStreams;
  readonly #receiveWindows: ReceiveWindows;
  /** Streams whose response is complete while their request is not. */
  #endedEarly: Stream[] = [];
  /** The last range of ids that the peer passed over: those streams were never used. */
  #gapFrom = 0;
  #gapTo = 0;
  readonly #windows: { receive: number; send: number };

  /** Set right after construction: the two need each other. */
  send!: SendSide;
  /** The newest stream that was begun. */
  lastStreamId = 0;
  /** Streams above are none of ours: a GOAWAY said so. */
  lastAcceptedId = streamIdLargest;
  /** Streams that are open or whose handler runs. */
  held = 0;

  constructor(options: StreamTableOptions) {
    this.#options = options;
    this.#limits = options.limits;
    this.#output = options.output;
    this.#resets = new ResetStreams(options.limits.resetStreamsRemembered);
    this.#receiveWindows = new ReceiveWindows(options.limits, options.output);
    this.#windows = { receive: options.limits.streamWindowBytes, send: 0 };
  }

  /** Streams that are not closed. */
  get size(): number {
    return this.#streams.size;
  }

  // What arrives. -----------------------------------------------------------------------------------------------------

  /** A header block, whole. */
  headers(streamId: number, endStream: boolean, bytes: Uint8Array, from: number, to: number) {
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) return this.#trailers(stream, endStream, bytes, from, to);
    if (streamId % 2 === 0) return this.#fail(ErrorCode.ProtocolError, "HEADERS on a stream that is not the client's");
    if (streamId <= this.lastStreamId || streamId > this.lastAcceptedId) {
      if (!this.#options.blocks.skip(bytes, from, to)) return this.#fail(ErrorCode.CompressionError, 'header block');
      if (streamId <= this.lastStreamId) this.#late(streamId, true, false);
      return;
    }
    if (streamId > this.lastStreamId + 2) {
      this.#gapFrom = this.lastStreamId + 1;
      this.#gapTo = streamId - 1;
    }
    this.lastStreamId = streamId;
    const head = this.#options.blocks.request(bytes, from, to);
    if (typeof head === 'string') return this.#refuseBlock(streamId, head);
    if (endStream && head.contentLength > 0) return this.#refuseNew(streamId, ErrorCode.ProtocolError);
    if (this.held >= this.#limits.concurrentStreamsMax) return this.#refuseNew(streamId, ErrorCode.RefusedStream);
    this.#windows.send = this.send.initialWindowBytes;
    const opened = new Stream(streamId, this, endStream, head.contentLength, this.#windows);
    this.#streams.set(streamId, opened);
    this.held += 1;
    const receiver = this.#options.accept(opened, head);
    opened.receiver = receiver;
    if (opened.resetUntold !== undefined) receiver.onReset(opened.resetUntold.cause, opened.resetUntold.code);
    else if (endStream) receiver.onEnd(noTrailers);
  }

  /** DATA with its padding removed; `frameBytes` is what it takes from the windows. */
  data(streamId: number, endStream: boolean, bytes: Uint8Array, from: number, to: number, frameBytes: number) {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return this.#late(streamId, false, frameBytes > 0);
    if (stream.state === StreamState.HalfClosedRemote) return this.#refuse(stream, ErrorCode.StreamClosed);
    if (frameBytes > stream.receiveWindow) return this.#refuse(stream, ErrorCode.FlowControlError);
    stream.receiveWindow -= frameBytes;
    const length = to - from;
    if (stream.contentLeft !== -1) {
      stream.contentLeft -= length;
      if (stream.contentLeft < 0 || (endStream && stream.contentLeft > 0)) {
        return this.#refuse(stream, ErrorCode.ProtocolError);
      }
    }
    if (length > 0) stream.receiver!.onData(bytes, from, to);
    else if (!endStream && !this.#idle()) return;
    if (endStream) this.#remoteEnd(stream, noTrailers);
    else if (stream.state === StreamState.Open) this.#receiveWindows.received(stream, length);
  }

  /** RST_STREAM. */
  rstStream(streamId: number, code: ErrorCode) {
    if (this.#isIdle(streamId)) return this.#fail(ErrorCode.ProtocolError, 'RST_STREAM on an idle stream');
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      this.#idle();
      return;
    }
    this.#resets.add(streamId, true);
    this.#close(stream);
    tellReset(stream, 'peer', code);
    if (!this.#options.budgets.resets.spend()) this.#fail(ErrorCode.EnhanceYourCalm, 'too many resets');
  }

  /** WINDOW_UPDATE of a stream. */
  windowUpdate(streamId: number, bytes: number) {
    if (this.#isIdle(streamId)) return this.#fail(ErrorCode.ProtocolError, 'WINDOW_UPDATE on an idle stream');
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return; // may cross with the end of its stream (§5.1)
    if (bytes === 0) return this.#refuse(stream, ErrorCode.ProtocolError);
    if (!this.send.widenStream(stream, bytes)) this.#refuse(stream, ErrorCode.FlowControlError);
  }

  /** PRIORITY of a stream on itself: an error of RFC 7540 that peers may still look for (§5.3.1). */
  selfDependency(streamId: number): void {
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) this.#refuse(stream, ErrorCode.ProtocolError);
    else this.#fail(ErrorCode.ProtocolError, 'a stream depends on itself');
  }

  /** The peer's SETTINGS_INITIAL_WINDOW_SIZE changed (§6.9.2). */
  initialWindowChanged(deltaBytes: number) {
    for (const stream of this.#streams.values()) {
      if (!this.send.widenStream(stream, deltaBytes)) {
        return this.#fail(ErrorCode.FlowControlError, 'initial window overflows a stream');
      }
    }
  }

  /** The connection is gone: every stream is, and says so to its receiver. */
  abort(code: ErrorCode): void {
    this.#receiveWindows.close();
    for (const stream of [...this.#streams.values()]) {
      this.#close(stream);
      tellReset(stream, 'connection', code);
    }
  }

  /** Resets the streams that were answered before their request was complete. Call before the output is taken. */
  settleEarly(): void {
    if (this.#endedEarly.length === 0) return;
    const ended = this.#endedEarly;
    this.#endedEarly = [];
    for (const stream of ended) {
      if (stream.state !== StreamState.HalfClosedLocal) continue;
      sendRstStream(this.#output, stream.id, ErrorCode.NoError);
      this.#resets.add(stream.id, false);
      this.#close(stream);
    }
  }

  /** Our side of a stream has ended: its last frame is in the output. */
  localEnd(stream: Stream): void {
    if (stream.state === StreamState.HalfClosedRemote) {
      this.#close(stream);
      return;
    }
    assert(stream.state === StreamState.Open, 'ended a stream twice', { stream: stream.id, state: stream.state });
    stream.state = StreamState.HalfClosedLocal;
    this.#endedEarly.push(stream);
  }

  // What the handlers send (StreamOwner). -----------------------------------------------------------------------------

  respond(
    stream: Stream,
    headers: HeaderSet,
    head: Uint8Array,
    body: Uint8Array,
    trailers: HeaderSet,
    given: boolean,
  ): void {
    if (!this.#maySend(stream, Number.MAX_SAFE_INTEGER)) return;
    this.send.headers(stream, headers, false);
    this.send.data(stream, head, body, given);
    this.send.end(stream, trailers);
    this.#options.touch();
  }

  sendHeaders(stream: Stream, headers: HeaderSet, endStream: boolean): void {
    if (stream.localEnded) return;
    this.send.headers(stream, headers, endStream);
    this.#options.touch();
  }

  sendData(stream: Stream, head: Uint8Array, body: Uint8Array, given: boolean): boolean {
    if (!this.#maySend(stream, this.#limits.streamUnsentBytesMax)) return false;
    const more = this.send.data(stream, head, body, given);
    this.#options.touch();
    return more;
  }

  end(stream: Stream, trailers: HeaderSet): void {
    if (stream.localEnded) return;
    this.send.end(stream, trailers);
    this.#options.touch();
  }

  reset(stream: Stream, code: number): void {
    if (stream.state === StreamState.Closed) return;
    this.#resetByUs(stream, code);
    this.#options.touch();
  }

  released(stream: Stream): void {
    if (stream.state === StreamState.Closed) this.held -= 1;
    this.#receiveWindows.leave(stream);
    this.#options.touch();
  }

  // -------------------------------------------------------------------------------------------------------------------

  /** False: the stream is gone, or goes now because its reader lets too much pile up. */
  #maySend(stream: Stream, unsentBytesMax: number): boolean {
    if (stream.localEnded) return false;
    if (stream.queuedBytes <= unsentBytesMax && !this.send.isFull) return true;
    this.#resetByUs(stream, ErrorCode.EnhanceYourCalm);
    tellReset(stream, 'slow-reader', ErrorCode.EnhanceYourCalm);
    this.#options.touch();
    return false;
  }

  #trailers(stream: Stream, endStream: boolean, bytes: Uint8Array, from: number, to: number) {
    const trailers = this.#options.blocks.trailers(bytes, from, to);
    if (trailers === 'compression') return this.#fail(ErrorCode.CompressionError, 'header block');
    if (stream.state === StreamState.HalfClosedRemote) return this.#refuse(stream, ErrorCode.StreamClosed);
    if (trailers === 'too-large') return this.#refuse(stream, ErrorCode.EnhanceYourCalm);
    if (trailers === 'malformed' || !endStream || stream.contentLeft > 0) {
      return this.#refuse(stream, ErrorCode.ProtocolError);
    }
    this.#remoteEnd(stream, trailers);
  }

  #remoteEnd(stream: Stream, trailers: readonly HeaderField[]): void {
    if (stream.state === StreamState.Open) stream.state = StreamState.HalfClosedRemote;
    else if (stream.state === StreamState.HalfClosedLocal) this.#close(stream);
    else return; // its receiver reset it
    stream.receiver!.onEnd(trailers);
  }

  /** HEADERS or DATA for a stream that is not in the table. `paid`: flow control bounds it. */
  #late(streamId: number, headers: boolean, paid: boolean) {
    if (this.#isIdle(streamId)) return this.#fail(ErrorCode.ProtocolError, 'DATA on an idle stream');
    if (streamId > this.lastAcceptedId) return;
    if (streamId >= this.#gapFrom && streamId <= this.#gapTo) {
      return this.#fail(ErrorCode.ProtocolError, 'a stream that was passed over');
    }
    const resetBy = this.#resets.find(streamId);
    if (resetBy === undefined) {
      return this.#fail(ErrorCode.StreamClosed, headers ? 'HEADERS on a closed stream' : 'DATA on a closed stream');
    }
    if (resetBy === 'us' && paid) return;
    if (!this.#idle() || resetBy === 'us') return;
    this.#refuseNew(streamId, ErrorCode.StreamClosed);
  }

  #isIdle(streamId: number): boolean {
    return streamId % 2 === 0 || (streamId > this.lastStreamId && streamId <= this.lastAcceptedId);
  }

  /** Counts a frame that changed nothing. False: there were too many. */
  #idle(): boolean {
    if (this.#options.budgets.idleFrames.spend()) return true;
    this.#fail(ErrorCode.EnhanceYourCalm, 'too many frames without effect');
    return false;
  }

  #refuseBlock(streamId: number, problem: BlockProblem) {
    if (problem === 'compression') return this.#fail(ErrorCode.CompressionError, 'header block');
    this.#refuseNew(streamId, problem === 'too-large' ? ErrorCode.EnhanceYourCalm : ErrorCode.ProtocolError);
  }

  /** A stream error of a stream that never came to be, or is gone. */
  #refuseNew(streamId: number, code: ErrorCode): void {
    sendRstStream(this.#output, streamId, code);
    this.#resets.add(streamId, false);
    this.#countReset();
  }

  /** A stream error: RST_STREAM, and the receiver is told. */
  #refuse(stream: Stream, code: ErrorCode): void {
    this.#resetByUs(stream, code);
    tellReset(stream, 'protocol', code);
  }

  #resetByUs(stream: Stream, code: ErrorCode): void {
    sendRstStream(this.#output, stream.id, code);
    this.#resets.add(stream.id, false);
    this.#close(stream);
    this.#countReset();
  }

  #countReset(): void {
    if (!this.#options.budgets.resets.spend()) this.#fail(ErrorCode.EnhanceYourCalm, 'too many resets');
  }

  #close(stream: Stream): void {
    stream.state = StreamState.Closed;
    this.#streams.delete(stream.id);
    this.#receiveWindows.leave(stream);
    if (stream.queuedBytes > 0) this.send.drop(stream);
    if (stream.handlerEnded) this.held -= 1;
  }

  #fail(code: ErrorCode, text: string): void {
    this.#options.fail(code, text);
  }
}

/** Tells the receiver that its stream is gone; later, when the stream is still being accepted. */
function tellReset(stream: Stream, cause: ResetCause, code: ErrorCode): void {
  if (stream.receiver === undefined) stream.resetUntold = { cause, code };
  else stream.receiver.onReset(cause, code);
}
