/**
 * The time in which something may be done: one signal out of a caller's signal, a timeout and other signals.
 *
 *     const scope = new Scope(options, lease.lost);
 *     try { ... scope.signal ... } finally { scope.end(); }
 *
 * `end` takes every listener back off: the signals that come in may live as long as the program.
 */
import { setMaxListeners } from 'node:events';
import { EtcdErrorCode } from '../wire/errors.js';
import type { CallOptions } from './channel.js';
import { tableError } from './errors.js';

/** Timers that are to ring later ring at once. */
export const timerMsMax = 2 ** 31 - 1;

export class Scope {
  readonly #controller = new AbortController();
  readonly #sources: AbortSignal[] = [];
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(options: CallOptions | undefined, ...others: readonly (AbortSignal | undefined)[]) {
    if (options?.timeoutMs !== undefined && options.timeoutMs <= timerMsMax) {
      const late = (): void => this.#controller.abort(tableError(EtcdErrorCode.ContextDeadlineExceeded));
      this.#timer = setTimeout(late, options.timeoutMs);
    }
    for (const signal of [options?.signal, ...others]) {
      if (signal === undefined) continue;
      // One signal for any number of calls is what signals are for, not a leak.
      setMaxListeners(0, signal);
      if (signal.aborted) this.#controller.abort(signal.reason);
      signal.addEventListener('abort', this.#onAbort, { once: true });
      this.#sources.push(signal);
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends the time from here. */
  abort(reason: Error): void {
    this.#controller.abort(reason);
  }

  /** No more is done: the signal stays as it is. */
  end(): void {
    clearTimeout(this.#timer);
    for (const signal of this.#sources) signal.removeEventListener('abort', this.#onAbort);
  }

  readonly #onAbort = (event: Event): void => this.#controller.abort((event.target as AbortSignal).reason);
}

/** Resolves after a while; rejects with the signal's reason as soon as that is aborted. */
export function pause(durationMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason as Error);
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, durationMs);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Settles as `work` does, or rejects with the signal's reason if that comes first; the work is not undone. */
export function orAborted<Value>(work: Promise<Value>, signal: AbortSignal | undefined): Promise<Value> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** Pauses between attempts: doubled from the first to the last, shortened by up to a half by chance. */
export function backoffMs(attempt: number): number {
  return Math.min(25 * 2 ** attempt, 1_000) * (1 - Math.random() / 2);
}
