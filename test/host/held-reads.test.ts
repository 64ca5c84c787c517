/**
 * A client that takes no answers: its reads wait in the member, nobody else's do, and it gets all of them in the end.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientHttp2Session, connect } from 'node:http2';
import { test } from 'node:test';
import { startCluster } from '../../src/index.js';
import { frameMessage, GrpcClient } from '../support/grpc-client.js';
import { encodeMessage } from '../support/messages.js';

const mib = 1024 * 1024;
const asks = 120;
/** 1 MiB unsent, and what was on its way when that was noticed: half as much in the ring, and what came on top of it. */
const madeMax = 8;

const put = (key: string, value: Uint8Array) => encodeMessage('PutRequest', { key: Buffer.from(key), value });

/** Resolves when the endpoint's metrics say that between so many and so many reads are held. */
async function heldReads(endpoint: string, min: number, max: number): Promise<void> {
  for (let held = Number.NaN; !(held >= min && held <= max); ) {
    const exposition = await (await fetch(`${endpoint}/metrics`)).text();
    held = Number(/^kvorum_held_reads (\d+)$/m.exec(exposition)?.[1]);
  }
}

/** A client without windows: it hears heads and statuses, and no message before it opens them. */
class DeafClient {
  /** Calls whose head has come: their answers were made. */
  made = 0;
  readonly #session: ClientHttp2Session;
  #onHead: () => void = () => undefined;

  private constructor(session: ClientHttp2Session) {
    this.#session = session;
  }

  static async connect(endpoint: string): Promise<DeafClient> {
    const session = connect(endpoint, { settings: { initialWindowSize: 0 }, maxSessionMemory: 1_024 });
    await once(session, 'connect');
    session.setLocalWindowSize(2 ** 30);
    return new DeafClient(session);
  }

  /** Resolves with the status of the call, `cancelled`, or what else became of it, and the bytes of its answer. */
  call(method: string, message: Uint8Array, fields = {}, signal?: AbortSignal): Promise<readonly [string, number]> {
    const head = { ':method': 'POST', ':path': `/etcdserverpb.KV/${method}`, 'content-type': 'application/grpc' };
    const stream = this.#session.request({ ...head, te: 'trailers', ...fields }, signal && { signal });
    let status = 'nothing';
    let bytes = 0;
    stream.on('response', headers => {
      this.made += 1;
      status = `${headers['grpc-status'] ?? status}`;
      this.#onHead();
    });
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    stream.on('trailers', headers => {
      status = `${headers['grpc-status']}`;
    });
    stream.on('error', error => {
      status = error.name === 'AbortError' ? 'cancelled' : error.message;
    });
    stream.end(frameMessage(message));
    return new Promise(resolve => {
      stream.on('close', () => resolve([status, bytes]));
    });
  }

  /** Resolves when so many answers have begun. */
  async heads(count: number): Promise<void> {
    while (this.made < count) {
      await new Promise<void>(resolve => {
        this.#onHead = resolve;
      });
    }
  }

  openWindows(): void {
    this.#session.settings({ initialWindowSize: 2 ** 24 });
  }

  close(): void {
    this.#session.destroy();
  }
}

for (const serializable of [false, true]) {
  const kind = serializable ? 'serializable' : 'linearizable';
  test(`${kind} reads of a client that takes no answers wait until it does`, async () => {
    const cluster = await startCluster({ members: 1, logLevel: 'silent' });
    const endpoint = cluster.endpoints[0] as string;
    const [deaf, polite] = [await DeafClient.connect(endpoint), await GrpcClient.connect(endpoint)];
    const range = (key: string) => encodeMessage('RangeRequest', { key: Buffer.from(key), serializable });
    const politeStatus = async (method: string, message: Uint8Array): Promise<number> =>
      (await polite.unary(`/etcdserverpb.KV/${method}`, message)).grpcStatus;
    try {
      assert.equal(await politeStatus('Put', put('large', Buffer.alloc(mib))), 0);
      const aborter = new AbortController();
      const large = Array.from({ length: asks }, () => deaf.call('Range', range('large')));
      await deaf.heads(1);
      // Each of these is a turn of the member, and would leave room for at least one of the large ones.
      for (let turn = 0; turn < 2 * asks; turn += 1) assert.equal(await politeStatus('Range', range('small')), 0);
      const made = deaf.made;
      assert.ok(made < madeMax, `${made} of ${asks} were made`);
      await heldReads(endpoint, asks - madeMax, asks);
      const late = deaf.call('Range', range('large'), { 'grpc-timeout': '50m' });
      const givenUp = deaf.call('Range', range('large'), {}, aborter.signal);
      const written = deaf.call('Put', put('other', Buffer.of()));
      await deaf.heads(made + 2); // the one that was too late, and the write: it does not wait
      aborter.abort();
      assert.deepEqual(
        [await late, await givenUp],
        [
          ['4', 0],
          ['cancelled', 0],
        ],
      );
      assert.equal(deaf.made, made + 2);
      deaf.openWindows();
      assert.deepEqual((await written)[0], '0');
      for (const answer of large) {
        const [status, bytes] = await answer;
        assert.equal(status, '0');
        assert.ok(bytes > mib);
      }
      assert.deepEqual((await deaf.call('Range', range('large')))[0], '0');
      await heldReads(endpoint, 0, 0);
    } finally {
      deaf.close();
      polite.close();
      await cluster.close();
    }
  });
}
