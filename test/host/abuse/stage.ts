/**
 * A server to attack, a client that behaves beside the attackers, and what the server holds before and after.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { GrpcClient } from '../../support/grpc-client.js';
import { encodeMessage } from '../../support/messages.js';
import { packageRoot } from '../../support/package-root.js';
import { type ServerProcess, startServer } from '../../support/server-process.js';
import type { Census } from './server.js';

const program = fileURLToPath(new URL('./server.js', import.meta.url));

/** What `npm start` gives to node. */
const { scripts } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
  scripts: { start: string };
};
const nodeFlags = scripts.start.split(' ').filter(word => word.startsWith('--'));

export class AbuseStage {
  readonly endpoints: readonly string[];
  readonly #control: string;
  readonly #server: ServerProcess;

  private constructor(server: ServerProcess, endpoints: readonly string[], control: string) {
    this.#server = server;
    this.endpoints = endpoints;
    this.#control = control;
  }

  /** Starts the server; `end` is owed. */
  static async start(): Promise<AbuseStage> {
    const flags = [...nodeFlags, '--expose-gc', program];
    const { server, ready } = await startServer('abused kvorum', process.execPath, flags, line =>
      line.startsWith('{"endpoints"') ? (JSON.parse(line) as { endpoints: string[]; control: string }) : undefined,
    );
    const writer = await GrpcClient.connect(ready.endpoints[0] as string);
    await writer.unary('/etcdserverpb.KV/Put', encodeMessage('PutRequest', { key: largeKey, value: largeValue }));
    writer.close();
    return new AbuseStage(server, ready.endpoints, ready.control);
  }

  /** The endpoint that is attacked, and that the good client uses too. */
  get endpoint(): string {
    return this.endpoints[0] as string;
  }

  /** An endpoint behind TLS. */
  get tlsEndpoint(): string {
    return this.endpoints[2] as string;
  }

  async census(): Promise<Census> {
    const [response] = await once(get(`http://${this.#control}`), 'response');
    return JSON.parse(await text(response)) as Census;
  }

  /**
   * Asks until no more connections are open than `sockets`, and so many times until no more memory is held than
   * `memoryBytes`: a close takes its time to be noticed, and buffers are kept for the next one for some seconds.
   */
  async censusWithin(sockets: number, memoryBytes: number): Promise<Census> {
    let peakBytes = 0;
    for (let asked = 0; ; asked += 1) {
      const census = await this.census();
      peakBytes = Math.max(peakBytes, census.peakBytes);
      const isBack = census.memoryBytes <= memoryBytes || asked >= asksForMemory;
      if (census.sockets <= sockets && isBack) return { ...census, peakBytes };
    }
  }

  end(): Promise<void> {
    return this.#server.end();
  }
}

/** Each takes some thirty milliseconds. */
const asksForMemory = 500;

/** Keys that the good client writes; attackers watch them. */
export const goodKey = Buffer.from('good');
/** A key with a large value, for those who ask and never listen. */
export const largeKey = Buffer.from('large');
const largeValue = Buffer.alloc(1024 * 1024, 'x');
const pacing = { loops: 4, valueBytes: 200 } as const;

/** A few puts and ranges at a time, one after the other, until it is told to stop. */
export class GoodClient {
  calls = 0;
  /** Why calls failed. */
  readonly failures: string[] = [];
  readonly #client: GrpcClient;
  readonly #called: (latencyMs: number) => void;
  readonly #loops: Promise<void>[];
  #stopping = false;
  #onCalls: () => void = () => undefined;

  private constructor(client: GrpcClient, called: (latencyMs: number) => void) {
    this.#client = client;
    this.#called = called;
    this.#loops = Array.from({ length: pacing.loops }, (_, at) => this.#loop(at));
  }

  /** `called` hears how long each call took. */
  static async start(endpoint: string, called: (latencyMs: number) => void = () => undefined): Promise<GoodClient> {
    return new GoodClient(await GrpcClient.connect(endpoint), called);
  }

  /** Resolves when so many more calls have been answered: the server serves. */
  async served(calls: number): Promise<void> {
    const wanted = this.calls + calls;
    while (this.calls < wanted && this.failures.length === 0) {
      await new Promise<void>(resolve => {
        this.#onCalls = resolve;
      });
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#loops);
    this.#client.close();
  }

  async #loop(at: number): Promise<void> {
    const key = Buffer.concat([goodKey, Buffer.from(String(at))]);
    const put = encodeMessage('PutRequest', { key, value: Buffer.alloc(pacing.valueBytes, 'v') });
    const range = encodeMessage('RangeRequest', { key });
    for (let turn = 0; !this.#stopping; turn++) {
      await this.#call(turn % 2 === 0 ? 'Put' : 'Range', turn % 2 === 0 ? put : range);
    }
  }

  async #call(method: string, message: Uint8Array): Promise<void> {
    const startedMs = performance.now();
    try {
      const { grpcStatus, grpcMessage } = await this.#client.unary(`/etcdserverpb.KV/${method}`, message);
      if (grpcStatus !== 0) this.failures.push(`${method}: ${grpcStatus} ${grpcMessage}`);
    } catch (error) {
      this.failures.push(`${method}: ${String(error)}`);
      this.#stopping = true;
    }
    this.calls += 1;
    this.#called(performance.now() - startedMs);
    this.#onCalls();
  }
}
