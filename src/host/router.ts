/**
 * From a gRPC call to a member's ring and back. One router per endpoint: the member whose endpoint was called answers.
 *
 * Request bytes go to the member as they came, with who sends them; the main thread decodes nothing of them. What is
 * answered here: health checks, which speak of the server, not of the store; locks and elections, recipes over the
 * member's own calls; snapshots, which are encoded in a thread of their own; and calls that carry a password, which is
 * hashed or compared in another.
 */
import { SOURCES_HASHED } from '../transport/envelope.js';
import { EtcdErrorCode, etcdError, GrpcCode } from '../wire/errors.js';
import { Method, type MethodInfo, MethodKind, methodByPath, unknownMethodText } from '../wire/methods.js';
import { isConcurrency, openConcurrency } from './api/concurrency.js';
import { openHealth, type ServingStatus } from './api/health.js';
import { openSnapshot } from './api/snapshot.js';
import { Callers, type EncodedCaller } from './auth/callers.js';
import type { HostAuth } from './auth/host-auth.js';
import { openLater } from './auth/late-call.js';
import { isPasswordMethod, passwordCall } from './auth/password-calls.js';
import { PromisedCall } from './auth/promised-call.js';
import { type Call, type CallListener, deafListener, type Service } from './grpc/call.js';
import { inProcessClient } from './in-process.js';
import type { MemberPort, Waiter } from './member-port.js';
import { StreamCall } from './stream-call.js';

/** The service behind one member's endpoint. */
export function memberService(port: MemberPort, auth: HostAuth, serving: ServingStatus): Service {
  const callers = new Callers(auth);
  return call => {
    const info = methodByPath(call.path);
    if (info === undefined) return refuse(call, GrpcCode.Unimplemented, unknownMethodText(call.path));
    if (info.service === 'grpc.health.v1.Health') return openHealth(call, info, serving);
    if (hasInvalidClientVersion(call)) {
      const { grpcCode, message } = etcdError(EtcdErrorCode.InvalidClientApiVersion);
      return refuse(call, grpcCode, message);
    }
    const caller = callers.of(call);
    if (!(caller instanceof Promise)) return open(call, info, port, auth, caller);
    return openLater(call, caller, known => open(call, info, port, auth, known));
  };
}

function open(call: Call, info: MethodInfo, port: MemberPort, auth: HostAuth, caller: EncodedCaller): CallListener {
  const { method } = info;
  if (isConcurrency(info))
    return openConcurrency(
      call,
      info,
      inProcessClient(() => port, { asker: { caller }, auth }),
    );
  if (method === Method.Snapshot) return openSnapshot(call, port, { caller });
  if (info.kind !== MethodKind.Unary) return new StreamCall(call, method, port, caller);
  if (!isPasswordMethod(method)) return new UnaryCall(call, method, port, caller);
  const asker = { caller, requireLeader: call.metadata.get('hasleader') === 'true' };
  return new PromisedCall(call, (request, signal) => passwordCall(auth, port, method, request, { signal }, asker));
}

/** One unary RPC on its way: the call's listener and the request's waiter in one object. */
class UnaryCall implements CallListener, Waiter {
  readonly #call: Call;
  readonly #method: Method;
  readonly #port: MemberPort;
  readonly #caller: EncodedCaller;
  #requestId = -1;
  #received = false;
  #ended = false;

  constructor(call: Call, method: Method, port: MemberPort, caller: EncodedCaller) {
    this.#call = call;
    this.#method = method;
    this.#port = port;
    this.#caller = caller;
  }

  /** Of a connection that has none, a hash of the client's end of it; those of one machine are even numbers. */
  get source(): number {
    const { source, port } = this.#call.peer;
    return source ?? (port >> 1) % SOURCES_HASHED;
  }

  message(bytes: Uint8Array): void {
    if (this.#ended) return;
    if (this.#received) {
      this.#cancelRequest();
      this.#finish(GrpcCode.Internal, 'kvorum: more than one request message for a unary call');
      return;
    }
    this.#received = true;
    const requireLeader = this.#call.metadata.get('hasleader') === 'true';
    this.#requestId = this.#port.open(this.#method, bytes, requireLeader, this, this.#caller);
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
    this.#call.reply(message);
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
