/**
 * Slack, in one of two ways. With a bot's token each rollout is one thread: the first message opens it, the further ones are replies, and the first one
 * is kept up to date, so that the channel shows where the rollout stands. An incoming webhook tells nobody where its message went: there each stands alone.
 *
 * Slack does not tell a message that comes twice: one that may have arrived is not sent again.
 */

import type { Notice, Outbox } from "../engine/ports.ts";
import type { Channel, Delivery, Failed, Interest } from "./channel.ts";
import { objectIn } from "./json.ts";
import { isFailed, isTaken, refusalOf, type Sender } from "./post.ts";
import { bodyOf, headOf, lineOf } from "./text.ts";

/** Where to. */
export interface SlackOptions {
  /** A bot's token and its channel, or the URL of an incoming webhook. */
  readonly to:
    { readonly api: string; readonly token: string; readonly channel: string } | { readonly url: string };
  readonly environment: string;
  /** Where people see more. */
  readonly console: string | undefined;
  readonly outbox: Outbox;
  readonly sender: Sender;
  readonly interest?: Interest;
  readonly perMinute?: number;
}

const NAME = "slack";
/** Longer ones are cut by Slack, or refused: characters. */
const MOST_TEXT = 3900;
/** What is kept of the message that opened a thread: characters. */
const MOST_KEPT = 1500;
/** To bring the first message up to date is worth so much time: ms. */
const UPDATE_MS = 5000;
/** Errors of Slack's that pass. */
const PASSING: ReadonlySet<string> = new Set([
  "ratelimited",
  "rate_limited",
  "internal_error",
  "fatal_error",
  "service_unavailable",
  "request_timeout",
]);

/** A channel to Slack. */
export function slackChannel(options: SlackOptions): Channel {
  const { to, environment, console, outbox, sender, ...rest } = options;
  const written = (notice: Notice): string => textOf(notice, environment, console);
  const send: Channel["send"] =
    "url" in to
      ? ({ notice }, signal) => postToHook(sender, to.url, written(notice), signal)
      : ({ notice }, signal) => new Thread(sender, to, outbox).tell(notice, written(notice), signal);
  return { name: NAME, isKeyed: false, ...rest, send, close: () => sender.close() };
}

async function postToHook(sender: Sender, url: string, text: string, signal: AbortSignal): Promise<Delivery> {
  const answer = await sender.post(url, {}, JSON.stringify({ text }), signal);
  if (isFailed(answer)) return answer;
  // `no_service`, `channel_is_archived`: a word, and no secret.
  return isTaken(answer) ? { ok: true } : refusalOf(answer, wordIn(answer.body));
}

/** What is kept of a thread. */
interface Opened {
  readonly rollout: string;
  readonly channel: string;
  readonly ts: string;
  readonly text: string;
}

/** One call of Slack's, and what came of it. */
type Called = { readonly ok: true; readonly channel: string; readonly ts: string } | Failed;

/** Where a bot speaks. */
interface Bot {
  readonly api: string;
  readonly token: string;
  readonly channel: string;
}

class Thread {
  readonly #sender: Sender;
  readonly #to: Bot;
  readonly #outbox: Outbox;

  constructor(sender: Sender, to: Bot, outbox: Outbox) {
    this.#sender = sender;
    this.#to = to;
    this.#outbox = outbox;
  }

  async tell(notice: Notice, text: string, signal: AbortSignal): Promise<Delivery> {
    const { route, rollout } = notice;
    const key = `thread:${route}`;
    const opened = openedOf(this.#outbox.notes(NAME).get(key));
    const isReply = opened !== undefined && rollout !== "" && opened.rollout === rollout;
    const { channel } = isReply ? opened : this.#to;
    const into = isReply ? { thread_ts: opened.ts } : {};
    const posted = await this.#call(
      "chat.postMessage",
      { channel, text, unfurl_links: false, ...into },
      signal,
    );
    if (!posted.ok) return posted;
    if (isReply) {
      // It was told: that the first message could not be changed is no failure, and nobody waits for it.
      const [head = ""] = text.split("\n", 1);
      const now = { channel, ts: opened.ts, text: `${head}\n\n${opened.text}`.slice(0, MOST_TEXT) };
      void this.#call("chat.update", now, AbortSignal.timeout(UPDATE_MS));
    } else if (rollout !== "") {
      const { channel: id, ts } = posted;
      const kept: Opened = { rollout, channel: id, ts, text: text.slice(0, MOST_KEPT) };
      await this.#outbox.note(NAME, key, JSON.stringify(kept));
    }
    return { ok: true };
  }

  async #call(method: string, body: object, signal: AbortSignal): Promise<Called> {
    const { api, token } = this.#to;
    const fields = { authorization: `Bearer ${token}` };
    const answer = await this.#sender.post(`${api}/${method}`, fields, JSON.stringify(body), signal);
    if (isFailed(answer)) return answer;
    const { ok, error, channel, ts } = objectIn(answer.body);
    if (!isTaken(answer)) return refusalOf(answer, typeof error === "string" ? wordIn(error) : "");
    if (ok === true && typeof channel === "string" && typeof ts === "string") return { ok, channel, ts };
    if (typeof error !== "string")
      return { ok: false, retry: false, detail: "an answer that is not Slack's", isUnknown: true };
    return { ok: false, retry: PASSING.has(error), detail: wordIn(error), retryAfterMs: answer.retryAfterMs };
  }
}

function openedOf(note: string | undefined): Opened | undefined {
  const { rollout, channel, ts, text } = objectIn(note);
  if (typeof rollout !== "string" || typeof channel !== "string" || typeof ts !== "string") return undefined;
  return { rollout, channel, ts, text: typeof text === "string" ? text : "" };
}

/** The text, in which nothing of it is mark-up: no mention of a channel, no link that says one thing and leads elsewhere. */
function textOf(notice: Notice, environment: string, console: string | undefined): string {
  const text = [headOf(notice, environment), ...bodyOf(notice)].map(plain).join("\n").slice(0, MOST_TEXT);
  return console === undefined ? text : `${text}\n<${console}|Console>`;
}

function plain(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function wordIn(text: string): string {
  return lineOf(text).slice(0, 60);
}
