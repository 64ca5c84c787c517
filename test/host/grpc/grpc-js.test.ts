/**
 * @grpc/grpc-js as a client: an implementation of gRPC that is not ours, over real sockets.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import {
  type CallOptions,
  Client,
  type ClientDuplexStream,
  compressionAlgorithms,
  credentials,
  Metadata,
  type ServiceError,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import { type Call, type CallListener, deafListener } from '../../../src/host/grpc/call.js';
import { createGrpcListener, type GrpcListener, type GrpcListenerOptions } from '../../../src/host/grpc/server.js';
import { unknownMethodText } from '../../../src/wire/methods.js';

/** One method per way of answering. */
class TestService {
  readonly cancels: string[] = [];
  /** Called when a call that only waits has begun. */
  waiting: () => void = () => {};

  readonly answer = (call: Call): CallListener => {
    const method = call.path.slice(call.path.lastIndexOf('/') + 1);
    const ended = (reason: string) => {
      this.cancels.push(`${method} ${reason}`);
      call.end(1, '');
    };
    switch (method) {
      case 'Echo':
        return { ...deafListener, message: bytes => call.reply(bytes), cancel: ended };
      case 'EchoAll':
        return {
          message: bytes => void call.sendMessage(bytes),
          halfClose: () => call.end(0, ''),
          cancel: ended,
        };
      case 'Count':
        return new Counter(call, ended);
      case 'Fail':
        return { ...deafListener, message: bytes => call.end(9, Buffer.from(bytes).toString()), cancel: ended };
      case 'Wait':
        this.waiting();
        return { ...deafListener, cancel: ended };
      case 'Metadata':
        return {
          ...deafListener,
          message: bytes => call.reply(value(call, Buffer.from(bytes).toString())),
          cancel: ended,
        };
      default:
        call.end(12, unknownMethodText(call.path));
        return deafListener;
    }
  };
}

function value(call: Call, name: string): Uint8Array {
  return call.metadata.getBytes(name) ?? new Uint8Array(0);
}

/** Sends as many messages of 1,000 bytes as the request says, at the reader's pace. */
class Counter implements CallListener {
  readonly #call: Call;
  readonly cancel: (reason: string) => void;
  #left = 0;

  constructor(call: Call, cancel: (reason: string) => void) {
    this.#call = call;
    this.cancel = cancel;
  }

  message(bytes: Uint8Array): void {
    this.#left = Number(Buffer.from(bytes).toString());
    this.drain();
  }

  halfClose(): void {}

  drain(): void {
    while (this.#left > 0) {
      this.#left -= 1;
      if (!this.#call.sendMessage(new Uint8Array(1_000).fill(this.#left)) && this.#left > 0) return;
    }
    this.#call.end(0, '');
  }
}

class Fixture {
  readonly service: TestService;
  readonly listener: GrpcListener;
  readonly client: Client;

  private constructor(service: TestService, listener: GrpcListener, client: Client) {
    this.service = service;
    this.listener = listener;
    this.client = client;
  }

  static async start(
    t: TestContext,
    options: Partial<GrpcListenerOptions> = {},
    clientOptions: Record<string, number> = {},
  ): Promise<Fixture> {
    const service = new TestService();
    const listener = createGrpcListener({ service: service.answer, ...options });
    const { port }: AddressInfo = await listener.listen('127.0.0.1', 0);
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
      ...clientOptions,
    });
    t.after(async () => {
      client.close();
      await listener.close(0);
    });
    return new Fixture(service, listener, client);
  }

  unary(
    method: string,
    body: Buffer,
    metadata: Record<string, string | Buffer> = {},
    options: CallOptions = {},
  ): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.client.makeUnaryRequest(path(method), same, same, body, fill(metadata), options, (error, reply) => {
        if (error !== null) reject(error);
        else resolve(reply!);
      });
    });
  }

  async fails(promise: Promise<Buffer>, code: number, details: string | RegExp): Promise<void> {
    await assert.rejects(promise, (error: ServiceError) => {
      assert.equal(error.code, code, error.details);
      if (typeof details === 'string') assert.equal(error.details, details);
      else assert.match(error.details, details);
      return true;
    });
  }

  bidi(method: string): ClientDuplexStream<Buffer, Buffer> {
    return this.client.makeBidiStreamRequest(path(method), same, same);
  }

  /** A stream whose call has begun and waits for ever. */
  async waitingStream(): Promise<ClientDuplexStream<Buffer, Buffer>> {
    const waiting = this.waiting();
    const stream = this.bidi('Wait');
    stream.on('error', () => {});
    stream.write(Buffer.alloc(10));
    await waiting;
    return stream;
  }

  /** Resolves when the next call of `Wait` has begun. */
  waiting(): Promise<void> {
    return new Promise(resolve => {
      this.service.waiting = resolve;
    });
  }

  /** Waits until no call is left, turning the loop by calls of its own. */
  async quiet(): Promise<void> {
    do await this.unary('Echo', Buffer.alloc(0));
    while (this.listener.calls() > 0);
  }
}

