/**
 * Those who are told, played on loopback: Slack, PagerDuty and a webhook's receiver. They take nothing on trust: each request is held against what the service
 * publishes of its API, and what does not fit is refused as the service refuses it, and remembered as wrong.
 */

import { createHmac } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Test } from "tap";
import { untilEvent } from "./until.ts";

/** A JSON object as it came. */
export type Json = Readonly<Record<string, unknown>>;

/** One request. */
export interface Heard {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Json;
}

/** A receiver. */
export interface Receiver {
  readonly url: string;
  /** What was taken, oldest first. */
  readonly taken: readonly Heard[];
  /** What does not fit what is published. */
  readonly wrong: readonly string[];
  /** Requests so far, whatever became of them. */
  readonly asked: number;
  /** Answers in place of the service; true: it did. */
  instead: (response: ServerResponse, heard: Heard) => boolean;
  /** Resolves when `count` requests were taken. */
  until(count: number): Promise<void>;
  /** Resolves when there were `count` requests, whatever became of them. */
  untilAsked(count: number): Promise<void>;
  close(): Promise<void>;
}

/** What a service makes of a request: why it is refused, or what it answers. */
type Service = (
  heard: Heard,
  number: number,
) => { readonly wrong: string } | { readonly says: object | string };

async function receive(
  service: Service,
  statuses: { readonly ok: number; readonly wrong: number },
): Promise<Receiver> {
  const taken: Heard[] = [];
  const wrong: string[] = [];
  const requests = new EventEmitter();
  let asked = 0;
  const server = createServer((request, response) => {
    let text = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    request.on("error", () => {});
    request.on("end", () => {
      asked += 1;
      // Told when this request is over, whatever becomes of it.
      queueMicrotask(() => requests.emit("over"));
      const heard = { path: request.url ?? "", headers: request.headers, body: objectOf(text) };
      const isJson = /^application\/json(; ?charset=utf-8)?$/.test(request.headers["content-type"] ?? "");
      if (request.method !== "POST" || !isJson)
        wrong.push(`${request.method} ${request.headers["content-type"]}`);
      if (made.instead(response, heard)) return;
      const found = service(heard, taken.length + 1);
      if ("wrong" in found) {
        wrong.push(found.wrong);
        response.writeHead(statuses.wrong).end(found.wrong);
        return;
      }
      taken.push(heard);
      const says = typeof found.says === "string" ? found.says : JSON.stringify(found.says);
      response.writeHead(statuses.ok, { "content-type": "application/json" }).end(says);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // a port was asked for
  const made: Receiver = {
    url: `http://127.0.0.1:${port}`,
    taken,
    wrong,
    get asked() {
      return asked;
    },
    instead: () => false,
    until: (count) =>
      untilEvent(`${count} requests are taken`, requests, "over", () => taken.length >= count),
    untilAsked: (count) => untilEvent(`there are ${count} requests`, requests, "over", () => asked >= count),
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close").catch(() => {});
    },
  };
  return made;
}

/** A receiver that ends with the test. */
export async function during(t: Test, receiver: Promise<Receiver>): Promise<Receiver> {
  const made = await receiver;
  t.teardown(() => made.close());
  return made;
}

function objectOf(text: string): Json {
  const value: unknown = JSON.parse(text);
  return typeof value === "object" && value !== null ? (value as Json) : {};
}

/** Fields that are there and are not published, and those of the wrong form. */
function troubleIn(
  body: Json,
  fields: Readonly<Record<string, (value: unknown) => boolean>>,
  required: readonly string[],
): string {
  const missing = required.filter((name) => body[name] === undefined).map((name) => `${name} is missing`);
  const unknown = Object.keys(body)
    .filter((name) => fields[name] === undefined)
    .map((name) => `${name} is unknown`);
  const bad = Object.entries(body)
    .filter(([name, value]) => fields[name]?.(value) === false)
    .map(([name]) => `${name} is wrong`);
  return [...missing, ...unknown, ...bad].join(", ");
}

const isText = (value: unknown): boolean => typeof value === "string" && value !== "";
const upTo = (most: number) => (value: unknown) =>
  typeof value === "string" && value !== "" && value.length <= most;
const isFlag = (value: unknown): boolean => typeof value === "boolean";
const isObject = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isTs = (value: unknown): boolean => typeof value === "string" && /^\d{10}\.\d{6}$/.test(value);
const oneOf =
  (...values: readonly string[]) =>
  (value: unknown) =>
    typeof value === "string" && values.includes(value);
const isUrl = (value: unknown): boolean => typeof value === "string" && URL.canParse(value);

/** The token that Slack knows. */
export const SLACK_TOKEN = "xoxb-1-hunter2";

/** Slack's Web API: chat.postMessage and chat.update, by docs.slack.dev/reference/methods. At most 40 000 characters of text. */
export function slack(): Promise<Receiver> {
  const threads = new Set<string>();
  return receive(
    ({ path, headers, body }, number) => {
      const refused = (error: string) => ({ wrong: JSON.stringify({ ok: false, error }) });
      if (headers.authorization !== `Bearer ${SLACK_TOKEN}`) return refused("invalid_auth");
      const text = { text: upTo(40_000) };
      if (path === "/chat.postMessage") {
        const fields = { channel: isText, ...text, thread_ts: isTs, unfurl_links: isFlag };
        const trouble = troubleIn(body, fields, ["channel", "text"]);
        if (trouble !== "") return refused(trouble);
        const { thread_ts: into } = body;
        if (typeof into === "string" && !threads.has(into)) return refused("thread_not_found");
        const ts = `1700000000.${String(number).padStart(6, "0")}`;
        threads.add(ts);
        // A name is resolved to the id, which further calls must use.
        return { says: { ok: true, channel: "C0123456789", ts, message: { text: body["text"], ts } } };
      }
      if (path === "/chat.update") {
        const id = (value: unknown) => value === "C0123456789";
        const trouble = troubleIn(body, { channel: id, ...text, ts: isTs }, ["channel", "text", "ts"]);
        if (trouble !== "") return refused(trouble);
        if (!threads.has(String(body["ts"]))) return refused("message_not_found");
        return { says: { ok: true, channel: "C0123456789", ts: body["ts"], text: body["text"] } };
      }
      return refused("unknown_method");
    },
    { ok: 200, wrong: 200 },
  );
}

/** An incoming webhook of Slack's: `text`, and the word ok. */
export function slackHook(): Promise<Receiver> {
  return receive(
    ({ body }) => {
      const trouble = troubleIn(body, { text: upTo(40_000) }, ["text"]);
      return trouble === "" ? { says: "ok" } : { wrong: `invalid_payload: ${trouble}` };
    },
    { ok: 200, wrong: 400 },
  );
}

/** The integration key that PagerDuty knows. */
export const ROUTING_KEY = "0123456789abcdef0123456789abcdef";

const PAYLOAD = {
  summary: upTo(1024),
  source: isText,
  severity: oneOf("critical", "error", "warning", "info"),
  timestamp: (value: unknown) =>
    typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value),
  component: isText,
  group: isText,
  class: isText,
  custom_details: isObject,
};

/** PagerDuty's Events API v2, by developer.pagerduty.com/docs/events-api-v2: events of at most 512 KB. */
export function pagerDuty(): Promise<Receiver> {
  return receive(
    ({ body }) => {
      const refused = (error: string) => ({
        wrong: JSON.stringify({
          status: "invalid event",
          message: "Event object is invalid",
          errors: [error],
        }),
      });
      if (JSON.stringify(body).length > 512 * 1024) return refused("too large");
      if (body["routing_key"] !== ROUTING_KEY)
        return refused("Length of 'routing_key' is incorrect (should be 32 characters)");
      const fields = {
        routing_key: isText,
        event_action: oneOf("trigger", "acknowledge", "resolve"),
        dedup_key: upTo(255),
        payload: isObject,
        client: isText,
        client_url: isUrl,
        links: (value: unknown) =>
          Array.isArray(value) &&
          value.every((link: unknown) => isObject(link) && isUrl((link as Json)["href"])),
        images: Array.isArray,
      };
      const isTrigger = body["event_action"] === "trigger";
      const required = isTrigger ? ["event_action", "payload"] : ["event_action", "dedup_key"];
      const trouble = troubleIn(body, fields, required);
      if (trouble !== "") return refused(trouble);
      const payload = isTrigger
        ? troubleIn(body["payload"] as Json, PAYLOAD, ["summary", "source", "severity"])
        : "";
      if (payload !== "") return refused(`payload: ${payload}`);
      return { says: { status: "success", message: "Event processed", dedup_key: body["dedup_key"] } };
    },
    { ok: 202, wrong: 400 },
  );
}

/** The secret of the webhook. */
export const HOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/** A receiver of Standard Webhooks 1.0.0, which checks the signature over the bytes that it got. */
export function signedHook(): Promise<Receiver> {
  return receive(
    ({ headers, body }) => {
      const { "webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature } = headers;
      const key = Buffer.from(HOOK_SECRET.slice("whsec_".length), "base64");
      const expected = createHmac("sha256", key)
        .update(`${String(id)}.${String(at)}.${JSON.stringify(body)}`)
        .digest("base64");
      if (signature !== `v1,${expected}`) return { wrong: "signature" };
      const trouble = troubleIn(body, { type: isText, timestamp: isText, data: isObject }, [
        "type",
        "timestamp",
        "data",
      ]);
      return trouble === "" ? { says: "" } : { wrong: trouble };
    },
    { ok: 200, wrong: 400 },
  );
}
