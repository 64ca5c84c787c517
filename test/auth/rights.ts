/**
 * Who had the right to what, when: the oracle of the tests that change rights under load.
 *
 * One administrator makes changes one after the other. A change takes effect somewhere between being asked for and
 * being acknowledged; so the state it makes may be in force from its begin until the next change is acknowledged:
 *
 *     change 1   |--------|                       state 0  ════════╡
 *     change 2                 |------|           state 1  ╞═══════════════════╡
 *                                                 state 2               ╞═══════
 *
 * What is asked from `begun` to `ended` may be judged by any state that may be in force in between. If none of them
 * allows it, it must not be served; if all do, it must not be refused. Times are ticks of one counter.
 */

export interface State {
  readonly enabled: boolean;
  /** Users who exist and hold the right in question. */
  readonly allowed: ReadonlySet<string>;
  /** Of the user whose password changes. */
  readonly password: number;
}

export interface Span {
  readonly begun: number;
  /** Infinity: nobody heard of an end. */
  readonly ended: number;
}

interface Change {
  readonly begun: number;
  acknowledged: number;
  readonly state: State;
  /** Whose tokens are void after it. */
  readonly voids: (user: string) => boolean;
}

export class Rights {
  readonly #changes: Change[] = [];
  #now = 0;

  constructor(initial: State) {
    this.#changes.push({ begun: 0, acknowledged: 0, state: initial, voids: () => false });
  }

  /** The next point in time. */
  tick(): number {
    return ++this.#now;
  }

  get latest(): State {
    return this.#changes.at(-1)!.state;
  }

  /** Begins a change; call what it returns when it was acknowledged. */
  change(state: State, voids: (user: string) => boolean = () => false): () => void {
    const change = { begun: this.tick(), acknowledged: Infinity, state, voids };
    this.#changes.push(change);
    return () => {
      change.acknowledged = this.tick();
    };
  }

  /** The states that may have been in force at some moment of the span. */
  possible({ begun, ended }: Span): State[] {
    return this.#changes
      .filter((change, i) => change.begun <= ended && (this.#changes[i + 1]?.acknowledged ?? Infinity) >= begun)
      .map(({ state }) => state);
  }

  /** Whether a token a user was given in the one span is surely void in the other. */
  isVoid(user: string, given: Span, used: Span): boolean {
    return this.#changes.some(
      change => change.voids(user) && change.begun > given.ended && change.acknowledged < used.begun,
    );
  }

  /** Whether it surely is good, as far as changes go. */
  isGood(user: string, given: Span, used: Span): boolean {
    return !this.#changes.some(
      change => change.voids(user) && change.acknowledged > given.begun && change.begun < used.ended,
    );
  }
}
