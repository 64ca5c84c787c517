/**
 * Assertions that stay on in production.
 *
 * There are two kinds of failure here. An expected one (bad input, no leader, full disk) is a value or a typed error
 * that the caller handles. A broken law is an AssertionError: nobody catches it to continue, the thread that broke it
 * dies, the host reports it and restarts the member. A wrong answer never leaves the process.
 */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Throws AssertionError with `message` and the numbers in `details` unless `condition` holds. Keep it O(1). */
export function assert(condition: boolean, message: string, details?: Record<string, unknown>): asserts condition {
  if (!condition) fail(message, details);
}

/** The branch that must never be reached. */
export function fail(message: string, details?: Record<string, unknown>): never {
  throw new AssertionError(details === undefined ? message : `${message} ${describe(details)}`);
}

function describe(details: Record<string, unknown>): string {
  return Object.entries(details)
    .map(([name, value]) => `${name}=${typeof value === 'bigint' ? value.toString(16) : String(value)}`)
    .join(' ');
}
