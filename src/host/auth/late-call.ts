/**
 * A call whose caller is not known yet: what the client sends meanwhile waits.
 */
import { EtcdErrorCode, etcdError } from '../../wire/errors.js';
import type { Call, CallListener, CancelReason } from '../grpc/call.js';

/** Opens a call when its caller is known; `caller` does not reject. Cancelled before, it is never opened. */
export function openLater<Caller>(
  call: Call,
  caller: Promise<Caller>,
  open: (caller: Caller) => CallListener,
): CallListener {
  return new LateCall(call, caller, open);
}

class LateCall<Caller> implements CallListener {
  readonly #call: Call;
  #listener: CallListener | undefined;
  #messages: Uint8Array[] = [];
  #halfClosed = false;
  #cancelled = false;

  constructor(call: Call, caller: Promise<Caller>, open: (caller: Caller) => CallListener) {
    this.#call = call;
    void caller.then(known => {
      if (!this.#cancelled) this.#begin(open(known));
    });
  }

  message(bytes: Uint8Array): void {
    if (this.#listener !== undefined) this.#listener.message(bytes);
    else this.#messages.push(bytes.slice());
  }

  halfClose(): void {
    if (this.#listener !== undefined) this.#listener.halfClose();
    else this.#halfClosed = true;
  }

  cancel(reason: CancelReason): void {
    if (this.#listener !== undefined) return this.#listener.cancel(reason);
    this.#cancelled = true;
    const { grpcCode, message } = etcdError(EtcdErrorCode.ContextCanceled);
    // Nobody hears it, but it tells the connection that no more work is done for this call.
    this.#call.end(grpcCode, message);
  }

  drain(): void {
    this.#listener?.drain?.();
  }

  #begin(listener: CallListener): void {
    this.#listener = listener;
    for (const message of this.#messages) listener.message(message);
    this.#messages = [];
    if (this.#halfClosed) listener.halfClose();
  }
}
