/**
 * Whether a channel is told of a message: by severity and audience, and by what it was told of the same incident before.
 *
 * Whoever was told that an incident began is told that it has ended, however mild that message is: a pager that only takes `critical` must be able
 * to close what it has opened. What is open is kept in the outbox, so that a restart in between leaves no incident open for ever.
 */

import type { Severity } from "../domain/rollout-types.ts";
import { SEVERITIES } from "../domain/severity.ts";
import type { Notice, Outbox } from "../engine/ports.ts";
import type { Interest } from "./channel.ts";
import { objectIn } from "./json.ts";

/** What a channel was told last of an incident that is open. */
interface Told {
  readonly id: string;
  readonly event: string;
  readonly severity: Severity;
  /** Wall clock, ms. */
  readonly at: number;
}

const PREFIX = "incident:";
/** Incidents that may be open at once over one channel; the oldest is forgotten. */
const MOST = 200;

/** What one channel is told. */
export class Listening {
  readonly #interest: Interest | undefined;
  readonly #channel: string;
  readonly #outbox: Outbox;
  readonly #wall: () => number;
  readonly #open = new Map<string, Told>();

  constructor(interest: Interest | undefined, channel: string, outbox: Outbox, wall: () => number) {
    this.#interest = interest;
    this.#channel = channel;
    this.#outbox = outbox;
    this.#wall = wall;
    for (const [key, value] of outbox.notes(channel)) {
      const told = key.startsWith(PREFIX) ? toldOf(value) : undefined;
      if (told !== undefined) this.#open.set(key.slice(PREFIX.length), told);
    }
  }

  wants(notice: Notice): boolean {
    const interest = this.#interest;
    if (interest === undefined) return true;
    if (!interest.audiences.includes(notice.audience)) return false;
    if (isDigest(notice)) return interest.digest;
    // Those who are kept informed have asked for all that is written for them.
    if (notice.audience === "stakeholders") return true;
    const open = notice.incident === undefined ? undefined : this.#open.get(notice.incident.key);
    if (notice.incident !== undefined && notice.incident.action !== "trigger" && open !== undefined)
      return true;
    if (!interest.severities.includes(notice.severity)) return false;
    return open === undefined || !this.#isRepetition(notice, open, interest.repeatMs);
  }

  #isRepetition({ id, event, severity }: Notice, open: Told, repeatMs: number): boolean {
    // The same message once more is the outbox's affair.
    if (id === open.id || event !== open.event || isLouder(severity, open.severity)) return false;
    return this.#wall() - open.at < repeatMs;
  }

  /** Before it is sent: from now on a repetition is one. */
  expect({ id, event, severity, incident }: Notice): void {
    if (this.#interest === undefined || incident === undefined) return;
    if (incident.action === "resolve") this.#open.delete(incident.key);
    else if (incident.action === "trigger") {
      this.#open.delete(incident.key);
      this.#open.set(incident.key, { id, event, severity, at: this.#wall() });
      const [oldest] = this.#open.keys();
      if (this.#open.size > MOST && oldest !== undefined) {
        this.#open.delete(oldest);
        void this.#outbox.note(this.#channel, PREFIX + oldest, undefined);
      }
    }
  }

  /** After it was given up: it is no repetition to say it again. */
  missed({ id, incident }: Notice): void {
    if (incident !== undefined && this.#open.get(incident.key)?.id === id) this.#open.delete(incident.key);
  }

  /** After it was sent. */
  async told({ incident }: Notice): Promise<void> {
    if (this.#interest === undefined || incident === undefined) return;
    const open = this.#open.get(incident.key);
    if (incident.action === "acknowledge") return;
    const value = open === undefined ? undefined : JSON.stringify(open);
    await this.#outbox.note(this.#channel, PREFIX + incident.key, value);
  }
}

/** Whether `a` is told more loudly than `b`. */
export function isLouder(a: Severity, b: Severity): boolean {
  return SEVERITIES.indexOf(a) > SEVERITIES.indexOf(b);
}

function isDigest({ event }: Notice): boolean {
  return /digest/i.test(event);
}

function toldOf(note: string): Told | undefined {
  const { id, event, at, severity: said } = objectIn(note);
  const severity = SEVERITIES.find((each) => each === said);
  if (typeof id !== "string" || typeof event !== "string" || typeof at !== "number") return undefined;
  return severity === undefined ? undefined : { id, event, severity, at };
}
