/**
 * Entries about auth itself: what each asks of the auth store, and etcd's answers.
 *
 * With auth on they need role root, but for a login, one's own user and the roles one has. No alarm stops them. The
 * clear text of a password is never in an entry: a member that proposes one has only the bcrypt text, in base64.
 */
import { fail } from '../../base/assert.js';
import { EtcdErrorCode } from '../../wire/errors.js';
import { InternalField } from '../../wire/internal.js';
import { decode, encode, type Message } from '../../wire/schema.js';
import type { AuthStore } from '../auth/auth-store.js';
import type { ApplyContext, Reply } from './reply.js';

type Header = Partial<Message<'etcdserverpb.ResponseHeader'>>;

/** The messages of the answers that hold nothing but a header. */
type BareResponse =
  | 'etcdserverpb.AuthEnableResponse'
  | 'etcdserverpb.AuthDisableResponse'
  | 'etcdserverpb.AuthUserAddResponse'
  | 'etcdserverpb.AuthUserDeleteResponse'
  | 'etcdserverpb.AuthUserChangePasswordResponse'
  | 'etcdserverpb.AuthUserGrantRoleResponse'
  | 'etcdserverpb.AuthUserRevokeRoleResponse'
  | 'etcdserverpb.AuthRoleAddResponse'
  | 'etcdserverpb.AuthRoleDeleteResponse'
  | 'etcdserverpb.AuthRoleGrantPermissionResponse'
  | 'etcdserverpb.AuthRoleRevokePermissionResponse';

/** Whether entries with this field are for `AuthRequests`. */
export function isAuthField(field: number): boolean {
  return field >= InternalField.AuthEnable && field < InternalField.ClusterVersionSet;
}

export class AuthRequests {
  readonly #auth: AuthStore;
  readonly #header: (raftTerm: number) => Header;

  constructor(auth: AuthStore, header: (raftTerm: number) => Header) {
    this.#auth = auth;
    this.#header = header;
  }

  /** Applies the request of an auth field. Throws ProtoError. */
  apply(field: number, body: Uint8Array, context: ApplyContext): Reply | undefined {
    switch (field) {
      case InternalField.Authenticate:
        return this.#authenticate(body, context);
      case InternalField.AuthUserGet:
        return this.#userGet(body, context);
      case InternalField.AuthRoleGet:
        return this.#roleGet(body, context);
      default: {
        const error = this.#auth.refuseAdmin(context.identity);
        return error === undefined ? this.#administer(field, body, context) : { error };
      }
    }
  }

  #administer(field: number, body: Uint8Array, context: ApplyContext): Reply | undefined {
    switch (field) {
      case InternalField.AuthEnable:
        decode('etcdserverpb.AuthEnableRequest', body);
        return this.#done('etcdserverpb.AuthEnableResponse', this.#auth.enable(), context);
      case InternalField.AuthDisable:
        decode('etcdserverpb.AuthDisableRequest', body);
        this.#auth.disable();
        return this.#done('etcdserverpb.AuthDisableResponse', undefined, context);
      case InternalField.AuthStatus: {
        const { enabled, revision } = this.#auth;
        return this.#answer(context, header =>
          encode('etcdserverpb.AuthStatusResponse', { header, enabled, authRevision: BigInt(revision) }),
        );
      }
      case InternalField.AuthUserList:
        return this.#answer(context, header =>
          encode('etcdserverpb.AuthUserListResponse', { header, users: this.#auth.userNames() }),
        );
      case InternalField.AuthRoleList:
        return this.#answer(context, header =>
          encode('etcdserverpb.AuthRoleListResponse', { header, roles: this.#auth.roleNames() }),
        );
      default:
        return field < InternalField.AuthRoleAdd
          ? this.#changeUser(field, body, context)
          : this.#changeRole(field, body, context);
    }
  }

