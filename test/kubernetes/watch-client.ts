/**
 * Many watchers on one stream, as a Kubernetes API server's etcd client has them: after any error of the stream they are
 * created anew, each behind the last revision it saw; only compaction is told to the watcher's owner.
 *
 *   open ─► create for every watcher ─► created, events, progress … ─► stream ends ─► open (home first, then the others)
 *
 * Everything that was said on each stream is recorded for the validators. Fragments are handed over when they are
 * complete: what a broken stream leaves of a response is forgotten and comes again.
 */
import type { ServiceError } from '@grpc/grpc-js';
import {
  type EtcdConnection,
  encodeCancel,
  encodeCreate,
  encodeProgress,
  type PairDecoder,
  shortened,
  type WatchCall,
} from './etcd-client.js';
import type { Ledger } from './ledger.js';
import {
  type Exchange,
  isProgress,
  type StreamRecord,
  streamWatchId,
  type WatchEvent,
  type WatchRequest,
  type WatchResponse,
} from './records.js';

export interface WatchListener {
  events(events: readonly WatchEvent[]): void;
  /** What the watcher still had to see is gone; it has been removed. */
  compacted(compactRevision: number): void;
}

export interface WatchClientOptions {
  readonly name: string;
  /** Home first. */
  readonly connections: readonly EtcdConnection[];
  readonly decoder: PairDecoder;
  readonly ledger: Ledger;
  readonly requireLeader: boolean;
  /** Whether a response to a manual progress request may be taken for a bookmark. */
  readonly trustManualProgress: boolean;
}

const reopenMs = 20;
const nextEndpointMs = 50;

/** One watch, however many times it has to be created. */
export class Watcher {
  readonly spec: WatchRequest;
  readonly listener: WatchListener;
  /** What it waits for: 0 until it is created when it asked for what is new. */
  nextRevision: number;
  id: number | undefined;
  fragments: WatchEvent[] = [];
  isRemoved = false;

  constructor(spec: WatchRequest, listener: WatchListener) {
    this.spec = spec;
    this.listener = listener;
    this.nextRevision = spec.startRevision;
  }
}

interface OpenStream {
  readonly call: WatchCall;
  readonly exchanges: Exchange[];
  /** Watchers whose create request has no answer yet, in the order of the requests. */
  readonly asked: Watcher[];
  readonly live: Map<number, Watcher>;
}

export class WatchClient {
  readonly records: StreamRecord[] = [];
  /** How streams ended, with the number of times: code and text. */
  readonly ends = new Map<string, number>();
  readonly #options: WatchClientOptions;
  readonly #watchers = new Set<Watcher>();
  #stream: OpenStream | undefined;
  #timer: NodeJS.Timeout | undefined;
  #place = 0;
  #isPaused = false;
  #isClosed = false;

  constructor(options: WatchClientOptions) {
    this.#options = options;
    this.#open();
  }

  /** How many watchers there are, whether they are created yet or not. */
  get size(): number {
    return this.#watchers.size;
  }

