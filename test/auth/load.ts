/**
 * Users at work while their rights come and go: each asks, again and again, with the token it has, and what it hears is
 * held against what it may (rights.ts). Every write has a key of its own, so that in the end the store shows which
 * happened.
 */
import type { Prng } from '../../src/base/prng.js';
import { ask, calls } from '../support/calls.js';
import type { Outcome } from '../support/differential.js';
import { GrpcClient, type GrpcStream } from '../support/grpc-client.js';
import { decodeMessage, encodeMessage, type Message } from '../support/messages.js';
import type { Rights, Span } from './rights.js';

export const passwordOf = (user: string, version: number) => `${user} ${version}`;
/** The user whose password changes. */
export const changing = 'changing';

const permissionDenied = 7;
const refusals = [permissionDenied, 3, 16];
const oldRevision = 'etcdserver: revision of auth store is old';
const unknown: Outcome = { status: -1, text: 'no answer', response: undefined };

interface Token {
  readonly text: string;
  readonly given: Span;
}

/** What all users share. */
export class Scene {
  readonly rights: Rights;
  readonly prng: Prng;
  readonly endpoints: readonly string[];
  readonly violations: string[] = [];
  /** Key → whether it has to be in the store at the end; undefined when nobody knows. */
  readonly keys = new Map<string, boolean | undefined>();
  /** When the news were written, by key. */
  readonly news = new Map<string, Span>();
  /** How often each status was answered. */
  readonly answers = new Map<number, number>();
  stopped = false;
  #asked = 0;
  #waiting: { readonly at: number; readonly resolve: () => void }[] = [];

  constructor(rights: Rights, prng: Prng, endpoints: readonly string[]) {
    this.rights = rights;
    this.prng = prng;
    this.endpoints = endpoints;
  }

  /** Resolves when so many more calls have been answered. */
  progress(count: number): Promise<void> {
    return new Promise(resolve => {
      this.#waiting.push({ at: this.#asked + count, resolve });
    });
  }

  counted({ status }: Outcome): void {
    this.#asked++;
    this.answers.set(status, (this.answers.get(status) ?? 0) + 1);
    const due = this.#waiting.filter(({ at }) => at <= this.#asked);
    this.#waiting = this.#waiting.filter(one => !due.includes(one));
    for (const { resolve } of due) resolve();
  }

  /** Ends the load: no call is begun any more. */
  stop(): void {
    this.stopped = true;
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }
}

/** One who asks: a connection to some member, made anew when it breaks, and a token. */
export class Caller {
  readonly scene: Scene;
  readonly user: string;
  token: Token | undefined;
  #client: GrpcClient | undefined;

  constructor(scene: Scene, user: string) {
    this.scene = scene;
    this.user = user;
  }

  async connection(): Promise<GrpcClient> {
    while (this.#client === undefined) {
      const endpoint = this.scene.endpoints[this.scene.prng.nextBelow(this.scene.endpoints.length)]!;
      try {
        this.#client = await GrpcClient.connect(endpoint);
      } catch {
        // That member is down.
      }
    }
    return this.#client;
  }

  /** Opens a call of many messages. */
  async open(path: string, metadata: Record<string, string>): Promise<GrpcStream> {
    for (;;) {
      try {
        return (await this.connection()).stream(path, { metadata });
      } catch {
        // The member went away in between.
        this.close();
      }
    }
  }

  /** Asks; what breaks the connection has an unknown outcome. */
  async ask(name: Parameters<typeof ask>[1], request: Message, token = this.token?.text): Promise<[Outcome, Span]> {
    const client = await this.connection();
    const begun = this.scene.rights.tick();
    const outcome = await ask(client, name, request, token).catch(() => unknown);
    const ended = outcome.status === unknown.status ? Infinity : this.scene.rights.tick();
    if (outcome.status === unknown.status || outcome.status === 14) this.close();
    this.scene.counted(outcome);
    return [outcome, { begun, ended }];
  }

  /** Tries to get a token. A password that was not valid at any moment of the attempt must not give one. */
  async login(version: number): Promise<void> {
    const [outcome, span] = await this.ask(
      'Authenticate',
      { name: this.user, password: passwordOf(this.user, version) },
      '',
    );
    this.token = undefined;
    if (outcome.status !== 0) return;
    const versions = this.scene.rights.possible(span).map(({ password }) => password);
    if (this.user === changing && !versions.includes(version)) {
      this.scene.violations.push(`a login with password ${version} succeeded, valid were ${versions}`);
    }
    this.token = { text: String(outcome.response?.token), given: span };
  }

  close(): void {
    this.#client?.close();
    this.#client = undefined;
  }

