/**
 * etcd's JSON gateway: every RPC that has a path below /v3/, as HTTP with JSON bodies, on the service that gRPC uses.
 *
 *     exchange -> path -> RPC -> GatewayCall -> Service
 */
import { GrpcCode } from '../../wire/errors.js';
import { parseTimeout } from '../grpc/timeout.js';
import { discardBody, type Exchange, headerOf } from './exchange.js';
import { GatewayCall, type GatewayContext, refuse } from './gateway-call.js';
import { GatewayMetadata } from './metadata.js';
import { routeOf } from './routes.js';

export type { GatewayContext } from './gateway-call.js';

/** Serves a request for `path`, which begins with `/v3/`. */
export function serveGateway(context: GatewayContext, exchange: Exchange, path: string): void {
  const info = routeOf(path);
  if (info === undefined) return refuseWhole(exchange, GrpcCode.NotFound, 'Not Found');
  if (exchange.method !== 'POST') return refuseWhole(exchange, GrpcCode.Unimplemented, 'Method Not Allowed');
  const timeout = headerOf(exchange, 'grpc-timeout');
  const deadlineMs = timeout === undefined ? undefined : parseTimeout(timeout);
  if (typeof deadlineMs === 'object') {
    return refuseWhole(exchange, GrpcCode.InvalidArgument, `invalid grpc-timeout: ${timeout}`);
  }
  new GatewayCall(context, exchange, info, new GatewayMetadata(exchange.headers), deadlineMs).start();
}

function refuseWhole(exchange: Exchange, code: number, text: string): void {
  refuse(exchange, code, text);
  discardBody(exchange);
}
