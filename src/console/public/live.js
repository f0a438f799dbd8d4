/**
 * What is known, and how it stays fresh: the stream of events with its reconnects, and the few things that are asked for beside it. `onChange` is
 * called when something that is shown may have changed.
 */

/** @import { RouteStatus } from "../../engine/status.ts" */
/** @import { JournalLine } from "../../engine/ports.ts" */
/** @import { Percentile } from "../../domain/latency.ts" */
import { get, Refused, stream } from "./api.js";
import { addLive, seriesOf } from "./series.js";

/**
 * @typedef {{ name: string, scopes: string[], roles: string[] | null, environment: string, operations: string[] }} Caller
 * @typedef {{ stable: { percentiles: Percentile[] }, canary: { percentiles: Percentile[] } }} Distribution
 * @typedef {"connecting" | "live" | "lost"} Connection
 */

/** After a loss: ms. */
const BACKOFF_MS = [500, 1000, 2000, 4000, 8000, 15_000];
/** A status comes each second: without a sign for so long the stream is taken for dead. */
const SILENCE_MS = 6000;
const SLOW_MS = 5000;
/** What hardly changes is asked for in each so many turns. */
const SELDOM = 6;
/** Lines of the journal: at first, and when somebody wants to see more. */
const FEW_LINES = 60;
const MANY_LINES = 1000;
/** What not every program tells, by operation, and each how many turns it is asked for. */
const OPTIONAL = [
  { operation: "replicas", path: () => "/v1/replicas", every: 1 },
  {
    operation: "messages",
    path: (/** @type {string} */ route) => `/v1/messages?route=${route}&limit=20`,
    every: 1,
  },
  {
    operation: "silences",
    path: (/** @type {string} */ route) => `/v1/silences?route=${route}`,
    every: 1,
  },
  { operation: "health", path: () => "/v1/health", every: SELDOM },
];
/** What is not recorded for so long is in trouble. */
const UNRECORDED_MS = 2000;
/** A tab that nobody looks at gives its place among the listeners back. */
const HIDDEN_MS = 60_000;

/** What is known. */
export class Live {
  /** @type {Caller | undefined} */
  caller;
  /** @type {Map<string, RouteStatus>} */
  routes = new Map();
  /** @type {Connection} */
  connection = "connecting";
  /** Of when the newest status is, by `Date.now()`. */
  seenAt = 0;
  /** When it is tried again, by `Date.now()`. */
  retryAt = 0;
  /** @type {readonly JournalLine[] | undefined} */
  journal;
  /** @type {Distribution | undefined} */
  distribution;
  /** @type {import("./series.js").Series | undefined} */
  series;
  /** What only some programs tell, by operation. @type {Map<string, any>} */
  extras = new Map();

  #onChange;
  #onRefused;
  /** @type {string | undefined} */
  #route;
  /** @type {AbortController | undefined} */
  #stream;
  /** @type {number[]} */
  #timers = [];
  #losses = 0;
  #signedAt = 0;
  #hiding = 0;
  #turn = 0;
  /** Turns in which the journal is read: what was decided may be recorded after it was done. */
  #reads = 0;
  #lines = FEW_LINES;
  /** Since when what is in force of a route is not recorded, by `Date.now()`. @type {Map<string, number>} */
  #unrecorded = new Map();

