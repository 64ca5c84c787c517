/**
 * Every call of etcd's interface by name: its path and messages, and one way to ask a server.
 *
 * A call is asked with one message, whatever its kind. Of a call that goes on (Watch, Observe, Snapshot) the first
 * answer counts; it is cancelled after that.
 */
import type { Outcome } from './differential.js';
import type { GrpcClient } from './grpc-client.js';
import { decodeMessage, encodeMessage, type Message } from './messages.js';

const services = {
  'etcdserverpb.KV': ['Range', 'Put', 'DeleteRange', 'Txn', 'Compact'],
  'etcdserverpb.Watch': ['Watch'],
  'etcdserverpb.Lease': ['LeaseGrant', 'LeaseRevoke', 'LeaseKeepAlive', 'LeaseTimeToLive', 'LeaseLeases'],
  'etcdserverpb.Cluster': ['MemberAdd', 'MemberRemove', 'MemberUpdate', 'MemberList', 'MemberPromote'],
  'etcdserverpb.Maintenance': [
    ...(['Alarm', 'Status', 'Defragment', 'Hash', 'HashKV', 'Snapshot', 'MoveLeader', 'Downgrade'] as const),
  ],
  'etcdserverpb.Auth': [
    ...(['AuthEnable', 'AuthDisable', 'AuthStatus', 'Authenticate'] as const),
    ...(['UserAdd', 'UserGet', 'UserList', 'UserDelete', 'UserChangePassword'] as const),
    ...(['UserGrantRole', 'UserRevokeRole', 'RoleAdd', 'RoleGet', 'RoleList', 'RoleDelete'] as const),
    ...(['RoleGrantPermission', 'RoleRevokePermission'] as const),
  ],
  'v3lockpb.Lock': ['Lock', 'Unlock'],
  'v3electionpb.Election': ['Campaign', 'Proclaim', 'Leader', 'Observe', 'Resign'],
} as const;

export type CallName = (typeof services)[keyof typeof services][number];

interface Call {
  readonly path: string;
  readonly request: string;
  readonly response: string;
  /** It does not end by itself, or has many answers. */
  readonly goesOn: boolean;
}

/** Calls whose messages are not named after them. */
const messageNames: Partial<Record<CallName, string>> = { Compact: 'Compaction', Observe: 'Leader' };

/** All of them: a table that leaves one out compares less without a word. */
export const calls: ReadonlyMap<CallName, Call> = new Map(
  Object.entries(services).flatMap(([service, names]) => names.map(name => [name, callOf(service, name)] as const)),
);

/** How long an answer may take, ms: far more than any needs. */
const deadlineMs = 20_000;

/** Asks a server as the bearer of `token`; without one as nobody. A refusal is an outcome. */
export async function ask(client: GrpcClient, name: CallName, request: Message, token?: string): Promise<Outcome> {
  const call = calls.get(name)!;
  const body = encodeMessage(call.request, request);
  const metadata = token === undefined ? {} : { token };
  if (call.goesOn) return firstAnswer(client, call, body, metadata);
  const { grpcStatus, grpcMessage, messages } = await client.unary(call.path, body, { metadata, deadlineMs });
  const [message] = messages;
  if (grpcStatus === 0 && message === undefined) throw new Error(`${name}: OK without a message`);
  const response = grpcStatus === 0 ? decodeMessage(call.response, message!) : undefined;
  return { status: grpcStatus, text: grpcMessage, response };
}

async function firstAnswer(client: GrpcClient, call: Call, body: Buffer, metadata: Record<string, string>) {
  const stream = client.stream(call.path, { metadata });
  const timer = setTimeout(() => stream.cancel(), deadlineMs);
  stream.send(body);
  if (call.response !== 'WatchResponse') stream.halfClose();
  const { done, value } = await stream.next();
  stream.cancel();
  clearTimeout(timer);
  if (done !== true) return { status: 0, text: '', response: decodeMessage(call.response, value) };
  const { grpcStatus, grpcMessage } = await stream.status;
  return { status: grpcStatus, text: grpcMessage, response: undefined };
}

function callOf(service: string, name: CallName): Call {
  const messages = messageNames[name] ?? (/^(User|Role)/.test(name) ? `Auth${name}` : name);
  return {
    path: `/${service}/${name}`,
    request: `${messages}Request`,
    response: `${messages}Response`,
    goesOn: name === 'Watch' || name === 'Observe' || name === 'Snapshot',
  };
}
