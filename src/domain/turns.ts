/** Work that must not overlap. Pure but for the promise of what went before. */

/** One thing at a time, in the order in which they are asked for. */
export function turns(): <R>(run: () => Promise<R>) => Promise<R> {
  let last: Promise<unknown> = Promise.resolve();
  return (run) => {
    const result = last.then(run);
    last = result.catch(() => {});
    return result;
  };
}
