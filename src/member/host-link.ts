/**
 * A member's end of its rings with the host: requests in, answers and notices out. Answers are never dropped.
 */
import { EMPTY_BYTES } from '../base/bytes.js';
import type { MemberBoot } from '../transport/control.js';
import { Doorbell } from '../transport/doorbell.js';
import { ControlNotice, EnvelopeKind } from '../transport/envelope.js';
import { FanOutTargets } from '../transport/fan-out.js';
import { type MessageHandler, Receiver } from '../transport/receiver.js';
import { Sender } from '../transport/sender.js';
import type { EtcdErrorCode } from '../wire/errors.js';
import { ProtoWriter } from '../wire/proto.js';
import { bytesPerTurn, recordsPerTurn } from './turn-limits.js';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Keeps a record of fanned out events well below the ring's size. */
const targetsPerRecord = 4_096;

const fieldWriter = new ProtoWriter(64);

/** WatchResponse.watch_id; id 0 is left out, as always in proto3. */
function watchIdField(watchId: bigint): Uint8Array {
  const known = watchId >= 0n && watchId < knownFieldsMax;
  const field = known ? knownFields[Number(watchId)] : undefined;
  if (field !== undefined) return field;
  fieldWriter.reset().bigint64Field(2, watchId);
  const encoded = fieldWriter.finish();
  if (known) knownFields[Number(watchId)] = encoded;
  return encoded;
}

/** Ids that servers choose are small, and every event needs one for every watcher. */
const knownFieldsMax = 4_096n;
const knownFields: Uint8Array[] = [];

export class HostLink {
  readonly #targets = new FanOutTargets();
  readonly #sender: Sender;
  readonly #receiver: Receiver;

  constructor(boot: MemberBoot) {
    const doorbell = new Doorbell(boot.hostDoorbell);
    this.#sender = new Sender({ link: boot.toHost, incarnation: boot.incarnation, doorbell });
    this.#receiver = new Receiver({ link: boot.fromHost, incarnation: boot.incarnation, doorbell });
  }

  /** Takes what a turn may take (turn-limits.ts); true: there may be more. */
  drain(handler: MessageHandler): boolean {
    this.#receiver.drain(handler, recordsPerTurn, 0, bytesPerTurn);
    return this.#receiver.more;
  }

  /** Answers a unary request: the response message, status OK. The bytes are copied. */
  reply(requestId: number, message: Uint8Array): void {
    this.#sender.send(EnvelopeKind.Reply, 0, requestId, message);
  }

  /** One message of a stream. The bytes are copied. */
  message(streamId: number, message: Uint8Array): void {
    this.#sender.send(EnvelopeKind.Message, 0, streamId, message);
  }

  /** One WatchResponse without its watch_id for many watchers. Everything is copied. */
  fanOut(streamIds: readonly number[], watchIds: readonly bigint[], body: Uint8Array): void {
    for (let from = 0; from < streamIds.length; from += targetsPerRecord) {
      const to = Math.min(from + targetsPerRecord, streamIds.length);
      this.#targets.reset();
      for (let at = from; at < to; at += 1) {
        this.#targets.add(streamIds[at] as number, watchIdField(watchIds[at] as bigint));
      }
      this.#sender.send(EnvelopeKind.FanOut, 0, 0, body, this.#targets.finish());
    }
  }

  /** Ends a stream in order. */
  endStream(streamId: number): void {
    this.#sender.send(EnvelopeKind.End, 0, streamId, EMPTY_BYTES);
  }

  /** Ends a request with an error of the table. */
  end(requestId: number, code: EtcdErrorCode, detail = ''): void {
    this.#sender.send(EnvelopeKind.End, code, requestId, detail === '' ? EMPTY_BYTES : Buffer.from(detail, 'utf8'));
  }

  /** This start of the member knows a leader and the cluster knows its attributes. */
  ready(): void {
    this.#sender.send(EnvelopeKind.Ready, 0, 0, EMPTY_BYTES);
  }

  /** What gRPC health is to say of this member. */
  serving(isServing: boolean): void {
    this.#sender.send(EnvelopeKind.Control, ControlNotice.Serving, isServing ? 1 : 0, EMPTY_BYTES);
  }

  /** The member table as of an applied index; `list` is a MemberListResponse. */
  members(appliedIndex: number, list: Uint8Array): void {
    const prefix = new Uint8Array(Float64Array.of(appliedIndex).buffer);
    this.#sender.send(EnvelopeKind.Control, ControlNotice.Members, 0, list, prefix);
  }

  /** A log record; ids go as hex strings, as etcd prints them. */
  log(level: LogLevel, msg: string, fields: Record<string, string | number | boolean> = {}): void {
    const record = Buffer.from(JSON.stringify({ level, msg, ...fields }), 'utf8');
    this.#sender.send(EnvelopeKind.Control, ControlNotice.Log, 0, record);
  }

  /** Bytes that wait for room in the ring. */
  get backlogBytes(): number {
    return this.#sender.backlogBytes;
  }

  /** Bytes that the host has not taken: those in the ring, and those that wait for room. */
  get untakenBytes(): number {
    return this.#sender.untakenBytes;
  }

  /** The host's next drain wakes this thread. */
  ringWhenTaken(): void {
    this.#sender.ringWhenTaken();
  }

  flush(): void {
    this.#sender.flush();
  }
}
