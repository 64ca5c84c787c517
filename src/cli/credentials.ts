/**
 * `--user NAME[:PASSWORD]` and `--password`, as etcdctl reads them: from the command line, from ETCDCTL_USER and
 * ETCDCTL_PASSWORD, or by asking: at a terminal, where what is typed is not shown, or else the first line of the input.
 */
import { StartError } from '../host/data-directory.js';

/** For the usage lines of verbs that speak to a cluster. */
export const credentialsUsage = '[--user NAME[:PASSWORD]] [--password PASSWORD]';

export const credentialOptions = {
  user: { type: 'string' },
  password: { type: 'string' },
} as const;

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** Ctrl-C, Ctrl-D, Ctrl-U and backspace, as a terminal sends them. */
const Key = { interrupt: '\u0003', end: '\u0004', clear: '\u0015', erase: '\u007f' } as const;

/** Where a password is asked for; undefined: nowhere. */
export type Ask = ((question: string) => Promise<string>) | undefined;

/** Whom to log in as; undefined: nobody. Rejects with StartError when the password is missing and cannot be asked for. */
export async function readCredentials(
  given: { readonly user?: string | undefined; readonly password?: string | undefined },
  environment: NodeJS.ProcessEnv,
  ask: Ask,
): Promise<Credentials | undefined> {
  const user = given.user ?? environment.ETCDCTL_USER ?? '';
  const password = given.password ?? environment.ETCDCTL_PASSWORD;
  if (user === '') {
    if (given.password !== undefined) throw new StartError('--password needs a --user');
    return undefined;
  }
  // With a password of its own the whole text is the name.
  if (password !== undefined && password !== '') return { username: user, password };
  const colon = user.indexOf(':');
  if (colon !== -1) return { username: user.slice(0, colon), password: user.slice(colon + 1) };
  if (ask === undefined)
    throw new StartError(`no password for ${user}: add --password, or write --user ${user}:PASSWORD`);
  return { username: user, password: await ask('Password: ') };
}

/** Asks whoever sits at the terminal, if this is one; otherwise takes the first line of what comes. */
export function askAtTerminal(): Ask {
  return process.stdin.isTTY ? askHidden : firstLine;
}

/** Rejects with StartError when the input ends before it says anything. */
async function firstLine(): Promise<string> {
  let input = '';
  process.stdin.setEncoding('utf8');
  for await (const piece of process.stdin) {
    input += piece;
    if (input.includes('\n')) break;
  }
  const [line = ''] = input.split(/\r?\n/);
  if (line === '') throw notGiven();
  return line;
}

/**
 * Asks on standard error and reads one line without showing it; rejects with StartError for Ctrl-D. Ctrl-C ends the
 * process as it would have without the question, the terminal as it was.
 */
function askHidden(question: string): Promise<string> {
  const { stdin, stderr } = process;
  stderr.write(question);
  stdin.setRawMode(true);
  stdin.setEncoding('utf8');
  let typed = '';
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void): void => {
      stdin.off('data', onData);
      stdin.setRawMode(false);
      stdin.pause();
      stderr.write('\n');
      settle();
    };
    const onData = (text: string): void => {
      for (const character of text) {
        if (character === '\r' || character === '\n') return finish(() => resolve(typed));
        if (character === Key.interrupt) return finish(() => process.kill(process.pid, 'SIGINT'));
        if (character === Key.end) return finish(() => reject(notGiven()));
        if (character === Key.clear) typed = '';
        else if (character === Key.erase || character === '\b') typed = [...typed].slice(0, -1).join('');
        else typed += character;
      }
    };
    stdin.on('data', onData);
    stdin.resume();
  });
}

function notGiven(): StartError {
  return new StartError('no password was given');
}
