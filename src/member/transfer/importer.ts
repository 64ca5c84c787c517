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
import { type BeforeWrite, Environment } from '../store/environment.js';
import { type Files, nodeFiles } from '../store/files.js';
import { getUint64, viewOf } from '../store/numbers.js';
import { APPLIED_KEY, RECORD_PREFIX, STAMP_KEY, unseal } from '../store/schema.js';
import { encodeStamp, type Stamp } from '../store/stamp.js';
import { stateDirectory } from '../store/state-directory.js';
import { brokenStream, TupleStream } from './tuples.js';

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
  readonly #stream = new TupleStream((key, value) => {
    this.#pending.push({ key, value });
    this.#pendingBytes += key.length + value.length + TUPLE_OVERHEAD_BYTES;
  });
  #pending: Tuple[] = [];
  #pendingBytes = 0;
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
   * Takes the next frame; it is copied. Commits now and then: at most about 1 MiB a call. Throws
   * StorageError `corrupt` (then abandon the import), `mapFull`, `io`.
   */
  write(frame: Uint8Array): void {
    assert(this.#state === 'open', 'state importer used after its end');
    this.#stream.write(frame.slice());
    if (this.#pendingBytes >= COMMIT_BYTES_MAX) this.#commitPending();
  }

  /**
   * Verifies and completes the state; it is on disk and closed on return, and waits to be named by
   * log.installSnapshot(). Returns what it was exported as. Throws StorageError `corrupt` when it is not whole.
   */
  finish(): { appliedIndex: number; appliedTerm: number } {
    assert(this.#state === 'open', 'state importer used after its end');
    const end = this.#stream.finish();
    this.#commitPending();
    const applied = this.#environment.getCopy(APPLIED_KEY);
    if (applied === undefined) throw brokenStream('it holds no applied index');
    const view = viewOf(unseal(applied, APPLIED_KEY[0]!));
    if (getUint64(view, 0) !== end.appliedIndex || getUint64(view, 8) !== end.appliedTerm) {
      throw brokenStream('its applied index is not the announced one');
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
