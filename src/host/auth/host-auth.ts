/**
 * What the host needs for its part of auth, made once a cluster.
 */
import type { Logger } from 'pino';
import { PacedLog } from '../paced-log.js';
import type { JwtTokens } from './jwt.js';
import type { TokenOptions } from './token-options.js';

/** The host's part of a cluster's options. */
export interface AuthSettings {
  readonly tokens: TokenOptions;
  readonly bcryptCost: number;
  /** Client certificates name users: etcd's --client-cert-auth. */
  readonly commonNames: boolean;
}

export interface HostAuth {
  /** Signed tokens; undefined: the members give simple ones. */
  readonly tokens: JwtTokens | undefined;
  readonly bcryptCost: number;
  readonly commonNames: boolean;
  /** Of logins that fail. */
  readonly log: Pick<PacedLog, 'warn'>;
}

/** Reads the keys, if there are any to read. Rejects with StartError. */
export async function prepareAuth({ tokens, ...settings }: AuthSettings, logger: Logger): Promise<HostAuth> {
  const rest = { ...settings, log: new PacedLog(logger) };
  if (tokens === undefined) return { tokens, ...rest };
  // Loaded when asked for: a cluster with simple tokens starts without it.
  const { JwtTokens } = await import('./jwt.js');
  return { tokens: new JwtTokens(tokens), ...rest };
}
