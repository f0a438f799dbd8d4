/** What people say at gates and do with steps, on the command line. A signature carries the step that was seen, so that a late one signs nothing. */

import type { RouteStatus } from "../engine/status.ts";
import { confirm, durationOf, present, reasonOf, show, usage, wholeOf, type Context } from "./commands.ts";
import { formatDuration, formatStep } from "../domain/units.ts";

/** `approve`, as typed. */
export interface ApproveOptions {
  readonly as?: string;
  readonly step?: string;
  readonly check?: readonly string[];
  readonly reason?: string;
  readonly yes?: boolean;
}

/** Signs the gate of the present step; asks, since the weight may rise on it. */
export async function approve(context: Context, route: string, options: ApproveOptions): Promise<number> {
  const seen = await context.client.route(route);
  const role = options.as ?? onlyRole(seen);
  const step = stepOf(options.step, seen);
  const items = options.check?.includes("all") === true ? seen.gate?.missing.items : options.check;
  const ticked =
    items === undefined || items.length === 0 ? "" : `, and that this is done: ${items.join(", ")}`;
  await confirm(context, `sign ${formatStep(step)} of ${route} as ${role}${ticked}`, options.yes);
  const body = { step, role, ...present({ checklist: items && [...items], reason: options.reason }) };
  return show(context, await context.client.verb(route, "approve", body));
}

/** `reject`, as typed. */
export interface RejectOptions {
  readonly as?: string;
  readonly step?: string;
  readonly answer?: string;
  readonly reason: string;
}

const ANSWERS = ["hold", "step-back", "rollback"] as const;

/** Refuses the gate of the present step, and says what is to happen instead. Asks nothing: it raises nothing. */
export async function reject(context: Context, route: string, options: RejectOptions): Promise<number> {
  const seen = await context.client.route(route);
  const role = options.as ?? onlyRole(seen);
  const step = stepOf(options.step, seen);
  const body = { step, role, reason: options.reason, ...answerOf(options.answer ?? "hold") };
  return show(context, await context.client.verb(route, "reject", body));
}

function answerOf(text: string) {
  const known = ANSWERS.find((each) => each === text);
  if (known !== undefined) return { answer: known === "step-back" ? ("stepBack" as const) : known };
  if (!/^\d/.test(text))
    throw usage(`--answer is ${ANSWERS.join(", ")} or how much longer, like 24h; not ${text}`);
  return { answer: "extend" as const, extend: formatDuration(durationOf(text, "--answer")) };
}

/** More time at the present step. */
export async function extend(context: Context, route: string, by: string, reason: string): Promise<number> {
  const body = { by: formatDuration(durationOf(by, "the time")), reason };
  return show(context, await context.client.verb(route, "extend", body));
}

/** To the step before. Asks nothing: it lowers. */
export async function stepBack(context: Context, route: string, reason: string): Promise<number> {
  return show(context, await context.client.verb(route, "step-back", { reason }));
}

/** Again after a rollback, or the checks before a step once more. */
export async function retry(
  context: Context,
  route: string,
  options: { readonly reason?: string; readonly force?: boolean; readonly yes?: boolean },
): Promise<number> {
  const reason = reasonOf(options);
  await confirm(context, `try ${route} again`, options.yes);
  const body = { reason, ...(options.force === true ? { force: true } : {}) };
  return show(context, await context.client.verb(route, "retry", body));
}

function stepOf(typed: string | undefined, seen: RouteStatus): number {
  return typed === undefined ? seen.step : wholeOf(typed, "--step");
}

/** The role that is missing, when it is only one. */
function onlyRole({ name, step, gate }: RouteStatus): string {
  if (gate === null) throw usage(`${formatStep(step)} of ${name} has no gate`);
  const [role, ...others] = [...gate.missing.roles, ...gate.missing.acknowledge];
  if (role !== undefined && others.length === 0) return role;
  throw usage(
    role === undefined ? `nobody's signature is missing` : `say as whom: --as ${[role, ...others].join("|")}`,
  );
}
