/**
 * One streaming RPC on its way: the call's listener and the ring stream's waiter in one object.
 *
 *     client --message*--> member          member --message*--> client
 *                                          credit <-- what the client's connection has taken
 */
import { CreditReturn } from '../transport/stream-credit.js';
import { type EtcdErrorCode, etcdError, GrpcCode } from '../wire/errors.js';
import type { Method } from '../wire/methods.js';
import type { Call, CallListener } from './grpc/call.js';
import type { MemberPort, StreamWaiter } from './member-port.js';

export class StreamCall implements CallListener, StreamWaiter {
  readonly #call: Call;
  readonly #port: MemberPort;
  readonly #credit = new CreditReturn();
  readonly #streamId: number;
  #ended = false;

  constructor(call: Call, method: Method, port: MemberPort, caller: Uint8Array | undefined) {
    this.#call = call;
    this.#port = port;
    this.#streamId = port.openStream(method, call.metadata.get('hasleader') === 'true', this, caller);
  }

  // What the client sends and what becomes of its call (CallListener).

  message(message: Uint8Array): void {
    this.#port.send(this.#streamId, message);
  }

  halfClose(): void {
    this.#port.halfClose(this.#streamId);
  }

  cancel(): void {
    this.#ended = true;
    this.#port.cancel(this.#streamId);
    // Nobody hears it, but it tells the connection that no more work is done for this call.
    this.#call.end(GrpcCode.Canceled, '');
  }

  drain(): void {
    this.#giveBack(this.#credit.drained());
  }

  // What the member answers (StreamWaiter).

  received(message: Uint8Array, given: boolean, head: Uint8Array | undefined): void {
    if (this.#ended) return;
    const taken = this.#call.sendMessage(message, given, head);
    this.#giveBack(this.#credit.sent(message.length + (head?.length ?? 0), taken));
  }

  ended(code: EtcdErrorCode | 0, detail: string): void {
    if (this.#ended) return;
    this.#ended = true;
    if (code === 0) {
      this.#call.end(GrpcCode.Ok, '');
      return;
    }
    const { grpcCode, message } = etcdError(code, detail);
    this.#call.end(grpcCode, message);
  }

  #giveBack(bytes: number): void {
    if (bytes > 0) this.#port.credit(this.#streamId, bytes);
  }
}
