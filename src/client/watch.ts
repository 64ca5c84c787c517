/**
 * Watches: the changes of a range, in order, every one exactly once.
 *
 *     for await (const event of client.watch({ prefix: 'users/' }))
 *       console.log(event.type, event.kv.key, event.kv.value, event.revision);
 *
 *     const watch = client.watch('a', { startRevision: 7, previous: true, signal });
 *     await watch.created;                                    // changes from here on are seen
 *     for await (const { revision, events, isProgress } of watch.batches()) ...
 *     watch.cancel();                                         // or leave the loop, or abort the signal
 *
 * A watch begins when it is made, not when it is first read. It is opened anew, wherever a server is found, when its
 * stream ends for a reason that may pass, and goes on at `next`: behind all that it was given.
 *
 *   server -> stream -> queue -> reader        next = 1 + the newest revision that was queued, or known to be complete
 *
 * A batch is all events of one or several revisions: a revision is never torn, so `next` never skips one. A reader that
 * is slow stops the stream once the queue holds `queueBytesMax`; what it has not read waits in the server's store.
 * The end: the caller's (cancel, signal), or an error: CompactedError when the history after `next` is gone.
 */
import { GrpcCode } from '../wire/errors.js';
import { Method } from '../wire/methods.js';
import type { CallOptions, Channel, ClientStream, EtcdError } from './channel.js';
import { ClosedError } from './errors.js';
import type { Range } from './ranges.js';
import type { ResponseHeader } from './results.js';
import { backoffMs, Scope } from './scope.js';
import {
  cancelError,
  decodeWatchResponse,
  encodeProgressRequest,
  encodeWatchCreate,
  type WatchEvent,
  type WatchResponse,
  type WatchSettings,
} from './watch-messages.js';

export interface WatchOptions extends WatchSettings, CallOptions {
  /** Leave a server that knows no leader, and with it maybe nothing new, for another; default true. */
  readonly requireLeader?: boolean;
}

/** The changes of one or several revisions, whole; or, without any, the word that there are none up to `revision`. */
export interface WatchBatch {
  /** The store's revision when the server sent it. */
  readonly revision: number;
  readonly events: readonly WatchEvent[];
  /** An answer to `progressNotify` or `requestProgress`. */
  readonly isProgress: boolean;
  readonly header: ResponseHeader;
}

interface Queued {
  readonly batch: WatchBatch;
  readonly sizeBytes: number;
}

/** The stream is stopped when the queue holds so much, and goes on at the half. */
const queueBytesMax = 1024 * 1024;
/** What a batch costs beyond its message. */
const batchOverheadBytes = 512;

/** Logins in a row that did not help. */
const renewalsMax = 5;

const passing: ReadonlySet<number> = new Set([GrpcCode.Unavailable, GrpcCode.Internal, GrpcCode.Canceled]);

export class Watch implements AsyncIterable<WatchEvent>, Disposable {
  /** Resolves with the revision after which changes are seen, once the server has begun to watch. */
  readonly created: Promise<number>;
  readonly #channel: Channel;
  readonly #range: Range;
  readonly #options: WatchOptions;
  readonly #scope: Scope;
  #resolveCreated: (revision: number) => void = () => {};
  #rejectCreated: (error: Error) => void = () => {};
  #next: number;
  #stream: ClientStream | undefined;
  #retry: NodeJS.Timeout | undefined;
  #attempt = 0;
  #fragments: WatchEvent[] = [];
  #fragmentsBytes = 0;
  #queue: Queued[] = [];
  #queueBytes = 0;
  #paused = false;
  #over = false;
  #failure: Error | undefined;
  #readers: (() => void)[] = [];

  constructor(channel: Channel, range: Range, options: WatchOptions) {
    this.#channel = channel;
    this.#range = range;
    this.#options = options;
    this.#next = options.startRevision ?? 0;
    this.created = new Promise((resolve, reject) => {
      this.#resolveCreated = resolve;
      this.#rejectCreated = reject;
    });
    // Nobody has to ask for it: the reader hears the same error.
    this.created.catch(() => {});
    this.#scope = new Scope(options);
    const { signal } = this.#scope;
    signal.addEventListener('abort', () => this.#finish(signal.reason as Error), { once: true });
    if (signal.aborted) this.#finish(signal.reason as Error);
    else this.#open();
  }

  /** One event after the other; ending the loop ends the watch. */
  async *[Symbol.asyncIterator](): AsyncGenerator<WatchEvent, void, undefined> {
    for await (const { events } of this.batches()) yield* events;
  }

  /** The same as they came: whole revisions, and progress; ending the loop ends the watch. */
  async *batches(): AsyncGenerator<WatchBatch, void, undefined> {
    try {
      for (;;) {
        const batch = await this.#take();
        if (batch === undefined) return;
        yield batch;
      }
    } finally {
      this.cancel();
    }
  }

  /**
   * Asks for a batch with `isProgress`: everything up to its revision has then been delivered. A server that is behind
   * does not answer, and etcd before 3.5.8 answers even then: there, trust `progressNotify` only.
   */
  requestProgress(): void {
    this.#stream?.send(encodeProgressRequest());
  }

  /** Ends the watch: its readers get the end, and nothing more of what is queued. */
  cancel(): void {
    this.#finish(undefined);
  }

  [Symbol.dispose](): void {
    this.cancel();
  }

  #open(): void {
    this.#retry = undefined;
    this.#fragments = [];
    this.#fragmentsBytes = 0;
    const listener = {
      message: (bytes: Uint8Array): void => this.#message(bytes),
      end: (error: EtcdError | undefined): void => this.#ended(error),
    };
    const { requireLeader = true } = this.#options;
    this.#stream = this.#channel.stream(Method.Watch, listener, { requireLeader });
    this.#stream.send(encodeWatchCreate(this.#range, this.#options, this.#next));
  }

