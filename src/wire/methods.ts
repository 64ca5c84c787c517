/**
 * Every gRPC method of etcd 3.6 (and the health service): path <-> small integer, kind, message types.
 *
 * The integer travels in a ring record's `aux` (u16), so that a member thread never sees a path; 0 is never used.
 * It is private to one process. Message types are names in schema.ts.
 */

/** U unary, SS server stream, BD both directions. */
export const MethodKind = { Unary: 'U', ServerStream: 'SS', Bidirectional: 'BD' } as const;
export type MethodKind = (typeof MethodKind)[keyof typeof MethodKind];

export interface MethodInfo {
  readonly method: Method;
  /** `/etcdserverpb.KV/Put` */
  readonly path: string;
  /** `etcdserverpb.KV` */
  readonly service: string;
  /** `Put` */
  readonly name: string;
  readonly kind: MethodKind;
  /** Name in schema.ts: `etcdserverpb.PutRequest`. */
  readonly request: string;
  readonly response: string;
}

/** `<Service><Method>` -> integer. */
export const Method = {
  KvRange: 1,
  KvPut: 2,
  KvDeleteRange: 3,
  KvTxn: 4,
  KvCompact: 5,
  Watch: 6,
  LeaseGrant: 7,
  LeaseRevoke: 8,
  LeaseKeepAlive: 9,
  LeaseTimeToLive: 10,
  LeaseLeases: 11,
  MemberAdd: 12,
  MemberRemove: 13,
  MemberUpdate: 14,
  MemberList: 15,
  MemberPromote: 16,
  Alarm: 17,
  Status: 18,
  Defragment: 19,
  Hash: 20,
  HashKv: 21,
  Snapshot: 22,
  MoveLeader: 23,
  Downgrade: 24,
  AuthEnable: 25,
  AuthDisable: 26,
  AuthStatus: 27,
  Authenticate: 28,
  UserAdd: 29,
  UserGet: 30,
  UserList: 31,
  UserDelete: 32,
  UserChangePassword: 33,
  UserGrantRole: 34,
  UserRevokeRole: 35,
  RoleAdd: 36,
  RoleGet: 37,
  RoleList: 38,
  RoleDelete: 39,
  RoleGrantPermission: 40,
  RoleRevokePermission: 41,
  Lock: 42,
  Unlock: 43,
  Campaign: 44,
  Proclaim: 45,
  Leader: 46,
  Observe: 47,
  Resign: 48,
  HealthCheck: 49,
  HealthWatch: 50,
  HealthList: 51,
  /** Between host and member only: what a member knows of a user's password. */
  AuthPassword: 60,
} as const;
export type Method = (typeof Method)[keyof typeof Method];

type Row = readonly [method: Method, name: string, kind: MethodKind, request: string, response: string];

/** A row whose messages are `<prefix><Name>Request` and `<prefix><Name>Response`. */
function row(method: Method, name: string, kind: MethodKind = 'U', prefix = ''): Row {
  return [method, name, kind, `${prefix}${name}Request`, `${prefix}${name}Response`];
}

