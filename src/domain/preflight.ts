/**
 * What is looked at before a rollout: which checks a configuration asks for, and what their results add up to. Pure; `preflight/` carries them out.
 *
 * A check that was left out is among the results all the same: whoever reads "passed" sees what that does not speak of.
 */

/** What one check came to. */
export interface PreflightResult {
  /** Its kind, and of which there can be several its own name: `arms`, `notifier webhook`, `command migrations`. */
  readonly name: string;
  readonly ok: boolean;
  /** Whether a rollout may not start without it. */
  readonly required: boolean;
  /** One line for people. */
  readonly detail: string;
  readonly tookMs: number;
}

/** As much of a route's `preflight` as says which checks there are. */
export interface PreflightSettings {
  readonly smoke: readonly { readonly method: string; readonly path: string }[];
  readonly commands: readonly {
    readonly name: string;
    readonly run: readonly string[];
    readonly required: boolean;
  }[];
  readonly webhooks: readonly { readonly name: string; readonly required: boolean }[];
  readonly staging?: { readonly report: string } | undefined;
  /** Names of checks, or kinds of them. */
  readonly skip: readonly string[];
}

/** A check that a configuration asks for. */
export interface PlannedCheck {
  readonly name: string;
  /** What must hold, for people. */
  readonly what: string;
  readonly required: boolean;
  readonly isSkipped: boolean;
}

/** What the results add up to. */
export interface PreflightSummary {
  readonly passed: boolean;
  /** e.g. `9/9 checks passed`. */
  readonly sentence: string;
  /** Names of the required checks that did not pass. */
  readonly failed: readonly string[];
}

/** The kinds of check; a name begins with one. */
export const PREFLIGHT_KINDS = [
  "configuration",
  "arms",
  "capacity",
  "clock",
  "state",
  "reports",
  "flags",
  "notifier",
  "smoke",
  "command",
  "webhook",
  "staging",
] as const;

/**
 * The checks, in the order in which they are told.
 *
 * @param channels names of the channels that are told of a rollout
 * @param hasFlags whether there are feature flags
 */
export function plannedChecks(
  settings: PreflightSettings,
  channels: readonly string[],
  hasFlags = false,
): readonly PlannedCheck[] {
  const { smoke, commands, webhooks, staging, skip } = settings;
  const asked = smoke.map(({ method, path }) => `${method} ${path}`).join(", ");
  const all: readonly (readonly [name: string, what: string, required?: boolean])[] = [
    ["configuration", "the file is valid and is what is in force"],
    ["arms", "every endpoint of both arms is healthy"],
    ["capacity", "stable can carry all of the traffic"],
    ["clock", "the clock goes right"],
    ["state", "the state can be written"],
    ["reports", "reports can be written"],
    ...(hasFlags ? [["flags", "their file is valid"] as const] : []),
    ...channels.map((name) => [`notifier ${name}`, "takes a test message"] as const),
    ["smoke", `each endpoint of the canary answers ${asked === "" ? "a request" : asked}`],
    ...commands.map(
      ({ name, run, required }) => [`command ${name}`, `exits with 0: ${run.join(" ")}`, required] as const,
    ),
    ...webhooks.map(({ name, required }) => [`webhook ${name}`, "answers 2xx", required] as const),
    ...(staging === undefined ? [] : [["staging", `a rollout succeeded there: ${staging.report}`] as const]),
  ];
  return all.map(([name, what, required = true]) => {
    const isSkipped = skip.includes(name) || skip.includes(kindOfCheck(name));
    return { name, what, required: required && !isSkipped, isSkipped };
  });
}

/** The kind that a check's name begins with. */
export function kindOfCheck(name: string): string {
  const space = name.indexOf(" ");
  return space < 0 ? name : name.slice(0, space);
}

/** `plannedChecks` as lines for people, for what has not been run. */
export function checksOf(
  settings: PreflightSettings,
  channels: readonly string[],
  hasFlags = false,
): readonly string[] {
  const planned = plannedChecks(settings, channels, hasFlags);
  return columns(
    planned.map(({ name, what, required, isSkipped }) => [
      name,
      isSkipped ? "left out" : required ? what : `${what} (not required)`,
    ]),
  );
}

/** One line for each result: `ok   arms  4/4 endpoints healthy`. */
export function resultLines(results: readonly PreflightResult[]): readonly string[] {
  const told = columns(results.map(({ name, detail }) => [name, detail]));
  return results.map(
    ({ ok, required }, at) => `${(ok ? "ok" : required ? "FAIL" : "-").padEnd(4)} ${told[at]}`,
  );
}

/** What the results add up to. No result at all is no pass. */
export function summary(results: readonly PreflightResult[]): PreflightSummary {
  const counted = results.filter(({ ok, required }) => ok || required);
  const failed = counted.filter(({ ok }) => !ok).map(({ name }) => name);
  const without = results.filter(({ ok, required }) => !ok && !required).map(({ name }) => name);
  const total = counted.length;
  if (total === 0) return { passed: false, sentence: "no check was made", failed };
  const said =
    failed.length === 0
      ? `${total}/${total} checks passed`
      : `${failed.length} of ${total} failed: ${failed.join(", ")}`;
  return {
    passed: failed.length === 0,
    sentence: without.length === 0 ? said : `${said}; without ${without.join(", ")}`,
    failed,
  };
}

/** Where there is nobody to check. */
export const NOTHING_SET_UP: PreflightResult = {
  name: "checks",
  ok: true,
  required: false,
  detail: "none are set up",
  tookMs: 0,
};

/** What was found, in a word and a sentence that says of each failure what it was. */
export function foundBy(results: readonly PreflightResult[]): {
  readonly passed: boolean;
  readonly words: string;
} {
  const { passed, sentence } = summary(results);
  const details = results
    .filter(({ ok, required }) => !ok && required)
    .map(({ name, detail }) => `${name}: ${detail}`);
  return { passed, words: [sentence, ...details].join("; ") };
}

/** Rows as lines whose columns are as wide as their widest cell. */
function columns(rows: readonly (readonly string[])[]): readonly string[] {
  return rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd(Math.max(...rows.map((each) => each[at]!.length))))
      .join("  ")
      .trimEnd(),
  );
}
