/**
 * The in-process channel: the client library's requests go into a member's ring exactly as a gRPC call's do, only
 * without sockets, HTTP/2 and trailers.
 */
import { setMaxListeners } from 'node:events';
import { concatBytes } from '../base/bytes.js';
import {
  type Channel,
  type ClientStream,
  EtcdError,
  type StreamListener,
  type StreamOptions,
} from '../client/channel.js';
import { ClosedError, createClient, type EtcdClient } from '../client/client.js';
import { CreditReturn } from '../transport/stream-credit.js';
import { EtcdErrorCode, etcdError, GrpcCode } from '../wire/errors.js';
import { Method } from '../wire/methods.js';
import { openSnapshot, type SnapshotAnswer } from './api/snapshot.js';
import type { CallListener } from './grpc/call.js';
import type { MemberPort, StreamWaiter, Waiter } from './member-port.js';

/**
 * A client whose calls go to the member `port` names at the time of each call, until it or what it speaks to is closed
 * (`isClosed`): streams that end are not opened again then, and calls are refused.
 */
export function inProcessClient(port: () => MemberPort, isClosed: () => boolean = () => false): EtcdClient {
  let closed = false;
  const streams = new Set<OpenStream>();
  const channel: Channel = {
    stream: (method, listener, options) => {
      if (closed || isClosed()) return closedStream(listener);
      if (method === Method.Snapshot) return new InProcessSnapshot(port(), listener, streams);
      return new InProcessStream(port(), method, listener, options ?? {}, streams);
    },
    unary: (method, request, options) =>
      new Promise((resolve, reject) => {
        if (closed) reject(new ClosedError());
        else new InProcessCall(port(), method, request, options ?? {}, resolve, reject);
      }),
    close: () => {
      closed = true;
      for (const stream of streams) stream.close();
    },
  };
  return createClient(channel);
}

/** A stream of a client that is closed. */
function closedStream(listener: StreamListener): ClientStream {
  queueMicrotask(() => listener.end(new ClosedError()));
  return { send() {}, halfClose() {}, cancel() {}, pause() {}, resume() {} };
}

interface CallOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

class InProcessCall implements Waiter {
  readonly #resolve: (message: Uint8Array) => void;
  readonly #reject: (error: Error) => void;
  readonly #port: MemberPort;
  readonly #requestId: number;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #signal: AbortSignal | undefined;

