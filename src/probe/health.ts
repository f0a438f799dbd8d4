/**
 * Active probes of every endpoint of both arms, always: at weight 0, so that a plan does not begin on a canary that is down, and at 100 %, so that
 * there is somewhere to roll back to (product.md §2.16).
 *
 * Each endpoint has its own schedule. The first probe comes at once, give or take a quarter of a second, and the later ones are spread over the interval by the
 * endpoint's name, so that a hundred endpoints are not asked in the same millisecond, for ever. An endpoint is asked one probe at a
 * time: one that answers more slowly than the interval is asked less often, not more.
 */

import type { ConnectionOptions } from "node:tls";
import type { ArmConfig, Config, HealthConfig, RouteConfig } from "../config/schema.ts";
import { upstreamTls, type PemOf, type UpstreamTls } from "../config/upstream-tls.ts";
import { murmur3 } from "../domain/hash.ts";
import { asAppError } from "../domain/errors.ts";
import { afterProbe, UNKNOWN, type Health } from "../domain/health.ts";
import { bareHost } from "../domain/host.ts";
import { ARMS, type Arm } from "../domain/split.ts";
import { millis } from "../domain/units.ts";
import type { Clock, EndpointHealth, Log, Probes } from "../engine/ports.ts";
import { probeAgents, probeOnce, type Finding, type ProbeAgents } from "./endpoint.ts";

/** The probes, with their lifetime. */
export interface RunningProbes extends Probes {
  /** Probes what `config` names from now on. What is known of an endpoint that it still names, with the same path, is kept. */
  reconfigure(config: Config): void;
  /** False for an endpoint that is known to be unhealthy; true for one that is not known (yet). */
  healthy(route: string, arm: Arm, url: string): boolean;
  /** From now on `tell` hears of each change in what `healthy` says, as soon as a probe has learnt it. */
  onChange(tell: HealthListener): void;
  /** Stops for good; a probe under way is cut off. */
  close(): void;
}

/** Hears what has become of an endpoint. */
export type HealthListener = (route: string, arm: Arm, url: string, isHealthy: boolean) => void;

/** What the probes need. */
export interface ProbesOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Log;
  /** The text of a PEM file that an arm's `tls` names; left out: none does. */
  readonly pem?: PemOf;
}

/** The first probes are spread over so long, or, of many endpoints, over a millisecond for each: ms. */
const FIRST_WITHIN_MS = 250;

/** Starts probing. */
export function createProbes(options: ProbesOptions): RunningProbes {
  const agents = probeAgents();
  let watches: ReadonlyMap<string, Watch> = new Map();
  /** The same by route and arm: each is asked for every second. */
  let arms: ReadonlyMap<string, readonly Watch[]> = new Map();
  let changed: HealthListener = () => undefined;
  const parts = {
    ...options,
    pem: options.pem ?? noFile,
    agents,
    onChange: (...change: Parameters<HealthListener>) => changed(...change),
  };

  function reconfigure(config: Config): void {
    const next = new Map<string, Watch>();
    const byArm = new Map<string, Watch[]>();
    const specs = specsOf(config);
    const all = { ...parts, firstWithinMs: Math.max(FIRST_WITHIN_MS, specs.length) };
    for (const spec of specs) {
      const key = keyOf(spec.route, spec.arm, spec.url);
      if (next.has(key)) continue;
      const before = watches.get(key);
      const watch = before?.serves(spec) === true ? before : new Watch(spec, before, all);
      next.set(key, watch);
      const arm = keyOf(spec.route, spec.arm, "");
      const others = byArm.get(arm);
      if (others === undefined) byArm.set(arm, [watch]);
      else others.push(watch);
    }
    const kept = new Set(next.values());
    for (const watch of watches.values()) if (!kept.has(watch)) watch.close();
    watches = next;
    arms = byArm;
  }

  reconfigure(options.config);
  return {
    reconfigure,
    health: (route, arm) => (arms.get(keyOf(route, arm, "")) ?? []).map((watch) => watch.status),
    healthy: (route, arm, url) => watches.get(keyOf(route, arm, url))?.status.healthy !== false,
    onChange: (tell) => void (changed = tell),
    close() {
      for (const watch of watches.values()) watch.close();
      agents.plain.destroy();
      agents.tls.destroy();
    },
  };
}

/** One endpoint of one arm of one route, and how it is to be probed. */
interface Spec {
  readonly route: string;
  readonly arm: Arm;
  readonly url: string;
  readonly isHttp2: boolean;
  readonly tls: ArmConfig["tls"];
  readonly health: HealthConfig;
}

function specsOf(config: Config): readonly Spec[] {
  return config.routes.flatMap((route) => ARMS.flatMap((arm) => specsOfArm(route, arm, route[arm])));
}

function specsOfArm(route: RouteConfig, arm: Arm, config: ArmConfig): readonly Spec[] {
  const health = config.health ?? route.health;
  return config.endpoints.map((url) => {
    const isHttp2 = config.protocol === "http2" || url.startsWith("h2c:");
    return { route: route.name, arm, url, isHttp2, tls: config.tls, health };
  });
}

