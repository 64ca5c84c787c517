/**
 * Watchers that are behind get what they lack from the store, a slice at a time.
 *
 *   exact key   the index lists the key's revisions: as many as a slice allows
 *   range       a scan over the records from `next` on; the window it fills serves everybody whose `next` lies in it
 *
 *       window   from ............ to        all records of these revisions
 *       watchers    next   next
 *
 * Streams with credit take turns, and so do the watchers of a stream: those at the same place stay together and share
 * windows. A watcher that has reached the current revision joins the synced ones at once, so that nothing is missed or
 * sent twice. One that needs what is compacted away is cancelled.
 *
 * Invariants: a watcher's `next` grows with every visit; a response never cuts a revision; between steps nothing is kept
 * for a watcher but `next`.
 */
import { assert } from '../../base/assert.js';
import type { Mvcc } from '../mvcc/mvcc.js';
import { copyRecord } from '../mvcc/record.js';
import { Changes, encodeEvent } from './changes.js';
import { type Outlet, REVISIONS_MAX } from './outlet.js';
import type { Interest, Watcher } from './watcher.js';
import { advance, type Watchers } from './watchers.js';

/** What a slice may cost, in records read: reading is not all, answers take time too. */
const WORK_PER_RECORD = 2;
/** What it costs to find a watcher's events and to write a response, in records read. */
const VISIT_WORK = 8;
/** What an event costs that was read for others too. */
const HIT_WORK = 0.25;
/** What a sent byte costs: it is copied a few times. */
const BYTE_WORK = 1 / 1024;

export class CatchUp {
  readonly #watchers: Watchers;
  readonly #outlet: Outlet;
  readonly #window = new Changes();
  #windowFrom = 0;
  #windowTo = 0;
  // The events of the watcher being served, with their revisions; and whose they are, for the next one like it.
  readonly #events: Uint8Array[] = [];
  readonly #mains: number[] = [];
  readonly #found: number[] = [];
  #collectedFor: Interest | undefined;
  #collectedFrom = 0;

  constructor(watchers: Watchers, outlet: Outlet) {
    this.#watchers = watchers;
    this.#outlet = outlet;
  }

  /** Forgets what it has read. */
  restart(): void {
    this.#window.clear();
    this.#windowFrom = 0;
    this.#windowTo = 0;
    this.#forgetCollected();
  }

  /** One slice: reads up to `recordsMax` records, more only to complete a revision. True: more can be done at once. */
  step(mvcc: Mvcc, recordsMax: number): boolean {
    const { ready } = this.#watchers;
    const workMax = recordsMax * WORK_PER_RECORD;
    let work = 0;
    let scanned = false;
    for (; work < workMax; work += VISIT_WORK) {
      const stream = ready.first;
      if (stream === undefined) break;
      const watcher = stream.behind.first!;
      if (stream.credit <= 0) {
        // Live events or answers have used it up.
        this.#watchers.settle(stream);
        continue;
      }
      const creditBefore = stream.credit;
      if (watcher.next > mvcc.currentRevision) {
        this.#watchers.join(watcher);
      } else if (watcher.next < mvcc.compactRevision) {
        this.#watchers.overtaken(watcher);
        const { compactRevision } = mvcc;
        this.#outlet.answer(stream, 0, { watchId: watcher.id, canceled: true, compactRevision });
      } else if (watcher.interest.to === undefined) {
        work += this.#readKey(mvcc, watcher, recordsMax);
      } else if (this.#inWindow(watcher) || !scanned) {
        if (!this.#inWindow(watcher)) {
          this.#scan(mvcc, watcher.next, recordsMax);
          scanned = true;
          work += this.#window.length;
        }
        work += this.#readWindow(mvcc, watcher, watcher.interest.to) * HIT_WORK;
      }
      work += (creditBefore - stream.credit) * BYTE_WORK;
      if (watcher.queue !== undefined) watcher.queue.rotate(watcher);
      if (stream.queue !== undefined) stream.queue.rotate(stream);
    }
    if (ready.size === 0) this.restart();
    return ready.size > 0;
  }

