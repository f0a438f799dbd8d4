/**
 * This replica among others: who leads, what it tells them, and what it is told. Decides nothing about weights.
 *
 * Whatever the store does, nothing here is waited for by a decision: an exchange with the others goes on beside the ticks, one at a time.
 */

import type { RouteConfig } from "../config/schema.ts";
import { lowersOrStops, takesAway } from "../domain/lowering.ts";
import { refused, type Refusal } from "../domain/refusal.ts";
import type { RolloutState } from "../domain/rollout-types.ts";
import { COUNT_MS, isDue, meetingOf, publishingOf, recordingOf } from "../domain/publishing.ts";
import { byOutcome } from "../domain/window.ts";
import { millis, percentOf, type Millis } from "../domain/units.ts";
import { isAfter } from "./adopting.ts";
import { Asking } from "./asking.ts";
import type { EvidenceKeeper } from "./evidence.ts";
import type { FleetNotices } from "./fleet-notices.ts";
import { Gathering } from "./gathering.ts";
import type { Order, OrderKind, OrderOf, Outcomes } from "./orders.ts";
import type {
  Announcement,
  Clock,
  Headcount,
  Log,
  Merger,
  ReplicaInfo,
  RouteMeasure,
  RouteShare,
  SharedStore,
  Store,
} from "./ports.ts";
import type { Recorder } from "./recorder.ts";
import type { RouteControl } from "./route-control.ts";
import { mergeEncoded } from "./shares.ts";
import type { ArmStats, RouteStats } from "./stats.ts";
import type { FleetStatus, ReplicaStatus } from "./status.ts";

/** An order waits for the leader's answer no longer than this. */
const FORWARD_MS = millis(5000);
/** Measurements that are taken at once. */
const MOST_ENTRIES = 5000;
/** How often is looked whether the store has lost saves. */
const RESTORE_MS = millis(5000);

/** What a replica knows of itself: version in force, weights in percent, requests since start. */
export interface Own {
  readonly applied: number;
  readonly weights: Readonly<Record<string, number>>;
  readonly requests: Readonly<Record<string, number>>;
}

/** What it works with. */
export interface FleetPorts {
  readonly store: SharedStore;
  readonly notices: FleetNotices;
  readonly merger: Merger;
  /** What is told of this replica. */
  readonly own: () => Own;
  /** Carries out what another replica was asked for. */
  readonly run: (order: Order) => Promise<Outcomes[OrderKind] | Refusal>;
  /** This replica has come to lead: takes over what is on record; resolves up to where others' measurements are in it. */
  readonly takeOver: () => Promise<string | undefined>;
  readonly restoreLost: () => Promise<void>;
  /** It leads no more. */
  readonly yield: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** What of a route is told with what was measured. */
interface Measured {
  readonly state: RolloutState;
}
interface Counted {
  readonly config: Pick<RouteConfig, "name">;
  readonly evidence: Pick<EvidenceKeeper, "own" | "canaryKeys">;
}

/** The store as one that is shared; undefined when it is not. */
export function sharedOf(store: Store): SharedStore | undefined {
  // A shared store is told by what only it can do.
  return "lease" in store ? (store as SharedStore) : undefined;
}

/** A merger that needs no other thread. */
export const INLINE: Merger = { merge: (measures) => Promise.resolve(mergeEncoded(measures)) };

/** Has routes go on with what is on record; up to where others' measurements are in it, undefined when in none. */
export async function takeOver(
  routes: readonly RouteControl[],
  recorder: Recorder,
): Promise<string | undefined> {
  await recorder.restoreLost();
  let upTo: string | undefined;
  for (const route of routes) {
    const recorded = recorder.stateOf(route.config.name);
    if (recorded === undefined) continue;
    route.lead(recorded);
    const place = recorded.evidence?.upTo;
    if (place !== undefined && (upTo === undefined || isAfter(place, upTo))) upTo = place;
  }
  return upTo;
}

/** What is measured now is evidence about this: the rollout, and how many alarms it has had. */
function measuredAs({ id, confirmation }: RolloutState): string {
  return `${id}/${confirmation.trips.length}`;
}

/** Takes in what other replicas measured. @param route undefined: it is not configured here */
export function takeShare(route: RouteControl | undefined, share: RouteShare, now: Millis): void {
  if (route === undefined || share.of !== measuredAs(route.state)) return;
  route.stats.takeOthers(share, now);
  route.evidence.takeOthers(share);
}

/** Whether what time brings is this replica's to carry out now: no second raise, and without the lease nothing but what takes away. */
export function mayNow({ state, raising }: RouteControl, to: RolloutState, recorder: Recorder): boolean {
  if (!recorder.leads) return takesAway(state, to);
  const waits = to.weight > state.weight || (recorder.isShared && !lowersOrStops(state, to));
  return !(waits && raising.isRunning);
}

/** What a replica tells of itself. */
export function ownOf(applied: number, routes: readonly RouteControl[]): Own {
  return {
    applied,
    weights: Object.fromEntries(routes.map(({ config, state }) => [config.name, percentOf(state.weight)])),
    requests: Object.fromEntries(routes.map(({ config, stats }) => [config.name, requestsIn(stats)])),
  };
}

function requestsIn({ arms }: RouteStats): number {
  const ofArm = ({ totals }: ArmStats): number => {
    const [successes, failures] = byOutcome(totals.byReason);
    return successes + failures;
  };
  return ofArm(arms.stable) + ofArm(arms.canary);
}

function perSecondOf(before: Own, own: Own, seconds: number): Announcement["perSecond"] {
  const each = Object.entries(own.requests).map(([route, requests]) => {
    const more = Math.max(0, requests - (before.requests[route] ?? 0));
    return [route, seconds > 0 ? more / seconds : 0] as const;
  });
  return Object.fromEntries(each);
}

/** The others. */
export class Fleet {
  readonly #ports: FleetPorts;
  readonly #exchanging = new Asking();
  readonly #looking = new Asking();
  readonly #restoring = new Asking();
  #headcount: Headcount = { replicas: 0, stale: [] };
  /** The fence under which what is on record was taken over; 0: this replica does not lead. */
  #fence = 0;
  #taking = 0;
  readonly #gathering = new Gathering();
  /** Up to where in the stream others' measurements were taken. */
  #place = "";
  #arrived: readonly RouteShare[] = [];
  /** What was told last of this replica, and when. */
  #told: { readonly own: Own; readonly at: Millis } | undefined = undefined;

