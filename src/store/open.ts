/** Which store a configuration means, and the secrets that are kept with it. */

import { hostname } from "node:os";
import type { Config } from "../config/schema.ts";
import type { Secret, SecretSource } from "../config/secret.ts";
import { stateOf } from "../config/state.ts";
import type { Clock, Dice, Log, SharedStore, Store } from "../engine/ports.ts";
import { fileStore } from "./file.ts";
import { openKey, replaceKey } from "./keys.ts";
import { memoryStore } from "./memory.ts";

/** What a store is opened with. */
export interface OpenOptions {
  readonly secretOf: (source: SecretSource) => Secret;
  readonly clock: Clock;
  readonly dice: Dice;
  readonly log: Log;
}

/** A store, with what is kept beside the state. */
export interface OpenedStore {
  readonly store: Store;
  /** The same store, where replicas share it. */
  readonly shared: SharedStore | undefined;
  /** What metrics show of it. */
  figures(): { readonly isUp: boolean; readonly isLeader: boolean; readonly failures: number } | undefined;
  /** What is this replica's own; null when nothing is kept on disk. */
  readonly folder: string | null;
  /** This replica's secret of that name. Throws as `openKey` does. */
  key(name: string): Promise<string>;
  /** The secret that signs anonymous cookies: the fleet's, where there is one. */
  cookieSecret(): Promise<string>;
}

const KEY_BYTES = 32;
const COOKIE_KEY = "cookie.key";

/**
 * The store that `state` names.
 *
 * Throws AppError SPLIT_STATE_UNWRITABLE, naming the folder, when that cannot be written. A shared store that is away stops nothing.
 */
export async function openStore(state: Config["state"], options: OpenOptions): Promise<OpenedStore> {
  const { dice, log } = options;
  const of = stateOf(state);
  const folder = of.kind === "memory" ? null : of.folder;
  const made = (): string => dice.token(KEY_BYTES);
  const key = async (name: string): Promise<string> =>
    folder === null ? made() : openKey(folder, name, made);
  if (of.kind !== "redis") {
    const store = of.kind === "memory" ? memoryStore() : await fileStore(of.folder, log);
    return {
      store,
      shared: undefined,
      figures: () => undefined,
      folder,
      key,
      cookieSecret: () => key(COOKIE_KEY),
    };
  }
  // Brings the client of Redis along, which is only loaded where there is one.
  const { redisStore } = await import("./redis.ts");
  const store = await redisStore({ ...options, state: of, replica: of.replica ?? ownName() });
  const cookieSecret = async (): Promise<string> => {
    if (of.cookieSecret !== undefined) return options.secretOf(of.cookieSecret).reveal();
    const mine = await key(COOKIE_KEY);
    const shared = await store.secret(COOKIE_KEY, mine);
    if (shared === undefined) log.warn("cookies are signed with this replica's own key: the store is away");
    else if (shared !== mine) await replaceKey(of.folder, COOKIE_KEY, shared);
    return shared ?? mine;
  };
  const figures = (): ReturnType<OpenedStore["figures"]> => ({
    isUp: store.isUp,
    isLeader: store.lease().isLeader,
    failures: store.failures,
  });
  return { store, shared: store, figures, folder, key, cookieSecret };
}

/** What a replica is called that has no name in the configuration: host and process. */
function ownName(): string {
  return `${hostname().replaceAll(/[^A-Za-z0-9_.-]/g, "-")}-${process.pid}`;
}
