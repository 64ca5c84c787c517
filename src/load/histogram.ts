/**
 * Latencies in buckets whose width grows with the value: any latency is kept to about 1.6 %, recording is an array
 * increment. Values are microseconds; 64 linear buckets, then 64 per power of two.
 */
const linearBits = 6;
const linear = 1 << linearBits;
const buckets = linear * (32 - linearBits);

export class Histogram {
  readonly #counts = new Uint32Array(buckets);
  #count = 0;
  #sum = 0;
  #max = 0;

  /** Records one latency in milliseconds. */
  record(latencyMs: number): void {
    const micros = Math.min(Math.round(latencyMs * 1000), 2 ** 31 - 1);
    this.#counts[bucketOf(micros)]!++;
    this.#count++;
    this.#sum += micros;
    if (micros > this.#max) this.#max = micros;
  }

  reset(): void {
    this.#counts.fill(0);
    this.#count = 0;
    this.#sum = 0;
    this.#max = 0;
  }

  get count(): number {
    return this.#count;
  }

  /** The latency in milliseconds that the given share of the calls did not exceed; 0 when there were none. */
  quantile(share: number): number {
    const wanted = Math.ceil(share * this.#count);
    let seen = 0;
    for (let bucket = 0; bucket < buckets; bucket++) {
      seen += this.#counts[bucket]!;
      if (seen >= wanted && seen > 0) return Math.min(upperBoundOf(bucket), this.#max) / 1000;
    }
    return 0;
  }

  summary(): LatencySummary {
    return {
      mean: this.#count === 0 ? 0 : this.#sum / this.#count / 1000,
      p50: this.quantile(0.5),
      p90: this.quantile(0.9),
      p99: this.quantile(0.99),
      p999: this.quantile(0.999),
      max: this.#max / 1000,
    };
  }
}

/** Milliseconds. */
export interface LatencySummary {
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

function bucketOf(micros: number): number {
  if (micros < linear) return micros;
  const shift = 31 - Math.clz32(micros) - linearBits;
  return linear * (shift + 1) + ((micros >>> shift) - linear);
}

function upperBoundOf(bucket: number): number {
  if (bucket < linear) return bucket;
  const shift = Math.floor(bucket / linear) - 1;
  return ((bucket % linear) + linear + 1) * 2 ** shift - 1;
}
