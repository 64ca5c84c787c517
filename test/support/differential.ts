/**
 * Runs one program on two servers and compares every answer, field by field.
 *
 *   frame in     lease revokes, delete everything, compact to now, grant two leases     (also compared)
 *   program      the generated operations, one after the other, on both sides at once
 *   frame out    hash of the whole store                                                (also compared)
 *
 * Left out of the comparison is only what names a server instead of the data: cluster_id, member_id, raft_term, and
 * the time a lease has left. What differs between releases on purpose is in known-differences.ts with its reason;
 * everything else is a divergence. A divergence is shrunk on the same two servers: `align` brings both back to the
 * same empty state at the same revision, then ever smaller parts of the program are tried.
 */
import { isDeepStrictEqual } from 'node:util';
import { comparable } from './comparable.js';
import type { GrpcClient } from './grpc-client.js';
import { isKnownDifference } from './known-differences.js';
import { decodeMessage, describeMessage, encodeMessage, type Message, type Value } from './messages.js';
import {
  furtherLeases,
  generateProgram,
  methods,
  type Operation,
  operation,
  type ProgramOptions,
  programLeases,
} from './programs.js';

/** What kind of server answers: decides which known differences may apply. */
export type Family = 'etcd-3.4' | 'etcd-3.5' | 'kvorum';

/** One of the two compared servers. */
export interface Side {
  readonly name: string;
  readonly family: Family;
  readonly members: number;
  call(operation: Operation, member: number): Promise<Outcome>;
}

export interface Outcome {
  readonly status: number;
  readonly text: string;
  /** The decoded answer when the status is OK. */
  readonly response: Message | undefined;
}

export interface Divergence {
  readonly seed: number;
  readonly operation: Operation;
  readonly left: Outcome;
  readonly right: Outcome;
  /** Where the answers differ first, e.g. `response.kvs[1].version`. */
  readonly path: string;
  /** Everything that was run since the store was empty, the differing operation last. */
  readonly history: readonly Operation[];
}

export interface RunResult {
  readonly operations: number;
  /** How often each status message other than OK's was answered; numbers in it left out. */
  readonly refusals: ReadonlyMap<string, number>;
  /** How often each known difference was met. */
  readonly known: ReadonlyMap<string, number>;
  readonly divergence: Divergence | undefined;
}

const shrinkTrialsMax = 150;
const allLeases = [...programLeases, ...furtherLeases];

/** A side that asks real servers, one client per endpoint. */
export function sideOf(name: string, family: Family, clients: readonly GrpcClient[]): Side {
  return {
    name,
    family,
    members: clients.length,
    async call(operation, member) {
      const { path, response } = methods[operation.method];
      const result = await clients[member % clients.length]!.unary(path, operation.body, { deadlineMs: 20_000 });
      const [message] = result.messages;
      if (result.grpcStatus === 0 && message === undefined) throw new Error(`${path}: OK without a message`);
      return {
        status: result.grpcStatus,
        text: result.grpcMessage,
        response: message === undefined ? undefined : decodeMessage(response, message),
      };
    },
  };
}

/** Runs the program `seed` on both sides; stops at the first divergence. */
export async function runProgram(
  seed: number,
  left: Side,
  right: Side,
  options: ProgramOptions,
  keep?: ReadonlySet<number>,
): Promise<RunResult> {
  const run = new Run(seed, left, right);
  await run.all(frameIn(options));
  const now = await run.revision();
  await run.step(operation('Compact', { revision: now, physical: true }));
  if (options.leases) for (const id of programLeases) await run.step(operation('LeaseGrant', { ID: id, TTL: 3600n }));
  const program = generateProgram(seed, now, options);
  await run.all(keep === undefined ? program : program.filter((_, index) => keep.has(index)));
  await run.step(operation('HashKV', {}));
  return run.result();
}

/** The smallest part of the program found that still diverges, with its divergence. */
export async function shrink(found: Divergence, left: Side, right: Side, options: ProgramOptions): Promise<Divergence> {
  let smallest = found;
  let kept = generateProgram(found.seed, 0n, options).map((_, index) => index);
  let trials = 0;
  for (let size = Math.ceil(kept.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < kept.length && trials < shrinkTrialsMax; trials++) {
      const candidate = [...kept.slice(0, from), ...kept.slice(from + size)];
      await align(left, right, options);
      const { divergence } = await runProgram(found.seed, left, right, options, new Set(candidate));
      if (divergence === undefined) {
        from += size;
      } else {
        smallest = divergence;
        kept = candidate;
      }
    }
  }
  return smallest;
}

/** Brings two servers that went apart to the same revision with an empty key space, compacted there. */
export async function align(left: Side, right: Side, options: ProgramOptions): Promise<void> {
  const sides = [left, right] as const;
  const padding = Buffer.from('padding');
  const put = operation('Put', { key: padding });
  const remove = operation('DeleteRange', { key: padding });
  for (const request of frameIn(options)) await Promise.all(sides.map(side => side.call(request, 0)));
  const [leftRevision, rightRevision] = [await revisionOf(left), await revisionOf(right)];
  const behind = leftRevision < rightRevision ? left : right;
  const gap = leftRevision < rightRevision ? rightRevision - leftRevision : leftRevision - rightRevision;
  // Every put counts one revision, so does every delete that finds the key.
  for (let i = 0n; i < gap; i++) await behind.call(i % 2n === 0n ? put : remove, 0);
  for (const side of sides) {
    await side.call(put, 0);
    await side.call(remove, 0);
    await side.call(operation('Compact', { revision: await revisionOf(side), physical: true }), 0);
  }
}