  #inWindow({ next }: Watcher): boolean {
    return next >= this.#windowFrom && next < this.#windowTo;
  }

  /** Fills the window from revision `from` on, with whole revisions. */
  #scan(mvcc: Mvcc, from: number, recordsMax: number): void {
    this.restart();
    this.#windowFrom = from;
    this.#windowTo = mvcc.currentRevision + 1;
    const { mains } = this.#window;
    let bytes = 0;
    mvcc.storage.scanRecords({ main: from, sub: 0 }, (main, _sub, tombstone, record) => {
      const full = mains.length >= recordsMax || bytes >= this.#outlet.bytesAimed;
      if (full && main !== mains[mains.length - 1]) {
        this.#windowTo = main;
        return false;
      }
      bytes += record.length;
      this.#window.push(main, tombstone, copyRecord(record));
      return true;
    });
  }

  /** Serves a range watcher from the window; returns how many events it found. */
  #readWindow(mvcc: Mvcc, watcher: Watcher, to: Uint8Array | null): number {
    const { interest, next } = watcher;
    let found = 0;
    if (this.#collectedFor !== interest || this.#collectedFrom !== next) {
      this.#forgetCollected();
      const window = this.#window;
      window.select(interest.key, to, window.positionOf(next), this.#found);
      for (const at of this.#found) {
        if (!interest.wants(window.tombstones[at]!)) continue;
        this.#events.push(window.event(at, interest.prevKv, mvcc));
        this.#mains.push(window.mains[at]!);
      }
      this.#collectedFor = interest;
      this.#collectedFrom = next;
      found = this.#found.length;
    }
    this.#send(mvcc, watcher, this.#windowTo);
    return found;
  }

  /** Serves a watcher of one key from the index; returns how many revisions it looked at. */
  #readKey(mvcc: Mvcc, watcher: Watcher, recordsMax: number): number {
    this.#forgetCollected();
    const { interest, next } = watcher;
    const { table } = mvcc.index;
    const slot = mvcc.index.find(interest.key);
    const start = slot === -1 ? 0 : table.positionAt(slot, next - 1) + 1;
    const count = slot === -1 ? 0 : table.count(slot);
    const revisionsMax = Math.min(recordsMax, REVISIONS_MAX);
    let at = start;
    let bytes = 0;
    for (; at < count; at += 1) {
      const full = at - start >= revisionsMax || bytes >= this.#outlet.bytesAimed;
      if (full && table.mainAt(slot, at) !== table.mainAt(slot, at - 1)) break;
      bytes += this.#readRevision(mvcc, interest, slot, at);
    }
    this.#send(mvcc, watcher, at < count ? table.mainAt(slot, at) : mvcc.currentRevision + 1);
    return at - start;
  }

  /** Collects one revision of a key; returns the size of its event, 0 if the watcher does not want it. */
  #readRevision(mvcc: Mvcc, interest: Interest, slot: number, at: number): number {
    const { table } = mvcc.index;
    const tombstone = table.tombstoneAt(slot, at);
    if (!interest.wants(tombstone)) return 0;
    const main = table.mainAt(slot, at);
    const record = tombstone ? interest.key : mvcc.storage.getRecord(main, table.subAt(slot, at));
    if (record === undefined) {
      // Of a revision that is compacted to, only a key's last change in it is kept.
      assert(main === mvcc.compactRevision, 'an indexed revision has a record', { main });
      return 0;
    }
    const event = encodeEvent(mvcc, interest.key, main, tombstone, record, interest.prevKv);
    this.#events.push(event);
    this.#mains.push(main);
    return event.length;
  }

  /** Sends what was collected, as far as the credit goes. All of it: the watcher has everything below `end`. */
  #send(mvcc: Mvcc, watcher: Watcher, end: number): void {
    const { stream } = watcher;
    assert(end > watcher.next, 'a visit leads further', { end, next: watcher.next });
    let from = 0;
    while (from < this.#events.length) {
      if (stream.credit <= 0) {
        advance(watcher, this.#mains[from]!);
        this.#watchers.settle(stream);
        return;
      }
      const to = this.#outlet.responseEnd(this.#mains, this.#events, from);
      this.#outlet.events(watcher, mvcc.currentRevision, this.#events, from, to);
      watcher.active = true;
      from = to;
    }
    advance(watcher, end);
    if (end > mvcc.currentRevision) this.#watchers.join(watcher);
    this.#watchers.settle(stream);
  }

  #forgetCollected(): void {
    this.#events.length = 0;
    this.#mains.length = 0;
    this.#collectedFor = undefined;
  }
}
