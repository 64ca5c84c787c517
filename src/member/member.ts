/**
 * One Raft member: its core, log, store and rings, and the turn that drives them.
 *
 *     turn:  drain rings -> tick -> propose, ask reads
 *            -> while Raft has something ready: send now, persist, send after, apply, advance
 *            -> serve reads -> flush answers -> tell watchers -> a slice of background work -> flush rings
 *
 * A turn is synchronous: nothing else runs in this thread meanwhile, and whatever arrives during its disk write is the
 * next turn's batch. It is bounded (turn-limits.ts): what it leaves over, the next one takes at once. Sleeping is
 * park.ts's business alone.
 *
 * Invariants: nothing that depends on an entry leaves this thread before the entry is durable here (acknowledgements)
 * or on a quorum (replies); applied <= committed <= persisted; any error of the log or the store ends the thread.
 */
import { assert } from '../base/assert.js';
import { Prng } from '../base/prng.js';
import {
  Cell,
  grpcOverheadBytes,
  type MemberBoot,
  type MemberReport,
  type PeerConnection,
  requestTimeoutMs,
  StatusCells,
} from '../transport/control.js';
import { Scalar } from '../transport/metric-cells.js';
import { EtcdErrorCode } from '../wire/errors.js';
import { ResponseHeaderTemplate } from '../wire/header.js';
import { decodeInternalRequest, InternalField, newInternalRequest } from '../wire/internal.js';
import { Method } from '../wire/methods.js';
import { isAuthField } from './apply/auth-requests.js';
import { Callers } from './callers.js';
import { HostInbox } from './host-inbox.js';
import { HostLink } from './host-link.js';
import { LeaseCalls } from './lease-calls.js';
import { LeaseExpiry } from './lease-expiry.js';
import { Maintenance } from './maintenance.js';
import { announceMembers, applyConfChange, isLearner, isRefused } from './member-table.js';
import { confChangeFields } from './membership/members.js';
import { MembershipCalls } from './membership-calls.js';
import { MemberMetrics, type MetricSources } from './metrics.js';
import { createImporter, exportState, type OpenMember, openMember, replaceState } from './open.js';
import type { Turning } from './park.js';
import { PeerCalls } from './peer-calls.js';
import { PeerLinks } from './peer-links.js';
import { type Proposal, Proposals } from './proposals.js';
import { Publisher } from './publisher.js';
import { type Entry, EntryType, type Message, MessageType, NO_MEMBER, type Ready, Role, weigh } from './raft/types.js';
import { Reads } from './reads.js';
import { Requests } from './requests.js';
import { type ReceivedSnapshot, SnapshotReceiver, SnapshotSender } from './snapshots.js';
import { publishApplied, publishRaft } from './status-cells.js';
import { Streams } from './streams.js';
import { weightPerTurn } from './turn-limits.js';
import { WatchHub } from './watch/watch-hub.js';

/** Background work (compaction, hashing) gets this many records a turn. */
const backgroundRecordsPerTurn = 1_000;

/** As etcd logs them, by Role. */
const roleNames = ['follower', 'pre-candidate', 'candidate', 'leader'] as const;

export class Member implements Turning {
  readonly #boot: MemberBoot;
  readonly #cells: StatusCells;
  readonly metrics: MemberMetrics;
  readonly #metricSources: MetricSources;
  readonly #host: HostLink;
  readonly #peers: PeerLinks;
  readonly #open: OpenMember;
  readonly #proposals: Proposals;
  readonly #reads: Reads;
  readonly #requests: Requests;
  readonly #calls: PeerCalls;
  readonly #leases: LeaseCalls;
  readonly #leaseExpiry: LeaseExpiry;
  readonly #membership: MembershipCalls;
  readonly #maintenance: Maintenance;
  readonly #watches: WatchHub;
  readonly #streams: Streams;
  readonly #callers = new Callers(() => this.#open.state.applier);
  readonly #inbox: HostInbox;
  readonly #publisher: Publisher;
  readonly #snapshotSender: SnapshotSender;
  readonly #snapshotReceiver: SnapshotReceiver;
  readonly #requestTimeoutMs: number;
  readonly #idMember: number;
  readonly #request = newInternalRequest();
  /** Snapshots whose state came whole in this turn; Raft takes one of them or none. */
  #received: ReceivedSnapshot[] = [];
  #nowMs = 0;
  /** Weight of what this turn has applied. */
  #appliedBytes = 0;
  #leaderElectedMs = Number.NEGATIVE_INFINITY;
  #role: Role = Role.Follower;
  #announcedReady = false;
  #leadsCommitted = false;
  #isLearner = false;
  #gonePeers: number[] = [];
  #handOverUntilMs = Number.POSITIVE_INFINITY;
  #ending: 'no' | 'hand-over' | 'stop' | 'crash' = 'no';

