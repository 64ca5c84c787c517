/**
 * Puts driven by nghttp2's h2load: an independent generator, to compare our own with.
 *
 * h2load sends one body over and over, so all puts go to one key, and it looks at HTTP status codes only, which are
 * 200 for failed gRPC calls too. Failures are found from outside: every put that succeeded has raised the store's
 * revision by one, so a run whose answers outnumber the revisions is refused.
 */
import { execFile } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { requestTemplate } from '../../src/load/requests.js';
import { GrpcClient } from '../../test/support/grpc-client.js';
import { decodeMessage, encodeMessage, type Message } from '../../test/support/messages.js';

export interface H2loadResult {
  readonly requests: number;
  readonly perSecond: number;
  readonly latencyMs: { readonly min: number; readonly mean: number; readonly max: number };
}

export interface H2loadOptions {
  readonly endpoint: string;
  readonly outstanding: number;
  readonly valueBytes: number;
  readonly seconds: number;
  readonly warmup: number;
}

const run = promisify(execFile);
/** Calls in flight are spread over connections, as clients would be. */
const streamsPerConnectionMax = 100;

/** Whether the program is installed. */
export async function hasH2load(): Promise<boolean> {
  try {
    await run('h2load', ['--version']);
    return true;
  } catch {
    return false;
  }
}

export async function h2loadPuts(options: H2loadOptions): Promise<H2loadResult> {
  const { endpoint, outstanding, seconds, warmup } = options;
  const template = requestTemplate('put', options);
  const body = join(tmpdir(), `kvorum-h2load-${process.pid}.bin`);
  await writeFile(body, template.body);
  const connections = Math.max(1, Math.min(10, Math.ceil(outstanding / 10)));
  const streams = Math.ceil(outstanding / connections);
  if (streams > streamsPerConnectionMax) throw new Error(`h2load: ${outstanding} outstanding are more than it is for`);
  const client = await GrpcClient.connect(endpoint);
  try {
    const before = await revision(client);
    const { stdout } = await run('h2load', [
      ...['-c', String(connections), '-m', String(streams), '-D', String(seconds), '--warm-up-time', String(warmup)],
      ...['-d', body, '-H', 'content-type: application/grpc', '-H', 'te: trailers'],
      `${endpoint.includes('://') ? endpoint : `http://${endpoint}`}${template.path}`,
    ]);
    const result = parseReport(stdout, seconds);
    const written = (await revision(client)) - before;
    if (written < BigInt(result.requests)) {
      throw new Error(`h2load: ${result.requests} answers but only ${written} puts were applied: calls failed`);
    }
    return result;
  } finally {
    client.close();
    await rm(body);
  }
}

async function revision(client: GrpcClient): Promise<bigint> {
  const request = encodeMessage('RangeRequest', { key: Buffer.from('a'), count_only: true });
  const { messages } = await client.unary('/etcdserverpb.KV/Range', request);
  const header = decodeMessage('RangeResponse', messages[0]!).header as Message;
  return header.revision as bigint;
}

function parseReport(report: string, seconds: number): H2loadResult {
  const requests = /^requests: .*?(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/m.exec(report);
  const times = /^time for request:\s+(\S+)\s+(\S+)\s+(\S+)/m.exec(report);
  if (requests === null || times === null) throw new Error(`h2load: not understood:\n${report}`);
  if (requests.slice(2).some(count => count !== '0')) throw new Error(`h2load: failures:\n${report}`);
  const succeeded = Number(requests[1]);
  const [min = 0, max = 0, mean = 0] = times.slice(1).map(milliseconds);
  return { requests: succeeded, perSecond: succeeded / seconds, latencyMs: { min, mean, max } };
}

function milliseconds(text: string): number {
  const match = /^([\d.]+)(us|ms|s)$/.exec(text);
  if (match === null) throw new Error(`h2load: not a time: ${text}`);
  return Number(match[1]) * { us: 0.001, ms: 1, s: 1000 }[match[2] as 'us' | 'ms' | 's'];
}
