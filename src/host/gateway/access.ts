/**
 * Who may ask over plain HTTP: etcd's checks of the Host header and its CORS headers.
 *
 * `--cors` names the web origins whose scripts may read our answers; unlike etcd's, ours names none by default.
 * `--host-whitelist` names the hosts that a cleartext request may be for: a page that binds its own name to our address
 * (DNS rebinding) is turned away. `*` in a list means any; so does an empty list of hosts.
 */
import { type Exchange, type HeaderPair, headerOf, respondText } from './exchange.js';

export interface AccessRules {
  /** Web origins, or `*`; empty: no CORS headers. */
  readonly cors: readonly string[];
  /** Host names, or `*`. */
  readonly hostWhitelist: readonly string[];
}

/** Answers what needs no handler. False: the exchange has been answered. */
export function admit(rules: AccessRules, exchange: Exchange): boolean {
  if (!exchange.secure && !isHostAllowed(rules, exchange.host)) {
    const text =
      `etcd received your request, but the Host header was unrecognized.\n` +
      `Use TLS, or add ${JSON.stringify(hostName(exchange.host))} to --host-whitelist.`;
    respondText(exchange, 421, text);
    return false;
  }
  exchange.addHeaders(corsHeaders(rules, headerOf(exchange, 'origin')));
  if (exchange.method !== 'OPTIONS') return true;
  exchange.respond(200, [], '');
  return false;
}

export function isHostAllowed({ hostWhitelist }: AccessRules, host: string): boolean {
  return hostWhitelist.length === 0 || hostWhitelist.includes('*') || hostWhitelist.includes(hostName(host));
}

/**
 * Whether a websocket may be opened by a page of this origin. Browsers let any page open one and read it, whatever CORS
 * says, so without this check every page could use the gateway of whoever looks at it.
 */
export function mayOpenSocket({ cors }: AccessRules, origin: string | undefined, host: string): boolean {
  if (origin === undefined || cors.includes('*') || cors.includes(origin)) return true;
  return /^https?:\/\//.test(origin) && origin.replace(/^https?:\/\//, '') === host;
}

function corsHeaders({ cors }: AccessRules, origin: string | undefined): HeaderPair[] {
  const allowed = cors.includes('*') ? '*' : origin !== undefined && cors.includes(origin) ? origin : undefined;
  if (allowed === undefined) return [];
  return [
    ['Access-Control-Allow-Methods', 'POST, GET, OPTIONS, PUT, DELETE'],
    ['Access-Control-Allow-Origin', allowed],
    ['Access-Control-Allow-Headers', 'accept, content-type, authorization'],
  ];
}

/** `localhost:2379` -> `localhost`, `[::1]:2379` -> `::1` */
function hostName(host: string): string {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):\d*$/.exec(host);
  return match === null ? host : (match[1] ?? match[2] ?? '');
}
