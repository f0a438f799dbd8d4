/**
 * Where the state is kept: `state` of the configuration, as it is written and as the program takes it.
 *
 * A text is the short form: a folder, the memory, or one Redis. The long form has what a text has no room for: Sentinel, Cluster, where the
 * password and the certificate are, the fleet's name. A password never stands in the configuration, so neither does it in a URL.
 */

import { z } from "zod";
import { secret } from "./shape.ts";
import { name, path } from "./texts.ts";

const HOST = String.raw`(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)`;
// A password is taken for what it is, and refused in words that say where it belongs.
const URL_TEXT = String.raw`rediss?://(?:[^\s@/]+@)?${HOST}(?::\d{1,5})?(?:/\d{1,3})?`;
const SERVER = new RegExp(`^(${HOST}):(\\d{1,5})$`);
const DEFAULT_PORT = 6379;
const DEFAULT_FOLDER = "./state";
const DEFAULT_NAME = "default";

const PASSWORD =
  "a password is named, not written: { redis: URL, password: { env: NAME } } or { file: PATH }";
const holdsPassword = (text: string): boolean => /^rediss?:\/\/[^@/]*:[^@/]*@/.test(text);

const redisUrl = z
  .string()
  .regex(new RegExp(`^${URL_TEXT}$`), 'expected "redis://USER@HOST:PORT/DB" or "rediss://…"')
  .refine((text) => !holdsPassword(text), PASSWORD)
  .refine((text) => URL.canParse(text), "the port is above 65535");
const server = z
  .string()
  .regex(SERVER, 'expected "host:port"')
  .refine((text) => Number(text.slice(text.lastIndexOf(":") + 1)) <= 65_535, "the port is above 65535");

const shared = z
  .strictObject({
    redis: redisUrl.optional().meta({
      description: "one server, or the name that leads to the present primary; `rediss://` speaks TLS",
      examples: ["rediss://sluice@redis.example:6379/0"],
    }),
    sentinels: z
      .array(server)
      .min(1)
      .optional()
      .meta({ description: "Sentinels, who know the present primary" }),
    master: name.default("mymaster").meta({ description: "what the Sentinels call the primary" }),
    cluster: z
      .array(server)
      .min(1)
      .optional()
      .meta({ description: "some members of a Cluster; all keys are in one slot" }),
    user: z
      .string()
      .min(1)
      .optional()
      .meta({ description: "for `sentinels` and `cluster`; a URL has its own" }),
    password: secret.optional().meta({ description: "where the password of Redis is" }),
    sentinelPassword: secret.optional().meta({ description: "where the password of the Sentinels is" }),
    db: z.int().min(0).max(999).default(0).meta({ description: "for `sentinels`; a URL has its own" }),
    tls: z
      .boolean()
      .default(false)
      .meta({ description: "speak TLS to Sentinels, their servers and a Cluster; a URL says it itself" }),
    ca: secret.optional().meta({
      description:
        "where the certificates (PEM) are that the servers are verified with, in place of the system's",
    }),
    name: name
      .default(DEFAULT_NAME)
      .meta({ description: "the fleet's name: replicas with the same one are one fleet" }),
    replica: name.optional().meta({
      description: "begins this replica's name; left out: host and process. A part that is unique is added",
    }),
    cookieSecret: secret.optional().meta({
      description: "where the key is that signs anonymous cookies; left out: the replicas agree on one",
    }),
    folder: path.default(DEFAULT_FOLDER).meta({
      description: "what is this replica's own: journal, admin token, the state as last known",
    }),
  })
  .check(({ value, issues }) => {
    const refuse = (at: string, message: string): void =>
      void issues.push({ code: "custom", message, path: [at], input: value });
    const ways = (["redis", "sentinels", "cluster"] as const).filter((way) => value[way] !== undefined);
    if (ways.length !== 1) refuse(ways[1] ?? "redis", "expected one of `redis`, `sentinels` and `cluster`");
    if (value.redis === undefined) {
      if (value.ca !== undefined && !value.tls) refuse("ca", "is for TLS: set `tls: true`");
      if (value.cluster !== undefined && value.db !== 0) refuse("db", "a Cluster has one database, 0");
      return;
    }
    if (value.user !== undefined) refuse("user", "stands in the URL: redis://USER@HOST");
    if (value.db !== 0) refuse("db", "stands in the URL: redis://HOST/DB");
    if (value.tls) refuse("tls", "the URL says it: rediss://HOST");
    if (value.ca !== undefined && !value.redis.startsWith("rediss:"))
      refuse("ca", "is for TLS: write rediss://HOST");
  });

