/**
 * Maintenance.Hash: one checksum over everything a member stores, in the order of etcd's database.
 *
 *   for each bucket in the order of its name: crc32c over the name, then every key and value in order
 *   alarm, auth, authRoles, authUsers, cluster, key, lease, members, members_removed, meta
 *
 * What differs between healthy members is left out, as in etcd: applied index and term and the storage version. The
 * configuration stands in `meta` as etcd keeps it there. So two members with equal logs and equal compactions hash
 * alike once both have removed what was compacted; unlike HashKV it says nothing while a compaction is under way.
 *
 * The small tables are read when the hash begins, the records in slices up to the revision of that moment.
 */
import { compareBytes, utf8Encode } from '../../base/bytes.js';
import { crc32c, crc32cBehind } from '../../base/crc32c.js';
import { RecordWalk } from '../mvcc/record-walk.js';
import { type MvccStorage, revisionBytes, writeRevision } from '../mvcc/storage.js';

/** The tables beside the records, as the state store names them. */
export type HashedTable = (typeof BEFORE_RECORDS | typeof BEHIND_RECORDS)[number][0];
type Pairs = readonly (readonly [key: Uint8Array, value: Uint8Array])[];

/** What is hashed. */
export interface HashedStorage extends Pick<MvccStorage, 'scanRecords'> {
  list(table: HashedTable): Pairs;
}

/** [table, etcd's bucket]. */
const BEFORE_RECORDS = [
  ['alarm', 'alarm'],
  ['auth', 'auth'],
  ['authRoles', 'authRoles'],
  ['authUsers', 'authUsers'],
  ['cluster', 'cluster'],
] as const;
const BEHIND_RECORDS = [
  ['lease', 'lease'],
  ['members', 'members'],
  ['membersRemoved', 'members_removed'],
  ['meta', 'meta'],
] as const;

const CONF_STATE_KEY = utf8Encode('confState');

export class BackendHashJob {
  readonly #walk: RecordWalk;
  readonly #behind: readonly (readonly [bucket: string, pairs: Pairs])[];
  readonly #key = revisionBytes(0, 0, false);
  readonly #tombstoneKey = revisionBytes(0, 0, true);
  #crc = 0;

  /** `confState`: the configuration in etcd's JSON. `revision`: the current one. */
  constructor(storage: HashedStorage, confState: Uint8Array, revision: number) {
    this.#walk = new RecordWalk(storage, revision);
    this.#behind = BEHIND_RECORDS.map(([table, bucket]) => {
      const pairs = storage.list(table);
      return [bucket, table === 'meta' ? withConfState(pairs, confState) : pairs] as const;
    });
    for (const [table, bucket] of BEFORE_RECORDS) this.#addBucket(bucket, storage.list(table));
    this.#add(utf8Encode('key'));
  }

  /** Looks at up to `recordsMax` records; the hash when that was the last slice. */
  step(recordsMax: number): number | undefined {
    const isLast = this.#walk.step(recordsMax, (main, sub, tombstone, value, checksum, seed) => {
      const key = tombstone ? this.#tombstoneKey : this.#key;
      writeRevision(key, main, sub);
      this.#crc = crc32cBehind(crc32c(key, this.#crc), checksum, seed, value.length);
    });
    if (!isLast) return undefined;
    for (const [bucket, pairs] of this.#behind) this.#addBucket(bucket, pairs);
    return this.#crc;
  }

  #addBucket(bucket: string, pairs: Pairs): void {
    this.#add(utf8Encode(bucket));
    for (const [key, value] of pairs) {
      this.#add(key);
      this.#add(value);
    }
  }

  #add(bytes: Uint8Array): void {
    this.#crc = crc32c(bytes, this.#crc);
  }
}

function withConfState(meta: Pairs, confState: Uint8Array): Pairs {
  return [...meta, [CONF_STATE_KEY, confState] as const].sort(([left], [right]) => compareBytes(left, right));
}