  /**
   * @param {() => void} onChange
   * @param {() => void} onRefused the token is not known any more
   */
  constructor(onChange, onRefused) {
    this.#onChange = onChange;
    this.#onRefused = onRefused;
    document.addEventListener("visibilitychange", () => this.#seen());
  }

  /** Learns who calls and which routes there are. Rejects as the API says. */
  async login() {
    this.caller = await get("/v1/whoami");
    await this.#readRoutes();
  }

  /** @param {string} operation */
  can(operation) {
    return this.caller?.operations.includes(operation) === true;
  }

  /** Follows this route, or all when it is left out. @param {string | undefined} route */
  follow(route) {
    this.stop();
    this.#route = route;
    this.journal = this.distribution = this.series = undefined;
    this.extras.clear();
    this.#turn = 0;
    this.#lines = FEW_LINES;
    this.#losses = 0;
    void this.#connect();
    this.#timers = [
      window.setInterval(() => this.#watch(), 500),
      window.setInterval(() => void this.#slow(), SLOW_MS),
    ];
    void this.#slow();
    if (route !== undefined) void this.#readHistory(route);
  }

  stop() {
    const running = this.#stream;
    this.#stream = undefined;
    running?.abort();
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
  }

  async #connect() {
    const route = this.#route;
    const controller = new AbortController();
    this.#stream = controller;
    this.#signedAt = Date.now();
    this.retryAt = 0;
    const path = route === undefined ? "/v1/events" : `/v1/events?route=${encodeURIComponent(route)}`;
    try {
      await stream(
        path,
        controller.signal,
        () => (this.#signedAt = Date.now()),
        (status) => this.take(status),
      );
    } catch (error) {
      if (error instanceof Refused && error.status === 401) return this.#onRefused();
    }
    if (this.#stream !== controller) return;
    this.#stream = undefined;
    this.connection = "lost";
    const wait = BACKOFF_MS[Math.min(this.#losses++, BACKOFF_MS.length - 1)] ?? 0;
    // Not all windows at once.
    this.retryAt = Date.now() + wait * (0.75 + Math.random() / 2);
    this.#onChange();
  }

  /** Looks whether the stream is alive, or due to be tried again. */
  #watch() {
    const now = Date.now();
    if (this.#stream !== undefined && now - this.#signedAt > SILENCE_MS) this.#stream.abort();
    else if (this.#stream === undefined && this.retryAt > 0 && now >= this.retryAt) {
      this.retryAt = 0;
      void this.#connect();
    }
    if (this.connection !== "live") this.#onChange();
  }

  #seen() {
    clearTimeout(this.#hiding);
    if (this.caller === undefined) return;
    if (document.hidden) this.#hiding = window.setTimeout(() => this.stop(), HIDDEN_MS);
    else if (this.#timers.length === 0) this.follow(this.#route);
  }

  /** A route's newest status. @param {RouteStatus} status */
  take(status) {
    const before = this.routes.get(status.name);
    this.routes.set(status.name, this.#settled(status));
    this.connection = "live";
    this.seenAt = Date.now();
    this.#losses = 0;
    if (status.name === this.#route) {
      if (this.series !== undefined) addLive(this.series, status, Date.now());
      if (before !== undefined && before.version !== status.version) {
        this.#reads = 2;
        void this.#readJournal(status.name);
      }
    }
    this.#onChange();
  }

  /** While a decision is on its way to the disk it is not recorded, which is no trouble: that is when it stays so. @param {RouteStatus} status */
  #settled(status) {
    const { name, recorded } = status;
    const now = Date.now();
    const since = this.#unrecorded.get(name) ?? now;
    if (recorded) this.#unrecorded.delete(name);
    else this.#unrecorded.set(name, since);
    return { ...status, recorded: recorded || now - since < UNRECORDED_MS };
  }

  async #readRoutes() {
    const { routes } = await get("/v1/routes");
    this.routes = new Map(routes.map((/** @type {RouteStatus} */ each) => [each.name, this.#settled(each)]));
  }

  /** @param {string} route */
  async #readHistory(route) {
    const history = await get(`/v1/routes/${encodeURIComponent(route)}/history`).catch(() => undefined);
    if (route !== this.#route) return;
    this.series = seriesOf(history);
    this.#onChange();
  }

  /** @param {string} route */
  async #readJournal(route) {
    const path = `/v1/journal?limit=${this.#lines}&route=${encodeURIComponent(route)}`;
    const read = await get(path).catch(() => undefined);
    if (route !== this.#route || read === undefined) return;
    this.journal = read.lines;
    this.#onChange();
  }

  /** Reads all of the journal that is shown at the most. */
  readOn() {
    this.#lines = MANY_LINES;
    if (this.#route !== undefined) void this.#readJournal(this.#route);
  }

  /** Reads what not every program tells. @param {string} operation */
  async read(operation) {
    if (await this.#readExtra(operation)) this.#onChange();
  }

  /** Whether something was read. @param {string} operation */
  async #readExtra(operation) {
    const route = this.#route;
    const asked = OPTIONAL.find((each) => each.operation === operation);
    if (route === undefined || asked === undefined || !this.can(operation)) return false;
    const found = await get(asked.path(encodeURIComponent(route))).catch(() => undefined);
    if (route !== this.#route || found === undefined) return false;
    this.extras.set(operation, found);
    return true;
  }

  /** What changes slowly, or is not told by events. */
  async #slow() {
    const route = this.#route;
    if (route === undefined || document.hidden || this.connection === "lost") return;
    if (this.routes.size > 1) await this.#readRoutes().catch(() => undefined);
    if (this.#reads-- > 0 || this.#turn % SELDOM === 0) void this.#readJournal(route);
    const name = encodeURIComponent(route);
    const distribution = await get(`/v1/routes/${name}/histograms`).catch(() => this.distribution);
    for (const { operation, every } of OPTIONAL)
      if (this.#turn % every === 0) await this.#readExtra(operation);
    this.#turn++;
    if (route !== this.#route) return;
    this.distribution = distribution;
    this.#onChange();
  }
}
