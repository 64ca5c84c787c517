/**
 * Counts the calls of a service that do not come over gRPC: etcd's gateway is a client of its own server, so what it
 * serves shows among the gRPC calls.
 */
import { GrpcCode } from '../../wire/errors.js';
import type { Call, CallListener, CancelReason, Metadata, Peer, Service } from './call.js';
import { type CountedMethod, countedMethod, type GrpcCounts } from './counts.js';

/** The status that a call counts with which its client or its connection ended. */
export function cancelCode(reason: CancelReason): GrpcCode {
  if (reason === 'deadline') return GrpcCode.DeadlineExceeded;
  return reason === 'protocol' ? GrpcCode.Internal : GrpcCode.Canceled;
}

/** The same service, counted. */
export function countedService(service: Service, counts: GrpcCounts): Service {
  return call => {
    const inner = new CountedCall(call, counts);
    return inner.listen(service(inner));
  };
}

class CountedCall implements Call {
  readonly path: string;
  readonly metadata: Metadata;
  readonly deadlineMs: number | undefined;
  readonly peer: Peer;
  readonly #call: Call;
  readonly #counts: GrpcCounts;
  readonly #method: CountedMethod;
  readonly #begunMs: number;
  #ended = false;

  constructor(call: Call, counts: GrpcCounts) {
    this.path = call.path;
    this.metadata = call.metadata;
    this.deadlineMs = call.deadlineMs;
    this.peer = call.peer;
    this.#call = call;
    this.#counts = counts;
    this.#method = countedMethod(call.path);
    this.#begunMs = counts.begin(this.#method, call.metadata.get('client-api-version') ?? 'unknown');
  }

  get unsentBytes(): number {
    return this.#call.unsentBytes;
  }

  reply(message: Uint8Array): void {
    if (!this.#ended) this.#counts.messageSent(this.#method.slot, message.length);
    this.#end(GrpcCode.Ok);
    this.#call.reply(message);
  }

  sendMessage(message: Uint8Array, given?: boolean, head?: Uint8Array): boolean {
    if (!this.#ended) this.#counts.messageSent(this.#method.slot, message.length + (head?.length ?? 0));
    return this.#call.sendMessage(message, given, head);
  }

  end(code: number, text: string): void {
    if (!this.#ended && code !== GrpcCode.Ok) this.#counts.refused(this.#method.slot, text);
    this.#end(code);
    this.#call.end(code, text);
  }

  /** The listener, as the call is to be told of it. */
  listen(listener: CallListener): CallListener {
    const { drain } = listener;
    return {
      message: bytes => {
        this.#counts.messageReceived(this.#method.slot, bytes.length);
        listener.message(bytes);
      },
      halfClose: () => listener.halfClose(),
      cancel: reason => {
        this.#end(cancelCode(reason));
        listener.cancel(reason);
      },
      ...(drain === undefined ? {} : { drain: () => drain.call(listener) }),
    };
  }

  #end(code: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#counts.end(this.#method.slot, code, this.#begunMs);
  }
}