  /** Holds an outcome against the rights; gives whether it was served (undefined: nobody knows). */
  judge(what: string, outcome: Outcome, span: Span, token: Token | undefined): boolean | undefined {
    const { rights, violations } = this.scene;
    if (![0, ...refusals].includes(outcome.status)) return undefined;
    const states = rights.possible(span);
    const isVoid = token !== undefined && rights.isVoid(this.user, token.given, span);
    const may = (state: (typeof states)[number]) =>
      !state.enabled || (token !== undefined && !isVoid && state.allowed.has(this.user));
    const said = `${this.user}: ${what} from ${span.begun} to ${span.ended}`;
    const served = outcome.status === 0;
    if (served && !states.some(may)) violations.push(`${said} was served${isVoid ? ' with a void token' : ''}`);
    // A token may be unknown to a member that was started again; a user with the right is never told that it has none.
    const good = token === undefined || rights.isGood(this.user, token.given, span);
    // Whose call is on its way while users change is told to ask again.
    const overtaken = outcome.text === oldRevision && states.length > 1;
    if (!served && good && !overtaken && outcome.status !== 16 && states.every(may)) {
      violations.push(`${said} was refused: ${outcome.text}`);
    }
    return served;
  }
}

/** How many refusals somebody hears before logging in again, for some: a void token is to be tried more than once. */
const stubbornness = 60;

/** Works until the scene is over. */
export async function work(scene: Scene, user: string, number: number): Promise<void> {
  const caller = new Caller(scene, user);
  let refused = 0;
  for (let i = 0; !scene.stopped; i++) {
    if (refused >= (number % 2 === 0 ? 1 : stubbornness) || (caller.token === undefined && i % 3 === 0)) {
      const version = scene.rights.latest.password;
      await caller.login(user === changing ? Math.max(0, version - scene.prng.nextBelow(2)) : 0);
      refused = 0;
    }
    const token = caller.token;
    const key = `${user}/${number}/${i}`;
    const [what, name, request] = operations[scene.prng.nextBelow(operations.length)]!(key, user);
    const [outcome, span] = await caller.ask(name, request);
    const served = caller.judge(what, outcome, span, token);
    // An unknown token stays unknown; the right may come back while the token is kept.
    if (served === false) refused += outcome.status === 16 ? stubbornness / 3 : 1;
    if (name !== 'Range') scene.keys.set(key, served);
  }
  caller.close();
}

type Operation = (key: string, user: string) => [string, 'Put' | 'Range' | 'Txn', Message];

const operations: readonly Operation[] = [
  key => ['put', 'Put', { key: Buffer.from(key), value: Buffer.from('v') }],
  key => ['put in a transaction', 'Txn', { success: [{ request_put: { key: Buffer.from(key) } }] }],
  (_, user) => ['range', 'Range', { key: Buffer.from(`${user}/`), range_end: Buffer.from(`${user}0`), limit: 1n }],
];

/** Writes the news all watch, until the scene is over. */
export async function tellNews(scene: Scene): Promise<void> {
  const caller = new Caller(scene, 'root');
  for (let i = 0; !scene.stopped; i++) {
    if (caller.token === undefined) await caller.login(0);
    const key = `news/${i}`;
    const span = { begun: scene.rights.tick(), ended: Infinity };
    scene.news.set(key, span);
    const [outcome] = await caller.ask('Put', { key: Buffer.from(key) });
    if (outcome.status === 0) scene.news.set(key, { ...span, ended: scene.rights.tick() });
    if (refusals.includes(outcome.status)) {
      scene.news.delete(key);
      caller.token = undefined;
    }
  }
  caller.close();
}

/**
 * Watches the news until the scene is over, and then until the watch is cut: at the end of a scene nobody may watch any
 * more. News written while no state in force let this user read them must not come.
 */
export async function watch(scene: Scene, user: string): Promise<number> {
  const caller = new Caller(scene, user);
  let seen = 0;
  for (let first = true; first || !scene.stopped; first = false) {
    if (user !== 'nobody') await caller.login(0);
    const { path } = calls.get('Watch')!;
    const metadata = caller.token === undefined ? {} : { token: caller.token.text };
    const stream = await caller.open(path, metadata);
    const range = { key: Buffer.from('news/'), range_end: Buffer.from('news0') };
    stream.send(encodeMessage('WatchRequest', { create_request: range }));
    seen += await follow(scene, user, stream);
    if ((await Promise.race([stream.status, undefined]))?.grpcStatus === -1) caller.close();
    stream.cancel();
    scene.counted({ status: 0, text: '', response: undefined });
  }
  caller.close();
  return seen;
}

async function follow(scene: Scene, user: string, stream: GrpcStream): Promise<number> {
  let seen = 0;
  for await (const bytes of stream) {
    const response = decodeMessage('WatchResponse', bytes);
    if (response.canceled === true) break;
    for (const { kv } of response.events as readonly Message[]) {
      const key = String((kv as Message).key);
      const span = scene.news.get(key) ?? { begun: 0, ended: Infinity };
      seen++;
      const states = scene.rights.possible(span);
      if (!states.some(({ enabled, allowed }) => !enabled || allowed.has(user))) {
        scene.violations.push(`${user} watched ${key}, written from ${span.begun} to ${span.ended}`);
      }
    }
  }
  return seen;
}
