/**
 * What a member publishes of its state for the host to look at whenever it likes (transport/control.ts, Cell).
 */
import { alarmBit, Cell, type StatusCells } from '../transport/control.js';
import type { HostLink } from './host-link.js';
import type { OpenMember } from './open.js';
import type { PeerLinks } from './peer-links.js';

/** At the end of every turn. */
export function publishRaft(cells: StatusCells, { raft }: OpenMember, peers: PeerLinks): void {
  cells.set(Cell.role, raft.role);
  cells.set(Cell.term, raft.term);
  cells.set(Cell.leaderPosition, peers.positionOf(raft.leader));
}

/** What changes only with certain applied requests, and with a state that replaces this one. */
export function publishApplied(cells: StatusCells, { state }: OpenMember, host: HostLink): void {
  const { applier, members } = state;
  const [major = 0, minor = 0] = (members.clusterVersion ?? '').split('.').map(Number);
  cells.set(Cell.clusterVersion, major * 1000 + minor);
  cells.set(Cell.authEnabled, applier.auth.enabled ? 1 : 0);
  const types = applier.alarmTypes();
  const alarms = types.reduce((mask, type) => mask | alarmBit(type), 0);
  if (alarms === cells.get(Cell.alarms)) return;
  cells.set(Cell.alarms, alarms);
  host.log('warn', alarms === 0 ? 'alarms disarmed' : 'alarms raised', { types: types.join(',') });
}
