/**
 * The receiving side of a state transfer: frames become a fresh state directory, one generation after the current.
 *
 *   write(frame)*   tuples are verified, buffered and committed in bounded transactions      nothing refers to it yet
 *   finish()        the end was seen, count and checksum agree; the last commit adds the stamp; closed
 *   log.installSnapshot(metadata, importer.generation)      makes it current, atomically
 *
 * A crash at any point before the last step leaves the old state current and a directory that the next open removes;
 * after it, the new state. A state without a stamp is never opened as one.
 */
import { assert } from '../../base/assert.js';
import { compareBytes } from '../../base/bytes.js';
import { crc32c } from '../../base/crc32c.js';
import { type BeforeWrite, Environment } from '../store/environment.js';
import { type Files, nodeFiles } from '../store/files.js';
import { getUint64, viewOf } from '../store/numbers.js';
import { APPLIED_KEY, FIRST_KEY, RECORD_PREFIX, STAMP_KEY, unseal } from '../store/schema.js';
import { encodeStamp, type Stamp } from '../store/stamp.js';
import { stateDirectory } from '../store/state-directory.js';
import { StorageError, StorageErrorKind } from '../store/storage-error.js';
import { decodeEnd, FrameKind, openFrame, type StreamEnd, TUPLE_HEADER_BYTES } from './frame.js';

export interface StateImporterOptions {
  /** The member's data directory. */
  readonly directory: string;
  /** The new generation: one more than the log's current one. What stands there is removed. */
  readonly generation: number;
  readonly stamp: Stamp;
  readonly mapSizeBytes: number;
  readonly durable?: boolean;
  readonly beforeWrite?: BeforeWrite;
  readonly files?: Files;
}

const COMMIT_BYTES_MAX = 1 << 20;
const TUPLE_OVERHEAD_BYTES = 40;

interface Tuple {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export class StateImporter {
  readonly generation: number;
  readonly #options: StateImporterOptions;
  readonly #target: string;
  readonly #environment: Environment;
  /** Bytes of the stream that do not make a whole tuple yet. */
  #carry: Uint8Array[] = [];
  #carryBytes = 0;
  /** Length of the tuple that the carried bytes begin, as far as it is known. */
  #awaitedBytes = TUPLE_HEADER_BYTES;
  #pending: Tuple[] = [];
  #pendingBytes = 0;
  #lastKey: Uint8Array = FIRST_KEY;
  #sequence = 0;
  #tuples = 0;
  #checksum = 0;
  #end: StreamEnd | undefined;
  #state: 'open' | 'finished' | 'abandoned' = 'open';

  /** Removes leftovers of that generation and creates it. Throws StorageError `io`. */
  constructor(options: StateImporterOptions) {
    this.generation = options.generation;
    this.#options = options;
    this.#target = stateDirectory(options.directory, options.generation);
    (options.files ?? nodeFiles).remove(this.#target);
    this.#environment = Environment.open({
      what: 'state',
      directory: this.#target,
      mapSizeBytes: options.mapSizeBytes,
      durable: options.durable ?? true,
      beforeWrite: options.beforeWrite,
    });
  }

