/** The engine as the admin API sees it: reads that return at once, and commands that go through the one door. */

import type { Actor, Command } from "../domain/rollout-types.ts";
import type { ErrorCode } from "../domain/errors.ts";
import type { JournalLine } from "./ports.ts";
import type { RouteStatus } from "./status.ts";

/** What became of a command. A refusal changes nothing. */
export type CommandResult =
  | { readonly ok: true; readonly status: RouteStatus }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string };

/** What a reload did. */
export type ReloadResult =
  | { readonly ok: true; readonly changed: readonly string[]; readonly needsRestart: readonly string[] }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string };

/** HDR histograms of one arm over the window, V2 compressed, base64. */
export interface ArmHistograms {
  readonly all: string;
  readonly successes: string;
  readonly failures: string;
}

/** Reads and commands. */
export interface Control {
  /** Every route, in the order of the configuration. Fresh: what was measured up to now is in it. */
  routes(): readonly RouteStatus[];
  route(name: string): RouteStatus | undefined;
  histograms(name: string): { readonly stable: ArmHistograms; readonly canary: ArmHistograms } | undefined;
  /**
   * One command, as one person's wish. `ifVersion`: refused with SPLIT_STATE_CONFLICT when the state has moved on. Resolves when what
   * was asked is in force and recorded; towards stable it is in force before this returns.
   */
  command(route: string, command: Command, actor: Actor, ifVersion?: number): Promise<CommandResult>;
  journal(options: { readonly limit: number; readonly route?: string }): Promise<readonly JournalLine[]>;
  /** Version of the recorded state. */
  readonly version: number;
}
