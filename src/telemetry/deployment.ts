/**
 * Keeps the report of every rollout: `deployment_<environment>_<timestamp>.json` with its Markdown beside it, written anew after each line
 * of the journal that is its.
 *
 * It stands before the journal and only listens: a line is durable first, and the report follows, soon, in order, several lines at once when
 * they come fast. The journal is the truth and the file is made of it, so nothing is lost by a kill in between: at the next start the last
 * lines say which reports may be behind. A disk that is full delays a report and nothing else; it is tried again.
 */

import { basename } from "node:path";
import {
  beginReport,
  extendReport,
  hasStarted,
  isFirst,
  nameOf,
  reportJson,
  reportOf,
  stampOf,
  type Report,
} from "../domain/report.ts";
import { reportMarkdown } from "../domain/report-markdown.ts";
import { millis } from "../domain/units.ts";
import type { Clock, Journal, JournalEntry, JournalLine, Log } from "../engine/ports.ts";
import { MOST_OF_ONE_NAME, numbered, place, replace } from "./place.ts";
import { readHead } from "./report-shelf.ts";

/** Where reports go, and what they are made of. */
export interface DeploymentOptions {
  readonly journal: Journal;
  /** Made when it is missing, at the first report. */
  readonly folder: string;
  readonly environment: string;
  readonly clock: Pick<Clock, "every">;
  readonly log: Log;
}

/** The reports being kept. */
export interface Deployments {
  /** The journal to write to from now on. */
  readonly journal: Journal;
  /** Writes what waits, once, and writes no more. */
  close(): Promise<void>;
}

/** Lines at the end of the journal whose reports a kill may have left behind. */
const RECENT_LINES = 256;
/** Lines of a route that are looked through for the beginning of a rollout: first few, then more. */
const FIRST_LOOK = 256;
const LAST_LOOK = 4096;
/** A disk that was full is tried again after this time. */
const RETRY_MS = 30_000;
/** Routes whose reports stay in memory; those of others are read from the journal again. */
const ROUTES_KEPT = 32;

/** A report, and its file once that is known. */
interface Kept {
  readonly report: Report;
  readonly file: string | undefined;
}

/** One route's reports. */
class RouteReports {
  /** By rollout: that of the present one, and of the one before or about to be. */
  readonly kept = new Map<string, Kept>();
  /** Rollouts whose file is behind. */
  readonly behind = new Set<string>();
  /** Appends that are durable and were not read, and those that are under way. */
  unread = 0;
  underWay = 0;
  /** Number of the last line that was read. */
  seq = 0;
}

/** Keeps the reports of what is written to the returned journal. */
export function keepDeployments(options: DeploymentOptions): Deployments {
  const { journal, clock } = options;
  const keeper = new Keeper(options);
  keeper.recover();
  const stop = clock.every(millis(RETRY_MS), () => keeper.retry());
  return {
    journal: {
      append: (entry) => keeper.append(entry),
      read: (asked) => journal.read(asked),
    },
    async close() {
      stop();
      await keeper.close();
    },
  };
}

class Keeper {
  readonly #options: DeploymentOptions;
  readonly #routes = new Map<string, RouteReports>();
  /** The tail of the queue: one thing is done at a time. */
  #last: Promise<void> = Promise.resolve();
  #isAsked = false;
  #isFailing = false;
  #isClosed = false;

  constructor(options: DeploymentOptions) {
    this.#options = options;
  }

  async append(entry: JournalEntry): Promise<boolean> {
    const { journal } = this.#options;
    const route = this.#routeOf(entry.route);
    route.underWay += 1;
    const isDurable = await journal.append(entry);
    route.underWay -= 1;
    if (isDurable) {
      route.unread += 1;
      this.#ask();
    }
    return isDurable;
  }

  /** Writes what waits, once. What is appended later is caught up with at the next start. */
  close(): Promise<void> {
    const done = this.retry();
    this.#isClosed = true;
    return done;
  }

