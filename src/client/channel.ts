/**
 * What the client needs of whatever carries its calls: rings in this process, or a connection to an etcd server.
 */
import type { Method } from '../wire/methods.js';

/** Ends of a call other than its answer. Without them the server's own request timeout is the only one. */
export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

export interface Channel {
  /**
   * Sends one encoded request and resolves with the encoded response, which the caller may keep. Rejects with
   * EtcdError, or with the signal's reason. The channel copies `request` before it returns.
   */
  unary(method: Method, request: Uint8Array, options?: CallOptions): Promise<Uint8Array>;
}

/** A call that failed: etcd's own text, and the gRPC status code it came with. */
export class EtcdError extends Error {
  override readonly name = 'EtcdError';

  constructor(
    /** A GrpcCode. */
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}
