/**
 * Pages, by PagerDuty's Events API v2: an incident is opened, acknowledged and resolved by the same `dedup_key`, so that one that is sent twice pages once.
 *
 * A loud message without an incident opens one by what it is about, which people close; a mild one pages nobody.
 */

import { createHash } from "node:crypto";
import type { Severity } from "../domain/rollout-types.ts";
import type { Clock, Notice } from "../engine/ports.ts";
import type { Channel, Delivery, Interest } from "./channel.ts";
import { objectIn } from "./json.ts";
import { isFailed, isTaken, refusalOf, type Sender } from "./post.ts";
import { bodyOf, lineOf } from "./text.ts";

/** Where to, and with which key. */
export interface PagerDutyOptions {
  readonly url: string;
  readonly routingKey: string;
  readonly environment: string;
  /** Where people see more. */
  readonly console: string | undefined;
  readonly clock: Pick<Clock, "wall">;
  readonly sender: Sender;
  readonly interest?: Interest;
  readonly perMinute?: number;
}

/** Its severities, of which there are four as well. */
const SEVERITY: Readonly<Record<Severity, "info" | "warning" | "error" | "critical">> = {
  info: "info",
  warning: "warning",
  critical: "error",
  emergency: "critical",
};
/** Characters of the service's limits. */
const MOST_SUMMARY = 1024;
const MOST_KEY = 255;
/** The service refuses events of more than 512 KB. */
const MOST_DETAILS = 256 * 1024;

/** A channel that pages. */
export function pagerDutyChannel(options: PagerDutyOptions): Channel {
  const { url, routingKey, environment, console, clock, sender, ...rest } = options;
  const post = async (event: object, signal: AbortSignal): Promise<Delivery> => {
    const answer = await sender.post(url, {}, JSON.stringify({ routing_key: routingKey, ...event }), signal);
    if (isFailed(answer)) return answer;
    if (isTaken(answer)) return { ok: true };
    return refusalOf(answer, whyOf(objectIn(answer.body), routingKey));
  };
  return {
    name: "pagerduty",
    isKeyed: true,
    ...rest,
    send({ notice }, signal) {
      const { action, key } = incidentOf(notice, environment);
      const event = { event_action: action, dedup_key: keyOf(key) };
      if (action !== "trigger") return post(event, signal);
      return post({ ...event, ...detailsOf(notice, environment, console, clock.wall()) }, signal);
    },
    // A test must wake nobody: the end of an incident that never was is taken, and leads to nothing.
    async test({ id }, signal) {
      const delivery = await post({ event_action: "resolve", dedup_key: keyOf(`sluice/test/${id}`) }, signal);
      return delivery.ok
        ? { ok: true, detail: "took the end of an incident that never was; nobody was paged" }
        : delivery;
    },
    close: () => sender.close(),
  };
}

function incidentOf({ incident, route, event }: Notice, environment: string) {
  return incident ?? { action: "trigger" as const, key: `sluice/${environment}/${route}/${event}` };
}

function keyOf(key: string): string {
  return key.length <= MOST_KEY ? key : `sluice/${createHash("sha256").update(key).digest("hex")}`;
}

function detailsOf(notice: Notice, environment: string, console: string | undefined, wall: number): object {
  const { severity, event, route, rollout, summary, details } = notice;
  const known = { environment, route, rollout, event, lines: bodyOf(notice) };
  const isShort = JSON.stringify(details).length <= MOST_DETAILS;
  return {
    payload: {
      summary: lineOf(summary).slice(0, MOST_SUMMARY),
      source: route === "" ? `sluice/${environment}` : `sluice/${environment}/${route}`,
      severity: SEVERITY[severity],
      timestamp: new Date(wall).toISOString(),
      ...(route === "" ? {} : { component: route }),
      ...(rollout === "" ? {} : { group: rollout }),
      class: event,
      custom_details: isShort ? { ...known, details } : known,
    },
    client: "sluice",
    ...(console === undefined ? {} : { client_url: console, links: [{ href: console, text: "Console" }] }),
  };
}

/** What the service has against an event, which may repeat the key. */
function whyOf({ message, errors }: Readonly<Record<string, unknown>>, routingKey: string): string {
  const said = [message, ...(Array.isArray(errors) ? (errors as readonly unknown[]) : [])];
  const words = said.filter((each) => typeof each === "string").join("; ");
  return lineOf(words.replaceAll(routingKey, "[redacted]"));
}
