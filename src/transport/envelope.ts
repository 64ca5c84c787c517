/**
 * What a record on a ring means: the kinds of envelope and the flags beside them.
 *
 *   host -> member    Open, Message, HalfClose, Cancel, Credit  id = the call, chosen by the host
 *   member -> host    Reply, Message, FanOut, End, Ready        id = the call it answers
 *   member -> member  Raft, SnapshotChunk, SnapshotAck          id = the transfer for the snapshot kinds, else 0
 *   member -> member  PeerCall, PeerReply                       id = the call, chosen by the asker
 *   member -> member  Alive                                     nothing but a sign of life
 *
 * Numbers are only ever compared within one process: they may change from release to release.
 * Invariant: a kind is in [1, 255]; 0 marks the skipped end of a ring (see layout.ts) and is never sent.
 */
export const EnvelopeKind = {
  /**
   * A call begins: aux = method number and source (openAux); payload = the first request; with FLAG_END the request
   * stream ends here.
   */
  Open: 1,
  /** One more message of a call, from the host (request stream) or from the member (response stream). */
  Message: 2,
  /** The client has sent its last message. */
  HalfClose: 3,
  /** The client is gone, reset the stream or ran out of time: stop working on the call, no End is expected. */
  Cancel: 4,
  /** The whole answer of a unary call: payload = the response message, and the status is OK. */
  Reply: 5,
  /** A call ends: aux = the error's number in the one error table (0 = OK), payload = UTF-8 detail or empty. */
  End: 6,
  /** A Raft message in the ring's own encoding; lossy, as Raft allows. */
  Raft: 7,
  /** A piece of a state snapshot from the leader to a lagging member; lossless, paced by SnapshotAck. */
  SnapshotChunk: 8,
  /** What the receiver of a snapshot has taken in so far, or that it gives up. */
  SnapshotAck: 9,
  /** The member has attached its rings and serves: whatever the host sent earlier went to its predecessor. */
  Ready: 10,
  /** A small notice between host and member that has to keep its place among the requests; aux = which one. */
  Control: 11,
  /** One message body for many streams of the host, each with a head of its own: see fan-out.ts. */
  FanOut: 12,
  /** host -> member: the stream `id` has taken this many bytes (payload: u32) of its messages; more may be sent. */
  Credit: 13,
  /** member -> member: a request that only the leader can answer; aux = method number, id = the asker's. Lossy. */
  PeerCall: 14,
  /** The answer to a PeerCall, aux = an error's number or 0. Lossy. */
  PeerReply: 15,
  /** member -> member: nothing but a sign of life, so that members which have nothing to say know each other alive. */
  Alive: 16,
} as const;

export type EnvelopeKind = (typeof EnvelopeKind)[keyof typeof EnvelopeKind];

/** On Open and Message: nothing follows in this direction (a unary request is one Open with FLAG_END). */
export const FLAG_END = 0x01;

/** On Open: refuse the call at once when no leader is known (metadata `hasleader`). */
export const FLAG_REQUIRE_LEADER = 0x02;

/** On Open: the server's own question, not a client's; a learner answers it too. */
export const FLAG_OF_SERVER = 0x04;

/** On Open: the payload begins with who calls (caller.ts), the request follows. */
export const FLAG_CALLER = 0x08;

/** The aux of a Control notice. */
export const ControlNotice = {
  /** member -> host: a log record, payload = JSON (level, msg, fields). */
  Log: 1,
  /** host -> member: the thread of the member at position `id` has ended. */
  PeerGone: 2,
  /** member -> host: the member table as it is now: f64 applied index, then a MemberListResponse. */
  Members: 3,
  /** member -> host: what gRPC health says of this member: `id` is 1 while it serves, else 0. */
  Serving: 4,
  /** host -> member: the connection that is source `id` does not take its answers: its reads wait. */
  Hold: 5,
  /** host -> member: it takes them again, or is gone. */
  GoOn: 6,
} as const;

/**
 * A source says whose call it is: that of one open connection, or of all whose hash it is. [0, SOURCES_HASHED) are
 * hashes, 0 also for who has none; [SOURCES_HASHED, SOURCES_MAX) are connections.
 */
export const SOURCES_HASHED = 256;
export const SOURCES_MAX = 1024;

const methodBits = 6;

/** The aux of an Open. */
export function openAux(method: number, source: number): number {
  return method | (source << methodBits);
}

export function methodOf(aux: number): number {
  return aux & ((1 << methodBits) - 1);
}

export function sourceOf(aux: number): number {
  return aux >> methodBits;
}

/** Flags are six bits wide: [0, 0x3f]. */
export const FLAGS_MAX = 0x3f;
