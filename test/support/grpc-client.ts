/**
 * A raw gRPC client over HTTP/2 for tests: bytes in, bytes and status out.
 *
 * It uses node:http2 and nothing of the product, so that what a test sees is what is on the wire. One client is one
 * connection; calls may run side by side, each on its own stream. A status other than OK is a result, not an
 * exception: differential tests compare statuses. Only a broken connection rejects.
 */
import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from 'node:http2';

export interface GrpcResult {
  /** gRPC status code, 0 = OK. */
  readonly grpcStatus: number;
  /** The status message, percent-decoded as gRPC's HTTP/2 mapping asks. */
  readonly grpcMessage: string;
  /** The messages of the answer, without their five-byte prefix; one for a successful unary call. */
  readonly messages: readonly Buffer[];
  readonly headers: IncomingHttpHeaders;
  /** Equal to `headers` for an answer that consists of trailers only. */
  readonly trailers: IncomingHttpHeaders;
}

export interface CallOptions {
  /** Further request metadata; names in lower case. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Sent as grpc-timeout and enforced here too, as clients do: the call then ends with DeadlineExceeded (4). */
  readonly deadlineMs?: number;
}

const maxMessageBytes = 2 ** 31 - 1;

export class GrpcClient {
  readonly endpoint: string;
  readonly #session: ClientHttp2Session;

  private constructor(endpoint: string, session: ClientHttp2Session) {
    this.endpoint = endpoint;
    this.#session = session;
  }

  /** Connects to `host:port` in cleartext. */
  static async connect(endpoint: string): Promise<GrpcClient> {
    // Whose certificate it is makes no difference to a test or a measurement that begins here.
    const session = connect(endpoint.includes('://') ? endpoint : `http://${endpoint}`, {
      rejectUnauthorized: false,
      settings: { initialWindowSize: 2 ** 24 },
      maxSessionMemory: 1024, // Megabytes: requests beyond the servers' limits are sent on purpose.
    });
    // Calls in flight see the error on their own stream; idle sessions have nobody to tell.
    session.on('error', () => {});
    await once(session, 'connect');
    session.setLocalWindowSize(2 ** 24);
    return new GrpcClient(endpoint, session);
  }

  /** Makes one unary call. `path` is `/package.Service/Method`, `message` the encoded request. */
  async unary(path: string, message: Uint8Array, options: CallOptions = {}): Promise<GrpcResult> {
    return this.raw(path, frameMessage(message), options);
  }

  /** As `unary`, with a request body that is sent as it is: for bodies that are no proper gRPC message. */
  async raw(path: string, body: Uint8Array, options: CallOptions = {}): Promise<GrpcResult> {
    const { deadlineMs, metadata } = options;
    const stream = this.#session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...(deadlineMs === undefined ? {} : { 'grpc-timeout': `${deadlineMs}m` }),
      ...metadata,
    });
    const { promise, resolve, reject } = promiseWithResolvers<GrpcResult>();
    const chunks: Buffer[] = [];
    let headers: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders | undefined;
    const timer =
      deadlineMs === undefined
        ? undefined
        : setTimeout(() => {
            resolve({ grpcStatus: 4, grpcMessage: 'deadline of the test client', messages: [], headers, trailers: {} });
            stream.close(constants.NGHTTP2_CANCEL);
          }, deadlineMs);
    stream.on('response', received => {
      headers = received;
    });
    stream.on('trailers', received => {
      trailers = received;
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    let failure: Error | undefined;
    stream.on('error', error => {
      failure = error;
    });
    stream.on('close', () => {
      clearTimeout(timer);
      const status = (trailers ?? headers)['grpc-status'];
      if (typeof status !== 'string') {
        const cause = failure === undefined ? {} : { cause: failure };
        reject(new Error(`${path}: stream ended without grpc-status, code ${stream.rstCode}`, cause));
        return;
      }
      resolve({
        grpcStatus: Number(status),
        grpcMessage: decodeStatusMessage((trailers ?? headers)['grpc-message']),
        messages: splitMessages(Buffer.concat(chunks)),
        headers,
        trailers: trailers ?? headers,
      });
    });
    stream.end(body);
    return promise;
  }

  /** Opens a call of many messages, both ways. */
  stream(path: string, options: Pick<CallOptions, 'metadata'> = {}): GrpcStream {
    const stream = this.#session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...options.metadata,
    });
    return new GrpcStream(stream);
  }

  /** Closes the connection; calls in flight fail. */
  close(): void {
    this.#session.destroy();
  }
}

