/**
 * A first-in, first-out queue that is threaded through its elements, so that any element leaves it in constant time.
 *
 * Invariant: an element is in at most one queue; `queue` names it.
 */
import { assert } from '../../base/assert.js';

/** What an element carries. */
export interface Linked<Element extends Linked<Element>> {
  queue: LinkedQueue<Element> | undefined;
  before: Element | undefined;
  after: Element | undefined;
}

export class LinkedQueue<Element extends Linked<Element>> {
  #first: Element | undefined;
  #last: Element | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get first(): Element | undefined {
    return this.#first;
  }

  push(element: Element): void {
    assert(element.queue === undefined, 'an element waits in one queue');
    element.queue = this;
    element.before = this.#last;
    if (this.#last === undefined) this.#first = element;
    else this.#last.after = element;
    this.#last = element;
    this.#size += 1;
  }

  remove(element: Element): void {
    assert(element.queue === this, 'only what waits here is removed');
    if (element.before === undefined) this.#first = element.after;
    else element.before.after = element.after;
    if (element.after === undefined) this.#last = element.before;
    else element.after.before = element.before;
    element.queue = undefined;
    element.before = undefined;
    element.after = undefined;
    this.#size -= 1;
  }

  /** Moves an element to the end. */
  rotate(element: Element): void {
    this.remove(element);
    this.push(element);
  }
}
