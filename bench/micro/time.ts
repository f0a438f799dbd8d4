/**
 * Nanoseconds per call of small functions: warmed up, timed in batches, the fastest third of the batches kept. What disturbs a batch
 * only makes it slower, so the fast ones are the truth about the code; a whole median would be about the neighbours.
 */

const BATCHES = 30;
const BATCH_MS = 30;

/** Keeps results alive, so that the compiler cannot leave the work out. */
let sink = 0;

/** Runs `call` with 0, 1, 2, …; prints and returns its nanoseconds per call. `call` returns some number that depends on its work. */
export function time(name: string, call: (index: number) => number): number {
  const per = calibrate(call);
  const samples: number[] = [];
  for (let batch = 0; batch < BATCHES; batch += 1) {
    const start = performance.now();
    for (let index = 0; index < per; index += 1) sink = (sink + call(index)) | 0;
    samples.push(((performance.now() - start) * 1e6) / per);
  }
  const fast = samples.toSorted((a, b) => a - b).slice(0, BATCHES / 3);
  const ns = fast.reduce((sum, each) => sum + each, 0) / fast.length;
  process.stdout.write(`${name.padEnd(60)} ${ns.toFixed(1).padStart(10)} ns\n`);
  return ns;
}

/** How many calls make a batch; warms the code up on the way. */
function calibrate(call: (index: number) => number): number {
  for (let count = 1000; ; count *= 2) {
    const start = performance.now();
    for (let index = 0; index < count; index += 1) sink = (sink + call(index)) | 0;
    if (performance.now() - start >= BATCH_MS) return count;
  }
}

// Read once at the end, so that the sum is observable.
process.once("exit", () => {
  if (Number.isNaN(sink)) process.exitCode = 1;
});