  constructor(ports: FleetPorts) {
    this.#ports = ports;
    ports.store.onLease(() => this.look());
  }

  /** Whether this replica may raise now: by its own clock it holds the lease, and it has taken over. */
  get leads(): boolean {
    const { isLeader, fence } = this.#ports.store.lease();
    return isLeader && fence === this.#fence;
  }

  /** Looks whether this replica leads. */
  look(): void {
    const { isLeader, fence, leader } = this.#ports.store.lease();
    if (!isLeader) {
      if (this.#fence === 0) return;
      this.#fence = 0;
      this.#ports.log.warn("this replica does not lead any more", { leader });
      this.#ports.yield();
    } else if (fence !== this.#fence && fence !== this.#taking) {
      this.#taking = fence;
      void this.#takeOver(fence);
    }
  }

  async #takeOver(fence: number): Promise<void> {
    this.#place = (await this.#ports.takeOver()) ?? (await this.#endOfStream());
    this.#arrived = [];
    this.#gathering.clear();
    this.#taking = 0;
    this.#fence = fence;
    this.#ports.log.info("this replica leads", { fence });
  }

  /** Where nothing is on record that says where to go on, what lies there is about before. */
  async #endOfStream(): Promise<string> {
    return (await this.#ports.store.take("", MOST_ENTRIES)).at(-1)?.id ?? "";
  }

