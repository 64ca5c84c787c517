/**
 * /metrics of one endpoint: its own families, then those of the process. Loaded by the first scrape.
 *
 *     families (cells in shared memory, plain numbers) --text--,
 *     process families (prom-client) ------------------text----+--> one answer
 *
 * A registry of prom-client for each endpoint would be the same by hand, less its cost: see text.ts. Two families of one
 * name are refused, as there.
 */
import { assert } from '../../base/assert.js';
import { endpointFamilies } from './endpoint-families.js';
import { grpcFamilies } from './grpc-families.js';
import { healthFamilies } from './health-families.js';
import { memberFamilies } from './member-families.js';
import { peerFamilies } from './peer-families.js';
import { contentType, processText } from './process.js';
import type { MetricsSource } from './source.js';
import { type Family, scalarFamily } from './text.js';

/** One scrape's answer. */
export interface Scrape {
  readonly contentType: string;
  readonly text: string;
}

export class EndpointRegistry {
  readonly #families: readonly Family[];
  #lastSeconds = 0;

  constructor(source: MetricsSource) {
    this.#families = [
      ...endpointFamilies(source),
      ...memberFamilies(source.member),
      ...peerFamilies(source.member),
      ...grpcFamilies(source.grpc),
      ...healthFamilies(source.health),
      scalarFamily('gauge', 'kvorum_scrape_duration_seconds', 'What the answer before this one took.', sink =>
        sink.series([], this.#lastSeconds),
      ),
    ];
    const names = new Set(this.#families.map(({ name }) => name));
    assert(names.size === this.#families.length, 'families have names of their own');
  }

  async scrape(): Promise<Scrape> {
    const ofProcess = await processText();
    const beganMs = performance.now();
    const own = this.#families.map(family => family.text()).join('\n');
    this.#lastSeconds = (performance.now() - beganMs) / 1_000;
    return { contentType, text: `${own}\n${ofProcess}` };
  }
}
