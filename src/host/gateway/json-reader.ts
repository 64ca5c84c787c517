/**
 * A strict reader of one JSON text (RFC 8259), by pull: the caller knows what should come next and asks for it.
 *
 *     object: open('{'), then per member key() ... until it returns undefined
 *     array:  open('['), then per element element() ... until it returns false
 *
 * Numbers are handed out as their digits, so that no integer of 64 bits is rounded on the way. What nobody wants is
 * skipped, and checked all the same. Every flaw is a JsonError whose text says where it is, in the style of etcd's
 * gateway; the text is fit to be shown to the client.
 */
export class JsonError extends Error {
  override readonly name = 'JsonError';
}

/** What the next value is: its first character, '0' for any number, '' at the end of the text. */
export type JsonKind = '{' | '[' | '"' | '0' | 't' | 'f' | 'n' | '';

/** Nesting beyond this is refused, as in the protobuf reader. */
const nestingMax = 1_000;

const numberPattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const wordPattern = /[^\s,:{}[\]"]+/y;
const loneSurrogate = /\p{Surrogate}/u;
const words = { t: 'true', f: 'false', n: 'null' } as const;

export class JsonReader {
  readonly #text: string;
  #at = 0;
  #depth = 0;
  /** The object or array has been opened and nothing of it read. */
  #fresh = false;
  /** Where the last value or key began, for messages. */
  #valueAt = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** The kind of the next value. Throws when what comes is none. */
  peek(): JsonKind {
    this.#skipBlanks();
    const first = this.#text.charAt(this.#at);
    if (first === '{' || first === '[' || first === '"' || first === '') return first;
    if (first === '-' || (first >= '0' && first <= '9')) return '0';
    if ((first === 't' || first === 'f' || first === 'n') && this.#text.startsWith(words[first], this.#at))
      return first;
    throw this.#unexpected();
  }

  /** Enters an object or array; the next value must be one. */
  open(bracket: '{' | '['): void {
    if (this.peek() !== bracket) throw this.#unexpected();
    this.#depth += 1;
    if (this.#depth > nestingMax) throw this.#syntax('exceeded maximum recursion depth');
    this.#valueAt = this.#at;
    this.#at += 1;
    this.#fresh = true;
  }

  /** The next member's name, with its colon read; undefined: the object is over. */
  key(): string | undefined {
    if (!this.#more('}')) return undefined;
    if (this.peek() !== '"') throw this.#unexpected();
    const name = this.string();
    this.#skipBlanks();
    if (this.#text.charAt(this.#at) !== ':') throw this.#unexpected();
    this.#at += 1;
    return name;
  }

  /** Whether the array has another element; false: the array is over. */
  element(): boolean {
    return this.#more(']');
  }

  /** The next value, a string. */
  string(): string {
    const text = this.#text;
    const start = this.#at;
    this.#valueAt = start;
    let at = start + 1;
    let isPlain = true;
    for (; ; at++) {
      const code = text.charCodeAt(at);
      if (code === 0x22) break;
      if (at >= text.length) throw this.#syntax('unexpected EOF');
      if (code === 0x5c) at += 1; // whatever is escaped is no end
      if (code === 0x5c || code < 0x20) isPlain = false;
    }
    this.#at = at + 1;
    if (isPlain) return text.slice(start + 1, at);
    const value = parseString(text.slice(start, at + 1));
    if (value === undefined || loneSurrogate.test(value)) throw this.#syntax('invalid character or escape in string');
    return value;
  }

  /** The next value, a number, as it is written. */
  number(): string {
    numberPattern.lastIndex = this.#at;
    const match = numberPattern.exec(this.#text);
    if (match === null) throw this.#unexpected();
    this.#valueAt = this.#at;
    this.#at += match[0].length;
    return match[0];
  }

  /** The next value: true, false or null. */
  word(): boolean | null {
    const kind = this.peek();
    if (kind !== 't' && kind !== 'f' && kind !== 'n') throw this.#unexpected();
    this.#valueAt = this.#at;
    this.#at += words[kind].length;
    return kind === 'n' ? null : kind === 't';
  }

  /** Reads past the next value, whatever it is. */
  skip(): void {
    const kind = this.peek();
    if (kind === '{') {
      this.open('{');
      while (this.key() !== undefined) this.skip();
    } else if (kind === '[') {
      this.open('[');
      while (this.element()) this.skip();
    } else if (kind === '"') this.string();
    else if (kind === '0') this.number();
    else if (kind === '') throw this.#syntax('unexpected EOF');
    else this.word();
  }

  /** Makes sure that nothing but blanks is left. */
  finish(): void {
    if (this.peek() !== '') throw this.#unexpected();
  }

  /** An error about the value (or key) that was read last. */
  flaw(text: string): JsonError {
    return new JsonError(`proto: (line ${this.#place(this.#valueAt)}): ${text}`);
  }

  /** The value that was read last, or comes next, as it is written: for messages. */
  source(): string {
    return shortened(this.#text.slice(this.#valueAt, this.#at));
  }

  #more(end: '}' | ']'): boolean {
    this.#skipBlanks();
    const next = this.#text.charAt(this.#at);
    if (next === end) {
      this.#at += 1;
      this.#depth -= 1;
      this.#fresh = false;
      return false;
    }
    if (!this.#fresh) {
      if (next !== ',') throw this.#unexpected();
      this.#at += 1;
    }
    this.#fresh = false;
    return true;
  }

  #skipBlanks(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at += 1;
    }
  }

  #unexpected(): JsonError {
    wordPattern.lastIndex = this.#at;
    const word = wordPattern.exec(this.#text)?.[0] ?? this.#text.charAt(this.#at);
    return this.#syntax(word === '' ? 'unexpected EOF' : `unexpected token ${shortened(word)}`);
  }

  #syntax(text: string): JsonError {
    return new JsonError(`proto: syntax error (line ${this.#place(this.#at)}): ${text}`);
  }

  #place(at: number): string {
    let line = 1;
    let lineStart = 0;
    for (let end = this.#text.indexOf('\n'); end !== -1 && end < at; end = this.#text.indexOf('\n', lineStart)) {
      line += 1;
      lineStart = end + 1;
    }
    return `${line}:${at - lineStart + 1}`;
  }
}

function parseString(source: string): string | undefined {
  try {
    return JSON.parse(source) as string;
  } catch {
    return undefined;
  }
}

/** A message repeats no more than this of what the client sent. */
const sourceLengthMax = 64;

function shortened(text: string): string {
  return text.length <= sourceLengthMax ? text : `${text.slice(0, sourceLengthMax)}…`;
}
