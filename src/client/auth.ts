/**
 * Users, roles and what they may do.
 *
 *     await client.user.add('root', 'secret');
 *     await client.user.grantRole('root', 'root');
 *     await client.role.add('readers');
 *     await client.role.grantPermission('readers', { prefix: 'public/' }, 'read');
 *     await client.user.add('ann', 'wonder');
 *     await client.user.grantRole('ann', 'readers');
 *     await client.auth.enable();                      // from here on every call needs a user
 *
 * Who may do this with auth on is a user with the role root, or the program that runs the cluster.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import { Method } from '../wire/methods.js';
import { decode, encode, type MessageName } from '../wire/schema.js';
import type { CallOptions, Channel } from './channel.js';
import { boundsOf, type Range } from './ranges.js';

export type PermissionType = 'read' | 'write' | 'readwrite';

const permissionTypes: readonly PermissionType[] = ['read', 'write', 'readwrite'];

/** What a role may do, with which keys. */
export interface Permission {
  readonly type: PermissionType;
  readonly keyBytes: Uint8Array;
  /** Empty: the one key; a zero byte: every key from there on; otherwise the first key behind the range. */
  readonly rangeEndBytes: Uint8Array;
}

export interface AuthStatus {
  readonly enabled: boolean;
  /** Raised by every change of users, roles and permissions. */
  readonly revision: number;
}

/** Auth as a whole. */
export class Auth {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Refused until there is a user `root` with the role `root`. */
  async enable(options?: CallOptions): Promise<void> {
    await this.#channel.unary(Method.AuthEnable, EMPTY_BYTES, options);
  }

  async disable(options?: CallOptions): Promise<void> {
    await this.#channel.unary(Method.AuthDisable, EMPTY_BYTES, options);
  }

  async status(options?: CallOptions): Promise<AuthStatus> {
    const response = await this.#channel.unary(Method.AuthStatus, EMPTY_BYTES, options);
    const { enabled, authRevision } = decode('etcdserverpb.AuthStatusResponse', response);
    return { enabled, revision: Number(authRevision) };
  }

  /** A token for a user, to be sent as metadata `token`; `connect({ username, password })` does this by itself. */
  async authenticate(name: string, password: string, options?: CallOptions): Promise<string> {
    const request = encode('etcdserverpb.AuthenticateRequest', { name, password });
    const response = await this.#channel.unary(Method.Authenticate, request, options);
    return decode('etcdserverpb.AuthenticateResponse', response).token;
  }
}

export class Users {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Without a password the user can only come with a client certificate of that name. */
  async add(name: string, password: string | undefined, options?: CallOptions): Promise<void> {
    const request = password === undefined ? { name, options: { no_password: true } } : { name, password, options: {} };
    await this.#channel.unary(Method.UserAdd, encode('etcdserverpb.AuthUserAddRequest', request), options);
  }

  /** The user's roles, sorted. */
  async get(name: string, options?: CallOptions): Promise<string[]> {
    const response = await this.#channel.unary(Method.UserGet, named('etcdserverpb.AuthUserGetRequest', name), options);
    return decode('etcdserverpb.AuthUserGetResponse', response).roles;
  }

  /** Names, sorted. */
  async list(options?: CallOptions): Promise<string[]> {
    const response = await this.#channel.unary(Method.UserList, EMPTY_BYTES, options);
    return decode('etcdserverpb.AuthUserListResponse', response).users;
  }

  async delete(name: string, options?: CallOptions): Promise<void> {
    await this.#channel.unary(Method.UserDelete, named('etcdserverpb.AuthUserDeleteRequest', name), options);
  }

  /** The user's tokens end with it. */
  async changePassword(name: string, password: string, options?: CallOptions): Promise<void> {
    const request = encode('etcdserverpb.AuthUserChangePasswordRequest', { name, password });
    await this.#channel.unary(Method.UserChangePassword, request, options);
  }

  async grantRole(user: string, role: string, options?: CallOptions): Promise<void> {
    const request = encode('etcdserverpb.AuthUserGrantRoleRequest', { user, role });
    await this.#channel.unary(Method.UserGrantRole, request, options);
  }

  async revokeRole(user: string, role: string, options?: CallOptions): Promise<void> {
    const request = encode('etcdserverpb.AuthUserRevokeRoleRequest', { name: user, role });
    await this.#channel.unary(Method.UserRevokeRole, request, options);
  }
}

export class Roles {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  async add(name: string, options?: CallOptions): Promise<void> {
    await this.#channel.unary(Method.RoleAdd, named('etcdserverpb.AuthRoleAddRequest', name), options);
  }

  async get(role: string, options?: CallOptions): Promise<Permission[]> {
    const request = encode('etcdserverpb.AuthRoleGetRequest', { role });
    const response = await this.#channel.unary(Method.RoleGet, request, options);
    return decode('etcdserverpb.AuthRoleGetResponse', response).perm.map(({ permType, key, range_end }) => ({
      type: permissionTypes[permType] ?? 'read',
      keyBytes: key,
      rangeEndBytes: range_end,
    }));
  }

  /** Names, sorted. */
  async list(options?: CallOptions): Promise<string[]> {
    const response = await this.#channel.unary(Method.RoleList, EMPTY_BYTES, options);
    return decode('etcdserverpb.AuthRoleListResponse', response).roles;
  }

  async delete(role: string, options?: CallOptions): Promise<void> {
    const request = encode('etcdserverpb.AuthRoleDeleteRequest', { role });
    await this.#channel.unary(Method.RoleDelete, request, options);
  }

  /** The same range granted again takes the new type. */
  async grantPermission(name: string, range: Range, type: PermissionType, options?: CallOptions): Promise<void> {
    const { key, rangeEnd } = boundsOf(range);
    const perm = { permType: permissionTypes.indexOf(type), key, range_end: rangeEnd };
    const request = encode('etcdserverpb.AuthRoleGrantPermissionRequest', { name, perm });
    await this.#channel.unary(Method.RoleGrantPermission, request, options);
  }

  /** Takes back what was granted for exactly this range. */
  async revokePermission(role: string, range: Range, options?: CallOptions): Promise<void> {
    const { key, rangeEnd } = boundsOf(range);
    const request = encode('etcdserverpb.AuthRoleRevokePermissionRequest', { role, key, range_end: rangeEnd });
    await this.#channel.unary(Method.RoleRevokePermission, request, options);
  }
}

function named(message: MessageName, name: string): Uint8Array {
  return encode(message, { name });
}
