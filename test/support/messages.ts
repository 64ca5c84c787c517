/**
 * A second, independent codec for the messages the interop tests exchange.
 *
 * It shares no code with src/wire on purpose: a mistake made once in one encoder and decoder pair cancels itself out,
 * made against this one it shows. It is table-driven and slow, and it keeps what the product's codec may drop: a
 * decoded message lists unknown fields, so two servers are compared on every byte they sent that has a meaning.
 *
 * Decoded form: one property per field of the table, scalars with their default when absent, int64/uint64 as bigint,
 * bytes as Buffer, repeated fields as arrays, absent submessages as undefined; `unknown` lists fields not in the table.
 */
export type Scalar = bigint | number | boolean | string | Uint8Array;
export type Value = Scalar | Message | readonly Value[] | undefined;
export interface Message {
  readonly [field: string]: Value;
}

interface Field {
  readonly number: number;
  readonly name: string;
  /** A scalar type or the name of another message. */
  readonly type: string;
  readonly repeated: boolean;
  /** Member of a oneof: absent and default are different. */
  readonly optional: boolean;
}

/** One line per message: name, then `number:field:type`, `*` after the type for repeated, `?` for oneof members. */
const tables = `
ResponseHeader 1:cluster_id:uint64 2:member_id:uint64 3:revision:int64 4:raft_term:uint64
KeyValue 1:key:bytes 2:create_revision:int64 3:mod_revision:int64 4:version:int64 5:value:bytes 6:lease:int64
RangeRequest 1:key:bytes 2:range_end:bytes 3:limit:int64 4:revision:int64 5:sort_order:enum 6:sort_target:enum \
 7:serializable:bool 8:keys_only:bool 9:count_only:bool 10:min_mod_revision:int64 11:max_mod_revision:int64 \
 12:min_create_revision:int64 13:max_create_revision:int64
RangeResponse 1:header:ResponseHeader 2:kvs:KeyValue* 3:more:bool 4:count:int64
PutRequest 1:key:bytes 2:value:bytes 3:lease:int64 4:prev_kv:bool 5:ignore_value:bool 6:ignore_lease:bool
PutResponse 1:header:ResponseHeader 2:prev_kv:KeyValue
DeleteRangeRequest 1:key:bytes 2:range_end:bytes 3:prev_kv:bool
DeleteRangeResponse 1:header:ResponseHeader 2:deleted:int64 3:prev_kvs:KeyValue*
RequestOp 1:request_range:RangeRequest 2:request_put:PutRequest 3:request_delete_range:DeleteRangeRequest \
 4:request_txn:TxnRequest
ResponseOp 1:response_range:RangeResponse 2:response_put:PutResponse 3:response_delete_range:DeleteRangeResponse \
 4:response_txn:TxnResponse
Compare 1:result:enum 2:target:enum 3:key:bytes 4:version:int64? 5:create_revision:int64? 6:mod_revision:int64? \
 7:value:bytes? 8:lease:int64? 64:range_end:bytes
TxnRequest 1:compare:Compare* 2:success:RequestOp* 3:failure:RequestOp*
TxnResponse 1:header:ResponseHeader 2:succeeded:bool 3:responses:ResponseOp*
CompactionRequest 1:revision:int64 2:physical:bool
CompactionResponse 1:header:ResponseHeader
LeaseGrantRequest 1:TTL:int64 2:ID:int64
LeaseGrantResponse 1:header:ResponseHeader 2:ID:int64 3:TTL:int64 4:error:string
LeaseRevokeRequest 1:ID:int64
LeaseRevokeResponse 1:header:ResponseHeader
LeaseKeepAliveRequest 1:ID:int64
LeaseKeepAliveResponse 1:header:ResponseHeader 2:ID:int64 3:TTL:int64
LeaseTimeToLiveRequest 1:ID:int64 2:keys:bool
LeaseTimeToLiveResponse 1:header:ResponseHeader 2:ID:int64 3:TTL:int64 4:grantedTTL:int64 5:keys:bytes*
LeaseLeasesRequest
LeaseLeasesResponse 1:header:ResponseHeader 2:leases:LeaseStatus*
LeaseStatus 1:ID:int64
StatusRequest
StatusResponse 1:header:ResponseHeader 2:version:string 3:dbSize:int64 4:leader:uint64 5:raftIndex:uint64 \
 6:raftTerm:uint64 7:raftAppliedIndex:uint64 8:errors:string* 9:dbSizeInUse:int64 10:isLearner:bool
WatchRequest 1:create_request:WatchCreateRequest 2:cancel_request:WatchCancelRequest \
 3:progress_request:WatchProgressRequest
WatchCreateRequest 1:key:bytes 2:range_end:bytes 3:start_revision:int64 4:progress_notify:bool 5:filters:enum* \
 6:prev_kv:bool 7:watch_id:int64 8:fragment:bool
WatchCancelRequest 1:watch_id:int64
WatchProgressRequest
WatchResponse 1:header:ResponseHeader 2:watch_id:int64 3:created:bool 4:canceled:bool 5:compact_revision:int64 \
 6:cancel_reason:string 7:fragment:bool 11:events:Event*
Event 1:type:enum 2:kv:KeyValue 3:prev_kv:KeyValue
HashKVRequest 1:revision:int64
HashKVResponse 1:header:ResponseHeader 2:hash:uint32 3:compact_revision:int64 4:hash_revision:int64
HashRequest
HashResponse 1:header:ResponseHeader 2:hash:uint32
DefragmentRequest
DefragmentResponse 1:header:ResponseHeader
SnapshotRequest
SnapshotResponse 1:header:ResponseHeader 2:remaining_bytes:uint64 3:blob:bytes 4:version:string
MoveLeaderRequest 1:targetID:uint64
MoveLeaderResponse 1:header:ResponseHeader
AlarmRequest 1:action:enum 2:memberID:uint64 3:alarm:enum
AlarmMember 1:memberID:uint64 2:alarm:enum
AlarmResponse 1:header:ResponseHeader 2:alarms:AlarmMember*
DowngradeRequest 1:action:enum 2:version:string
DowngradeResponse 1:header:ResponseHeader 2:version:string
Member 1:ID:uint64 2:name:string 3:peerURLs:string* 4:clientURLs:string* 5:isLearner:bool
MemberAddRequest 1:peerURLs:string* 2:isLearner:bool
MemberAddResponse 1:header:ResponseHeader 2:member:Member 3:members:Member*
MemberRemoveRequest 1:ID:uint64
MemberRemoveResponse 1:header:ResponseHeader 2:members:Member*
MemberUpdateRequest 1:ID:uint64 2:peerURLs:string*
MemberUpdateResponse 1:header:ResponseHeader 2:members:Member*
MemberListRequest 1:linearizable:bool
MemberListResponse 1:header:ResponseHeader 2:members:Member*
MemberPromoteRequest 1:ID:uint64
MemberPromoteResponse 1:header:ResponseHeader 2:members:Member*
AuthEnableRequest
AuthEnableResponse 1:header:ResponseHeader
AuthDisableRequest
AuthDisableResponse 1:header:ResponseHeader
AuthStatusRequest
AuthStatusResponse 1:header:ResponseHeader 2:enabled:bool 3:authRevision:uint64
AuthenticateRequest 1:name:string 2:password:string
AuthenticateResponse 1:header:ResponseHeader 2:token:string
UserAddOptions 1:no_password:bool
Permission 1:permType:enum 2:key:bytes 3:range_end:bytes
AuthUserAddRequest 1:name:string 2:password:string 3:options:UserAddOptions 4:hashedPassword:string
AuthUserAddResponse 1:header:ResponseHeader
AuthUserGetRequest 1:name:string
AuthUserGetResponse 1:header:ResponseHeader 2:roles:string*
AuthUserListRequest
AuthUserListResponse 1:header:ResponseHeader 2:users:string*
AuthUserDeleteRequest 1:name:string
AuthUserDeleteResponse 1:header:ResponseHeader
AuthUserChangePasswordRequest 1:name:string 2:password:string 3:hashedPassword:string
AuthUserChangePasswordResponse 1:header:ResponseHeader
AuthUserGrantRoleRequest 1:user:string 2:role:string
AuthUserGrantRoleResponse 1:header:ResponseHeader
AuthUserRevokeRoleRequest 1:name:string 2:role:string
AuthUserRevokeRoleResponse 1:header:ResponseHeader
AuthRoleAddRequest 1:name:string
AuthRoleAddResponse 1:header:ResponseHeader
AuthRoleGetRequest 1:role:string
AuthRoleGetResponse 1:header:ResponseHeader 2:perm:Permission*
AuthRoleListRequest
AuthRoleListResponse 1:header:ResponseHeader 2:roles:string*
AuthRoleDeleteRequest 1:role:string
AuthRoleDeleteResponse 1:header:ResponseHeader
AuthRoleGrantPermissionRequest 1:name:string 2:perm:Permission
AuthRoleGrantPermissionResponse 1:header:ResponseHeader
AuthRoleRevokePermissionRequest 1:role:string 2:key:bytes 3:range_end:bytes
AuthRoleRevokePermissionResponse 1:header:ResponseHeader
LockRequest 1:name:bytes 2:lease:int64
LockResponse 1:header:ResponseHeader 2:key:bytes
UnlockRequest 1:key:bytes
UnlockResponse 1:header:ResponseHeader
LeaderKey 1:name:bytes 2:key:bytes 3:rev:int64 4:lease:int64
CampaignRequest 1:name:bytes 2:lease:int64 3:value:bytes
CampaignResponse 1:header:ResponseHeader 2:leader:LeaderKey
ProclaimRequest 1:leader:LeaderKey 2:value:bytes
ProclaimResponse 1:header:ResponseHeader
LeaderRequest 1:name:bytes
LeaderResponse 1:header:ResponseHeader 2:kv:KeyValue
ResignRequest 1:leader:LeaderKey
ResignResponse 1:header:ResponseHeader
`;

