/**
 * Transcripts: a story told by commands and everything they print.
 *
 *     # Comments and blank lines tell the story.
 *     command argument name=value        one or more lines
 *     ----
 *     all of the output                  up to the next blank line; nothing printed is written as "ok"
 *
 * REWRITE=1 writes what the commands print into the file. The diff is the review: commit it only if it is understood.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

export interface Command {
  readonly name: string;
  readonly positional: readonly string[];
  readonly named: ReadonlyMap<string, string>;
}

/** Runs commands one by one; answers with the lines each prints. Made new for every transcript. */
export type Interpreter = (command: Command) => readonly string[];

/** One test for every transcript in `directory` (relative to the repository). */
export function testTranscripts(directory: string, newInterpreter: () => Interpreter): void {
  const path = join(repositoryRoot(), directory);
  for (const file of readdirSync(path).sort()) {
    if (!file.endsWith('.txt')) continue;
    test(file, () => {
      const expected = readFileSync(join(path, file), 'utf8');
      const actual = replay(expected, newInterpreter());
      if (process.env.REWRITE === '1') writeFileSync(join(path, file), actual);
      else assert.equal(actual, expected);
    });
  }
}

/** The transcript as the commands in `text` make it now. */
export function replay(text: string, interpret: Interpreter): string {
  const lines = text.split('\n');
  const out: string[] = [];
  const commands: string[] = [];
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!;
    if (line !== '----') {
      out.push(line);
      if (line !== '' && !line.startsWith('#')) commands.push(line);
      continue;
    }
    const printed = commands.splice(0).flatMap(command => run(command, interpret));
    out.push(line, ...(printed.length === 0 ? ['ok'] : printed));
    while (i + 1 < lines.length && lines[i + 1] !== '') i++;
  }
  assert.deepEqual(commands, [], 'commands without ---- and output');
  return out.join('\n');
}

function run(line: string, interpret: Interpreter): readonly string[] {
  const [name, ...words] = line.split(/\s+/);
  const pairs = words.filter(word => word.includes('='));
  return interpret({
    name: name!,
    positional: words.filter(word => !word.includes('=')),
    named: new Map(pairs.map(word => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)])),
  });
}

/** Tests run compiled, in some output directory inside the repository: walk up to the package. */
function repositoryRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, 'package.json'))) {
    const parent = dirname(directory);
    assert.notEqual(parent, directory, 'no package.json above the tests');
    directory = parent;
  }
  return directory;
}
