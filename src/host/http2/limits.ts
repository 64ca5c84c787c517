/**
 * Every bound of the HTTP/2 layer, named, with its default.
 *
 * A peer that stays below them is served whatever it does; one that goes above loses a stream or its connection, and
 * costs the others nothing. The defaults let real clients through with room to spare (a storm of watch cancellations, a
 * window update per frame, a bandwidth probe per reply) and stop the known attacks: rapid reset (CVE-2023-44487), its
 * server-made sister (CVE-2025-8671), CONTINUATION floods (CVE-2024-27316), the floods of CVE-2019-9511 to -9518, and
 * SETTINGS of thousands of entries (CVE-2020-11080).
 */

export interface Http2Limits {
  /** Largest frame payload that we accept: our SETTINGS_MAX_FRAME_SIZE (16,384 to 16,777,215). */
  readonly frameBytesMax: number;
  /** Bytes a peer may send ahead on one stream: our SETTINGS_INITIAL_WINDOW_SIZE. See receive-windows.ts. */
  readonly streamWindowBytes: number;
  /** Streams of a connection that may go beyond it at a time, and what they may hold together unless it is only one. */
  readonly wideStreamsMax: number;
  readonly wideBytesMax: number;
  /** Bytes a peer may send ahead on a connection (at least 65,535, RFC 9113 §6.9.2). */
  readonly connectionWindowBytes: number;
  /** Size of the table that the peer's header encoder may use: our SETTINGS_HEADER_TABLE_SIZE. */
  readonly headerTableBytes: number;
  /** Sum of the fields of one request, as SETTINGS_MAX_HEADER_LIST_SIZE counts them. */
  readonly headerListBytesMax: number;
  /** Encoded bytes of one header block, and frames it may be spread over: a block above them ends the connection. */
  readonly headerBlockBytesMax: number;
  readonly headerBlockFramesMax: number;
  /** Calls one connection may have at a time; a call counts until its handler ended, also when its stream was reset. */
  readonly concurrentStreamsMax: number;
  /** Unsent bytes of one stream above which the sender of a message is told to wait for the drain. */
  readonly streamDrainBytes: number;
  /** Unsent bytes of one stream above which a further message ends the stream: its reader is too slow. */
  readonly streamUnsentBytesMax: number;
  /** The same for all streams of a connection together. */
  readonly connectionUnsentBytesMax: number;
  /** The same for all connections together; one that has no more than its share unsent is left alone. */
  readonly sharedUnsentBytesMax: number;
  readonly unsentShareBytes: number;
  /**
   * Unsent bytes of whole answers on one connection above which it says that it is crowded, and below which it says
   * that it no longer is: who answers may wait meanwhile. Streams that go on do not count: they have waits of their own.
   */
  readonly crowdedFromBytes: number;
  readonly crowdedUntilBytes: number;
  /** A connection with more than this unsent ends when none of it could be sent for so long. */
  readonly stalledBytesMax: number;
  readonly stalledTimeoutMs: number;
  /** Bytes handed to a socket that did not take them yet, above which no more DATA is made and nothing is read. */
  readonly outputBytesMax: number;
  /** Streams reset by either side without having been finished: how many at once, and how many a second after that. */
  readonly resetsBurst: number;
  readonly resetsPerSecond: number;
  /** SETTINGS frames. */
  readonly settingsBurst: number;
  readonly settingsPerSecond: number;
  /** Settings that one SETTINGS frame may hold: each may concern every stream. */
  readonly settingsPerFrameMax: number;
  /** PING frames. A client that measures its bandwidth sends one per batch of replies. */
  readonly pingsBurst: number;
  readonly pingsPerSecond: number;
  /** WINDOW_UPDATE frames beyond the two that each DATA frame of ours may cause. */
  readonly windowUpdatesBurst: number;
  readonly windowUpdatesPerSecond: number;
  /** Frames that carry nothing: empty DATA without an end, PRIORITY, frames of unknown types or on finished streams. */
  readonly idleFramesBurst: number;
  readonly idleFramesPerSecond: number;
  /** Reset streams whose late frames are recognised. */
  readonly resetStreamsRemembered: number;
  /** From the connection's first byte (or from accepting it) to the peer's SETTINGS. */
  readonly prefaceTimeoutMs: number;
  /** From the first frame of a header block to its last. */
  readonly headerBlockTimeoutMs: number;
  /** How long a connection that failed may linger until the peer has read why. */
  readonly lingerTimeoutMs: number;
  /** Pings of ours on a silent connection: interval and the wait for the answer. 0 = never. */
  readonly keepaliveIntervalMs: number;
  readonly keepaliveTimeoutMs: number;
  /** Shortest interval between a client's pings; faster ones are strikes, the third ends the connection. 0 = any. */
  readonly pingIntervalMsMin: number;
  /** Connections of one listener. */
  readonly connectionsMax: number;
}

const kib = 1024;
const mib = 1024 * kib;

/** What is read, of HTTP/1 too, when nobody wants it any more: who sends more is hung up on, as by Go's server. */
export const unwantedBytesMax = 256 * kib;

export const http2LimitsDefault: Http2Limits = {
  frameBytesMax: 16 * kib,
  streamWindowBytes: 65_535,
  wideStreamsMax: 32,
  wideBytesMax: 32 * mib,
  connectionWindowBytes: 16 * mib,
  headerTableBytes: 4 * kib,
  headerListBytesMax: 16 * kib,
  headerBlockBytesMax: 32 * kib,
  headerBlockFramesMax: 8,
  concurrentStreamsMax: 4_294_967_295,
  streamDrainBytes: 64 * kib,
  streamUnsentBytesMax: 16 * mib,
  connectionUnsentBytesMax: 256 * mib,
  sharedUnsentBytesMax: 1024 * mib,
  unsentShareBytes: 16 * mib,
  crowdedFromBytes: 1 * mib,
  crowdedUntilBytes: 512 * kib,
  stalledBytesMax: 64 * mib,
  stalledTimeoutMs: 30_000,
  outputBytesMax: 1 * mib,
  resetsBurst: 1_000,
  resetsPerSecond: 100,
  settingsBurst: 100,
  settingsPerSecond: 10,
  settingsPerFrameMax: 32,
  pingsBurst: 10_000,
  pingsPerSecond: 10_000,
  windowUpdatesBurst: 10_000,
  windowUpdatesPerSecond: 1_000,
  idleFramesBurst: 1_000,
  idleFramesPerSecond: 1_000,
  resetStreamsRemembered: 1_024,
  prefaceTimeoutMs: 10_000,
  headerBlockTimeoutMs: 10_000,
  lingerTimeoutMs: 1_000,
  keepaliveIntervalMs: 2 * 60 * 60 * 1_000,
  keepaliveTimeoutMs: 20_000,
  pingIntervalMsMin: 0,
  connectionsMax: 65_536,
};
