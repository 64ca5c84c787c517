/**
 * The seam between gRPC and what answers it: a Service is called once for every call, with a Call to answer on, and
 * returns the CallListener that hears the rest of it.
 *
 *     service(call) -> listener     message* halfClose?  |  then exactly one of: reply, end, or cancel
 *
 * Every call ends exactly once: the service ends it with `reply` or `end`, or something else does and `cancel` says so;
 * nothing is heard after either. After `cancel`, `reply` and `end` send nothing, but one of them must still be called
 * once the work for the call has stopped: until then the call counts against its connection's concurrent calls, so
 * that a client that opens and resets calls cannot have more work done than one that waits.
 */

/** Why a call ended without its service. */
export type CancelReason =
  /** The client reset the stream: it cancelled the call, or its own deadline passed. */
  | 'client'
  /** The deadline passed; the client was told DeadlineExceeded. */
  | 'deadline'
  /** The connection is gone, or failed. */
  | 'connection'
  /** What the client sent was no valid HTTP/2 or gRPC; it was told. */
  | 'protocol'
  /** The client reads so slowly that too much piled up; the stream was reset. */
  | 'slow-reader';

/** Request metadata. Names are lower case; nothing is decoded before it is asked for. */
export interface Metadata {
  /** The first value of an ASCII key, octets as characters; undefined: not sent. */
  get(name: string): string | undefined;
  /** All values of a key, in the order of the wire. */
  getAll(name: string): string[];
  /**
   * The first value of a key as bytes: decoded from base64 when the name ends in `-bin`. Undefined: not sent, or not
   * base64.
   */
  getBytes(name: string): Uint8Array | undefined;
  /** The names that were sent, each once. */
  names(): string[];
  /** What the service has made of it. Calls that share a head share the metadata, and with it this. */
  memo?: unknown;
}

/** Who called. */
export interface Peer {
  /** Address and port of the client's end of the connection. */
  readonly address: string;
  readonly port: number;
  /** What tells the connection apart from all others that are open; undefined: nothing does. */
  readonly source?: number | undefined;
  /** Common name of the client's certificate; undefined on connections without one. */
  readonly commonName: string | undefined;
}

export interface Call {
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly metadata: Metadata;
  /** Milliseconds the client gave the call, from its arrival; undefined: as long as it takes. */
  readonly deadlineMs: number | undefined;
  readonly peer: Peer;
  /** Response bytes that no window or socket has taken yet. */
  readonly unsentBytes: number;

  /** Ends the call with one message and OK. The bytes are only read during the call. */
  reply(message: Uint8Array): void;
  /**
   * Sends one message of several. False: enough is queued, wait for `drain`. The bytes are only read during the call,
   * unless they are `given` away: then they must not change any more and are not copied, which is worth it from some
   * 10 KiB on. `head`, when given, is the message's beginning and `message` its rest: one body can so be shared by many
   * calls. The head is copied.
   */
  sendMessage(message: Uint8Array, given?: boolean, head?: Uint8Array): boolean;
  /** Ends the call with a status; with code 0, after the messages that were sent. */
  end(code: number, text: string): void;
}

export interface CallListener {
  /** A request message; the view is valid during the call only. */
  message(bytes: Uint8Array): void;
  /** The client has sent its last message. */
  halfClose(): void;
  /** The call has ended in another way than by its service. Heard at most once, and nothing after it. */
  cancel(reason: CancelReason): void;
  /** After a `sendMessage` that returned false: most of what was queued has left. */
  drain?(): void;
}

/** Answers calls. May end the call before it returns; the listener then hears nothing. */
export type Service = (call: Call) => CallListener;

/** A listener for calls that were answered at once. */
export const deafListener: CallListener = {
  message() {},
  halfClose() {},
  cancel() {},
};