const messages = parseTables(tables);

/** The fields of a message in ascending number. */
function fieldsOf(name: string): readonly Field[] {
  const fields = messages.get(name);
  if (fields === undefined) throw new Error(`unknown message ${name}`);
  return fields;
}

/** Encodes a message; default values of plain fields are left out, oneof members and submessages are not. */
export function encodeMessage(name: string, message: Message): Buffer {
  const out: number[] = [];
  const chunks: Uint8Array[] = [];
  const flush = () => {
    if (out.length > 0) chunks.push(Uint8Array.from(out.splice(0)));
  };
  const known = fieldsOf(name);
  for (const property of Object.keys(message)) {
    if (!known.some(field => field.name === property)) throw new Error(`${name} has no field ${property}`);
  }
  for (const field of known) {
    const value = message[field.name];
    if (value === undefined) continue;
    for (const item of field.repeated ? (value as readonly Value[]) : [value]) {
      if (!field.repeated && !field.optional && isDefault(item)) continue;
      if (isVarint(field.type)) {
        writeVarint(out, BigInt(field.number << 3));
        writeVarint(out, BigInt.asUintN(64, BigInt(item as bigint | number | boolean)));
        continue;
      }
      const bytes = toBytes(field.type, item);
      writeVarint(out, BigInt((field.number << 3) | 2));
      writeVarint(out, BigInt(bytes.length));
      flush();
      chunks.push(bytes);
    }
  }
  flush();
  return Buffer.concat(chunks);
}

