/**
 * The state of this member on its way to snapshot files: streams of frames to the host, which has them encoded in
 * another thread.
 *
 *     open: commit, hold a view, send the head  ->  a frame at a time while there is credit  ->  end
 *
 * A view is of one moment, and the store's writes go on beside it. It is held as long as the frames are taken as fast as
 * the encoder can, never as long as a slow client reads. A frame takes about a millisecond to make: a turn makes few.
 *
 * Invariants: every view is released: at the end, with its stream, and before the store it is of is closed.
 */
import { Histogram } from '../transport/metric-cells.js';
import { messageOverheadBytes, streamCreditBytes } from '../transport/stream-credit.js';
import { encodeStateHead } from '../transport/tasks.js';
import { EtcdErrorCode } from '../wire/errors.js';
import type { HostLink } from './host-link.js';
import { exportState, type OpenMember } from './open.js';
import type { StateExporter } from './transfer/exporter.js';

const framesPerTurn = 2;

/** What a file says where the cluster has not agreed on a version yet. */
const storageVersionDefault = '3.6.0';

interface Outgoing {
  readonly startedMs: number;
  readonly exporter: StateExporter;
  creditBytes: number;
}

export class SnapshotStreams {
  readonly #host: HostLink;
  readonly #open: OpenMember;
  readonly #ended: (streamId: number, error: EtcdErrorCode | undefined) => void;
  readonly #outgoing = new Map<number, Outgoing>();

  /** `ended`: a stream is over, in order or with an error. */
  constructor(host: HostLink, open: OpenMember, ended: (streamId: number, error: EtcdErrorCode | undefined) => void) {
    this.#host = host;
    this.#open = open;
    this.#ended = ended;
  }

  open(streamId: number): void {
    const { exporter, metadata } = exportState(this.#open);
    const { voters, learners } = metadata.confState;
    const storageVersion = this.#open.state.members.clusterVersion ?? storageVersionDefault;
    const { appliedIndex, appliedTerm } = exporter;
    this.#host.log('info', 'sending database snapshot to client', { 'snapshot-index': appliedIndex });
    this.#host.message(streamId, encodeStateHead({ appliedIndex, appliedTerm, voters, learners, storageVersion }));
    this.#outgoing.set(streamId, { exporter, creditBytes: streamCreditBytes, startedMs: performance.now() });
  }

  credit(streamId: number, bytes: number): void {
    const outgoing = this.#outgoing.get(streamId);
    if (outgoing !== undefined) outgoing.creditBytes += bytes;
  }

  /** Nothing happens when it is not one of these. */
  close(streamId: number): void {
    this.#outgoing.get(streamId)?.exporter.close();
    this.#outgoing.delete(streamId);
  }

  /** Sends a few frames. Returns whether more can be sent at once. */
  pump(): boolean {
    for (let frame = 0; frame < framesPerTurn; frame += 1) {
      const next = this.#next();
      if (next === undefined) return false;
      this.#send(...next);
    }
    return this.#next() !== undefined;
  }

  /** The store is about to be closed or replaced: what was not sent of it is lost to its streams. */
  abandon(): void {
    for (const streamId of [...this.#outgoing.keys()]) {
      this.close(streamId);
      this.#ended(streamId, EtcdErrorCode.Stopped);
    }
  }

  #next(): [number, Outgoing] | undefined {
    for (const entry of this.#outgoing) if (entry[1].creditBytes > 0) return entry;
    return undefined;
  }

  #send(streamId: number, outgoing: Outgoing): void {
    const frame = outgoing.exporter.next();
    // The next turn is another's, where several are sent.
    this.#outgoing.delete(streamId);
    if (frame === undefined) {
      outgoing.exporter.close();
      this.#open.cells.observe(Histogram.backendSnapshot, (performance.now() - outgoing.startedMs) / 1_000);
      this.#ended(streamId, undefined);
      return;
    }
    this.#outgoing.set(streamId, outgoing);
    outgoing.creditBytes -= frame.length + messageOverheadBytes;
    this.#host.message(streamId, frame);
  }
}
