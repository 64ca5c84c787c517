/**
 * Several servers that are asked the same, side by side, each with the tokens it gave out itself.
 *
 *   ensemble.ask('reader', 'Range', {...})  ─┬─ etcd 3.5   token of reader there ─ outcome ┐
 *                                            └─ kvorum     token of reader there ─ outcome ┴─ equal, known, or recorded
 *
 * The first server is the reference. Every answer of another is compared with its, the answers to logins and to what a
 * test does to prepare a scene too: a scene that differs explains a wrong answer later. What differs on purpose is in
 * differences.ts with its reason.
 */
import { ask, type CallName } from '../support/calls.js';
import { comparable } from '../support/comparable.js';
import { type Family, firstDifference, type Outcome } from '../support/differential.js';
import { GrpcClient } from '../support/grpc-client.js';
import { describeMessage, type Message } from '../support/messages.js';
import { type Subject, startSubjects } from '../support/subject.js';
import { type Dispute, knownDifference } from './differences.js';

/** A request that is the same everywhere, or made from what the servers answered before. */
export type Request = Message | ((server: number) => Message);

export class Ensemble implements AsyncDisposable {
  readonly families: readonly Family[];
  /** One line for each difference that is not known. */
  readonly differences: string[] = [];
  /** How often each known difference was met. */
  readonly known = new Map<string, number>();
  /** How often each status and text was answered by the reference, by `status text`. */
  readonly answers = new Map<string, number>();
  asked = 0;
  /** Name and password of a user with role root: who is asked for what decides whether a difference is a known one. */
  administrator: readonly [string, string] = ['root', 'root'];
  readonly #subjects: readonly Subject[];
  readonly #clients: readonly GrpcClient[];
  /** By bearer's name: the token each server gave. */
  readonly #tokens = new Map<string, readonly (string | undefined)[]>();

  private constructor(families: readonly Family[], subjects: readonly Subject[], clients: readonly GrpcClient[]) {
    this.families = families;
    this.#subjects = subjects;
    this.#clients = clients;
  }

  /** Starts one member of each family. Passwords are hashed at the least cost: their strength is not the matter. */
  static async start(families: readonly Family[], flags: readonly string[] = []): Promise<Ensemble> {
    const subjects = await startSubjects(families, { members: 1, flags: ['--bcrypt-cost=4', ...flags] });
    const clients = await Promise.all(subjects.map(({ endpoints }) => GrpcClient.connect(endpoints[0]!)));
    return new Ensemble(families, subjects, clients);
  }

  /** Asks every server as the bearer of that name (nobody when none logged in under it) and compares the answers. */
  async ask(bearer: string, name: CallName, request: Request): Promise<Outcome[]> {
    const bodies = this.#clients.map((_, i) => (typeof request === 'function' ? request(i) : request));
    const tokens = this.#tokens.get(bearer) ?? [];
    const outcomes = await Promise.all(this.#clients.map((one, i) => ask(one, name, bodies[i]!, tokens[i])));
    this.asked++;
    const [reference] = outcomes as [Outcome];
    const answer = `${reference.status} ${reference.text}`;
    this.answers.set(answer, (this.answers.get(answer) ?? 0) + 1);
    for (const [i, outcome] of outcomes.entries()) {
      if (i > 0) await this.#compare(bearer, name, bodies[0]!, reference, outcome, i);
    }
    return outcomes;
  }

  /** Asks every server without comparing: what puts things in order after something that is answered differently. */
  async tell(bearer: string, name: CallName, request: Message): Promise<void> {
    const tokens = this.#tokens.get(bearer) ?? [];
    await Promise.all(this.#clients.map((one, i) => ask(one, name, request, tokens[i])));
  }

  /** Logs in; from here on `bearer` (the user's name when absent) has the tokens that were answered. */
  async login(user: string, password = user, bearer = user): Promise<void> {
    const outcomes = await this.ask('', 'Authenticate', { name: user, password });
    this.hold(
      bearer,
      outcomes.map(({ response }) => response?.token as string | undefined),
    );
  }

  /** From here on `bearer` has this token, one for each server or one for all. */
  hold(bearer: string, tokens: string | readonly (string | undefined)[]): void {
    this.#tokens.set(bearer, typeof tokens === 'string' ? this.#clients.map(() => tokens) : tokens);
  }

  /** The tokens a bearer has, one for each server. */
  tokensOf(bearer: string): readonly (string | undefined)[] {
    return this.#tokens.get(bearer) ?? [];
  }

  /** From here on `bearer` is nobody. */
  forget(bearer: string): void {
    this.#tokens.delete(bearer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close();
    await Promise.all(this.#subjects.map(subject => subject.stop()));
  }

  async #compare(bearer: string, call: CallName, request: Message, one: Outcome, other: Outcome, server: number) {
    const path = firstDifference(plain(call, one), plain(call, other));
    if (path === undefined) return;
    const known =
      (await knownDifference(this.#dispute(bearer, call, request, one, other, 0, server))) ??
      (await knownDifference(this.#dispute(bearer, call, request, other, one, server, 0)));
    if (known !== undefined) {
      this.known.set(known, (this.known.get(known) ?? 0) + 1);
      return;
    }
    const asked = `${this.asked}. ${bearer || 'nobody'}: ${call} ${describeMessage(request)}`;
    const answers = `${this.families[0]}: ${describe(one)}\n  ${this.families[server]}: ${describe(other)}`;
    this.differences.push(`${asked} differs at ${path.slice(1)}:\n  ${answers}`);
  }

  #dispute(
    bearer: string,
    call: CallName,
    request: Message,
    older: Outcome,
    newer: Outcome,
    olderServer: number,
    newerServer: number,
  ): Dispute {
    const client = this.#clients[olderServer]!;
    return {
      ...{ call, request, older, newer },
      ...{ olderFamily: this.families[olderServer]!, newerFamily: this.families[newerServer]! },
      ask: (further, message) => ask(client, further, message, this.#tokens.get(bearer)?.[olderServer]),
      askAsRoot: async (further, message) => {
        const [name, password] = this.administrator;
        const { response } = await ask(client, 'Authenticate', { name, password });
        return ask(client, further, message, response?.token as string | undefined);
      },
    };
  }
}

/** Answers that are of the server and not of its data: what counts is that there is one. */
const ownMatters: readonly CallName[] = [
  ...(['Status', 'Hash', 'HashKV', 'Snapshot', 'Defragment', 'Alarm', 'MemberList', 'Downgrade'] as const),
];

function plain(name: CallName, { status, text, response }: Outcome): Message {
  if (response === undefined || ownMatters.includes(name)) return { status, text, answered: response !== undefined };
  const message = comparable(response);
  return { status, text, response: name === 'Authenticate' ? { ...message, token: '' } : message };
}

function describe({ status, text, response }: Outcome): string {
  return response === undefined ? `${status} ${JSON.stringify(text)}` : describeMessage(comparable(response));
}