/** A call of many messages: `for await` the answers or take them with `next`; `status` is how it ended. */
export class GrpcStream implements AsyncIterableIterator<Buffer> {
  /** Status and text; a stream that broke without either has status -1. */
  readonly status: Promise<Pick<GrpcResult, 'grpcStatus' | 'grpcMessage'>>;
  readonly #stream: ClientHttp2Stream;
  readonly #waiting: ((result: IteratorResult<Buffer>) => void)[] = [];
  readonly #messages: Buffer[] = [];
  #chunk: Buffer = Buffer.alloc(0);
  #ended = false;

  constructor(stream: ClientHttp2Stream) {
    this.#stream = stream;
    let last: IncomingHttpHeaders = {};
    stream.on('response', headers => {
      last = headers;
    });
    stream.on('trailers', trailers => {
      last = trailers;
    });
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => this.#take(chunk));
    this.status = new Promise(resolve => {
      stream.on('close', () => {
        this.#ended = true;
        for (const waiting of this.#waiting.splice(0)) waiting({ done: true, value: undefined });
        const status = last['grpc-status'];
        const grpcStatus = typeof status === 'string' ? Number(status) : -1;
        resolve({ grpcStatus, grpcMessage: decodeStatusMessage(last['grpc-message']) });
      });
    });
  }

  send(message: Uint8Array): void {
    this.#stream.write(frameMessage(message));
  }

  halfClose(): void {
    this.#stream.end();
  }

  cancel(): void {
    this.#stream.close(constants.NGHTTP2_CANCEL);
  }

  /** Takes nothing from the wire any more, so that the flow-control window closes. */
  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  /** The next answer; done when the call has ended. */
  next(): Promise<IteratorResult<Buffer>> {
    const message = this.#messages.shift();
    if (message !== undefined) return Promise.resolve({ done: false, value: message });
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise(resolve => {
      this.#waiting.push(resolve);
    });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #take(bytes: Buffer): void {
    this.#chunk = this.#chunk.length === 0 ? bytes : Buffer.concat([this.#chunk, bytes]);
    while (this.#chunk.length >= 5) {
      const end = 5 + this.#chunk.readUInt32BE(1);
      if (this.#chunk.length < end) return;
      const message = this.#chunk.subarray(5, end);
      this.#chunk = this.#chunk.subarray(end);
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#messages.push(message);
      else waiting({ done: false, value: message });
    }
  }
}

/** Puts gRPC's prefix (not compressed, length) before a message. */
export function frameMessage(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(5 + message.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, 5);
  return framed;
}

function splitMessages(bytes: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  let position = 0;
  while (position < bytes.length) {
    if (bytes.length - position < 5) throw new Error('answer ends inside a message prefix');
    if (bytes[position] !== 0) throw new Error('answer is compressed, which the request did not allow');
    const length = bytes.readUInt32BE(position + 1);
    if (length > maxMessageBytes || position + 5 + length > bytes.length)
      throw new Error('answer ends inside a message');
    messages.push(bytes.subarray(position + 5, position + 5 + length));
    position += 5 + length;
  }
  return messages;
}

/** gRPC's percent-encoding covers single bytes of the UTF-8 text; a stray percent sign stands for itself. */
function decodeStatusMessage(text: string | string[] | undefined): string {
  if (typeof text !== 'string') return '';
  const bytes = text.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

function promiseWithResolvers<T>() {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
