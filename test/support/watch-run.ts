/**
 * One watch program on one server: what its watchers see, made comparable.
 *
 *   every stream   a recorder first: a watcher of the whole key space, whose events are the history
 *   a write        is made and not waited for in the streams: events come in bursts
 *   a control      (create, cancel, progress, compact) is asked for once everything due has come, and awaited
 *
 * What is due follows from the history: the events of a watcher's range from its start on. So nothing is compared that
 * time decides, and nothing is waited for by the clock. Whether a server has caught up all watchers cannot be seen
 * from outside; a probe, one more watcher that begins in the past and gets its event, shows that a round of catching up
 * has passed.
 *
 * How events are spread over responses is not compared but checked: per watcher in order, each once, a revision in one
 * response unless fragments were allowed, the header never behind the events.
 */
import type { Family, Outcome, Side } from './differential.js';
import type { GrpcStream } from './grpc-client.js';
import { decodeMessage, describeMessage, encodeMessage, type Message } from './messages.js';
import { operation, programLeases } from './programs.js';
import type { WatchStep } from './watch-programs.js';

/** One compared cluster: calls go to its first member, each stream to any. */
export interface WatchSide {
  readonly side: Side;
  openWatch(stream: number): WatchWire;
}

/** What a stream has to do for a program. */
export type WatchWire = Pick<GrpcStream, 'send' | 'cancel' | 'status'> & AsyncIterable<Buffer>;

/** A watcher from its creation on. */
export interface WatcherLog {
  readonly request: Message;
  readonly id: bigint;
  /** The first revision it is for. */
  readonly start: bigint;
  /** What was compacted when it was created. */
  readonly compacted: bigint;
  readonly events: Message[];
}

/** An answer on a stream that is no event. */
export interface Control {
  readonly response: Message;
  /** For a progress answer that newer releases do not give. */
  readonly early: Early | undefined;
}

/** Why progress is not told: a watcher is cancelled by a compaction, or begins at a revision that is still to come. */
export type Early = 'overtaken' | 'future';

export interface WatchObservation {
  readonly family: Family;
  readonly writes: readonly Outcome[];
  readonly streams: readonly { readonly controls: readonly Control[]; readonly watchers: readonly WatcherLog[] }[];
  /** What no server may do, whatever the other does. */
  readonly complaints: readonly string[];
}

const recorderId = 1_000_000n;
const probeId = 1_000_001n;
const patienceMs = 10_000;
const everything = { key: Buffer.from([0]), range_end: Buffer.from([0]) };
const probeKey = Buffer.from('probe');
const noPut = 0;
const noDelete = 1;

/** Empties and compacts the store, runs the program made for its revision, and ends the streams. */
export async function runWatchProgram(
  { side, openWatch }: WatchSide,
  streams: number,
  program: (base: bigint) => readonly WatchStep[],
): Promise<WatchObservation> {
  const run = new WatchRun(
    side,
    Array.from({ length: streams }, (_, stream) => openWatch(stream)),
  );
  try {
    return await run.run(program);
  } finally {
    run.close();
  }
}

class WatchRun {
  readonly #side: Side;
  readonly #streams: WatchedStream[];
  readonly #writes: Outcome[] = [];
  #newest = 0n;
  #compacted = 0n;

  constructor(side: Side, streams: readonly WatchWire[]) {
    this.#side = side;
    this.#streams = streams.map((stream, index) => new WatchedStream(stream, `${side.name}, stream ${index}`));
  }

