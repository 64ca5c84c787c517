/**
 * A channel whose streams can be cut, and held back until they may be opened again; calls go through untouched.
 */
import { type Channel, type ClientStream, EtcdError, type StreamListener } from '../../src/client/channel.js';
import { createClient, type EtcdClient } from '../../src/client/client.js';
import { GrpcCode } from '../../src/wire/errors.js';

export interface CutClient {
  readonly client: EtcdClient;
  /** Ends every stream; new ones wait. */
  cut(): void;
  /** Opens what waits. */
  mend(): void;
}

interface Cuttable {
  readonly listener: StreamListener;
  stream: ClientStream | undefined;
  open(): void;
}

export function cutClient({ channel }: EtcdClient): CutClient {
  const streams = new Set<Cuttable>();
  let isCut = false;
  const cuttable: Channel = {
    unary: (method, request, options) => channel.unary(method, request, options),
    stream: (method, listener, options) => {
      const waiting: ((stream: ClientStream) => void)[] = [];
      const entry: Cuttable = {
        listener,
        stream: undefined,
        open: () => {
          entry.stream = channel.stream(method, listener, options);
          for (const act of waiting) act(entry.stream);
        },
      };
      const act = (action: (stream: ClientStream) => void): void => {
        if (entry.stream === undefined) waiting.push(action);
        else action(entry.stream);
      };
      streams.add(entry);
      if (!isCut) entry.open();
      return {
        send: request => {
          const copy = request.slice();
          act(stream => stream.send(copy));
        },
        halfClose: () => act(stream => stream.halfClose()),
        cancel: () => {
          streams.delete(entry);
          act(stream => stream.cancel());
        },
        pause: () => act(stream => stream.pause()),
        resume: () => act(stream => stream.resume()),
      };
    },
  };
  const cut = (): void => {
    isCut = true;
    for (const entry of [...streams]) {
      streams.delete(entry);
      entry.stream?.cancel();
      entry.listener.end(new EtcdError(GrpcCode.Unavailable, 'cut'));
    }
  };
  const mend = (): void => {
    isCut = false;
    for (const entry of streams) if (entry.stream === undefined) entry.open();
  };
  return { client: createClient(cuttable), cut, mend };
}
