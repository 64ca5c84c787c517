/**
 * What the client needs of whatever carries its calls: rings in this process, or a connection to an etcd server.
 */
import type { Method } from '../wire/methods.js';

/** Ends of a call other than its answer. Without them the server's own request timeout is the only one. */
export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

/** Hears a stream's answers. */
export interface StreamListener {
  /** One response message, the listener's to keep. */
  message(bytes: Uint8Array): void;
  /** The stream is over: with an error, or in order (undefined). Heard once, and nothing after it. */
  end(error: EtcdError | undefined): void;
}

/** The caller's end of a stream. */
export interface ClientStream {
  /** Sends one encoded request message; it is copied before the call returns. */
  send(request: Uint8Array): void;
  /** No more requests follow. */
  halfClose(): void;
  /** Gives the stream up: the listener hears nothing any more. */
  cancel(): void;
  /** Asks for no more messages for now; a few that are on their way may still come. */
  pause(): void;
  resume(): void;
}

export interface StreamOptions {
  /** etcd's `hasleader`: the server ends the stream when it knows no leader. */
  readonly requireLeader?: boolean;
  /** Rather at another server than the last one, which did not answer; a channel with one way only ignores it. */
  readonly elsewhere?: boolean;
}

export interface Channel {
  /**
   * Sends one encoded request and resolves with the encoded response, which the caller may keep. Rejects with
   * EtcdError, or with the signal's reason. The channel copies `request` before it returns.
   */
  unary(method: Method, request: Uint8Array, options?: CallOptions): Promise<Uint8Array>;
  /** Opens a stream. Failures, that of connecting too, come to `listener.end`, never before this returns. */
  stream(method: Method, listener: StreamListener, options?: StreamOptions): ClientStream;
  /**
   * Whether a stream, or what was asked for on it, was refused for the login of the channel alone: whoever opens it again
   * does so with another login. Absent where there are no logins.
   */
  isLoginRefusal?(error: EtcdError, stream: ClientStream | undefined): boolean;
  /** Ends every call and stream with ClosedError, and all later ones; absent where the owner closes it otherwise. */
  close?(): void;
}

/** A call that failed: etcd's own text, and the gRPC status code it came with. */
export class EtcdError extends Error {
  override readonly name: string = 'EtcdError';

  constructor(
    /** A GrpcCode. */
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}
