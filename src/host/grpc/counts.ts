/**
 * What one endpoint's gRPC calls come to: plain numbers, read when somebody scrapes.
 *
 *     call begins -> started -> message* received -> message* sent -> handled, with a code, once
 *
 * A call of a method that the table does not know is not counted, as in etcd. Durations need a clock twice a call, so
 * they are taken only when they are shown (--metrics extensive).
 */
import { Method, type MethodInfo, MethodKind, methodByPath, methods } from '../../wire/methods.js';

/** A path as its calls are counted. */
const slots = methods.reduce((most, { method }) => Math.max(most, method + 1), 0);

/** gRPC status codes, 0 to 16. */
export const codesCount = 17;

/** Client versions that are counted apart; whoever invents more is counted as `unknown`. */
const versionsMax = 32;
const versionLengthMax = 64;

/** Upper bounds of etcd's grpc_server_handling_seconds. */
export const handlingSeconds: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** From 10 us on, each twice the one before. */
export const fineHandlingSeconds: readonly number[] = Array.from({ length: 20 }, (_, at) => 1e-5 * 2 ** at);

/** Counts by bucket, the last one for what is above all bounds; and the sum. */
export interface Durations {
  readonly counts: Float64Array;
  sum: number;
}

/** What is remembered of a call from its beginning to its end. */
export interface CountedMethod {
  /** -1: not counted. */
  readonly slot: number;
  readonly isStream: boolean;
}

const uncounted: CountedMethod = { slot: -1, isStream: true };
const counted = new Map<string, CountedMethod>(methods.map(info => [info.path, describe(info)]));

function describe({ method, kind }: MethodInfo): CountedMethod {
  return { slot: method, isStream: kind !== MethodKind.Unary };
}

/** How calls of a path are counted. */
export function countedMethod(path: string): CountedMethod {
  return (methodByPath(path) && counted.get(path)) ?? uncounted;
}

export class GrpcCounts {
  readonly started = new Float64Array(slots);
  readonly received = new Float64Array(slots);
  readonly sent = new Float64Array(slots);
  /** By slot and code: slot * codesCount + code. */
  readonly handled = new Float64Array(slots * codesCount);
  /** Bytes of messages, without what gRPC puts around them. */
  receivedBytes = 0;
  sentBytes = 0;
  /** Calls by client version: unary ones, streams. */
  readonly requests = new Map<string, [unary: number, stream: number]>();
  /** Promotions of learners that were refused, by the text. */
  readonly promotionFailures = new Map<string, number>();
  /** Watch and keep-alive streams that broke: `send watch`, `receive lease-keepalive`. */
  readonly streamFailures = new Map<string, number>();
  /** By slot; undefined: nobody asked for durations. */
  readonly durations: Map<number, { readonly official: Durations; readonly fine: Durations }> | undefined;

  constructor(extensive = false) {
    this.durations = extensive ? new Map() : undefined;
  }

  /** A call begins; returns what `handled` wants to know: when it was, if that is of interest. */
  begin({ slot, isStream }: CountedMethod, version: string): number {
    if (slot === -1) return 0;
    this.started[slot] = (this.started[slot] as number) + 1;
    const requests = this.requests.get(version) ?? this.#addVersion(version);
    requests[isStream ? 1 : 0] += 1;
    return this.durations === undefined ? 0 : performance.now();
  }

  messageReceived(slot: number, bytes: number): void {
    this.receivedBytes += bytes;
    if (slot !== -1) this.received[slot] = (this.received[slot] as number) + 1;
  }

  messageSent(slot: number, bytes: number): void {
    this.sentBytes += bytes;
    if (slot !== -1) this.sent[slot] = (this.sent[slot] as number) + 1;
  }

  /** A call has ended with this status. */
  end(slot: number, code: number, begunMs: number): void {
    if (slot === -1) return;
    const at = slot * codesCount + (code >= 0 && code < codesCount ? code : 2);
    this.handled[at] = (this.handled[at] as number) + 1;
    if (this.durations === undefined) return;
    const seconds = (performance.now() - begunMs) / 1_000;
    let durations = this.durations.get(slot);
    if (durations === undefined) {
      durations = { official: noDurations(handlingSeconds), fine: noDurations(fineHandlingSeconds) };
      this.durations.set(slot, durations);
    }
    observe(durations.official, handlingSeconds, seconds);
    observe(durations.fine, fineHandlingSeconds, seconds);
  }

  /** A call was refused with this text. */
  refused(slot: number, text: string): void {
    if (slot !== Method.MemberPromote) return;
    this.promotionFailures.set(text, (this.promotionFailures.get(text) ?? 0) + 1);
  }

  /** A stream was cut because of what its client sent, or did not read. */
  streamFailed({ path, direction }: { readonly path: string; readonly direction: 'send' | 'receive' }): void {
    const api = path.endsWith('/Watch') ? 'watch' : path.endsWith('/LeaseKeepAlive') ? 'lease-keepalive' : undefined;
    if (api === undefined) return;
    const key = `${direction} ${api}`;
    this.streamFailures.set(key, (this.streamFailures.get(key) ?? 0) + 1);
  }

  #addVersion(version: string): [number, number] {
    const known = this.requests.size < versionsMax && version.length <= versionLengthMax ? version : 'unknown';
    const requests = this.requests.get(known) ?? [0, 0];
    this.requests.set(known, requests);
    return requests;
  }
}

function noDurations(bounds: readonly number[]): Durations {
  return { counts: new Float64Array(bounds.length + 1), sum: 0 };
}

function observe(durations: Durations, bounds: readonly number[], seconds: number): void {
  let bucket = 0;
  while (bucket < bounds.length && seconds > (bounds[bucket] as number)) bucket += 1;
  durations.counts[bucket] = (durations.counts[bucket] as number) + 1;
  durations.sum += seconds;
}
