/**
 * The in-process channel: the client library's requests go into a member's ring exactly as a gRPC call's do, only
 * without sockets, HTTP/2 and trailers.
 */
import { concatBytes } from '../base/bytes.js';
import { type Channel, type ClientStream, EtcdError, type StreamListener } from '../client/channel.js';
import { ClosedError, createClient, type EtcdClient } from '../client/client.js';
import { CreditReturn } from '../transport/stream-credit.js';
import { type EtcdErrorCode, GrpcCode } from '../wire/errors.js';
import { Method } from '../wire/methods.js';
import { openSnapshot, type SnapshotAnswer } from './api/snapshot.js';
import type { HostAuth } from './auth/host-auth.js';
import { isPasswordMethod, passwordCall } from './auth/password-calls.js';
import type { CallListener } from './grpc/call.js';
import { type Asker, askMember, failure } from './member-call.js';
import type { MemberPort, StreamWaiter } from './member-port.js';

/** Whose calls they are, and how long there are any. */
export interface InProcessSettings {
  /** Who asks. */
  readonly asker: Asker;
  readonly auth: HostAuth;
  /** What the client speaks to is closed; default: never. */
  readonly isClosed?: () => boolean;
}

/**
 * A client whose calls go to the member `port` names at the time of each call, until it or what it speaks to is closed:
 * streams that end are not opened again then, and calls are refused.
 */
export function inProcessClient(port: () => MemberPort, settings: InProcessSettings): EtcdClient {
  const { asker, auth, isClosed = () => false } = settings;
  let closed = false;
  const streams = new Set<OpenStream>();
  const channel: Channel = {
    stream: (method, listener, { requireLeader = false } = {}) => {
      if (closed || isClosed()) return closedStream(listener);
      if (method === Method.Snapshot) return new InProcessSnapshot(port(), asker, listener, streams);
      return new InProcessStream(port(), method, { ...asker, requireLeader }, listener, streams);
    },
    unary: (method, request, options = {}) => {
      if (closed) return Promise.reject(new ClosedError());
      if (isPasswordMethod(method)) return passwordCall(auth, port(), method, request, options, asker);
      return askMember(port(), method, request, options, asker);
    },
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
    { caller, ofServer, requireLeader = false }: Asker,
    listener: StreamListener,
    siblings: Set<OpenStream>,
  ) {
    this.#listener = listener;
    this.#port = port;
    this.#siblings = siblings;
    siblings.add(this);
    this.#streamId = port.openStream(method, requireLeader, this, caller, ofServer);
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

  constructor(port: MemberPort, asker: Asker, listener: StreamListener, siblings: Set<OpenStream>) {
    this.#listener = listener;
    this.#siblings = siblings;
    this.#call = openSnapshot(this, port, asker);
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
