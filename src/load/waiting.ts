/** What the load programs wait with. */

export interface OpenPromise {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export function delay(ms: number): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, ms);
  });
}

/** Waits, but not longer than until `broken` rejects; then it rejects too and leaves no timer behind. */
export async function delayUnless(broken: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const time = new Promise<void>(resolve => {
    timer = setTimeout(resolve, ms);
  });
  try {
    await Promise.race([broken, time]);
  } finally {
    clearTimeout(timer);
  }
}

/** All connections, once they are open. When one cannot be, the others are closed before this rejects. */
export async function openAll<C extends { close(): void }>(opening: readonly Promise<C>[]): Promise<C[]> {
  const settled = await Promise.allSettled(opening);
  const failure = settled.find(result => result.status === 'rejected');
  const open = settled.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []));
  if (failure === undefined) return open;
  for (const connection of open) connection.close();
  throw failure.reason;
}

export function openPromise(): OpenPromise {
  let resolve!: () => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  // It may fail while its owner still waits for something else: that alone must not end the process.
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}

/** Allows calls as the clock says; the calls missed while this process was busy are made up for. */
export function tickAtRate(rate: number, allow: (more: number) => void): NodeJS.Timeout {
  const fromMs = performance.now();
  let given = 0;
  return setInterval(() => {
    const due = Math.floor(((performance.now() - fromMs) * rate) / 1000);
    if (due === given) return;
    allow(due - given);
    given = due;
  }, 1).unref();
}
