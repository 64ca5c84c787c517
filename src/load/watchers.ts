/**
 * Watchers over streams over connections over endpoints, and a check of everything they are sent.
 *
 * Watcher w is on stream w / watchers-per-stream and watches key w mod keys: with many keys the watchers of a key are on
 * different streams. Streams go round the connections, connections round the endpoints. A watcher must see rising
 * revisions; one that is cancelled ends the run.
 */
import { encode } from '../wire/schema.js';
import { keyOf } from './requests.js';
import { StreamConnection } from './stream-connection.js';
import { openAll, openPromise } from './waiting.js';
import { WatchResponseReader } from './watch-response.js';

export interface WatchShape {
  readonly keys: number;
  readonly watchers: number;
  readonly streams: number;
  readonly connections: number;
}

/** Opens every stream and watcher and resolves when the servers have confirmed all of them. */
export async function openWatchers(
  endpoints: readonly string[],
  shape: WatchShape,
  onEvent: (number: number, nowMs: number) => void,
  failed: (error: Error) => void,
): Promise<StreamConnection[]> {
  const { keys, watchers, streams, connections } = shape;
  const perStream = watchers / streams;
  const lastRevision = new Float64Array(watchers).fill(-1);
  const response = new WatchResponseReader();
  const created = openPromise();
  let confirmed = 0;
  const onMessage = (stream: number, bytes: Buffer, start: number, end: number, nowMs: number) => {
    response.read(bytes, start, end);
    const { watchId, events, revisions, numbers } = response;
    const watcher = stream * perStream + watchId;
    if (response.cancelled || watchId >= perStream) throw new Error(`watcher ${watchId} of stream ${stream} is gone`);
    if (response.created && ++confirmed === watchers) created.resolve();
    for (let i = 0; i < events; i++) {
      if (revisions[i]! <= lastRevision[watcher]!) throw new Error(`revision ${revisions[i]} came late or twice`);
      lastRevision[watcher] = revisions[i]!;
      onEvent(numbers[i]!, nowMs);
    }
  };
  const open = await openAll(
    Array.from({ length: connections }, (_, position) =>
      StreamConnection.open({
        endpoint: endpoints[position % endpoints.length]!,
        path: '/etcdserverpb.Watch/Watch',
        onMessage: (stream, ...message) => onMessage(stream * connections + position, ...message),
        failed: error => {
          failed(error);
          created.reject(error);
        },
      }),
    ),
  );
  for (let stream = 0; stream < streams; stream++) open[stream % connections]!.openStream();
  for (let watcher = 0; watcher < watchers; watcher++) {
    const stream = Math.floor(watcher / perStream);
    open[stream % connections]!.send(Math.floor(stream / connections), createRequest(keyOf(watcher % keys)));
  }
  for (const connection of open) connection.flush();
  try {
    await created.promise;
  } catch (error) {
    for (const connection of open) connection.close();
    throw error;
  }
  return open;
}

function createRequest(key: string): Uint8Array {
  return encode('etcdserverpb.WatchRequest', { create_request: { key: Buffer.from(key) } });
}
