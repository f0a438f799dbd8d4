/**
 * What passes between the main thread and a worker that carries traffic. Everything that must be seen by the very next exchange lies in shared
 * words instead (`split-board.ts`, `health-board.ts`), and so does what is counted (`counters.ts`). Plain data: it is cloned on the way.
 */

import type { Place } from "./bind.ts";
import type { Config } from "../config/schema.ts";
import type { Account } from "../domain/account.ts";
import type { ErrorCode } from "../domain/errors.ts";
import type { Millis } from "../domain/units.ts";
import type { Sample, FastLaneSteps, LogFields } from "../engine/ports.ts";
import type { CounterBuffers, RouteBlock } from "./counters.ts";
import type { HardRule } from "../domain/evidence/catastrophic.ts";
import type { EvidenceChunk } from "./evidence-board.ts";
import type { HealthChunk } from "./health-board.ts";
import type { TlsMaterial } from "./pem.ts";
import type { SaltNote, SplitChunk } from "./split-board.ts";

/** The texts of secrets by `secretKey` of their source. Never to be logged. */
export type SecretTexts = ReadonlyMap<string, string>;

/** What a worker is started with. */
export interface Birth {
  readonly config: Config;
  readonly secrets: SecretTexts;
  readonly cookieSecret: string;
  readonly counters: CounterBuffers;
  readonly splits: { readonly chunks: readonly SplitChunk[]; readonly salts: readonly SaltNote[] };
  readonly health: readonly HealthChunk[];
  readonly evidence: readonly EvidenceChunk[];
  readonly connections: SharedArrayBuffer;
  /** Connections by client address; see `addresses.ts`. */
  readonly addresses: SharedArrayBuffer;
  /** Its number among the workers, from 0. */
  readonly index: number;
  readonly places: readonly Place[];
  readonly tls: TlsMaterial;
  /** Ports may be listened on by several sockets, of this worker and of others. */
  readonly isShared: boolean;
}

/** What a worker is told. */
export type Order =
  | {
      readonly type: "configure";
      readonly config: Config;
      readonly secrets: SecretTexts;
      /** Memory for what is new in this configuration. */
      readonly splits: SplitChunk | undefined;
      readonly counters: RouteBlock | undefined;
      readonly health: HealthChunk | undefined;
      readonly evidence: EvidenceChunk | undefined;
    }
  | { readonly type: "salts"; readonly notes: readonly SaltNote[] }
  | { readonly type: "tls"; readonly material: TlsMaterial }
  | {
      readonly type: "close_long_lived";
      readonly route: string;
      readonly how: "drain" | "close";
      readonly deadlineMs: Millis;
    }
  /** So many accounts were taken. */
  | { readonly type: "took"; readonly accounts: number }
  | { readonly type: "retire"; readonly deadlineMs: Millis }
  | { readonly type: "close" };

/** What a worker tells. */
export type Report =
  | { readonly type: "serving"; readonly addresses: readonly string[]; readonly fastLane: FastLaneSteps }
  /** It cannot serve, and will not. */
  | { readonly type: "failed"; readonly code: ErrorCode; readonly message: string }
  /** Answers a `configure`, in the order of these; the old configuration is still in force when there is trouble. */
  | { readonly type: "configured"; readonly trouble: string }
  /** It has taken the canary's weight away. */
  | { readonly type: "crossed"; readonly route: string; readonly rule: HardRule }
  | { readonly type: "samples"; readonly samples: readonly (readonly [string, Sample])[] }
  | { readonly type: "accounts"; readonly accounts: readonly Account[] }
  | { readonly type: "histograms"; readonly chunk: SharedArrayBuffer }
  | {
      readonly type: "log";
      readonly level: "debug" | "info" | "warn" | "error";
      readonly message: string;
      readonly fields: LogFields | undefined;
    }
  | { readonly type: "retired"; readonly cut: number }
  | { readonly type: "closed" };

/** What stands for a secret's source among the texts. */
export function secretKey(source: object): string {
  return JSON.stringify(source);
}

/** Names of a configuration's routes. */
export function namesOf(config: Config): readonly string[] {
  return config.routes.map(({ name }) => name);
}
