/**
 * All watchers of a member, and every step from one state to another.
 *
 *            add              join, when it has caught up
 *   created ─────> behind ─────────────────────────────────> synced
 *      │             │  ^                                      │
 *      │ add         │  └──────────────────────────────────────┘  fallBehind: no credit, or a new store
 *      └─> synced    └─> cancelled   overtaken by a compaction                  remove: from any state
 *
 * Streams that have both credit and watchers behind are ready: catching up looks at nothing else.
 *
 * Invariants: a watcher is in exactly one state, the counts say so after every step; `next` never decreases; a stream
 * with credit and somebody behind is ready (one whose credit was used up since leaves when catching up meets it).
 */
import { assert } from '../../base/assert.js';
import { Interests } from './interests.js';
import { LinkedQueue } from './linked-queue.js';
import { delist, enlist, type Stream, type Watcher, WatcherState } from './watcher.js';

export class Watchers {
  readonly interests = new Interests();
  readonly ready = new LinkedQueue<Stream>();
  #total = 0;
  #synced = 0;
  #behind = 0;
  #cancelled = 0;

  get synced(): number {
    return this.#synced;
  }

  get behind(): number {
    return this.#behind;
  }

  get total(): number {
    return this.#total;
  }

  /** Adds a new watcher, whose interest was acquired. */
  add(watcher: Watcher, synced: boolean): void {
    const { stream } = watcher;
    stream.watchers.set(watcher.id, watcher);
    this.#total += 1;
    if (synced) {
      this.#synced += 1;
      enlist(watcher);
    } else {
      this.#behind += 1;
      stream.behind.push(watcher);
      this.settle(stream);
    }
    this.#check();
  }

  /** A watcher behind has everything up to now. */
  join(watcher: Watcher): void {
    assert(watcher.state === WatcherState.Behind, 'only who was behind catches up');
    this.#leaveQueue(watcher);
    this.#synced += 1;
    enlist(watcher);
    this.#check();
  }

  /** A synced watcher is not told of revision `next` and what follows. */
  fallBehind(watcher: Watcher, next: number): void {
    assert(watcher.state === WatcherState.Synced, 'only a synced watcher falls behind');
    delist(watcher);
    this.#synced -= 1;
    watcher.state = WatcherState.Behind;
    this.#behind += 1;
    advance(watcher, next);
    watcher.stream.behind.push(watcher);
    this.settle(watcher.stream);
    this.#check();
  }

  /** What a watcher behind lacks is compacted: only its id lives on. */
  overtaken(watcher: Watcher): void {
    assert(watcher.state === WatcherState.Behind, 'only who is behind is overtaken');
    this.#leaveQueue(watcher);
    watcher.state = WatcherState.Cancelled;
    this.#cancelled += 1;
    watcher.stream.cancelled += 1;
    this.interests.release(watcher.interest);
    this.#check();
  }

  /** Forgets a watcher of any state. */
  remove(watcher: Watcher): void {
    const { stream } = watcher;
    stream.watchers.delete(watcher.id);
    this.#total -= 1;
    if (watcher.state === WatcherState.Cancelled) {
      this.#cancelled -= 1;
      stream.cancelled -= 1;
    } else {
      if (watcher.state === WatcherState.Behind) {
        this.#leaveQueue(watcher);
      } else {
        delist(watcher);
        this.#synced -= 1;
      }
      this.interests.release(watcher.interest);
    }
    this.#check();
  }

  /** Lists the stream as ready or not, after its credit or its watchers behind changed. */
  settle(stream: Stream): void {
    const isReady = stream.credit > 0 && stream.behind.size > 0;
    if (isReady === (stream.queue !== undefined)) return;
    if (isReady) this.ready.push(stream);
    else this.ready.remove(stream);
  }

  #leaveQueue(watcher: Watcher): void {
    watcher.stream.behind.remove(watcher);
    this.#behind -= 1;
    this.settle(watcher.stream);
  }

  #check(): void {
    if (this.#synced + this.#behind + this.#cancelled === this.#total) return;
    const counts = { synced: this.#synced, behind: this.#behind, cancelled: this.#cancelled, total: this.#total };
    assert(false, 'a watcher is in exactly one state', counts);
  }
}

/** Nothing below `next` is sent to the watcher any more. */
export function advance(watcher: Watcher, next: number): void {
  if (next < watcher.next) assert(false, 'a watcher never goes back', { next, former: watcher.next });
  watcher.next = next;
}
