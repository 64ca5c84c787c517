/**
 * The Auth service inside a member. All of it goes through the log, what only reads too, as in etcd: the answer is that
 * of the moment when it is applied, and so is the decision who may have it.
 *
 *     AuthPassword  ─> confirmed read ─> what the host needs to compare a password        only the host asks
 *     Authenticate  ─> entry ─> token; refused when the users have changed since
 *     all others    ─> entry with the caller's identity ─> answer
 */
import { encodePasswordFacts, splitRevision, withRevision } from '../transport/authentication.js';
import { type Caller, SERVER_CALLER } from '../transport/caller.js';
import { EtcdErrorCode } from '../wire/errors.js';
import { InternalField } from '../wire/internal.js';
import { Method } from '../wire/methods.js';
import { decode, encode, type MessageName } from '../wire/schema.js';
import type { Reply } from './apply/reply.js';
import type { AuthStore } from './auth/auth-store.js';

/** A request of the log that a call becomes. */
export interface AuthProposal {
  readonly field: InternalField;
  readonly body: Uint8Array;
  /** Of a login: the revision at which its password was compared. */
  readonly authRevision?: number;
}

const entries: ReadonlyMap<number, readonly [InternalField, MessageName]> = new Map<
  number,
  readonly [InternalField, MessageName]
>([
  [Method.AuthEnable, [InternalField.AuthEnable, 'etcdserverpb.AuthEnableRequest']],
  [Method.AuthDisable, [InternalField.AuthDisable, 'etcdserverpb.AuthDisableRequest']],
  [Method.AuthStatus, [InternalField.AuthStatus, 'etcdserverpb.AuthStatusRequest']],
  [Method.UserAdd, [InternalField.AuthUserAdd, 'etcdserverpb.AuthUserAddRequest']],
  [Method.UserGet, [InternalField.AuthUserGet, 'etcdserverpb.AuthUserGetRequest']],
  [Method.UserList, [InternalField.AuthUserList, 'etcdserverpb.AuthUserListRequest']],
  [Method.UserDelete, [InternalField.AuthUserDelete, 'etcdserverpb.AuthUserDeleteRequest']],
  [Method.UserChangePassword, [InternalField.AuthUserChangePassword, 'etcdserverpb.AuthUserChangePasswordRequest']],
  [Method.UserGrantRole, [InternalField.AuthUserGrantRole, 'etcdserverpb.AuthUserGrantRoleRequest']],
  [Method.UserRevokeRole, [InternalField.AuthUserRevokeRole, 'etcdserverpb.AuthUserRevokeRoleRequest']],
  [Method.RoleAdd, [InternalField.AuthRoleAdd, 'etcdserverpb.AuthRoleAddRequest']],
  [Method.RoleGet, [InternalField.AuthRoleGet, 'etcdserverpb.AuthRoleGetRequest']],
  [Method.RoleList, [InternalField.AuthRoleList, 'etcdserverpb.AuthRoleListRequest']],
  [Method.RoleDelete, [InternalField.AuthRoleDelete, 'etcdserverpb.AuthRoleDeleteRequest']],
  [Method.RoleGrantPermission, [InternalField.AuthRoleGrantPermission, 'etcdserverpb.AuthRoleGrantPermissionRequest']],
  [
    Method.RoleRevokePermission,
    [InternalField.AuthRoleRevokePermission, 'etcdserverpb.AuthRoleRevokePermissionRequest'],
  ],
]);

/**
 * What a call of the Auth service becomes in the log, or why it does not. Throws ProtoError: an entry must be readable
 * by every member.
 */
export function authProposal(
  method: number,
  payload: Uint8Array,
  caller: Caller | undefined,
): AuthProposal | EtcdErrorCode {
  if (method === Method.Authenticate) {
    if (caller !== SERVER_CALLER) return EtcdErrorCode.UnknownMethod;
    const { revision, message } = splitRevision(payload);
    decode('etcdserverpb.InternalAuthenticateRequest', message);
    return { field: InternalField.Authenticate, body: message, authRevision: revision };
  }
  const entry = entries.get(method);
  if (entry === undefined) return EtcdErrorCode.UnknownMethod;
  const [field, message] = entry;
  decode(message, payload);
  return { field, body: withoutPassword(method, payload) };
}

/** The host has hashed it: should one be left, it does not get into the log. */
function withoutPassword(method: number, payload: Uint8Array): Uint8Array {
  if (method === Method.UserAdd) {
    const request = decode('etcdserverpb.AuthUserAddRequest', payload);
    if (request.password !== '') return encode('etcdserverpb.AuthUserAddRequest', { ...request, password: '' });
  } else if (method === Method.UserChangePassword) {
    const request = decode('etcdserverpb.AuthUserChangePasswordRequest', payload);
    if (request.password !== '')
      return encode('etcdserverpb.AuthUserChangePasswordRequest', { ...request, password: '' });
  }
  return payload;
}

/** The answer of a login to the host, if the users are as they were when its password was compared. */
export function loginReply(reply: Reply, comparedAt: number, { revision }: AuthStore): Reply {
  if (!('ok' in reply)) return reply;
  if (revision !== comparedAt) return { error: EtcdErrorCode.AuthOldRevision };
  return { ok: withRevision(revision, reply.ok) };
}

/** The answer to AuthPassword; `payload` is the user's name. */
export function passwordFacts(payload: Uint8Array, auth: AuthStore): Uint8Array {
  const user = auth.user(Buffer.from(payload).toString('utf8'));
  return encodePasswordFacts({
    enabled: auth.enabled,
    hash: Buffer.from(user?.password ?? []).toString('utf8'),
    noPassword: user?.options?.no_password ?? false,
    revision: auth.revision,
  });
}
