/**
 * HashKV: one checksum over what a store holds at a revision, equal on all members whatever their files look like.
 *
 *   crc32c over "key", then for every record in order that counts: its revision bytes, its value
 *
 *   counts at revision R of a store compacted at C:
 *     main <= R
 *     and, when any key exists at R: main > C, or it is the newest put of its key at R    (what compaction may remove)
 *     and it is no tombstone at exactly C                              (older etcd removes those, newer ones keep them)
 *
 * When no key exists at R, etcd counts every record at or below C that is still there. That is well defined only when
 * the compaction at C has finished; until then we leave out what it is going to remove, so that the answer never
 * depends on how far it has come.
 */

import { utf8Encode } from '../../base/bytes.js';
import { crc32c, crc32cBehind } from '../../base/crc32c.js';
import type { KeyIndex } from './key-index.js';
import type { Mvcc } from './mvcc.js';
import { recordKey } from './record.js';
import { RecordWalk } from './record-walk.js';
import { revisionBytes, writeRevision } from './storage.js';

export interface KvHash {
  readonly hash: number;
  /** The compact revision when the hash was taken. */
  readonly compactRevision: number;
  /** The revision that was hashed. */
  readonly revision: number;
}

const CACHED_MAX = 10;
const BUCKET_NAME = utf8Encode('key');

/** The running checksum; its users decide which records count. */
export class RecordHasher {
  readonly #key = revisionBytes(0, 0, false);
  readonly #tombstoneKey = revisionBytes(0, 0, true);
  #crc = crc32c(BUCKET_NAME);

  get value(): number {
    return this.#crc;
  }

  /** A record of which a walk told: its value was summed up when it was read, once is enough. */
  add(main: number, sub: number, tombstone: boolean, valueBytes: number, checksum: number, seed: number): void {
    const key = tombstone ? this.#tombstoneKey : this.#key;
    writeRevision(key, main, sub);
    this.#crc = crc32cBehind(crc32c(key, this.#crc), checksum, seed, valueBytes);
  }
}

/**
 * A HashKV under way, a slice at a time. Writes may go on meanwhile, they come after R; compaction must not remove
 * records until it is done.
 */
export class HashJob {
  readonly #mvcc: Mvcc;
  readonly #revision: number;
  readonly #compactRevision: number;
  /** Whether the compaction at the compact revision still has records to remove. */
  readonly #unfinished: boolean;
  readonly #anyLive: boolean;
  readonly #hasher = new RecordHasher();
  readonly #walk: RecordWalk;

  /** `revision` must be readable. */
  constructor(mvcc: Mvcc, revision: number) {
    this.#mvcc = mvcc;
    this.#revision = revision;
    this.#compactRevision = mvcc.compactRevision;
    this.#unfinished = mvcc.finishedCompactRevision < mvcc.compactRevision;
    this.#anyLive = mvcc.index.anyLive(revision);
    this.#walk = new RecordWalk(mvcc.storage, revision);
  }

  /** Looks at up to `recordsMax` records; the result when that was the last slice. */
  step(recordsMax: number): KvHash | undefined {
    const isLast = this.#walk.step(recordsMax, (main, sub, tombstone, value, checksum, seed) => {
      if (!this.#counts(main, sub, tombstone, value)) return;
      this.#hasher.add(main, sub, tombstone, value.length, checksum, seed);
    });
    if (!isLast) return undefined;
    return { hash: this.#hasher.value, compactRevision: this.#compactRevision, revision: this.#revision };
  }

  #counts(main: number, sub: number, tombstone: boolean, value: Uint8Array): boolean {
    const compactRevision = this.#compactRevision;
    if (main > compactRevision) return true;
    if (main === compactRevision && tombstone) return false;
    const { index } = this.#mvcc;
    if (this.#anyLive) return !tombstone && isNewest(index, value, this.#revision, main, sub);
    return !this.#unfinished || isKept(index, value, compactRevision, main, sub);
  }
}

function isNewest(index: KeyIndex, record: Uint8Array, atMain: number, main: number, sub: number): boolean {
  const slot = index.find(recordKey(record));
  return slot !== -1 && index.newestAt(slot, atMain, main, sub) !== -1;
}

function isKept(index: KeyIndex, record: Uint8Array, atMain: number, main: number, sub: number): boolean {
  const slot = index.find(recordKey(record));
  return slot !== -1 && index.keptAt(slot, atMain, main, sub);
}

/** The hashes taken during the last compactions, by revision: what etcd answers for these revisions. */
export class HashCache {
  #hashes: KvHash[] = [];

  /** By revision. */
  get hashes(): readonly KvHash[] {
    return this.#hashes;
  }

  get(revision: number): KvHash | undefined {
    return this.#hashes.find(hash => hash.revision === revision);
  }

  add(hash: KvHash): void {
    this.#hashes.push(hash);
    this.#hashes.sort((left, right) => left.revision - right.revision);
    this.#hashes = this.#hashes.slice(-CACHED_MAX);
  }
}