const SERVICES: readonly (readonly [service: string, rows: readonly Row[]])[] = [
  [
    'etcdserverpb.KV',
    [
      row(Method.KvRange, 'Range'),
      row(Method.KvPut, 'Put'),
      row(Method.KvDeleteRange, 'DeleteRange'),
      row(Method.KvTxn, 'Txn'),
      [Method.KvCompact, 'Compact', 'U', 'CompactionRequest', 'CompactionResponse'],
    ],
  ],
  ['etcdserverpb.Watch', [row(Method.Watch, 'Watch', 'BD')]],
  [
    'etcdserverpb.Lease',
    [
      row(Method.LeaseGrant, 'LeaseGrant'),
      row(Method.LeaseRevoke, 'LeaseRevoke'),
      row(Method.LeaseKeepAlive, 'LeaseKeepAlive', 'BD'),
      row(Method.LeaseTimeToLive, 'LeaseTimeToLive'),
      row(Method.LeaseLeases, 'LeaseLeases'),
    ],
  ],
  [
    'etcdserverpb.Cluster',
    [
      row(Method.MemberAdd, 'MemberAdd'),
      row(Method.MemberRemove, 'MemberRemove'),
      row(Method.MemberUpdate, 'MemberUpdate'),
      row(Method.MemberList, 'MemberList'),
      row(Method.MemberPromote, 'MemberPromote'),
    ],
  ],
  [
    'etcdserverpb.Maintenance',
    [
      row(Method.Alarm, 'Alarm'),
      row(Method.Status, 'Status'),
      row(Method.Defragment, 'Defragment'),
      row(Method.Hash, 'Hash'),
      row(Method.HashKv, 'HashKV'),
      row(Method.Snapshot, 'Snapshot', 'SS'),
      row(Method.MoveLeader, 'MoveLeader'),
      row(Method.Downgrade, 'Downgrade'),
    ],
  ],
  [
    'etcdserverpb.Auth',
    [
      row(Method.AuthEnable, 'AuthEnable'),
      row(Method.AuthDisable, 'AuthDisable'),
      row(Method.AuthStatus, 'AuthStatus'),
      row(Method.Authenticate, 'Authenticate'),
      row(Method.UserAdd, 'UserAdd', 'U', 'Auth'),
      row(Method.UserGet, 'UserGet', 'U', 'Auth'),
      row(Method.UserList, 'UserList', 'U', 'Auth'),
      row(Method.UserDelete, 'UserDelete', 'U', 'Auth'),
      row(Method.UserChangePassword, 'UserChangePassword', 'U', 'Auth'),
      row(Method.UserGrantRole, 'UserGrantRole', 'U', 'Auth'),
      row(Method.UserRevokeRole, 'UserRevokeRole', 'U', 'Auth'),
      row(Method.RoleAdd, 'RoleAdd', 'U', 'Auth'),
      row(Method.RoleGet, 'RoleGet', 'U', 'Auth'),
      row(Method.RoleList, 'RoleList', 'U', 'Auth'),
      row(Method.RoleDelete, 'RoleDelete', 'U', 'Auth'),
      row(Method.RoleGrantPermission, 'RoleGrantPermission', 'U', 'Auth'),
      row(Method.RoleRevokePermission, 'RoleRevokePermission', 'U', 'Auth'),
    ],
  ],
  ['v3lockpb.Lock', [row(Method.Lock, 'Lock'), row(Method.Unlock, 'Unlock')]],
  [
    'v3electionpb.Election',
    [
      row(Method.Campaign, 'Campaign'),
      row(Method.Proclaim, 'Proclaim'),
      row(Method.Leader, 'Leader'),
      [Method.Observe, 'Observe', 'SS', 'LeaderRequest', 'LeaderResponse'],
      row(Method.Resign, 'Resign'),
    ],
  ],
  [
    'grpc.health.v1.Health',
    [
      [Method.HealthCheck, 'Check', 'U', 'HealthCheckRequest', 'HealthCheckResponse'],
      [Method.HealthWatch, 'Watch', 'SS', 'HealthCheckRequest', 'HealthCheckResponse'],
      [Method.HealthList, 'List', 'U', 'HealthListRequest', 'HealthListResponse'],
    ],
  ],
];

const byNumber: (MethodInfo | undefined)[] = [];
const byPath = new Map<string, MethodInfo>();
const services = new Set<string>();
for (const [service, rows] of SERVICES) {
  services.add(service);
  const protoPackage = service.slice(0, service.lastIndexOf('.') + 1);
  for (const [method, name, kind, request, response] of rows) {
    const path = `/${service}/${name}`;
    const info: MethodInfo = {
      method,
      path,
      service,
      name,
      kind,
      request: protoPackage + request,
      response: protoPackage + response,
    };
    byNumber[method] = info;
    byPath.set(path, info);
  }
}

/** Every method, ascending by number. */
export const methods: readonly MethodInfo[] = byNumber.filter(info => info !== undefined);

/** The method of a request's `:path`, or undefined: then unknownMethodText says what to answer. */
export function methodByPath(path: string): MethodInfo | undefined {
  return byPath.get(path);
}

/** The method of a record's `aux`, or undefined. */
export function methodByNumber(method: number): MethodInfo | undefined {
  return byNumber[method];
}

/**
 * The status text (code Unimplemented) for a path that methodByPath does not know: as gRPC-Go words it, the text
 * depends on whether the service exists. Service and method are split at the last slash.
 */
export function unknownMethodText(path: string): string {
  const trimmed = path.startsWith('/') ? path.slice(1) : path;
  const slash = trimmed.lastIndexOf('/');
  if (slash === -1) return `malformed method name: "${path}"`;
  const service = trimmed.slice(0, slash);
  const name = trimmed.slice(slash + 1);
  return services.has(service) ? `unknown method ${name} for service ${service}` : `unknown service ${service}`;
}
