/**
 * One decision: observe, judge, decide, carry out. THE place where the weight moves; a person's command enters by the same door as a tick.
 *
 * Everything up to the carrying out is synchronous: a tick reads, judges, decides and, towards stable, acts before it returns. Nothing it
 * waits for (disk, journal, notifier) stands between a failed verdict and the weight. Ticks do not wait for each other; a raise that is
 * still being recorded is simply not decided again.
 */

import { NOTHING_SET_UP, foundBy } from "../domain/preflight.ts";
import type { RouteStand } from "../domain/flag-change.ts";
import type { HardRule } from "../domain/evidence/catastrophic.ts";
import type { IncidentRecord } from "../domain/incident.ts";
import type { Config } from "../config/schema.ts";
import { IDLE } from "../domain/rollout-move.ts";
import { lowersOrStops, overtakes } from "../domain/lowering.ts";
import type { Refusal } from "../domain/refusal.ts";
import { decide } from "../domain/rollout.ts";
import { passTime } from "../domain/rollout-tick.ts";
import type { Accepted, Actor, Command, RolloutEvent } from "../domain/rollout-types.ts";
import { ruleOfAlarm } from "../domain/tiers.ts";
import { NONE, millis, percentOf, type Millis } from "../domain/units.ts";
import { alertingOf, type AlertResult, type Alerting } from "./alerting.ts";
import { answering, type AnswerKind } from "./answering.ts";
import { refusal, type ArmHistograms, type CommandResult, type Control, type Totals } from "./control.ts";
import type { ControllerPorts } from "./controller-ports.ts";
import { Fleet, INLINE, mayNow, ownOf, sharedOf, takeOver, takeShare } from "./fleet.ts";
import { adopt } from "./following.ts";
import { FleetNotices } from "./fleet-notices.ts";
import type { Handlers, OrderOf, Outcomes } from "./orders.ts";
import type { JournalLine, SharedStore } from "./ports.ts";
import { PlaneTotals } from "./plane-totals.ts";
import { NO_DOCUMENT, Recorder, type RecorderStart, type SharedRecord } from "./recorder.ts";
import { notHere, restoreRoutes, type RestoreOrder, type RestoreResult } from "./restore.ts";
import { RouteControl } from "./route-control.ts";
import type { RoutePorts } from "./route-ports.ts";
import { Routing } from "./routing.ts";
import { SafetyDesk } from "./safety.ts";
import { healthNotice, storeNotice } from "./telling.ts";
import type { ReplicaStatus, RouteStatus } from "./status.ts";
import { shownHistograms } from "./view.ts";

/** The time between two ticks. */
export const TICK_MS = millis(1000);
/** A gap between ticks above it means that the process was stopped: what was measured in it says nothing (reliability.md 37). */
const GAP_MS = 5 * TICK_MS;
/** The time in service that a tick may stand for. */
const LONGEST_MS = millis(2 * TICK_MS);

/**
 * A controller with what the store remembers in force: each route at its recorded weight, never above it. A corrupt record means weight 0
 * everywhere, said loudly. Rejects with SPLIT_STATE_UNWRITABLE when the store cannot be read at all.
 */
export async function openController(config: Config, ports: ControllerPorts): Promise<Controller> {
  const loaded = await ports.store.load();
  const document = loaded.kind === "found" ? loaded.document : undefined;
  const controller = new Controller(config, ports, document ?? NO_DOCUMENT);
  controller.tellAgain();
  if (loaded.kind === "corrupt") await controller.reportCorrupt(loaded.detail, loaded.keptAs);
  return controller;
}

/** The engine's heart. */
export class Controller implements Control {
  readonly #ports: ControllerPorts;
  readonly #recorder: Recorder;
  /** Undefined where nobody else has the state. */
  readonly #fleet: Fleet | undefined;
  readonly #routing: Routing;
  readonly safety: SafetyDesk;
  readonly #routePorts: RoutePorts;
  readonly #routes = new Map<string, RouteControl>();
  readonly alerting: Alerting;
  readonly #answers: Handlers<AnswerKind>;
  #config: Config;
  #lastTick: Millis;
  readonly #totals = new PlaneTotals();

