/**
 * The one error table: every error a client can see, with its gRPC status code and etcd's exact text.
 *
 * Go clients recognise errors by text, so a text here is part of the protocol: never reword one.
 * A code is a small integer (u16, 0 is never used), so that a reply record can carry it in its `aux` field; codes are
 * private to one process and may be renumbered. Rows follow etcd 3.6.
 *
 * Two rows leave the server with status Unknown although their name suggests better: etcd forgets to map
 * MemberNotEnoughStarted and RequestTooManyRequests to a status. Clients match the text, so nothing is lost.
 */

/** gRPC status codes (grpc/status.proto). */
export const GrpcCode = {
  Ok: 0,
  Canceled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const;
export type GrpcCode = (typeof GrpcCode)[keyof typeof GrpcCode];

/** name -> [code, gRPC status code, text]. */
const ROWS = {
  EmptyKey: [1, GrpcCode.InvalidArgument, 'etcdserver: key is not provided'],
  KeyNotFound: [2, GrpcCode.InvalidArgument, 'etcdserver: key not found'],
  ValueProvided: [3, GrpcCode.InvalidArgument, 'etcdserver: value is provided'],
  LeaseProvided: [4, GrpcCode.InvalidArgument, 'etcdserver: lease is provided'],
  TooManyOps: [5, GrpcCode.InvalidArgument, 'etcdserver: too many operations in txn request'],
  DuplicateKey: [6, GrpcCode.InvalidArgument, 'etcdserver: duplicate key given in txn request'],
  InvalidClientApiVersion: [7, GrpcCode.InvalidArgument, 'etcdserver: invalid client api version'],
  InvalidSortOption: [8, GrpcCode.InvalidArgument, 'etcdserver: invalid sort option'],
  Compacted: [9, GrpcCode.OutOfRange, 'etcdserver: mvcc: required revision has been compacted'],
  FutureRev: [10, GrpcCode.OutOfRange, 'etcdserver: mvcc: required revision is a future revision'],
  NoSpace: [11, GrpcCode.ResourceExhausted, 'etcdserver: mvcc: database space exceeded'],
  LeaseNotFound: [12, GrpcCode.NotFound, 'etcdserver: requested lease not found'],
  LeaseExist: [13, GrpcCode.FailedPrecondition, 'etcdserver: lease already exists'],
  LeaseTtlTooLarge: [14, GrpcCode.OutOfRange, 'etcdserver: too large lease TTL'],
  WatchCanceled: [15, GrpcCode.Canceled, 'etcdserver: watch canceled'],
  MemberExist: [16, GrpcCode.FailedPrecondition, 'etcdserver: member ID already exist'],
  PeerUrlExist: [17, GrpcCode.FailedPrecondition, 'etcdserver: Peer URLs already exists'],
  MemberNotEnoughStarted: [
    18,
    GrpcCode.Unknown,
    'etcdserver: re-configuration failed due to not enough started members',
  ],
  MemberBadUrls: [19, GrpcCode.InvalidArgument, 'etcdserver: given member URLs are invalid'],
  MemberNotFound: [20, GrpcCode.NotFound, 'etcdserver: member not found'],
  MemberNotLearner: [21, GrpcCode.FailedPrecondition, 'etcdserver: can only promote a learner member'],
  LearnerNotReady: [
    22,
    GrpcCode.FailedPrecondition,
    'etcdserver: can only promote a learner member which is in sync with leader',
  ],
  TooManyLearners: [23, GrpcCode.FailedPrecondition, 'etcdserver: too many learner members in cluster'],
  ClusterIdMismatch: [24, GrpcCode.FailedPrecondition, 'etcdserver: cluster ID mismatch'],
  RequestTooLarge: [25, GrpcCode.InvalidArgument, 'etcdserver: request is too large'],
  RequestTooManyRequests: [26, GrpcCode.Unknown, 'etcdserver: too many requests'],
  RootUserNotExist: [27, GrpcCode.FailedPrecondition, 'etcdserver: root user does not exist'],
  RootRoleNotExist: [28, GrpcCode.FailedPrecondition, 'etcdserver: root user does not have root role'],
  UserAlreadyExist: [29, GrpcCode.FailedPrecondition, 'etcdserver: user name already exists'],
  UserEmpty: [30, GrpcCode.InvalidArgument, 'etcdserver: user name is empty'],
  UserNotFound: [31, GrpcCode.FailedPrecondition, 'etcdserver: user name not found'],
  RoleAlreadyExist: [32, GrpcCode.FailedPrecondition, 'etcdserver: role name already exists'],
  RoleNotFound: [33, GrpcCode.FailedPrecondition, 'etcdserver: role name not found'],
  RoleEmpty: [34, GrpcCode.InvalidArgument, 'etcdserver: role name is empty'],
  AuthFailed: [35, GrpcCode.InvalidArgument, 'etcdserver: authentication failed, invalid user ID or password'],
  PermissionNotGiven: [36, GrpcCode.InvalidArgument, 'etcdserver: permission not given'],
  PermissionDenied: [37, GrpcCode.PermissionDenied, 'etcdserver: permission denied'],
  RoleNotGranted: [38, GrpcCode.FailedPrecondition, 'etcdserver: role is not granted to the user'],
  PermissionNotGranted: [39, GrpcCode.FailedPrecondition, 'etcdserver: permission is not granted to the role'],
  AuthNotEnabled: [40, GrpcCode.FailedPrecondition, 'etcdserver: authentication is not enabled'],
  InvalidAuthToken: [41, GrpcCode.Unauthenticated, 'etcdserver: invalid auth token'],
  InvalidAuthMgmt: [42, GrpcCode.InvalidArgument, 'etcdserver: invalid auth management'],
  AuthOldRevision: [43, GrpcCode.InvalidArgument, 'etcdserver: revision of auth store is old'],
  NoLeader: [44, GrpcCode.Unavailable, 'etcdserver: no leader'],
  NotLeader: [45, GrpcCode.FailedPrecondition, 'etcdserver: not leader'],
  LeaderChanged: [46, GrpcCode.Unavailable, 'etcdserver: leader changed'],
  NotCapable: [47, GrpcCode.FailedPrecondition, 'etcdserver: not capable'],
  Stopped: [48, GrpcCode.Unavailable, 'etcdserver: server stopped'],
  Timeout: [49, GrpcCode.Unavailable, 'etcdserver: request timed out'],
  TimeoutDueToLeaderFail: [
    50,
    GrpcCode.Unavailable,
    'etcdserver: request timed out, possibly due to previous leader failure',
  ],
  TimeoutDueToConnectionLost: [
    51,
    GrpcCode.Unavailable,
    'etcdserver: request timed out, possibly due to connection lost',
  ],
  TimeoutWaitAppliedIndex: [
    52,
    GrpcCode.Unavailable,
    'etcdserver: request timed out, waiting for the applied index took too long',
  ],
  Unhealthy: [53, GrpcCode.Unavailable, 'etcdserver: unhealthy cluster'],
  Corrupt: [54, GrpcCode.DataLoss, 'etcdserver: corrupt cluster'],
  NotSupportedForLearner: [55, GrpcCode.FailedPrecondition, 'etcdserver: rpc not supported for learner'],
  BadLeaderTransferee: [56, GrpcCode.FailedPrecondition, 'etcdserver: bad leader transferee'],
  WrongDowngradeVersionFormat: [57, GrpcCode.InvalidArgument, 'etcdserver: wrong downgrade target version format'],
  InvalidDowngradeTargetVersion: [58, GrpcCode.InvalidArgument, 'etcdserver: invalid downgrade target version'],
  ClusterVersionUnavailable: [
    59,
    GrpcCode.FailedPrecondition,
    'etcdserver: cluster version not found during downgrade',
  ],
  DowngradeInProcess: [60, GrpcCode.FailedPrecondition, 'etcdserver: cluster has a downgrade job in progress'],
  NoInflightDowngrade: [61, GrpcCode.FailedPrecondition, 'etcdserver: no inflight downgrade job'],
  Canceled: [62, GrpcCode.Canceled, 'etcdserver: request canceled'],
  DeadlineExceeded: [63, GrpcCode.DeadlineExceeded, 'etcdserver: context deadline exceeded'],

  // Texts that etcd sends without a status of their own.
  NoPasswordUser: [64, GrpcCode.Unknown, 'auth: authentication failed, password was given for no password user'],
  UnknownMethod: [65, GrpcCode.Unknown, 'etcdserver: unknown method'],
  RequestCancelled: [66, GrpcCode.Unknown, 'etcdserver: request cancelled'],
  TimeoutLeaderTransfer: [67, GrpcCode.Unknown, 'etcdserver: request timed out, leader transfer took too long'],
  NotPrimaryLessor: [68, GrpcCode.Unknown, 'not a primary lessor'],
  PasswordTooLong: [69, GrpcCode.Unknown, 'bcrypt: password length exceeds 72 bytes'],
  ElectionNoLeader: [70, GrpcCode.Unknown, 'election: no leader'],
  ElectionNotLeader: [71, GrpcCode.Unknown, 'election: not leader'],
  LeaderFieldMissing: [72, GrpcCode.Unknown, '"leader" field must be provided'],
  SessionExpired: [73, GrpcCode.Unknown, 'mutex: session is expired'],

  // A context that ended on the server side: the client's deadline or cancel, or the server's own request timeout.
  ContextDeadlineExceeded: [74, GrpcCode.DeadlineExceeded, 'context deadline exceeded'],
  ContextCanceled: [75, GrpcCode.Canceled, 'context canceled'],

  // The gRPC layer's own. Those that end in a colon and a blank are completed by the detail.
  HealthUnknownService: [76, GrpcCode.NotFound, 'unknown service'],
  Undecodable: [77, GrpcCode.Internal, 'grpc: error unmarshalling request: '],

  /** A login where only the key that reads signed tokens is known. */
  VerifyOnlyKey: [80, GrpcCode.Unknown, 'auth: token signing attempted with verify-only key'],

  // Our own, where etcd passes on what the operating system said. Completed by the detail.
  DefragmentFailed: [90, GrpcCode.Unknown, 'kvorum: defragment failed: '],
} as const satisfies Record<string, readonly [number, GrpcCode, string]>;

type ErrorName = keyof typeof ROWS;

/** name -> code: `EtcdErrorCode.EmptyKey` is 1. */
export const EtcdErrorCode = Object.fromEntries(Object.entries(ROWS).map(([name, [code]]) => [name, code])) as {
  readonly [Name in ErrorName]: (typeof ROWS)[Name][0];
};
export type EtcdErrorCode = (typeof ROWS)[ErrorName][0];

/** What a client sees of an error: the gRPC status code and the status message, byte for byte. */
export interface ErrorStatus {
  readonly grpcCode: GrpcCode;
  readonly message: string;
}

const statuses: (ErrorStatus | undefined)[] = [];
const namesByCode: (string | undefined)[] = [];
for (const [name, [code, grpcCode, message]] of Object.entries(ROWS)) {
  statuses[code] = { grpcCode, message };
  namesByCode[code] = name;
}

/** The status of `code`; `detail`, when given, is appended to the text (only Undecodable wants one). */
export function etcdError(code: EtcdErrorCode, detail = ''): ErrorStatus {
  const status = statuses[code] as ErrorStatus;
  return detail === '' ? status : { grpcCode: status.grpcCode, message: status.message + detail };
}

/** Whether `code`, read from a record, is a row of the table. */
export function isEtcdErrorCode(code: number): code is EtcdErrorCode {
  return statuses[code] !== undefined;
}

/** The row's name, for logs. */
export function etcdErrorName(code: EtcdErrorCode): string {
  return namesByCode[code] as string;
}
