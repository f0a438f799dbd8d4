/** What a follower was asked for and its leader carries out: by kind, what goes there and what comes back. All of it is JSON. */

import type { IncidentRecord } from "../domain/incident.ts";
import type { Actor, Command } from "../domain/rollout-types.ts";
import type { AlertResult, SilenceRequest } from "./alerting.ts";
import type { CommandResult } from "./control.ts";
import type { AlertStatus, SilenceStatus } from "./status.ts";

/** `by` is who asks. */
interface Asked {
  readonly command: {
    readonly route: string;
    readonly command: Command;
    readonly actor: Actor;
    readonly ifVersion?: number | undefined;
  };
  readonly acknowledge: { readonly id: string; readonly by: string; readonly comment: string };
  readonly resolve_alert: { readonly id: string; readonly by: string; readonly comment: string };
  readonly silence: { readonly request: SilenceRequest; readonly by: string };
  readonly unsilence: { readonly id: string; readonly by: string };
  readonly resolve_incident: { readonly id: string; readonly by: string; readonly how: string };
}

/** What comes of an order, by kind. */
export interface Outcomes {
  readonly command: CommandResult;
  readonly acknowledge: AlertResult<readonly AlertStatus[]>;
  readonly resolve_alert: AlertResult<readonly AlertStatus[]>;
  readonly silence: AlertResult<SilenceStatus>;
  readonly unsilence: AlertResult<SilenceStatus>;
  readonly resolve_incident: AlertResult<IncidentRecord>;
}

/** What can be ordered. */
export type OrderKind = keyof Asked;
/** An order of these kinds. */
export type OrderOf<K extends OrderKind> = { [P in K]: { readonly kind: P } & Asked[P] }[K];
/** Any order. */
export type Order = OrderOf<OrderKind>;

/** Who carries out which kind. */
export type Handlers<K extends OrderKind> = {
  readonly [P in K]: (order: OrderOf<P>) => Promise<Outcomes[P]>;
};
