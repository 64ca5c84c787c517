/**
 * Logs: the main thread has the only pino; members send small records through their rings and never format.
 *
 * JSON lines on stderr, as etcd's logs go; the level names are etcd's too.
 */
import pino, { type Logger } from 'pino';
import type { LogLevel } from './options.js';

/** A member's record: level and message, then whatever fields it has. */
export interface MemberRecord {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** etcd knows a level `panic`, pino does not: what would panic there is fatal here. */
export function createLogger(level: LogLevel): Logger {
  const options = { level: level === 'panic' ? 'fatal' : level, base: null };
  return pino(options, pino.destination({ fd: 2, sync: true }));
}

/** Writes a record that came from a member's ring. */
export function logMemberRecord(logger: Logger, payload: Uint8Array): void {
  const { level, msg, ...fields } = JSON.parse(Buffer.from(payload).toString('utf8')) as MemberRecord;
  logger[level](fields, msg);
}
