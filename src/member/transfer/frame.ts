/**
 * How a state travels from one member to another: one stream of tuples, cut into frames of bounded size.
 *
 *   stream   tuple*                         in the order of the tree; then the end
 *   tuple    key length u16, value length u32, key, value      as they stand in the tree, checksum included
 *   frame    crc32c u32 of the rest, sequence u32 from 0, kind u8, then
 *              kind 0: bytes of the stream (a tuple may begin in one frame and end in a later one)
 *              kind 1: the end: tuples u64, crc32c u32 of all frames' checksums, applied index u64, applied term u64
 *
 * Little-endian. The stamp is not part of the stream: the receiver has its own.
 */
import { crc32c } from '../../base/crc32c.js';
import { getUint64, setUint64, viewOf } from '../store/numbers.js';
import { StorageError, StorageErrorKind } from '../store/storage-error.js';

export const FRAME_HEADER_BYTES = 9;
export const TUPLE_HEADER_BYTES = 6;
export const FrameKind = { Data: 0, End: 1 } as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];
const END_BYTES = 28;

/** What the last frame says about the ones before. */
export interface StreamEnd {
  readonly tuples: number;
  readonly checksum: number;
  readonly appliedIndex: number;
  readonly appliedTerm: number;
}

/** Completes `frame`, whose payload stands behind its header already. */
export function sealFrame(frame: Uint8Array, sequence: number, kind: FrameKind): void {
  const view = viewOf(frame);
  view.setUint32(4, sequence, true);
  frame[8] = kind;
  view.setUint32(0, crc32c(frame.subarray(4)), true);
}

/** The checksum of a stream up to and including this sealed frame: of the frames' own, which cover everything. */
export function streamChecksum(frame: Uint8Array, previous: number): number {
  return crc32c(frame.subarray(0, 4), previous);
}

/** The payload of the frame, as a view. Throws StorageError `corrupt`: damaged, or not the expected one. */
export function openFrame(frame: Uint8Array, expectedSequence: number): { kind: number; payload: Uint8Array } {
  const view = viewOf(frame);
  if (frame.length < FRAME_HEADER_BYTES || view.getUint32(0, true) !== crc32c(frame.subarray(4))) {
    throw new StorageError(StorageErrorKind.Corrupt, 'a frame of the state transfer fails its checksum');
  }
  const sequence = view.getUint32(4, true);
  if (sequence !== expectedSequence) {
    throw new StorageError(
      StorageErrorKind.Corrupt,
      `frame ${sequence} of the state transfer came where frame ${expectedSequence} was due`,
    );
  }
  return { kind: frame[8]!, payload: frame.subarray(FRAME_HEADER_BYTES) };
}

export function encodeEnd(end: StreamEnd, sequence: number): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + END_BYTES);
  const view = viewOf(frame);
  setUint64(view, FRAME_HEADER_BYTES, end.tuples);
  view.setUint32(FRAME_HEADER_BYTES + 8, end.checksum, true);
  setUint64(view, FRAME_HEADER_BYTES + 12, end.appliedIndex);
  setUint64(view, FRAME_HEADER_BYTES + 20, end.appliedTerm);
  sealFrame(frame, sequence, FrameKind.End);
  return frame;
}

export function decodeEnd(payload: Uint8Array): StreamEnd {
  if (payload.length !== END_BYTES) {
    throw new StorageError(StorageErrorKind.Corrupt, 'the end of the state transfer has an impossible length');
  }
  const view = viewOf(payload);
  return {
    tuples: getUint64(view, 0),
    checksum: view.getUint32(8, true),
    appliedIndex: getUint64(view, 12),
    appliedTerm: getUint64(view, 20),
  };
}
