/**
 * Plain HTTP/1.1 on a client endpoint: /version and /health, as etcd answers them.
 *
 * The listener hands over every connection that does not open with the HTTP/2 preface; node:http does the rest.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { clusterVersion, etcdVersion } from '../base/version.js';
import { alarmBit, Cell, type StatusCells } from '../transport/control.js';
import { etcdError } from '../wire/errors.js';
import { Method } from '../wire/methods.js';
import { encode } from '../wire/schema.js';
import type { MemberPort } from './member-port.js';

/** How long a health check's read may take (etcd: the server's request timeout). */
const healthTimeoutMs = 7_000;

const alarmNames = [
  { type: 1, name: 'NOSPACE' },
  { type: 2, name: 'CORRUPT' },
] as const;

/** The member behind an endpoint, as far as plain HTTP needs it. */
export interface HttpMember {
  readonly port: MemberPort;
  readonly cells: StatusCells;
}

/** The HTTP server of one endpoint; it listens nowhere itself. `member` is undefined until the member exists. */
export function createPlainHttp(member: () => HttpMember | undefined): Server {
  const server = createServer({ requestTimeout: 30_000, headersTimeout: 10_000 }, (request, response) => {
    response.setHeader('Access-Control-Allow-Methods', 'POST, GET, OPTIONS, PUT, DELETE');
    response.setHeader('Access-Control-Allow-Origin', '*');
    response.setHeader('Access-Control-Allow-Headers', 'accept, content-type, authorization');
    request.resume();
    const url = new URL(request.url ?? '/', 'http://localhost');
    if (request.method === 'OPTIONS') response.end();
    else if (url.pathname === '/version') answerVersion(request, response, member());
    else if (url.pathname === '/health') answerHealth(request, response, url, member());
    else send(response, 404, 'text/plain; charset=utf-8', '404 page not found\n');
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  return server;
}

function send(response: ServerResponse, status: number, contentType: string, body: string): void {
  response.writeHead(status, { 'Content-Type': contentType, 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
}

function refuseMethod(response: ServerResponse): void {
  response.setHeader('Allow', 'GET');
  send(response, 405, 'text/plain; charset=utf-8', 'Method Not Allowed\n');
}

function answerVersion(request: IncomingMessage, response: ServerResponse, member: HttpMember | undefined): void {
  if (request.method !== 'GET') return refuseMethod(response);
  const decided = member !== undefined && member.cells.get(Cell.publishedAttributes) > 0;
  const body = {
    etcdserver: etcdVersion,
    etcdcluster: decided ? clusterVersion : 'not_decided',
    storage: decided ? clusterVersion : 'unknown',
  };
  send(response, 200, 'application/json', JSON.stringify(body));
}

function answerHealth(
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  member: HttpMember | undefined,
): void {
  if (request.method !== 'GET') return refuseMethod(response);
  if (member === undefined) return unhealthy(response, 'RAFT NO LEADER');
  const { port, cells } = member;
  const excluded = url.searchParams.getAll('exclude');
  const alarms = cells.get(Cell.alarms);
  for (const { type, name } of alarmNames) {
    if ((alarms & alarmBit(type)) !== 0 && !excluded.includes(name)) return unhealthy(response, `ALARM ${name}`);
  }
  const serializable = url.searchParams.get('serializable') === 'true';
  if (!serializable && cells.get(Cell.leaderPosition) < 0) return unhealthy(response, 'RAFT NO LEADER');
  const range = encode('etcdserverpb.RangeRequest', { key: new Uint8Array(1), limit: 1n, serializable });
  let answered = false;
  const finish = (failure: string | undefined): void => {
    if (answered) return;
    answered = true;
    clearTimeout(timer);
    if (failure === undefined) healthy(response);
    else unhealthy(response, `RANGE ERROR:${failure}`);
  };
  const timer = setTimeout(() => finish('etcdserver: request timed out'), healthTimeoutMs);
  port.open(Method.KvRange, range, false, {
    reply: () => finish(undefined),
    end: (code, detail) => finish(etcdError(code, detail).message),
  });
}

function healthy(response: ServerResponse): void {
  send(response, 200, 'text/plain; charset=utf-8', '{"health":"true","reason":""}');
}

function unhealthy(response: ServerResponse, reason: string): void {
  send(response, 503, 'text/plain; charset=utf-8', `${JSON.stringify({ health: 'false', reason })}\n`);
}
