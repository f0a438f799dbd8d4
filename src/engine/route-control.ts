/**
 * One route in the engine: its configuration, its rollout's state, what it measured, and the carrying out of what was decided for it.
 *
 * Holds the one rule about racing decisions: a raise is in force only after it was recorded, and until then the state of before stays;
 * whatever lowers in the meantime takes its place, and the raise, once recorded, finds itself overtaken and is written back.
 */

import type { RouteConfig } from "../config/schema.ts";
import type { IncidentRecord } from "../domain/incident.ts";
import { judge, type Verdict } from "../domain/judge.ts";
import { IDLE } from "../domain/rollout-move.ts";
import type {
  Accepted,
  Calendar,
  RollbackPolicy,
  RolloutState,
  StableCondition,
} from "../domain/rollout-types.ts";
import { waitOf } from "../domain/rollout-tick.ts";
import { frozenBy, type Throws } from "../domain/safety.ts";
import { NONE, millis, type Millis } from "../domain/units.ts";
import type { Reading } from "../domain/window.ts";
import { isSameDecision, longestClocks } from "./adopting.ts";
import { AlertKeeper } from "./alerts.ts";
import { Asking, StepChecks } from "./asking.ts";
import type { Draft } from "./bulletins.ts";
import { carryOut, type Hands } from "./effects.ts";
import { entryOf, type Entered } from "./entry.ts";
import { EvidenceKeeper, stepOf } from "./evidence.ts";
import type { JournalEntry, Notice, RecordedState } from "./ports.ts";
import { rolloutIn } from "./recorder.ts";
import type { RoutePorts } from "./route-ports.ts";
import { splitOf, type RouteSplit } from "./routing.ts";
import { FailureMarks } from "./marks.ts";
import { Raising } from "./raising.ts";
import {
  failedBy,
  isRolledBack,
  isRunning,
  knownClocks,
  policyOf,
  readingsOf,
  stableCondition,
} from "./read.ts";
import { RouteStats } from "./stats.ts";
import type { CheckStatus, RollbackEvidence, RouteStatus } from "./status.ts";
import { Telling } from "./telling.ts";
import { wayOf } from "./way.ts";
import {
  SHOWN_WINDOW,
  bulletinView,
  checkStatuses,
  evidenceOf,
  figuresOf,
  routeStatus,
  type Seen,
} from "./view.ts";

const UNJUDGED: Verdict = { kind: "inconclusive", checks: [], clocks: {} };

/** One route's rollout in motion. */
export class RouteControl {
  readonly stats = new RouteStats();
  readonly evidence: EvidenceKeeper;
  readonly alerts: AlertKeeper;
  readonly #ports: RoutePorts;
  readonly #started: Millis;
  #config: RouteConfig;
  #state: RolloutState;
  #verdict: Verdict = UNJUDGED;
  #judgedAt: Millis;
  readonly checks = new StepChecks();
  readonly confirming = new Asking();
  readonly raising = new Raising();
  readonly #telling: Telling;
  #lastRollback: RollbackEvidence | null = null;
  /** Decisions that are being carried out. */
  #carrying = 0;

