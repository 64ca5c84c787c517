/**
 * Users, roles and permissions of the cluster, and whether they count: the same on every member at every entry.
 *
 *   verbs (from applied entries)  ─> tables auth, authUsers, authRoles;  auth revision + 1
 *   questions                     ─> user ─> rights (merged, made when first asked for) ─> one search
 *
 * The auth revision counts the changes. Who was given an identity at a revision is heard until the next change only
 * where keys are concerned: what was decided on an older state is refused as such and asked again (`AuthOldRevision`).
 * With auth off every question is answered with yes before anything is looked at.
 *
 * Invariants: while auth is on there is a user root with role root; a user's roles and a role's permissions ascend; the
 * revision is at least 1 and never goes back. All verbs check, in etcd's order, before they change anything.
 */
import { compareBytes, EMPTY_BYTES, utf8Encode } from '../../base/bytes.js';
import { EtcdErrorCode } from '../../wire/errors.js';
import type { RequestIdentity } from '../../wire/internal.js';
import { isGrantable, isSameRange, KeyRanges } from './key-ranges.js';
import {
  compareNames,
  decodeRevision,
  decodeRole,
  decodeUser,
  ENABLED_KEY,
  encodeRevision,
  encodeRole,
  encodeUser,
  type Permission,
  PermissionType,
  REVISION_KEY,
  type RoleRecord,
  type UserRecord,
} from './records.js';
import { SimpleTokens } from './simple-tokens.js';

/** The part of the state store that auth uses. */
export interface AuthStorage {
  get(table: 'auth', key: Uint8Array): Uint8Array | undefined;
  put(table: AuthTable, key: Uint8Array, value: Uint8Array): void;
  delete(table: AuthTable, key: Uint8Array): void;
  list(table: AuthTable): [key: Uint8Array, value: Uint8Array][];
}
export type AuthTable = 'auth' | 'authUsers' | 'authRoles';

const decoder = new TextDecoder();

/** The user, and the role, that may do everything. */
export const ROOT = 'root';
const ROOT_PERMISSION: Permission = {
  permType: PermissionType.ReadWrite,
  key: EMPTY_BYTES,
  range_end: new Uint8Array(1),
};

/** What a user may do with keys; the union over its roles. */
interface Rights {
  readonly isRoot: boolean;
  readonly read: KeyRanges;
  readonly write: KeyRanges;
}

type Refusal = EtcdErrorCode | undefined;

export class AuthStore {
  readonly tokens: SimpleTokens;
  readonly #storage: AuthStorage;
  readonly #users = new Map<string, UserRecord>();
  readonly #roles = new Map<string, RoleRecord>();
  /** By user name; what is missing is made when it is asked for. */
  readonly #rights = new Map<string, Rights>();
  #enabled: boolean;
  #revision: number;