const same = (bytes: Buffer): Buffer => bytes;
const path = (method: string): string => (method.startsWith('/') ? method : `/test.Service/${method}`);

function fill(entries: Record<string, string | Buffer>): Metadata {
  const metadata = new Metadata();
  for (const [name, entry] of Object.entries(entries)) metadata.add(name, entry);
  return metadata;
}

async function collect(stream: AsyncIterable<unknown>): Promise<Buffer[]> {
  const messages: Buffer[] = [];
  for await (const message of stream) messages.push(message as Buffer);
  return messages;
}

describe('unary calls', () => {
  it('of all sizes, many at a time', async t => {
    const fixture = await Fixture.start(t);
    const bodies = [0, 1, 100, 16_379, 16_384, 70_000, 1_500_000, 2_097_152].map(size => Buffer.alloc(size, size));
    const replies = await Promise.all(
      [...bodies, ...Array.from({ length: 300 }, (_, index) => Buffer.alloc(index, index))].map(async body => [
        body,
        await fixture.unary('Echo', body),
      ]),
    );
    for (const [body, reply] of replies) assert.ok(body!.equals(reply!), `${body!.length} bytes`);
    assert.equal(fixture.listener.calls(), 0);
  });

  it('that fail, with texts in any language', async t => {
    const fixture = await Fixture.start(t);
    for (const text of ['etcdserver: no leader', 'schlüssel fehlt', '鍵がない 100%\n\ttab', ' edges ', '\u{1f5dd}']) {
      await fixture.fails(fixture.unary('Fail', Buffer.from(text)), status.FAILED_PRECONDITION, text);
    }
  });

  it('of unknown methods and services', async t => {
    const fixture = await Fixture.start(t);
    const body = Buffer.alloc(1);
    const { UNIMPLEMENTED } = status;
    await fixture.fails(fixture.unary('No', body), UNIMPLEMENTED, 'unknown service test.Service');
    await fixture.fails(fixture.unary('/no.Service/No', body), UNIMPLEMENTED, 'unknown service no.Service');
  });

  it('larger than the server takes', async t => {
    const fixture = await Fixture.start(t);
    await fixture.fails(
      fixture.unary('Echo', Buffer.alloc(2_097_153)),
      status.RESOURCE_EXHAUSTED,
      'grpc: received message larger than max (2097153 vs. 2097152)',
    );
    assert.equal((await fixture.unary('Echo', Buffer.alloc(1))).length, 1);
  });

  it('with metadata, text and binary', async t => {
    const fixture = await Fixture.start(t);
    const sent = { token: 'a.b', 'trace-bin': Buffer.of(0, 255, 128) };
    assert.equal((await fixture.unary('Metadata', Buffer.from('token'), sent)).toString(), 'a.b');
    assert.deepEqual(await fixture.unary('Metadata', Buffer.from('trace-bin'), sent), Buffer.of(0, 255, 128));
  });

  it('compressed with gzip, both ways', async t => {
    const algorithm = { 'grpc.default_compression_algorithm': compressionAlgorithms.gzip };
    const fixture = await Fixture.start(t, {}, algorithm);
    for (const size of [0, 10, 100_000, 2_000_000]) {
      const body = Buffer.alloc(size, 'etcd');
      assert.ok((await fixture.unary('Echo', body)).equals(body), `${size} bytes`);
    }
    await fixture.fails(
      fixture.unary('Echo', Buffer.alloc(3_000_000)),
      status.RESOURCE_EXHAUSTED,
      /after decompression/,
    );
    const unknown = await Fixture.start(t, {}, { 'grpc.default_compression_algorithm': compressionAlgorithms.deflate });
    await unknown.fails(unknown.unary('Echo', Buffer.alloc(10)), status.UNIMPLEMENTED, /grpc-encoding "deflate"/);
  });

  it('that wait past their deadline, on one side or the other', async t => {
    const fixture = await Fixture.start(t);
    const late = fixture.unary('Wait', Buffer.alloc(1), {}, { deadline: Date.now() + 50 });
    await fixture.fails(late, status.DEADLINE_EXCEEDED, /eadline/);
    await fixture.quiet();
    assert.match(fixture.service.cancels.join(), /^Wait (deadline|client)$/);
  });

  it('that the client cancels', async t => {
    const fixture = await Fixture.start(t);
    const waiting = fixture.waiting();
    const call = fixture.client.makeUnaryRequest(path('Wait'), same, same, Buffer.alloc(1), () => {});
    const ended = once(call, 'status');
    await waiting;
    call.cancel();
    assert.equal(((await ended)[0] as StatusObject).code, status.CANCELLED);
    await fixture.quiet();
    assert.deepEqual(fixture.service.cancels, ['Wait client']);
  });
});

