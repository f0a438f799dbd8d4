/**
 * One POST of JSON, for every channel that speaks HTTP. The only door to the notifiers' HTTP client.
 *
 * Redirects are not followed, an answer is read so far and no further, and what it may lead to is judged at the moment of connecting
 * (config/address.ts). The address never leaves: errors carry the status or the platform's code, for with many services the URL is a secret itself.
 */

import { Agent, buildConnector, request } from "undici";
import { checkHost, credentialsOf, lookupOf, RefusedAddress, type Lookup } from "../config/address.ts";
import { codeOf } from "../domain/errors.ts";
import { bareHost } from "../domain/host.ts";
import type { Failed } from "./channel.ts";

/** What a sender needs. */
export interface SenderOptions {
  readonly lookup: Lookup;
  /** Whether it may lead to link-local addresses, and to those at which a cloud tells machines their credentials. */
  readonly allowPrivate: boolean;
  /** Wall clock, ms. */
  readonly wall: () => number;
}

/** What came back. */
export interface Answer {
  readonly status: number;
  /** The first 64 KiB. */
  readonly body: string;
  /** How long the receiver asks to be left alone: ms. */
  readonly retryAfterMs: number | undefined;
}

/** Posts, over a connection for each message: one that was kept may be closed by the other side just as it is used again. */
export interface Sender {
  /** The answer, or why there is none. Never rejects. */
  post(
    url: string,
    fields: Readonly<Record<string, string>>,
    body: string,
    signal: AbortSignal,
  ): Promise<Answer | Failed>;
  close(): Promise<void>;
}

const FIELDS = { "content-type": "application/json; charset=utf-8", "user-agent": "sluice" };
const CONNECT_MS = 5000;
/** So much of an answer is read before the connection is given up: bytes. */
const MOST_ANSWER = 64 * 1024;

/** A sender for one channel. */
export function createSender({ lookup, allowPrivate, wall }: SenderOptions): Sender {
  const dial = buildConnector({ timeout: CONNECT_MS, lookup: lookupOf(lookup, !allowPrivate) });
  /** Errors before there was a connection: then nothing has arrived. */
  const unconnected = new WeakSet<Error>();
  const agent = new Agent({
    connections: 1,
    pipelining: 0,
    connect: (target, done) =>
      dial(target, (...result) => {
        if (result[0] !== null) unconnected.add(result[0]);
        done(...result);
      }),
  });
  return {
    async post(text, fields, body, signal) {
      try {
        const url = new URL(text);
        // A name is judged when it is connected to; an address is not looked up.
        if (!allowPrivate) checkHost(bareHost(url.hostname));
        const answer = await request(`${url.origin}${url.pathname}${url.search}`, {
          method: "POST",
          headers: { ...FIELDS, ...credentialsOf(url), ...fields },
          body,
          dispatcher: agent,
          signal,
        });
        return {
          status: answer.statusCode,
          body: await firstOf(answer.body),
          retryAfterMs: pauseOf(answer.headers["retry-after"], wall()),
        };
      } catch (error) {
        const isRefused = error instanceof RefusedAddress;
        const isUnknown = !isRefused && !(error instanceof Error && unconnected.has(error));
        return { ok: false, retry: !isRefused, detail: failureOf(error), isUnknown };
      }
    },
    close: () => agent.destroy(),
  };
}

/** Whether there is no answer, but why. */
export function isFailed(answer: Answer | Failed): answer is Failed {
  return "ok" in answer;
}

/** An answer as a failure: 408, 429 and 5xx may be tried again, any other status (redirects included) may not. */
export function refusalOf({ status, retryAfterMs }: Answer, more = ""): Failed {
  const retry = status === 408 || status === 429 || status >= 500;
  return { ok: false, retry, detail: `status ${status}${more === "" ? "" : `: ${more}`}`, retryAfterMs };
}

/** Whether the receiver has taken it. */
export function isTaken({ status }: Answer): boolean {
  return status >= 200 && status < 300;
}

async function firstOf(body: AsyncIterable<Buffer>): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  // A body that is cut short changes nothing about its status.
  try {
    for await (const part of body) {
      parts.push(part);
      length += part.length;
      if (length >= MOST_ANSWER) break;
    }
  } catch {}
  return Buffer.concat(parts).subarray(0, MOST_ANSWER).toString("utf8");
}

/** Retry-After, in either of its forms (RFC 9110 §10.2.3): ms from now. */
function pauseOf(field: string | string[] | undefined, now: number): number | undefined {
  if (typeof field !== "string") return undefined;
  if (/^\d{1,9}$/.test(field)) return Number(field) * 1000;
  const at = Date.parse(field);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}

function failureOf(error: unknown): string {
  if (!(error instanceof Error)) return "failed";
  if (error instanceof RefusedAddress) return error.message;
  return codeOf(error) || error.name;
}
