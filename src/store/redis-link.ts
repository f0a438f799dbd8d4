/**
 * The connections to Redis, and the only door to ioredis: one for commands and one that is subscribed, each of which comes back by itself.
 *
 * What a replica asks of Redis is worth an answer now or none at all: nothing is queued while there is no connection, nothing is sent twice, and
 * every command has a deadline, so that a Redis that hangs looks to the program like one that is gone.
 */

import { connect as connectPlain, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import {
  AbstractConnector,
  Cluster,
  Redis,
  SentinelConnector,
  type RedisOptions,
  type SentinelConnectionOptions,
} from "ioredis";
import type { RedisServer, SharedState } from "../config/state.ts";
import { wordsOf } from "../domain/errors.ts";
import type { Dice, Log } from "../engine/ports.ts";

/** The answer of Redis, or why there is none. */
export type Reply =
  { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly detail: string };

/** What stands in a command. */
export type Word = string | number | Uint8Array;

/** What a link is made of. */
export interface LinkOptions {
  readonly state: SharedState;
  readonly password?: string | undefined;
  readonly sentinelPassword?: string | undefined;
  /** Certificates, PEM. */
  readonly ca?: string | undefined;
  readonly dice: Dice;
  readonly log: Log;
  /** What is subscribed to. */
  readonly channel: string;
  readonly onMessage: (message: string) => void;
  /** A connection is there, the first or again: what was said meanwhile was missed. */
  readonly onConnect: () => void;
}

/** A command without an answer by then fails: ms. */
const COMMAND_MS = 400;
/** With what a Cluster's redirections add: ms. */
const DEADLINE_MS = 900;
/** A connection on which nothing comes for so long, with a command waiting, is given up: ms. */
const SOCKET_MS = 3000;
const CONNECT_MS = 1000;
const LONGEST_WAIT_MS = 2000;
const REDIRECTIONS = 3;
/** Different complaints of Redis that are told; what goes on after that is no news. */
const MOST_COMPLAINTS = 20;

/** The connections. */
export class Link {
  readonly #options: LinkOptions;
  readonly #commands: Redis | Cluster;
  readonly #subscriber: Redis | Cluster;
  readonly #complaints = new Set<string>();
  #isUp = false;
  #wasUp = false;
  #isClosed = false;
  #isSubscribed = false;
  #onTrouble: (() => void) | undefined;
  /** Commands that were answered. */
  #answers = 0;
  /** Commands without an answer, or with an error for one. */
  failures = 0;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#commands = connectionOf(options);
    // A Cluster keeps a connection of its own for what is subscribed.
    this.#subscriber = this.#commands instanceof Cluster ? this.#commands : connectionOf(options);
    for (const each of new Set([this.#commands, this.#subscriber])) {
      each.on("error", (error: unknown) => this.#disturbed(wordsOf(error)));
      each.on("ready", () => this.#connected());
    }
    this.#commands.on("close", () => {
      this.#lost("the connection has ended");
      this.#onTrouble?.();
    });
    this.#subscriber.on("ready", () => void this.#subscribe());
    this.#subscriber.on("close", () => (this.#isSubscribed = false));
    this.#subscriber.on("message", (_channel: string, message: string) => options.onMessage(message));
  }

  /** Whether the last thing that was heard was an answer. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** Resolves with the first connection, or with its first trouble, or after `most` ms. */
  async opened(most: number): Promise<void> {
    if (this.#commands.status === "ready") return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#onTrouble = resolve;
      this.#commands.once("ready", () => resolve());
      timer = setTimeout(resolve, most);
    });
    this.#onTrouble = undefined;
    clearTimeout(timer);
  }

  /** One command. Never rejects. */
  send(name: string, ...words: readonly Word[]): Promise<Reply> {
    return this.#answered(() => this.#commands.call(name, ...words.map(sendable)));
  }

  /** One command, with bytes in its answer where `send` has text. */
  sendForBytes(name: string, ...words: readonly Word[]): Promise<Reply> {
    return this.#answered(() => this.#commands.callBuffer(name, ...words.map(sendable)));
  }

  /** Commands on one connection, one right after the other: their answers, or the first one's trouble. */
  async together(commands: readonly (readonly [string, ...Word[]])[]): Promise<Reply> {
    const reply = await this.#answered(() =>
      // The names of ioredis' own methods.
      this.#commands
        .pipeline(commands.map(([name, ...words]) => [name.toLowerCase(), ...words.map(sendable)]))
        .exec(),
    );
    if (!reply.ok || !Array.isArray(reply.value)) return reply;
    // ioredis: for each command its error, or null, and its answer.
    const each = reply.value as readonly (readonly [Error | null, unknown])[];
    const failed = each.find(([error]) => error !== null)?.[0];
    if (failed !== undefined && failed !== null) return this.#failed(failed, false);
    return { ok: true, value: each.map(([, value]) => value) };
  }

  /** Looks whether the subscribed connection is alive, and subscribed: one that is silent may be neither. */
  async probe(): Promise<void> {
    if (this.#subscriber.status !== "ready") return;
    if (!this.#isSubscribed) await this.#subscribe();
    // What fails here is found by the connection's own deadline.
    else if (!(this.#subscriber instanceof Cluster)) await this.#subscriber.ping().catch(() => {});
  }

  close(): void {
    this.#isClosed = true;
    this.#commands.disconnect();
    this.#subscriber.disconnect();
  }

  async #subscribe(): Promise<void> {
    try {
      await this.#subscriber.subscribe(this.#options.channel);
      this.#isSubscribed = true;
      this.#connected();
    } catch (error) {
      this.#complained(wordsOf(error));
    }
  }

  #connected(): void {
    if (this.#commands.status === "ready") this.#options.onConnect();
  }

  async #answered(run: () => Promise<unknown>): Promise<Reply> {
    const before = this.#answers;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error("no answer in time")), DEADLINE_MS);
    });
    try {
      const value = await Promise.race([run(), late]);
      this.#heard();
      return { ok: true, value };
    } catch (error) {
      return this.#failed(error, this.#answers > before);
    } finally {
      clearTimeout(timer);
    }
  }

  /** `wasHeard`: others were answered meanwhile. */
  #failed(error: unknown, wasHeard: boolean): Reply {
    const detail = wordsOf(error);
    if (this.#isClosed) return { ok: false, detail };
    this.failures += 1;
    // An error that Redis answers with is a complaint; anything else means that it does not answer.
    if (error instanceof Error && error.name === "ReplyError") this.#complained(detail);
    else if (!wasHeard) this.#lost(detail);
    return { ok: false, detail };
  }

  #heard(): void {
    this.#answers += 1;
    if (this.#isUp || this.#isClosed) return;
    this.#isUp = true;
    if (this.#wasUp) this.#options.log.info("the shared store answers again");
    this.#wasUp = true;
  }

  /** Trouble with a connection, which may be only in coming back. */
  #disturbed(detail: string): void {
    if (!this.#isUp && !this.#isClosed) this.#complained(detail);
  }

  #lost(detail: string): void {
    if (this.#isClosed || !this.#isUp) return;
    this.#isUp = false;
    this.#complaints.clear();
    this.#options.log.error("the shared store does not answer: serving goes on, no weight can rise", {
      detail,
    });
  }

  #complained(detail: string): void {
    // What differs from one time to the next, such as a port, stands behind the first words.
    const kind = detail.slice(0, 24);
    if (this.#complaints.has(kind) || this.#complaints.size >= MOST_COMPLAINTS) return;
    this.#complaints.add(kind);
    this.#options.log.warn("trouble with the shared store", { detail });
  }
}

