/**
 * The loop of a member thread, and the only place where it sleeps or asks what time it is (metrics.ts measures how long
 * things take).
 *
 * Between turns the thread waits on its doorbell, at most until the next tick. Time reaches the member as the turn's
 * argument, always monotonic: nothing here looks at the wall clock.
 *
 * Ticks are never made up for: a thread that was held up (a long commit, a paused process) ticks once and goes on.
 * A burst of ticks would let a resumed follower depose a leader that is well.
 */
import { setImmediate as nextRound } from 'node:timers/promises';
import type { Doorbell } from '../transport/doorbell.js';

/** Hears how the loop does. */
export interface LoopObserver {
  /** A turn is over; both of the turns' clock. */
  turned(startedMs: number, endedMs: number): void;
  /** The thread slept, and was woken so long after its bell was rung. */
  woke(latencyMs: number): void;
}

export interface Turning {
  /** One turn; `ticked` is true when a heartbeat interval has passed. Returns how long it may rest, in ms. */
  turn(nowMs: number, ticked: boolean): number;
  /** Set when the loop is to end: after the current turn, nothing of it is undone. */
  readonly ending: boolean;
  readonly metrics: LoopObserver;
}

/** Control verbs come by message port: under constant load the event loop gets its turn this often. */
const portEveryMs = 5;

/** Turns until the member ends. Rejects when a turn throws: the thread must then end without touching its store. */
export async function park(member: Turning, doorbell: Doorbell, tickMs: number): Promise<void> {
  let nowMs = performance.now();
  let tickedMs = nowMs;
  let portMs = nowMs;
  while (!member.ending) {
    nowMs = performance.now();
    const ticked = nowMs - tickedMs >= tickMs;
    if (ticked) tickedMs = nowMs;
    const restMs = member.turn(nowMs, ticked);
    if (member.ending) return;
    const endedMs = performance.now();
    member.metrics.turned(nowMs, endedMs);
    const untilTickMs = Math.max(0, tickedMs + tickMs - endedMs);
    const sleep = restMs > 0 ? doorbell.wait(Math.min(restMs, untilTickMs)) : undefined;
    if (sleep !== undefined) {
      await sleep;
      const latencyMs = doorbell.takeLatencyMs();
      if (latencyMs !== undefined) member.metrics.woke(latencyMs);
      portMs = performance.now();
    } else if (performance.now() - portMs >= portEveryMs) {
      await nextRound();
      portMs = performance.now();
    }
  }
}
