/**
 * What watchers may be sent, said as plainly as possible: the whole history in a list, and a place in it for each
 * watcher. Every response is checked as it arrives, against W1-W12.
 */
import assert from 'node:assert/strict';
import type { WatchResponse } from './support.js';
import { text } from './support.js';

export interface ModelChange {
  readonly main: number;
  readonly key: string;
  /** Undefined: deleted. */
  readonly value: string | undefined;
  readonly version: number;
  readonly createRevision: number;
  readonly former: ModelChange | undefined;
}

export interface ModelWatcher {
  readonly streamId: number;
  readonly id: bigint;
  readonly from: string;
  /** Undefined: the key alone; '': everything from it on. */
  readonly to: string | undefined;
  readonly noPut: boolean;
  readonly noDelete: boolean;
  readonly prevKv: boolean;
  readonly fragment: boolean;
  readonly start: number;
  readonly firstMain: number;
  created: boolean;
  cancelled: boolean;
  /** Position in the history of the next change to look at. */
  at: number;
  lastMain: number;
  /** The last response was a fragment that others follow. */
  open: boolean;
  progress: number;
}

export class WatchModel {
  readonly history: ModelChange[] = [];
  readonly watchers = new Map<string, ModelWatcher>();
  readonly #newest = new Map<string, ModelChange>();
  current = 1;
  compacted = -1;
  events = 0;
  cancellations = 0;
  progresses = 0;

  liveKeys(from: string, to: string | undefined): string[] {
    const keys = [...this.#newest.values()].filter(
      change => change.value !== undefined && within(change.key, from, to),
    );
    return keys.map(({ key }) => key).sort();
  }

  change(main: number, key: string, value: string | undefined): void {
    const former = this.#newest.get(key);
    const live = former !== undefined && former.value !== undefined ? former : undefined;
    const version = value === undefined ? 0 : (live?.version ?? 0) + 1;
    const change = { main, key, value, version, createRevision: live?.createRevision ?? main, former: live };
    this.#newest.set(key, change);
    this.history.push(change);
    this.current = main;
  }

  create(watcher: Omit<ModelWatcher, 'firstMain' | 'created' | 'cancelled' | 'at' | 'lastMain' | 'open' | 'progress'>) {
    const firstMain = watcher.start === 0 ? this.current + 1 : watcher.start;
    const rest = { firstMain, created: false, cancelled: false, at: 0, lastMain: 0, open: false, progress: 0 };
    this.watchers.set(`${watcher.streamId}/${watcher.id}`, { ...watcher, ...rest });
  }

  of(streamId: number): ModelWatcher[] {
    return [...this.watchers.values()].filter(watcher => watcher.streamId === streamId);
  }

  /** The next change that the watcher must be sent, or undefined. */
  next(watcher: ModelWatcher): ModelChange | undefined {
    for (; watcher.at < this.history.length; watcher.at += 1) {
      const change = this.history[watcher.at]!;
      if (change.main < watcher.firstMain || !within(change.key, watcher.from, watcher.to)) continue;
      if (change.value === undefined ? watcher.noDelete : watcher.noPut) continue;
      return change;
    }
    return undefined;
  }

  check(streamId: number, response: WatchResponse): void {
    const revision = Number(response.header!.revision);
    if (response.watch_id === -1n) {
      if (response.created) return;
      assert.equal(revision, this.current);
      const watchers = this.of(streamId);
      assert.ok(watchers.length > 0, 'progress of somebody');
      for (const watcher of watchers) this.#checkProgress(watcher, revision);
      return;
    }
    const watcher = this.watchers.get(`${streamId}/${response.watch_id}`);
    assert.ok(watcher !== undefined, 'W10: a response to somebody who exists');
    assert.ok(
      !watcher.cancelled || (response.canceled && response.compact_revision === 0n),
      'W10: nothing after the end',
    );
    if (response.created) {
      assert.ok(!watcher.created && revision === this.current && response.events.length === 0);
      watcher.created = true;
      return;
    }
    assert.ok(watcher.created, 'W10: created comes first');
    if (response.canceled) this.#checkCancel(watcher, response);
    else if (response.events.length === 0) this.#checkProgress(watcher, revision);
    else this.#checkEvents(watcher, response, revision);
  }

  /** Whether the watcher has everything. */
  complete(watcher: ModelWatcher): boolean {
    return this.next(watcher) === undefined;
  }

  #checkCancel(watcher: ModelWatcher, response: WatchResponse): void {
    if (response.compact_revision === 0n) {
      this.watchers.delete(`${watcher.streamId}/${watcher.id}`);
      return;
    }
    this.cancellations += 1;
    assert.equal(Number(response.compact_revision), this.compacted);
    assert.equal(response.header!.revision, 0n);
    const next = Math.max(watcher.firstMain, watcher.lastMain + 1);
    assert.ok(next < this.compacted, 'W5: cancelled only by a compaction of what it may lack');
    watcher.cancelled = true;
  }

  #checkProgress(watcher: ModelWatcher, revision: number): void {
    this.progresses += 1;
    assert.ok(watcher.created && !watcher.cancelled && !watcher.open, 'progress of a watcher that goes on');
    assert.equal(this.next(watcher), undefined, 'W6: all events come before the progress');
    assert.ok(revision >= watcher.progress && revision >= watcher.lastMain && revision >= watcher.start, 'W6, W12');
    watcher.progress = revision;
  }

  #checkEvents(watcher: ModelWatcher, response: WatchResponse, revision: number): void {
    assert.ok(
      watcher.open || Number(response.events[0]!.kv!.mod_revision) > watcher.lastMain,
      'W3: revisions are whole',
    );
    for (const event of response.events) {
      const change = this.next(watcher);
      assert.ok(change !== undefined, 'W4: nothing extra');
      assert.ok(change.main >= watcher.lastMain && change.main > watcher.progress, 'W1, W6');
      assert.deepEqual(
        facts(event.kv!, event.type),
        expectedFacts(change),
        'W2, W4, W5, W9, W11: the very next change',
      );
      this.#checkPrevious(watcher, change, event.prev_kv);
      watcher.at += 1;
      watcher.lastMain = change.main;
      this.events += 1;
    }
    assert.ok(revision >= watcher.lastMain && revision <= this.current);
    watcher.open = response.fragment;
    if (response.fragment) assert.ok(watcher.fragment, 'only who asked gets fragments');
    else assert.notEqual(this.next(watcher)?.main, watcher.lastMain, 'W3: revisions are whole');
  }

  #checkPrevious(
    watcher: ModelWatcher,
    { main, former }: ModelChange,
    found: WatchResponse['events'][0]['prev_kv'],
  ): void {
    if (!watcher.prevKv || former === undefined) {
      assert.equal(found, undefined);
    } else if (found === undefined) {
      assert.ok(main - 1 < this.compacted, 'W8: prev_kv is there unless it is compacted');
    } else {
      assert.deepEqual(facts(found, 0), expectedFacts(former), 'W8');
    }
  }
}

type KeyValue = NonNullable<WatchResponse['events'][0]['kv']>;

function facts(kv: KeyValue, type: number): unknown[] {
  return [type, text(kv.key), text(kv.value), ...[kv.mod_revision, kv.create_revision, kv.version].map(Number)];
}

function expectedFacts({ key, value, main, createRevision, version }: ModelChange): unknown[] {
  return value === undefined ? [1, key, '', main, 0, 0] : [0, key, value, main, createRevision, version];
}

function within(key: string, from: string, to: string | undefined): boolean {
  if (to === undefined) return key === from;
  return key >= from && (to === '' || key < to);
}
