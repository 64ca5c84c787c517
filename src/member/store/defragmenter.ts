/**
 * The state of a member written anew, without the holes that deletions have left: what gives space back to the disk.
 *
 *   step()*    small tables, then records, in the order of the tree, into a fresh environment one generation further;
 *              before each slice what commits have changed behind the position is copied again     nothing refers to it
 *   finish()   caught up with the last commit; the last transaction adds applied index and stamp; both count the same
 *   log.switchState(generation), store.adopt(environment)        makes it current, atomically
 *
 * The member goes on meanwhile, writes and compactions included: records are never changed, only removed, and every
 * commit says which keys it has touched. A crash at any point before the switch leaves the old state current and a
 * directory that the next open removes; after it, the new one. A state without a stamp is never opened as one.
 *
 * Pages are filled from the front in the order of the keys, which LMDB's own compacting copy does not do: it leaves out
 * free pages but copies half-empty ones as they are.
 */
import { assert } from '../../base/assert.js';
import { compareBytes } from '../../base/bytes.js';
import { type BeforeWrite, Environment } from './environment.js';
import { type Files, nodeFiles, nodeFilesUnsynced } from './files.js';
import { APPLIED_KEY, RECORD_PREFIX, STAMP_KEY } from './schema.js';
import { encodeStamp, type Stamp } from './stamp.js';
import { stateDirectory } from './state-directory.js';
import type { StateStore } from './state-store.js';
import { StorageError, StorageErrorKind } from './storage-error.js';

export interface DefragmenterOptions {
  /** The member's data directory. */
  readonly directory: string;
  /** The new generation, used by nobody else. What stands there is removed. */
  readonly generation: number;
  readonly stamp: Stamp;
  readonly mapSizeBytes: number;
  readonly durable: boolean;
  readonly beforeWrite?: BeforeWrite | undefined;
  readonly files?: Files | undefined;
}

/** One slice: what else the member has to do waits for one or two of them, about 2 ms each. */
const SLICE_BYTES = 256 << 10;
const TUPLE_OVERHEAD_BYTES = 40;

interface Tuple {
  readonly key: Uint8Array;
  /** Undefined: removed. */
  readonly value: Uint8Array | undefined;
}

export class Defragmenter {
  readonly generation: number;
  readonly directory: string;
  readonly #store: StateStore;
  readonly #options: DefragmenterOptions;
  readonly #files: Files;
  readonly #environment: Environment;
  /** Everything up to this key is copied, but for what is in `#touched`. The two keys before the tables come last. */
  #position: Uint8Array = STAMP_KEY;
  #touched: Uint8Array[] = [];
  #state: 'open' | 'finished' | 'abandoned' = 'open';

  /** Begins with what is committed. Throws StorageError `io` when the new environment cannot be made. */
  constructor(store: StateStore, options: DefragmenterOptions) {
    this.generation = options.generation;
    this.#store = store;
    this.#options = options;
    this.#files = options.files ?? (options.durable ? nodeFiles : nodeFilesUnsynced);
    this.directory = stateDirectory(options.directory, options.generation);
    this.#files.remove(this.directory);
    const { mapSizeBytes, durable, beforeWrite } = options;
    this.#environment = Environment.open({
      what: 'state',
      directory: this.directory,
      mapSizeBytes,
      durable,
      beforeWrite,
    });
    store.follow(keys => {
      for (const key of keys) this.#touched.push(key);
    });
  }

  /** Copies a slice; false when everything that is committed has been copied. Throws StorageError: abandon it then. */
  step(): boolean {
    assert(this.#state === 'open', 'defragmenter used after its end');
    const changes: Tuple[] = [];
    let bytes = 0;
    const add = (key: Uint8Array, value: Uint8Array | undefined): void => {
      changes.push({ key, value });
      bytes += key.length + (value?.length ?? 0) + TUPLE_OVERHEAD_BYTES;
    };
    for (const key of this.#touched.splice(0)) {
      if (compareBytes(key, this.#position) <= 0) add(key, this.#store.readTree(key));
    }
    this.#store.scanTree(this.#position, (key, value) => {
      if (bytes >= SLICE_BYTES) return false;
      add(key, value.slice());
      this.#position = key;
      return true;
    });
    if (changes.length > 0) this.#commit(changes, bytes);
    return bytes >= SLICE_BYTES;
  }

  /**
   * To be called in the turn of a commit of the store: copies what is left, completes the new state and returns its
   * environment, on disk and ready to be named by the log and adopted. Throws StorageError: abandon it then.
   */
  finish(): Environment {
    while (this.step());
    const applied = this.#store.readTree(APPLIED_KEY);
    assert(applied !== undefined, 'a state has an applied index');
    this.#environment.commit(0, writer => {
      writer.put(APPLIED_KEY, applied);
      writer.put(STAMP_KEY, encodeStamp(this.#options.stamp));
    });
    const [copied, there] = [this.#environment.entries(), this.#store.treeEntries()];
    if (copied !== there) {
      throw new StorageError(StorageErrorKind.Corrupt, `the copy has ${copied} entries where the state has ${there}`);
    }
    this.#files.syncDirectory(this.directory);
    this.#files.syncDirectory(this.#options.directory);
    this.#state = 'finished';
    this.#store.follow(undefined);
    return this.#environment;
  }

  /** Gives up and removes what was written. Nothing happens after finish(). Idempotent. */
  abandon(): void {
    if (this.#state !== 'open') return;
    this.#state = 'abandoned';
    this.#store.follow(undefined);
    void this.#environment.close();
    this.#files.remove(this.directory);
  }

  #commit(changes: readonly Tuple[], bytes: number): void {
    this.#environment.commit(bytes, writer => {
      for (const { key, value } of changes) {
        // Only what a scan has found is behind everything: a record that was touched is one that was removed.
        if (value === undefined) writer.remove(key);
        else if (key[0]! >= RECORD_PREFIX) writer.append(key, value);
        else writer.put(key, value);
      }
    });
  }
}