/** `state` of the configuration. */
export const state = z
  .union([
    z
      .string()
      .regex(
        new RegExp(`^(?:file:.+|memory:|${URL_TEXT})$`),
        'expected "file:PATH", "memory:" or "redis://USER@HOST:PORT/DB"',
      )
      .refine((text) => !holdsPassword(text), PASSWORD)
      .refine((text) => !text.startsWith("redis") || URL.canParse(text), "the port is above 65535"),
    shared,
  ])
  .default(`file:${DEFAULT_FOLDER}`)
  .meta({
    description: "where the rollouts' state is kept: a folder, the memory, or a store that replicas share",
    examples: ["file:./state", "redis://redis.example:6379/0"],
  });

type Secrets = Pick<
  z.output<typeof shared>,
  "password" | "sentinelPassword" | "ca" | "cookieSecret" | "replica"
>;

/** A server of Redis, or a Sentinel. */
export interface RedisServer {
  readonly host: string;
  readonly port: number;
}

/** A store that replicas share. */
export interface SharedState extends Secrets {
  readonly kind: "redis";
  /** `one`: the only server in `servers` is Redis itself. */
  readonly way: "one" | "sentinels" | "cluster";
  readonly servers: readonly RedisServer[];
  readonly master: string;
  readonly user: string | undefined;
  readonly db: number;
  readonly tls: boolean;
  /** The fleet's. */
  readonly name: string;
  readonly folder: string;
}

/** Where the state is. */
export type StateConfig =
  { readonly kind: "memory" } | { readonly kind: "file"; readonly folder: string } | SharedState;

/** `state` as the program takes it. */
export function stateOf(written: z.output<typeof state>): StateConfig {
  if (written === "memory:") return { kind: "memory" };
  if (typeof written !== "string") return sharedOf(written);
  if (written.startsWith("file:")) return { kind: "file", folder: written.slice("file:".length) };
  return sharedOf(shared.parse({ redis: written }));
}

/** The folder of what is this replica's own; undefined when nothing is kept on disk. */
export function folderOfState(written: z.output<typeof state>): string | undefined {
  const of = stateOf(written);
  return of.kind === "memory" ? undefined : of.folder;
}

/** `state` in a line for people and the log: no secret has ever been in it. */
export function stateWords(written: z.output<typeof state>): string {
  if (typeof written === "string") return written;
  const { redis, sentinels, cluster, name: fleet } = written;
  const servers = redis ?? (sentinels ?? cluster ?? []).join(",");
  return `${servers} (${fleet})`;
}

function sharedOf(written: z.output<typeof shared>): SharedState {
  const { redis, sentinels, cluster, user, db, tls, ...rest } = written;
  const common = { ...rest, kind: "redis" } as const;
  if (redis === undefined) {
    const way = sentinels === undefined ? "cluster" : "sentinels";
    return { ...common, way, servers: (sentinels ?? cluster ?? []).map(serverOf), user, db, tls };
  }
  const url = new URL(redis);
  return {
    ...common,
    way: "one",
    servers: [{ host: bare(url.hostname), port: url.port === "" ? DEFAULT_PORT : Number(url.port) }],
    user: url.username === "" ? undefined : decodeURIComponent(url.username),
    db: Number(url.pathname.slice(1)),
    tls: url.protocol === "rediss:",
  };
}

function serverOf(text: string): RedisServer {
  const at = text.lastIndexOf(":");
  return { host: bare(text.slice(0, at)), port: Number(text.slice(at + 1)) };
}

/** An IPv6 address without its brackets. */
function bare(host: string): string {
  return host.startsWith("[") ? host.slice(1, -1) : host;
}
