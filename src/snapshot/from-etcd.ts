/**
 * The content of a file of etcd becomes a member's state: records, leases, users, roles and the compaction's place.
 *
 * What belongs to the cluster that made the file stays behind: its members, its versions, index, term and
 * configuration, and (unless wanted) its alarms, which name its members. Buckets and meta keys that nobody knows are
 * passed over. Every record is checked before it is handed on; what etcd could not have written is a SnapshotError.
 *
 * A restore may move the revisions ahead, so that clients which saw later ones than the file's never see time go back:
 * an empty record at the last revision + `bumpRevision`, and all before it marked as compacted.
 */
import { utf8Decode, utf8Encode } from '../base/bytes.js';
import { type Bucket, type Database, printable } from './bbolt/database.js';
import {
  type BucketName,
  bucketNames,
  bucketOfTable,
  decodeRecordKey,
  describeRecordKey,
  encodeRecordKey,
  MetaKey,
  recordProblem,
  SnapshotError,
  type StateTable,
} from './schema.js';

/** Takes the state; keys and values are valid during the call. */
export interface StateSink {
  put(table: StateTable, key: Uint8Array, value: Uint8Array): void;
  /** Revisions ascend. */
  putRecord(main: number, sub: number, tombstone: boolean, value: Uint8Array): void;
}

export interface FromEtcdOptions {
  readonly keepAlarms?: boolean;
  /** Zero: the revisions stay as they are. */
  readonly bumpRevision?: number;
  /** Called now and then with the bytes that were read since, padding and branches not counted. */
  readonly progress?: (bytes: number) => void;
}

export interface TakenState {
  readonly records: number;
  /** The current revision: of the last record, or of a compaction behind it. */
  readonly revision: number;
}

const TABLES: ReadonlyMap<BucketName, StateTable> = new Map(
  Object.entries(bucketOfTable).map(([table, bucket]) => [bucket, table as StateTable]),
);
const STAYING_BEHIND: ReadonlySet<BucketName> = new Set(['members', 'members_removed', 'cluster']);
const KEPT_META: ReadonlySet<string> = new Set([MetaKey.ScheduledCompact, MetaKey.FinishedCompact]);
const REVISION_MAX = 2 ** 52;
const KEPT_AUTH: ReadonlySet<string> = new Set(['authEnabled', 'authRevision']);

/**
 * Hands a file's content to `sink`, leaf by leaf: between two steps of the generator the caller may commit or let
 * others run. Returns what was taken. Throws BboltError and SnapshotError; then what the sink got is to be thrown away.
 */
export function* takeFromEtcd(
  database: Database,
  sink: StateSink,
  options: FromEtcdOptions = {},
): Generator<undefined, TakenState> {
  const taking = new Taking(sink, options);
  for (const bucket of database.buckets()) {
    const name = utf8Decode(bucket.name);
    const known = bucketNames.find(candidate => candidate === name);
    if (known === 'key') yield* taking.records(bucket);
    else if (known !== undefined && (known !== 'alarm' || options.keepAlarms === true))
      yield* taking.table(known, bucket);
  }
  return taking.finish();
}

class Taking {
  readonly #sink: StateSink;
  readonly #options: FromEtcdOptions;
  #records = 0;
  #last = { main: 0, sub: -1 };
  #compactRevision = 0;
  #sawKeys = false;

  constructor(sink: StateSink, options: FromEtcdOptions) {
    this.#sink = sink;
    this.#options = options;
  }

  *records(bucket: Bucket): Generator<undefined> {
    this.#sawKeys = true;
    for (const leaf of bucket.leaves()) {
      for (let at = 0; at < leaf.count; at += 1) {
        const key = leaf.key(at);
        const value = leaf.value(at);
        check('key', key, value, leaf.isBucket(at));
        const { main, sub, tombstone } = decodeRecordKey(key)!;
        if (main === this.#last.main && sub === this.#last.sub) {
          throw new SnapshotError(`bucket key, ${describeRecordKey(key)}: a put and a deletion of one revision`);
        }
        this.#last = { main, sub };
        this.#records += 1;
        this.#sink.putRecord(main, sub, tombstone, value);
      }
      this.#options.progress?.(leaf.bytes.length);
      yield;
    }
    const { bumpRevision = 0 } = this.#options;
    if (bumpRevision === 0) return;
    this.#last = { main: this.#last.main + bumpRevision, sub: 0 };
    if (this.#last.main > REVISION_MAX) throw new SnapshotError(`revisions cannot be moved ahead by ${bumpRevision}`);
    this.#sink.putRecord(this.#last.main, 0, false, new Uint8Array(0));
    this.#records += 1;
  }

  *table(name: BucketName, bucket: Bucket): Generator<undefined> {
    for (const leaf of bucket.leaves()) {
      for (let at = 0; at < leaf.count; at += 1) {
        const key = leaf.key(at);
        const value = leaf.value(at);
        check(name, key, value, leaf.isBucket(at));
        if (!STAYING_BEHIND.has(name)) this.#take(name, key, value);
      }
      this.#options.progress?.(leaf.bytes.length);
      yield;
    }
  }

  finish(): TakenState {
    if (!this.#sawKeys) throw new SnapshotError('no database of etcd: it has no bucket "key"');
    const { bumpRevision = 0 } = this.#options;
    if (bumpRevision > 0) {
      const { main } = this.#last;
      this.#sink.put('meta', utf8Encode(MetaKey.ScheduledCompact), encodeRecordKey({ main, sub: 0, tombstone: false }));
    }
    return { records: this.#records, revision: Math.max(this.#last.main, this.#compactRevision, 1) };
  }

  #take(name: BucketName, key: Uint8Array, value: Uint8Array): void {
    const text = utf8Decode(key) ?? '';
    if (name === 'auth' && !KEPT_AUTH.has(text)) return;
    if (name === 'meta') {
      if (!KEPT_META.has(text)) return;
      // The file's own compaction lies behind the one that marks the bumped revision.
      if (text === MetaKey.ScheduledCompact && (this.#options.bumpRevision ?? 0) > 0) return;
      this.#compactRevision = Math.max(this.#compactRevision, decodeRecordKey(value)!.main);
    }
    this.#sink.put(TABLES.get(name)!, key, value);
  }
}

function check(name: BucketName, key: Uint8Array, value: Uint8Array, isBucket: boolean): void {
  const problem = isBucket ? 'it is a bucket' : recordProblem(name, key, value);
  if (problem === undefined) return;
  throw new SnapshotError(`bucket ${name}, ${name === 'key' ? describeRecordKey(key) : printable(key)}: ${problem}`);
}