  /** Reads what the store holds. One without a revision begins with 1, as etcd's. */
  constructor(storage: AuthStorage, tokenTtlSeconds: number) {
    this.#storage = storage;
    this.tokens = new SimpleTokens(tokenTtlSeconds);
    for (const [key, value] of storage.list('authUsers')) this.#users.set(decoder.decode(key), decodeUser(value));
    for (const [key, value] of storage.list('authRoles')) this.#roles.set(decoder.decode(key), decodeRole(value));
    this.#enabled = storage.get('auth', ENABLED_KEY)?.[0] === 1;
    this.#revision = decodeRevision(storage.get('auth', REVISION_KEY));
    if (this.#revision === 0) this.#changed();
  }

  /** Whether anybody is asked for their rights. */
  get enabled(): boolean {
    return this.#enabled;
  }

  get revision(): number {
    return this.#revision;
  }

  // Questions. An identity of revision 0 is nobody's: the call came without one.

  /** Why the caller is no administrator, if auth is on and it is none. */
  refuseAdmin({ username }: RequestIdentity): Refusal {
    if (!this.#enabled) return undefined;
    if (username === '') return EtcdErrorCode.UserEmpty;
    if (!this.#users.has(username)) return EtcdErrorCode.UserNotFound;
    return this.#rightsOf(username)?.isRoot === true ? undefined : EtcdErrorCode.PermissionDenied;
  }

  /** Why the caller may not read all of a range; an empty `rangeEnd` asks for the key alone. */
  refuseRead(identity: RequestIdentity, key: Uint8Array, rangeEnd: Uint8Array): Refusal {
    if (!this.#enabled) return undefined;
    return this.#refuseStale(identity) ?? this.refuseReader(identity.username, key, rangeEnd);
  }

  /** Why the caller may not change a range, likewise. */
  refuseWrite(identity: RequestIdentity, key: Uint8Array, rangeEnd: Uint8Array): Refusal {
    if (!this.#enabled) return undefined;
    const stale = this.#refuseStale(identity);
    if (stale !== undefined) return stale;
    const rights = this.#rightsOf(identity.username);
    if (rights === undefined) return EtcdErrorCode.PermissionDenied;
    return rights.isRoot || rights.write.covers(key, rangeEnd) ? undefined : EtcdErrorCode.PermissionDenied;
  }

  /** Why this user, whenever it was identified, may not read a range now: for what is under way already. */
  refuseReader(userName: string, key: Uint8Array, rangeEnd: Uint8Array): Refusal {
    if (!this.#enabled) return undefined;
    const rights = this.#rightsOf(userName);
    if (rights === undefined) return EtcdErrorCode.PermissionDenied;
    return rights.isRoot || rights.read.covers(key, rangeEnd) ? undefined : EtcdErrorCode.PermissionDenied;
  }

  hasRole(userName: string, roleName: string): boolean {
    return this.#users.get(userName)?.roles.includes(roleName) ?? false;
  }

  user(name: string): UserRecord | undefined {
    return this.#users.get(name);
  }

  /** Their names, ascending. */
  userNames(): string[] {
    return [...this.#users.keys()].sort(compareNames);
  }

  roleNames(): string[] {
    return [...this.#roles.keys()].sort(compareNames);
  }

  /** The permissions of a role; those of root are said, whatever is stored. */
  permissionsOf(roleName: string): readonly Permission[] | undefined {
    const role = this.#roles.get(roleName);
    if (role === undefined) return undefined;
    return roleName === ROOT ? [ROOT_PERMISSION] : role.keyPermission;
  }

  // Verbs. Each returns why it did nothing, if so.

  /** Turning on what is on changes nothing; turning it on does not raise the revision. */
  enable(): Refusal {
    if (this.#enabled) return undefined;
    const root = this.#users.get(ROOT);
    if (root === undefined) return EtcdErrorCode.RootUserNotExist;
    if (!root.roles.includes(ROOT)) return EtcdErrorCode.RootRoleNotExist;
    this.#setEnabled(true);
    return undefined;
  }

  disable(): void {
    if (!this.#enabled) return;
    this.#setEnabled(false);
    this.tokens.clear();
    this.#changed();
  }

  /** A login whose password the host has compared. Returns the token it gives; `prefix` is empty without simple tokens. */
  authenticate(name: string, prefix: string, index: number): { readonly token: string } | EtcdErrorCode {
    if (!this.#enabled) return EtcdErrorCode.AuthNotEnabled;
    const user = this.#users.get(name);
    if (user === undefined || user.options?.no_password === true) return EtcdErrorCode.AuthFailed;
    if (prefix === '') return { token: '' };
    const token = `${prefix}.${index}`;
    this.tokens.assign(token, name);
    return { token };
  }

  /** `password`: the bcrypt text; undefined when it is unusable. A user without password has none, whatever is given. */
  addUser(name: string, password: Uint8Array | undefined, noPassword: boolean): Refusal {
    if (name === '') return EtcdErrorCode.UserEmpty;
    if (this.#users.has(name)) return EtcdErrorCode.UserAlreadyExist;
    if (!noPassword && password === undefined) return EtcdErrorCode.NoPasswordUser;
    this.#putUser(name, {
      name: utf8Encode(name),
      password: noPassword ? EMPTY_BYTES : (password as Uint8Array),
      roles: [],
      options: { no_password: noPassword },
    });
    this.#changed();
    return undefined;
  }

  deleteUser(name: string): Refusal {
    if (this.#enabled && name === ROOT) return EtcdErrorCode.InvalidAuthMgmt;
    if (!this.#users.delete(name)) return EtcdErrorCode.UserNotFound;
    this.#storage.delete('authUsers', utf8Encode(name));
    this.#rights.delete(name);
    this.tokens.forgetUser(name);
    this.#changed();
    return undefined;
  }

  changePassword(name: string, password: Uint8Array | undefined): Refusal {
    const user = this.#users.get(name);
    if (user === undefined) return EtcdErrorCode.UserNotFound;
    const noPassword = user.options?.no_password === true;
    if (!noPassword && password === undefined) return EtcdErrorCode.NoPasswordUser;
    this.#putUser(name, { ...user, password: noPassword ? EMPTY_BYTES : (password as Uint8Array) });
    this.tokens.forgetUser(name);
    this.#changed();
    return undefined;
  }

  /** Granting what is granted changes nothing. The role root needs no record. */
  grantRole(userName: string, roleName: string): Refusal {
    const user = this.#users.get(userName);
    if (user === undefined) return EtcdErrorCode.UserNotFound;
    if (roleName !== ROOT && !this.#roles.has(roleName)) return EtcdErrorCode.RoleNotFound;
    if (user.roles.includes(roleName)) return undefined;
    this.#putUser(userName, { ...user, roles: [...user.roles, roleName].sort(compareNames) });
    this.#changed();
    return undefined;
  }

  revokeRole(userName: string, roleName: string): Refusal {
    if (this.#enabled && userName === ROOT && roleName === ROOT) return EtcdErrorCode.InvalidAuthMgmt;
    const user = this.#users.get(userName);
    if (user === undefined) return EtcdErrorCode.UserNotFound;
    if (!user.roles.includes(roleName)) return EtcdErrorCode.RoleNotGranted;
    this.#putUser(userName, withoutRole(user, roleName));
    this.#changed();
    return undefined;
  }

  addRole(name: string): Refusal {
    if (name === '') return EtcdErrorCode.RoleEmpty;
    if (this.#roles.has(name)) return EtcdErrorCode.RoleAlreadyExist;
    this.#putRole(name, { name: utf8Encode(name), keyPermission: [] });
    this.#changed();
    return undefined;
  }

  /** Its users lose it too. */
  deleteRole(name: string): Refusal {
    if (this.#enabled && name === ROOT) return EtcdErrorCode.InvalidAuthMgmt;
    if (!this.#roles.delete(name)) return EtcdErrorCode.RoleNotFound;
    this.#storage.delete('authRoles', utf8Encode(name));
    for (const [userName, user] of [...this.#users]) {
      if (user.roles.includes(name)) this.#putUser(userName, withoutRole(user, name));
    }
    this.#changed();
    return undefined;
  }

  /**
   * One permission a range: granting it again replaces its type. etcd does so only for the first range of a key, so that
   * taking WRITE from a later one has no effect there (etcd #21845); here it has.
   */
  grantPermission(roleName: string, granted: Permission | undefined): Refusal {
    if (granted === undefined) return EtcdErrorCode.PermissionNotGiven;
    if (!isGrantable(granted.key, granted.range_end)) return EtcdErrorCode.InvalidAuthMgmt;
    const role = this.#roles.get(roleName);
    if (role === undefined) return EtcdErrorCode.RoleNotFound;
    this.#putRole(roleName, { ...role, keyPermission: withPermission(role.keyPermission, granted) });
    this.#changed();
    return undefined;
  }

  /** Only a permission on exactly this range is taken away. */
  revokePermission(roleName: string, range: { readonly key: Uint8Array; readonly range_end: Uint8Array }): Refusal {
    const role = this.#roles.get(roleName);
    if (role === undefined) return EtcdErrorCode.RoleNotFound;
    const kept = role.keyPermission.filter(permission => !isSameRange(permission, range));
    if (kept.length === role.keyPermission.length) return EtcdErrorCode.PermissionNotGranted;
    this.#putRole(roleName, { ...role, keyPermission: kept });
    this.#changed();
    return undefined;
  }

  #refuseStale({ authRevision }: RequestIdentity): Refusal {
    if (authRevision === 0) return EtcdErrorCode.UserEmpty;
    return authRevision < this.#revision ? EtcdErrorCode.AuthOldRevision : undefined;
  }

  #rightsOf(userName: string): Rights | undefined {
    const known = this.#rights.get(userName);
    if (known !== undefined) return known;
    const user = this.#users.get(userName);
    if (user === undefined) return undefined;
    const granted = user.roles.flatMap(role => this.#roles.get(role)?.keyPermission ?? []);
    const rights = {
      isRoot: user.roles.includes(ROOT),
      read: new KeyRanges(granted.filter(({ permType }) => permType !== PermissionType.Write && isKnown(permType))),
      write: new KeyRanges(granted.filter(({ permType }) => permType !== PermissionType.Read && isKnown(permType))),
    };
    this.#rights.set(userName, rights);
    return rights;
  }

  #setEnabled(enabled: boolean): void {
    this.#enabled = enabled;
    this.#storage.put('auth', ENABLED_KEY, new Uint8Array([enabled ? 1 : 0]));
  }

  #putUser(name: string, user: UserRecord): void {
    const value = encodeUser(user);
    this.#storage.put('authUsers', utf8Encode(name), value);
    this.#users.set(name, decodeUser(value));
    this.#rights.delete(name);
  }

  #putRole(name: string, role: RoleRecord): void {
    const value = encodeRole(role);
    this.#storage.put('authRoles', utf8Encode(name), value);
    this.#roles.set(name, decodeRole(value));
    this.#rights.clear();
  }

  #changed(): void {
    this.#revision += 1;
    this.#storage.put('auth', REVISION_KEY, encodeRevision(this.#revision));
  }
}

function isKnown(permType: number): boolean {
  return permType >= PermissionType.Read && permType <= PermissionType.ReadWrite;
}

function withoutRole(user: UserRecord, roleName: string): UserRecord {
  return { ...user, roles: user.roles.filter(role => role !== roleName) };
}

function withPermission(permissions: readonly Permission[], granted: Permission): Permission[] {
  if (permissions.some(permission => isSameRange(permission, granted))) {
    return permissions.map(permission => (isSameRange(permission, granted) ? granted : permission));
  }
  return [...permissions, granted].sort((left, right) => compareBytes(left.key, right.key));
}
