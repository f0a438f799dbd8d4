/** What settling an exchange costs, and what reading the window costs at a tick. `node bench/micro/record.ts` */

import { indexOfMicros } from "../../src/domain/latency.ts";
import { REASON_INDEX } from "../../src/domain/outcome.ts";
import { LiveSlice } from "../../src/domain/slice.ts";
import { millis } from "../../src/domain/units.ts";
import { ArmWindow } from "../../src/domain/window.ts";
import { time } from "./time.ts";

/** Latencies from 0.2 to 50 ms, in no order. */
const MICROS = Array.from({ length: 4096 }, (_, index) => 200 + ((index * 48_271) % 49_800));
const at = (index: number): number => MICROS[index & 4095] ?? 0;
const { ok, status } = REASON_INDEX;

time("indexOfMicros", (index) => indexOfMicros(at(index)));

const live = new LiveSlice();
time("LiveSlice.record, success", (index) => {
  live.record(ok, 200, at(index), at(index) + 100);
  return index;
});
time("LiveSlice.record, one failure in ten", (index) => {
  const failed = index % 10 === 0;
  live.record(failed ? status : ok, failed ? 500 : 200, at(index), at(index) + 100);
  return index;
});

time("a second's end: 500 records, take, add to the window", (index) => {
  const slice = new LiveSlice();
  for (let each = 0; each < 500; each += 1) slice.record(ok, 200, at(index + each), 1000);
  const taken = slice.take();
  return taken?.successes.length ?? 0;
});

const arm = new ArmWindow();
for (let second = 1; second <= 60; second += 1) {
  const slice = new LiveSlice();
  for (let each = 0; each < 500; each += 1) slice.record(ok, 200, at(second * 500 + each), 1000);
  const taken = slice.take();
  if (taken !== undefined) arm.add(taken, millis(second * 1000));
}
time("ArmWindow.read, 60 slices of 500", () => arm.read(millis(60_000), millis(60_000), millis(0)).requests);
