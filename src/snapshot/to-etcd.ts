/**
 * A member's state becomes the content of a file that etcd restores.
 *
 *   small(table, key, value)*   record(…)*   finish()      ──>   the ten buckets of etcd, in the order of a file
 *
 * The small tables come first, their entries in any order, and are held in memory; records come in the order of their
 * revisions and pass through. Tables and records are etcd's byte for byte; only `meta` gets what a member keeps
 * elsewhere (index, term and configuration), and the cluster version is left out: the cluster that is restored sets its
 * own, and a server older than what stands there would refuse to start.
 */

import { assert } from '../base/assert.js';
import { compareBytes, utf8Encode, writeUint64BE } from '../base/bytes.js';
import { encodeConfState } from '../wire/conf-state.js';
import { KEY_BYTES_MAX } from './bbolt/format.js';
import type { DatabaseWriter } from './bbolt/writer.js';
import {
  type BucketName,
  bucketNames,
  bucketOfTable,
  encodeRecordKey,
  MetaKey,
  SnapshotError,
  type StateTable,
} from './schema.js';

export interface StatePosition {
  /** The entry that the state is as of. */
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  readonly voters: readonly bigint[];
  readonly learners: readonly bigint[];
  /** The release whose form the file has, e.g. `3.6.0`. */
  readonly storageVersion: string;
}

type Entry = readonly [key: Uint8Array, value: Uint8Array];

export class ToEtcd {
  readonly #writer: DatabaseWriter;
  readonly #small = new Map<BucketName, Entry[]>(bucketNames.map(name => [name, []]));
  #inRecords = false;

  constructor(writer: DatabaseWriter, position: StatePosition) {
    this.#writer = writer;
    this.#meta(MetaKey.ConsistentIndex, uint64(position.appliedIndex));
    this.#meta(MetaKey.Term, uint64(position.appliedTerm));
    this.#meta(MetaKey.ConfState, encodeConfState(position));
    this.#meta(MetaKey.StorageVersion, utf8Encode(position.storageVersion));
  }

  /** An entry of a table; both are kept as they are, the caller changes them no more. Throws SnapshotError. */
  small(table: StateTable, key: Uint8Array, value: Uint8Array): void {
    assert(!this.#inRecords, 'snapshot: a table entry behind the first record');
    if (key.length === 0 || key.length > KEY_BYTES_MAX) {
      throw new SnapshotError(`a key of ${key.length} bytes in ${table} does not fit into a file of etcd`);
    }
    if (table !== 'cluster') this.#small.get(bucketOfTable[table])!.push([key, value]);
  }

  /** A record; revisions ascend. The value is copied. */
  record(main: number, sub: number, tombstone: boolean, value: Uint8Array): void {
    if (!this.#inRecords) this.#beginRecords();
    this.#writer.put(encodeRecordKey({ main, sub, tombstone }), value);
  }

  /** Everything was told; the writer still is to be finished. */
  finish(): void {
    if (!this.#inRecords) this.#beginRecords();
    for (const name of bucketNames.slice(bucketNames.indexOf('key') + 1)) this.#writeBucket(name);
  }

  #beginRecords(): void {
    for (const name of bucketNames.slice(0, bucketNames.indexOf('key'))) this.#writeBucket(name);
    this.#writer.bucket(utf8Encode('key'));
    this.#inRecords = true;
  }

  #writeBucket(name: BucketName): void {
    this.#writer.bucket(utf8Encode(name));
    const entries = this.#small.get(name) as Entry[];
    for (const [key, value] of entries.sort(([left], [right]) => compareBytes(left, right))) {
      this.#writer.put(key, value);
    }
  }

  #meta(key: string, value: Uint8Array): void {
    this.#small.get('meta')!.push([utf8Encode(key), value]);
  }
}

function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  writeUint64BE(bytes, 0, value);
  return bytes;
}
