/**
 * Requests straight to each endpoint of the canary, before any user's goes there.
 *
 * Over connections of their own and past the data path, so that they are in no count and no evidence; marked `X-Sluice-Preflight: 1`, so that
 * the canary can tell them from users' too. A failing endpoint is not asked further.
 */

import type { RouteConfig } from "../config/route.ts";
import { upstreamTls, type PemOf } from "../config/upstream-tls.ts";
import { bareHost } from "../domain/host.ts";
import { millis } from "../domain/units.ts";
import type { Clock } from "../engine/ports.ts";
import { lookupOf, type Lookup } from "../config/address.ts";
import { exchange, type Answer, type Ask } from "./exchange.ts";
import { fails, holds, within, type Finding } from "./limit.ts";

/** What asking takes. */
export interface SmokeParts {
  readonly clock: Clock;
  readonly lookup: Lookup;
  readonly pem: PemOf;
  /** Told of each answer's Date field: how far it is ahead of our clock, ms. */
  readonly onDate: (aheadMs: number) => void;
}

type Request = RouteConfig["preflight"]["smoke"][number];

const ONE_MS = millis(10_000);
const MOST_BODY = 64 * 1024;
/** Endpoints that are asked at a time. */
const AT_ONCE = 16;

/** Asks every endpoint everything that is configured. */
export async function checkSmoke(
  route: RouteConfig,
  parts: SmokeParts,
  signal: AbortSignal,
): Promise<Finding> {
  const { canary, preflight } = route;
  const usual = canary.health?.path ?? route.health.path ?? "/";
  const requests: readonly Request[] =
    preflight.smoke.length > 0 ? preflight.smoke : [{ method: "GET", path: usual }];
  const waiting = canary.endpoints.values();
  const failed: string[] = [];
  const ask = async (): Promise<void> => {
    for (const endpoint of waiting) {
      const found = await askEndpoint(endpoint, route, requests, parts, signal);
      if (!found.ok) failed.push(found.detail);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, ask));
  const [first] = failed;
  const all = canary.endpoints.length;
  if (first === undefined) {
    return holds(`${count(all, "endpoint")} answered ${count(requests.length, "request")}`);
  }
  return fails(all === 1 ? first : `${failed.length} of ${all} endpoints failed: ${first}`);
}

async function askEndpoint(
  endpoint: string,
  route: RouteConfig,
  requests: readonly Request[],
  parts: SmokeParts,
  ended: AbortSignal,
): Promise<Finding> {
  for (const each of requests) {
    const found = await within(
      parts.clock,
      ONE_MS,
      async (signal) => {
        const answer = await exchange(askOf(endpoint, route, each, parts), signal);
        const at = Date.parse(answer.date ?? "");
        if (!Number.isNaN(at)) parts.onDate(at - parts.clock.wall());
        return judge(answer, each);
      },
      ended,
    );
    if (!found.ok) return fails(`${each.method} ${endpoint}${each.path}: ${found.detail}`);
  }
  return holds("");
}

function askOf(endpoint: string, route: RouteConfig, { method, path }: Request, parts: SmokeParts): Ask {
  const url = new URL(endpoint);
  const { canary, match } = route;
  const host = bareHost(url.hostname);
  return {
    url,
    isHttp2: canary.protocol === "http2" || url.protocol === "h2c:",
    method,
    path,
    fields: { "user-agent": "sluice-preflight", accept: "*/*", "x-sluice-preflight": "1" },
    // Who serves several hosts has to know whose request it is.
    authority: match.host === undefined || match.host.startsWith("*") ? undefined : match.host,
    tls: url.protocol === "https:" ? upstreamTls(host, canary.tls, parts.pem).options : undefined,
    lookup: lookupOf(parts.lookup, false),
    most: () => MOST_BODY,
  };
}

function judge({ status, body, isWhole }: Answer, wanted: Request): Finding {
  const isRight = wanted.status === undefined ? status >= 200 && status < 400 : status === wanted.status;
  if (!isRight) {
    return fails(wanted.status === undefined ? `status ${status}` : `status ${status}, not ${wanted.status}`);
  }
  if (!isWhole) return fails("the answer was cut short");
  // The body came as bytes; what it is compared with is text.
  const isThere =
    wanted.body === undefined || body.includes(Buffer.from(wanted.body, "utf8").toString("latin1"));
  return isThere
    ? holds(`status ${status}`)
    : fails(`status ${status}, but the body is not the expected one`);
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}
