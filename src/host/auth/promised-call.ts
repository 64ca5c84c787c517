/**
 * One gRPC call of password-calls.ts: its listener.
 */
import { EtcdError } from '../../client/channel.js';
import { tableError } from '../../client/errors.js';
import { EtcdErrorCode, GrpcCode } from '../../wire/errors.js';
import type { Call, CallListener } from '../grpc/call.js';

/** Answers a unary call with what `answer` resolves with; its failures are EtcdErrors. */
export class PromisedCall implements CallListener {
  readonly #call: Call;
  readonly #answer: (request: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>;
  readonly #gone = new AbortController();
  #received = false;

  constructor(call: Call, answer: (request: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>) {
    this.#call = call;
    this.#answer = answer;
  }

  message(bytes: Uint8Array): void {
    if (this.#received) {
      this.#call.end(GrpcCode.Internal, 'kvorum: more than one request message for a unary call');
      this.#gone.abort(canceled);
      return;
    }
    this.#received = true;
    // The view is valid during this call only.
    this.#answer(bytes.slice(), this.#gone.signal).then(
      response => this.#call.reply(response),
      (error: unknown) => this.#fail(error),
    );
  }

  halfClose(): void {
    if (!this.#received) this.#call.end(GrpcCode.Internal, 'kvorum: a unary call without a request message');
  }

  cancel(): void {
    this.#gone.abort(canceled);
    // Otherwise the call ends when the work has stopped.
    if (!this.#received) this.#call.end(canceled.code, canceled.message);
  }

  #fail(error: unknown): void {
    if (error instanceof EtcdError) this.#call.end(error.code, error.message);
    else this.#call.end(GrpcCode.Internal, `kvorum: ${(error as Error).name}`);
  }
}

const canceled = tableError(EtcdErrorCode.ContextCanceled);