/** A divergence as text: how to run it again, what was run, what differed. */
export function describeDivergence(divergence: Divergence, left: Side, right: Side): string {
  const { seed, history, path } = divergence;
  const lines = history.map((item, index) => `  ${String(index + 1).padStart(3)}. ${describeOperation(item)}`);
  return [
    `${left.name} and ${right.name} answer differently at ${path} (program seed ${seed}).`,
    `Run this program alone: KVORUM_DIFFERENTIAL_SEED=${seed} KVORUM_DIFFERENTIAL_PROGRAMS=1`,
    'Operations since the store was empty and compacted, the last one differs:',
    ...lines,
    `${left.name}: ${describeOutcome(divergence.left)}`,
    `${right.name}: ${describeOutcome(divergence.right)}`,
  ].join('\n');
}

/** Where two values differ first; undefined when they do not. */
export function firstDifference(left: Value, right: Value, path = ''): string | undefined {
  if (isDeepStrictEqual(left, right)) return undefined;
  if (!isComposite(left) || !isComposite(right)) return path;
  const [a, b] = [left as Message, right as Message];
  for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const step = Array.isArray(left) ? `${path}[${name}]` : `${path}.${name}`;
    const difference = firstDifference(a[name], b[name], step);
    if (difference !== undefined) return difference;
  }
  return path;
}

function isComposite(value: Value): boolean {
  return typeof value === 'object' && !(value instanceof Uint8Array);
}

function frameIn(options: ProgramOptions): Operation[] {
  const everything = Buffer.from([0]);
  return [
    ...(options.leases ? allLeases.map(id => operation('LeaseRevoke', { ID: id })) : []),
    operation('DeleteRange', { key: everything, range_end: everything }),
  ];
}

async function revisionOf(side: Side): Promise<bigint> {
  const outcome = await side.call(operation('Range', { key: Buffer.from('a'), count_only: true }), 0);
  const header = outcome.response?.header as Message | undefined;
  if (header === undefined) throw new Error(`${side.name} does not tell its revision: ${describeOutcome(outcome)}`);
  return header.revision as bigint;
}

/** The state of one run: which members have seen everything, what was met. */
class Run {
  readonly #seed: number;
  readonly #left: Side;
  readonly #right: Side;
  readonly #members: number;
  readonly #history: Operation[] = [];
  readonly #known = new Map<string, number>();
  /** Members that are known to have applied all writes so far, by having answered the last one or a later read. */
  #current = new Set<number>([0]);
  readonly #refusals = new Map<string, number>();
  #divergence: Divergence | undefined;

  constructor(seed: number, left: Side, right: Side) {
    this.#seed = seed;
    this.#left = left;
    this.#right = right;
    this.#members = Math.min(left.members, right.members);
  }

  /** Asks both sides and compares; does nothing after a divergence. */
  async step(item: Operation): Promise<void> {
    if (this.#divergence !== undefined) return;
    let member = item.member % this.#members;
    if (item.local && !this.#current.has(member)) member = Math.min(...this.#current);
    const [left, right] = await Promise.all([this.#left.call(item, member), this.#right.call(item, member)]);
    this.#history.push(item);
    if (left.status !== 0) count(this.#refusals, left.text.replaceAll(/\d+/g, 'N'));
    // A write is known to be applied where it was answered only, a confirmed read also came after all earlier writes.
    if (left.status === 0 && item.method === 'Range') {
      if (!item.local) this.#current.add(member);
    } else if (left.status === 0) {
      this.#current = new Set([member]);
    }
    this.#compare(item, left, right);
  }

  async all(items: readonly Operation[]): Promise<void> {
    for (const item of items) await this.step(item);
  }

  revision(): Promise<bigint> {
    return revisionOf(this.#left);
  }

  result(): RunResult {
    return {
      operations: this.#history.length,
      refusals: this.#refusals,
      known: this.#known,
      divergence: this.#divergence,
    };
  }

  #compare(item: Operation, left: Outcome, right: Outcome): void {
    const [a, b] = [plain(left), plain(right)];
    const path = firstDifference(a, b);
    if (path === undefined) return;
    const known = isKnownDifference(item, { side: this.#left, outcome: left }, { side: this.#right, outcome: right });
    if (known !== undefined) {
      count(this.#known, known);
      return;
    }
    this.#divergence = { seed: this.#seed, operation: item, left, right, path: path.slice(1), history: this.#history };
  }
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

function plain(outcome: Outcome): Message {
  return {
    status: outcome.status,
    text: outcome.text,
    response: outcome.response === undefined ? undefined : comparable(outcome.response),
  };
}

function describeOperation(item: Operation): string {
  const body = `body 0x${item.body.subarray(0, 400).toString('hex')}${item.body.length > 400 ? '…' : ''}`;
  if (item.request === undefined) return `${item.method} ${body}`;
  const exact = item.body.equals(encodeMessage(methods[item.method].request, withoutUnknown(item.request)));
  return `${item.method} ${describeMessage(item.request)}${exact ? '' : ` (${body})`}`;
}

function withoutUnknown(message: Message): Message {
  const { unknown: _unknown, ...rest } = message;
  return rest;
}

function describeOutcome(outcome: Outcome): string {
  return outcome.response === undefined
    ? `status ${outcome.status} ${JSON.stringify(outcome.text)}`
    : describeMessage(comparable(outcome.response));
}
