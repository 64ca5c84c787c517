/**
 * A downgrade that was announced: which release the cluster is to go back to, and whether it is on its way.
 *
 *   table cluster   "downgrade" -> {"target-version":"3.5.0","enabled":true}
 *                                  {"target-version":"","enabled":false}        after a cancel
 *
 * The target is always one minor below the cluster version. While a downgrade is enabled the leader lowers the cluster
 * version to the target; after a cancel it raises it again (publisher.ts).
 */
import { utf8Decode, utf8Encode } from '../../base/bytes.js';

export interface DowngradeInfo {
  readonly enabled: boolean;
  /** `major.minor.0`; empty when not enabled. */
  readonly targetVersion: string;
}

export const NO_DOWNGRADE: DowngradeInfo = { enabled: false, targetVersion: '' };

export function encodeDowngradeInfo({ enabled, targetVersion }: DowngradeInfo): Uint8Array {
  return utf8Encode(`{"target-version":${JSON.stringify(targetVersion)},"enabled":${enabled}}`);
}

/** What is stored; undefined when it is not a downgrade's description. */
export function decodeDowngradeInfo(bytes: Uint8Array): DowngradeInfo | undefined {
  try {
    const parsed = JSON.parse(utf8Decode(bytes) ?? '') as Record<string, unknown>;
    return { enabled: parsed.enabled === true, targetVersion: String(parsed['target-version'] ?? '') };
  } catch {
    return undefined;
  }
}

/**
 * The cluster version that a request's text means: `3.5`, `3.5.4` and `3.5.4-rc.1+x` are all `3.5.0`. Undefined when it
 * is no version.
 */
export function parseTargetVersion(text: string): string | undefined {
  return majorMinor(text) ?? majorMinor(`${text}.0`);
}

/** The only version a cluster of this version may go back to. */
export function downgradeTargetOf(clusterVersion: string): string {
  const [major = 0, minor = 0] = clusterVersion.split('.').map(Number);
  return `${major}.${minor - 1}.0`;
}

/** A cluster version as people write it: `3.6`. */
export function shortVersion(clusterVersion: string): string {
  return clusterVersion.split('.').slice(0, 2).join('.');
}

function majorMinor(text: string): string | undefined {
  const [withoutMetadata = '', metadata] = cutAt(text, '+');
  const [numbers = '', preRelease] = cutAt(withoutMetadata, '-');
  if (![metadata, preRelease].every(part => part === undefined || /^[0-9A-Za-z.-]*$/.test(part))) return undefined;
  const match = /^(\d{1,15})\.(\d{1,15})\.(\d{1,15})$/.exec(numbers);
  return match === null ? undefined : `${Number(match[1])}.${Number(match[2])}.0`;
}

function cutAt(text: string, separator: string): [before: string, after?: string] {
  const at = text.indexOf(separator);
  return at === -1 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}