function noFile(path: string): never {
  throw new RangeError(`nobody reads ${path}`);
}

function keyOf(route: string, arm: Arm, url: string): string {
  return `${route} ${arm} ${url}`;
}

/** The watch over one endpoint. */
class Watch {
  readonly #spec: Spec;
  readonly #agents: ProbeAgents;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #onChange: HealthListener;
  readonly #pem: PemOf;
  #tls: UpstreamTls | undefined = undefined;
  readonly #stopped = new AbortController();
  #health: Health = UNKNOWN;
  #detail = "";
  #isProbing = false;
  #unschedule: () => void;

  constructor(
    spec: Spec,
    before: Watch | undefined,
    parts: {
      readonly agents: ProbeAgents;
      readonly clock: Clock;
      readonly log: Log;
      readonly pem: PemOf;
      readonly onChange: HealthListener;
      readonly firstWithinMs: number;
    },
  ) {
    this.#spec = spec;
    this.#agents = parts.agents;
    this.#clock = parts.clock;
    this.#log = parts.log;
    this.#pem = parts.pem;
    this.#onChange = parts.onChange;
    if (before !== undefined && before.#spec.health.path === spec.health.path) {
      this.#health = before.#health;
      this.#detail = before.#detail;
    }
    // From 0 to 1, always the same for the same endpoint.
    const spread = murmur3(keyOf(spec.route, spec.arm, spec.url), 0) / 2 ** 32;
    const { interval } = spec.health;
    const first = Math.max(1, Math.min(parts.firstWithinMs, interval) * spread);
    this.#unschedule = this.#once(first, () => {
      this.#unschedule = this.#once(Math.max(1, interval * (0.5 + spread / 2)), () => {
        this.#unschedule = this.#clock.every(interval, () => this.#probe());
      });
    });
  }

  get status(): EndpointHealth {
    const { healthy, failures } = this.#health;
    return { url: this.#spec.url, healthy, failures, detail: this.#detail };
  }

  /** Whether this watch does already what `spec` asks for. */
  serves(spec: Spec): boolean {
    const [now, next] = [this.#spec.health, spec.health];
    return (
      this.#spec.isHttp2 === spec.isHttp2 &&
      JSON.stringify(this.#spec.tls) === JSON.stringify(spec.tls) &&
      now.path === next.path &&
      now.interval === next.interval &&
      now.timeout === next.timeout &&
      now.unhealthyAfter === next.unhealthyAfter &&
      now.healthyAfter === next.healthyAfter
    );
  }

  close(): void {
    this.#unschedule();
    this.#stopped.abort();
  }

  /** Probes once after `delay`, and goes on with `then` as soon as that probe has begun. */
  #once(delay: number, then: () => void): () => void {
    const stop = this.#clock.every(millis(delay), () => {
      stop();
      then();
      return this.#probe();
    });
    return stop;
  }

  async #probe(): Promise<void> {
    if (this.#isProbing || this.#stopped.signal.aborted) return;
    this.#isProbing = true;
    const { url, isHttp2, health } = this.#spec;
    const target = { url, isHttp2, path: health.path, timeoutMs: health.timeout };
    const tls = this.#tlsOf();
    const finding =
      typeof tls === "string" ? tls : await probeOnce({ ...target, tls }, this.#agents, this.#stopped.signal);
    this.#isProbing = false;
    if (!this.#stopped.signal.aborted) this.#learn(finding);
  }

  /** How TLS is spoken, by what the files hold now; or what is wrong with them. */
  #tlsOf(): ConnectionOptions | string {
    const { url, tls } = this.#spec;
    if (!url.startsWith("https:")) return {};
    try {
      const host = bareHost(new URL(url).hostname);
      this.#tls = upstreamTls(host, tls, this.#pem, this.#tls);
      return this.#tls.options;
    } catch (error) {
      return asAppError(error).message;
    }
  }

  #learn(finding: Finding): void {
    const { route, arm, url } = this.#spec;
    if (finding === undefined) {
      // Who takes all our files must not make an arm look ill (reliability.md 28, 33).
      this.#log.debug("probe could not be made", { route, arm, url });
      return;
    }
    const before = this.#health.healthy;
    this.#health = afterProbe(this.#health, finding === "", this.#spec.health);
    this.#detail = finding;
    const { healthy, failures } = this.#health;
    if ((healthy === false) !== (before === false)) this.#onChange(route, arm, url, healthy !== false);
    if (healthy === before) {
      if (finding !== "") this.#log.debug("probe failed", { route, arm, url, failures, detail: finding });
    } else if (healthy === false) {
      this.#log.warn("endpoint is unhealthy", { route, arm, url, failures, detail: finding });
    } else {
      this.#log.info("endpoint is healthy", { route, arm, url });
    }
  }
}
