/**
 * `--cacert`, `--cert`, `--key` and `--insecure-skip-tls-verify`, as etcdctl reads them: from the command line or from
 * ETCDCTL_CACERT and so on, not from both at once.
 */
import { readFileSync } from 'node:fs';
import type { TlsOptions } from '../client/connect.js';
import { StartError } from '../host/data-directory.js';

export const tlsUsage = '[--cacert FILE] [--cert FILE --key FILE] [--insecure-skip-tls-verify]';

export const tlsFlags = {
  cacert: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  'insecure-skip-tls-verify': { type: 'boolean' },
} as const;

type Given = { readonly [Name in keyof typeof tlsFlags]?: string | boolean | undefined };

/** What a verb's flags and the environment say; undefined: nothing. Throws StartError. */
export function tlsOptionsOf(given: Given, environment: NodeJS.ProcessEnv): TlsOptions | undefined {
  const [ca, cert, key] = (['cacert', 'cert', 'key'] as const).map(name => {
    const path = settingOf(name, given, environment);
    return path === undefined ? undefined : readPem(name, String(path));
  });
  if ((cert === undefined) !== (key === undefined)) {
    throw new StartError(`--cert and --key go together; add --${cert === undefined ? 'cert' : 'key'}`);
  }
  const skips = String(settingOf('insecure-skip-tls-verify', given, environment) ?? false) === 'true';
  if (ca === undefined && cert === undefined && !skips) return undefined;
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
    ...(skips ? { insecureSkipVerify: true } : {}),
  };
}

function settingOf(name: keyof Given, given: Given, environment: NodeJS.ProcessEnv): string | boolean | undefined {
  const variable = `ETCDCTL_${name.toUpperCase().replaceAll('-', '_')}`;
  const value = environment[variable];
  if (value === undefined) return given[name];
  if (given[name] === undefined) return value;
  throw new StartError(
    `conflicting environment variable is shadowed by corresponding command-line flag: unset ${variable} or drop --${name}`,
  );
}

function readPem(name: string, path: string): string {
  if (path === '') throw new StartError(`empty string is passed to --${name} option`);
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new StartError(`--${name}: cannot read ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
}
