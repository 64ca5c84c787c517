/**
 * Snapshots of a running member: its state goes from its thread through this one to a task thread, which encodes it.
 *
 *     member --frames, as far as there is credit--> here --as they come--> task --taken--> here --credit--> member
 *
 * The file is made before anybody reads it: its first bytes are known last, and a slow reader then holds back a file
 * instead of the member's old pages. Only its digest, which takes a second look, is made while the rest is sent. A
 * snapshot that is sent is made in a file without a name, which is gone with its descriptor, also when the process is
 * killed; one that is kept appears under its name whole or not at all.
 */
import { closeSync, openSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { streamCreditBytes } from '../transport/stream-credit.js';
import {
  decodeStateHead,
  type EncodedSnapshot,
  type EncodeFeed,
  type EncodeTaken,
  type EncodeTarget,
  type EncodeTask,
} from '../transport/tasks.js';
import { type EtcdErrorCode, etcdError } from '../wire/errors.js';
import { Method } from '../wire/methods.js';
import { type Asker, serverAsks } from './member-call.js';
import type { MemberPort, StreamWaiter } from './member-port.js';
import { runTask } from './tasks.js';

/** The member sends this much more ahead of the encoder: neither waits for the other's round. */
const furtherAheadBytes = 3 * streamCreditBytes;

/** The member ended its stream with an error of the table. */
export class SnapshotFailure extends Error {
  readonly code: EtcdErrorCode;

  constructor(code: EtcdErrorCode, detail: string) {
    super(etcdError(code, detail).message);
    this.code = code;
  }
}

/** What was written: bytes of the file with its digest, records, and the revision it is as of. */
export type SavedSnapshot = EncodedSnapshot;

interface Encoded extends EncodedSnapshot {
  /** The release whose form the file has, e.g. `3.6.0`. */
  readonly version: string;
}

export interface Spooled extends Encoded {
  /** Of the file, which has no name any more. Everything is in it but the digest at its end. */
  readonly descriptor: number;
  /** Resolves when the digest is there, too; rejects as spoolSnapshot does. */
  readonly whole: Promise<unknown>;
  /** The reader is done with the file. */
  close(): void;
}

/**
 * A snapshot to be read once, as of now, for `asker`. Rejects with SnapshotFailure, StartError, the system's error, or
 * the signal's reason.
 */
export async function spoolSnapshot(port: MemberPort, asker: Asker, signal: AbortSignal): Promise<Spooled> {
  const path = join(port.directory, 'snapshot.spool');
  // One step: nobody else in this process comes between, and nobody else uses the directory.
  const descriptor = openSync(path, 'w+', 0o600);
  unlinkSync(path);
  return new Promise((resolve, reject) => {
    let spooled = false;
    const written = (encoded: Encoded): void => {
      spooled = true;
      // While the task reads, the descriptor must not become another file's.
      const close = (): void => void whole.catch(() => {}).then(() => closeSync(descriptor));
      resolve({ ...encoded, descriptor, whole, close });
    };
    const whole = encodeState(port, asker, { descriptor }, signal, written);
    // The task may be over before its word that the file is written has come.
    whole.then(written, error => {
      if (!spooled) closeSync(descriptor);
      reject(error);
    });
  });
}

/** A snapshot under a name, read again and found whole before it appears there. Rejects as spoolSnapshot does. */
export function saveSnapshot(port: MemberPort, path: string, signal?: AbortSignal): Promise<SavedSnapshot> {
  return encodeState(port, serverAsks, { path }, signal);
}

async function encodeState(
  port: MemberPort,
  asker: Asker,
  target: EncodeTarget,
  signal: AbortSignal | undefined,
  written: (encoded: Encoded) => void = () => {},
): Promise<Encoded> {
  signal?.throwIfAborted();
  const channel = new MessageChannel();
  const feed = new StateFeed(port, asker, channel.port1, encoded => written({ ...encoded, version: feed.version }));
  const onAbort = (): void => feed.giveUp(signal?.reason as Error);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    const task: EncodeTask = { target, port: channel.port2 };
    const encoded = await runTask('encodeSnapshot', task);
    return { ...encoded, version: feed.version };
  } catch (error) {
    feed.giveUp(error as Error);
    // Where the member or the caller gave up first, the task's own words say less.
    throw feed.failure as Error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    channel.port1.close();
  }
}

/** The member's stream on its way to the task. It begins when the task does: a view is not held by what waits. */
class StateFeed implements StreamWaiter {
  version = '';
  /** Why it ended early. */
  failure: Error | undefined;
  readonly #port: MemberPort;
  readonly #asker: Asker;
  readonly #feed: MessagePort;
  #streamId = -1;
  #state: 'waiting' | 'head' | 'frames' | 'over' = 'waiting';

  constructor(port: MemberPort, asker: Asker, feed: MessagePort, written: (encoded: EncodedSnapshot) => void) {
    this.#port = port;
    this.#asker = asker;
    this.#feed = feed;
    feed.on('message', (taken: EncodeTaken | EncodedSnapshot) => {
      if (typeof taken !== 'number') written(taken);
      else if (this.#state === 'waiting') this.#open();
      else if (this.#state !== 'over' && taken > 0) port.credit(this.#streamId, taken);
    });
  }

  received(message: Uint8Array): void {
    if (this.#state === 'over') return;
    if (this.#state === 'head') {
      this.version = decodeStateHead(message).storageVersion;
      this.#state = 'frames';
    }
    // Its own memory: that of a message may be the ring's, or shared with others.
    const copy = message.slice();
    this.#post(copy, [copy.buffer]);
  }

  ended(code: EtcdErrorCode | 0, detail: string): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    if (code !== 0) this.failure = new SnapshotFailure(code, detail);
    this.#post(code === 0 ? 'end' : 'abort');
  }

  /** Nothing happens when it is over. */
  giveUp(reason: Error): void {
    this.failure ??= reason;
    if (this.#state === 'over') return;
    this.#state = 'over';
    if (this.#streamId !== -1) this.#port.cancel(this.#streamId);
    this.#post('abort');
  }

  #open(): void {
    this.#state = 'head';
    const { caller, ofServer } = this.#asker;
    this.#streamId = this.#port.openStream(Method.Snapshot, false, this, caller, ofServer);
    this.#port.credit(this.#streamId, furtherAheadBytes);
  }

  #post(feed: EncodeFeed, given: ArrayBuffer[] = []): void {
    this.#feed.postMessage(feed, given);
  }
}
