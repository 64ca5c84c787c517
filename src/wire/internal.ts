/**
 * InternalRaftRequest: what a log entry's data is, exactly as etcd writes it.
 *
 *   [22 len PutRequest] a2 06 len { [08 id] [12 len username] [18 auth_revision] }      requests 3-11: before the header
 *   a2 06 len {...} [aa 51 len ClusterMemberAttrSetRequest]                             requests 1000 and up: after it
 *
 * Exactly one request field is set beside the header (field 100). The request's bytes are the client's own, copied once
 * and not decoded. A request id is 64 bits: 16 bits of the proposing member's id, then a 48-bit counter; both halves are
 * numbers, so that no bigint is made on the way of a write.
 */
import { ProtoReader, ProtoWriter, WireType } from './proto.js';

/** Field numbers of the requests. */
export const InternalField = {
  Range: 3,
  Put: 4,
  DeleteRange: 5,
  Txn: 6,
  Compaction: 7,
  LeaseGrant: 8,
  LeaseRevoke: 9,
  Alarm: 10,
  LeaseCheckpoint: 11,
  AuthEnable: 1000,
  AuthDisable: 1011,
  Authenticate: 1012,
  AuthStatus: 1013,
  AuthUserAdd: 1100,
  AuthUserDelete: 1101,
  AuthUserGet: 1102,
  AuthUserChangePassword: 1103,
  AuthUserGrantRole: 1104,
  AuthUserRevokeRole: 1105,
  AuthUserList: 1106,
  AuthRoleList: 1107,
  AuthRoleAdd: 1200,
  AuthRoleDelete: 1201,
  AuthRoleGet: 1202,
  AuthRoleGrantPermission: 1203,
  AuthRoleRevokePermission: 1204,
  ClusterVersionSet: 1300,
  ClusterMemberAttrSet: 1301,
  DowngradeInfoSet: 1302,
  DowngradeVersionTest: 9900,
} as const;
export type InternalField = (typeof InternalField)[keyof typeof InternalField];

/** Who asks, when auth is on: the token's user and auth revision. */
export interface RequestIdentity {
  readonly username: string;
  readonly authRevision: number;
}

/** What a log entry asks for. The request's bytes are source[bodyStart, bodyEnd). */
export interface InternalRequest {
  /** 0: no request field was set. Usually an InternalField; an unknown number is kept. */
  field: number;
  bodyStart: number;
  bodyEnd: number;
  /** Upper 16 bits of the request id: the low 16 bits of the proposing member's id. */
  idMember: number;
  /** Lower 48 bits of the request id. */
  idCounter: number;
  username: string;
  authRevision: number;
}

const HEADER_FIELD = 100;
const TWO_TO_32 = 4_294_967_296;

/**
 * Wraps a client's request bytes into an entry's data.
 *
 * `idMember` is 16 bits, `idCounter` 48 bits. The result is the caller's, a view of a slab (see ProtoWriter).
 */
export function encodeInternalRequest(
  field: InternalField,
  body: Uint8Array,
  idMember: number,
  idCounter: number,
  identity?: RequestIdentity,
): Uint8Array {
  const writer = scratch.reset();
  if (field > HEADER_FIELD) writeHeader(writer, idMember, idCounter, identity);
  writer.messageField(field, body);
  if (field < HEADER_FIELD) writeHeader(writer, idMember, idCounter, identity);
  return writer.finish();
}

const scratch = new ProtoWriter();

function writeHeader(
  writer: ProtoWriter,
  idMember: number,
  idCounter: number,
  identity: RequestIdentity | undefined,
): void {
  const start = writer.open(HEADER_FIELD);
  if (idMember !== 0 || idCounter !== 0) {
    writer.tag(1, WireType.Varint);
    writer.varint64(idMember * 65_536 + Math.floor(idCounter / TWO_TO_32), idCounter >>> 0);
  }
  if (identity !== undefined) {
    writer.stringField(2, identity.username);
    writer.int64Field(3, identity.authRevision);
  }
  writer.close(start);
}

/** A fresh target for decodeInternalRequest, to be reused. */
export function newInternalRequest(): InternalRequest {
  return { field: 0, bodyStart: 0, bodyEnd: 0, idMember: 0, idCounter: 0, username: '', authRevision: 0 };
}

const HEADER_FIELDS = ['', 'ID', 'Username', 'AuthRevision'];
const ID_FIELDS = ['', 'ID'];

/**
 * Finds out what an entry asks for, into `target`, without decoding the request itself. Throws ProtoError.
 *
 * Should several request fields be set, the last one is taken. The id is the header's; logs of very old clusters have it
 * in field 1.
 */
export function decodeInternalRequest(source: Uint8Array, target: InternalRequest): void {
  target.field = 0;
  target.bodyStart = 0;
  target.bodyEnd = 0;
  target.idMember = 0;
  target.idCounter = 0;
  target.username = '';
  target.authRevision = 0;
  const reader = new ProtoReader(source);
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === HEADER_FIELD * 8 + WireType.Bytes) {
      const outer = reader.enter();
      readHeader(reader, target);
      reader.leave(outer);
    } else if ((tag & 7) === WireType.Bytes) {
      const outer = reader.enter();
      target.field = tag >>> 3;
      target.bodyStart = reader.offset;
      target.bodyEnd = reader.skipRest();
      reader.leave(outer);
    } else if (tag === 0x08) {
      readId(reader, target);
    } else {
      reader.skipUnknown(tag, ID_FIELDS);
    }
  }
}

function readHeader(reader: ProtoReader, target: InternalRequest): void {
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === 0x08) readId(reader, target);
    else if (tag === 0x12) target.username = reader.string();
    else if (tag === 0x18) target.authRevision = reader.int64();
    else reader.skipUnknown(tag, HEADER_FIELDS);
  }
}

function readId(reader: ProtoReader, target: InternalRequest): void {
  reader.varint();
  const high = reader.highHalf;
  target.idMember = high >>> 16;
  target.idCounter = (high & 0xffff) * TWO_TO_32 + reader.lowHalf;
}