  #message(bytes: Uint8Array): void {
    if (this.#over) return;
    let response: WatchResponse;
    try {
      response = decodeWatchResponse(bytes);
    } catch (error) {
      return this.#finish(error as Error);
    }
    const { header } = response;
    if (response.isCanceled) return this.#refused(cancelError(response));
    if (response.isCreated) {
      this.#attempt = 0;
      if (this.#next === 0) this.#next = header.revision + 1;
      this.#resolveCreated(this.#next - 1);
    }
    if (response.events.length > 0) this.#events(response, bytes.length);
    else if (!response.isCreated) this.#progress(response);
  }

  #events(response: WatchResponse, sizeBytes: number): void {
    const { header, events, isFragment } = response;
    // A server that begins earlier than it was asked to must not make the reader see anything twice.
    for (const event of events) if (event.revision >= this.#next) this.#fragments.push(event);
    this.#fragmentsBytes += sizeBytes;
    if (isFragment) return;
    const whole = this.#fragments;
    const last = whole.at(-1);
    const wholeBytes = this.#fragmentsBytes;
    this.#fragments = [];
    this.#fragmentsBytes = 0;
    if (last === undefined) return;
    this.#next = last.revision + 1;
    this.#push({ revision: header.revision, events: whole, isProgress: false, header }, wholeBytes);
  }

  #progress({ header, watchId }: WatchResponse): void {
    // Answers to requests (id -1) come from old servers even when events are still to come: nothing is built on them.
    if (watchId >= 0) this.#next = Math.max(this.#next, header.revision + 1);
    this.#push({ revision: header.revision, events: [], isProgress: true, header }, 0);
  }

  #push(batch: WatchBatch, messageBytes: number): void {
    const sizeBytes = messageBytes + batchOverheadBytes;
    this.#queue.push({ batch, sizeBytes });
    this.#queueBytes += sizeBytes;
    if (!this.#paused && this.#queueBytes >= queueBytesMax) {
      this.#paused = true;
      this.#stream?.pause();
    }
    this.#wakeReaders();
  }

  /** The next batch; undefined: the watch was cancelled. */
  async #take(): Promise<WatchBatch | undefined> {
    for (;;) {
      const queued = this.#queue.shift();
      if (queued !== undefined) {
        this.#queueBytes -= queued.sizeBytes;
        if (this.#paused && this.#queueBytes <= queueBytesMax / 2) this.#goOn();
        return queued.batch;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#over) return undefined;
      await new Promise<void>(resolve => {
        this.#readers.push(resolve);
      });
    }
  }

  #goOn(): void {
    this.#paused = false;
    if (this.#over) return;
    if (this.#stream !== undefined) this.#stream.resume();
    else if (this.#retry === undefined) this.#open();
  }

  /** The watcher was ended, not the stream. */
  #refused(error: EtcdError): void {
    if (!this.#mayRenew(error)) return this.#finish(error);
    this.#stream?.cancel();
    this.#openLater();
  }

  #ended(error: EtcdError | undefined): void {
    if (this.#over) return;
    const isPassing = passing.has(error?.code ?? GrpcCode.Unavailable) && !(error instanceof ClosedError);
    if (error !== undefined && !isPassing && !this.#mayRenew(error)) return this.#finish(error);
    this.#openLater();
  }

  /** Whether another login may help; one that never does is not made for ever. */
  #mayRenew(error: EtcdError): boolean {
    return this.#attempt < renewalsMax && this.#channel.isLoginRefusal?.(error, this.#stream) === true;
  }

  #openLater(): void {
    this.#stream = undefined;
    const delayMs = backoffMs(this.#attempt);
    this.#attempt += 1;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      // A reader that is behind first reads what it has.
      if (!this.#paused) this.#open();
    }, delayMs);
  }

  #finish(failure: Error | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#failure = failure;
    // Who gave up wants nothing more; a failed watch still delivers what came before the failure.
    if (failure === undefined || this.#scope.signal.aborted) this.#queue = [];
    clearTimeout(this.#retry);
    this.#scope.end();
    this.#stream?.cancel();
    this.#stream = undefined;
    this.#rejectCreated(failure ?? new Error('the watch was cancelled before it was created'));
    this.#wakeReaders();
  }

  #wakeReaders(): void {
    const readers = this.#readers;
    this.#readers = [];
    for (const wake of readers) wake();
  }
}