  add(spec: WatchRequest, listener: WatchListener): Watcher {
    const watcher = new Watcher(spec, listener);
    this.#watchers.add(watcher);
    if (this.#stream !== undefined) this.#create(this.#stream, watcher);
    return watcher;
  }

  /** Cancels a watch; what still comes for it is recorded and not handed over. */
  remove(watcher: Watcher): void {
    watcher.isRemoved = true;
    this.#watchers.delete(watcher);
    if (this.#stream !== undefined && watcher.id !== undefined) this.#cancel(this.#stream, watcher.id);
  }

  requestProgress(): void {
    this.#stream?.call.write(encodeProgress());
  }

  /** Stops reading: the transport's windows fill, and the server has to wait. */
  pause(): void {
    this.#isPaused = true;
    this.#stream?.call.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#stream?.call.resume();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#stream?.call.cancel();
    this.#stream = undefined;
  }

  #open(): void {
    const { connections, name, decoder, ledger, requireLeader } = this.#options;
    const connection = connections[this.#place]!;
    const call = connection.watch(requireLeader);
    const stream: OpenStream = { call, exchanges: [], asked: [], live: new Map() };
    this.#stream = stream;
    this.records.push({ name: `${name} stream ${this.records.length} (${connection.endpoint})`, ...stream });
    let end = '0 OK';
    call.on('error', (error: ServiceError) => {
      end = `${error.code} ${error.details}`;
    });
    call.on('data', (bytes: Buffer) => {
      if (stream !== this.#stream) return;
      const received = decoder.response(bytes, ledger.compactionAsked);
      stream.exchanges.push({ received });
      this.#received(stream, received);
    });
    // Not at the status: what had arrived before it is still to be read.
    call.on('end', () => this.#ended(stream, end));
    for (const watcher of this.#watchers) this.#create(stream, watcher);
    if (this.#isPaused) call.pause();
  }

  #ended(stream: OpenStream, end: string): void {
    if (this.#isClosed || stream !== this.#stream) return;
    this.#stream = undefined;
    const wasServed = stream.exchanges.some(exchange => 'received' in exchange);
    const counted = `${wasServed ? 'stream' : 'new stream'}: ${shortened(end)}`;
    this.ends.set(counted, (this.ends.get(counted) ?? 0) + 1);
    for (const watcher of this.#watchers) {
      watcher.id = undefined;
      watcher.fragments = [];
    }
    this.#place = wasServed ? 0 : (this.#place + 1) % this.#options.connections.length;
    this.#timer = setTimeout(() => this.#open(), wasServed ? reopenMs : nextEndpointMs);
  }

  #create(stream: OpenStream, watcher: Watcher): void {
    const create = { ...watcher.spec, startRevision: watcher.nextRevision };
    stream.asked.push(watcher);
    stream.exchanges.push({ create });
    stream.call.write(encodeCreate(create));
  }

  #cancel(stream: OpenStream, id: number): void {
    stream.exchanges.push({ cancel: id });
    stream.call.write(encodeCancel(id));
  }

  #received(stream: OpenStream, response: WatchResponse): void {
    if (response.created) return this.#created(stream, response);
    if (isProgress(response)) return this.#progress(stream, response);
    const watcher = stream.live.get(response.watchId);
    if (watcher === undefined) return; // The validators will say so.
    if (response.canceled) {
      stream.live.delete(response.watchId);
      watcher.id = undefined;
      if (watcher.isRemoved) return;
      // Cancelled without a reason that the watcher could do something about: it asks again.
      if (response.compactRevision === 0) return this.#create(stream, watcher);
      this.#watchers.delete(watcher);
      watcher.isRemoved = true;
      watcher.listener.compacted(response.compactRevision);
      return;
    }
    watcher.fragments.push(...response.events);
    if (response.fragment) return;
    const events = watcher.fragments;
    watcher.fragments = [];
    const last = events.at(-1)?.kv.modRevision ?? 0;
    watcher.nextRevision = Math.max(watcher.nextRevision, last + 1);
    if (!watcher.isRemoved) watcher.listener.events(events);
  }

  #created(stream: OpenStream, response: WatchResponse): void {
    const { asked, live } = stream;
    const byId = asked.findIndex(({ spec }) => spec.watchId !== 0 && spec.watchId === response.watchId);
    const place = byId === -1 ? asked.findIndex(({ spec }) => spec.watchId === 0) : byId;
    const watcher = asked.splice(place, 1)[0];
    if (watcher === undefined || place === -1 || response.canceled) {
      const text = `watch refused: ${response.cancelReason}`;
      this.ends.set(text, (this.ends.get(text) ?? 0) + 1);
      return;
    }
    if (watcher.nextRevision === 0) watcher.nextRevision = response.revision + 1;
    watcher.id = response.watchId;
    live.set(response.watchId, watcher);
    if (watcher.isRemoved) this.#cancel(stream, response.watchId);
  }

  #progress(stream: OpenStream, response: WatchResponse): void {
    const isManual = response.watchId === streamWatchId;
    if (isManual && !this.#options.trustManualProgress) return;
    const watchers = isManual ? [...stream.live.values()] : [stream.live.get(response.watchId)];
    for (const watcher of watchers) {
      if (watcher === undefined) continue;
      // A resumed watch begins behind its last bookmark: a bookmark that came too early then loses events for good.
      watcher.nextRevision = Math.max(watcher.nextRevision, response.revision + 1);
    }
  }
}
