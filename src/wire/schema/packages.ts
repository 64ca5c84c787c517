/**
 * The small client-side packages: mvccpb, authpb, v3lockpb, v3electionpb, grpc.health.v1. Notation: messages.ts.
 */
const HEADER = [1, 'etcdserverpb.ResponseHeader'] as const;

export const packages = {
  'mvccpb.KeyValue': {
    key: [1, 'bytes'],
    create_revision: [2, 'int64'],
    mod_revision: [3, 'int64'],
    version: [4, 'int64'],
    value: [5, 'bytes'],
    lease: [6, 'int64'],
  },
  'mvccpb.Event': { type: [1, 'mvccpb.Event.EventType'], kv: [2, 'mvccpb.KeyValue'], prev_kv: [3, 'mvccpb.KeyValue'] },
  'authpb.UserAddOptions': { no_password: [1, 'bool'] },
  'authpb.User': {
    name: [1, 'bytes'],
    password: [2, 'bytes'],
    roles: [3, 'string', 'repeated'],
    options: [4, 'authpb.UserAddOptions'],
  },
  'authpb.Permission': { permType: [1, 'authpb.Permission.Type'], key: [2, 'bytes'], range_end: [3, 'bytes'] },
  'authpb.Role': { name: [1, 'bytes'], keyPermission: [2, 'authpb.Permission', 'repeated'] },
  'v3lockpb.LockRequest': { name: [1, 'bytes'], lease: [2, 'int64'] },
  'v3lockpb.LockResponse': { header: HEADER, key: [2, 'bytes'] },
  'v3lockpb.UnlockRequest': { key: [1, 'bytes'] },
  'v3lockpb.UnlockResponse': { header: HEADER },
  'v3electionpb.CampaignRequest': { name: [1, 'bytes'], lease: [2, 'int64'], value: [3, 'bytes'] },
  'v3electionpb.CampaignResponse': { header: HEADER, leader: [2, 'v3electionpb.LeaderKey'] },
  'v3electionpb.LeaderKey': { name: [1, 'bytes'], key: [2, 'bytes'], rev: [3, 'int64'], lease: [4, 'int64'] },
  'v3electionpb.LeaderRequest': { name: [1, 'bytes'] },
  'v3electionpb.LeaderResponse': { header: HEADER, kv: [2, 'mvccpb.KeyValue'] },
  'v3electionpb.ResignRequest': { leader: [1, 'v3electionpb.LeaderKey'] },
  'v3electionpb.ResignResponse': { header: HEADER },
  'v3electionpb.ProclaimRequest': { leader: [1, 'v3electionpb.LeaderKey'], value: [2, 'bytes'] },
  'v3electionpb.ProclaimResponse': { header: HEADER },
  'grpc.health.v1.HealthCheckRequest': { service: [1, 'string'] },
  'grpc.health.v1.HealthCheckResponse': { status: [1, 'grpc.health.v1.HealthCheckResponse.ServingStatus'] },
  'grpc.health.v1.HealthListRequest': {},
  // map<string, HealthCheckResponse> statuses: a map is a repeated message of key and value.
  'grpc.health.v1.HealthListResponse': {
    statuses: [1, 'grpc.health.v1.HealthListResponse.StatusesEntry', 'repeated'],
  },
  'grpc.health.v1.HealthListResponse.StatusesEntry': {
    key: [1, 'string'],
    value: [2, 'grpc.health.v1.HealthCheckResponse'],
  },
} as const;
