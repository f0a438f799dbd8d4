/**
 * The sticky key of a request: found where the configuration says, or a new anonymous one in a signed cookie.
 *
 * A key is opaque: not trimmed, not decoded, not lower-cased; of a repeated field the first counts; an empty value is no key. So
 * every key, however long or binary, has one defined bucket. The cookie carries the key and never the arm, because an arm in a
 * cookie outlives a rollback; it is signed so that a client cannot look for an id that falls where it wants (product.md §2.3).
 */

import { createHmac, timingSafeEqual } from "node:crypto";
import type { RouteConfig } from "../config/schema.ts";
import type { Dice } from "../engine/ports.ts";
import { cookieOf, queryOf, type RequestView } from "./request.ts";

/** Name of the anonymous cookie. */
export const COOKIE = "sluice_id";
const YEAR_SECONDS = 31_536_000;

/** Who is asking. */
export interface Identity {
  /** The sticky key; undefined: none, and `chance` says what then. */
  readonly key: string | undefined;
  /** A Set-Cookie value to add to the answer; empty: none. */
  readonly cookie: string;
  /** Without a key: true, a throw of the dice decides; false, stable. */
  readonly chance: boolean;
}

const BY_CHANCE: Identity = { key: undefined, cookie: "", chance: true };
const TO_STABLE: Identity = { key: undefined, cookie: "", chance: false };

/** Finds the key in one place; undefined: not there. */
type Source = (view: RequestView) => string | undefined;

/** Finds the identity of a request of one route. */
export type Identify = (view: RequestView) => Identity;

/** The identification of a route, compiled once from its configuration. `secret` signs the anonymous cookie. */
export function identifier(route: RouteConfig, secret: string, dice: Dice): Identify {
  const sources = route.key.map(sourceOf);
  const anonymous = route.anonymous;
  return (view) => {
    for (const source of sources) {
      const key = source(view);
      if (key !== undefined && key !== "") return { key, cookie: "", chance: false };
    }
    if (anonymous === "random") return BY_CHANCE;
    if (anonymous === "stable") return TO_STABLE;
    const known = verified(cookieOf(view.header("cookie"), COOKIE), secret);
    if (known !== undefined) return { key: known, cookie: "", chance: false };
    const id = dice.token(16);
    const cookie = `${COOKIE}=${signed(id, secret)}; Max-Age=${YEAR_SECONDS}; Path=/; HttpOnly; SameSite=Lax`;
    return { key: id, cookie, chance: false };
  };
}

/** `v1.<id>.<hmac>`: the cookie's value for an id. */
export function signed(id: string, secret: string): string {
  return `v1.${id}.${createHmac("sha256", secret).update(`v1.${id}`).digest("base64url")}`;
}

/** The id in a cookie's value; undefined when it is absent, damaged or forged, which all mean: no key. */
function verified(value: string | undefined, secret: string): string | undefined {
  if (value === undefined || value.length > 200 || !value.startsWith("v1.")) return undefined;
  const dot = value.indexOf(".", 3);
  if (dot <= 3) return undefined;
  const id = value.slice(3, dot);
  const given = Buffer.from(value, "latin1");
  const wanted = Buffer.from(signed(id, secret), "latin1");
  return given.length === wanted.length && timingSafeEqual(given, wanted) ? id : undefined;
}

function sourceOf(text: string): Source {
  if (text === "ip") return (view) => view.client;
  const colon = text.indexOf(":");
  const name = text.slice(colon + 1);
  switch (text.slice(0, colon)) {
    case "header": {
      const lower = name.toLowerCase();
      return (view) => view.header(lower);
    }
    case "cookie":
      return (view) => cookieOf(view.header("cookie"), name);
    case "query":
      return (view) => queryOf(view.target, name);
    default:
      return (view) => claimOf(view.header("authorization"), name);
  }
}

/**
 * A claim of the bearer token, read without verifying it: it only says where to send, the upstream says who may. Texts and numbers
 * count; anything else, and any damage, is no key.
 */
function claimOf(authorization: string | undefined, claim: string): string | undefined {
  if (authorization === undefined || authorization.slice(0, 7).toLowerCase() !== "bearer ") return undefined;
  const from = authorization.indexOf(".");
  const to = authorization.indexOf(".", from + 1);
  if (from < 0 || to < 0 || to - from > 16_384) return undefined;
  try {
    const claims: unknown = JSON.parse(
      Buffer.from(authorization.slice(from + 1, to), "base64url").toString(),
    );
    if (typeof claims !== "object" || claims === null || !Object.hasOwn(claims, claim)) return undefined;
    const value: unknown = Reflect.get(claims, claim);
    return typeof value === "string" ? value : typeof value === "number" ? String(value) : undefined;
  } catch {
    return undefined;
  }
}