  /** Brings to their end the reports of rollouts that the last lines tell of. */
  recover(): void {
    this.#queue(async () => {
      const { journal } = this.#options;
      const lines = await journal.read({ limit: RECENT_LINES });
      for (const { route, rollout, seq } of lines) {
        const reports = this.#routeOf(route);
        reports.seq = seq;
        if (rollout !== "") reports.behind.add(rollout);
      }
      await this.#catchUp();
    });
  }

  /** Tries again what could not be written; resolves when it was tried. */
  retry(): Promise<void> {
    this.#ask();
    return this.#last;
  }

  #routeOf(name: string): RouteReports {
    const known = this.#routes.get(name);
    if (known !== undefined) return known;
    const made = new RouteReports();
    this.#routes.set(name, made);
    return made;
  }

  /** What is asked for while it waits for its turn is done in one. */
  #ask(): void {
    if (this.#isAsked || this.#isClosed) return;
    this.#isAsked = true;
    this.#queue(() => {
      this.#isAsked = false;
      return this.#catchUp();
    });
  }

  #queue(run: () => Promise<void>): void {
    this.#last = this.#last.then(run).catch((error: unknown) => {
      this.#options.log.error("could not bring the reports up to date", { error });
    });
  }

  async #catchUp(): Promise<void> {
    for (const [name, reports] of this.#routes) {
      if (reports.unread > 0) await this.#read(name, reports);
      for (const rollout of reports.behind) await this.#write(name, reports, rollout);
    }
    this.#forget();
  }

  /** Reads what was appended since it was read last, and no more of the journal than that. */
  async #read(route: string, reports: RouteReports): Promise<void> {
    const { unread, underWay } = reports;
    reports.unread = 0;
    const read = await this.#options.journal.read({ limit: unread + underWay, route });
    const lines = read.filter((line) => line.seq > reports.seq);
    reports.seq = lines.at(-1)?.seq ?? reports.seq;
    // Some could not be read: what is kept lacks them, and is made from the journal again.
    if (read.length < unread) {
      for (const rollout of reports.kept.keys()) reports.behind.add(rollout);
      reports.kept.clear();
    }
    for (const line of lines) await this.#add(route, reports, line);
  }

  async #add(route: string, reports: RouteReports, line: JournalLine): Promise<void> {
    for (const [rollout, { report, file }] of reports.kept) {
      const extended = extendReport(report, line);
      if (extended === report) continue;
      reports.kept.set(rollout, { report: extended, file });
      reports.behind.add(rollout);
    }
    if (line.rollout === "" || reports.kept.has(line.rollout)) return;
    reports.behind.add(line.rollout);
    if (isFirst(line)) {
      const report = beginReport(line, this.#options.environment);
      reports.kept.set(line.rollout, { report, file: undefined });
    } else await this.#load(route, reports, line.rollout);
  }

  /** The rollout's report as the journal has it, kept from now on; undefined when it cannot be read. */
  async #load(route: string, reports: RouteReports, rollout: string): Promise<Kept | undefined> {
    const report = await this.#fromJournal(route, rollout);
    if (report === undefined) return undefined;
    const kept = { report, file: undefined };
    reports.kept.set(rollout, kept);
    return kept;
  }

  async #fromJournal(route: string, rollout: string): Promise<Report | undefined> {
    const { journal, environment } = this.#options;
    for (let limit = FIRST_LOOK; ; limit *= 4) {
      const lines = await journal.read({ limit, route });
      const isWhole = lines.length < limit || lines[0]?.rollout !== rollout;
      if (isWhole || limit >= LAST_LOOK) return reportOf(lines, rollout, environment);
    }
  }

  async #write(route: string, reports: RouteReports, rollout: string): Promise<void> {
    const { log } = this.#options;
    try {
      const kept = reports.kept.get(rollout) ?? (await this.#load(route, reports, rollout));
      if (kept === undefined) throw new Error("the journal does not tell of it");
      if (hasStarted(kept.report)) reports.kept.set(rollout, { ...kept, file: await this.#put(kept) });
      reports.behind.delete(rollout);
      if (this.#isFailing) log.info("reports can be written again", { route, rollout });
      this.#isFailing = false;
    } catch (error) {
      // Said once: it is tried again and again.
      if (!this.#isFailing) log.error("could not write the report of a rollout", { route, rollout, error });
      this.#isFailing = true;
    }
  }

  /** Writes the report; resolves the name of its file. */
  async #put({ report, file }: Kept): Promise<string> {
    const { folder } = this.#options;
    const stem = `deployment_${nameOf(report.environment)}_${stampOf(report.startedAt)}`;
    const text = reportJson(report);
    const known = file ?? (await this.#fileOf(report, stem));
    const path = known === undefined ? await place(folder, stem, text) : await replace(folder, known, text);
    const name = basename(path);
    await replace(folder, name.replace(/json$/, "md"), reportMarkdown(report));
    return name;
  }

  /** The file that holds an older form of the report; undefined when there is none. */
  async #fileOf({ route, rollout }: Report, stem: string): Promise<string | undefined> {
    for (let n = 1; n <= MOST_OF_ONE_NAME; n += 1) {
      const file = numbered(stem, n);
      const found = await readHead(this.#options.folder, file);
      if (found === "none") return undefined;
      if (found !== "strange" && found.route === route && found.rollout === rollout) return file;
    }
    return undefined;
  }

  /** Lets go of what is not the present rollout's, and of the routes that were quiet for longest. */
  #forget(): void {
    for (const { kept } of this.#routes.values()) {
      for (const rollout of [...kept.keys()].slice(0, -2)) kept.delete(rollout);
    }
    const busy = [...this.#routes.values()].filter(({ kept }) => kept.size > 0);
    const quiet = busy.toSorted((a, b) => a.seq - b.seq).slice(0, -ROUTES_KEPT);
    for (const { kept } of quiet) kept.clear();
  }
}
