/** What the engine works with, all of it. */

import type {
  Backups,
  Clock,
  Confirm,
  DataPlane,
  Dice,
  IncidentFiles,
  Journal,
  Log,
  Merger,
  Notifier,
  Preflight,
  Probes,
  Reports,
  Store,
} from "./ports.ts";

/** What the controller works with. */
export interface ControllerPorts {
  readonly store: Store;
  readonly journal: Journal;
  readonly plane: DataPlane;
  readonly probes: Probes;
  readonly notifier: Notifier;
  readonly reports: Reports;
  /** Left out: there is nothing to check before a step. */
  readonly preflight?: Preflight | undefined;
  /** Left out: no copies are kept. */
  readonly backups?: Backups | undefined;
  /** Adds up what replicas have measured; left out: it is done here. */
  readonly merger?: Merger | undefined;
  /** Left out: no other program is asked whether the weight may rise. */
  readonly confirm?: Confirm | undefined;
  /** Left out: an incident has no files. */
  readonly incidents?: IncidentFiles | undefined;
  /** The health checks that fail now, in words; left out: there are none. */
  readonly unwell?: () => string | undefined;
  readonly clock: Clock;
  readonly dice: Dice;
  readonly log: Log;
}
