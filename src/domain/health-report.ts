/**
 * Whether the program is well: every check with a sentence, and how many of them pass. Pure: facts in, report out; the command line, the admin API and
 * gates that ask for it read the same one.
 */

import { formatDuration, millis } from "./units.ts";

/** One check. */
export interface HealthCheck {
  readonly name: string;
  readonly ok: boolean;
  /** One sentence. */
  readonly detail: string;
}

/** Every check, and what they add up to. */
export interface HealthReport {
  readonly healthy: boolean;
  readonly passed: number;
  readonly total: number;
  /** `health checks 5/5`. */
  readonly sentence: string;
  readonly checks: readonly HealthCheck[];
}

/** One endpoint, as far as it is looked at here. */
interface Endpoint {
  readonly url: string;
  /** Null: not known yet. */
  readonly healthy: boolean | null;
  readonly failures: number;
  readonly detail: string;
}

/** A folder that is written to, and the room on its disk. */
export interface FolderRoom {
  readonly name: string;
  readonly folder: string;
  /** Free bytes; null: the system does not tell. */
  readonly free: number | null;
  /** Why it cannot be looked at; empty: it can. */
  readonly trouble: string;
}

/** What is known. */
export interface HealthFacts {
  readonly routes: readonly {
    readonly name: string;
    readonly stable: readonly Endpoint[];
    readonly canary: readonly Endpoint[];
  }[];
  /** Why the last save of the state failed; empty: it did not. */
  readonly storeTrouble: string;
  /** Whether the last line for the journal could be written. */
  readonly journals: boolean;
  /** Channels whose last message was not taken, with why; and how many channels there are. */
  readonly notifiers: { readonly count: number; readonly failing: readonly string[] };
  /** Why the last reload of the configuration failed; empty: it did not, or there was none. */
  readonly reloadTrouble: string;
  readonly folders: readonly FolderRoom[];
  /** How late the latest event loop was of late, and how late it may be, ms. */
  readonly loopLagMs: number;
  readonly loopLagMaxMs: number;
  /** Threads that carry traffic, and how many should. */
  readonly workers: number;
  readonly workersWanted: number;
}

const MIB = 1024 * 1024;
/** Less free space than this is too little for what a rollout writes: bytes. */
export const LEAST_FREE = 64 * MIB;
/** Endpoints that are named in a sentence. */
const NAMED = 5;

/** The report. */
export function healthReport(facts: HealthFacts): HealthReport {
  const checks = [
    ...facts.routes.flatMap(({ name, stable, canary }) => [
      endpointCheck(`${name} stable`, stable),
      endpointCheck(`${name} canary`, canary),
    ]),
    check("store", facts.storeTrouble, "the state can be recorded"),
    check("journal", facts.journals ? "" : "a line could not be written", "every line is written"),
    notifierCheck(facts),
    check("configuration", facts.reloadTrouble, "the last one that was read is in force"),
    ...facts.folders.map(folderCheck),
    loopCheck(facts),
    workerCheck(facts),
  ];
  const passed = checks.filter(({ ok }) => ok).length;
  const total = checks.length;
  return { healthy: passed === total, passed, total, sentence: `health checks ${passed}/${total}`, checks };
}

/** What fails, in a sentence; undefined: nothing. */
export function unwellOf({ healthy, checks }: HealthReport): string | undefined {
  if (healthy) return undefined;
  return checks
    .filter(({ ok }) => !ok)
    .map(({ name, detail }) => `${name}: ${detail}`)
    .join("; ");
}

/** @param trouble empty: it holds */
function check(name: string, trouble: string, holds: string): HealthCheck {
  return { name, ok: trouble === "", detail: trouble === "" ? holds : trouble };
}

function endpointCheck(name: string, endpoints: readonly Endpoint[]): HealthCheck {
  const well = endpoints.filter(({ healthy }) => healthy !== false);
  // Those that are not well first: they are what is looked for.
  const named = [...endpoints.filter(({ healthy }) => healthy === false), ...well].slice(0, NAMED);
  const told = named.map(wordsOf).join(", ");
  const rest = endpoints.length > NAMED ? `, and ${endpoints.length - NAMED} more` : "";
  const detail = `${well.length}/${endpoints.length} endpoints: ${told}${rest}`;
  return { name, ok: well.length === endpoints.length, detail };
}

function wordsOf({ url, healthy, failures, detail }: Endpoint): string {
  if (healthy === null) return `${url} not known yet`;
  return healthy ? `${url} healthy` : `${url} unhealthy (${failures} failed probes: ${detail})`;
}

function notifierCheck({ notifiers: { count, failing } }: HealthFacts): HealthCheck {
  const holds = count === 0 ? "none are set up" : `${count} of ${count} took their last message`;
  return check("notifiers", failing.join("; "), holds);
}

function folderCheck({ name, folder, free, trouble }: FolderRoom): HealthCheck {
  if (trouble !== "") return { name, ok: false, detail: `${folder}: ${trouble}` };
  if (free === null) return { name, ok: true, detail: `${folder}: the system does not tell what is free` };
  return { name, ok: free >= LEAST_FREE, detail: `${folder}: ${Math.floor(free / MIB)} MiB free` };
}

function loopCheck({ loopLagMs, loopLagMaxMs }: HealthFacts): HealthCheck {
  const [late, most] = [loopLagMs, loopLagMaxMs].map((ms) => formatDuration(millis(Math.round(ms))));
  return {
    name: "event loop",
    ok: loopLagMs <= loopLagMaxMs,
    detail: `${late} late of late, may be ${most}`,
  };
}

function workerCheck({ workers, workersWanted }: HealthFacts): HealthCheck {
  return {
    name: "workers",
    ok: workers >= workersWanted,
    detail: `${workers}/${workersWanted} carry traffic`,
  };
}
