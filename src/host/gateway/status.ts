/**
 * gRPC status codes as HTTP status codes: the table of the gateway.
 */
const statuses = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401] as const;

/** The HTTP status of an answer that is nothing but a gRPC status. */
export function httpStatusOf(grpcCode: number): number {
  return statuses[grpcCode] ?? 500;
}
