/**
 * The errors of the client that are more than a code and a text.
 *
 *     try { for await (const event of client.watch({ prefix: 'a/' }, { startRevision })) ... }
 *     catch (error) { if (error instanceof CompactedError) ...read anew, watch from there... }
 */
import { EtcdErrorCode, etcdError, GrpcCode } from '../wire/errors.js';
import { EtcdError } from './channel.js';

/** The history that a watch wanted is gone. What it had not delivered can only be read as the present state. */
export class CompactedError extends EtcdError {
  override readonly name = 'CompactedError';
  /** The oldest revision that can still be watched from. */
  readonly compactRevision: number;

  constructor(compactRevision: number) {
    const { grpcCode, message } = etcdError(EtcdErrorCode.Compacted);
    super(grpcCode, message);
    this.compactRevision = compactRevision;
  }
}

/** A lease is gone, or could not be renewed in time: whatever hung on it must be taken as gone. */
export class LeaseLostError extends EtcdError {
  override readonly name = 'LeaseLostError';
  readonly lease: bigint;

  constructor(lease: bigint, how: string) {
    super(GrpcCode.NotFound, `lease ${lease.toString(16)} is lost: ${how}`);
    this.lease = lease;
  }
}

/** The client was closed; a call under way may or may not have had its effect. */
export class ClosedError extends EtcdError {
  override readonly name = 'ClosedError';

  constructor() {
    super(GrpcCode.Canceled, 'the client is closed');
  }
}

/** A row of the table as what a client sees. */
export function tableError(code: EtcdErrorCode): EtcdError {
  const { grpcCode, message } = etcdError(code);
  return new EtcdError(grpcCode, message);
}
