/**
 * Seeded random lives of watchers against the naive model: changes, compactions in slices, watchers of all kinds that
 * come and go, clients that read slowly or not at all, replaced stores. KVORUM_WATCH_LIVES says how many.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../../src/base/prng.js';
import { streamCreditBytes } from '../../../src/transport/stream-credit.js';
import { bytesOf, fromKey, WatchSubject } from './support.js';
import { WatchModel } from './watch-model.js';

const lives = Number(process.env.KVORUM_WATCH_LIVES ?? 150);
const operations = 250;
const streams = [1, 2, 3, 4];
const keys = ['a', 'b', 'ba', 'c', 'd', 'e\xff'];
const valueBytesMax = 60_000;

class Life {
  readonly #prng: Prng;
  readonly model = new WatchModel();
  readonly subject: WatchSubject;
  /** How probable it is that a client reads, of 100; streams differ. */
  readonly #eagerness: readonly number[];
  #value = 0;
  refused = 0;

  constructor(seed: number) {
    this.#prng = new Prng(seed);
    this.subject = new WatchSubject({
      progressNotifyIntervalMs: 1_000,
      responseBytesMax: [100_000, 400_000, 2 << 20][this.#below(3)]!,
      observe: (streamId, response) => {
        if (response.created && response.canceled) this.refused += 1;
        this.model.check(streamId, response);
      },
    });
    this.#eagerness = streams.map(() => [100, 30, 5, 1][this.#below(4)]!);
    this.subject.open(...streams);
  }

  step(): void {
    const dice = this.#below(100);
    if (dice < 35) this.#change();
    else if (dice < 38) this.#compact();
    else if (dice < 46) this.#create();
    else if (dice < 49) this.#cancel();
    else if (dice < 53) this.subject.progress(this.#stream());
    else if (dice < 54) this.#reopen();
    else if (dice < 55) this.#replace();
    else if (dice < 70) this.subject.hub.deliver();
    else if (dice < 85) this.#advance();
    else this.subject.background.step(1 + this.#below(4));
    this.#read();
  }

  /** Every client reads everything: whoever was not cancelled has all, and all of a stream's progress is answered. */
  finish(): void {
    for (let former = -1; former !== this.subject.sent; ) {
      former = this.subject.sent;
      for (const streamId of streams) this.subject.take(streamId);
      this.subject.settle(1 + this.#below(50));
    }
    for (const watcher of this.model.watchers.values()) {
      assert.ok(watcher.created);
      assert.ok(watcher.cancelled || this.model.complete(watcher), `${watcher.streamId}/${watcher.id} has everything`);
    }
    for (const streamId of streams) {
      const watchers = this.model.of(streamId);
      const current = this.model.current;
      const ready = watchers.length > 0 && watchers.every(({ cancelled, start }) => !cancelled && start <= current);
      const former = this.subject.sent;
      this.subject.progress(streamId);
      assert.equal(this.subject.sent - former, ready ? 1 : 0, 'progress is answered when everything is sent');
    }
  }

  #below(bound: number): number {
    return this.#prng.nextBelow(bound);
  }

  #stream(): number {
    return streams[this.#below(streams.length)]!;
  }

  #key(): string {
    return keys[this.#below(keys.length)]!;
  }

  /** One revision of one or several changes, or none when there is nothing to delete. */
  #change(): void {
    const main = this.model.current + 1;
    const used = new Set<string>();
    const changes: (() => void)[] = [];
    for (let count = this.#below(4) === 0 ? 4 : 1; count > 0; count -= 1) {
      const key = this.#key();
      if (used.has(key)) continue;
      used.add(key);
      if (this.#below(4) === 0) {
        const deleted = this.model.liveKeys(key, undefined);
        changes.push(() => void this.subject.mvcc.deleteRange(bytesOf(key), undefined));
        for (const one of deleted) this.model.change(main, one, undefined);
      } else {
        this.#value += 1;
        const value = `${this.#value}`.padEnd(this.#below(3) === 0 ? this.#below(valueBytesMax) : 0, '.');
        changes.push(() => this.subject.mvcc.put(bytesOf(key), bytesOf(value), 0n));
        this.model.change(main, key, value);
      }
    }
    this.subject.write(() => {
      for (const change of changes) change();
    });
    assert.equal(this.subject.mvcc.currentRevision, this.model.current);
  }

  #compact(): void {
    const { current, compacted } = this.model;
    const revision = Math.max(compacted + 1, current - this.#below(8));
    if (revision > current) return;
    this.subject.compact(revision, this.#below(2) === 0);
    this.model.compacted = revision;
  }

  #create(): void {
    const streamId = this.#stream();
    const from = this.#key();
    const kind = this.#below(4);
    const to = kind === 0 ? '' : kind === 1 ? `${from[0]}\xff` : kind === 2 ? this.#key() : undefined;
    const starts = [0, 0, this.model.current - this.#below(20), this.model.current + this.#below(12)];
    const start = Math.max(0, starts[this.#below(4)]!);
    const wanted = this.#below(4) === 0 ? BigInt(this.#below(12)) : 0n;
    const filters = [[], [], [], [0], [1], [0, 1]][this.#below(6)]!;
    const [prevKv, fragment, progressNotify] = [this.#below(2) === 0, this.#below(4) === 0, this.#below(3) === 0];
    const taken = wanted !== 0n && this.model.watchers.has(`${streamId}/${wanted}`);
    const refused = taken || (to !== undefined && to !== '' && from >= to);
    const former = this.refused;
    const id = wanted === 0n ? this.#automaticId(streamId, refused) : wanted;
    if (!refused) {
      const noPut = filters.includes(0);
      this.model.create({ streamId, id, from, to, noPut, noDelete: filters.includes(1), prevKv, fragment, start });
    }
    this.subject.create(streamId, from, {
      range_end: to === undefined ? new Uint8Array(0) : to === '' ? fromKey : bytesOf(to),
      start_revision: start,
      watch_id: wanted,
      filters,
      prev_kv: prevKv,
      fragment,
      progress_notify: progressNotify,
    });
    assert.equal(this.refused - former, refused ? 1 : 0);
    if (!refused) assert.ok(this.model.watchers.get(`${streamId}/${id}`)!.created, 'answered at once');
  }

  readonly #nextIds = new Map<number, bigint>();

  #automaticId(streamId: number, refused: boolean): bigint {
    let id = this.#nextIds.get(streamId) ?? 0n;
    while (this.model.watchers.has(`${streamId}/${id}`)) id += 1n;
    if (!refused) this.#nextIds.set(streamId, id + 1n);
    return id;
  }

  #cancel(): void {
    const streamId = this.#stream();
    const watchers = this.model.of(streamId);
    const id = watchers.length === 0 ? 3n : watchers[this.#below(watchers.length)]!.id;
    this.subject.cancel(streamId, id);
    assert.ok(!this.model.watchers.has(`${streamId}/${id}`), 'the cancel is answered');
  }

  #reopen(): void {
    const streamId = this.#stream();
    this.subject.hub.close(streamId);
    for (const { id } of this.model.of(streamId)) this.model.watchers.delete(`${streamId}/${id}`);
    this.#nextIds.delete(streamId);
    this.subject.open(streamId);
  }

  #replace(): void {
    this.subject.replace(() => {
      for (let count = this.#below(5); count > 0; count -= 1) this.#change();
      if (this.#below(3) === 0) this.#compact();
    });
  }

  #advance(): void {
    this.subject.nowMs += this.#below(200);
    this.subject.hub.step(this.subject.nowMs, 1 + this.#below(20));
  }

  #read(): void {
    const at = this.#below(streams.length);
    const streamId = streams[at]!;
    const outstanding = this.subject.outstanding.get(streamId)!;
    // One response beyond the credit, and answers.
    assert.ok(outstanding < streamCreditBytes + 6 * valueBytesMax * 5 + 100_000, `V9: ${outstanding} bytes`);
    if (this.#below(100) < this.#eagerness[at]!) this.subject.take(streamId, this.#below(outstanding + 1));
  }
}

test(`${lives} lives of watchers see exactly what the model says`, () => {
  let [events, cancellations, progresses] = [0, 0, 0];
  for (let seed = 1; seed <= lives; seed += 1) {
    const life = new Life(seed);
    let at = 0;
    try {
      for (; at < operations; at += 1) life.step();
      life.finish();
    } catch (error) {
      throw new Error(`seed ${seed}, operation ${at}: ${(error as Error).message}`, { cause: error });
    }
    events += life.model.events;
    cancellations += life.model.cancellations;
    progresses += life.model.progresses;
  }
  assert.ok(
    events > lives * 20 && cancellations > lives && progresses > lives,
    `${events} ${cancellations} ${progresses}`,
  );
});