/** Decodes a message completely; throws on bytes that are not a message. */
export function decodeMessage(name: string, bytes: Uint8Array): Message {
  const result: Record<string, Value> = {};
  const known = fieldsOf(name);
  for (const field of known) result[field.name] = field.repeated ? [] : defaultOf(field);
  const unknown: string[] = [];
  const reader = new Reader(bytes);
  while (!reader.done) {
    const tag = Number(reader.varint());
    const field = known.find(candidate => candidate.number === tag >>> 3);
    const wireType = tag & 7;
    if (field === undefined || wireType !== (isVarint(field.type) ? 0 : 2)) {
      unknown.push(`${tag >>> 3}/${wireType}=${reader.skip(wireType)}`);
      continue;
    }
    const value = isVarint(field.type)
      ? fromVarint(field.type, reader.varint())
      : fromBytes(field.type, reader.lengthDelimited());
    if (field.repeated) (result[field.name] as Value[]).push(value);
    else result[field.name] = value;
  }
  if (unknown.length > 0) result.unknown = unknown;
  return result;
}

/** A message as one line of text: bytes quoted (binary ones in hex), absent and default fields left out. */
export function describeMessage(value: Value): string {
  if (value instanceof Uint8Array) return describeBytes(value);
  if (Array.isArray(value)) return `[${value.map(describeMessage).join(', ')}]`;
  if (typeof value === 'object') {
    const fields = Object.entries(value as Message).filter(([, item]) => item !== undefined && !isDefault(item));
    return `{${fields.map(([field, item]) => `${field}: ${describeMessage(item)}`).join(', ')}}`;
  }
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

function describeBytes(bytes: Uint8Array): string {
  const shown = bytes.length > 80 ? bytes.subarray(0, 16) : bytes;
  const printable = shown.every(byte => byte >= 0x20 && byte < 0x7f);
  const text = printable
    ? JSON.stringify(Buffer.from(shown).toString('latin1'))
    : `0x${Buffer.from(shown).toString('hex')}`;
  return shown.length < bytes.length ? `${text}… (${bytes.length} bytes)` : text;
}

function parseTables(text: string): Map<string, readonly Field[]> {
  const result = new Map<string, readonly Field[]>();
  for (const line of text.replaceAll('\\\n', '').split('\n')) {
    const [name, ...fields] = line.split(' ').filter(word => word !== '');
    if (name !== undefined) result.set(name, fields.map(parseField));
  }
  return result;
}

function parseField(text: string): Field {
  const match = /^(\d+):(\w+):(\w+)([*?]?)$/.exec(text);
  if (match === null) throw new Error(`bad field ${text}`);
  const [, number, name, type, mark] = match;
  return { number: Number(number), name: name!, type: type!, repeated: mark === '*', optional: mark === '?' };
}

function isVarint(type: string): boolean {
  return ['int64', 'uint64', 'uint32', 'enum', 'bool'].includes(type);
}

function isDefault(value: Value): boolean {
  if (value instanceof Uint8Array || typeof value === 'string' || Array.isArray(value)) return value.length === 0;
  return value === 0 || value === 0n || value === false;
}

function defaultOf(field: Field): Value {
  if (field.optional || messages.has(field.type)) return undefined;
  if (field.type === 'bytes') return Buffer.alloc(0);
  if (field.type === 'string') return '';
  return fromVarint(field.type, 0n);
}

function fromVarint(type: string, value: bigint): Value {
  if (type === 'bool') return value !== 0n;
  if (type === 'enum') return Number(BigInt.asIntN(32, value));
  if (type === 'uint32') return Number(BigInt.asUintN(32, value));
  return type === 'int64' ? BigInt.asIntN(64, value) : value;
}

function fromBytes(type: string, bytes: Buffer): Value {
  if (type === 'bytes') return bytes;
  return type === 'string' ? bytes.toString('utf8') : decodeMessage(type, bytes);
}

function toBytes(type: string, value: Value): Uint8Array {
  if (value instanceof Uint8Array) return value;
  return typeof value === 'string' ? Buffer.from(value) : encodeMessage(type, value as Message);
}

function writeVarint(out: number[], value: bigint): void {
  let rest = value;
  while (rest >= 0x80n) {
    out.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  out.push(Number(rest));
}

class Reader {
  readonly #bytes: Buffer;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get done(): boolean {
    return this.#position === this.#bytes.length;
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#position++];
      if (byte === undefined) throw new Error('message ends inside a varint');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new Error('varint of more than ten bytes');
  }

  lengthDelimited(): Buffer {
    return this.#take(Number(this.varint()));
  }

  skip(wireType: number): string {
    if (wireType === 0) return String(this.varint());
    if (wireType === 2) return this.lengthDelimited().toString('hex');
    if (wireType === 1 || wireType === 5) return this.#take(wireType === 1 ? 8 : 4).toString('hex');
    throw new Error(`wire type ${wireType}`);
  }

  #take(length: number): Buffer {
    const end = this.#position + length;
    if (end > this.#bytes.length) throw new Error('message ends inside a field');
    const part = this.#bytes.subarray(this.#position, end);
    this.#position = end;
    return part;
  }
}
