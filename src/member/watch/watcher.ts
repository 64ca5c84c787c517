/**
 * The state of watches: streams, their watchers, and the interests that watchers share.
 *
 *   stream ──< watcher >── interest        one interest for all watchers of the same keys, filters and prev_kv
 *
 * A watcher is in exactly one state (V7):
 *
 *   synced     listed by its interest: it has every event up to what was delivered, and gets the next one live
 *   behind     waits in its stream's queue: `next` is the first revision that it may lack, nothing else is kept
 *   cancelled  a compaction overtook it; only its id lives on, until the client cancels it
 *
 * There may be very many watchers: no closures, maps or lists in one.
 */
import type { RangeEnd } from '../mvcc/key-index.js';
import { type Linked, LinkedQueue } from './linked-queue.js';

export const WatcherState = { Synced: 0, Behind: 1, Cancelled: 2 } as const;
export type WatcherState = (typeof WatcherState)[keyof typeof WatcherState];

/** What a watcher wants to see; also how many watchers share it. */
export class Interest {
  /** Those that are synced, in no particular order; each knows its position. */
  watchers: Watcher[] = NO_WATCHERS;
  /** Watchers of any state except cancelled. */
  references = 0;
  /** Another interest in the same keys. */
  sibling: Interest | undefined;
  /** The chain of events of the present batch that it wants; see hits.ts. -1: none. */
  firstHit = -1;
  lastHit = -1;

  constructor(
    readonly key: Uint8Array,
    readonly to: RangeEnd,
    readonly noPut: boolean,
    readonly noDelete: boolean,
    readonly prevKv: boolean,
  ) {}

  wants(tombstone: boolean): boolean {
    return tombstone ? !this.noDelete : !this.noPut;
  }
}

/** Shared by all interests without a synced watcher; never written. */
const NO_WATCHERS: Watcher[] = [];

export class Watcher implements Linked<Watcher> {
  queue: LinkedQueue<Watcher> | undefined;
  before: Watcher | undefined;
  after: Watcher | undefined;
  state: WatcherState = WatcherState.Behind;
  /** Position in its interest's list, while synced. */
  position = -1;
  /**
   * No event below it may be sent. While behind, also the first revision not looked at; while synced, it may lie behind
   * what was delivered, or before it in the future.
   */
  next: number;
  /** Whether an event went to it since the last progress notification was due. */
  active = false;

  constructor(
    readonly stream: Stream,
    readonly id: bigint,
    readonly interest: Interest,
    /** As the client asked; 0: from its creation on. */
    readonly start: number,
    next: number,
    readonly fragment: boolean,
    readonly progressNotify: boolean,
  ) {
    this.next = next;
  }
}

export class Stream implements Linked<Stream> {
  queue: LinkedQueue<Stream> | undefined;
  before: Stream | undefined;
  after: Stream | undefined;
  readonly watchers = new Map<bigint, Watcher>();
  /** Those that are behind. */
  readonly behind = new LinkedQueue<Watcher>();
  /** Those that a compaction cancelled. */
  cancelled = 0;
  /** The next watch id to try when the client leaves it to the server. */
  nextWatchId = 0n;
  /** At least the greatest start revision of its watchers. */
  startMax = 0;
  /** Watchers that want progress notifications. */
  notified = 0;
  /** Milliseconds between them, once there are any. */
  notifyIntervalMs = 0;
  /** Number of the timer wheel's slot in which the next one is due; -1: no timer. */
  timerSlot = -1;

  constructor(
    readonly id: number,
    /** Bytes that may still be sent to it. Events may take it below zero once. */
    public credit: number,
  ) {}
}

/** Lists a watcher as synced. */
export function enlist(watcher: Watcher): void {
  const { interest } = watcher;
  watcher.state = WatcherState.Synced;
  if (interest.watchers === NO_WATCHERS) {
    // A literal has room for one: most interests never have more.
    interest.watchers = [watcher];
    watcher.position = 0;
  } else {
    watcher.position = interest.watchers.push(watcher) - 1;
  }
}

/** Takes a synced watcher off its interest's list; the last one takes its place. */
export function delist(watcher: Watcher): void {
  const { watchers } = watcher.interest;
  const last = watchers.pop()!;
  if (last !== watcher) {
    watchers[watcher.position] = last;
    last.position = watcher.position;
  }
  if (watchers.length === 0) watcher.interest.watchers = NO_WATCHERS;
  watcher.position = -1;
}
