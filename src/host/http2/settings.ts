/**
 * SETTINGS (RFC 9113 §6.5): what we announce, and what the peer's values must look like.
 */
import { ErrorCode } from './error-codes.js';
import { frameBytesDefault, frameBytesLargest, Setting, windowBytesLargest } from './frames.js';
import type { Http2Limits } from './limits.js';

/** "No limit" for SETTINGS_MAX_CONCURRENT_STREAMS: the value that a peer assumes when nothing is announced. */
const concurrentStreamsUnlimited = 4_294_967_295;

/** Our settings, as pairs of identifier and value. */
export function ownSettings(limits: Http2Limits): (readonly [number, number])[] {
  const settings: (readonly [number, number])[] = [
    [Setting.InitialWindowSize, limits.streamWindowBytes],
    [Setting.MaxHeaderListSize, limits.headerListBytesMax],
  ];
  if (limits.headerTableBytes !== 4_096) settings.push([Setting.HeaderTableSize, limits.headerTableBytes]);
  if (limits.frameBytesMax !== frameBytesDefault) settings.push([Setting.MaxFrameSize, limits.frameBytesMax]);
  if (limits.concurrentStreamsMax < concurrentStreamsUnlimited) {
    settings.push([Setting.MaxConcurrentStreams, limits.concurrentStreamsMax]);
  }
  return settings;
}

/** Checks one of the peer's values; returns the code of the connection error that it is, or undefined. */
export function settingError(id: number, value: number): ErrorCode | undefined {
  if (id === Setting.EnablePush && value > 1) return ErrorCode.ProtocolError;
  if (id === Setting.InitialWindowSize && value > windowBytesLargest) return ErrorCode.FlowControlError;
  if (id === Setting.MaxFrameSize && (value < frameBytesDefault || value > frameBytesLargest)) {
    return ErrorCode.ProtocolError;
  }
  return undefined;
}
