/**
 * A login with a name and a password, kept up: one token for all calls of a client.
 *
 *     first call -> log in --token--> calls -- refused because of the token --> log in again --> the call once more
 *
 * Logins are slow by design, so all calls that need one wait for the same. A server without auth gives no token: calls
 * then go without, until it asks for one.
 */
import { EtcdErrorCode, etcdError } from '../wire/errors.js';
import { EtcdError } from './channel.js';

/** What a server says of a call whose token alone was wrong: the call was not done. */
const refusals: ReadonlySet<string> = new Set([
  ...[EtcdErrorCode.InvalidAuthToken, EtcdErrorCode.AuthOldRevision, EtcdErrorCode.UserEmpty].map(
    code => etcdError(code).message,
  ),
  // The same from etcd's maintenance service before 3.6.
  ...['auth: invalid auth token', 'auth: revision in header is old', 'auth: user name is empty'],
]);
const denied = etcdError(EtcdErrorCode.PermissionDenied).message;
const authIsOff = etcdError(EtcdErrorCode.AuthNotEnabled).message;

/** No token: the server wanted none. */
export const noToken = '';

export class Session {
  readonly #logIn: () => Promise<string>;
  #token: string | undefined;
  #loggingIn: Promise<string> | undefined;

  /** `logIn` resolves with a token; EtcdError otherwise. */
  constructor(logIn: () => Promise<string>) {
    this.#logIn = logIn;
  }

  /** The token to call with, noToken for none. Rejects with what the login failed of; the next call tries again. */
  token(): string | Promise<string> {
    if (this.#token !== undefined) return this.#token;
    this.#loggingIn ??= this.#renew();
    return this.#loggingIn;
  }

  /** Whether a call was refused for its token alone. The token is then forgotten: another login precedes the next call. */
  isRefusal(error: EtcdError, token: string): boolean {
    // Without a token the call may have been its certificate's: the server has begun to ask who calls.
    const isAnothers = token === noToken && error.message === denied;
    if (!isAnothers && !refusals.has(error.message)) return false;
    if (this.#token === token) this.#token = undefined;
    return true;
  }

  async #renew(): Promise<string> {
    try {
      this.#token = await this.#logIn();
    } catch (error) {
      if (!(error instanceof EtcdError) || error.message !== authIsOff) throw error;
      this.#token = noToken;
    } finally {
      this.#loggingIn = undefined;
    }
    return this.#token;
  }
}
