/**
 * Maintenance.Snapshot: a snapshot file in etcd's chunks.
 *
 *     request -> the file is made -> { remaining_bytes, blob: 32768 bytes, version }* -> { its SHA-256 } -> end
 *
 * remaining_bytes counts down without the digest. The file is read as the client's connection takes it.
 */
import { read } from 'node:fs';
import { promisify } from 'node:util';
import { type EtcdErrorCode, etcdError, GrpcCode } from '../../wire/errors.js';
import { encode } from '../../wire/schema.js';
import type { Call, CallListener } from '../grpc/call.js';
import type { Asker } from '../member-call.js';
import type { MemberPort } from '../member-port.js';
import { SnapshotFailure, type Spooled, spoolSnapshot } from '../snapshots.js';

export const snapshotChunkBytes = 32_768;
const digestBytes = 32;
/** Of the file at a time: a whole number of chunks. */
const readBytes = 16 * snapshotChunkBytes;

const readFile = promisify(read);

/** What answers the call; a gRPC call or what stands for one in this process. */
export type SnapshotAnswer = Pick<Call, 'sendMessage' | 'end'>;

/** Answers a Snapshot call with a snapshot of the member behind `port`, which looks whether `asker` may have one. */
export function openSnapshot(call: SnapshotAnswer, port: MemberPort, asker: Asker): CallListener {
  return new SnapshotCall(call, port, asker);
}

class SnapshotCall implements CallListener {
  readonly #call: SnapshotAnswer;
  readonly #port: MemberPort;
  readonly #asker: Asker;
  readonly #gone = new AbortController();
  #begun = false;
  #drained: (() => void) | undefined;

  constructor(call: SnapshotAnswer, port: MemberPort, asker: Asker) {
    this.#call = call;
    this.#port = port;
    this.#asker = asker;
  }

  /** The request says nothing. */
  message(): void {
    if (this.#begun) return;
    this.#begun = true;
    void this.#answer();
  }

  halfClose(): void {
    if (!this.#begun) this.#call.end(GrpcCode.Internal, 'kvorum: a snapshot call without a request message');
  }

  cancel(): void {
    this.#gone.abort(new Error('the client is gone'));
    this.#drained?.();
    // Ended when the work has stopped.
    if (!this.#begun) this.#call.end(GrpcCode.Canceled, '');
  }

  drain(): void {
    this.#drained?.();
  }

  async #answer(): Promise<void> {
    try {
      const spooled = await spoolSnapshot(this.#port, this.#asker, this.#gone.signal);
      try {
        await this.#send(spooled);
      } finally {
        spooled.close();
      }
      this.#call.end(GrpcCode.Ok, '');
    } catch (error) {
      if (this.#gone.signal.aborted) this.#call.end(GrpcCode.Canceled, '');
      else if (error instanceof SnapshotFailure) this.#refuse(error.code);
      else this.#call.end(GrpcCode.Unknown, `kvorum: the snapshot failed: ${(error as Error).message}`);
    }
  }

  #refuse(code: EtcdErrorCode): void {
    const { grpcCode, message } = etcdError(code);
    this.#call.end(grpcCode, message);
  }

  async #send({ descriptor, bytes, version, whole }: Spooled): Promise<void> {
    const databaseBytes = bytes - digestBytes;
    const buffer = new Uint8Array(readBytes);
    for (let position = 0; position < databaseBytes; ) {
      const length = Math.min(readBytes, databaseBytes - position);
      await readFully(descriptor, buffer, length, position);
      for (let at = 0; at < length; at += snapshotChunkBytes) {
        const end = Math.min(at + snapshotChunkBytes, length);
        await this.#sendBlob(buffer.subarray(at, end), databaseBytes - position - end, version);
      }
      position += length;
    }
    await whole;
    await readFully(descriptor, buffer, digestBytes, databaseBytes);
    await this.#sendBlob(buffer.subarray(0, digestBytes), 0, version);
  }

  async #sendBlob(blob: Uint8Array, remainingBytes: number, version: string): Promise<void> {
    const message = encode('etcdserverpb.SnapshotResponse', { remaining_bytes: BigInt(remainingBytes), blob, version });
    this.#gone.signal.throwIfAborted();
    if (!this.#call.sendMessage(message, true)) await this.#drain();
  }

  #drain(): Promise<void> {
    return new Promise(resolve => {
      this.#drained = () => {
        this.#drained = undefined;
        resolve();
      };
      if (this.#gone.signal.aborted) this.#drained();
    });
  }
}

async function readFully(descriptor: number, target: Uint8Array, length: number, position: number): Promise<void> {
  for (let done = 0; done < length; ) {
    const { bytesRead } = await readFile(descriptor, target, done, length - done, position + done);
    if (bytesRead === 0) throw new Error('the file became shorter while it was read');
    done += bytesRead;
  }
}
