/**
 * `grpc-timeout`: one to eight digits and a unit (gRPC over HTTP/2, "Requests").
 */
const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** Milliseconds of a `grpc-timeout` value, or what is wrong with it, in the words of gRPC's Go server. */
export function parseTimeout(value: string): number | { readonly error: string } {
  if (value.length < 2) return { error: `transport: timeout string is too short: ${JSON.stringify(value)}` };
  if (value.length > 9) return { error: `transport: timeout string is too long: ${JSON.stringify(value)}` };
  const unit = unitMs[value.charAt(value.length - 1)];
  if (unit === undefined) return { error: `transport: timeout unit is not recognized: ${JSON.stringify(value)}` };
  const digits = value.slice(0, -1);
  if (!/^\d+$/.test(digits)) return { error: `strconv.ParseInt: parsing ${JSON.stringify(digits)}: invalid syntax` };
  return Number(digits) * unit;
}
