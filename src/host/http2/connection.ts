/**
 * The server side of one HTTP/2 connection (RFC 9113) as a pure state machine: bytes in, bytes out.
 *
 *     receive(bytes) -> frames -> StreamTable -> the receivers that `accept` returned
 *     respond, sendData, ... -> SendSide -> output -> takeOutput()
 *
 *     Preface --client preface--> Settings --SETTINGS--> Open --shutdown()--> Draining --last stream--> Finished
 *        \______________________________\_____ connection error: GOAWAY _____/___________________________^
 *
 * Frames are parsed where they lie; only a frame that the chunk cuts in two is copied aside. An error's scope is
 * where it is reported: here and by `fail` it ends the connection, StreamTable ends single streams.
 *
 * Invariants: the first frame out is SETTINGS; stream ids only grow; nothing is read or written after Finished, and by
 * then every receiver has heard the end of its stream.
 */
import { assert } from '../../base/assert.js';
import { ConnectionBudgets } from './connection-budgets.js';
import { ErrorCode } from './error-codes.js';
import * as frames from './frames.js';
import {
  Flag,
  FrameType,
  frameHeaderBytes,
  readUint16,
  readUint24,
  readUint31,
  readUint32,
  Setting,
} from './frames.js';
import { HeaderBlocks } from './header-blocks.js';
import { Keepalive } from './keepalive.js';
import type { Http2Limits } from './limits.js';
import { OutputBuffer, type Segment, type SegmentPool } from './output.js';
import type { RequestHead } from './request-head.js';
import { type SendOptions, SendSide } from './send-side.js';
import { ownSettings, settingError } from './settings.js';
import type { Stream, StreamReceiver } from './stream.js';
import { StreamTable } from './stream-table.js';

export const Phase = { Preface: 0, Settings: 1, Open: 2, Draining: 3, Finished: 4 } as const;
export type Phase = (typeof Phase)[keyof typeof Phase];

export interface ConnectionOptions extends SendOptions {
  /** Monotonic milliseconds. */
  readonly clock: () => number;
  readonly pool: SegmentPool;
  /** Decides who answers a request; called for each one, before any of its data. */
  readonly accept: (stream: Stream, head: RequestHead) => StreamReceiver;
  /** Output appeared, or the connection finished: someone should call `takeOutput` soon. Once until that call. */
  readonly wake: () => void;
}

