/**
 * What one peer may do how often (limits.ts tells why). Each spent budget is the end of its connection.
 */
import { Budget } from './budget.js';
import type { Http2Limits } from './limits.js';

export class ConnectionBudgets {
  /** Streams ended by RST_STREAM before their time, whoever sent it. */
  readonly resets: Budget;
  readonly settings: Budget;
  readonly pings: Budget;
  readonly windowUpdates: Budget;
  /** Frames that change nothing. */
  readonly idleFrames: Budget;

  constructor(limits: Http2Limits, clock: () => number) {
    this.resets = new Budget(limits.resetsBurst, limits.resetsPerSecond, clock);
    this.settings = new Budget(limits.settingsBurst, limits.settingsPerSecond, clock);
    this.pings = new Budget(limits.pingsBurst, limits.pingsPerSecond, clock);
    this.windowUpdates = new Budget(limits.windowUpdatesBurst, limits.windowUpdatesPerSecond, clock);
    this.idleFrames = new Budget(limits.idleFramesBurst, limits.idleFramesPerSecond, clock);
  }
}
