/**
 * Drills: the way back, proved from the first failure to the message that people get.
 *
 * A drill puts a route of its own in force beside the configured ones: stable is the real stable, the canary a server of the drill's that fails when
 * told to, and nobody but the drill knows the host name by which it is reached. Synthetic requests go in by the program's own listener, so that what
 * is proved is what users' requests go through: counting, the alarm, the swap of the weight, record, journal, evidence pack, messages. Then the
 * route is taken away. The real route's weight, evidence and users are not touched.
 */

import { arm } from "../config/arm.ts";
import type { Config, RouteConfig } from "../config/schema.ts";
import { isOpen } from "../domain/calendar.ts";
import { DRILL_SUFFIX, drillReport, type DrillCheck, type DrillReport } from "../domain/drill.ts";
import { FULL, formatDuration, millis, ppm } from "../domain/units.ts";
import type { Control } from "../engine/control.ts";
import type { Clock, Dice, JournalLine, Log } from "../engine/ports.ts";
import type { RouteStatus } from "../engine/status.ts";
import { windowsOf } from "../config/window.ts";
import { DRILL_KEY, openDrillCanary, type DrillCanary } from "./drill-canary.ts";
import { exchange } from "./exchange.ts";
import { after, detailOf } from "./limit.ts";

/** Messages of one channel since start. */
export interface ChannelTally {
  readonly channel: string;
  readonly sent: number;
  readonly dropped: number;
}

/** What a drill works with. */
export interface DrillParts {
  /** What is in force, without drills. */
  readonly config: () => Config;
  readonly control: Pick<Control, "route" | "command" | "journal">;
  /** Puts these routes in force beside the configured ones, and forgets what was recorded of those that are gone. */
  readonly place: (routes: readonly RouteConfig[]) => Promise<void>;
  /** The addresses of the listeners, in the order of the configuration. */
  readonly addresses: () => readonly string[];
  readonly isRecorded: () => boolean;
  readonly channels: () => readonly ChannelTally[];
  /** Names of the evidence packs of a route. Rejects when the folder cannot be read. */
  readonly packs: (route: string) => Promise<readonly string[]>;
  /** Keeps the report; resolves what it is called, undefined when it could not be kept. */
  readonly keep: (report: DrillReport) => Promise<string | undefined>;
  /** Writes a line about the real route into the journal, and tells people. */
  readonly tell: (route: string, event: DrillEvent, actor: string, words: string) => void;
  readonly clock: Clock;
  readonly dice: Dice;
  readonly log: Log;
}

/** What the journal has of drills. */
export type DrillEvent = "DRILL_STARTED" | "DRILL_PASSED" | "DRILL_FAILED";

/** Who asks for a drill, and why. */
export interface DrillOrder {
  readonly route: string;
  readonly actor: string;
  readonly reason: string;
  /** Although a rollout is under way. */
  readonly force: boolean;
}

/** What became of it. */
export type DrillResult =
  | { readonly ok: true; readonly report: DrillReport }
  | { readonly ok: false; readonly kind: Obstacle; readonly message: string };

/** Why there is none. `follower`: of several replicas another one leads, or none does. */
type Obstacle = "missing" | "busy" | "unreachable" | "follower";

/** Drills of all routes, one at a time. */
export interface Drills {
  run(order: DrillOrder): Promise<DrillResult>;
  /** Ends what is under way, and makes none any more. Never rejects. */
  close(): Promise<void>;
}

/** Between two synthetic requests: twenty a second. */
const PAUSE_MS = millis(50);
/** How long a message, a line or a pack may be behind the rollback. */
const PAPERWORK_MS = 30_000;
const ONE_MS = 5000;
/** So many of both arms are looked at before the canary fails, and of the canary's keys after. */
const SEEN = 5;
/** Half of the synthetic keys. */
const SHARE = ppm(FULL / 2);
const SCHEDULE_MS = millis(10_000);
const SCHEDULED = "scheduled";

