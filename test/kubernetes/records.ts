/**
 * What a watch client and the server said to each other, written down for the validators.
 *
 * A stream is kept as it happened, one list of exchanges in the client's order; `watchesOf` takes it apart into the
 * lives of its watches. Keys and values are latin1 strings: their order is the order of the bytes.
 */
export interface KeyValue {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: bigint;
}

export interface WatchEvent {
  readonly type: 'put' | 'delete';
  readonly kv: KeyValue;
  readonly prevKv: KeyValue | undefined;
}

export interface WatchResponse {
  readonly watchId: number;
  /** Of the response's header. */
  readonly revision: number;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compactRevision: number;
  readonly cancelReason: string;
  readonly fragment: boolean;
  readonly events: readonly WatchEvent[];
  /** The highest revision whose compaction anybody had asked for when this arrived: what lies below may be missing. */
  readonly compactionAsked: number;
}

export interface KeyRange {
  readonly key: string;
  /** Exclusive; empty: `key` alone; one zero byte: every key from `key` on. */
  readonly rangeEnd: string;
}

export interface WatchRequest extends KeyRange {
  readonly startRevision: number;
  readonly prevKv: boolean;
  readonly progressNotify: boolean;
  readonly fragment: boolean;
  readonly noPut: boolean;
  readonly noDelete: boolean;
  /** 0: the server chooses. */
  readonly watchId: number;
}

export type Exchange =
  | { readonly create: WatchRequest }
  | { readonly cancel: number }
  | { readonly received: WatchResponse };

export interface StreamRecord {
  readonly name: string;
  readonly exchanges: readonly Exchange[];
}

/** One watch from its creation to its end, with the responses for it and the progress responses for the whole stream. */
export interface WatchRecord {
  readonly name: string;
  readonly request: WatchRequest;
  readonly responses: readonly WatchResponse[];
  /** How many responses there were when the client cancelled it. */
  readonly cancelAskedAt?: number;
}

export interface Violation {
  /** W1 to W12, or the name of another rule. */
  readonly rule: string;
  /** The watch or the client. */
  readonly where: string;
  readonly text: string;
}

type Mutable<T> = { -readonly [P in keyof T]: T[P] };

/** The id of a response to a manual progress request: it speaks for all watches of the stream. */
export const streamWatchId = -1;

export function inRange(key: string, range: KeyRange): boolean {
  if (range.rangeEnd === '') return key === range.key;
  return key >= range.key && (range.rangeEnd === '\0' || key < range.rangeEnd);
}

/** Whether the watch asked for events like this one. */
export function isWanted(event: WatchEvent, request: WatchRequest): boolean {
  if (event.type === 'put' ? request.noPut : request.noDelete) return false;
  return inRange(event.kv.key, request);
}

/** The range of all keys that begin with `prefix`, whose last byte is below 0xff. */
export function prefixRange(prefix: string): KeyRange {
  const last = prefix.charCodeAt(prefix.length - 1);
  return { key: prefix, rangeEnd: prefix.slice(0, -1) + String.fromCharCode(last + 1) };
}

export function isProgress(response: WatchResponse): boolean {
  return !response.created && !response.canceled && response.events.length === 0;
}

/**
 * Takes a stream apart. What cannot belong to any watch of it is a violation of W10: a response for an id that was not
 * created, was cancelled, or was created without having been asked for.
 */
export function watchesOf(stream: StreamRecord): { watches: WatchRecord[]; violations: Violation[] } {
  const watches: WatchRecord[] = [];
  const violations: Violation[] = [];
  const asked: WatchRequest[] = [];
  const live = new Map<number, Mutable<WatchRecord> & { readonly responses: WatchResponse[] }>();
  const cancelsAsked = new Map<number, number>();
  const found = (response: WatchResponse, text: string) =>
    violations.push({
      rule: 'W10',
      where: stream.name,
      text: `${text}: watch ${response.watchId}, revision ${response.revision}, ${response.events.length} events`,
    });
  const create = (response: WatchResponse) => {
    const byId = asked.findIndex(request => request.watchId !== 0 && request.watchId === response.watchId);
    const request = asked.splice(byId === -1 ? asked.findIndex(({ watchId }) => watchId === 0) : byId, 1)[0];
    if (request === undefined) return found(response, 'created without having been asked for');
    if (live.has(response.watchId)) found(response, 'created while a watch of that id lives');
    const watch = { name: `${stream.name} watch ${response.watchId}`, request, responses: [response] };
    watches.push(watch);
    if (!response.canceled) live.set(response.watchId, watch);
  };
  for (const exchange of stream.exchanges) {
    if ('create' in exchange) asked.push(exchange.create);
    else if ('cancel' in exchange) {
      cancelsAsked.set(exchange.cancel, (cancelsAsked.get(exchange.cancel) ?? 0) + 1);
      const watch = live.get(exchange.cancel);
      if (watch !== undefined) watch.cancelAskedAt = watch.responses.length;
    } else {
      const { received } = exchange;
      const cancels = cancelsAsked.get(received.watchId) ?? 0;
      const watch = live.get(received.watchId);
      if (received.created) create(received);
      else if (received.watchId === streamWatchId && isProgress(received)) {
        for (const { responses } of live.values()) responses.push(received);
      } else if (watch !== undefined) watch.responses.push(received);
      else if (!received.canceled || cancels === 0) found(received, 'a response for an id that does not live');
      // A compaction's cancel and the client's may cross: the client's is answered all the same.
      if (!received.canceled || received.created) continue;
      live.delete(received.watchId);
      if (received.compactRevision === 0) cancelsAsked.set(received.watchId, cancels - 1);
    }
  }
  return { watches, violations };
}
