/**
 * One header field as HPACK tables hold it: a name, a value, and what the layers above need to know about both.
 *
 * Field strings are octets: every character of `name` and `value` is one byte (U+0000..U+00FF). What a field means
 * for the message it stands in (`kind`) and whether it may stand in one at all (`flawed`) are found out once, when
 * the field is decoded, so that a field that lives in a table costs nothing per request.
 */

/** What a field is to HTTP/2 itself (RFC 9113 §8.2.2, §8.3.1). */
export const FieldKind = {
  Regular: 0,
  Method: 1,
  Scheme: 2,
  Path: 3,
  Authority: 4,
  /** A pseudo field that is no request pseudo field: `:status`, or one that nobody defined. */
  PseudoOther: 5,
  ContentLength: 6,
  /** `te`, which may say only `trailers`. */
  Te: 7,
  /** A field about one HTTP/1.1 connection: makes a message malformed. */
  ConnectionSpecific: 8,
} as const;
export type FieldKind = (typeof FieldKind)[keyof typeof FieldKind];

/** What a table entry costs beyond its octets, and a field in SETTINGS_MAX_HEADER_LIST_SIZE (RFC 7541 §4.1). */
export const fieldOverheadBytes = 32;

const kinds: ReadonlyMap<string, FieldKind> = new Map<string, FieldKind>([
  [':method', FieldKind.Method],
  [':scheme', FieldKind.Scheme],
  [':path', FieldKind.Path],
  [':authority', FieldKind.Authority],
  ['content-length', FieldKind.ContentLength],
  ['te', FieldKind.Te],
  ['connection', FieldKind.ConnectionSpecific],
  ['keep-alive', FieldKind.ConnectionSpecific],
  ['proxy-connection', FieldKind.ConnectionSpecific],
  ['transfer-encoding', FieldKind.ConnectionSpecific],
  ['upgrade', FieldKind.ConnectionSpecific],
]);

/** A header field. Immutable: tables, requests and caches share one object. */
export class HeaderField {
  readonly name: string;
  readonly value: string;
  readonly kind: FieldKind;
  /**
   * True when the octets are forbidden in HTTP/2: a capital in the name, a line break in the value (RFC 9113 §8.2.1).
   */
  readonly flawed: boolean;
  /** Size as RFC 7541 §4.1 counts it. */
  readonly sizeBytes: number;

  constructor(name: string, value: string) {
    this.name = name;
    this.value = value;
    this.kind = kindOf(name);
    this.flawed = !isFieldName(name) || !isFieldValue(value);
    this.sizeBytes = name.length + value.length + fieldOverheadBytes;
  }
}

function kindOf(name: string): FieldKind {
  const kind = kinds.get(name);
  if (kind !== undefined) return kind;
  return name.charCodeAt(0) === 0x3a ? FieldKind.PseudoOther : FieldKind.Regular;
}

/** 1 where the octet may stand in a lower-case field name: the token characters of RFC 9110 §5.6.2 less capitals. */
const nameOctets = new Uint8Array(256);
for (const character of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") {
  nameOctets[character.charCodeAt(0)] = 1;
}

function isFieldName(name: string): boolean {
  const first = name.charCodeAt(0) === 0x3a ? 1 : 0;
  if (name.length === first) return false;
  for (let at = first; at < name.length; at += 1) {
    if (nameOctets[name.charCodeAt(at)] !== 1) return false;
  }
  return true;
}

function isFieldValue(value: string): boolean {
  const length = value.length;
  if (length === 0) return true;
  if (isBlank(value.charCodeAt(0)) || isBlank(value.charCodeAt(length - 1))) return false;
  for (let at = 0; at < length; at += 1) {
    const octet = value.charCodeAt(at);
    if (octet === 0x00 || octet === 0x0a || octet === 0x0d) return false;
  }
  return true;
}

function isBlank(octet: number): boolean {
  return octet === 0x20 || octet === 0x09;
}