  /**
   * Takes the next frame; it is copied as far as needed. Commits now and then: at most about 1 MiB a call. Throws
   * StorageError `corrupt` (then abandon the import), `mapFull`, `io`.
   */
  write(frame: Uint8Array): void {
    assert(this.#state === 'open', 'state importer used after its end');
    const { kind, payload } = openFrame(frame, this.#sequence);
    if (this.#end !== undefined) throw broken('a frame after the end');
    this.#sequence += 1;
    if (kind === FrameKind.End) this.#end = decodeEnd(payload);
    else if (kind === FrameKind.Data) this.#takeBytes(payload);
    else throw broken(`a frame of unknown kind ${kind}`);
  }

  /**
   * Verifies and completes the state; it is on disk and closed on return, and waits to be named by
   * log.installSnapshot(). Returns what it was exported as. Throws StorageError `corrupt` when it is not whole.
   */
  finish(): { appliedIndex: number; appliedTerm: number } {
    assert(this.#state === 'open', 'state importer used after its end');
    const end = this.#end;
    if (end === undefined || this.#carryBytes > 0) throw broken('it ends early');
    if (end.tuples !== this.#tuples || end.checksum !== this.#checksum) {
      throw broken(`${this.#tuples} entries arrived where ${end.tuples} were sent, or their checksum differs`);
    }
    this.#commitPending();
    const applied = this.#environment.getCopy(APPLIED_KEY);
    if (applied === undefined) throw broken('it holds no applied index');
    const view = viewOf(unseal(applied, APPLIED_KEY[0]!));
    if (getUint64(view, 0) !== end.appliedIndex || getUint64(view, 8) !== end.appliedTerm) {
      throw broken('its applied index is not the announced one');
    }
    this.#environment.commit(0, writer => writer.put(STAMP_KEY, encodeStamp(this.#options.stamp)));
    this.#state = 'finished';
    void this.#environment.close();
    const files = this.#options.files ?? nodeFiles;
    files.syncDirectory(this.#target);
    files.syncDirectory(this.#options.directory);
    return { appliedIndex: end.appliedIndex, appliedTerm: end.appliedTerm };
  }

  /** Gives the import up and removes what was written. Nothing happens after finish(). Idempotent. */
  abandon(): void {
    if (this.#state !== 'open') return;
    this.#state = 'abandoned';
    void this.#environment.close();
    (this.#options.files ?? nodeFiles).remove(this.#target);
  }

  #takeBytes(payload: Uint8Array): void {
    this.#checksum = crc32c(payload, this.#checksum);
    this.#carry.push(payload.slice());
    this.#carryBytes += payload.length;
    if (this.#carryBytes < this.#awaitedBytes) return;
    const bytes = this.#carry.length === 1 ? this.#carry[0]! : joined(this.#carry, this.#carryBytes);
    const rest = this.#takeTuples(bytes);
    this.#carry = rest.length > 0 ? [rest] : [];
    this.#carryBytes = rest.length;
    this.#awaitedBytes = tupleBytes(rest);
    if (this.#pendingBytes >= COMMIT_BYTES_MAX) this.#commitPending();
  }

  /** Takes all whole tuples; returns what is left. */
  #takeTuples(bytes: Uint8Array): Uint8Array {
    let rest = bytes;
    for (;;) {
      const length = tupleBytes(rest);
      if (rest.length < length) return rest;
      const keyEnd = TUPLE_HEADER_BYTES + viewOf(rest).getUint16(0, true);
      this.#takeTuple({ key: rest.subarray(TUPLE_HEADER_BYTES, keyEnd), value: rest.subarray(keyEnd, length) });
      rest = rest.subarray(length);
    }
  }

  #takeTuple(tuple: Tuple): void {
    if (compareBytes(tuple.key, this.#lastKey) <= 0) throw broken('its keys do not ascend');
    this.#lastKey = tuple.key;
    this.#tuples += 1;
    this.#pending.push(tuple);
    this.#pendingBytes += tuple.key.length + tuple.value.length + TUPLE_OVERHEAD_BYTES;
  }

  #commitPending(): void {
    if (this.#pending.length === 0) return;
    this.#environment.commit(this.#pendingBytes, writer => {
      for (const { key, value } of this.#pending) {
        if (key[0]! >= RECORD_PREFIX) writer.append(key, value);
        else writer.put(key, value);
      }
    });
    this.#pending = [];
    this.#pendingBytes = 0;
  }
}

/** Length of the tuple that begins here, as far as the bytes tell. */
function tupleBytes(bytes: Uint8Array): number {
  if (bytes.length < TUPLE_HEADER_BYTES) return TUPLE_HEADER_BYTES;
  const view = viewOf(bytes);
  return TUPLE_HEADER_BYTES + view.getUint16(0, true) + view.getUint32(2, true);
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function broken(what: string): StorageError {
  return new StorageError(StorageErrorKind.Corrupt, `the received state cannot be used: ${what}`);
}
