/**
 * The sticky key of a request: found where the configuration says, or a new anonymous one in a signed cookie.
 *
 * A key is opaque: not trimmed, not decoded, not lower-cased; of a repeated field the first counts; an empty value is no key. So
 * every key, however long or binary, has one defined bucket. The cookie carries the key and never the arm, because an arm in a
 * cookie outlives a rollback; it is signed so that a client cannot look for an id that falls where it wants (product.md §2.3).
 */

import { createHmac, timingSafeEqual } from "node:crypto";
import type { RouteConfig } from "../config/schema.ts";
import { BUCKETS, bucketOf } from "../domain/split.ts";
import type { Dice } from "../engine/ports.ts";
import { cookieOf, NO_KEY, queryOf, type KeySource, type RequestView } from "./request.ts";

/** Name of the anonymous cookie. */
export const COOKIE = "sluice_id";
const YEAR_SECONDS = 31_536_000;

/** A request without a key. */
export interface Anonymous {
  readonly bucket: number;
  /** The key that it was given; undefined when it has one already, or gets none. */
  readonly key: string | undefined;
  /** A Set-Cookie value to add to the answer; empty: none. */
  readonly cookie: string;
}

/** Finds out who is asking, on one route. */
export interface Identify {
  /** Where the key may be, the first that is there wins. */
  readonly sources: readonly KeySource[];
  /** What becomes of a request in which none of the sources is; undefined: a throw of the dice decides. */
  anonymous(view: RequestView, salt: string): Anonymous | undefined;
  /** The key as text, once more; undefined when the request brought none. */
  keyOf(view: RequestView): string | undefined;
}

/** No weight reaches this bucket: always stable. */
const LAST: Anonymous = { bucket: BUCKETS, key: undefined, cookie: "" };

/** The identification of a route, compiled once from its configuration. `secret` signs the anonymous cookie. */
export function identifier(route: RouteConfig, secret: string, dice: Dice): Identify {
  const sources = route.key.map(sourceOf);
  const { anonymous } = route;
  const known = (view: RequestView): string | undefined =>
    anonymous === "cookie" ? verified(cookieOf(view.header("cookie"), COOKIE), secret) : undefined;
  return {
    sources,
    keyOf: (view) => keyIn(sources, view) ?? known(view),
    anonymous(view, salt) {
      if (anonymous === "random") return undefined;
      if (anonymous === "stable") return LAST;
      const before = known(view);
      if (before !== undefined) return { bucket: bucketOf(before, salt), key: undefined, cookie: "" };
      const key = dice.token(16);
      const cookie = `${COOKIE}=${signed(key, secret)}; Max-Age=${YEAR_SECONDS}; Path=/; HttpOnly; SameSite=Lax`;
      return { bucket: bucketOf(key, salt), key, cookie };
    },
  };
}

/** `RequestView.bucketOf` for a lane that has texts: the reference for those that hash bytes. */
export function bucketByText(view: RequestView, sources: readonly KeySource[], salt: string): number {
  const key = keyIn(sources, view);
  return key === undefined ? NO_KEY : bucketOf(key, salt);
}

function keyIn(sources: readonly KeySource[], view: RequestView): string | undefined {
  for (const source of sources) {
    const key = valueOf(source, view);
    if (key !== undefined && key !== "") return key;
  }
  return undefined;
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

function sourceOf(text: string): KeySource {
  if (text === "ip" || text === "tls") return { kind: text, name: "" };
  const colon = text.indexOf(":");
  const name = text.slice(colon + 1);
  const kind = text.slice(0, colon);
  if (kind === "header") return { kind, name: name.toLowerCase() };
  return { kind: kind === "cookie" || kind === "query" ? kind : "jwt", name };
}

/** The value that one source has in a request; undefined when it is not there. */
function valueOf({ kind, name }: KeySource, view: RequestView): string | undefined {
  switch (kind) {
    case "header":
      return view.header(name);
    case "cookie":
      return cookieOf(view.header("cookie"), name);
    case "query":
      return queryOf(view.target, name);
    case "jwt":
      return claimOf(view.header("authorization"), name);
    case "ip":
      return view.client;
    case "tls":
      return view.subject;
    default:
      return kind satisfies never;
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
