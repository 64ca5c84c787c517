/**
 * grpc.health.v1.Health: the whole server (`""`) is SERVING while its endpoint is open; no other name is registered.
 * Check answers NotFound for another name, Watch sends SERVICE_UNKNOWN and stays open.
 */
import { EtcdErrorCode, etcdError, GrpcCode } from '../../wire/errors.js';
import { Method, type MethodInfo } from '../../wire/methods.js';
import { decode, encode } from '../../wire/schema.js';
import type { Call, CallListener } from '../grpc/call.js';

const checkResponse = 'grpc.health.v1.HealthCheckResponse';
const serving = 1;
const serviceUnknown = 3;

/** Opens a health call; `info` is one of the three health methods. */
export function openHealth(call: Call, info: MethodInfo): CallListener {
  let answered = false;
  const answer = (bytes: Uint8Array): void => {
    if (answered) return;
    answered = true;
    if (info.method === Method.HealthList) {
      call.reply(encode('grpc.health.v1.HealthListResponse', { statuses: [{ key: '', value: { status: serving } }] }));
      return;
    }
    const service = serviceName(bytes);
    if (service === undefined) call.end(GrpcCode.Internal, etcdError(EtcdErrorCode.Undecodable).message);
    else if (info.method === Method.HealthWatch) watch(call, service);
    else if (service === '') call.reply(encode(checkResponse, { status: serving }));
    else {
      const { grpcCode, message } = etcdError(EtcdErrorCode.HealthUnknownService);
      call.end(grpcCode, message);
    }
  };
  return { message: answer, halfClose() {}, cancel() {} };
}

function serviceName(bytes: Uint8Array): string | undefined {
  try {
    return decode('grpc.health.v1.HealthCheckRequest', bytes).service ?? '';
  } catch {
    return undefined;
  }
}

function watch(call: Call, service: string): void {
  call.sendMessage(encode(checkResponse, { status: service === '' ? serving : serviceUnknown }));
}
