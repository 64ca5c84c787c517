/**
 * The serial numbers in a certificate revocation list (RFC 5280 §5.1), DER or PEM.
 *
 *     CertificateList ::= SEQUENCE { tbsCertList, signatureAlgorithm, signature }
 *     tbsCertList     ::= SEQUENCE { [INTEGER version], SEQUENCE algorithm, SEQUENCE issuer, Time, [Time],
 *                                    [SEQUENCE OF SEQUENCE { INTEGER serial, Time, … }], [[0] extensions] }
 *
 * Only the shape is read, as etcd does: the list is the operator's own file, so neither its signature nor its dates
 * decide anything.
 */
import { serialOf } from './peer-certificate.js';

const Tag = { Integer: 0x02, Sequence: 0x30, UtcTime: 0x17, GeneralizedTime: 0x18 } as const;

const problem = 'not a certificate revocation list, or not all of one';

interface Element {
  readonly tag: number;
  readonly content: Buffer;
}

/** The revoked serial numbers as `serialOf` writes them. Throws an Error when this is no revocation list. */
export function revokedSerials(file: Buffer): Set<string> {
  const [list] = elementsOf(derOf(file));
  const [toBeSigned] = elementsOf(contentOf(list, Tag.Sequence));
  const fields = elementsOf(contentOf(toBeSigned, Tag.Sequence));
  if (fields[0]?.tag === Tag.Integer) fields.shift();
  contentOf(fields.shift(), Tag.Sequence);
  contentOf(fields.shift(), Tag.Sequence);
  if (!isTime(fields.shift())) throw new Error(problem);
  if (isTime(fields[0])) fields.shift();
  const [revoked] = fields;
  if (revoked?.tag !== Tag.Sequence) return new Set();
  const serials = elementsOf(revoked.content).map(entry => {
    const [serial] = elementsOf(contentOf(entry, Tag.Sequence));
    return serialOf(contentOf(serial, Tag.Integer).toString('hex'));
  });
  return new Set(serials);
}

function derOf(file: Buffer): Buffer {
  const pem = /-----BEGIN X509 CRL-----([\s\S]*?)-----END X509 CRL-----/.exec(file.toString('latin1'));
  return pem === null ? file : Buffer.from(pem[1] as string, 'base64');
}

function isTime(element: Element | undefined): boolean {
  return element?.tag === Tag.UtcTime || element?.tag === Tag.GeneralizedTime;
}

function contentOf(element: Element | undefined, tag: number): Buffer {
  if (element?.tag !== tag) throw new Error(problem);
  return element.content;
}

/** The elements that lie one behind the other in `der`. */
function elementsOf(der: Buffer): Element[] {
  const elements: Element[] = [];
  for (let at = 0; at < der.length; ) {
    const tag = der[at] as number;
    const first = der[at + 1] ?? 0x80;
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
    const start = at + 2 + lengthBytes;
    if (first === 0x80 || lengthBytes > 4 || start > der.length) throw new Error(problem);
    const length = lengthBytes === 0 ? first : der.readUIntBE(at + 2, lengthBytes);
    if (start + length > der.length) throw new Error(problem);
    elements.push({ tag, content: der.subarray(start, start + length) });
    at = start + length;
  }
  return elements;
}
