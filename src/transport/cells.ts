/**
 * Numbers of one thread that others look at whenever they like, in shared memory: plain loads and stores, no locks.
 *
 * Invariant: one thread writes a cell. A torn view across two cells is possible, so every cell is meaningful by itself.
 */
export class Cells {
  protected readonly cells: Float64Array;

  constructor(buffer: SharedArrayBuffer) {
    this.cells = new Float64Array(buffer);
  }

  get buffer(): SharedArrayBuffer {
    return this.cells.buffer as SharedArrayBuffer;
  }

  get(cell: number): number {
    return this.cells[cell] as number;
  }

  set(cell: number, value: number): void {
    this.cells[cell] = value;
  }
}