/** Ready to make drills; those that are scheduled are made from now on. */
export function createDrills(parts: DrillParts): Drills {
  const { clock, config, log } = parts;
  const closed = new AbortController();
  let running: Promise<DrillResult> | undefined;
  const run = async (order: DrillOrder): Promise<DrillResult> => {
    const barred = whyNot(parts, order, running !== undefined || closed.signal.aborted);
    if (barred !== null) return barred;
    running = new Drill(parts, order, closed.signal).run().finally(() => (running = undefined));
    return running;
  };
  const wasOpen = new Map(config().routes.map((route) => [route.name, isDue(route, clock.wall())]));
  const stop = clock.every(SCHEDULE_MS, () => {
    for (const route of config().routes) {
      const isNow = isDue(route, clock.wall());
      const opens = isNow && wasOpen.get(route.name) === false;
      // What cannot be begun now, for another drill is under way, is begun at the next look.
      if (opens && running !== undefined) continue;
      const fleet = parts.control.route(route.name)?.fleet ?? null;
      const isElsewhere = fleet !== null && !fleet.leads;
      // Nor what no replica can begin, for none leads yet.
      if (opens && isElsewhere && (fleet.leader === "" || fleet.leader === fleet.replica)) continue;
      wasOpen.set(route.name, isNow);
      if (!opens || isElsewhere) continue;
      const notMade = (why: string): void =>
        log.warn("a scheduled drill was not made", { route: route.name, why });
      void run({ route: route.name, actor: "sluice", reason: SCHEDULED, force: false }).then(
        (result) => (result.ok ? undefined : notMade(result.message)),
        (error: unknown) => notMade(detailOf(error)),
      );
    }
  });
  return {
    run,
    async close() {
      stop();
      closed.abort();
      // Whoever asked for it is told what became of it; here it is only waited for.
      await running?.catch(() => {});
    },
  };
}

function isDue({ drill: { schedule } }: RouteConfig, wall: number): boolean {
  return schedule !== undefined && isOpen(windowsOf(schedule), [], wall);
}

function whyNot(parts: DrillParts, order: DrillOrder, isBusy: boolean): DrillResult | null {
  const status = parts.control.route(order.route);
  if (status === undefined) return refused("missing", "there is no route of this name");
  if (isBusy) return refused("busy", "another drill is under way");
  const { fleet, phase } = status;
  // It begins with a raise, of a route that the leader would not know.
  if (fleet !== null && !fleet.leads) {
    const whom = fleet.leader === "" ? "none leads just now" : `ask ${fleet.leader}, which leads`;
    return refused("follower", `a drill is made by the replica that leads: ${whom}`);
  }
  if (!order.force && phase !== "idle" && phase !== "succeeded" && phase !== "rolled_back") {
    const message = `a rollout of ${order.route} is under way (${phase}): finish it first, or force it with a reason`;
    return refused("busy", message);
  }
  if (originOf(parts) === undefined)
    return refused("unreachable", "a drill needs a TCP listener without `proxyProtocol`");
  return null;
}

function refused(kind: Obstacle, message: string): DrillResult {
  return { ok: false, kind, message };
}

/** Where the program can be reached by itself. */
function originOf({ config, addresses }: DrillParts): URL | undefined {
  const bound = addresses();
  const index = config().listen.findIndex(
    ({ proxyProtocol }, at) => !proxyProtocol && bound[at] !== undefined && !bound[at].startsWith("unix:"),
  );
  if (index < 0) return undefined;
  const scheme = config().listen[index]?.tls === undefined ? "http" : "https";
  const address = bound[index]!.replace(/^0\.0\.0\.0:/, "127.0.0.1:").replace(/^\[::\]:/, "[::1]:");
  return new URL(`${scheme}://${address}`);
}

/** When what happened; null: it has not. */
interface Times {
  off: number | null;
  rolledBack: number | null;
}

/** One drill. */
class Drill {
  readonly #parts: DrillParts;
  readonly #order: DrillOrder;
  readonly #ended: AbortSignal;
  readonly #name: string;
  readonly #host: string;
  readonly #checks: DrillCheck[] = [];
  readonly #times: Times = { off: null, rolledBack: null };
  #requests = 0;
  #failedToClients = 0;

  constructor(parts: DrillParts, order: DrillOrder, ended: AbortSignal) {
    this.#parts = parts;
    this.#order = order;
    this.#ended = ended;
    this.#name = `${order.route}${DRILL_SUFFIX}`;
    this.#host = `d${parts.dice.token(15)}.drill.invalid`.toLowerCase();
  }

