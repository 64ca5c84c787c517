/**
 * A channel played by the test: it sees what the client asks for and answers when the test says so.
 */
import type { Channel, ClientStream, StreamListener, StreamOptions } from '../../src/client/channel.js';
import { type Method, methodByNumber } from '../../src/wire/methods.js';
import { decode, encode, type Message, type MessageInput, type MessageName } from '../../src/wire/schema.js';

export class ScriptedStream implements ClientStream {
  readonly requests: Uint8Array[] = [];
  cancelled = false;
  paused = false;

  constructor(
    readonly method: Method,
    readonly listener: StreamListener,
    readonly options: StreamOptions,
  ) {}

  /** The requests that were sent, decoded. */
  sent<Name extends MessageName>(name: Name): Message<Name>[] {
    return this.requests.map(bytes => decode(name, bytes));
  }

  answer<Name extends MessageName>(name: Name, message: MessageInput<Name>): void {
    this.listener.message(encode(name, message));
  }

  send(request: Uint8Array): void {
    this.requests.push(request.slice());
  }

  halfClose(): void {}

  cancel(): void {
    this.cancelled = true;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }
}

export class ScriptedChannel implements Channel {
  readonly streams: ScriptedStream[] = [];
  #waiting: (() => void) | undefined;

  unary(method: Method): Promise<Uint8Array> {
    return Promise.reject(new Error(`no answer for ${methodByNumber(method)?.path}`));
  }

  stream(method: Method, listener: StreamListener, options: StreamOptions = {}): ClientStream {
    const stream = new ScriptedStream(method, listener, options);
    this.streams.push(stream);
    this.#waiting?.();
    return stream;
  }

  /** The stream that was opened as the `number`-th, from 0; waits for it. */
  async opened(number: number): Promise<ScriptedStream> {
    while (this.streams.length <= number) {
      await new Promise<void>(resolve => {
        this.#waiting = resolve;
      });
    }
    return this.streams[number]!;
  }
}