describe('streams', () => {
  it('to and fro', async t => {
    const fixture = await Fixture.start(t);
    const stream = fixture.bidi('EchoAll');
    const bodies = Array.from({ length: 200 }, (_, index) => Buffer.alloc(index * 100, index));
    const echoes = collect(stream);
    for (const body of bodies) if (!stream.write(body)) await once(stream, 'drain');
    stream.end();
    assert.deepEqual(Buffer.concat(await echoes), Buffer.concat(bodies));
  });

  it('from the server, at the pace of the reader', async t => {
    const fixture = await Fixture.start(t);
    const count = 5_000;
    const stream = fixture.client.makeServerStreamRequest(path('Count'), same, same, Buffer.from(String(count)));
    const ended = once(stream, 'status');
    const messages = await collect(stream);
    assert.equal(messages.length, count);
    assert.ok(messages.every((message, index) => message[999] === ((count - 1 - index) & 255)));
    assert.equal(((await ended)[0] as StatusObject).code, status.OK);
  });

  it('that the client leaves', async t => {
    const fixture = await Fixture.start(t);
    const stream = await fixture.waitingStream();
    stream.cancel();
    await fixture.quiet();
    assert.deepEqual(fixture.service.cancels, ['Wait client']);
  });

  it('whose client goes', async t => {
    const fixture = await Fixture.start(t);
    const other = await Fixture.start(t);
    const stream = await fixture.waitingStream();
    fixture.client.close();
    stream.cancel();
    while (fixture.listener.connections() > 0) await other.unary('Echo', Buffer.alloc(1));
    assert.equal(fixture.service.cancels.length, 1);
    assert.equal(fixture.listener.calls(), 0);
  });
});

describe('the server closes', () => {
  it('and running calls get their answer', async t => {
    const fixture = await Fixture.start(t);
    const stream = fixture.bidi('EchoAll');
    stream.write(Buffer.from('before'));
    await once(stream, 'data');
    const closed = fixture.listener.close(60_000);
    const ended = once(stream, 'status');
    stream.end(Buffer.from('after'));
    assert.equal(Buffer.concat(await collect(stream)).toString(), 'after');
    assert.equal(((await ended)[0] as StatusObject).code, status.OK);
    await closed;
  });

  it('and calls that do not end are cut, and both sides know', async t => {
    const fixture = await Fixture.start(t);
    const waiting = fixture.waiting();
    const call = fixture.unary('Wait', Buffer.alloc(1));
    await waiting;
    await Promise.all([fixture.fails(call, status.UNAVAILABLE, /./), fixture.listener.close(10)]);
    assert.deepEqual(fixture.service.cancels, ['Wait connection']);
    assert.equal(fixture.listener.calls(), 0);
  });
});
