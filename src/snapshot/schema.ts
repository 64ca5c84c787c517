/**
 * What etcd keeps in its database: the names of its buckets, the keys of its records, the form of every value.
 *
 *   key               revision -> KeyValue        main u64 '_' sub u64, and 't' for a tombstone; most significant first
 *   meta              consistent_index, term      u64, most significant first
 *                     scheduledCompactRev, finishedCompactRev   a revision; storageVersion: text; confState: JSON
 *   lease             id u64 -> Lease             auth, authUsers, authRoles, alarm: as etcd's own messages
 *   members           id in hex -> JSON           members_removed: id in hex; cluster: clusterVersion, downgrade
 */
import { readBigUint64BE, readUint64BE, utf8Decode, writeUint64BE } from '../base/bytes.js';
import { decodeKeyValue } from '../wire/kv.js';
import { ProtoError, ProtoReader } from '../wire/proto.js';
import { decode } from '../wire/schema.js';

/** A snapshot, or the content of one, is not what it should be; the message is one line. */
export class SnapshotError extends Error {
  override readonly name = 'SnapshotError';
}

/** etcd's buckets in the order of a file. */
export const bucketNames = [
  'alarm',
  'auth',
  'authRoles',
  'authUsers',
  'cluster',
  'key',
  'lease',
  'members',
  'members_removed',
  'meta',
] as const;
export type BucketName = (typeof bucketNames)[number];

/** The tables of a member's state, all but its records. */
export type StateTable =
  | 'meta'
  | 'members'
  | 'membersRemoved'
  | 'cluster'
  | 'lease'
  | 'alarm'
  | 'auth'
  | 'authUsers'
  | 'authRoles';

/** Where a table's entries go in a file. They are the same byte for byte. */
export const bucketOfTable: Readonly<Record<StateTable, BucketName>> = {
  meta: 'meta',
  members: 'members',
  membersRemoved: 'members_removed',
  cluster: 'cluster',
  lease: 'lease',
  alarm: 'alarm',
  auth: 'auth',
  authUsers: 'authUsers',
  authRoles: 'authRoles',
};

export const MetaKey = {
  ConsistentIndex: 'consistent_index',
  Term: 'term',
  ConfState: 'confState',
  ScheduledCompact: 'scheduledCompactRev',
  FinishedCompact: 'finishedCompactRev',
  StorageVersion: 'storageVersion',
} as const;

export const RECORD_KEY_BYTES = 17;
const UNDERSCORE = 0x5f;
const TOMBSTONE = 0x74;
/** Revisions have 52 bits: numbers are exact up to 53, which leaves room for the revisions to come. */
const SECOND_BYTE_END = 0x10;

export interface RecordRevision {
  readonly main: number;
  readonly sub: number;
  readonly tombstone: boolean;
}

/** The revision that a key of bucket `key` names; undefined when it is none, or beyond 2^52. */
export function decodeRecordKey(key: Uint8Array): RecordRevision | undefined {
  const tombstone = key.length === RECORD_KEY_BYTES + 1 && key[RECORD_KEY_BYTES] === TOMBSTONE;
  if (key[8] !== UNDERSCORE || (key.length !== RECORD_KEY_BYTES && !tombstone)) return undefined;
  if (!isSafe(key, 0) || !isSafe(key, 9)) return undefined;
  return { main: readUint64BE(key, 0), sub: readUint64BE(key, 9), tombstone };
}

/** The key of a record; without a tombstone's mark also the form of the compaction revisions in `meta`. */
export function encodeRecordKey({ main, sub, tombstone }: RecordRevision): Uint8Array {
  const key = new Uint8Array(tombstone ? RECORD_KEY_BYTES + 1 : RECORD_KEY_BYTES);
  writeUint64BE(key, 0, main);
  key[8] = UNDERSCORE;
  writeUint64BE(key, 9, sub);
  if (tombstone) key[RECORD_KEY_BYTES] = TOMBSTONE;
  return key;
}