  /** One round with the others; resolves when it is over. One that still goes on is not begun again. */
  exchange(now: Millis): Promise<void> {
    this.look();
    if (!this.#exchanging.may(now, millis(0))) return Promise.resolve();
    return this.#exchanging.of(now, () => this.#exchange(now));
  }

  async #exchange(now: Millis): Promise<void> {
    const { store, own, notices } = this.#ports;
    const { tellMs, lookMs } = meetingOf(this.#headcount.replicas);
    if (this.#told === undefined || isDue(this.#told.at, tellMs, now))
      await store.announce(this.#announcement(own(), now));
    if (this.#looking.may(now, this.leads ? COUNT_MS : lookMs))
      await this.#looking.of(now, () => this.#lookAround());
    await notices.retry(now);
    const publishing = publishingOf(this.#headcount.replicas);
    if (!this.leads) return this.#gathering.publish(store, publishing, now);
    await this.#takeMeasures();
    for (const { id, order } of await store.forwarded()) void this.#carryOut(id, order);
    if (this.#restoring.may(now, RESTORE_MS)) await this.#restoring.of(now, this.#ports.restoreLost);
  }

  /** Takes what others have measured; it is in the next block of evidence. */
  async #takeMeasures(): Promise<void> {
    const { store, merger } = this.#ports;
    const entries = await store.take(this.#place, MOST_ENTRIES);
    const last = entries.at(-1);
    if (last === undefined) return;
    const shares = await merger.merge(entries.map(({ measure }) => measure));
    this.#place = last.id;
    this.#arrived = [...this.#arrived, ...shares];
  }

  /** What was measured here is for the leader to judge. */
  share(measure: RouteMeasure, { state }: Measured, now: Millis): void {
    if (!this.leads) this.#gathering.take(measure, measuredAs(state), now);
  }

  /** So is what was taken as evidence. */
  shareBlock({ config, state, evidence }: Measured & Counted, now: Millis): void {
    if (this.leads || evidence.own === undefined) return;
    this.#gathering.takeBlock(config.name, measuredAs(state), evidence.own, evidence.canaryKeys, now);
  }

  /** What others have measured since the last call, and up to where. */
  arrived(): { readonly shares: readonly RouteShare[]; readonly upTo: string } {
    const shares = this.#arrived;
    this.#arrived = [];
    return { shares, upTo: this.#place };
  }

  #announcement(own: Own, now: Millis): Announcement {
    const { own: before, at } = this.#told ?? { own, at: now };
    this.#told = { own, at: now };
    const { applied, weights } = own;
    return { applied, weights, perSecond: perSecondOf(before, own, (now - at) / 1000) };
  }

  async #lookAround(): Promise<void> {
    const { store, log } = this.#ports;
    const known = this.#headcount.stale;
    this.#headcount = (await store.headcount()) ?? this.#headcount;
    if (!this.leads || this.#headcount.stale.every((replica) => known.includes(replica))) return;
    for (const { replica, isStale, silentMs } of await store.replicas())
      if (isStale && !known.includes(replica))
        log.warn("a replica is silent: it is not measured with", { replica, silentMs });
  }

  async #carryOut(id: string, order: Order | undefined): Promise<void> {
    const { run, store } = this.#ports;
    await store.answer(id, JSON.stringify(await outcomeOf(order, run)));
  }

  /** Has the leader carry out an order. */
  async forward<K extends OrderKind>(order: OrderOf<K>): Promise<Outcomes[K] | Refusal> {
    const { store } = this.#ports;
    const { leader } = store.lease();
    if (leader === "") return refused("SPLIT_NO_LEADER", unled(order.kind));
    const text = await store.forward(order as Order, FORWARD_MS);
    if (text === undefined) {
      const late = `the leader, ${leader}, has not answered in time: look at the state before you ask again`;
      return refused("SPLIT_NO_LEADER", late);
    }
    const answer = JSON.parse(text) as Answer<K>;
    if (answer.kind === order.kind || order.kind === "command") return answer;
    // Versions of before know commands alone, and name no kind.
    return refused(
      "SPLIT_NO_LEADER",
      `the leader, ${leader}, is of another version, which takes this from nobody else: ask it`,
    );
  }

  /** Between two saves of nothing but time. */
  get recordsEvery(): Millis {
    return recordingOf(this.#headcount.replicas);
  }

  /** Everybody who was heard of of late, by name. */
  async replicas(): Promise<readonly ReplicaStatus[]> {
    return replicaStatuses(await this.#ports.store.replicas());
  }

  get status(): FleetStatus {
    const { store } = this.#ports;
    const { replicas, stale } = this.#headcount;
    return {
      replica: store.replica,
      leader: store.lease().leader,
      leads: this.leads,
      replicas: replicas - stale.length,
      stale,
      isStoreUp: store.isUp,
    };
  }
}

function replicaStatuses(replicas: readonly ReplicaInfo[]): readonly ReplicaStatus[] {
  const heard = replicas.filter(({ isStale }) => !isStale);
  const allOf = (route: string): number =>
    heard.reduce((sum, { perSecond }) => sum + (perSecond[route] ?? 0), 0);
  return replicas.map(({ replica, isLeader, isStale, silentMs, applied, weights, perSecond }) => {
    const routes = Object.entries(weights).map(([route, weight]) => {
      const own = perSecond[route] ?? 0;
      const all = allOf(route);
      return [route, { weight, perSecond: own, share: isStale || all === 0 ? null : own / all }] as const;
    });
    return { replica, isLeader, isStale, silentMs, applied, routes: Object.fromEntries(routes) };
  });
}

function unled(kind: OrderKind): string {
  return kind === "command"
    ? "no replica leads just now, so nothing can rise; rollback, pause and a lower weight work here"
    : "no replica leads just now, and the one that leads keeps alerts and incidents: try again";
}

/** What the leader sends back: with its kind, where it knows that. */
type Answer<K extends OrderKind> = (Outcomes[K] | Refusal) & { readonly kind?: OrderKind };

async function outcomeOf(order: Order | undefined, run: FleetPorts["run"]): Promise<Answer<OrderKind>> {
  if (order === undefined)
    return refused("SPLIT_INPUT_INVALID", "the leader does not know this order: it is of another version");
  const { kind } = order;
  try {
    return { ...(await run(order)), kind };
  } catch (error) {
    const message = `the leader cannot carry this out: ${String(error)}`;
    return { ...refused("SPLIT_INPUT_INVALID", message), kind };
  }
}
