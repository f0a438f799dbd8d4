/**
 * The operators' listener, put together: its own server, limits, clocks and, away from this machine, its own TLS, so that nothing that is done
 * to it slows traffic, and nothing of it can be reached through the public listener (reliability.md G).
 *
 * `config/reach.ts` says where it may listen, `call.ts` what is answered, `listener.ts` owns the sockets.
 */

import type { Config } from "../config/schema.ts";
import { exposureOf, isLocalAddress } from "../config/reach.ts";
import { AppError } from "../domain/errors.ts";
import type { Control, ReloadResult } from "../engine/control.ts";
import type { Clock, Dice, Log, Preflight } from "../engine/ports.ts";
import type { ReportShelf } from "../telemetry/report-shelf.ts";
import { createAuth, type Token } from "./auth.ts";
import type { BackupSources } from "./backup-rows.ts";
import type { FlagSources } from "./flag-rows.ts";
import { createCalls, type ServedPages } from "./call.ts";
import { readPair, watchPair } from "./certificate.ts";
import { createConnections } from "./connections.ts";
import type { HistorySources } from "./console-rows.ts";
import type { DrillSources } from "./drill-rows.ts";
import { createEvents } from "./events.ts";
import type { HealthSources } from "./health-rows.ts";
import { createAnswers } from "./idempotency.ts";
import { listen } from "./listen.ts";
import { LIMITS, Listener, type AdminLimits } from "./listener.ts";
import type { MessageSources } from "./message-rows.ts";
import { openApiDocument } from "./openapi.ts";
import { createOriginCheck } from "./origin.ts";
import { createRefusals } from "./refusals.ts";
import { ROWS } from "./routes.ts";

/** What the admin API needs. */
export interface AdminOptions
  extends BackupSources, DrillSources, FlagSources, HealthSources, HistorySources, MessageSources {
  /** `host:port`, `[v6]:port`, `:port` or `unix:PATH`. */
  readonly address: string;
  /** Further names by which it may be called. */
  readonly hosts: readonly string[];
  readonly control: Control;
  /** The configuration in force; `admin.tls`, `.insecure`, `.connections` and `.tokens` are those of the first call. */
  readonly config: () => Config;
  readonly preflight: Preflight;
  /** Everybody who may call, the token of the state folder included. */
  readonly tokens: readonly Token[];
  /** The exposition in the format that the Accept field prefers. */
  readonly metrics: (accept: string) => Promise<{ readonly contentType: string; readonly body: string }>;
  readonly reports: ReportShelf;
  readonly reload: (actor: string) => Promise<ReloadResult>;
  readonly readiness: () => { readonly ready: boolean; readonly checks: Readonly<Record<string, string>> };
  /** Begins the drain and returns. */
  readonly drain: () => void;
  readonly clock: Clock;
  readonly dice: Dice;
  readonly log: Log;
  readonly limits?: Partial<AdminLimits>;
  /** What people are shown in a browser; left out: nothing. */
  readonly pages?: ServedPages;
}

/** The API in service. */
export interface Admin {
  /** Where it listens, with the port given out; `unix:PATH` for a socket. */
  readonly address: string;
  /** These tokens and no others from now on. If they differ, streams of events end: a token that was taken back reads no further. */
  setTokens(tokens: readonly Token[]): void;
  /** Finishes what is in flight, for two seconds at the most, and lets the address go. Never rejects. */
  close(): Promise<void>;
}

/**
 * The admin API, listening. Rejects with SPLIT_LISTEN_FAILED when it cannot, when the address can be reached from other machines although the
 * configuration names no token or no certificate for that (`config/reach.ts`), and when the certificate is none.
 */
export async function createAdmin(options: AdminOptions): Promise<Admin> {
  const { address, control, clock, log } = options;
  const { admin } = options.config();
  const exposure = exposureOf({ ...admin, address });
  if (exposure.length > 0) throw new AppError("SPLIT_LISTEN_FAILED", exposure.join("\n"));
  const limits = { ...LIMITS, connections: admin.connections, ...options.limits };
  const pair = admin.tls === undefined ? undefined : await readPair(admin.tls);
  const madeRoom = createRefusals(
    "an admin connection without a token made room for a newer one",
    clock,
    log,
  );
  const connections = createConnections(limits.connections, (peer) => madeRoom({ address: peer }));
  const auth = createAuth(options.tokens, clock);
  const events = createEvents(control, clock, log);
  const document = openApiDocument();
  const operations = (): readonly string[] => ROWS.map(([name]) => name);
  const calls = createCalls({
    sources: { ...options, metrics: oncePerTurn(options.metrics), document: () => document, operations },
    checkOrigin: createOriginCheck(address, options.hosts),
    auth,
    onKnown: (request) => connections.setKnown(request),
    onRefused: createRefusals("an admin call was refused", clock, log),
    answers: createAnswers(clock),
    events,
    pages: options.pages,
    log,
    maxFields: limits.fields,
  });
  const listener = new Listener({ calls, limits, connections, pair, dice: options.dice, log });
  const bound = await listen(listener.server, address);
  const watch =
    admin.tls === undefined || pair === undefined
      ? undefined
      : await watchPair(admin.tls, pair, (next) => listener.setPair(next), options);
  if (pair === undefined && !isLocalAddress(address)) {
    log.warn(
      "the admin API is served without TLS on an address that other machines can reach: tokens travel in the clear",
      {
        address: bound,
      },
    );
  }
  return {
    address: bound,
    setTokens(tokens) {
      if (auth.setTokens(tokens)) events.close();
    },
    async close() {
      watch?.close();
      events.close();
      await listener.close();
    },
  };
}

/**
 * `render`, at most once in a turn of the event loop: whoever asks in the same turn gets the same text. A scrape costs milliseconds of the thread
 * that also decides, and takes no token.
 */
function oncePerTurn<T>(render: (accept: string) => Promise<T>): (accept: string) => Promise<T> {
  const rendered = new Map<string, Promise<T>>();
  return (accept) => {
    const found = rendered.get(accept);
    if (found !== undefined) return found;
    if (rendered.size === 0) setImmediate(() => rendered.clear());
    const made = render(accept);
    rendered.set(accept, made);
    return made;
  };
}