  constructor(config: RouteConfig, recorded: RecordedState | undefined, ports: RoutePorts) {
    this.#config = config;
    this.#ports = ports;
    this.#state = recorded === undefined ? IDLE : rolloutIn(recorded);
    this.alerts = new AlertKeeper(config, ports, this.#state, recorded?.alerts);
    // What is silenced, and which incident it is, alerts know.
    this.#telling = new Telling(config.name, { ...ports, notifier: this.alerts }, recorded ?? {});
    this.#started = ports.clock.mono();
    this.#judgedAt = this.#started;
    this.stats.since = this.#started;
    this.evidence = new EvidenceKeeper(config.name, config.rollback.onAny, ports.plane.evidence);
    if (isRunning(this.#state)) this.evidence.begin(this.#state, recorded?.evidence);
  }

  get config(): RouteConfig {
    return this.#config;
  }

  set config(config: RouteConfig) {
    this.#config = config;
    this.alerts.config = config;
    this.evidence.follow(config.rollback.onAny, this.#state);
  }

  get state(): RolloutState {
    return this.#state;
  }

  /** How the route splits by its present state. */
  split(): RouteSplit {
    return splitOf(this.config, this.#state, this.safety, this.#ports.answersEmergency());
  }

  /** The safety switches that it is under. */
  get safety(): Throws {
    return this.#ports.safety(this.config.name);
  }

  /** An emergency has begun or ended, and its split has followed: what was measured before says nothing about what comes. */
  moved(now: Millis, isEmergency: boolean): void {
    this.stats.since = now;
    this.evidence.reweigh(this.#state);
    if (isEmergency) this.closeLongLived();
  }

  closeLongLived(): void {
    const { onRollback, deadline } = this.config.longLived;
    this.#ports.plane.closeLongLived(this.config.name, onRollback, deadline);
  }

  policy(): RollbackPolicy {
    return policyOf(this.config.rollback);
  }

  /** How stable is doing next to the canary. */
  stableCondition(now: Millis): StableCondition {
    return stableCondition(
      this.#ports.probes.health(this.config.name, "stable"),
      (arm) => this.#read(arm, SHOWN_WINDOW, now),
      // Asked for only while a rollback is being verified.
      this.#state.verifyLeftMs > 0,
    );
  }

  #read(arm: "stable" | "canary", window: Millis, now: Millis): Reading {
    return this.stats.arms[arm].window.read(window, now, this.stats.since);
  }

  /**
   * The verdict on what was measured up to now; kept for status.
   *
   * @param elapsedMs time in service since the last tick
   * @param longestMs a block of evidence covers no more than this: for longer the process stood still
   */
  judge(now: Millis, elapsedMs: Millis, longestMs: Millis): Verdict {
    const blockMs = millis(Math.min(longestMs, Math.max(0, now - this.#judgedAt)));
    this.#judgedAt = now;
    this.evidence.commit(blockMs, this.config.rollback.loopLag);
    const measured = readingsOf(this.config.name, this.#ports.probes, (arm, window) =>
      this.#read(arm, window, now),
    );
    this.alerts.look(this.#state, elapsedMs, measured);
    this.#verdict = judge({
      ...measured,
      rules: this.config.rollback.onAny,
      step: stepOf(this.#state),
      weight: this.#state.weight,
      readings: this.evidence.readings,
      keys: this.evidence.keys,
      sharedCause: this.config.rollback.sharedCause,
      around: this.alerts.around(measured.allHealthy),
      lasting: this.alerts.lasting,
      clocks: knownClocks(this.#state, this.config.rollback.onAny),
      elapsedMs,
    });
    const { checks } = this.#verdict;
    if (checks.some(({ held }) => held !== undefined))
      this.#telling.held(checks, () => this.#checks(now, this.#state), this.#state, now);
    return this.#verdict;
  }

  /** A thread has taken the weight away by this rule, between two ticks: the verdict on everything up to here says so. */
  judgeAlarm(now: Millis, rule: string, longestMs: Millis): void {
    this.#verdict = failedBy(this.judge(now, millis(0), longestMs), rule);
  }

  #checks(now: Millis, { weight }: RolloutState): readonly CheckStatus[] {
    return checkStatuses(this.#seen(now), weight);
  }

  /** A tick in which nothing was decided: time passed, clocks moved. */
  passTime(state: RolloutState): void {
    this.#state = state;
    // While a raise is being recorded, the record is the raise's; and of several replicas the leader counts the time.
    const { isNew } = this.alerts;
    const isDue = state.phase !== "idle" || isNew;
    // While something is amiss, a new leader is to know for how long.
    const mayWait = !isNew && state.confirmation.phase === "armed" && Object.keys(state.clocks).length === 0;
    if (isDue && !this.raising.isRunning && this.#ports.recorder.leads)
      this.#ports.recorder.offer(this.config.name, this.#recorded(state), mayWait);
    this.alerts.flush();
  }

  /** What is recorded with `state`. @param draft a decision that is in force only once it is recorded */
  #recorded(state: RolloutState, draft?: Draft): RecordedState {
    // What was measured says nothing about more traffic.
    const evidence = state.weight > this.#state.weight ? undefined : this.evidence.recorded;
    const told = this.#telling.recorded(draft);
    return this.alerts.on({ ...state, ...told, ...(evidence === undefined ? {} : { evidence }) });
  }

  /** Records what was said about alerts and silences; resolves whether it is durable. */
  async recordAlerts(): Promise<boolean> {
    while (this.raising.isRunning) await this.raising.settled();
    return this.#ports.recorder.record(this.config.name, this.#recorded(this.#state));
  }

  /** Puts a decision in force, in its order; resolves whether it came into force. Towards stable it is when this returns. */
  carryOut(decision: Accepted, actor: string, now: Millis): Promise<boolean> {
    const before = this.#state;
    const to = decision.state;
    const { recorder, reports, routing } = this.#ports;
    const way = wayOf(before, decision, recorder);
    if (way === undefined) return Promise.resolve(false);
    const { raises, pending, effects, isRecordedFirst } = way;
    this.alerts.decided(decision);
    const turn = raises ? this.raising.turn : this.raising.overtake();
    if (!raises) this.#commit(to);
    const entries: JournalEntry[] = [];
    const by = decision.by ?? actor;
    let draft: Draft | undefined;
    const commitRaise = (): void => {
      this.raising.overtake();
      this.#commit(to);
      if (draft !== undefined) this.#telling.adopt(draft);
    };
    const hands: Hands = {
      setWeight: () => {
        if (this.raising.turn !== turn) return false;
        if (raises) commitRaise();
        routing.set(this.split());
        if (decision.effects.some(({ type }) => type === "evidence"))
          this.#noteRollback(before, to, decision.reason, actor, now);
        return true;
      },
      resetWindows: () => {
        this.stats.since = now;
        this.evidence.reweigh(to);
      },
      resetAlarm: () => this.evidence.trip(),
      closeLongLived: () => this.closeLongLived(),
      save: async () => {
        draft = this.#draft(decision, before, by, now);
        if (!raises && draft !== undefined) this.#telling.adopt(draft);
        const state = raises ? this.#recorded(to, draft) : this.#recorded(this.#state);
        const isRecorded = await recorder.record(this.config.name, state, pending);
        if (raises && !isRecorded && this.raising.turn === turn) this.raising.unanswered(state, sayLate);
        // A raise that was overtaken while it was being recorded goes no further.
        if (!isRecorded || this.raising.turn !== turn) return false;
        if (isRecordedFirst) commitRaise();
        return true;
      },
      journal: (event) => {
        const { reason } = decision;
        const about = { from: before, reason, actor: by, message: draft?.notice.summary };
        const entry = this.#entry(event, to, now, about);
        entries.push(entry);
        return recorder.journal(entry);
      },
      notify: () => void (draft && this.#telling.tell(draft.notice)),
      // Noted when its weight was set.
      evidence: () => void reports.write({ ...this.#lastRollback! }),
    };
    const sayLate = (): void => {
      for (const effect of effects) if (effect.type === "journal") void hands.journal(effect.event);
      if (draft !== undefined) this.#telling.tell(draft.notice);
    };
    this.#carrying++;
    const done = carryOut(effects, hands, isRecordedFirst).finally(() => {
      this.#carrying--;
      // It is on record by now that people were told. Behind the decision's own line.
      this.alerts.flush();
    });
    return raises ? this.raising.run(done, () => this.#takeBack(to, entries)) : done;
  }

  /** What people are told of a decision; undefined: nothing. */
  #draft({ effects, state: to, reason }: Accepted, from: RolloutState, actor: string, now: Millis) {
    const tell = effects.find((effect) => effect.type === "notify");
    return (
      tell &&
      this.#telling.draft({
        ...tell,
        from,
        to,
        actor,
        reason,
        calendar: this.calendar(),
        figures: figuresOf(this.#seen(now)),
        failed: this.#checks(now, to).filter((check) => check.verdict === "failed"),
        rollback: this.#lastRollback,
      })
    );
  }

  /** Tells again what was recorded, for it may not have been told. */
  tellAgain(): void {
    this.#telling.again();
  }

  /** Tells what the clock has to tell; undefined: nothing. Another raise's record is not touched: it is told after that. */
  tellDue(now: Millis): Promise<void> | undefined {
    // What the clock tells of a decision comes behind the decision's own line.
    if (this.#carrying > 0 || !this.#telling.isDue(this.#state, this.#ports.clock.wall())) return undefined;
    const calendar = this.calendar();
    const environment = this.#ports.environment();
    const view = bulletinView(this.#seen(now), { environment, calendar, alerts: this.alerts.words });
    const notices = this.#telling.due(view);
    return this.#say(notices, "sluice");
  }

  get incidents(): readonly IncidentRecord[] {
    return this.#telling.bulletins.book.incidents;
  }

  /** A person says that an incident is over; undefined: none of this id is open. */
  async resolveIncident(id: string, by: string, how: string): Promise<IncidentRecord | undefined> {
    while (this.raising.isRunning) await this.raising.settled();
    const done = this.#telling.resolve(id, by, how);
    if (done !== undefined) await this.#say([done.notice], by);
    return done?.incident;
  }

  /** Recorded first, then told. */
  async #say(notices: readonly Notice[], by: string): Promise<void> {
    await this.#ports.recorder.record(this.config.name, this.#recorded(this.#state));
    for (const notice of notices) {
      this.#telling.tell(notice);
      const event = notice.audience === "stakeholders" ? "STAKEHOLDERS_TOLD" : notice.event;
      void this.note(event, by, notice.summary);
    }
  }

  /** Keeps a raise from being mistaken for the record when it failed or was overtaken. */
  #takeBack(to: RolloutState, entries: readonly JournalEntry[]): void {
    const { recorder } = this.#ports;
    recorder.offer(this.config.name, this.#recorded(this.#state));
    // Its line comes behind the save, which other replicas have had in force: it stays told, and is tried until it is written.
    if (recorder.isShared && entries.length > 0 && !recorder.journals)
      void this.note("RAISE_TAKEN_BACK", "sluice", "the journal could not be written", to);
    else for (const entry of entries) recorder.withdraw(entry);
  }

  /** When this route's weight may rise, as of now. */
  calendar(): Calendar {
    const { calendar, unwell } = this.#ports;
    return {
      ...calendar(),
      confirms: this.config.confirm !== undefined,
      frozen: frozenBy(this.safety) ?? undefined,
      unwell: stepOf(this.#state)?.gate?.health === true ? unwell() : undefined,
    };
  }

  /** Whether the confirm webhook is to be asked now: it alone is missing, and was not asked within `interval`. */
  mayAsk(now: Millis, interval: Millis): boolean {
    const wait = waitOf(this.#state, this.#verdict.kind, this.calendar());
    return wait?.for === "webhook" && this.confirming.may(now, interval);
  }

  /** Writes something into the journal. @param from what has changed; left out: nothing has */
  note(event: string, actor: string, reason: string, from = this.#state): Promise<boolean> {
    const about = { from, reason, actor };
    return this.#ports.recorder.journal(this.#entry(event, this.#state, this.#ports.clock.mono(), about));
  }

  /**
   * What another replica has decided, as it is to be here, is in force; people are told there. True: it was decided here, and nobody knew yet that it
   * had been saved.
   */
  follow(to: RolloutState, recorded: RecordedState): boolean {
    this.alerts.follow(to, recorded.alerts);
    this.#telling.follow(recorded);
    const isOwn = this.raising.answered(recorded);
    if (!isSameDecision(this.#state, to)) {
      this.raising.overtake();
      this.#commit(to);
      this.#ports.routing.set(this.split());
    }
    this.#state = to;
    return isOwn;
  }

  /** This replica leads from now on: it goes on with the time served and the evidence that are on record, and with what is to be told. */
  lead(recorded: RecordedState): void {
    const state = rolloutIn(recorded);
    this.#state = { ...state, clocks: longestClocks(state.clocks, this.#state.clocks) };
    if (recorded.evidence !== undefined && isRunning(state)) this.evidence.begin(state, recorded.evidence);
    this.tellAgain();
  }

  #commit(to: RolloutState): void {
    const from = this.#state;
    this.raising.forget();
    if (to.id !== from.id) this.stats.marks = new FailureMarks();
    this.#state = to;
    if (!isRunning(to)) this.evidence.end();
    else if (to.id !== from.id || !isRunning(from) || isRolledBack(from, to)) this.evidence.begin(to);
    else if (to.step !== from.step || (to.weight > from.weight && from.trippedFrom === NONE))
      this.evidence.step(to);
  }

  #noteRollback(from: RolloutState, to: RolloutState, reason: string, actor: string, now: Millis): void {
    const { clock, environment, log } = this.#ports;
    const tookMs = millis(Math.max(0, clock.mono() - now));
    const evidence = evidenceOf(this.#seen(now), {
      from,
      toWeight: to.weight,
      actor,
      reason,
      environment: environment(),
      at: new Date(clock.wall()).toISOString(),
      tookMs,
      stableHealthy: this.stableCondition(now).healthy,
      cooldownMs: to.cooldownLeftMs,
    });
    this.#lastRollback = evidence;
    this.stats.countRollback(evidence.failed[0]?.rule ?? "manual", tookMs / 1000);
    log.warn("rolled back", { route: this.config.name, rollout: from.id, reason, failed: evidence.failed });
  }

  #entry(event: string, to: RolloutState, now: Millis, about: Omit<Entered, "event" | "route" | "to">) {
    return entryOf(
      { event, route: this.config.name, to, ...about },
      {
        checked: this.checks.found,
        checks: () => this.#checks(now, to),
        figures: () => figuresOf(this.#seen(now)),
      },
    );
  }

  #seen(now: Millis): Seen {
    const { name, canary, stable } = this.config;
    return {
      name,
      state: this.#state,
      stats: this.stats,
      verdict: this.#verdict,
      gauges: this.#ports.plane.gauges().routes[name],
      health: (arm) => this.#ports.probes.health(name, arm),
      canaryVersion: canary.version ?? "",
      stableVersion: stable.version ?? "",
      servedMs: millis(now - this.#started),
      now,
      wall: this.#ports.calendar().wall,
    };
  }

  /** The route as people see it. */
  status(now: Millis): RouteStatus {
    const recorded = this.#ports.recorder.isCurrent;
    const { kind, checks } = this.#verdict;
    const waiting = waitOf(this.#state, kind, this.calendar(), checks);
    const { open: alerts, targets } = this.alerts;
    return routeStatus(this.#seen(now), {
      recorded,
      lastRollback: this.#lastRollback,
      waiting,
      safety: this.safety,
      weight: this.split().weight,
      alerts,
      targets,
      fleet: this.#ports.fleet(),
    });
  }
}
