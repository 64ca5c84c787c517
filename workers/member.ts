/**
 * Boots one member thread: opens the member from its boot message, runs the loop, obeys the control verbs.
 *
 * An error of the loop ends the thread with that error, store untouched: what is durable is right, what is not is void.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import * as Comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { assert } from '../src/base/assert.js';
import { Member } from '../src/member/member.js';
import { park } from '../src/member/park.js';
import type { MemberBoot, MemberControl } from '../src/transport/control.js';
import { Doorbell } from '../src/transport/doorbell.js';

assert(!isMainThread && parentPort !== null, 'this file is the entry of a worker thread');
const port = parentPort;
const boot = workerData as MemberBoot;
const doorbell = new Doorbell(boot.doorbell);
let member: Member | undefined;

async function run(started: Member): Promise<void> {
  await park(started, doorbell, boot.settings.heartbeatIntervalMs);
  await started.close();
  // The port keeps the thread alive until here; exit also ends a crash, at a turn edge and with nothing committed.
  process.exit(0);
}

/** A throw outside any promise ends the thread and reaches the host as the worker's error. */
function die(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}

const control: MemberControl = {
  async start() {
    try {
      const started = new Member(boot);
      member = started;
      run(started).catch(die);
      return started.report();
    } catch (error) {
      // The host hears why from the rejected call, which must leave first; there is nothing to run.
      setImmediate(() => process.exit(1));
      throw error;
    }
  },
  campaign() {
    member?.campaign();
    doorbell.ring();
  },
  async stop(handOver) {
    member?.end(handOver ? 'hand-over' : 'stop');
    doorbell.ring();
  },
  crash() {
    member?.end('crash');
    doorbell.ring();
  },
};

Comlink.expose(control, nodeEndpoint(port));
