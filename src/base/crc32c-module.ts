/**
 * The inner loop of CRC-32C as a WebAssembly module, assembled here: bytes that somebody can read how they came to be.
 *
 *     memory   table[0] … table[15], 1024 bytes each | the window that holds the bytes to be summed up
 *     export   sum(at, end, crc) -> crc               16 bytes a round, end - at is a positive multiple of 16
 *
 * A round is `w0 = load(at) ^ crc; w1 … w3 = load(at + 4, 8, 12); crc = XOR over the 16 bytes b of
 * table[15 - b][byte b]`: lookups that do not depend on each other.
 */

export const STEP_BYTES = 16;
export const TABLE_BYTES = 1024;
export const WINDOW_AT = STEP_BYTES * TABLE_BYTES;
/** Tables and window make one page of WebAssembly's memory. */
export const WINDOW_BYTES = 65_536 - WINDOW_AT;

/** What the global of this name has, as far as it is used. */
interface WebAssemblyGlobal {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
}
declare const WebAssembly: WebAssemblyGlobal;

interface Exports {
  readonly sum: (at: number, end: number, crc: number) => number;
  readonly memory: { readonly buffer: ArrayBuffer };
}

/** A loop with a memory of its own, compiled and started: about half a millisecond. The tables are the caller's to fill. */
export function startModule(): Exports {
  return new WebAssembly.Instance(new WebAssembly.Module(assemble())).exports as Exports;
}

const I32 = 0x7f;
const Section = { Type: 1, Function: 3, Memory: 5, Export: 7, Code: 10 } as const;
const ExportKind = { Function: 0, Memory: 2 } as const;
const Op = {
  Loop: 0x03,
  End: 0x0b,
  BranchIf: 0x0d,
  Get: 0x20,
  Set: 0x21,
  Tee: 0x22,
  Load: 0x28,
  Const: 0x41,
  LessUnsigned: 0x49,
  Add: 0x6a,
  And: 0x71,
  Xor: 0x73,
  ShiftLeft: 0x74,
  ShiftRightUnsigned: 0x76,
} as const;
const NO_RESULT = 0x40;
const ALIGNED_4 = 2;
/** Locals: the parameters, then the four words of a round. */
const AT = 0;
const END = 1;
const CRC = 2;
const WORD = 3;
const WORDS = STEP_BYTES / 4;

function assemble(): Uint8Array {
  const locals = [1, WORDS, I32];
  const body = [...locals, Op.Loop, NO_RESULT, ...round(), Op.End, Op.Get, CRC, Op.End];
  const MAGIC_AND_VERSION = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  return new Uint8Array([
    ...MAGIC_AND_VERSION,
    ...section(Section.Type, [1, 0x60, 3, I32, I32, I32, 1, I32]),
    ...section(Section.Function, [1, 0]),
    ...section(Section.Memory, [1, 1, 1, 1]),
    ...section(Section.Export, [2, ...name('sum'), ExportKind.Function, 0, ...name('memory'), ExportKind.Memory, 0]),
    ...section(Section.Code, [1, ...sized(body)]),
  ]);
}

/** Loads the words, looks all their bytes up, and goes on while there is more. */
function round(): number[] {
  const code: number[] = [];
  for (let word = 0; word < WORDS; word += 1) {
    code.push(Op.Get, AT, Op.Load, ALIGNED_4, ...unsigned(word * 4));
    if (word === 0) code.push(Op.Get, CRC, Op.Xor);
    code.push(Op.Set, WORD + word);
  }
  for (let byte = 0; byte < STEP_BYTES; byte += 1) {
    code.push(...lookUp(WORD + (byte >> 2), byte & 3, STEP_BYTES - 1 - byte));
    if (byte > 0) code.push(Op.Xor);
  }
  code.push(Op.Set, CRC);
  code.push(Op.Get, AT, Op.Const, ...signed(STEP_BYTES), Op.Add, Op.Tee, AT, Op.Get, END, Op.LessUnsigned);
  code.push(Op.BranchIf, 0);
  return code;
}

/** table[which][byte of the word]: the byte is shifted to where it is an offset of four-byte entries. */
function lookUp(word: number, byte: number, which: number): number[] {
  const shift = byte * 8 - 2;
  const shifting =
    shift < 0 ? [Op.Const, ...signed(-shift), Op.ShiftLeft] : [Op.Const, ...signed(shift), Op.ShiftRightUnsigned];
  const masking = [Op.Const, ...signed(0x3fc), Op.And];
  return [Op.Get, word, ...shifting, ...masking, Op.Load, ALIGNED_4, ...unsigned(which * TABLE_BYTES)];
}

function section(id: number, content: number[]): number[] {
  return [id, ...sized(content)];
}

function name(text: string): number[] {
  return sized(Array.from(text, letter => letter.charCodeAt(0)));
}

function sized(content: number[]): number[] {
  return [...unsigned(content.length), ...content];
}

/** LEB128. */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/** LEB128 of a number that is not negative: one bit more, for the sign. */
function signed(value: number): number[] {
  return value < 0x40 ? [value] : [(value & 0x7f) | 0x80, ...signed(value >>> 7)];
}
