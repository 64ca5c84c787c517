/**
 * grpc.health.v1.Health: the whole server (`""`) is SERVING while its endpoint is open, also when its member has no leader
 * or no space, as etcd's is; with the gate StopGRPCServiceOnDefrag it is NOT_SERVING while the member defragments. No other
 * name is registered: Check answers NotFound, Watch sends SERVICE_UNKNOWN and stays open.
 */
import { EtcdErrorCode, etcdError, GrpcCode } from '../../wire/errors.js';
import { Method, type MethodInfo } from '../../wire/methods.js';
import { decode, encode } from '../../wire/schema.js';
import type { Call, CallListener } from '../grpc/call.js';

const checkResponse = 'grpc.health.v1.HealthCheckResponse';
const status = { serving: 1, notServing: 2, serviceUnknown: 3 } as const;

/** What a member's server says of itself, and who wants to hear when that changes. */
export class ServingStatus {
  readonly #watches = new Set<Call>();
  #isServing = true;

  get(): number {
    return this.#isServing ? status.serving : status.notServing;
  }

  set(isServing: boolean): void {
    if (isServing === this.#isServing) return;
    this.#isServing = isServing;
    for (const call of this.#watches) call.sendMessage(encode(checkResponse, { status: this.get() }));
  }

  /** Tells the call what is, and what comes. */
  watch(call: Call): void {
    this.#watches.add(call);
    call.sendMessage(encode(checkResponse, { status: this.get() }));
  }

  unwatch(call: Call): void {
    this.#watches.delete(call);
  }
}

/** Opens a health call; `info` is one of the three health methods. */
export function openHealth(call: Call, info: MethodInfo, serving: ServingStatus): CallListener {
  let answered = false;
  const answer = (bytes: Uint8Array): void => {
    if (answered) return;
    answered = true;
    if (info.method === Method.HealthList) {
      call.reply(
        encode('grpc.health.v1.HealthListResponse', { statuses: [{ key: '', value: { status: serving.get() } }] }),
      );
      return;
    }
    const service = serviceName(bytes);
    if (service === undefined) call.end(GrpcCode.Internal, etcdError(EtcdErrorCode.Undecodable).message);
    else if (info.method === Method.HealthWatch) watch(call, service, serving);
    else if (service === '') call.reply(encode(checkResponse, { status: serving.get() }));
    else {
      const { grpcCode, message } = etcdError(EtcdErrorCode.HealthUnknownService);
      call.end(grpcCode, message);
    }
  };
  return {
    message: answer,
    halfClose() {},
    cancel() {
      serving.unwatch(call);
      // Nobody hears it, but it tells the connection that no more work is done for this call.
      call.end(GrpcCode.Canceled, '');
    },
  };
}

function serviceName(bytes: Uint8Array): string | undefined {
  try {
    return decode('grpc.health.v1.HealthCheckRequest', bytes).service ?? '';
  } catch {
    return undefined;
  }
}

function watch(call: Call, service: string, serving: ServingStatus): void {
  if (service === '') serving.watch(call);
  else call.sendMessage(encode(checkResponse, { status: status.serviceUnknown }));
}
