/**
 * Who calls, and whether they may: what the member that got a call decides before anything is proposed or read.
 *
 *     caller ─┬─ token ───────> the user who logged in, at the current auth revision; unknown: InvalidAuthToken
 *             ├─ claims ──────> the user and the revision that were signed
 *             ├─ commonName ──> the user of that name, at the current auth revision
 *             ├─ nobody ──────> refused as such where a right is needed (UserEmpty)
 *             └─ the server ──> root
 *
 *     nothing     KV, Watch, leases: by key, when it is applied or read (KeyRights)
 *     any user    LeaseGrant, LeaseRevoke, LeaseTimeToLive, MemberList, Status, Alarm GET
 *     root        Compact, the rest of Maintenance, changes of the membership
 *
 * What goes into the log carries the identity and is decided when it is applied, the same on every member. With auth
 * off nobody is looked at.
 */
import type { Caller } from '../transport/caller.js';
import { EtcdErrorCode, etcdError, GrpcCode } from '../wire/errors.js';
import type { RequestIdentity } from '../wire/internal.js';
import { Method } from '../wire/methods.js';
import { canonicalPeerUrls } from '../wire/peer-urls.js';
import { decode } from '../wire/schema.js';
import { AlarmAction } from './apply/alarms.js';
import type { Applier } from './apply/applier.js';
import { type AuthStore, ROOT } from './auth/auth-store.js';
import type { KeyRights } from './auth/key-rights.js';

const NOBODY: RequestIdentity = { username: '', authRevision: 0 };

/** Calls that only an administrator may make, whatever they ask for. */
const FOR_ROOT: ReadonlySet<number> = new Set<number>([
  Method.KvCompact,
  Method.MemberAdd,
  Method.MemberRemove,
  Method.MemberUpdate,
  Method.MemberPromote,
  Method.Defragment,
  Method.Hash,
  Method.HashKv,
  Method.Snapshot,
  Method.MoveLeader,
  Method.Downgrade,
]);

/** Calls that any user may make. */
const FOR_USERS: ReadonlySet<number> = new Set<number>([
  Method.LeaseGrant,
  Method.LeaseRevoke,
  Method.LeaseTimeToLive,
  Method.MemberList,
  Method.Status,
]);

type Refusal = EtcdErrorCode | undefined;

export class Callers {
  readonly #applier: () => Pick<Applier, 'auth' | 'rights'>;
  /** The auth revision that `changed` was last asked at; 0 while auth was off. */
  #seenRevision = 0;

  /** `applier`: of the state as it is now; a snapshot replaces it. */
  constructor(applier: () => Pick<Applier, 'auth' | 'rights'>) {
    this.#applier = applier;
  }

  get enabled(): boolean {
    return this.#auth.enabled;
  }

  /** Whether rights may have gone since this was last asked: auth is on, and users, roles or that were others then. */
  changed(): boolean {
    const { enabled, revision } = this.#auth;
    const seen = this.#seenRevision;
    this.#seenRevision = enabled ? revision : 0;
    return this.#seenRevision !== 0 && this.#seenRevision !== seen;
  }

  /** What the header of the caller's entry says: undefined with auth off, or for nobody. */
  identityOf(caller: Caller | undefined): RequestIdentity | EtcdErrorCode | undefined {
    if (!this.#auth.enabled || caller === undefined) return undefined;
    return this.#identify(caller);
  }

  /** Why the caller may not make a call at all, as far as its method says. Throws ProtoError. */
  refuseCall(method: number, payload: Uint8Array, caller: Caller | undefined): Refusal {
    if (!this.#auth.enabled) return undefined;
    // What nobody could add is refused to anybody, as in etcd.
    if (method === Method.MemberAdd && !hasPeerUrls(payload)) return EtcdErrorCode.MemberBadUrls;
    if (FOR_ROOT.has(method)) return this.#refuseAdmin(caller);
    if (FOR_USERS.has(method)) return this.#refuseNobody(caller);
    if (method !== Method.Alarm) return undefined;
    const { action } = decode('etcdserverpb.AlarmRequest', payload);
    return action === AlarmAction.Get ? this.#refuseNobody(caller) : this.#refuseAdmin(caller);
  }

  /** Why a request about keys is refused, decided by `decide`; with auth off it is not asked. */
  refuse(
    caller: Caller | undefined,
    decide: (auth: AuthStore, rights: KeyRights, identity: RequestIdentity) => Refusal,
  ): Refusal {
    if (!this.#auth.enabled || caller?.kind === 'server') return undefined;
    const identity = this.#identify(caller);
    return typeof identity === 'number' ? identity : decide(this.#auth, this.#applier().rights, identity);
  }

  get #auth(): AuthStore {
    return this.#applier().auth;
  }

  #refuseAdmin(caller: Caller | undefined): Refusal {
    const identity = this.#identify(caller);
    return typeof identity === 'number' ? identity : this.#auth.refuseAdmin(identity);
  }

  #refuseNobody(caller: Caller | undefined): Refusal {
    const identity = this.#identify(caller);
    if (typeof identity === 'number') return identity;
    return identity === NOBODY ? EtcdErrorCode.UserEmpty : undefined;
  }

  #identify(caller: Caller | undefined): RequestIdentity | EtcdErrorCode {
    if (caller === undefined) return NOBODY;
    const { revision } = this.#auth;
    switch (caller.kind) {
      case 'token': {
        const username = this.#auth.tokens.use(caller.text);
        return username === undefined ? EtcdErrorCode.InvalidAuthToken : { username, authRevision: revision };
      }
      case 'claims':
        return { username: caller.text, authRevision: caller.revision };
      case 'commonName':
        return { username: caller.text, authRevision: revision };
      default:
        return { username: ROOT, authRevision: revision };
    }
  }
}

function hasPeerUrls(addition: Uint8Array): boolean {
  return canonicalPeerUrls(decode('etcdserverpb.MemberAddRequest', addition).peerURLs) !== undefined;
}

/** An error as Go prints a status: the cancel_reason of a watcher that is refused. */
export function statusText(error: EtcdErrorCode): string {
  const { grpcCode, message } = etcdError(error);
  const [name] = Object.entries(GrpcCode).find(([, code]) => code === grpcCode) as [string, GrpcCode];
  return `rpc error: code = ${name} desc = ${message}`;
}