  async run(): Promise<DrillResult> {
    const { config, keep, tell, log } = this.#parts;
    const { route, actor, reason } = this.#order;
    const startedAt = this.#wall();
    const before = this.#standing();
    tell(route, "DRILL_STARTED", actor, reason);
    let canary: DrillCanary | undefined;
    try {
      canary = await openDrillCanary();
      await this.#prove(canary);
    } catch (error) {
      this.#check("drill", false, detailOf(error));
    }
    await this.#restore(canary, before);
    const about = { environment: config().environment, route, startedAt, endedAt: this.#wall() };
    const report = drillReport({ ...about, startedBy: actor, reason }, this.#checks, {
      requests: this.#requests,
      failed: canary?.failed ?? 0,
      failedToClients: this.#failedToClients,
      offAfterMs: this.#times.off,
      rolledBackAfterMs: this.#times.rolledBack,
    });
    log[report.passed ? "info" : "error"](report.sentence, { route, report: await keep(report) });
    tell(route, report.passed ? "DRILL_PASSED" : "DRILL_FAILED", actor, report.sentence);
    return { ok: true, report };
  }

  async #prove(canary: DrillCanary): Promise<void> {
    const { config, control, place, clock, channels } = this.#parts;
    const route = config().routes.find(({ name }) => name === this.#order.route);
    if (route === undefined) throw new Error("the route is gone");
    await place([this.#routeOf(route, canary.url)]);
    const raised = await control.command(
      this.#name,
      { type: "set_weight", weight: SHARE, force: false, reason: "drill" },
      { name: this.#order.actor },
    );
    if (!raised.ok) throw new Error(raised.message);
    const deadline = clock.mono() + route.drill.timeout;
    const path = route.drill.path ?? route.stable.health?.path ?? route.health.path ?? "/";

    const ofCanary: string[] = [];
    let ofStable = 0;
    for (let n = 0; ofCanary.length < SEEN || ofStable < SEEN; n++) {
      if (!(await this.#pause(deadline))) break;
      const [key, served] = [`drill-${n}`, canary.served];
      if (!(await this.#ask(path, key))) break;
      if (canary.served > served) ofCanary.push(key);
      else ofStable++;
    }
    const isBoth = ofCanary.length >= SEEN && ofStable >= SEEN;
    const words = `${ofStable} synthetic keys were answered by stable, ${ofCanary.length} by the drill's canary`;
    if (!this.#check("both arms", isBoth, words)) return;

    const told = new Map(channels().map((each) => [each.channel, each]));
    await this.#untilRolledBack(canary, path, deadline);
    if (this.#times.rolledBack === null) return;
    await this.#nextRequests(canary, path, ofCanary);
    await this.#paperwork(told);
  }

  /** The drill's own route: as the real one, but for the canary, the host and the key. */
  #routeOf(route: RouteConfig, url: string): RouteConfig {
    const { plan: _plan, override: _override, salt: _salt, confirm: _confirm, ...rest } = route;
    return {
      ...rest,
      name: this.#name,
      match: { host: this.#host, path: "/" },
      canary: { ...arm.parse({ endpoints: [url] }), version: "drill" },
      key: [`header:${DRILL_KEY}`],
      anonymous: "stable",
      mirror: "off",
      // Nobody is to close what a rehearsal opens.
      alerts: [],
    };
  }

  /** From the first failure to the end of the rollback, or to the end of patience. */
  async #untilRolledBack(canary: DrillCanary, path: string, deadline: number): Promise<void> {
    const { clock, control } = this.#parts;
    const from = clock.mono();
    let status: RouteStatus | undefined;
    canary.fail();
    for (let n = 0; status?.phase !== "rolled_back"; n++) {
      if (!(await this.#pause(deadline))) break;
      await this.#ask(path, `drill-${n}`);
      status = control.route(this.#name);
      if (status?.weight === 0) this.#times.off ??= clock.mono() - from;
    }
    const isDone = status?.phase === "rolled_back";
    if (isDone) this.#times.rolledBack = clock.mono() - from;
    const took = formatDuration(millis(Math.round(clock.mono() - from)));
    this.#check(
      "rollback",
      isDone,
      isDone
        ? `${status?.reason}; after ${canary.failed} failures, ${took}`
        : `none within ${took}, after ${canary.failed} failures`,
    );
  }

  /** The keys that were on the canary are on stable now. */
  async #nextRequests(canary: DrillCanary, path: string, keys: readonly string[]): Promise<void> {
    const seen = canary.served + canary.failed;
    let answered = 0;
    for (const key of keys) if (await this.#ask(path, key)) answered++;
    const late = canary.served + canary.failed - seen;
    const words = `of ${keys.length} keys that were on the canary ${answered} were answered by stable, ${late} came to the canary`;
    this.#check("next request", late === 0 && answered === keys.length, words);
  }

  /** What comes after the weight, in its order: each is waited for. */
  async #paperwork(told: ReadonlyMap<string, ChannelTally>): Promise<void> {
    const { channels, control, isRecorded, packs, clock } = this.#parts;
    const deadline = clock.mono() + PAPERWORK_MS;
    const until = async (
      name: string,
      look: () => Promise<string | undefined>,
      otherwise: string,
    ): Promise<void> => {
      let found = await look();
      while (found === undefined && (await this.#pause(deadline))) found = await look();
      this.#check(name, found !== undefined, found ?? otherwise);
    };
    await until(
      "record",
      async () => (isRecorded() ? "the state is recorded" : undefined),
      "the state could not be recorded",
    );
    const line = async (): Promise<JournalLine | undefined> =>
      (await control.journal({ limit: 20, route: this.#name })).find(
        ({ event }) => event === "ROLLBACK_DONE",
      );
    await until(
      "journal",
      async () => {
        const found = await line();
        return found === undefined ? undefined : `ROLLBACK_DONE is line ${found.seq}`;
      },
      "the journal has no ROLLBACK_DONE",
    );
    await until("evidence", async () => (await packs(this.#name)).at(-1), "there is no evidence pack");
    for (const { channel } of channels()) {
      const of = (): ChannelTally | undefined => channels().find((each) => each.channel === channel);
      const before = told.get(channel);
      await until(
        `notification ${channel}`,
        async () => ((of()?.sent ?? 0) > (before?.sent ?? 0) ? "delivered" : undefined),
        "was not delivered",
      );
    }
  }

  async #restore(canary: DrillCanary | undefined, before: string): Promise<void> {
    try {
      try {
        await this.#parts.place([]);
      } finally {
        await canary?.close();
      }
      const isGone = this.#parts.control.route(this.#name) === undefined;
      const now = this.#standing();
      const words = `${this.#order.route} stands at ${now}, as before`;
      if (now !== before)
        this.#check("restored", false, `${this.#order.route} stood at ${before}, now at ${now}`);
      else this.#check("restored", isGone, isGone ? words : "the drill's route is still there");
    } catch (error) {
      this.#check("restored", false, detailOf(error));
    }
  }

  /** One synthetic request through the program's own listener; whether it was answered, and not by a failure. */
  async #ask(path: string, key: string): Promise<boolean> {
    this.#requests++;
    const url = originOf(this.#parts);
    if (url === undefined) throw new Error("the listener is gone");
    const patience = AbortSignal.any([this.#ended, AbortSignal.timeout(ONE_MS)]);
    const asked = exchange(
      {
        url,
        isHttp2: false,
        method: "GET",
        path,
        fields: { "user-agent": "sluice-drill", accept: "*/*", [DRILL_KEY]: key },
        authority: this.#host,
        // To ourselves, whatever name the certificate is for.
        tls: url.protocol === "https:" ? { rejectUnauthorized: false } : undefined,
        lookup: () => {},
        most: () => 0,
      },
      patience,
    );
    const status = await asked.then(
      (answer) => answer.status,
      () => 0,
    );
    const isWell = status >= 200 && status < 500;
    if (!isWell) this.#failedToClients++;
    return isWell;
  }

  /** False when there is no time left, or the program ends. */
  async #pause(deadline: number): Promise<boolean> {
    const { clock } = this.#parts;
    if (this.#ended.aborted) throw new Error("the program is ending");
    if (clock.mono() >= deadline) return false;
    await new Promise<void>((resolve) => void after(clock, PAUSE_MS, resolve));
    return true;
  }

  #check(name: string, ok: boolean, detail: string): boolean {
    this.#checks.push({ name, ok, detail });
    return ok;
  }

  /** Where the real route stands, for people. */
  #standing(): string {
    const status = this.#parts.control.route(this.#order.route);
    return status === undefined ? "nothing" : `${status.weight} %, ${status.phase}`;
  }

  #wall(): string {
    return new Date(this.#parts.clock.wall()).toISOString();
  }
}