  async run(program: (base: bigint) => readonly WatchStep[]): Promise<WatchObservation> {
    for (const id of programLeases) await this.#call('LeaseRevoke', { ID: id });
    const { response } = await this.#call('Range', everything);
    const before = (response!.header as Message).revision as bigint;
    for (const stream of this.#streams) {
      await stream.create({ ...everything, watch_id: recorderId }, before + 1n, 0n);
      stream.newest = before;
    }
    await this.#write('DeleteRange', everything);
    await this.#compact(0n);
    for (const id of programLeases) await this.#call('LeaseGrant', { ID: id, TTL: 3600n });
    this.#writes.splice(0);
    for (const step of program(this.#newest)) await this.#step(step);
    await this.#settle();
    await this.#probe();
    return {
      family: this.#side.family,
      writes: this.#writes,
      streams: this.#streams.map(({ controls, watchers }) => ({ controls, watchers })),
      complaints: this.#streams.flatMap(({ complaints }) => complaints),
    };
  }

  close(): void {
    for (const stream of this.#streams) stream.close();
  }

  async #step(step: WatchStep): Promise<void> {
    if (step.kind === 'write') {
      const { method, request } = step.operation;
      await this.#write(method, request!);
      return;
    }
    await this.#settle();
    if (step.kind === 'compact') return this.#compact(step.behind);
    const stream = this.#streams[step.stream]!;
    if (step.kind === 'cancel') return stream.cancel(step.id);
    if (step.kind === 'progress') {
      await this.#probe();
      return stream.progress(this.#newest, this.#side.family);
    }
    await stream.create(step.request, this.#newest, this.#compacted);
  }

  /** Everyone is caught up before: who is not, and is overtaken, may be told of the compaction or not. */
  async #compact(behind: bigint): Promise<void> {
    await this.#write('Put', { key: probeKey });
    await this.#write('DeleteRange', { key: probeKey });
    await this.#settle();
    await this.#probe();
    const revision = this.#newest - behind;
    const outcome = await this.#call('Compact', { revision, physical: true });
    this.#writes.push(outcome);
    if (outcome.status === 0) this.#compacted = revision;
    // Seen on every stream, this tells that every member has compacted.
    await this.#write('Put', { key: probeKey });
    await this.#settle();
  }

  /** Waits until every stream has got everything that is due. */
  async #settle(): Promise<void> {
    const revision = this.#newest;
    await Promise.all(this.#streams.map(stream => stream.settled(revision, this.#side.family !== 'etcd-3.4')));
  }

  /** Waits until the server has caught up all watchers: see above. */
  async #probe(): Promise<void> {
    await this.#write('Put', { key: probeKey });
    await this.#settle();
    await Promise.all(this.#streams.map(stream => stream.probe(this.#newest)));
    await this.#write('DeleteRange', { key: probeKey });
    await this.#settle();
  }

  async #write(method: Parameters<typeof operation>[0], request: Message): Promise<void> {
    const outcome = await this.#call(method, request);
    this.#writes.push(outcome);
  }

  async #call(method: Parameters<typeof operation>[0], request: Message): Promise<Outcome> {
    const outcome = await this.#side.call(operation(method, request), 0);
    const header = outcome.response?.header as Message | undefined;
    if (header !== undefined) this.#newest = header.revision as bigint;
    return outcome;
  }
}

/** One stream: its watchers by id, what they got, and what they have to get. */
class WatchedStream {
  readonly controls: Control[] = [];
  readonly watchers: WatcherLog[] = [];
  readonly complaints: string[] = [];
  readonly #stream: WatchWire;
  readonly #title: string;
  /** Watchers that the client has not cancelled, by id; the last one created for an id. */
  readonly #living = new Map<bigint, WatcherLog>();
  readonly #cancelled = new Set<WatcherLog>();
  readonly #fragments = new Map<bigint, bigint>();
  /** Newest revision that the recorder has shown, and all of its events. */
  newest = 0n;
  readonly #history: Message[] = [];
  #creating: { request: Message; revision: bigint; compacted: bigint } | undefined;
  #early: Early | undefined;
  #probed = 0n;
  #over = false;
  #changed: () => void = () => {};

  constructor(stream: WatchWire, title: string) {
    this.#stream = stream;
    this.#title = title;
    void this.#read();
  }

  close(): void {
    this.#over = true;
    this.#stream.cancel();
  }

  async create(request: Message, revision: bigint, compacted: bigint): Promise<void> {
    this.#creating = { request, revision, compacted };
    this.#send({ create_request: request });
    await this.#until(() => this.#creating === undefined, 'the answer to a create');
  }

  async cancel(id: bigint): Promise<void> {
    const known = this.#living.has(id);
    this.#send({ cancel_request: { watch_id: id } });
    if (known) await this.#until(() => !this.#living.has(id), `the answer to the cancel of ${id}`);
  }

  async progress(revision: bigint, family: Family): Promise<void> {
    const watchers = [...this.#living.values()];
    const overtaken = watchers.some(log => this.#cancelled.has(log));
    const future = watchers.some(log => startOf(log.request) > revision);
    this.#early = overtaken ? 'overtaken' : future ? 'future' : undefined;
    const count = this.controls.length;
    this.#send({ progress_request: {} });
    const answers = this.#early === undefined || answersEarly(family, this.#early);
    if (answers) await this.#until(() => this.controls.length > count, 'a progress answer');
  }

  async probe(revision: bigint): Promise<void> {
    this.#send({ create_request: { ...everything, start_revision: revision, watch_id: probeId } });
    await this.#until(() => this.#probed === revision, 'the event of the probe');
    this.#send({ cancel_request: { watch_id: probeId } });
    await this.#until(() => this.#probed === 0n, 'the end of the probe');
  }

  /** Resolves when the history is known up to `revision` and every watcher has got its part of it. */
  async settled(revision: bigint, keepsTombstones: boolean): Promise<void> {
    await this.#until(() => this.newest >= revision, `the recorder at ${revision}`);
    for (const log of this.#living.values()) {
      if (isOvertaken(log)) await this.#until(() => this.#cancelled.has(log), `the cancel of overtaken ${log.id}`);
      else {
        const due = this.#history.filter(event => isDue(log, event, keepsTombstones)).length;
        await this.#until(() => log.events.length >= due, `${due} events of watcher ${log.id}`);
      }
    }
  }

  #send(request: Message): void {
    this.#stream.send(encodeMessage('WatchRequest', request));
  }

  async #read(): Promise<void> {
    for await (const message of this.#stream) {
      this.#take(decodeMessage('WatchResponse', message), message.length);
      this.#changed();
    }
    const { grpcStatus, grpcMessage } = await this.#stream.status;
    if (!this.#over) this.complaints.push(`${this.#title} ended with ${grpcStatus} ${grpcMessage}`);
    this.#over = true;
    this.#changed();
  }

  #take(response: Message, bytes: number): void {
    const id = response.watch_id as bigint;
    const events = response.events as Message[];
    if (id === recorderId && !response.created) {
      this.#history.push(...events);
      this.newest = (events.at(-1)!.kv as Message).mod_revision as bigint;
    } else if (id === probeId) {
      if (events.length > 0) this.#probed = (events[0]!.kv as Message).mod_revision as bigint;
      if (response.canceled) this.#probed = 0n;
    } else if (events.length > 0) this.#takeEvents(response, events, bytes);
    else this.#takeControl(response);
  }

