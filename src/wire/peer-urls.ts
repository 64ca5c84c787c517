/**
 * Peer URLs of a new member, checked and brought to the one form that enters its id: etcd hashes them as Go's parser
 * writes them, trimmed and sorted.
 *
 *     http(s)://host:port     no path, not even a slash
 *     unix(s)://anything
 */

/** The URLs in their canonical form and order; undefined when there is none or one is no peer URL. */
export function canonicalPeerUrls(urls: readonly string[]): string[] | undefined {
  if (urls.length === 0) return undefined;
  const canonical = urls.map(canonicalPeerUrl);
  return canonical.every(url => url !== undefined) ? canonical.sort() : undefined;
}

/** A port may be empty or any number, as for Go's SplitHostPort; an address with colons stands in brackets. */
const tcpUrl = /^(https?):\/\/((?:[^@/?#]*@)?(?:\[[0-9a-f:.%]+\]|[^:[\]/?#@]*):\d*)((?:[?#].*)?)$/i;
const socketUrl = /^(unixs?):(.*)$/i;

function canonicalPeerUrl(text: string): string | undefined {
  const trimmed = text.trim();
  if (/\s/.test(trimmed) || /%(?![0-9a-f]{2})/i.test(trimmed)) return undefined;
  const tcp = tcpUrl.exec(trimmed);
  if (tcp !== null) return `${tcp[1]?.toLowerCase()}://${tcp[2]}${tcp[3]}`;
  const socket = socketUrl.exec(trimmed);
  return socket === null ? undefined : `${socket[1]?.toLowerCase()}:${socket[2]}`;
}