  constructor(
    port: MemberPort,
    method: Method,
    request: Uint8Array,
    options: CallOptions,
    resolve: (message: Uint8Array) => void,
    reject: (error: Error) => void,
  ) {
    this.#resolve = resolve;
    this.#reject = reject;
    this.#port = port;
    this.#signal = options.signal;
    if (options.signal?.aborted === true) {
      this.#requestId = -1;
      reject(options.signal.reason as Error);
      return;
    }
    if (options.timeoutMs !== undefined) {
      this.#timer = setTimeout(() => this.#giveUp(failure(EtcdErrorCode.ContextDeadlineExceeded)), options.timeoutMs);
    }
    if (options.signal !== undefined) {
      // One signal for any number of calls is what signals are for, not a leak.
      setMaxListeners(0, options.signal);
      options.signal.addEventListener('abort', this.#onAbort, { once: true });
    }
    this.#requestId = port.open(method, request, false, this);
  }

  reply(message: Uint8Array): void {
    this.#settle();
    this.#resolve(message.slice());
  }

  end(code: EtcdErrorCode, detail: string): void {
    this.#settle();
    this.#reject(failure(code, detail));
  }

  readonly #onAbort = (): void => this.#giveUp(this.#signal?.reason as Error);

  #giveUp(error: Error): void {
    this.#settle();
    if (this.#requestId >= 0) this.#port.cancel(this.#requestId);
    this.#reject(error);
  }

  #settle(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}

/** What a client's close ends. */
interface OpenStream {
  close(): void;
}

class InProcessStream implements ClientStream, StreamWaiter {
  readonly #listener: StreamListener;
  readonly #port: MemberPort;
  readonly #credit = new CreditReturn();
  /** The client's open streams, this one among them. */
  readonly #siblings: Set<OpenStream>;
  readonly #streamId: number;
  #paused = false;
  #cancelled = false;

  constructor(
    port: MemberPort,
    method: Method,
    listener: StreamListener,
    options: StreamOptions,
    siblings: Set<OpenStream>,
  ) {
    this.#listener = listener;
    this.#port = port;
    this.#siblings = siblings;
    siblings.add(this);
    this.#streamId = port.openStream(method, options.requireLeader ?? false, this);
  }

  // The caller's end (ClientStream).

  send(request: Uint8Array): void {
    this.#port.send(this.#streamId, request);
  }

  halfClose(): void {
    this.#port.halfClose(this.#streamId);
  }

  cancel(): void {
    this.#siblings.delete(this);
    this.#cancelled = true;
    this.#port.cancel(this.#streamId);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#giveBack(this.#credit.drained());
  }

  // What the member answers (StreamWaiter).

  received(message: Uint8Array, given: boolean, head: Uint8Array | undefined): void {
    if (this.#cancelled) return;
    // A fanned out body is shared with other streams, which is no harm as long as nobody writes to it.
    const whole =
      head !== undefined && head.length > 0 ? concatBytes(head, message) : given ? message : message.slice();
    this.#giveBack(this.#credit.sent(whole.length, !this.#paused));
    this.#listener.message(whole);
  }

  ended(code: EtcdErrorCode | 0, detail: string): void {
    if (this.#cancelled) return;
    this.#end(code === 0 ? undefined : failure(code, detail));
  }

  /** The client is closed. */
  close(): void {
    if (this.#cancelled) return;
    this.#port.cancel(this.#streamId);
    this.#end(new ClosedError());
  }

  /** Never before the constructor's caller has the stream. */
  #end(error: EtcdError | undefined): void {
    this.#siblings.delete(this);
    queueMicrotask(() => {
      if (this.#cancelled) return;
      this.#cancelled = true;
      this.#listener.end(error);
    });
  }

  #giveBack(bytes: number): void {
    if (bytes > 0) this.#port.credit(this.#streamId, bytes);
  }
}

/** A snapshot is not the member's own stream: it is answered here, as a call from outside is. */
class InProcessSnapshot implements ClientStream, SnapshotAnswer {
  readonly #listener: StreamListener;
  readonly #siblings: Set<OpenStream>;
  readonly #call: CallListener;
  #paused = false;
  #over = false;

  constructor(port: MemberPort, listener: StreamListener, siblings: Set<OpenStream>) {
    this.#listener = listener;
    this.#siblings = siblings;
    this.#call = openSnapshot(this, port);
    siblings.add(this);
  }

  // The caller's end (ClientStream).

  send(request: Uint8Array): void {
    this.#call.message(request);
  }

  halfClose(): void {
    this.#call.halfClose();
  }

  cancel(): void {
    if (this.#over) return;
    this.#over = true;
    this.#siblings.delete(this);
    this.#call.cancel('client');
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#call.drain?.();
  }

  // What answers (SnapshotAnswer).

  sendMessage(message: Uint8Array): boolean {
    if (!this.#over) this.#listener.message(message);
    return !this.#paused;
  }

  end(code: number, text: string): void {
    if (code === GrpcCode.Ok) this.#end(undefined);
    else this.#end(new EtcdError(code, text));
  }

  /** The client is closed. */
  close(): void {
    if (this.#over) return;
    this.cancel();
    this.#listener.end(new ClosedError());
  }

  #end(error: EtcdError | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#siblings.delete(this);
    this.#listener.end(error);
  }
}

function failure(code: EtcdErrorCode, detail = ''): EtcdError {
  const { grpcCode, message } = etcdError(code, detail);
  return new EtcdError(grpcCode, message);
}
