/** What it costs an exchange to be told one by one, or not to be. `node bench/micro/accounts.ts` */

import { deserialize, serialize } from "node:v8";
import { configSchema } from "../../src/config/schema.ts";
import type { Account } from "../../src/domain/account.ts";
import { millis } from "../../src/domain/units.ts";
import { clock, dice } from "../../src/platform.ts";
import { Accounts, type Told } from "../../src/proxy/accounts.ts";
import { NOBODY } from "../../src/proxy/bypass.ts";
import type { Choice } from "../../src/proxy/choice.ts";
import type { Route } from "../../src/proxy/route.ts";
import { spansOf } from "../../src/telemetry/spans.ts";
import { time } from "./time.ts";

const arm = { endpoints: ["http://10.0.0.1:8080"] };
const configOf = (tracing: object | "off") =>
  configSchema.parse({ tracing, routes: [{ name: "app", stable: arm, canary: arm }] });
const config = configOf("off");
// Of a route its name is told, and who asks is asked for.
const route = {
  config: config.routes[0],
  identify: { ...NOBODY, keyOf: () => "user-1" },
} as unknown as Route;
const choice: Choice = { arm: "stable", forced: false, key: undefined, cookie: "" };
const told: Told = {
  view: {
    method: "GET",
    target: "/items/1?q",
    client: "127.0.0.1",
    subject: "",
    header: () => undefined,
    bucketOf: () => 1,
  },
  host: "app.example",
  proto: "http",
  version: "1.1",
  startedAt: millis(0),
  parent: undefined,
};

let last: Account | undefined;
const accounts = new Accounts({ clock, dice }, (account) => (last = account));
const begin = (): number => (accounts.begin(route, choice, "salt", told) === undefined ? 0 : 1);
const whole = (): number => {
  const story = accounts.begin(route, choice, "salt", told);
  if (story === undefined) return 0;
  story.sends("stable", "http://10.0.0.1:8080", millis(1));
  story.became("ok", 200, millis(2));
  story.settled("ok", 200, 1000, millis(2), false);
  story.over("ok", 200, millis(2));
  return 1;
};

const off = time("begin, off", begin);
accounts.configure(configOf({ sample: "1%" }));
const decided = time("begin to end, 1 %", whole);
accounts.configure(configOf({ sample: "100%" }));
time("a sampled exchange, put together", whole);
const account = last;
if (account === undefined) throw new Error("nothing was told");
const spans = time("its spans, in the main thread", () => spansOf(account).length);
// What a message between threads is: the platform's own serialisation, in batches of so many.
const batch = Array.from({ length: 256 }, () => account);
const passed =
  time("256 of them, to the main thread", () => (deserialize(serialize(batch)) as Account[]).length) / 256;
const each = decided + (passed + spans) / 100;
process.stdout.write(`at 1 % an exchange costs ${each.toFixed(0)} ns more, off ${off.toFixed(1)} ns\n`);