  constructor(config: Config, ports: ControllerPorts, found: RecorderStart) {
    this.#config = config;
    this.#ports = ports;
    this.#lastTick = ports.clock.mono();
    this.#routing = new Routing((split) => ports.plane.apply(split));
    const shared = sharedOf(ports.store);
    const notices = shared && new FleetNotices(shared, ports.notifier, () => ports.clock.mono(), ports.log);
    const notifier = notices ?? ports.notifier;
    const onHealth = (healthy: boolean, detail: string): void =>
      notifier.notify(healthNotice(ports.dice, healthy, detail));
    this.#recorder = new Recorder({ ...ports, shared: this.#sharedRecord(shared), onHealth }, found);
    this.#fleet = shared && notices && this.#fleetOver(shared, notices);
    // A switch is told by the replica at which it was thrown.
    this.safety = new SafetyDesk({
      ...ports,
      recorder: this.#recorder,
      environment: () => this.#config.environment,
      routes: () => [...this.#routes.values()],
      publish: (routes) => this.#routing.set(...routes.map((route) => route.split())),
    });
    this.#routePorts = {
      ...ports,
      notifier,
      fleet: () => this.#fleet?.status ?? null,
      routing: this.#routing,
      recorder: this.#recorder,
      environment: () => this.#config.environment,
      bulletins: () => this.#config.bulletins,
      calendar: () => ({ wall: ports.clock.wall(), freezes: this.#config.freezes }),
      safety: (route) => this.safety.of(route),
      answersEmergency: () => this.#config.safety.emergency.answer !== "stable",
      unwell: () => ports.unwell?.(),
    };
    const routes = (): readonly RouteControl[] => [...this.#routes.values()];
    this.#answers = answering({ ...ports, routes });
    this.alerting = alertingOf(routes, (order) => this.#answer(order));
    ports.plane.onCrossing((route, rule) => void this.#alarmed(route, rule));
    this.reconfigure(config);
  }

  #sharedRecord(store: SharedStore | undefined): SharedRecord | undefined {
    if (store === undefined) return undefined;
    return {
      store,
      leads: () => this.#fleet?.leads === true,
      // Nothing is offered before there is one.
      every: () => this.#fleet!.recordsEvery,
      onAdopted: (states) => {
        // What was measured up to here is about what was in force up to here.
        const now = this.#observe();
        for (const [name, state] of Object.entries(states)) adopt(this.#routes.get(name), state, now);
      },
      onSafety: (known, theirs) => this.safety.adopt(known, theirs),
    };
  }

  #fleetOver(store: SharedStore, notices: FleetNotices): Fleet {
    return new Fleet({
      ...this.#ports,
      store,
      notices,
      own: () => ownOf(this.version, [...this.#routes.values()]),
      run: (order) =>
        order.kind === "command"
          ? this.command(order.route, order.command, order.actor, order.ifVersion)
          : this.#answer(order),
      merger: this.#ports.merger ?? INLINE,
      takeOver: () => takeOver([...this.#routes.values()], this.#recorder),
      restoreLost: () => this.#recorder.restoreLost(),
      yield: () => this.#recorder.yield(),
    });
  }

  /** A thread has taken a canary's weight away: what that means is decided here, and now. */
  async #alarmed(name: string, alarm: HardRule): Promise<void> {
    const route = this.#routes.get(name);
    if (route === undefined) return;
    const now = this.#ports.clock.mono();
    this.#observe(now);
    const event = { type: "alarm", rule: ruleOfAlarm(route.config.rollback.onAny, alarm) } as const;
    route.judgeAlarm(now, event.rule, LONGEST_MS);
    this.#fleet?.shareBlock(route, now);
    const decision = decide(route.state, event, route.policy(), route.stableCondition(now));
    const done =
      decision.ok &&
      decision.effects.length > 0 &&
      mayNow(route, decision.state, this.#recorder) &&
      route.carryOut(decision, "sluice", now);
    // Nobody may have meant it by now: then what the thread took away is given back.
    if (route.state.weight > NONE) this.#routing.set(route.split());
    await done;
  }

  get version(): number {
    return this.#recorder.version;
  }

  /** How the recording goes: why the last save failed, if it did, and whether the last line of the journal was written. */
  get recording(): Pick<Recorder, "trouble" | "journals"> {
    return this.#recorder;
  }

  /** Whether all that is in force is on record. */
  get isRecorded(): boolean {
    return this.#recorder.isCurrent;
  }

  /** Puts another configuration in force: rules and policies at once, running plans as they were. A new route starts idle. */
  reconfigure(config: Config): void {
    this.#config = config;
    const names = new Set(config.routes.map((route) => route.name));
    for (const name of this.#routes.keys()) if (!names.has(name)) this.#routes.delete(name);
    const ordered = config.routes.map((route) => {
      const known = this.#routes.get(route.name);
      if (known !== undefined) known.config = route;
      return known ?? new RouteControl(route, this.#recorder.stateOf(route.name), this.#routePorts);
    });
    this.#routes.clear();
    for (const route of ordered) this.#routes.set(route.config.name, route);
    this.#routing.keepOnly(names);
    this.#routing.set(...ordered.map((route) => route.split()));
  }

  /** Asks the confirm webhook when it alone is missing, and decides on a go. */
  async #askToConfirm(route: RouteControl, now: Millis): Promise<void> {
    const { confirm } = this.#ports;
    const hook = route.config.confirm;
    if (confirm === undefined || hook === undefined || !route.mayAsk(now, hook.interval)) return;
    const { id: rollout, step, version, weight } = route.state;
    const to = route.state.steps[step + 1]?.weight ?? weight;
    const about = { rollout, version, step, from: percentOf(weight), to: percentOf(to) };
    const { go, detail } = await route.confirming.of(now, () => confirm.ask(route.config.name, hook, about));
    if (!go || route.state.id !== rollout || !this.#isCurrent(route)) return;
    const event = { type: "confirmed", step, words: `the confirm webhook says go: ${detail}` } as const;
    const at = this.#ports.clock.mono();
    const decision = decide(route.state, event, route.policy(), route.stableCondition(at), route.calendar());
    if (decision.ok) await route.carryOut(decision, "sluice", at);
  }

  /** One round over every route. Towards stable everything is in force when this returns; resolves when all of it is recorded. */
  tick(): Promise<unknown> {
    const now = this.#ports.clock.mono();
    const passed = now - this.#lastTick;
    this.#lastTick = now;
    this.#observe(now);
    this.#takeOthers(now);
    this.#recorder.retry();
    // Time for which the process stood still was no time in service.
    const elapsed = millis(Math.min(Math.max(0, passed), LONGEST_MS));
    const carried: Promise<unknown>[] = [];
    for (const route of this.#routes.values()) {
      if (passed > GAP_MS) route.stats.since = now;
      try {
        const done = this.#decideTick(route, now, elapsed);
        if (done !== undefined) carried.push(done);
        const told = this.#recorder.leads ? route.tellDue(now) : undefined;
        if (told !== undefined) carried.push(told);
        if (!this.#recorder.leads) continue;
        if (route.checks.areDue(route.state, now)) void this.#checkBeforehand(route);
        void this.#askToConfirm(route, now);
      } catch (error) {
        // A bug that one route meets must not leave the others without a judge.
        this.#ports.log.error("a route could not be judged", { route: route.config.name, error });
      }
    }
    return Promise.all([...carried, this.#fleet?.exchange(now)]);
  }

  /** Takes in what other replicas measured: it is judged with what was measured here. */
  #takeOthers(now: Millis): void {
    if (this.#fleet?.leads !== true) return;
    const { shares, upTo } = this.#fleet.arrived();
    for (const share of shares) takeShare(this.#routes.get(share.route), share, now);
    for (const route of this.#routes.values()) route.evidence.upTo = upTo;
  }

  #decideTick(route: RouteControl, now: Millis, elapsedMs: Millis): Promise<boolean> | undefined {
    const verdict = route.judge(now, elapsedMs, LONGEST_MS);
    this.#fleet?.shareBlock(route, now);
    const event = { type: "tick", verdict, elapsedMs, responses: route.evidence.responses } as const;
    const decision = passTime(
      route.state,
      event,
      route.policy(),
      route.stableCondition(now),
      route.calendar(),
    );
    if (decision.effects.length === 0 || !mayNow(route, decision.state, this.#recorder)) {
      const unmoved =
        decision.effects.length === 0 ? decision.state : { ...route.state, clocks: verdict.clocks };
      route.passTime(unmoved);
      return undefined;
    }
    return route.carryOut(decision, "sluice", now);
  }

  /** Whether a route is still this one, and not another of its name. */
  #isCurrent(route: RouteControl): boolean {
    return this.#routes.get(route.config.name) === route;
  }

  /** Runs what is to be checked before a step, and decides on what was found. Time goes on meanwhile, and so do rollbacks. */
  async #checkBeforehand(route: RouteControl): Promise<void> {
    const { id, step, version } = route.state;
    const { preflight } = this.#ports;
    const results = await route.checks.of(
      this.#ports.clock.mono(),
      () => preflight?.run(route.config.name, version) ?? [NOTHING_SET_UP],
    );
    // Nothing was found where the checks were broken off: they are run again, if need be by the next process.
    if (results.length === 0 || route.state.id !== id || !this.#isCurrent(route)) return;
    const now = this.#ports.clock.mono();
    const event = { type: "preflight", step, ...foundBy(results) } as const;
    const decision = decide(route.state, event, route.policy(), route.stableCondition(now), route.calendar());
    if (decision.ok) await route.carryOut(decision, "sluice", now);
  }

  #observe(now = this.#ports.clock.mono()): Millis {
    const measure = this.#ports.plane.drain();
    for (const each of measure.routes) {
      const route = this.#routes.get(each.route);
      route?.stats.take(each, now);
      route?.evidence.take(each);
      if (route !== undefined) this.#fleet?.share(each, route, now);
    }
    this.#totals.take(measure);
    return now;
  }

  /** Before a start there is a backup, or no start: its name, why not, or null where none are kept. */
  async #backedUp({ raising }: RouteControl, isForced: boolean): Promise<CommandResult | string | null> {
    const { turn } = raising;
    const kept = await this.#ports.backups?.create("before_start");
    // Force was given for what was known before: whatever was decided meanwhile takes precedence, also while it is being recorded.
    if (raising.turn !== turn || raising.isRunning) return refusal("SPLIT_STATE_CONFLICT", OVERTAKEN);
    if (kept === undefined) return null;
    if (kept.ok) return kept.name;
    if (isForced) return null;
    const message = `no backup could be made, so nothing was started: ${kept.detail}`;
    return refusal("SPLIT_STATE_UNWRITABLE", message);
  }

  // Not a moment later than it was asked: what lowers is in force when this returns.
  command(name: string, command: Command, actor: Actor, ifVersion?: number): Promise<CommandResult> {
    const route = this.#routes.get(name);
    if (route === undefined)
      return Promise.resolve(refusal("SPLIT_NOT_FOUND", `there is no route named "${name}"`));
    return this.#carriedOut(route, command, actor, ifVersion);
  }

  async #carriedOut(
    route: RouteControl,
    command: Command,
    actor: Actor,
    ifVersion: number | undefined,
  ): Promise<CommandResult> {
    const { name } = route.config;
    // Whatever could raise waits for the raises before it, and is decided on what came of them; what lowers or stops overtakes them.
    while (route.raising.isRunning && !overtakes(command, route.state)) await route.raising.settled();
    const starts = command.type === "start" || command.type === "retry";
    // Whoever rolls back or pauses means whatever is under way, too, also where there is nothing else to be done.
    if (command.type === "rollback" || command.type === "pause") route.raising.overtake();
    const decision = this.#asked(route, command, actor, ifVersion);
    if (!("effects" in decision)) return decision;
    if (!this.#isOurs(route, decision))
      return this.#fleet!.forward({ kind: "command", route: name, command, actor, ifVersion });
    // Nothing else waits for a backup: what lowers is in force before this returns.
    const backup = starts ? await this.#backedUp(route, command.force) : null;
    if (backup !== null && typeof backup !== "string") return backup;
    const now = this.#ports.clock.mono();
    if (decision.effects.length > 0 && !(await route.carryOut(decision, actor.name, now))) {
      return refusal("SPLIT_STATE_UNWRITABLE", "the change could not be recorded, so it was not made");
    }
    if (backup !== null) void route.note("BACKUP_CREATED", actor.name, backup);
    return { ok: true, status: route.status(this.#ports.clock.mono()) };
  }

  /** Whether this replica may carry out what somebody asks for; what it may not, the leader may. */
  #isOurs({ state }: RouteControl, decision: Accepted): boolean {
    return this.#recorder.leads || decision.effects.length === 0 || lowersOrStops(state, decision.state);
  }

  /** What comes of a command now, or why nothing does. */
  #asked(
    route: RouteControl,
    command: Command,
    actor: Actor,
    ifVersion: number | undefined,
  ): Accepted | CommandResult {
    const { revision } = route.state;
    if (ifVersion !== undefined && ifVersion !== revision)
      return refusal("SPLIT_STATE_CONFLICT", `the state is at version ${revision}, not ${ifVersion}`);
    const now = this.#ports.clock.mono();
    const event: RolloutEvent = {
      ...command,
      actor,
      rolloutId: this.#ports.dice.token(9),
      at: new Date(this.#ports.clock.wall()).toISOString(),
    };
    this.#observe(now);
    const decision = decide(route.state, event, route.policy(), route.stableCondition(now), route.calendar());
    if (decision.ok) return decision;
    // Whoever signs without the right to is worth a line, though nothing came of it.
    if (decision.code === "SPLIT_FORBIDDEN") void route.note("GATE_REFUSED", actor.name, decision.message);
    return refusal(decision.code, decision.message);
  }

  /** Puts what a backup holds in force, and raises nothing. */
  restore(order: RestoreOrder): Promise<RestoreResult> {
    const now = this.#ports.clock.mono();
    this.#observe(now);
    if (!this.#recorder.leads) return Promise.resolve(notHere(this.#fleet!.status.leader));
    return restoreRoutes([...this.#routes.values()], order, now);
  }

  /** Writes a line about a route into the journal that changes nothing; resolves whether it is durable. */
  async note(name: string, event: string, actor: string, reason: string): Promise<boolean> {
    return (await this.#routes.get(name)?.note(event, actor, reason)) ?? false;
  }

  /** Forgets what was recorded of a route that is not configured. */
  forget(name: string): void {
    if (!this.#routes.has(name)) this.#recorder.forget(name);
  }

  /** What was recorded before the last end may not have been told. */
  tellAgain(): void {
    for (const route of this.#routes.values()) route.tellAgain();
  }

  incidents(): readonly IncidentRecord[] {
    return [...this.#routes.values()].flatMap(({ incidents }) => incidents);
  }

  /** Carries out what a person says to alerts and incidents, or has the leader do it, which keeps them. */
  #answer<K extends AnswerKind>(order: OrderOf<K>): Promise<Outcomes[K] | Refusal> {
    return this.#recorder.leads ? this.#answers[order.kind](order) : this.#fleet!.forward(order);
  }

  resolveIncident(id: string, { name: by }: Actor, how: string): Promise<AlertResult<IncidentRecord>> {
    return this.#answer({ kind: "resolve_incident", id, by, how });
  }

  routes(): readonly RouteStatus[] {
    const now = this.#observe();
    return [...this.#routes.values()].map((route) => route.status(now));
  }

  route(name: string): RouteStatus | undefined {
    const now = this.#ports.clock.mono();
    this.#observe(now);
    return this.#routes.get(name)?.status(now);
  }

  /** How a route stands and splits now, for flags; undefined when there is none of this name. */
  standOf(name: string): RouteStand | undefined {
    const route = this.#routes.get(name);
    if (route === undefined) return undefined;
    // Put in force when the route came.
    const { rollout, salt, weight } = this.#routing.of(name)!;
    return { phase: route.state.phase, rollout, salt, weight };
  }

  histograms(name: string): { readonly stable: ArmHistograms; readonly canary: ArmHistograms } | undefined {
    const route = this.#routes.get(name);
    if (route === undefined) return undefined;
    const now = this.#ports.clock.mono();
    this.#observe(now);
    return shownHistograms(route.stats, now);
  }

  journal(options: { readonly limit: number; readonly route?: string }): Promise<readonly JournalLine[]> {
    return this.#ports.journal.read(options);
  }

  async replicas(): Promise<readonly ReplicaStatus[]> {
    return (await this.#fleet?.replicas()) ?? [];
  }

  totals(): Totals {
    this.#observe(this.#ports.clock.mono());
    return {
      routes: [...this.#routes.values()].map(({ config, stats }) => stats.totalsOf(config.name)),
      ...this.#totals.totals,
      storeErrors: this.#recorder.storeErrors,
      journalErrors: this.#recorder.journalErrors,
    };
  }

  /** Writes what still waits to be recorded, once. */
  close(): Promise<void> {
    for (const { alerts } of this.#routes.values()) alerts.flush();
    return this.#recorder.finish();
  }

  /** Says loudly that the record could not be read and that every route starts at weight 0. */
  async reportCorrupt(detail: string, keptAs: string): Promise<void> {
    const { log, notifier } = this.#ports;
    const notice = storeNotice(
      this.#ports.dice,
      "emergency",
      "state_corrupt",
      `${detail}; the file is kept as ${keptAs}`,
    );
    log.error(notice.summary, { detail, keptAs });
    notifier.notify({ ...notice, details: { detail, keptAs } });
    const point = { phase: IDLE.phase, step: IDLE.step, weight: IDLE.weight };
    const entry = { event: "STATE_CORRUPT", route: "", rollout: "", actor: "sluice", reason: detail };
    await this.#recorder.journal({ ...entry, before: point, after: point, details: { keptAs } });
  }
}

const OVERTAKEN = "something else was decided while the backup was made: look again";