/** For messages: `6_0`, or the bytes' number when it is no revision. */
export function describeRecordKey(key: Uint8Array): string {
  const revision = decodeRecordKey(key);
  return revision === undefined ? `a key of ${key.length} bytes` : `${revision.main}_${revision.sub}`;
}

/** What is wrong with a record of a bucket; undefined when it is as etcd writes it, or in a bucket of nobody's. */
export function recordProblem(bucket: string, key: Uint8Array, value: Uint8Array): string | undefined {
  const check = (checks as Record<string, RecordCheck | undefined>)[bucket];
  if (check === undefined) return undefined;
  try {
    return check(key, value);
  } catch (error) {
    if (error instanceof ProtoError) return `its value does not decode: ${error.message}`;
    throw error;
  }
}

type RecordCheck = (key: Uint8Array, value: Uint8Array) => string | undefined;

const checks: Record<BucketName, RecordCheck> = {
  key: checkKeyRecord,
  meta: checkMetaRecord,
  lease: checkLease,
  alarm: key => {
    decode('etcdserverpb.AlarmMember', key);
    return undefined;
  },
  auth: (key, value) => {
    const name = utf8Decode(key);
    if (name === 'authEnabled' && value.length !== 1) return 'its value is not one byte';
    if (name !== 'authRevision') return undefined;
    if (value.length !== 8) return 'its value is not 8 bytes';
    return isSafe(value, 0) ? undefined : 'its revision is too large';
  },
  authUsers: (_key, value) => {
    decode('authpb.User', value);
    return undefined;
  },
  authRoles: (_key, value) => {
    decode('authpb.Role', value);
    return undefined;
  },
  members: (key, value) => {
    if (!isMemberId(key)) return 'its key is no member id';
    return isJson(value) ? undefined : 'its value is not JSON';
  },
  members_removed: key => (isMemberId(key) ? undefined : 'its key is no member id'),
  cluster: () => undefined,
};

/** A record of no bytes is what a restore with a bumped revision leaves. */
function checkKeyRecord(key: Uint8Array, value: Uint8Array): string | undefined {
  const revision = decodeRecordKey(key);
  if (revision === undefined) return 'its key is no revision';
  if (value.length === 0) return undefined;
  const { modRevision, createRevision, version } = decodeKeyValue(value);
  if (revision.tombstone) return undefined;
  if (modRevision !== revision.main) return `its value says revision ${modRevision}`;
  const possible = createRevision >= 1 && createRevision <= modRevision && version >= 1;
  return possible ? undefined : `created at ${createRevision} as version ${version}`;
}

function checkMetaRecord(key: Uint8Array, value: Uint8Array): string | undefined {
  const name = utf8Decode(key);
  const compact = name === MetaKey.ScheduledCompact || name === MetaKey.FinishedCompact;
  if (compact && decodeRecordKey(value) === undefined) return 'its value is no revision';
  const isNumber = name === MetaKey.ConsistentIndex || name === MetaKey.Term;
  if (isNumber && value.length !== 8) return 'its value is not 8 bytes';
  return name === MetaKey.ConfState && !isJson(value) ? 'its value is not JSON' : undefined;
}

function checkLease(key: Uint8Array, value: Uint8Array): string | undefined {
  if (key.length !== 8) return 'its key is not 8 bytes';
  const reader = new ProtoReader(value);
  let id = 0n;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x08) id = reader.bigint64();
    else reader.skipUnknown(tag, LEASE_FIELDS);
  }
  return BigInt.asUintN(64, id) === readBigUint64BE(key, 0) ? undefined : 'its value says another id';
}

const LEASE_FIELDS = ['', 'ID'];

function isMemberId(key: Uint8Array): boolean {
  return /^[0-9a-f]{1,16}$/.test(utf8Decode(key) ?? '');
}

function isJson(value: Uint8Array): boolean {
  const text = utf8Decode(value);
  if (text === undefined) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function isSafe(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === 0 && bytes[at + 1]! < SECOND_BYTE_END;
}
