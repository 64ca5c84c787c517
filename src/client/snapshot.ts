/**
 * A snapshot of the member that is asked, in the form etcd restores: the pieces of the file, one behind the other.
 *
 *     for await (const { bytes } of client.snapshot()) file.write(bytes);
 *
 * The last piece is the SHA-256 of all before. An error in the middle rejects; what came until then is no snapshot.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import { Method } from '../wire/methods.js';
import { decode } from '../wire/schema.js';
import type { CallOptions, Channel, ClientStream, EtcdError, StreamListener } from './channel.js';
import { Scope } from './scope.js';

/** Pieces that may wait for their reader before the server is asked to stop for a while. */
const waitingMax = 16;

export interface SnapshotPiece {
  readonly bytes: Uint8Array;
  /** Bytes of the database behind this piece; 0 also for the digest. */
  readonly remainingBytes: number;
  /** The release whose form the file has, e.g. `3.6.0`; empty from servers before 3.6. */
  readonly version: string;
}

/** Asks for a snapshot and yields it. Ending the iteration early ends the call. */
export async function* readSnapshot(channel: Channel, options?: CallOptions): AsyncGenerator<SnapshotPiece, void> {
  const scope = new Scope(options);
  const pieces: SnapshotPiece[] = [];
  let end: { error: EtcdError | undefined } | undefined;
  let wake = (): void => {};
  let isBegun = false;
  const listener: StreamListener = {
    message(bytes) {
      isBegun = true;
      const { blob, remaining_bytes: remaining, version } = decode('etcdserverpb.SnapshotResponse', bytes);
      pieces.push({ bytes: blob, remainingBytes: Number(remaining), version });
      if (pieces.length === waitingMax) stream.pause();
      wake();
    },
    end(error) {
      end = { error };
      wake();
    },
  };
  const open = (): ClientStream => {
    const opened = channel.stream(Method.Snapshot, listener);
    opened.send(EMPTY_BYTES);
    opened.halfClose();
    return opened;
  };
  let stream = open();
  const onAbort = (): void => wake();
  scope.signal.addEventListener('abort', onAbort);
  try {
    for (let renewals = 0; ; ) {
      scope.signal.throwIfAborted();
      const piece = pieces.shift();
      if (piece !== undefined) {
        if (pieces.length === waitingMax / 2) stream.resume();
        yield piece;
        continue;
      }
      if (end?.error !== undefined) {
        const mayRenew = !isBegun && renewals++ === 0 && channel.isLoginRefusal?.(end.error, stream) === true;
        if (!mayRenew) throw end.error;
        end = undefined;
        stream = open();
      }
      if (end !== undefined) return;
      await new Promise<void>(resolve => {
        wake = resolve;
      });
    }
  } finally {
    scope.signal.removeEventListener('abort', onAbort);
    scope.end();
    stream.cancel();
  }
}
