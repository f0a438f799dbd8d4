/**
 * The composition root: configuration → adapters → engine → listeners. The only place where `new` meets configuration: a plain function
 * that builds values and hands them on, so that the order of construction is the order of this file.
 *
 * Whatever the operator got wrong is found before anything listens for requests; a state that cannot be read or written stops the
 * start, an upstream that is down does not.
 */

import { extname, join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { createAdmin } from "./admin/server.ts";
import { channelNames } from "./config/notify.ts";
import { openPages } from "./console/serve.ts";
import type { Config, RouteConfig } from "./config/schema.ts";
import type { Secret, SecretSource } from "./config/secret.ts";
import { stateWords } from "./config/state.ts";
import { unverifiedArms } from "./config/upstream-tls.ts";
import { asDrill, drillNotice, isDrill } from "./domain/drill.ts";
import { AppError, asAppError } from "./domain/errors.ts";
import { turns } from "./domain/turns.ts";
import type { Control, ReloadResult } from "./engine/control.ts";
import { TICK_MS, openController } from "./engine/controller.ts";
import type { Clock, Dice, Log, Notice, Notifier } from "./engine/ports.ts";
import { keepMessages } from "./engine/messages.ts";
import { reloadDifferences } from "./engine/reload.ts";
import { openFlags, type Flags } from "./flags/open.ts";
import { openNotifier } from "./notify/open.ts";
import { signatureFields } from "./notify/signature.ts";
import { createDrills } from "./preflight/drill.ts";
import { systemFree } from "./preflight/folder.ts";
import { createPreflight, type RunningPreflight } from "./preflight/run.ts";
import { withinFiles } from "./proxy/files.ts";
import { PemWatch } from "./proxy/pem-watch.ts";
import { systemLookup } from "./proxy/resolve.ts";
import { createWorkers } from "./proxy/workers.ts";
import { createProbes } from "./probe/health.ts";
import { openBackups } from "./store/backups.ts";
import { flagStore } from "./store/flag-record.ts";
import { threadMerger } from "./store/merger.ts";
import { openStore } from "./store/open.ts";
import { buildOf } from "./telemetry/build.ts";
import { drillShelf } from "./telemetry/drills.ts";
import { openOutbox } from "./store/outbox.ts";
import { keepDeployments } from "./telemetry/deployment.ts";
import { keepIncidents } from "./telemetry/incident.ts";
import { openJournal } from "./telemetry/journal.ts";
import { keepHistory } from "./telemetry/history.ts";
import { createMetrics } from "./telemetry/metrics.ts";
import { allowed, Outlets } from "./telemetry/outlets.ts";
import { createReports } from "./telemetry/report.ts";
import { reportShelf } from "./telemetry/report-shelf.ts";
import { factsOf, openVitals, type Vitals } from "./telemetry/vitals.ts";

/** What a program is started with. */
export interface StartOptions {
  readonly config: Config;
  readonly secretOf: (source: SecretSource) => Secret;
  /** The configuration file as it was read; left out where there is none. */
  readonly bytes?: Uint8Array;
  readonly clock: Clock;
  readonly dice: Dice;
  readonly log: Log;
  /** Reads the configuration again; left out where there is no file to read. Rejects with AppError when it is not valid. */
  readonly reread?: () => Promise<{
    readonly config: Config;
    readonly secretOf: (source: SecretSource) => Secret;
    readonly bytes?: Uint8Array;
  }>;
  /** How many files the process may have open; left out: not known, and taken for enough. */
  readonly files?: number | undefined;
  /** Variables for the programs of a preflight, and whether OpenTelemetry is disabled; left out: none. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Takes lines of the access log for the standard output, and resolves when it has taken them; left out: they go nowhere. */
  readonly write?: (text: string) => Promise<void>;
  /** Told of every message beside the configured channels. */
  readonly onNotice?: (notice: Notice) => void;
}

/** The program, running. */
export interface Running {
  /** Addresses of the data listeners, in the order of the configuration, as `ADDRESS:PORT`. */
  readonly addresses: readonly string[];
  readonly adminAddress: string;
  /** The token written beside the state. */
  readonly token: string;
  readonly control: Control;
  /** Validates and puts in force what `reread` gives; one at a time. */
  reload(actor: string): Promise<ReloadResult>;
  /** Not ready from now on, drains, closes everything; resolves how many exchanges had to be cut. Asked twice is done once. */
  stop(): Promise<{ readonly cut: number }>;
  /** Resolves when the admin API has asked for a drain. */
  readonly drainAsked: Promise<void>;
}

/** What a thread runs; it lies beside this file in `src/` and in `dist/`. */
const fileOf = (name: string): URL => new URL(`./${name}${extname(import.meta.url)}`, import.meta.url);
const LAG_SAMPLE_MS = 10;

/** Starts the program. Rejects with AppError (state, address) when it cannot; nothing listens then. */
export async function start(options: StartOptions): Promise<Running> {
  const { clock, dice, log, files, env = {} } = options;
  let { config, secretOf, bytes } = options;
  const closers: (() => unknown)[] = [];
  const closing = <T extends { close(): unknown }>(each: T): T => {
    closers.push(() => each.close());
    return each;
  };
  const undo = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close();
  };
  try {
    const secrets = (source: SecretSource): Secret => secretOf(source);
    const opened = await openStore(config.state, { ...options, secretOf: secrets });
    const { folder } = opened;
    const store = closing(opened.store);
    const [cookieSecret, token] = [await opened.cookieSecret(), await opened.key("admin.token")];
    const journalPath = folder === null ? null : join(folder, "journal.jsonl");
    const journal = closing(await openJournal({ path: journalPath, clock, log }));
    const paperwork = { folder: config.reports, environment: config.environment, clock, log };
    const reports = createReports(paperwork);
    // Ends after the workers: what they say to the last is told in the reports, too.
    const deployments = closing(keepDeployments({ ...paperwork, journal }));
    const incidents = closing(keepIncidents({ ...paperwork, journal }));

    const backups = backupsOf(options, {
      state: folder,
      bytes: () => bytes,
      journal: async () => (await journal.read({ limit: 1 })).at(-1),
    });
    closers.push(() => backups?.close());

    // Ends after the workers, too.
    const outlets = closing(
      new Outlets({
        secretOf: secrets,
        write: options.write ?? (() => Promise.resolve()),
        program: buildOf().version,
        clock,
        log,
      }),
    );
    await outlets.configure(allowed(config, env));

    const outbox = closing(await openOutbox({ folder, clock, log }));
    const lookup = systemLookup;
    const { fanout, channels } = await openNotifier({ config, secretOf, outbox, lookup, clock, log });
    closers.push(() => fanout.close());
    const paged = new Set(["log", ...channelNames(config.notify, "emergency")]);
    const everybody: Notifier = {
      notify(notice, handing) {
        const told = isDrill(notice.route) ? asDrill(notice) : notice;
        fanout.notify(told, handing);
        outlets.noticed(told);
        options.onNotice?.(told);
      },
    };
    const notifier = keepMessages(everybody, clock);
    const pems = closing(new PemWatch({ clock, dice, log }));
    await pems.open(config);
    warnOfUnverified(config, log);
    const probes = closing(createProbes({ config, clock, log, pem: (path) => pems.shelf.pem(path) }));
    const plane = createWorkers({
      entry: fileOf("worker"),
      config: withinFiles(allowed(config, env), files, log),
      told: (accounts) => outlets.take(accounts),
      clock,
      log,
      cookieSecret,
      secretOf: secrets,
      pems: pems.shelf,
      healthy: (route, arm, endpoint) => probes.healthy(route, arm, endpoint),
    });
    closers.push(() => plane.close());
    probes.onChange((route, arm, endpoint, isHealthy) => plane.setHealth(route, arm, endpoint, isHealthy));
    const preflight: RunningPreflight = createPreflight({
      config: () => config,
      reread: options.reread,
      probes,
      loadOf(route) {
        const { stable, canary } = controller.route(route)?.arms ?? {};
        const perSecond = (stable?.perSecond ?? 0) + (canary?.perSecond ?? 0);
        return { perSecond, p95Ms: stable?.p95Ms ?? canary?.p95Ms ?? null };
      },
      channels,
      flags: () => flags.check(),
      pem: (path) => pems.shelf.pem(path),
      lookup: systemLookup,
      sign: signatureFields,
      secretOf: secrets,
      env,
      freeOf: systemFree,
      clock,
      dice,
      log,
    });
    let vitals: Vitals | undefined;
    const controller = await openController(config, {
      store,
      merger: closing(threadMerger(fileOf("merge-worker"), log)),
      journal: outlets.watched(deployments.journal),
      plane,
      probes,
      notifier,
      reports,
      incidents,
      preflight,
      confirm: preflight.confirm,
      unwell: () => vitals?.unwell(),
      ...(backups === undefined ? {} : { backups }),
      clock,
      dice,
      log,
    });
    closers.push(() => controller.close());
    const flags: Flags = await openFlags(config.flags, {
      store: flagStore(folder),
      journal,
      standOf: (route) => controller.standOf(route),
      clock,
      log,
    });
    closers.push(() => flags.close());
    if (backups !== undefined && config.backups !== "off" && config.backups.daily)
      closers.push(backups.daily());

    const delay = monitorEventLoopDelay({ resolution: LAG_SAMPLE_MS });
    delay.enable();
    closers.push(() => delay.disable());
    const lastReload = { ok: true, at: clock.wall(), trouble: "" };
    const metrics = createMetrics({
      control: controller,
      gauges: () => plane.gauges(),
      notifications: () => fanout.stats(),
      // The histogram holds the time between two samples: what is above the sampling interval is delay.
      eventLoopDelay: (quantile) =>
        Math.max(plane.loopDelay(quantile), delay.percentile(quantile * 100) / 1e9 - LAG_SAMPLE_MS / 1000),
      reload: () => lastReload,
      flags: () => flags.stats(),
      unverified: () => unverifiedArms(config),
      shared: () => opened.figures(),
      outlets: () => outlets.counts,
      exemplars: (route, arm) => outlets.exemplars.of(route, arm),
    });

    /** Routes of drills, beside the configured ones. */
    let drilled: readonly RouteConfig[] = [];
    const whole = (): Config => ({ ...config, routes: [...config.routes, ...drilled] });
    const reconfigurePlane = (): Promise<void> => {
      probes.reconfigure(whole());
      return plane.reconfigure(withinFiles(allowed(whole(), env), files, log));
    };
    const health = await openVitals({
      facts: () =>
        factsOf({
          config,
          probes,
          recording: controller.recording,
          channels: fanout.last(),
          reloadTrouble: lastReload.trouble,
          threads: plane.threads(),
        }),
      folders: { ...(folder === null ? {} : { "state folder": folder }), "reports folder": config.reports },
      freeOf: systemFree,
      clock,
    });
    vitals = health;
    closers.push(() => health.close());

    let draining = false;
    const asked = later<void>();
    const inTurn = turns();
    const reloadOnce = async (actor: string): Promise<ReloadResult> => {
      try {
        if (options.reread === undefined)
          throw new AppError("SPLIT_CONFIG_UNREADABLE", "there is no file to read again");
        const next = await options.reread();
        await pems.prepare(next.config);
        const nextFlags = await flags.prepare(next.config.flags);
        const before = { config, secretOf, bytes };
        const result = reloadDifferences(config, next.config);
        ({ config, secretOf, bytes } = next);
        await reconfigurePlane().catch(async (trouble: unknown) => {
          // Some of it may be in force by now, in some of the workers: all of it is taken back.
          ({ config, secretOf, bytes } = before);
          await reconfigurePlane();
          throw trouble;
        });
        pems.adopt(config);
        await outlets.configure(allowed(config, env));
        controller.reconfigure(whole());
        await flags.adopt(nextFlags);
        admin.setTokens(tokens());
        Object.assign(lastReload, { ok: true, at: clock.wall(), trouble: "" });
        warnOfUnverified(config, log);
        log.info("configuration reloaded", { actor, ...result });
        return { ok: true, ...result };
      } catch (error) {
        const { code, message } = asAppError(error);
        Object.assign(lastReload, { ok: false, trouble: message });
        log.error("the new configuration was refused, the old one stays in force", {
          actor,
          code,
          detail: message,
        });
        return { ok: false, code, message };
      }
    };
    const reload = (actor: string): Promise<ReloadResult> => inTurn(() => reloadOnce(actor));

    const shelf = drillShelf({ folder: config.reports, clock, log });
    const drills = createDrills({
      config: () => config,
      control: controller,
      place: (routes) =>
        inTurn(async () => {
          const gone = drilled;
          drilled = routes;
          await reconfigurePlane();
          controller.reconfigure(whole());
          for (const { name } of gone) controller.forget(name);
        }),
      addresses: () => addresses,
      isRecorded: () => controller.isRecorded,
      channels: () =>
        Object.entries(fanout.stats()).flatMap(([channel, stats]) =>
          paged.has(channel) ? [{ channel, ...stats }] : [],
        ),
      packs: (route) => shelf.packs(route),
      keep: (report) => shelf.keep(report),
      tell(route, event, actor, words) {
        void controller.note(route, event, actor, words);
        if (event === "DRILL_STARTED") return;
        notifier.notify(drillNotice(dice.token(16), route, event === "DRILL_PASSED", words));
      },
      clock,
      dice,
      log,
    });

    const tokens = (): Parameters<typeof admin.setTokens>[0] => [
      { name: "local", token, scopes: ["read", "operate", "approve", "admin"] },
      ...config.admin.tokens.map((each) => ({ ...each, token: secretOf(each.token).reveal() })),
    ];
    const admin = await createAdmin({
      address: config.admin.address,
      hosts: config.admin.hosts,
      control: controller,
      config: () => config,
      preflight,
      tokens: tokens(),
      metrics: (accept) => metrics.render(accept),
      history: closing(keepHistory(controller, clock)),
      pages: openPages(log),
      reports: reportShelf(config.reports),
      messages: notifier,
      reload,
      drill: (order) => drills.run(order),
      drills: shelf,
      backups,
      health: () => health.report(),
      flags,
      restore: (order) => controller.restore(order),
      // A state that cannot be written takes no replica out of service: it goes on protecting.
      readiness: () => ({
        ready: !draining,
        checks: {
          draining: draining ? "yes" : "no",
          state: controller.isRecorded ? "recorded" : "unwritable",
        },
      }),
      drain: () => asked.resolve(),
      clock,
      dice,
      log,
    });
    closers.push(() => admin.close());
    // First: a call that waits for its checks is answered, and does not hold up the listener's end.
    closers.push(() => preflight.close());
    closers.push(() => drills.close());
    const addresses = await plane.listen();
    // A tick settles its own trouble; what rejects here is a bug, and the next tick must come all the same.
    const tick = (): Promise<void> =>
      controller.tick().then(
        () => undefined,
        (error: unknown) => log.error("a tick failed", { error }),
      );
    closers.push(clock.every(TICK_MS, tick));

    let stopping: Promise<{ readonly cut: number }> | undefined;
    const stopOnce = async (): Promise<{ readonly cut: number }> => {
      draining = true;
      const { delay: wait, timeout } = config.drain;
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      const left = await plane.retire(timeout);
      await undo();
      return left;
    };
    log.info("serving", {
      listen: addresses,
      admin: admin.address,
      state: stateWords(config.state),
      lane: config.lane,
      fastLane: plane.gauges().fastLane,
    });
    return {
      addresses,
      adminAddress: admin.address,
      token,
      control: controller,
      reload,
      stop: () => (stopping ??= stopOnce()),
      drainAsked: asked.promise,
    };
  } catch (error) {
    await undo();
    throw error;
  }
}

/** Where backups go, if any are to be made. */
function backupsOf(
  { config, clock, log }: StartOptions,
  of: {
    readonly state: string | null;
    readonly bytes: () => Uint8Array | undefined;
    readonly journal: Parameters<typeof openBackups>[0]["journal"];
  },
) {
  const { state, bytes, journal } = of;
  if (config.backups === "off") return undefined;
  if (state === null) {
    log.info("no backups are made: the state is in memory");
    return undefined;
  }
  const program = buildOf().version;
  return openBackups({ ...config.backups, state, config: bytes, journal, program, clock, log });
}

function warnOfUnverified(config: Config, log: Log): void {
  for (const arm of unverifiedArms(config))
    log.warn("upstreams are taken with any certificate, for tls.verify is false", { ...arm });
}

/** A promise and its key. */
export function later<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => (resolve = settle));
  return { promise, resolve };
}
