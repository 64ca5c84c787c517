/**
 * A real listener with plain HTTP and gateway in front of a made-up service, and a note of what that service hears.
 *
 *     KV/Put          replies with the value's length as revision
 *     KV/Range        ends with the code in `limit` and the key as text; key `never`: not at all
 *     LeaseKeepAlive  echoes every id, ends when the client half-closes
 *     Watch           `created` per create request; key `flood`: events as fast as they are taken, key `fail`: an error
 *     Snapshot        three blobs
 */
import { EventEmitter, once } from 'node:events';
import type { Call, CallListener } from '../../../src/host/grpc/call.js';
import { GrpcCounts } from '../../../src/host/grpc/counts.js';
import { createGrpcListener, type GrpcListener } from '../../../src/host/grpc/server.js';
import { HealthCounts } from '../../../src/host/health.js';
import { PlainHttp } from '../../../src/host/plain-http.js';
import { decode, encode } from '../../../src/wire/schema.js';

export interface StageOptions {
  readonly cors?: readonly string[];
  readonly hostWhitelist?: readonly string[];
  readonly gateway?: boolean;
  readonly receiveBytesMax?: number;
}

export const blobBytes = 100_000;
/** Of one event of a flood; JSON makes four thirds of it. */
const floodValue = new Uint8Array(30_000).fill(7);

/** Far more than a listener and a kernel hold for one client: who takes so many takes for ever. */
export const floodMessagesMax = 10_000;

export class Stage {
  readonly calls: Call[] = [];
  /** `open`, `message`, `half-close`, `cancel client`, `drain` … in order. */
  readonly heard: string[] = [];
  floodMessages = 0;
  readonly #events = new EventEmitter();
  #listener!: GrpcListener;
  origin = '';

  static async start(options: StageOptions = {}): Promise<Stage> {
    const stage = new Stage();
    const receiveBytesMax = options.receiveBytesMax ?? 2_097_152;
    const service = (call: Call) => stage.#serve(call);
    const http = new PlainHttp({
      commonNames: false,
      access: { cors: options.cors ?? [], hostWhitelist: options.hostWhitelist ?? ['*'] },
      gateway: options.gateway === false ? undefined : { service, receiveBytesMax },
      member: () => undefined,
      metrics: {
        member: () => undefined,
        grpc: new GrpcCounts(),
        health: new HealthCounts(),
        load: () => ({ connections: 0, calls: 0 }),
      },
    });
    stage.#listener = createGrpcListener({
      service,
      httpServer: http.server,
      acceptPlain: (stream, head, peer) => http.acceptStream(stream, head, peer),
      receiveBytesMax,
    });
    const { port } = await stage.#listener.listen('127.0.0.1', 0);
    stage.origin = `http://127.0.0.1:${port}`;
    return stage;
  }

  get lastCall(): Call {
    return this.calls.at(-1) as Call;
  }

  /** Sends the last call as many events as are taken at once, and says how many were. */
  floodNow(): number {
    const before = this.floodMessages;
    this.#flood(this.lastCall);
    return this.floodMessages - before;
  }

  /** Calls on HTTP/2 connections whose handlers have not stopped. */
  get running(): number {
    return this.#listener.calls();
  }

  /** Waits until the service has heard this. */
  async hears(what: string): Promise<void> {
    while (!this.heard.includes(what)) await once(this.#events, 'heard');
  }

  /** Waits until it hears anything more. */
  async hearsNext(): Promise<void> {
    await once(this.#events, 'heard');
  }

  async close(): Promise<void> {
    await this.#listener.close(0);
  }

  #note(what: string): void {
    this.heard.push(what);
    this.#events.emit('heard');
  }

  #serve(call: Call): CallListener {
    this.calls.push(call);
    this.#note('open');
    const name = call.path.slice(call.path.lastIndexOf('/') + 1);
    return {
      message: bytes => {
        this.#note('message');
        this.#message(call, name, bytes);
      },
      halfClose: () => {
        this.#note('half-close');
        if (name === 'LeaseKeepAlive') call.end(0, '');
      },
      cancel: reason => {
        this.#note(`cancel ${reason}`);
        call.end(1, '');
      },
      drain: () => {
        this.#note('drain');
        this.#flood(call);
      },
    };
  }

  #message(call: Call, name: string, bytes: Uint8Array): void {
    if (name === 'Put') {
      const { value } = decode('etcdserverpb.PutRequest', bytes);
      call.reply(encode('etcdserverpb.PutResponse', { header: { revision: value.length } }));
    } else if (name === 'Range') {
      const { key, limit } = decode('etcdserverpb.RangeRequest', bytes);
      if (text(key) !== 'never') call.end(Number(limit), text(key));
    } else if (name === 'LeaseKeepAlive') {
      const { ID } = decode('etcdserverpb.LeaseKeepAliveRequest', bytes);
      call.sendMessage(encode('etcdserverpb.LeaseKeepAliveResponse', { ID, TTL: 7 }));
    } else if (name === 'Watch') {
      this.#watch(call, decode('etcdserverpb.WatchRequest', bytes).create_request?.key ?? new Uint8Array());
    } else if (name === 'Snapshot') {
      for (const version of ['1', '2', '3']) {
        const message = encode('etcdserverpb.SnapshotResponse', { blob: new Uint8Array(blobBytes), version });
        // As a shared body arrives: in two parts.
        call.sendMessage(message.subarray(5), false, message.subarray(0, 5));
      }
      call.end(0, '');
    }
  }

  #watch(call: Call, key: Uint8Array): void {
    if (text(key) === 'refuse') return call.end(12, 'no watches today');
    call.sendMessage(encode('etcdserverpb.WatchResponse', { created: true }));
    if (text(key) === 'fail') call.end(5, 'gone <for> good');
    if (text(key) === 'flood') this.#flood(call);
  }

  #flood(call: Call): void {
    const message = encode('etcdserverpb.WatchResponse', { events: [{ kv: { value: floodValue } }] });
    const before = this.floodMessages;
    do this.floodMessages += 1;
    while (call.sendMessage(message) && this.floodMessages < before + floodMessagesMax);
  }
}

export function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

export function base64(value: string): string {
  return Buffer.from(value).toString('base64');
}
