/**
 * Lines per second of a backtest, by format, and what a virtual second costs. `node bench/micro/backtest.ts [lines] [format…]`; writes its logs to the
 * system's folder for temporary files and removes them.
 */

import { createWriteStream, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { backtest, type BacktestOptions } from "../../src/backtest/run.ts";
import { millis, ppm } from "../../src/domain/units.ts";

const START = Date.UTC(2026, 0, 5, 9);
const RPS = 1000;
const pad = (value: number, width = 2): string => String(value).padStart(width, "0");

/** A line of each format, the `nth` of a log with a twentieth of canary. */
const FORMS = {
  json: (nth: number, at: Date) =>
    `{"time":"${at.toISOString()}","route":"app","arm":"${nth % 20 === 0 ? "canary" : "stable"}","status":200,` +
    `"ms":${20 + (nth % 50)}.25,"method":"GET","path":"/items/${nth % 977}","key":"${(nth % 9973).toString(16)}"}\n`,
  nginx: (nth: number, at: Date) =>
    `10.${nth % 7}.${nth % 31}.${nth % 251} - - [${pad(at.getUTCDate())}/Jan/2026:${at.toISOString().slice(11, 19)} +0000] ` +
    `"GET /items/${nth % 977} HTTP/1.1" 200 1532 "https://shop.example/" "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0" ` +
    `0.0${20 + (nth % 50)} 10.0.0.${nth % 20 === 0 ? 9 : 1}:8080\n`,
  envoy: (nth: number, at: Date) =>
    `[${at.toISOString()}] "GET /items/${nth % 977} HTTP/1.1" 200 - 0 1532 ${20 + (nth % 50)} ${19 + (nth % 50)} ` +
    `"10.${nth % 7}.${nth % 31}.${nth % 251}" "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0" ` +
    `"${pad(nth, 8)}-58cc-4372-a567-0e02b2c3d479" "shop.example" "10.0.0.${nth % 20 === 0 ? 9 : 1}:8080"\n`,
};
type Form = keyof typeof FORMS;

async function written(folder: string, form: Form, lines: number): Promise<string> {
  const name = join(folder, `${form}.log`);
  const file = createWriteStream(name);
  let text = "";
  for (let nth = 0; nth < lines; nth++) {
    text += FORMS[form](nth, new Date(START + (nth * 1000) / RPS));
    if (text.length < 1024 * 1024) continue;
    if (!file.write(text)) await once(file, "drain");
    text = "";
  }
  file.end(text);
  await finished(file);
  return name;
}

const PLAN = join(mkdtempSync(join(tmpdir(), "sluice-backtest-")), "plan.yaml");

function options(changed: Partial<BacktestOptions>): BacktestOptions {
  return {
    plan: PLAN,
    config: undefined,
    route: undefined,
    logs: [],
    format: undefined,
    layout: undefined,
    canaries: ["10.0.0.9:8080"],
    arms: undefined,
    faults: [],
    climate: { rps: RPS, duration: millis(1), errors: ppm(0), latency: millis(40) },
    seed: 1,
    salts: 0,
    stdin: process.stdin,
    ...changed,
  };
}

async function timed(
  what: string,
  count: number,
  unit: string,
  changed: Partial<BacktestOptions>,
): Promise<void> {
  const began = performance.now();
  const before = process.cpuUsage();
  const report = await backtest(options(changed));
  const ms = performance.now() - began;
  const cpu = process.cpuUsage(before);
  const cpuMs = (cpu.user + cpu.system) / 1000;
  const each = ((cpuMs * 1000) / count).toFixed(2);
  process.stdout.write(
    `${what.padEnd(34)} ${String(count).padStart(9)} ${unit} in ${(ms / 1000).toFixed(1)} s, ` +
      `CPU ${(cpuMs / 1000).toFixed(1)} s: ${each} µs each; ${report.outcome}\n`,
  );
}

const [wanted = "1000000", ...forms] = process.argv.slice(2);
const lines = Number(wanted);
const folder = join(PLAN, "..");
try {
  writeFileSync(PLAN, "steps:\n  - { setWeight: 5%, hold: 30d }\n");
  for (const form of Object.keys(FORMS) as Form[]) {
    if (forms.length > 0 && !forms.includes(form)) continue;
    const log = await written(folder, form, lines);
    process.stdout.write(`${form}: ${Math.round(statSync(log).size / lines)} bytes a line\n`);
    await timed(`${form}, both arms`, lines, "lines", { logs: [log] });
    await timed(`${form}, canary chosen by key`, lines, "lines", { logs: [log], arms: "one" });
    rmSync(log);
  }
  const day = millis(86_400_000);
  const climate = { errors: ppm(1000), latency: millis(40), duration: day };
  if (forms.length === 0)
    for (const [rps, pace] of [
      [20, "20 requests a second"],
      [1, "1 a second"],
      [1 / 3600, "1 an hour"],
    ] as const)
      await timed(`a made-up day, ${pace}`, 86_400, "virtual seconds", { climate: { ...climate, rps } });
} finally {
  rmSync(folder, { recursive: true });
}
