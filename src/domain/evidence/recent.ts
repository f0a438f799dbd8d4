/**
 * The last so many pieces of time, as rows of sums in a ring. Pure; the state is plain numbers in a caller's array.
 *
 * People are shown the last ten minutes and the sustained rule reads up to thirty, so rows are kept rather than running sums that forget:
 * "over the last ten minutes" has to be true when it is written into an alert.
 */

/** A ring of `slots` rows with `columns` numbers each. */
export interface Ring {
  readonly slots: number;
  readonly columns: number;
  /** Numbers in its state: how many rows were ever pushed, and the rows. */
  readonly words: number;
}

/** A ring with its size. */
export function ringOf(slots: number, columns: number): Ring {
  return { slots, columns, words: 1 + slots * columns };
}

/** Moves a row of sums from `rowAt` into the ring, in the place of the oldest, and sets it to zeros where it was. */
export function pushRow(ring: Ring, state: Float64Array, at: number, rowAt: number): void {
  const pushed = state[at]!;
  const row = at + 1 + (pushed % ring.slots) * ring.columns;
  state.copyWithin(row, rowAt, rowAt + ring.columns);
  state.fill(0, rowAt, rowAt + ring.columns);
  state[at] = pushed + 1;
}

/** How many rows there are, at most `slots`. */
function rowsIn(ring: Ring, state: Float64Array, at: number): number {
  return Math.min(ring.slots, state[at]!);
}

/** The rows, newest last. */
export function rowsOf(ring: Ring, state: Float64Array, at: number): readonly Float64Array[] {
  const count = rowsIn(ring, state, at);
  return Array.from({ length: count }, (_, index) => {
    const row = at + 1 + ((state[at]! - count + index) % ring.slots) * ring.columns;
    return state.subarray(row, row + ring.columns);
  });
}

/** One column of the newest row; 0 without rows. */
export function newestOf(ring: Ring, state: Float64Array, at: number, column: number): number {
  const pushed = state[at]!;
  return pushed === 0 ? 0 : state[at + 1 + ((pushed - 1) % ring.slots) * ring.columns + column]!;
}

/** The sums of all rows, column by column, and of the row at `rowAt` that is still being filled. */
export function sumsOf(ring: Ring, state: Float64Array, at: number, rowAt: number): Float64Array {
  const { columns } = ring;
  const sums = state.slice(rowAt, rowAt + columns);
  // In the order in which they lie: for sums it does not matter, and this is asked once a second for every route.
  const end = at + 1 + rowsIn(ring, state, at) * columns;
  for (let row = at + 1; row < end; row += columns)
    for (let column = 0; column < columns; column++) sums[column]! += state[row + column]!;
  return sums;
}
