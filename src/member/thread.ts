/**
 * A member thread: opens the member from its boot message, runs the loop, obeys the control verbs.
 *
 * An error of the loop ends the thread with that error, store untouched: what is durable is right, what is not is void.
 */
import { isMainThread, parentPort } from 'node:worker_threads';
import * as Comlink from 'comlink/dist/esm/comlink.mjs';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { assert } from '../base/assert.js';
import type { MemberControl } from '../transport/control.js';
import { Doorbell } from '../transport/doorbell.js';
import { PauseGate } from '../transport/pause-gate.js';
import { Member } from './member.js';
import { park } from './park.js';

/** To be called once, by the entry of a worker thread on whose port the host speaks comlink. */
export function runMemberThread(): void {
  assert(!isMainThread && parentPort !== null, 'this runs in a worker thread');
  let member: Member | undefined;
  let doorbell: Doorbell | undefined;
  const control: MemberControl = {
    async start(boot) {
      try {
        doorbell = new Doorbell(boot.doorbell);
        member = new Member(boot);
        run(member, doorbell, boot.settings.heartbeatIntervalMs).catch(error => die(error, member));
        return member.report();
      } catch (error) {
        // The host hears why from the rejected call, which must leave first; there is nothing to run.
        setImmediate(() => process.exit(1));
        throw error;
      }
    },
    connect(peer) {
      member?.connect(peer);
      doorbell?.ring();
    },
    disconnect(position) {
      member?.disconnect(position);
    },
    campaign() {
      member?.campaign();
      doorbell?.ring();
    },
    async stop(handOver) {
      member?.end(handOver ? 'hand-over' : 'stop');
      doorbell?.ring();
    },
    crash() {
      if (member === undefined) process.exit(0);
      member.end('crash');
      doorbell?.ring();
    },
    pause(gate) {
      new PauseGate(gate).standStill();
    },
  };
  Comlink.expose(control, nodeEndpoint(parentPort));
}

async function run(member: Member, doorbell: Doorbell, tickMs: number): Promise<void> {
  await park(member, doorbell, tickMs);
  await member.close();
  // The port keeps the thread alive until here; exit also ends a crash, at a turn edge and with nothing committed.
  process.exit(0);
}

/** A throw outside any promise ends the thread and reaches the host as the worker's error. */
function die(error: unknown, member: Member | undefined): void {
  member?.lastWords();
  setImmediate(() => {
    throw error;
  });
}
