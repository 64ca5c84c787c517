/**
 * Frames on the wire (RFC 9113 §4.1, §6): constants, writers, and readers of the fixed fields.
 *
 *     | length u24 | type u8 | flags u8 | R(1) stream u31 | payload: length octets |
 *
 * Everything is big-endian. Readers take the place of the payload and have been promised enough bytes by the caller.
 */
import type { OutputBuffer } from './output.js';

export const frameHeaderBytes = 9;
/** Smallest value of SETTINGS_MAX_FRAME_SIZE, its default, and the largest frame that we ever send. */
export const frameBytesDefault = 16_384;
export const frameBytesLargest = 16_777_215;
/** Largest flow-control window (RFC 9113 §6.9.1). */
export const windowBytesLargest = 2 ** 31 - 1;
/** A window that nobody has changed (RFC 9113 §6.9.2). */
export const windowBytesDefault = 65_535;
/** The largest stream id: also the one in a GOAWAY that only announces another. */
export const streamIdLargest = 2 ** 31 - 1;

export const FrameType = {
  Data: 0x0,
  Headers: 0x1,
  Priority: 0x2,
  RstStream: 0x3,
  Settings: 0x4,
  PushPromise: 0x5,
  Ping: 0x6,
  Goaway: 0x7,
  WindowUpdate: 0x8,
  Continuation: 0x9,
} as const;

export const Flag = {
  EndStream: 0x1,
  Ack: 0x1,
  EndHeaders: 0x4,
  Padded: 0x8,
  Priority: 0x20,
} as const;

export const Setting = {
  HeaderTableSize: 0x1,
  EnablePush: 0x2,
  MaxConcurrentStreams: 0x3,
  InitialWindowSize: 0x4,
  MaxFrameSize: 0x5,
  MaxHeaderListSize: 0x6,
} as const;

/** What a client sends before its first frame (RFC 9113 §3.4), as octets. */
export const clientPreface: Uint8Array = Uint8Array.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', c => c.charCodeAt(0));

export function readUint16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

export function readUint24(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
}

export function readUint31(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! & 0x7f) << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return readUint31(bytes, at) + (bytes[at]! >= 0x80 ? 0x8000_0000 : 0);
}

export function writeUint16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Writes a frame header at `bytes[at]`; returns the place of the payload. */
export function writeFrameHeader(
  bytes: Uint8Array,
  at: number,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): number {
  bytes[at] = length >>> 16;
  bytes[at + 1] = length >>> 8;
  bytes[at + 2] = length;
  bytes[at + 3] = type;
  bytes[at + 4] = flags;
  writeUint32(bytes, at + 5, streamId);
  return at + frameHeaderBytes;
}

/** RST_STREAM (§6.4). */
export function sendRstStream(output: OutputBuffer, streamId: number, code: number): void {
  const at = output.reserve(frameHeaderBytes + 4);
  const payload = writeFrameHeader(output.bytes, at, 4, FrameType.RstStream, 0, streamId);
  writeUint32(output.bytes, payload, code);
}

/** SETTINGS (§6.5) with pairs of identifier and value. */
export function sendSettings(output: OutputBuffer, settings: readonly (readonly [id: number, value: number])[]): void {
  const length = settings.length * 6;
  const at = output.reserve(frameHeaderBytes + length);
  let to = writeFrameHeader(output.bytes, at, length, FrameType.Settings, 0, 0);
  for (const [id, value] of settings) {
    writeUint16(output.bytes, to, id);
    writeUint32(output.bytes, to + 2, value);
    to += 6;
  }
}

/** The acknowledgement of a SETTINGS frame. */
export function sendSettingsAck(output: OutputBuffer): void {
  const at = output.reserve(frameHeaderBytes);
  writeFrameHeader(output.bytes, at, 0, FrameType.Settings, Flag.Ack, 0);
}

/** PING (§6.7) with the eight octets at `data[from]`. */
export function sendPing(output: OutputBuffer, ack: boolean, data: Uint8Array, from: number): void {
  const at = output.reserve(frameHeaderBytes + 8);
  const to = writeFrameHeader(output.bytes, at, 8, FrameType.Ping, ack ? Flag.Ack : 0, 0);
  for (let index = 0; index < 8; index += 1) output.bytes[to + index] = data[from + index]!;
}

/** GOAWAY (§6.8) with a text for whoever debugs the peer (ASCII). */
export function sendGoaway(output: OutputBuffer, lastStreamId: number, code: number, text: string): void {
  const length = 8 + text.length;
  const at = output.reserve(frameHeaderBytes + length);
  const to = writeFrameHeader(output.bytes, at, length, FrameType.Goaway, 0, 0);
  writeUint32(output.bytes, to, lastStreamId);
  writeUint32(output.bytes, to + 4, code);
  for (let index = 0; index < text.length; index += 1) output.bytes[to + 8 + index] = text.charCodeAt(index);
}

/** WINDOW_UPDATE (§6.9); stream 0 is the connection. */
export function sendWindowUpdate(output: OutputBuffer, streamId: number, bytes: number): void {
  const at = output.reserve(frameHeaderBytes + 4);
  const to = writeFrameHeader(output.bytes, at, 4, FrameType.WindowUpdate, 0, streamId);
  writeUint32(output.bytes, to, bytes);
}

/** A header block as HEADERS and as many CONTINUATION frames as the peer's frame size asks for (§6.2, §6.10). */
export function sendHeaders(
  output: OutputBuffer,
  streamId: number,
  block: Uint8Array,
  endStream: boolean,
  frameBytesMax: number,
): void {
  let from = 0;
  let type: number = FrameType.Headers;
  let flags: number = endStream ? Flag.EndStream : 0;
  do {
    const length = Math.min(block.length - from, frameBytesMax);
    if (from + length === block.length) flags |= Flag.EndHeaders;
    const at = output.reserve(frameHeaderBytes + length);
    const to = writeFrameHeader(output.bytes, at, length, type, flags, streamId);
    copyInto(output.bytes, to, block, from, from + length);
    from += length;
    type = FrameType.Continuation;
    flags = 0;
  } while (from < block.length);
}

/** Copies `source[from, to)` to `target[at]`: a loop for the few bytes of most messages, else one native copy. */
export function copyInto(target: Uint8Array, at: number, source: Uint8Array, from: number, to: number): void {
  const length = to - from;
  if (length <= 48) {
    for (let index = 0; index < length; index += 1) target[at + index] = source[from + index]!;
    return;
  }
  target.set(from === 0 && to === source.length ? source : source.subarray(from, to), at);
}
