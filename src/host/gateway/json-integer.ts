/**
 * Integers of JSON numbers, digit by digit: 9007199254740993 stays what it is, 1e3 and 1.0 are integers, 1.5 is none.
 */

/** No integer of 64 bits needs more characters, however it is written; longer ones cost no time. */
const lengthMax = 100;
/** Decimal digits of the largest unsigned integer of 64 bits. */
const digitsMax = 20;

const numberPattern = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

const ranges = {
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
} as const;
export type IntegerKind = keyof typeof ranges;

/** The integer that a JSON number stands for; undefined: it is no integer, or not one of this kind. */
export function readInteger(text: string, kind: IntegerKind): bigint | undefined {
  if (text.length > lengthMax) return undefined;
  const match = numberPattern.exec(text);
  if (match === null) return undefined;
  const [, sign, whole = '', fraction = '', exponent = '0'] = match;
  const magnitude = shifted(whole, fraction, Number(exponent));
  if (magnitude === undefined) return undefined;
  const value = sign === '-' ? -magnitude : magnitude;
  const [low, high] = ranges[kind];
  return value >= low && value <= high ? value : undefined;
}

/** whole.fraction × 10^exponent, when that is an integer of no more than digitsMax digits. */
function shifted(whole: string, fraction: string, exponent: number): bigint | undefined {
  const digits = (whole + fraction).replace(/^0+/, '');
  if (digits === '') return 0n;
  const significant = digits.replace(/0+$/, '');
  const power = exponent - fraction.length + (digits.length - significant.length);
  if (power < 0 || significant.length + power > digitsMax) return undefined;
  return BigInt(significant + '0'.repeat(power));
}
