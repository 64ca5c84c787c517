/**
 * One stream of the remote channel, usable before it is open: requests wait for the connection.
 *
 * Its listener hears nothing before `open`, nothing after the end, and the end once. Messages that arrived but were
 * held back by `pause` are lost with the connection: the stream's user goes on from what it was given.
 */
import type * as Grpc from '@grpc/grpc-js';
import { GrpcCode } from '../wire/errors.js';
import { ProtoError } from '../wire/proto.js';
import { type ClientStream, EtcdError, type StreamListener } from './channel.js';
import { CallFailure, type Endpoint } from './endpoint.js';
import { noToken } from './session.js';

export class RemoteStream implements ClientStream {
  /** Where it runs; undefined: nowhere yet. */
  endpoint: Endpoint | undefined;
  /** What it was opened with. */
  token = noToken;
  readonly #listener: StreamListener;
  readonly #onOver: (error: EtcdError | undefined) => void;
  #call: Grpc.ClientDuplexStream<Buffer, Buffer> | undefined;
  #unsent: Buffer[] = [];
  #halfClosed = false;
  #paused = false;
  #over = false;

  /** `onOver`: heard once, however the stream ends. */
  constructor(listener: StreamListener, onOver: (error: EtcdError | undefined) => void) {
    this.#listener = listener;
    this.#onOver = onOver;
  }

  open(endpoint: Endpoint, path: string, token: string, metadata: Grpc.Metadata): void {
    if (this.#over) return;
    this.token = token;
    const call = endpoint.stream(path, metadata);
    this.endpoint = endpoint;
    this.#call = call;
    // More than one may come: a message that arrives behind the status is one to grpc-js.
    call.on('error', (error: Grpc.ServiceError) => this.#finish(new CallFailure(error)));
    call.on('end', () => this.#finish(undefined));
    call.on('data', (message: Buffer) => this.#hear(message));
    if (this.#paused) call.pause();
    for (const request of this.#unsent) call.write(request);
    this.#unsent = [];
    if (this.#halfClosed) call.end();
  }

  send(request: Uint8Array): void {
    if (this.#over || this.#halfClosed) return;
    const copy = Buffer.from(request);
    if (this.#call === undefined) this.#unsent.push(copy);
    else this.#call.write(copy);
  }

  halfClose(): void {
    this.#halfClosed = true;
    this.#call?.end();
  }

  cancel(): void {
    if (this.#over) return;
    this.#over = true;
    this.#call?.cancel();
    this.#onOver(undefined);
  }

  pause(): void {
    this.#paused = true;
    this.#call?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#call?.resume();
  }

  /** Ends it from this side, with an error that the listener hears. */
  readonly fail = (error: EtcdError): void => {
    if (this.#over) return;
    this.#finish(error);
    this.#call?.cancel();
  };

  #hear(message: Buffer): void {
    if (this.#over) return;
    try {
      this.#listener.message(message);
    } catch (error) {
      // A server that sends what is no message ends this stream, not the program.
      if (!(error instanceof ProtoError)) throw error;
      this.fail(new EtcdError(GrpcCode.Internal, error.message));
    }
  }

  #finish(error: EtcdError | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#onOver(error);
    this.#listener.end(error);
  }
}
