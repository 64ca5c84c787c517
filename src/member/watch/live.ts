/**
 * Live events: what a turn has changed goes to the synced watchers.
 *
 *   changed, changed, ... ─> deliver():  each change ─> the interests in its key
 *                                        each interest ─> one body for all its watchers
 *
 * Several revisions of one turn share a response; its header has the last one's. Watchers that cut responses, and those
 * that begin with a revision inside the batch or later, are served one by one. A watcher whose stream has no credit is
 * left behind at the first revision that it should have been told of.
 *
 * Invariant: after deliver() every synced watcher has been sent every event at or below `delivered` that it wants.
 */
import type { Mvcc } from '../mvcc/mvcc.js';
import { Changes } from './changes.js';
import { Hits } from './hits.js';
import type { Outlet } from './outlet.js';
import type { Interest, Watcher } from './watcher.js';
import { advance, type Watchers } from './watchers.js';

export class Live {
  readonly #watchers: Watchers;
  readonly #outlet: Outlet;
  readonly #changes = new Changes();
  readonly #hits = new Hits();
  // Of the interest that is being told: its events with their revisions.
  #events: Uint8Array[] = [];
  #mains: number[] = [];
  readonly #wanted: number[] = [];
  readonly #found: Interest[] = [];
  readonly #left: Watcher[] = [];
  #delivered = 0;

  constructor(watchers: Watchers, outlet: Outlet) {
    this.#watchers = watchers;
    this.#outlet = outlet;
  }

  /** The first revision that synced watchers have not been told of. */
  get next(): number {
    return this.#changes.length > 0 ? this.#changes.mains[0]! : this.#delivered + 1;
  }

  /** One change; ascending. `record` is kept. */
  changed(main: number, tombstone: boolean, record: Uint8Array): void {
    if (this.#watchers.synced > 0) this.#changes.push(main, tombstone, record);
  }

  /** Forgets what was not delivered: everything begins anew after the revision `delivered`. */
  restart(delivered: number): void {
    this.#changes.clear();
    this.#delivered = delivered;
  }

  deliver(mvcc: Mvcc): void {
    this.#delivered = mvcc.currentRevision;
    if (this.#changes.length === 0) return;
    for (let at = 0; at < this.#changes.length; at += 1) this.#match(at);
    for (const interest of this.#hits.touched) this.#tell(interest, mvcc);
    this.#hits.clear();
    this.#changes.clear();
    this.#events = [];
    this.#mains = [];
  }

  /** Notes the change with every interest that wants it and has somebody to tell. */
  #match(at: number): void {
    this.#found.length = 0;
    this.#watchers.interests.find(this.#changes.key(at), this.#found);
    for (const head of this.#found) {
      for (let interest: Interest | undefined = head; interest !== undefined; interest = interest.sibling) {
        const wants = interest.watchers.length > 0 && interest.wants(this.#changes.tombstones[at]!);
        if (wants) this.#hits.add(interest, at);
      }
    }
  }

  #tell(interest: Interest, mvcc: Mvcc): void {
    this.#hits.take(interest, this.#wanted);
    this.#events.length = 0;
    this.#mains.length = 0;
    for (const at of this.#wanted) {
      this.#events.push(this.#changes.event(at, interest.prevKv, mvcc));
      this.#mains.push(this.#changes.mains[at]!);
    }
    let from = 0;
    while (from < this.#events.length) {
      const to = this.#outlet.responseEnd(this.#mains, this.#events, from);
      this.#respond(interest, from, to);
      from = to;
    }
  }

  /** One response to all watchers of the interest: events [from, to). */
  #respond(interest: Interest, from: number, to: number): void {
    const firstMain = this.#mains[from]!;
    const lastMain = this.#mains[to - 1]!;
    let body: Uint8Array | undefined;
    for (const watcher of interest.watchers) {
      if (watcher.next > lastMain) continue;
      if (watcher.stream.credit <= 0) {
        this.#left.push(watcher);
      } else if (watcher.fragment || watcher.next > firstMain) {
        this.#single(watcher, from, to);
      } else {
        body ??= this.#outlet.body(lastMain, this.#events, from, to);
        this.#outlet.collect(watcher, body.length);
        this.#outlet.eventsSent += to - from;
        advance(watcher, lastMain + 1);
        watcher.active = true;
      }
    }
    if (body !== undefined) this.#outlet.fanOut(body);
    // Afterwards: leaving changes the list.
    for (const watcher of this.#left) this.#watchers.fallBehind(watcher, Math.max(firstMain, watcher.next));
    this.#left.length = 0;
  }

  #single(watcher: Watcher, from: number, to: number): void {
    let first = from;
    while (this.#mains[first]! < watcher.next) first += 1;
    const lastMain = this.#mains[to - 1]!;
    this.#outlet.events(watcher, lastMain, this.#events, first, to);
    advance(watcher, lastMain + 1);
    watcher.active = true;
  }
}
