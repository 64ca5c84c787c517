/**
 * From a gRPC call to a member's ring and back. One router per endpoint: the member whose endpoint was called answers.
 *
 * Request bytes go to the member as they came; the main thread decodes nothing of them. What is answered here: health
 * checks, which speak of the server, not of the store; locks and elections, recipes over the member's own calls; and
 * snapshots, which are encoded in a thread of their own.
 */
import { EtcdErrorCode, etcdError, GrpcCode } from '../wire/errors.js';
import { Method, MethodKind, methodByPath, unknownMethodText } from '../wire/methods.js';
import { isConcurrency, openConcurrency } from './api/concurrency.js';
import { openHealth } from './api/health.js';
import { isServed, notServedText } from './api/routes.js';
import { openSnapshot } from './api/snapshot.js';
import { type Call, type CallListener, deafListener, type Service } from './grpc/call.js';
import { inProcessClient } from './in-process.js';
import type { MemberPort, Waiter } from './member-port.js';
import { StreamCall } from './stream-call.js';

/** The service behind one member's endpoint. */
export function memberService(port: MemberPort): Service {
  const client = inProcessClient(() => port);
  return call => {
    const info = methodByPath(call.path);
    if (info === undefined) return refuse(call, GrpcCode.Unimplemented, unknownMethodText(call.path));
    if (info.service === 'grpc.health.v1.Health') return openHealth(call, info);
    if (!isServed(info)) return refuse(call, GrpcCode.Unimplemented, notServedText(info));
    if (hasInvalidClientVersion(call)) {
      const { grpcCode, message } = etcdError(EtcdErrorCode.InvalidClientApiVersion);
      return refuse(call, grpcCode, message);
    }
    if (isConcurrency(info)) return openConcurrency(call, info, client);
    if (info.method === Method.Snapshot) return openSnapshot(call, port);
    if (info.kind !== MethodKind.Unary) return new StreamCall(call, info.method, port);
    return new UnaryCall(call, info.method, port);
  };
}

/** One unary RPC on its way: the call's listener and the request's waiter in one object. */
class UnaryCall implements CallListener, Waiter {
  readonly #call: Call;
  readonly #method: Method;
  readonly #port: MemberPort;
  #requestId = -1;
  #received = false;
  #ended = false;

  constructor(call: Call, method: Method, port: MemberPort) {
    this.#call = call;
    this.#method = method;
    this.#port = port;
  }

  message(bytes: Uint8Array): void {
    if (this.#ended) return;
    if (this.#received) {
      this.#cancelRequest();
      this.#finish(GrpcCode.Internal, 'kvorum: more than one request message for a unary call');
      return;
    }
    this.#received = true;
    this.#requestId = this.#port.open(this.#method, bytes, this.#call.metadata.get('hasleader') === 'true', this);
  }

  halfClose(): void {
    if (!this.#received) this.#finish(GrpcCode.Internal, 'kvorum: a unary call without a request message');
  }

  cancel(): void {
    this.#ended = true;
    this.#cancelRequest();
    // Nobody hears it, but it tells the connection that no more work is done for this call.
    this.#call.end(GrpcCode.Canceled, '');
  }

  reply(message: Uint8Array): void {
    this.#ended = true;
    // A message that came in pieces was put together in memory of its own: it can be given away uncopied.
    this.#call.reply(message, !(message.buffer instanceof SharedArrayBuffer));
  }

  end(code: EtcdErrorCode, detail: string): void {
    const { grpcCode, message } = etcdError(code, detail);
    this.#finish(grpcCode, message);
  }

  #finish(grpcCode: GrpcCode, text: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#call.end(grpcCode, text);
  }

  #cancelRequest(): void {
    if (this.#requestId >= 0) this.#port.cancel(this.#requestId);
  }
}

function refuse(call: Call, code: GrpcCode, text: string): CallListener {
  call.end(code, text);
  return deafListener;
}

/** etcd 3.6 refuses a `client-api-version` that is not UTF-8. Header values arrive as latin1. */
function hasInvalidClientVersion(call: Call): boolean {
  const version = call.metadata.get('client-api-version');
  if (version === undefined || isAscii(version)) return false;
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(version, 'latin1'));
    return false;
  } catch {
    return true;
  }
}

function isAscii(text: string): boolean {
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) > 0x7f) return false;
  return true;
}