  #takeControl(response: Message): void {
    const id = response.watch_id as bigint;
    if (response.created && this.#creating !== undefined) {
      const { request, revision, compacted } = this.#creating;
      this.#creating = undefined;
      if (!response.canceled) {
        const asked = startOf(request);
        const log = { request, id, start: asked === 0n ? revision + 1n : asked, compacted, events: [] };
        if (id !== recorderId) {
          this.#living.set(id, log);
          this.watchers.push(log);
        }
      }
    } else if (response.canceled) {
      const log = this.#living.get(id);
      if (log !== undefined && response.compact_revision !== 0n) this.#cancelled.add(log);
      else this.#living.delete(id);
    }
    const progress = id === -1n && !response.created && !response.canceled;
    if (id !== recorderId) this.controls.push({ response, early: progress ? this.#early : undefined });
  }

  #takeEvents(response: Message, events: readonly Message[], bytes: number): void {
    const id = response.watch_id as bigint;
    const log = this.#living.get(id);
    const complain = (text: string) => this.complaints.push(`${this.#title}, watcher ${id}: ${text}`);
    if (log === undefined) return void complain(`events without a watcher: ${describeMessage(events)}`);
    const revisionOf = (event: Message | undefined) =>
      ((event?.kv as Message | undefined)?.mod_revision ?? 0n) as bigint;
    const last = revisionOf(log.events.at(-1));
    const first = revisionOf(events[0]);
    const cut = this.#fragments.has(id);
    if (first < last || (first === last && !cut)) complain(`revision ${first} after ${last}`);
    for (const [i, event] of events.entries()) {
      if (revisionOf(event) < revisionOf(events[i - 1])) complain(`revisions out of order in one response`);
    }
    const { revision } = response.header as Message;
    if ((revision as bigint) < revisionOf(events.at(-1))) complain(`header revision ${revision} behind its events`);
    if (response.fragment && !log.request.fragment) complain('a fragment that was not asked for');
    if (log.request.fragment && bytes > fragmentBytesMax && events.length > 1) complain(`a response of ${bytes} bytes`);
    if (response.fragment) this.#fragments.set(id, first);
    else this.#fragments.delete(id);
    log.events.push(...events);
  }

  async #until(condition: () => boolean, what: string): Promise<void> {
    const deadline = performance.now() + patienceMs;
    const timer = setTimeout(() => this.#changed(), patienceMs + 1);
    try {
      while (!condition()) {
        if (this.#over) throw new Error(`${this.#title} ended before ${what}: ${this.complaints.join('\n')}`);
        if (performance.now() > deadline) throw new Error(`${this.#title}: ${what} does not come`);
        await new Promise<void>(resolve => {
          this.#changed = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The largest request, and half a MiB: where servers begin to cut. */
const fragmentBytesMax = 1_572_864 + 512 * 1024;

/** Whether a release answers a progress request that newer ones leave unanswered. */
export function answersEarly(family: Family, early: Early): boolean {
  return family === 'etcd-3.4' || (family === 'etcd-3.5' && early === 'future');
}

function startOf(request: Message): bigint {
  return (request.start_revision as bigint | undefined) ?? 0n;
}

/** Begins at what was compacted already: the server cancels it. */
function isOvertaken(log: WatcherLog): boolean {
  return log.start < log.compacted;
}

/** Whether an event of the history is one of the watcher's. */
function isDue({ request, start, compacted }: WatcherLog, event: Message, keepsTombstones: boolean): boolean {
  const { key, mod_revision: revision } = event.kv as { key: Buffer; mod_revision: bigint };
  const filters = (request.filters ?? []) as readonly number[];
  if (revision < start || filters.includes(event.type === 0 ? noPut : noDelete)) return false;
  if (revision === compacted && event.type === 1 && !keepsTombstones) return false;
  const first = (request.key as Buffer).length === 0 ? Buffer.from([0]) : (request.key as Buffer);
  const end = (request.range_end as Buffer | undefined) ?? Buffer.alloc(0);
  if (end.length === 0) return key.equals(first);
  return Buffer.compare(key, first) >= 0 && (end.equals(Buffer.from([0])) || Buffer.compare(key, end) < 0);
}