  #changeUser(field: number, body: Uint8Array, context: ApplyContext): Reply | undefined {
    switch (field) {
      case InternalField.AuthUserAdd: {
        const { name, options, hashedPassword } = decode('etcdserverpb.AuthUserAddRequest', body);
        const error = this.#auth.addUser(name, fromBase64(hashedPassword), options?.no_password ?? false);
        return this.#done('etcdserverpb.AuthUserAddResponse', error, context);
      }
      case InternalField.AuthUserDelete: {
        const { name } = decode('etcdserverpb.AuthUserDeleteRequest', body);
        return this.#done('etcdserverpb.AuthUserDeleteResponse', this.#auth.deleteUser(name), context);
      }
      case InternalField.AuthUserChangePassword: {
        const { name, hashedPassword } = decode('etcdserverpb.AuthUserChangePasswordRequest', body);
        const error = this.#auth.changePassword(name, fromBase64(hashedPassword));
        return this.#done('etcdserverpb.AuthUserChangePasswordResponse', error, context);
      }
      case InternalField.AuthUserGrantRole: {
        const { user, role } = decode('etcdserverpb.AuthUserGrantRoleRequest', body);
        return this.#done('etcdserverpb.AuthUserGrantRoleResponse', this.#auth.grantRole(user, role), context);
      }
      case InternalField.AuthUserRevokeRole: {
        const { name, role } = decode('etcdserverpb.AuthUserRevokeRoleRequest', body);
        return this.#done('etcdserverpb.AuthUserRevokeRoleResponse', this.#auth.revokeRole(name, role), context);
      }
      default:
        return fail('an entry asks for something that this version does not know', { field });
    }
  }

  #changeRole(field: number, body: Uint8Array, context: ApplyContext): Reply | undefined {
    switch (field) {
      case InternalField.AuthRoleAdd: {
        const { name } = decode('etcdserverpb.AuthRoleAddRequest', body);
        return this.#done('etcdserverpb.AuthRoleAddResponse', this.#auth.addRole(name), context);
      }
      case InternalField.AuthRoleDelete: {
        const { role } = decode('etcdserverpb.AuthRoleDeleteRequest', body);
        return this.#done('etcdserverpb.AuthRoleDeleteResponse', this.#auth.deleteRole(role), context);
      }
      case InternalField.AuthRoleGrantPermission: {
        const { name, perm } = decode('etcdserverpb.AuthRoleGrantPermissionRequest', body);
        const error = this.#auth.grantPermission(name, perm);
        return this.#done('etcdserverpb.AuthRoleGrantPermissionResponse', error, context);
      }
      case InternalField.AuthRoleRevokePermission: {
        const { role, ...range } = decode('etcdserverpb.AuthRoleRevokePermissionRequest', body);
        const error = this.#auth.revokePermission(role, range);
        return this.#done('etcdserverpb.AuthRoleRevokePermissionResponse', error, context);
      }
      default:
        return fail('an entry asks for something that this version does not know', { field });
    }
  }

  #authenticate(body: Uint8Array, context: ApplyContext): Reply | undefined {
    const { name, simple_token: prefix } = decode('etcdserverpb.InternalAuthenticateRequest', body);
    const outcome = this.#auth.authenticate(name, prefix, context.index);
    if (typeof outcome === 'number') return { error: outcome };
    const { token } = outcome;
    return this.#answer(context, header => encode('etcdserverpb.AuthenticateResponse', { header, token }));
  }

  #userGet(body: Uint8Array, context: ApplyContext): Reply | undefined {
    const { name } = decode('etcdserverpb.AuthUserGetRequest', body);
    const error = this.#auth.refuseAdmin(context.identity);
    if (error !== undefined && name !== context.identity.username) return { error };
    const user = this.#auth.user(name);
    if (user === undefined) return { error: EtcdErrorCode.UserNotFound };
    return this.#answer(context, header =>
      encode('etcdserverpb.AuthUserGetResponse', { header, roles: [...user.roles] }),
    );
  }

  #roleGet(body: Uint8Array, context: ApplyContext): Reply | undefined {
    const { role } = decode('etcdserverpb.AuthRoleGetRequest', body);
    const error = this.#auth.refuseAdmin(context.identity);
    if (error !== undefined && !this.#auth.hasRole(context.identity.username, role)) return { error };
    const permissions = this.#auth.permissionsOf(role);
    if (permissions === undefined) return { error: EtcdErrorCode.RoleNotFound };
    return this.#answer(context, header =>
      encode('etcdserverpb.AuthRoleGetResponse', { header, perm: [...permissions] }),
    );
  }

  #done(response: BareResponse, error: EtcdErrorCode | undefined, context: ApplyContext): Reply | undefined {
    return error === undefined ? this.#answer(context, header => encode(response, { header })) : { error };
  }

  #answer({ raftTerm, wanted }: ApplyContext, encoded: (header: Header) => Uint8Array): Reply | undefined {
    return wanted ? { ok: encoded(this.#header(raftTerm)) } : undefined;
  }
}

/** Go's base64.StdEncoding: padding is a must, line ends are passed over. Undefined: it is none. */
function fromBase64(text: string): Uint8Array | undefined {
  const digits = text.replace(/[\r\n]/g, '');
  if (digits.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(digits)) return undefined;
  return Buffer.from(digits, 'base64');
}
