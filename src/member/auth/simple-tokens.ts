/**
 * Simple tokens: who has logged in, by the text that the login gave out. Every member keeps them all in memory.
 *
 *   token = 16 letters that the host drew, '.', the log index of the login
 *
 * A token is known from the apply of its login on, so a member that has not come so far can tell that it is to wait.
 * It lives for the TTL after its last use on this member. It dies with its user, with the user's password, when auth is
 * turned off, and with the process; what roles its user has does not matter to it.
 *
 * Time is the turn's, in monotone milliseconds, and enters by `advance`.
 */

/** Tokens past their time are looked for this often (etcd: simpleTokenTTLResolution). */
const sweepIntervalMs = 1_000;

const DECIMAL = /^\d{1,20}$/;

interface Login {
  readonly userName: string;
  untilMs: number;
}

export class SimpleTokens {
  readonly #ttlMs: number;
  readonly #logins = new Map<string, Login>();
  #nowMs = 0;
  #sweptMs = 0;

  constructor(ttlSeconds: number) {
    this.#ttlMs = ttlSeconds * 1_000;
  }

  get size(): number {
    return this.#logins.size;
  }

  /** The turn's time; it never goes back. */
  advance(nowMs: number): void {
    if (nowMs > this.#nowMs) this.#nowMs = nowMs;
    if (this.#logins.size === 0 || this.#nowMs - this.#sweptMs < sweepIntervalMs) return;
    this.#sweptMs = this.#nowMs;
    for (const [token, { untilMs }] of this.#logins) if (untilMs <= this.#nowMs) this.#logins.delete(token);
  }

  /** A login was applied. */
  assign(token: string, userName: string): void {
    this.#logins.set(token, { userName, untilMs: this.#nowMs + this.#ttlMs });
  }

  /** Whose token it is, if it lives; it is used by that. */
  use(token: string): string | undefined {
    const login = this.#logins.get(token);
    if (login === undefined || login.untilMs <= this.#nowMs) return undefined;
    login.untilMs = this.#nowMs + this.#ttlMs;
    return login.userName;
  }

  /** The user is gone, or its password is another one. */
  forgetUser(userName: string): void {
    for (const [token, login] of this.#logins) if (login.userName === userName) this.#logins.delete(token);
  }

  clear(): void {
    this.#logins.clear();
  }
}

/** The log index of the login that gave a token, or undefined: then it is none. */
export function loginIndexOf(token: string): number | undefined {
  const parts = token.split('.');
  const [, index = ''] = parts;
  return parts.length === 2 && DECIMAL.test(index) ? Number(index) : undefined;
}
