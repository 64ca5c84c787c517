/**
 * The head of a request: its fields, and the checks that make it one (RFC 9113 §8.1.1, §8.2, §8.3).
 *
 * `HeadBuilder` takes the fields of one block from the HPACK decoder. It goes on counting when a block is too large, so
 * that the decoder sees the whole of it, but keeps nothing beyond the limit.
 *
 * A finished head is immutable and may be shared by all requests that came with the same bytes.
 */
import type { FieldSink } from './hpack/decoder.js';
import { FieldKind, fieldOverheadBytes, type HeaderField } from './hpack/field.js';

export interface RequestHead {
  readonly method: string;
  readonly scheme: string;
  readonly path: string;
  /** `:authority`, or an empty string. */
  readonly authority: string;
  /** The regular fields in the order of the wire. */
  readonly fields: readonly HeaderField[];
  /** `content-length`, or -1. */
  readonly contentLength: number;
  /** Whatever the layer above found out about this head: it is asked once for a head that many requests share. */
  memo: unknown;
}

/** Bits of the pseudo fields seen so far, by kind. */
const requiredPseudo = (1 << FieldKind.Method) | (1 << FieldKind.Scheme) | (1 << FieldKind.Path);

export class HeadBuilder implements FieldSink {
  readonly #listBytesMax: number;
  #fields: HeaderField[] = [];
  #listBytes = 0;
  #seen = 0;
  #flawed = false;
  #method = '';
  #scheme = '';
  #path = '';
  #authority = '';
  #contentLength = -1;

  /** `listBytesMax` bounds the sum of the fields' sizes as SETTINGS_MAX_HEADER_LIST_SIZE counts them. */
  constructor(listBytesMax: number) {
    this.#listBytesMax = listBytesMax;
  }

  /** Forgets everything: the next field is the first of a block. */
  start(): void {
    this.#fields = [];
    this.#listBytes = 0;
    this.#seen = 0;
    this.#flawed = false;
    this.#method = '';
    this.#scheme = '';
    this.#path = '';
    this.#authority = '';
    this.#contentLength = -1;
  }

  field(field: HeaderField): void {
    this.#listBytes += field.name.length + field.value.length + fieldOverheadBytes;
    if (this.#listBytes > this.#listBytesMax) return;
    if (field.flawed) this.#flawed = true;
    const kind = field.kind;
    if (kind === FieldKind.Regular) {
      this.#fields.push(field);
    } else if (kind >= FieldKind.ContentLength) {
      this.#regular(field);
    } else {
      this.#pseudo(field);
    }
  }

  get tooLarge(): boolean {
    return this.#listBytes > this.#listBytesMax;
  }

  /** The request, or undefined when the block is none: malformed. */
  request(): RequestHead | undefined {
    if (this.#flawed || (this.#seen & requiredPseudo) !== requiredPseudo || this.#path === '') return undefined;
    return {
      method: this.#method,
      scheme: this.#scheme,
      path: this.#path,
      authority: this.#authority,
      fields: this.#fields,
      contentLength: this.#contentLength,
      memo: undefined,
    };
  }

  /** The fields of a trailer section, or undefined when it is malformed: pseudo fields may not stand there. */
  trailers(): readonly HeaderField[] | undefined {
    return this.#flawed || this.#seen !== 0 ? undefined : this.#fields;
  }

  #regular(field: HeaderField): void {
    this.#fields.push(field);
    if (field.kind === FieldKind.ConnectionSpecific) this.#flawed = true;
    else if (field.kind === FieldKind.Te) this.#flawed ||= field.value !== 'trailers';
    else this.#setContentLength(field.value);
  }

  #setContentLength(value: string): void {
    const length = /^\d{1,15}$/.test(value) ? Number(value) : -1;
    if (length === -1 || (this.#contentLength !== -1 && this.#contentLength !== length)) this.#flawed = true;
    this.#contentLength = length;
  }

  #pseudo(field: HeaderField): void {
    const bit = 1 << field.kind;
    if (this.#fields.length > 0 || (this.#seen & bit) !== 0 || field.kind === FieldKind.PseudoOther)
      this.#flawed = true;
    this.#seen |= bit;
    if (field.kind === FieldKind.Path) this.#path = field.value;
    else if (field.kind === FieldKind.Method) this.#method = field.value;
    else if (field.kind === FieldKind.Scheme) this.#scheme = field.value;
    else this.#authority = field.value;
  }
}