/** What of ioredis' options says where a server is. */
interface Target {
  readonly host?: string;
  readonly port?: number;
  readonly tls?: ConnectionOptions;
}

/**
 * Opens connections as ioredis does, and listens to each one's errors for as long as it lives: ioredis listens for one, and a second one, as TLS
 * has it when a handshake is broken off, would end the process.
 */
class Connector extends AbstractConnector {
  readonly #target: Target;

  constructor(options: unknown) {
    super(CONNECT_MS);
    // The options of the connection that it is for.
    this.#target = options as Target;
  }

  connect(): Promise<Socket> {
    this.connecting = true;
    return new Promise((resolve, reject) => {
      // Not at once: ioredis is not ready for what comes of it.
      process.nextTick(() => {
        if (!this.connecting) return void reject(new Error("the connection was given up"));
        const { host = "127.0.0.1", port = 0, tls } = this.#target;
        const socket = tls === undefined ? connectPlain({ host, port }) : connectTls({ host, port, ...tls });
        socket.on("error", (error) => (this.firstError ??= error));
        this.stream = socket;
        resolve(socket);
      });
    });
  }
}

/** The same for a primary that Sentinels name. */
class GuardedSentinelConnector extends SentinelConnector {
  constructor(options: unknown) {
    // The options of the connection that it is for.
    super(options as SentinelConnectionOptions);
  }

  override async connect(...words: Parameters<SentinelConnector["connect"]>) {
    const stream = await super.connect(...words);
    stream.on("error", () => {});
    return stream;
  }
}

function sendable(word: Word): string | number | Buffer {
  return word instanceof Uint8Array ? Buffer.from(word.buffer, word.byteOffset, word.byteLength) : word;
}

function connectionOf(options: LinkOptions): Redis | Cluster {
  const { state, password, sentinelPassword, ca, dice } = options;
  // Half of it by chance: replicas that have lost the same Redis do not come back at the same moment.
  const wait = (times: number): number =>
    Math.min(50 * 2 ** Math.min(times, 10), LONGEST_WAIT_MS) * (0.5 + dice.random() / 2);
  const tls = state.tls ? { tls: ca === undefined ? {} : { ca } } : {};
  const each = {
    ...(state.user === undefined ? {} : { username: state.user }),
    ...(password === undefined ? {} : { password }),
    ...tls,
    commandTimeout: COMMAND_MS,
    socketTimeout: SOCKET_MS,
    connectTimeout: CONNECT_MS,
    Connector: Connector,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    disableClientInfo: true,
    // A primary that has become a replica: the name it was found by leads to another one by now.
    reconnectOnError: (error: Error) => error.message.startsWith("READONLY"),
  } satisfies RedisOptions;
  if (state.way === "cluster") {
    return new Cluster([...state.servers], {
      enableOfflineQueue: false,
      maxRedirections: REDIRECTIONS,
      clusterRetryStrategy: wait,
      slotsRefreshTimeout: CONNECT_MS,
      redisOptions: each,
    });
  }
  const one = { ...each, db: state.db, enableOfflineQueue: false, retryStrategy: wait };
  if (state.way === "one") return new Redis({ ...one, ...first(state.servers) });
  return new Redis({
    ...one,
    Connector: GuardedSentinelConnector,
    sentinels: [...state.servers],
    name: state.master,
    sentinelRetryStrategy: wait,
    sentinelCommandTimeout: COMMAND_MS,
    ...(sentinelPassword === undefined ? {} : { sentinelPassword }),
    ...(state.tls ? { enableTLSForSentinelMode: true, sentinelTLS: tls.tls ?? {} } : {}),
  });
}

function first(servers: readonly RedisServer[]): RedisServer {
  const [server] = servers;
  if (server === undefined) throw new RangeError("no server");
  return server;
}
