/**
 * Crashes in this process, exactly between two steps of the real storage code: every call that changes a file or an
 * environment counts, and the one that a test chooses throws instead of being made.
 *
 *   file calls (write, sync, rename, remove, ...)   commits, each put and removal inside them, and their end
 *
 * As after a kill -9: from that call on nothing is written any more, whatever the code under test does to tidy up, and
 * what was written before stays. `bury` then closes what the dead code had open, so that the next life can open it.
 */
import { closeSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { Environment, type Writer } from '../../src/member/store/environment.js';
import { nodeFiles, nodeFilesUnsynced } from '../../src/member/store/files.js';

class Crash extends Error {}

const fileChanges = ['write', 'datasync', 'rename', 'syncDirectory', 'makeDirectory', 'remove'] as const;

export class CrashPoints {
  readonly #environments = new Set<Environment>();
  readonly #handles = new Set<number>();
  #left = Number.POSITIVE_INFINITY;
  #isDead = false;

  /** Watches all storage of this process until the test ends. */
  constructor(t: TestContext) {
    this.#watchEnvironments(t);
    for (const files of [nodeFiles, nodeFilesUnsynced]) this.#watchFiles(t, files);
  }

  /** The crash comes at the step after so many more; undefined: never. */
  crashAfter(steps: number | undefined): void {
    this.#left = steps ?? Number.POSITIVE_INFINITY;
  }

  /** Further steps of the code under test: these methods count too, before each call. */
  watch<Methods extends object>(t: TestContext, methods: Methods, names: readonly (keyof Methods)[]): void {
    const point = () => this.#point();
    for (const name of names) {
      const original = methods[name] as (...args: unknown[]) => unknown;
      t.mock.method(methods as Record<string, () => unknown>, name as string, function (this: Methods) {
        point();
        // biome-ignore lint/complexity/noArguments: the method's own, whatever they are
        return original.apply(this, arguments as unknown as unknown[]);
      });
    }
  }

  /** Runs one life; false when it crashed, after which nothing of it is open any more. Other errors are thrown on. */
  async live(life: () => void | Promise<void>): Promise<boolean> {
    try {
      await life();
    } catch (error) {
      if (!this.#isDead || !isCrash(error)) throw error;
    }
    const isAlive = !this.#isDead;
    await this.#bury();
    return isAlive;
  }

  async #bury(): Promise<void> {
    for (const environment of this.#environments) await environment.close();
    for (const handle of this.#handles) closeSync(handle);
    this.#environments.clear();
    this.#handles.clear();
    this.#left = Number.POSITIVE_INFINITY;
    this.#isDead = false;
  }

  #point(): void {
    if (this.#left > 0 && !this.#isDead) {
      this.#left -= 1;
      return;
    }
    this.#isDead = true;
    throw new Crash('the process is dead');
  }

  #watchFiles(t: TestContext, files: typeof nodeFiles): void {
    const { open, close } = files;
    this.watch(t, files, fileChanges);
    t.mock.method(files, 'open', (file: string, create: boolean) => {
      if (create) this.#point();
      const handle = open(file, create);
      this.#handles.add(handle);
      return handle;
    });
    t.mock.method(files, 'close', (handle: number) => {
      this.#handles.delete(handle);
      close(handle);
    });
  }

  #watchEnvironments(t: TestContext): void {
    const { open } = Environment;
    const { commit } = Environment.prototype;
    const environments = this.#environments;
    const point = () => this.#point();
    t.mock.method(Environment, 'open', (options: Parameters<typeof open>[0]) => {
      point();
      const environment = open(options);
      environments.add(environment);
      return environment;
    });
    t.mock.method(
      Environment.prototype,
      'commit',
      function (this: Environment, bytes: number, changes: (writer: Writer) => void) {
        point();
        commit.call(this, bytes, writer => {
          changes(counting(writer, point));
          point();
        });
      },
    );
  }
}

function counting(writer: Writer, point: () => void): Writer {
  return {
    put: (key, value) => {
      point();
      writer.put(key, value);
    },
    append: (key, value) => {
      point();
      writer.append(key, value);
    },
    remove: key => {
      point();
      return writer.remove(key);
    },
  };
}

function isCrash(error: unknown): boolean {
  return error instanceof Crash || (error instanceof Error && isCrash(error.cause));
}