  /** Opens the store; throws StorageError with a text for the operator. */
  constructor(boot: MemberBoot) {
    this.#boot = boot;
    this.#cells = new StatusCells(boot.cells);
    this.#open = openMember(boot);
    this.#host = new HostLink(boot);
    const { cells } = this.#open;
    this.metrics = new MemberMetrics(cells, boot.settings.heartbeatIntervalMs);
    this.#peers = new PeerLinks(boot, this, cells);
    this.#proposals = new Proposals(boot.startTimeMs, this.metrics.probe);
    this.#reads = new Reads(boot.incarnation);
    const identity = this.#open.identity;
    this.#idMember = Number(identity.id & 0xffffn);
    this.#publisher = new Publisher(identity, this.#proposals);
    this.#requestTimeoutMs = requestTimeoutMs(boot.settings);
    this.#snapshotSender = new SnapshotSender(this.#peers, cells, boot.seed, (to, ok) => {
      this.#open.raft.reportSnapshot(to, ok);
      this.#host.log(ok ? 'info' : 'warn', 'snapshot transfer ended', { to: to.toString(16), ok });
    });
    this.#snapshotReceiver = new SnapshotReceiver(() => createImporter(this.#open), cells);
    const header = new ResponseHeaderTemplate(boot.clusterId, identity.id);
    this.#calls = new PeerCalls(this.#peers, boot.incarnation, boot.settings.electionTimeoutMs);
    this.#leaseExpiry = new LeaseExpiry(this.#open, this.#proposals, this.#idMember);
    // What the parts that serve calls have in common.
    const parts = {
      ...{ host: this.#host, peers: this.#peers, calls: this.#calls, reads: this.#reads, proposals: this.#proposals },
      ...{ open: this.#open, idMember: this.#idMember, callers: this.#callers },
    };
    this.#leases = new LeaseCalls({
      ...parts,
      header,
      clearCheckpoint: id => this.#leaseExpiry.clearCheckpoint(id),
      endStream: (id, error) => this.#streams.end(id, error),
    });
    this.#watches = new WatchHub(this.#open.state.applier.mvcc, {
      header,
      raftTerm: () => this.#open.raft.term,
      sink: this.#host,
      progressNotifyIntervalMs: boot.settings.watchProgressNotifyIntervalMs,
      responseBytesMax: boot.settings.maxRequestBytes + grpcOverheadBytes,
      prng: new Prng(boot.seed),
      rights: {
        refuseWatch: (streamId, key, rangeEnd) => this.#streams.refuseWatch(streamId, key, rangeEnd),
        refuseWatcher: (streamId, key, rangeEnd) => this.#streams.refuseWatcher(streamId, key, rangeEnd),
      },
    });
    this.#streams = new Streams(this.#host, this.#watches, this.#leases, this.#callers, this.#open);
    this.#membership = new MembershipCalls({ ...parts, unixSeconds: () => Math.floor(Date.now() / 1_000) });
    this.#maintenance = new Maintenance({ ...parts, requestTimeoutMs: this.#requestTimeoutMs });
    const services = { leases: this.#leases, membership: this.#membership, maintenance: this.#maintenance };
    this.#requests = new Requests({ ...parts, ...services, settings: boot.settings });
    this.#metricSources = {
      ...{ ...parts, watches: this.#watches, keyReads: this.#requests.keyReads },
      isLearner: () => this.#isLearner,
    };
    this.#inbox = new HostInbox({
      ...{ ...parts, requests: this.#requests, streams: this.#streams },
      isLearner: () => this.#isLearner,
      peerGone: position => this.#gonePeers.push(position),
    });
    publishRaft(this.#cells, this.#open, this.#peers);
    publishApplied(this.#cells, this.#open, this.#host);
    this.#announceMembers();
    // A lone voter has nobody to wait for; nobody else may campaign.
    if (this.#open.raft.confState.voters.length === 1) this.#open.raft.campaign();
  }

  get ending(): boolean {
    return this.#ending === 'stop' || this.#ending === 'crash';
  }

  report(): MemberReport {
    const { log, founded, raft } = this.#open;
    const lastIndex = log.lastIndex();
    const isVoter = raft.confState.voters.includes(raft.id);
    return { lastTerm: log.term(lastIndex) ?? 0, lastIndex, founded, isVoter };
  }

  /** The host has made the rings to a new peer. */
  connect(peer: PeerConnection): void {
    this.#peers.connect(peer);
  }

  /** The host takes back the rings to a peer that was removed. */
  disconnect(position: number): void {
    this.#peers.disconnect(position);
  }

  /** Stands for election at once. */
  campaign(): void {
    this.#open.raft.campaign();
  }

  /**
   * Ends the loop after the current turn; `stop` commits and closes in `close`, `crash` leaves everything as it is,
   * `hand-over` is a stop that first gives leadership away.
   */
  end(how: 'hand-over' | 'stop' | 'crash'): void {
    if (this.#ending === 'crash') return;
    this.#ending = how;
    const { raft } = this.#open;
    if (how !== 'hand-over' || !raft.isLeader) return;
    const others = raft.status.progress.filter(({ id, isLearner }) => id !== raft.id && !isLearner);
    const best = others.sort((a, b) => b.match - a.match)[0];
    if (best !== undefined) raft.transferLeadership(best.id);
  }

  /** The loop has thrown: what was said and answered before is true, and the last thing that is heard of this member. */
  lastWords(): void {
    this.#host.flush();
  }

  /** After the loop has ended: answers who still waits, commits, closes the store. Writes nothing after a crash. */
  async close(): Promise<void> {
    // A crash too: a view that outlives its thread would keep its pages for as long as the process lives.
    this.#streams.stateLeaves();
    if (this.#ending === 'crash') return;
    this.#proposals.failAll(proposal => this.#fail(proposal.requestId, EtcdErrorCode.Stopped));
    this.#reads.failAll(read => this.#requests.readFailed(read, EtcdErrorCode.Stopped));
    this.#inbox.failAll(id => this.#fail(id, EtcdErrorCode.Stopped));
    this.#streams.failAll(streamId => this.#fail(streamId, EtcdErrorCode.Stopped));
    this.#requests.failAll(requestId => this.#fail(requestId, EtcdErrorCode.Stopped));
    this.#snapshotSender.abandon();
    this.#host.flush();
    this.#open.state.store.commit();
    await this.#open.state.store.close();
    await this.#open.log.close();
  }

  turn(nowMs: number, ticked: boolean): number {
    this.#nowMs = nowMs;
    const { raft } = this.#open;
    this.#open.state.applier.lessor.advance(nowMs);
    this.#open.state.applier.auth.tokens.advance(nowMs);
    this.#requests.keyReads.begin();
    let more = this.#inbox.drain(nowMs);
    more = this.#peers.drain(nowMs) || more;
    for (const position of this.#gonePeers.splice(0)) {
      const gone = this.#peers.gone(position);
      if (gone !== NO_MEMBER) raft.forgetLeader(gone);
    }
    if (ticked) this.#tick();
    const { applier, members } = this.#open.state;
    this.#publisher.offer(nowMs, applier, this.#leadsCommitted ? members : undefined);
    this.#leaseExpiry.turn(nowMs);
    if (!this.#peers.isBackedUp(raft.leader)) more = this.#proposals.offer(raft) || more;
    this.#leases.offer(nowMs);
    this.#membership.offer(nowMs);
    this.#reads.ask(raft, nowMs);
    this.#appliedBytes = 0;
    while (this.#appliedBytes < weightPerTurn && raft.hasReady()) {
      const ready = raft.ready();
      this.#process(ready);
      raft.advance(ready);
      this.#serveReads();
    }
    this.#inbox.applied(this.#requestTimeoutMs);
    this.#requests.keyReads.turn();
    for (const { importer } of this.#received.splice(0)) importer.abandon();
    publishRaft(this.#cells, this.#open, this.#peers);
    this.metrics.publish(this.#metricSources);
    // Answers leave before watch events and housekeeping, which may take milliseconds.
    this.#host.flush();
    this.metrics.published();
    this.#peers.flush(ticked);
    this.#watches.deliver();
    this.#snapshotSender.pump(nowMs);
    let busy = this.#requests.background(backgroundRecordsPerTurn);
    busy = this.#maintenance.turn(nowMs) || busy;
    busy = this.#watches.step(nowMs, backgroundRecordsPerTurn) || busy;
    busy = this.#streams.pump() || busy;
    this.#keepHouse();
    if (this.#ending === 'hand-over') this.#handOver();
    this.#peers.flush();
    this.#host.flush();
    more = more || busy || this.#appliedBytes >= weightPerTurn || this.#requests.keyReads.more();
    return more ? 0 : Math.max(0, this.#peers.dueMs - nowMs);
  }

  // What comes from peers (PeerHandler).

  raft(message: Message): void {
    if (!isRefused(this.#open, message)) this.#open.raft.step(message);
  }

  snapshotChunk(from: bigint, transferId: number, sequence: number, payload: Uint8Array): void {
    // One that came whole in this turn waits to be installed: a new transfer would clear its directory.
    if (this.#received.length > 0) return;
    const { acknowledge, received } = this.#snapshotReceiver.take(from, transferId, sequence, payload);
    if (acknowledge) this.#peers.sendAck(from, transferId, sequence);
    if (received === undefined) return;
    this.#received.push(received);
    this.#open.raft.step(received.message);
  }

  snapshotAck(from: bigint, transferId: number, sequence: number): void {
    this.#snapshotSender.acknowledge(from, transferId, sequence, this.#nowMs);
  }

  peerCall(from: bigint, method: number, callId: number, payload: Uint8Array): void {
    if (method === Method.MemberPromote) this.#membership.peerCall(from, callId, payload);
    else if (method === Method.HashKv || method === Method.KvCompact)
      this.#maintenance.peerCall(from, method, callId, payload);
    else this.#leases.peerCall(from, method, callId, payload);
  }

  peerReply(from: bigint, callId: number, errorCode: number, payload: Uint8Array): void {
    this.#calls.reply(from, callId, errorCode, payload);
  }

  #tick(): void {
    this.#open.raft.tick();
    this.metrics.ticked(this.#nowMs, this.#metricSources);
    const leader = { electedMs: this.#leaderElectedMs, electionTimeoutMs: this.#boot.settings.electionTimeoutMs };
    this.#proposals.expire(this.#nowMs, this.#requestTimeoutMs, leader, (proposal, error) =>
      this.#fail(proposal.requestId, error),
    );
    this.#reads.expire(this.#nowMs, this.#requestTimeoutMs, (read, error) => this.#requests.readFailed(read, error));
    this.#calls.expire(this.#nowMs);
    this.#leases.expire(this.#nowMs, this.#requestTimeoutMs);
    this.#membership.expire(this.#nowMs, this.#requestTimeoutMs);
    this.#peers.tick(this.#nowMs);
    this.#streams.checkLeader(this.#nowMs, this.#open.raft.leader !== NO_MEMBER);
  }

  /** One batch of Raft's work, in the only order that keeps its promises (raft/types.ts). */
  #process(ready: Ready): void {
    if (ready.softState !== undefined) this.#onSoftState(ready.softState.leader, ready.softState.role);
    this.#send(ready.sendNow);
    // Peers write to their disks while this member does. Where there is nothing to write, answers go before news.
    if (ready.entries.length > 0) this.#peers.flush();
    if (ready.snapshot !== undefined) this.#install(ready);
    else if (ready.entries.length > 0 || ready.hardState !== undefined) this.#persist(ready);
    for (const { context, index } of ready.readStates) this.#reads.confirm(context, index);
    this.#send(ready.sendAfterPersist);
    if (ready.sendAfterPersist.length > 0) this.#peers.flush();
    if (ready.committedEntries.length > 0) this.metrics.applying();
    for (const entry of ready.committedEntries) this.#apply(entry);
    this.#appliedBytes += weigh(ready.committedEntries);
  }

  #persist({ entries, hardState, mustSync }: Ready): void {
    if (entries.length > 0) this.metrics.writing(entries);
    this.#open.log.append(entries, hardState, mustSync);
    if (entries.length > 0) this.metrics.written();
  }

  #send(messages: readonly Message[]): void {
    for (const message of messages) {
      if (message.type === MessageType.Snap) this.#startSnapshot(message);
      else if (!this.#peers.send(message)) this.#open.raft.reportUnreachable(message.to);
    }
  }

  #startSnapshot(message: Message): void {
    if (this.#snapshotSender.isSendingTo(message.to)) return;
    const { exporter, metadata } = exportState(this.#open);
    this.#host.log('info', 'sending database snapshot', {
      'remote-peer-id': message.to.toString(16),
      'snapshot-index': metadata.index,
    });
    this.#snapshotSender.start({ ...message, snapshot: metadata }, exporter, this.#nowMs);
  }

  #install(ready: Ready): void {
    const metadata = ready.snapshot;
    assert(metadata !== undefined, 'there is a snapshot to install');
    const received = this.#received.find(({ message }) => message.snapshot?.index === metadata.index);
    assert(received !== undefined, 'a snapshot is installed after its state has come', { index: metadata.index });
    this.#received = this.#received.filter(other => other !== received);
    const formerGeneration = this.#open.log.stateGeneration;
    const { cells } = this.#open;
    cells.set(Scalar.snapshotApplyInProgress, 1);
    this.#open.log.installSnapshot(metadata, received.importer.generation, ready.hardState);
    if (ready.entries.length > 0) this.#open.log.append(ready.entries, undefined, true);
    // What watchers were not told yet of the former state is read from it before it is closed.
    this.#watches.deliver();
    this.#streams.stateLeaves();
    replaceState(this.#open, formerGeneration);
    this.#open.state.applier.lessor.advance(this.#nowMs);
    this.#open.state.applier.auth.tokens.advance(this.#nowMs);
    this.#watches.replaceStore(this.#open.state.applier.mvcc);
    if (this.#callers.changed()) this.#watches.rightsChanged();
    this.#requests.stateReplaced();
    publishApplied(this.#cells, this.#open, this.#host);
    this.#announceMembers();
    cells.set(Scalar.snapshotApplyInProgress, 0);
    this.#host.log('info', 'applied snapshot', { 'snapshot-index': metadata.index });
  }

  #onSoftState(leader: bigint, role: Role): void {
    const previous = this.#cells.get(Cell.leaderPosition);
    const position = this.#peers.positionOf(leader);
    this.#cells.set(Cell.leaderPosition, position);
    this.#cells.set(Cell.role, role);
    if (role !== Role.Leader) {
      this.#snapshotSender.abandon();
      this.#leadsCommitted = false;
    }
    this.#leaseExpiry.leads(role === Role.Leader);
    this.#calls.leaderChanged(leader);
    if (role !== this.#role) this.#host.log('info', `became ${roleNames[role]}`, { term: this.#open.raft.term });
    this.#role = role;
    if (position === previous) return;
    const fields = { leader: leader.toString(16), term: this.#open.raft.term };
    this.#host.log('info', position === -1 ? 'lost leader' : 'elected leader', fields);
    if (position === -1) return;
    this.#leaderElectedMs = this.#nowMs;
    this.metrics.leaderChanged();
    this.#reads.leaderChanged(read => this.#requests.readFailed(read, EtcdErrorCode.LeaderChanged));
  }

  #apply(entry: Entry): void {
    const { raft } = this.#open;
    const { applier } = this.#open.state;
    assert(entry.index === this.#open.state.store.appliedIndex + 1, 'entries are applied in order, each once', {
      index: entry.index,
      applied: this.#open.state.store.appliedIndex,
    });
    if (entry.type !== EntryType.Normal) {
      this.#applyConfChange(entry);
      return;
    }
    if (entry.data.length === 0) {
      applier.applyEmpty(entry);
      if (raft.isLeader && entry.term === raft.term) {
        this.#leadsCommitted = true;
        this.#publisher.leads();
      }
      return;
    }
    const request = this.#request;
    decodeInternalRequest(entry.data, request);
    const mine = request.idMember === this.#idMember;
    const proposal = mine ? this.#proposals.applied(request.idCounter) : undefined;
    const wanted = proposal !== undefined && proposal.requestId >= 0;
    const reply = applier.apply(entry, request, raft.term, wanted);
    this.metrics.applied(request.field, reply === undefined || !('error' in reply), mine ? request.idCounter : -1);
    this.#publisher.applied(request.field, proposal !== undefined);
    const { field } = request;
    const isPublic = field === InternalField.Alarm || field === InternalField.ClusterVersionSet || isAuthField(field);
    if (isPublic) publishApplied(this.#cells, this.#open, this.#host);
    if (field === InternalField.ClusterMemberAttrSet) this.#announceMembers();
    if (isAuthField(field) && this.#callers.changed()) this.#watches.rightsChanged();
    if (wanted) this.#requests.applied(proposal as Proposal, reply);
  }

  #applyConfChange(entry: Entry): void {
    const applied = applyConfChange(this.#open, entry);
    if (applied.requestId !== 0n) this.#host.log('info', 'applied a configuration change', confChangeFields(applied));
    // The host hears of the change before whoever asked for it does.
    this.#announceMembers();
    this.#membership.applied(applied);
  }

  #announceMembers(): void {
    this.#isLearner = isLearner(this.#open);
    announceMembers(this.#open, this.#host);
  }

  /** A stop waits for the next leader, but not longer than an election takes. */
  #handOver(): void {
    if (this.#handOverUntilMs === Number.POSITIVE_INFINITY) {
      this.#handOverUntilMs = this.#nowMs + this.#boot.settings.electionTimeoutMs;
    }
    const { raft } = this.#open;
    const done = !raft.isLeader || raft.status.progress.length === 1;
    if (done || this.#nowMs >= this.#handOverUntilMs) this.#ending = 'stop';
  }

  #serveReads(): void {
    this.#reads.serve(this.#open.state.store.appliedIndex, read => this.#requests.serve(read));
  }

  #keepHouse(): void {
    const { log } = this.#open;
    const { store } = this.#open.state;
    const { snapshotCount, snapshotCatchUpEntries } = this.#boot.settings;
    store.commitIfDue(this.#nowMs);
    log.flushIfDue(this.#nowMs);
    const behind = store.durableAppliedIndex - snapshotCatchUpEntries;
    if (behind - log.firstIndex() >= snapshotCount && !this.#snapshotSender.active) log.compact(behind);
    if (this.#announcedReady || !this.#publisher.published || !this.#maintenance.mayServe) return;
    this.#announcedReady = true;
    this.#cells.set(Cell.publishedAttributes, 1);
    this.#host.ready();
  }

  #fail(requestId: number, error: EtcdErrorCode): void {
    if (requestId >= 0) this.#host.end(requestId, error);
  }
}
