/**
 * Alerts for Prometheus' Alertmanager, API v2. An alert is told apart by its labels, so that one that is sent twice is one; it lives until its `endsAt`, which is
 * moved on every minute while the incident is open: if this program dies, its alerts end by themselves a few minutes later.
 */

import { isRecord } from "../domain/record.ts";
import { millis } from "../domain/units.ts";
import type { Clock, Log, Notice, Outbox } from "../engine/ports.ts";
import type { Channel, Delivery, Interest } from "./channel.ts";
import { objectIn } from "./json.ts";
import { isFailed, isTaken, refusalOf, type Sender } from "./post.ts";
import { bodyOf, lineOf } from "./text.ts";

/** Where to. */
export interface AlertmanagerOptions {
  /** Without `/api/v2/alerts`. */
  readonly url: string;
  readonly environment: string;
  /** Where people see more. */
  readonly console: string | undefined;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Log;
  readonly sender: Sender;
  readonly interest?: Interest;
  readonly perMinute?: number;
}

/** An alert as it is posted. The labels are what it is told apart by: a closed set of names. */
interface Alert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly startsAt: string;
  readonly generatorURL?: string;
}

const NAME = "alertmanager";
const PREFIX = "alert:";
/** Open alerts are sent again so often: well within the `resolve_timeout` of 5 min that Alertmanager has by itself. */
const AGAIN_MS = millis(60_000);
/** Three lost messages end no alert, nor does a restart. */
const LIFE_MS = 4 * AGAIN_MS;
/** What has no end of its own is shown for so long: ms. */
const ONCE_MS = 300_000;
const RESEND_MS = 10_000;

/** A channel to an Alertmanager. */
export function alertmanagerChannel(options: AlertmanagerOptions): Channel {
  const { interest, perMinute } = options;
  const alerts = new Alerts(options);
  return {
    name: NAME,
    isKeyed: true,
    ...(interest === undefined ? {} : { interest }),
    ...(perMinute === undefined ? {} : { perMinute }),
    send: ({ notice }, signal) => alerts.tell(notice, signal),
    test: ({ notice }, signal) => alerts.test(notice, signal),
    close: () => alerts.close(),
  };
}

class Alerts {
  readonly #options: AlertmanagerOptions;
  readonly #open = new Map<string, Alert>();
  readonly #stop: () => void;

  constructor(options: AlertmanagerOptions) {
    this.#options = options;
    for (const [key, note] of options.outbox.notes(NAME)) {
      const alert = key.startsWith(PREFIX) ? alertOf(note) : undefined;
      if (alert !== undefined) this.#open.set(key.slice(PREFIX.length), alert);
    }
    this.#stop = options.clock.every(AGAIN_MS, () => this.#again());
  }

  async tell(notice: Notice, signal: AbortSignal): Promise<Delivery> {
    const { incident } = notice;
    if (incident === undefined) return this.#post([[this.#alertOf(notice), ONCE_MS]], signal);
    const { key, action } = incident;
    const open = this.#open.get(key);
    // It knows no acknowledging; and what was never told needs no end.
    if (action === "acknowledge" || (action === "resolve" && open === undefined)) return { ok: true };
    const ended: readonly Ending[] = open === undefined ? [] : [[open, 0]];
    if (action === "resolve") {
      const delivery = await this.#post(ended, signal);
      if (delivery.ok) await this.#keep(key, undefined);
      return delivery;
    }
    const alert = this.#alertOf(notice, key, open?.startsAt);
    // With other labels, a higher severity, it is another one to Alertmanager.
    const isSame = open !== undefined && JSON.stringify(open.labels) === JSON.stringify(alert.labels);
    const delivery = await this.#post([...(isSame ? [] : ended), [alert, LIFE_MS]], signal);
    if (delivery.ok) await this.#keep(key, alert);
    return delivery;
  }

  /** An alert that had ended before it came is taken, and nobody is told. */
  async test(notice: Notice, signal: AbortSignal): Promise<Delivery> {
    const delivery = await this.#post([[this.#alertOf(notice), 0]], signal);
    return delivery.ok ? { ok: true, detail: "took an alert that had ended; nobody was told" } : delivery;
  }

  close(): Promise<void> {
    this.#stop();
    return this.#options.sender.close();
  }

  #alertOf(notice: Notice, key?: string, since?: string): Alert {
    const { environment, console, clock } = this.#options;
    const { severity, event, route, rollout, summary } = notice;
    return {
      labels: {
        alertname: `sluice_${event.toLowerCase()}`,
        service: "sluice",
        environment,
        severity,
        // An empty label is none.
        ...(route === "" ? {} : { route }),
        ...(key === undefined ? {} : { incident: key }),
      },
      annotations: {
        summary: lineOf(summary),
        description: bodyOf(notice).join("\n"),
        ...(rollout === "" ? {} : { rollout }),
      },
      startsAt: since ?? new Date(clock.wall()).toISOString(),
      ...(console === undefined ? {} : { generatorURL: console }),
    };
  }

  async #keep(key: string, alert: Alert | undefined): Promise<void> {
    if (alert === undefined) this.#open.delete(key);
    else this.#open.set(key, alert);
    const note = alert === undefined ? undefined : JSON.stringify(alert);
    await this.#options.outbox.note(NAME, PREFIX + key, note);
  }

  async #again(): Promise<void> {
    if (this.#open.size === 0) return;
    const open = [...this.#open.values()].map((alert) => [alert, LIFE_MS] as const);
    const delivery = await this.#post(open, AbortSignal.timeout(RESEND_MS));
    if (!delivery.ok)
      this.#options.log.warn("open alerts could not be sent again", {
        channel: NAME,
        detail: delivery.detail,
      });
  }

  async #post(alerts: readonly Ending[], signal: AbortSignal): Promise<Delivery> {
    const { url, sender, clock } = this.#options;
    const now = clock.wall();
    const body = alerts.map(([alert, ms]) => ({
      ...alert,
      // One that ends before it begins would be refused.
      startsAt:
        ms === 0 && Date.parse(alert.startsAt) >= now ? new Date(now - 1).toISOString() : alert.startsAt,
      endsAt: new Date(now + ms).toISOString(),
    }));
    const answer = await sender.post(`${url}/api/v2/alerts`, {}, JSON.stringify(body), signal);
    if (isFailed(answer)) return answer;
    return isTaken(answer) ? { ok: true } : refusalOf(answer, lineOf(answer.body).slice(0, 200));
  }
}

/** An alert, and how long it lives from now: ms; 0: it has ended. */
type Ending = readonly [Alert, number];

function alertOf(note: string): Alert | undefined {
  const { labels, annotations, startsAt, generatorURL } = objectIn(note);
  if (!isTexts(labels) || !isTexts(annotations) || typeof startsAt !== "string") return undefined;
  return { labels, annotations, startsAt, ...(typeof generatorURL === "string" ? { generatorURL } : {}) };
}

function isTexts(value: unknown): value is Readonly<Record<string, string>> {
  return isRecord(value) && Object.values(value).every((each) => typeof each === "string");
}