/** What the ping between the two GOAWAY frames of a shutdown carries. */
const shutdownPing = Uint8Array.of(0x6b, 0x76, 0x6f, 0x72, 0x75, 0x6d, 0x00, 0x01);

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #limits: Http2Limits;
  readonly #output: OutputBuffer;
  readonly #budgets: ConnectionBudgets;
  readonly #blocks: HeaderBlocks;
  readonly #send: SendSide;
  readonly #streams: StreamTable;
  readonly #keepalive: Keepalive;
  #phase: Phase = Phase.Preface;
  #prefaceSeen = 0;
  /** The beginning of a frame whose rest has not arrived. */
  #held = new Uint8Array(0);
  #heldLength = 0;
  #receiving = false;
  #awake = false;
  /** Our window for the connection: what the peer may still send, and what has arrived since the last update. */
  #receiveWindow: number;
  #receivedBytes = 0;
  #dataFramesCredited = 0;
  #peerLeft = false;
  readonly #openedMs: number;
  #blockBegunMs = 0;
  #shutdownMs = 0;
  /** Frames that the peer has sent, and requests to their end. */
  frames = 0;
  requests = 0;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#limits = options.limits;
    this.#output = new OutputBuffer(options.pool);
    this.#budgets = new ConnectionBudgets(options.limits, options.clock);
    this.#blocks = new HeaderBlocks(options.limits);
    this.#openedMs = options.clock();
    this.#keepalive = new Keepalive(options.limits, this.#openedMs);
    this.#receiveWindow = options.limits.connectionWindowBytes;
    this.#streams = new StreamTable({
      limits: options.limits,
      budgets: this.#budgets,
      blocks: this.#blocks,
      output: this.#output,
      accept: options.accept,
      fail: (code, text) => this.fail(code, text),
      touch: () => this.#touch(),
    });
    this.#send = new SendSide(this.#output, options, stream => this.#streams.localEnd(stream));
    this.#streams.send = this.#send;
    frames.sendSettings(this.#output, ownSettings(options.limits));
    const widerBytes = options.limits.connectionWindowBytes - frames.windowBytesDefault;
    assert(widerBytes >= 0, 'the connection window may not be smaller than the protocol makes it', { widerBytes });
    if (widerBytes > 0) frames.sendWindowUpdate(this.#output, 0, widerBytes);
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** Streams that are not closed. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Streams that are open or whose handler still runs. */
  get handlers(): number {
    return this.#streams.held;
  }

  /** Response bytes that no window or socket took yet. */
  get unsentBytes(): number {
    return this.#send.unsentBytes;
  }

  /** False: so much output waits that nothing more should be read (reading makes output: acks, errors, replies). */
  get wantsInput(): boolean {
    return this.#send.hasRoom;
  }

  /** Takes bytes from the peer. Views that receivers get are valid during the call only. */
  receive(bytes: Uint8Array): void {
    assert(!this.#receiving, 'a connection received from within its own receivers');
    this.#receiving = true;
    this.#keepalive.heard = true;
    let at = this.#phase === Phase.Preface ? this.#readPreface(bytes) : 0;
    if (this.#heldLength > 0) at = this.#completeHeld(bytes, at);
    while (this.#phase !== Phase.Finished && bytes.length - at >= frameHeaderBytes) {
      const length = readUint24(bytes, at);
      if (length > this.#limits.frameBytesMax) {
        this.fail(ErrorCode.FrameSizeError, 'frame larger than SETTINGS_MAX_FRAME_SIZE');
        break;
      }
      if (bytes.length - at < frameHeaderBytes + length) break;
      this.#frame(bytes, at, length);
      at += frameHeaderBytes + length;
    }
    if (this.#phase !== Phase.Finished) {
      if (at < bytes.length) this.#hold(bytes, at);
      this.#send.pump();
      this.#finishIfIdle();
    }
    this.#receiving = false;
    this.#touch();
  }

  /** Hands over what is to be written to the socket now; the segments go back to the pool afterwards. */
  takeOutput(): Segment[] {
    this.#awake = false;
    if (this.#phase !== Phase.Finished) {
      this.#streams.settleEarly();
      this.#finishIfIdle();
    }
    return this.#output.take();
  }

  /** The socket holds so many bytes that it has not sent. Call it after writing and when it drained. */
  setBacklog(bytes: number): void {
    this.#send.backlogBytes = bytes;
    if (this.#phase === Phase.Finished) return;
    this.#send.pump();
    this.#touch();
  }

  /** Looks at what has been waited for too long. Call it about once a second. */
  tick(nowMs: number) {
    if (this.#phase === Phase.Finished) return;
    const limits = this.#limits;
    if (this.#phase <= Phase.Settings && nowMs - this.#openedMs > limits.prefaceTimeoutMs) {
      return this.fail(ErrorCode.SettingsTimeout, 'no SETTINGS in time');
    }
    if (this.#blocks.collectingStreamId !== 0 && nowMs - this.#blockBegunMs > limits.headerBlockTimeoutMs) {
      return this.fail(ErrorCode.EnhanceYourCalm, 'header block not finished in time');
    }
    if (this.#phase === Phase.Draining && this.#streams.lastAcceptedId === frames.streamIdLargest) {
      if (nowMs - this.#shutdownMs > limits.keepaliveTimeoutMs) this.#announceLastStream();
    }
    if (this.#send.isStalled(nowMs)) return this.fail(ErrorCode.EnhanceYourCalm, 'responses are not read');
    const word = this.#keepalive.tick(nowMs);
    if (word === 'dead') return this.fail(ErrorCode.NoError, 'keepalive ping not answered');
    if (word === 'ping') frames.sendPing(this.#output, false, Keepalive.data, 0);
    this.#finishIfIdle();
    this.#touch();
  }

  /** Says goodbye: streams that are under way are served to their end, then the connection finishes (§6.8). */
  shutdown() {
    if (this.#phase >= Phase.Draining) return;
    if (this.#phase !== Phase.Open) return this.fail(ErrorCode.NoError, 'shutdown');
    this.#phase = Phase.Draining;
    this.#shutdownMs = this.#options.clock();
    frames.sendGoaway(this.#output, frames.streamIdLargest, ErrorCode.NoError, '');
    frames.sendPing(this.#output, false, shutdownPing, 0);
    this.#touch();
  }

  /** A connection error: GOAWAY, every stream ends, nothing more is read (§5.4.1). */
  fail(code: ErrorCode, text: string): void {
    if (this.#phase === Phase.Finished) return;
    const last = Math.min(this.#streams.lastStreamId, this.#streams.lastAcceptedId);
    frames.sendGoaway(this.#output, last, code, text);
    this.#finish(code);
  }

  /** The socket is gone: every stream ends, nothing is sent. */
  abort(): void {
    if (this.#phase !== Phase.Finished) this.#finish(ErrorCode.NoError);
    this.#output.discard();
  }

  #finish(code: ErrorCode): void {
    this.#phase = Phase.Finished;
    this.#held = new Uint8Array(0);
    this.#streams.abort(code);
    this.#awake = true;
    this.#options.wake();
  }

  #finishIfIdle(): void {
    if (this.#streams.size > 0 || this.#phase < Phase.Open) return;
    const drained = this.#phase === Phase.Draining && this.#streams.lastAcceptedId !== frames.streamIdLargest;
    if (drained || this.#peerLeft) this.#finish(ErrorCode.NoError);
  }

  #touch(): void {
    if (this.#awake || this.#output.length === 0) return;
    this.#awake = true;
    this.#options.wake();
  }

  // Bytes to frames. --------------------------------------------------------------------------------------------------

  #readPreface(bytes: Uint8Array): number {
    const expected = frames.clientPreface;
    let at = 0;
    while (at < bytes.length && this.#prefaceSeen < expected.length) {
      if (bytes[at] !== expected[this.#prefaceSeen]) {
        this.fail(ErrorCode.ProtocolError, 'not the client preface');
        return bytes.length;
      }
      at += 1;
      this.#prefaceSeen += 1;
    }
    if (this.#prefaceSeen === expected.length) this.#phase = Phase.Settings;
    return at;
  }

  #hold(bytes: Uint8Array, from: number): void {
    this.#holdUpTo(bytes, from, bytes.length);
  }

  #holdUpTo(bytes: Uint8Array, from: number, to: number): void {
    const length = this.#heldLength + to - from;
    if (length > this.#held.length) {
      const grown = new Uint8Array(Math.max(length, Math.min(256 + length * 2, this.#limits.frameBytesMax)));
      grown.set(this.#held.subarray(0, this.#heldLength));
      this.#held = grown;
    }
    frames.copyInto(this.#held, this.#heldLength, bytes, from, to);
    this.#heldLength = length;
  }

  /** Adds to the frame that is held until it is whole; returns the place behind what it took. */
  #completeHeld(bytes: Uint8Array, from: number): number {
    let at = Math.min(bytes.length, from + Math.max(0, frameHeaderBytes - this.#heldLength));
    this.#holdUpTo(bytes, from, at);
    if (this.#heldLength < frameHeaderBytes) return at;
    const length = readUint24(this.#held, 0);
    if (length > this.#limits.frameBytesMax) {
      this.fail(ErrorCode.FrameSizeError, 'frame larger than SETTINGS_MAX_FRAME_SIZE');
      return bytes.length;
    }
    const end = Math.min(bytes.length, at + frameHeaderBytes + length - this.#heldLength);
    this.#holdUpTo(bytes, at, end);
    at = end;
    if (this.#heldLength < frameHeaderBytes + length) return at;
    const frame = this.#held;
    this.#heldLength = 0;
    this.#frame(frame, 0, length);
    return at;
  }

  #frame(bytes: Uint8Array, at: number, length: number) {
    this.frames += 1;
    const type = bytes[at + 3]!;
    const flags = bytes[at + 4]!;
    const streamId = readUint31(bytes, at + 5);
    const from = at + frameHeaderBytes;
    const to = from + length;
    if ((flags & Flag.EndStream) !== 0 && type <= FrameType.Headers) this.requests += 1;
    const collecting = this.#blocks.collectingStreamId;
    if (collecting !== 0 && (type !== FrameType.Continuation || streamId !== collecting)) {
      return this.fail(ErrorCode.ProtocolError, 'a frame inside a header block');
    }
    if (this.#phase === Phase.Settings && (type !== FrameType.Settings || (flags & Flag.Ack) !== 0)) {
      return this.fail(ErrorCode.ProtocolError, 'the first frame is not SETTINGS');
    }
    switch (type) {
      case FrameType.Data:
        return this.#data(streamId, flags, bytes, from, to);
      case FrameType.Headers:
        return this.#headers(streamId, flags, bytes, from, to);
      case FrameType.Priority:
        return this.#priority(streamId, bytes, from, length);
      case FrameType.RstStream:
        return this.#rstStream(streamId, bytes, from, length);
      case FrameType.Settings:
        return this.#settings(streamId, flags, bytes, from, to);
      case FrameType.PushPromise:
        return this.fail(ErrorCode.ProtocolError, 'PUSH_PROMISE from a client');
      case FrameType.Ping:
        return this.#ping(streamId, flags, bytes, from, length);
      case FrameType.Goaway:
        return this.#goaway(streamId, length);
      case FrameType.WindowUpdate:
        return this.#windowUpdate(streamId, bytes, from, length);
      case FrameType.Continuation:
        return this.#continuation(streamId, flags, bytes, from, to);
      default:
        this.#idleFrame();
    }
  }

  // Frames of streams. ------------------------------------------------------------------------------------------------

  #data(streamId: number, flags: number, bytes: Uint8Array, from: number, to: number) {
    if (streamId === 0) return this.fail(ErrorCode.ProtocolError, 'DATA on stream 0');
    const frameBytes = to - from;
    if (frameBytes > this.#receiveWindow) return this.fail(ErrorCode.FlowControlError, 'connection window exceeded');
    this.#receiveWindow -= frameBytes;
    this.#receivedBytes += frameBytes;
    if (this.#receivedBytes * 2 >= this.#limits.connectionWindowBytes) this.#giveBack();
    let first = from;
    let last = to;
    if ((flags & Flag.Padded) !== 0) {
      if (frameBytes === 0) return this.fail(ErrorCode.FrameSizeError, 'DATA without its padding length');
      first += 1;
      last -= bytes[from]!;
      if (last < first) return this.fail(ErrorCode.ProtocolError, 'DATA padding longer than its frame');
    }
    this.#streams.data(streamId, (flags & Flag.EndStream) !== 0, bytes, first, last, frameBytes);
  }

  #giveBack(): void {
    frames.sendWindowUpdate(this.#output, 0, this.#receivedBytes);
    this.#receiveWindow += this.#receivedBytes;
    this.#receivedBytes = 0;
  }

  #headers(streamId: number, flags: number, bytes: Uint8Array, from: number, to: number) {
    if (streamId === 0) return this.fail(ErrorCode.ProtocolError, 'HEADERS on stream 0');
    let first = from;
    let last = to;
    if ((flags & Flag.Padded) !== 0) {
      if (first === last) return this.fail(ErrorCode.FrameSizeError, 'HEADERS without its padding length');
      last -= bytes[first]!;
      first += 1;
      if (last < first) return this.fail(ErrorCode.ProtocolError, 'HEADERS padding longer than its frame');
    }
    if ((flags & Flag.Priority) !== 0) {
      if (last - first < 5) return this.fail(ErrorCode.FrameSizeError, 'HEADERS without its priority');
      const dependsOn = readUint31(bytes, first);
      first += 5;
      if (dependsOn === streamId) return this.fail(ErrorCode.ProtocolError, 'a stream depends on itself');
    }
    const endStream = (flags & Flag.EndStream) !== 0;
    if ((flags & Flag.EndHeaders) !== 0) return this.#streams.headers(streamId, endStream, bytes, first, last);
    this.#blockBegunMs = this.#options.clock();
    if (!this.#blocks.begin(streamId, endStream, bytes, first, last)) this.#blockTooLarge();
  }

  #continuation(streamId: number, flags: number, bytes: Uint8Array, from: number, to: number) {
    if (this.#blocks.collectingStreamId === 0) return this.fail(ErrorCode.ProtocolError, 'CONTINUATION of nothing');
    if (!this.#blocks.add(bytes, from, to)) return this.#blockTooLarge();
    if ((flags & Flag.EndHeaders) === 0) return;
    const endStream = this.#blocks.collectingEndStream;
    const block = this.#blocks.finish();
    this.#streams.headers(streamId, endStream, block, 0, block.length);
  }

  #blockTooLarge(): void {
    this.fail(ErrorCode.EnhanceYourCalm, 'header block too large');
  }

  #priority(streamId: number, bytes: Uint8Array, from: number, length: number) {
    if (streamId === 0) return this.fail(ErrorCode.ProtocolError, 'PRIORITY on stream 0');
    if (length !== 5) return this.fail(ErrorCode.FrameSizeError, 'PRIORITY of a wrong size');
    if (readUint31(bytes, from) === streamId) return this.#streams.selfDependency(streamId);
    this.#idleFrame();
  }

  #rstStream(streamId: number, bytes: Uint8Array, from: number, length: number) {
    if (streamId === 0) return this.fail(ErrorCode.ProtocolError, 'RST_STREAM on stream 0');
    if (length !== 4) return this.fail(ErrorCode.FrameSizeError, 'RST_STREAM of a wrong size');
    this.#streams.rstStream(streamId, readUint32(bytes, from));
  }

  // Frames of the connection. -----------------------------------------------------------------------------------------

  #settings(streamId: number, flags: number, bytes: Uint8Array, from: number, to: number) {
    if (streamId !== 0) return this.fail(ErrorCode.ProtocolError, 'SETTINGS on a stream');
    if ((flags & Flag.Ack) !== 0) {
      if (from !== to) return this.fail(ErrorCode.FrameSizeError, 'SETTINGS ack with a payload');
      return this.#idleFrame();
    }
    if ((to - from) % 6 !== 0) return this.fail(ErrorCode.FrameSizeError, 'SETTINGS of a wrong size');
    if (to - from > 6 * this.#limits.settingsPerFrameMax) {
      return this.fail(ErrorCode.EnhanceYourCalm, 'too many settings in one frame');
    }
    if (!this.#budgets.settings.spend()) return this.fail(ErrorCode.EnhanceYourCalm, 'too many SETTINGS');
    for (let at = from; at < to; at += 6) {
      const id = readUint16(bytes, at);
      const value = readUint32(bytes, at + 2);
      const error = settingError(id, value);
      if (error !== undefined) return this.fail(error, `setting ${id} may not be ${value}`);
      this.#apply(id, value);
    }
    if (this.#phase === Phase.Finished) return;
    frames.sendSettingsAck(this.#output);
    if (this.#phase === Phase.Settings) this.#phase = Phase.Open;
  }

  #apply(id: number, value: number): void {
    if (id === Setting.HeaderTableSize) {
      this.#send.encoder.setTableBytesMax(value);
    } else if (id === Setting.InitialWindowSize) {
      const deltaBytes = value - this.#send.initialWindowBytes;
      this.#send.initialWindowBytes = value;
      this.#streams.initialWindowChanged(deltaBytes);
    } else if (id === Setting.MaxFrameSize) {
      this.#send.frameBytesMax = Math.min(value, frames.frameBytesDefault);
    }
  }

  #ping(streamId: number, flags: number, bytes: Uint8Array, from: number, length: number) {
    if (streamId !== 0) return this.fail(ErrorCode.ProtocolError, 'PING on a stream');
    if (length !== 8) return this.fail(ErrorCode.FrameSizeError, 'PING of a wrong size');
    if ((flags & Flag.Ack) !== 0) return this.#pong(bytes, from);
    if (!this.#budgets.pings.spend()) return this.fail(ErrorCode.EnhanceYourCalm, 'too many PINGs');
    if (this.#limits.pingIntervalMsMin > 0) {
      const nowMs = this.#options.clock();
      const { dataFrames, headerBlocks } = this.#send;
      if (!this.#keepalive.mayPing(nowMs, this.#streams.size > 0, dataFrames + headerBlocks)) {
        return this.fail(ErrorCode.EnhanceYourCalm, 'too_many_pings');
      }
    }
    frames.sendPing(this.#output, true, bytes, from);
  }

  #pong(bytes: Uint8Array, from: number) {
    let ofShutdown = this.#phase === Phase.Draining;
    for (let index = 0; index < 8; index += 1) ofShutdown &&= bytes[from + index] === shutdownPing[index];
    if (ofShutdown && this.#streams.lastAcceptedId === frames.streamIdLargest) return this.#announceLastStream();
    this.#idleFrame();
  }

  /** The second GOAWAY of a shutdown: the peer has seen the first, and what it began before is under way. */
  #announceLastStream(): void {
    this.#streams.lastAcceptedId = this.#streams.lastStreamId;
    frames.sendGoaway(this.#output, this.#streams.lastStreamId, ErrorCode.NoError, '');
  }

  #goaway(streamId: number, length: number) {
    if (streamId !== 0) return this.fail(ErrorCode.ProtocolError, 'GOAWAY on a stream');
    if (length < 8) return this.fail(ErrorCode.FrameSizeError, 'GOAWAY of a wrong size');
    this.#peerLeft = true;
  }

  #windowUpdate(streamId: number, bytes: Uint8Array, from: number, length: number) {
    if (length !== 4) return this.fail(ErrorCode.FrameSizeError, 'WINDOW_UPDATE of a wrong size');
    if (this.#send.dataFrames !== this.#dataFramesCredited) {
      this.#budgets.windowUpdates.allow(2 * (this.#send.dataFrames - this.#dataFramesCredited));
      this.#dataFramesCredited = this.#send.dataFrames;
    }
    if (!this.#budgets.windowUpdates.spend()) return this.fail(ErrorCode.EnhanceYourCalm, 'too many WINDOW_UPDATEs');
    const increment = readUint31(bytes, from);
    if (streamId !== 0) return this.#streams.windowUpdate(streamId, increment);
    if (increment === 0) return this.fail(ErrorCode.ProtocolError, 'WINDOW_UPDATE of nothing');
    if (!this.#send.widenConnection(increment)) this.fail(ErrorCode.FlowControlError, 'connection window overflow');
  }

  #idleFrame(): void {
    if (!this.#budgets.idleFrames.spend()) this.fail(ErrorCode.EnhanceYourCalm, 'too many frames without effect');
  }
}
