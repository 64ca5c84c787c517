/**
 * The static table (RFC 7541 appendix A): 61 fields that both sides know, at indices 1 to 61.
 */
import { HeaderField } from './field.js';

/** `name value` per line, in the order of their indices. */
const source = `:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate`;

/** How many indices the static table takes; dynamic entries start right behind. */
export const staticTableLength = 61;

/** The entries by index; index 0 does not exist on the wire and holds a field that nobody may use. */
export const staticTable: readonly HeaderField[] = [
  new HeaderField('', ''),
  ...source.split('\n').map(line => {
    const blank = line.indexOf(' ');
    return blank === -1 ? new HeaderField(line, '') : new HeaderField(line.slice(0, blank), line.slice(blank + 1));
  }),
];

/** Index of the first static entry with this name, or 0. */
export function staticNameIndex(name: string): number {
  return nameIndices.get(name) ?? 0;
}

/** Index of the static entry with this name and value, or 0. */
export function staticFieldIndex(name: string, value: string): number {
  return fieldIndices.get(`${name} ${value}`) ?? 0;
}

const nameIndices = new Map<string, number>();
const fieldIndices = new Map<string, number>();
staticTable.forEach((field, index) => {
  if (index === 0) return;
  if (!nameIndices.has(field.name)) nameIndices.set(field.name, index);
  if (field.value !== '') fieldIndices.set(`${field.name} ${field.value}`, index);
});
