/**
 * A stage for the console: the real program in front of the demonstration's upstreams, with its traffic and its clock, and a plan of seconds that people
 * sign. Beside it the browser that looks at it.
 */

import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import type { Test } from "tap";
import { configSchema } from "../../src/config/schema.ts";
import { Secret } from "../../src/config/secret.ts";
import { startTraffic } from "../../src/demo/traffic.ts";
import { startUpstream, type Upstream } from "../../src/demo/upstream.ts";
import { millis } from "../../src/domain/units.ts";
import type { RouteStatus } from "../../src/engine/status.ts";
import { clock, dice } from "../../src/platform.ts";
import { start, type Running } from "../../src/start.ts";
import { foldersIn } from "./program.ts";
import { quietLog } from "./silence.ts";

/** The browser of this machine; undefined where there is none. */
const BROWSER = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) =>
  existsSync(path),
);

/** Why a test that needs it is skipped: not where CI runs, which must have one. */
export const WITHOUT_BROWSER =
  BROWSER === undefined && process.env["CI"] !== "true" ? "there is no Chromium here" : false;

/** Tokens of the stage beside the one in its folder: who may only look, and who may sign for one role alone. */
export const READER = "a-reader-of-the-console-0123456789";
export const LEAD = "a-lead-of-the-console-0123456789";

const LOOK_MS = millis(50);
/** A state that has not come by then never will. */
const PATIENCE_MS = 40_000;

/** The program, and what it stands before. */
export interface Stage {
  readonly running: Running;
  /** Where the console is. */
  readonly url: string;
  readonly canary: Upstream;
  readonly status: () => RouteStatus;
  /** Resolves with the first status that fits. */
  until(fits: (route: RouteStatus) => boolean): Promise<RouteStatus>;
  /** Starts the route's plan, as somebody else would. */
  begin(): Promise<void>;
  close(): Promise<void>;
}

/** A gate that is signed by one role after a checklist, and one that two roles sign. */
const LEAD_SIGNS = {
  roles: ["deployment-lead"],
  checklist: ["stakeholders-notified", "on-call-assigned", "dashboards-ready"],
};
const BOTH_SIGN = { roles: ["deployment-lead", "on-call"] };

/** Sets the stage. `hold`: of every step; `more`: of the route's configuration; `whole`: of the whole. */
export async function stage(hold: string, more: object = {}, whole: object = {}): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-console-"));
  const stable = await startUpstream("3.9", 14, dice);
  const canary = await startUpstream("4.0", 12, dice);
  const quick = { for: "2s", window: "10s", minRequests: 10 };
  const config = configSchema.parse({
    listen: [{ address: "127.0.0.1:0" }],
    admin: {
      address: "127.0.0.1:0",
      tokens: [
        { name: "reader", token: { env: READER }, scopes: ["read"] },
        {
          name: "lea",
          token: { env: LEAD },
          scopes: ["read", "operate", "approve"],
          roles: ["deployment-lead"],
        },
      ],
    },
    ...foldersIn(folder),
    environment: "staging",
    routes: [
      {
        name: "app",
        stable: { endpoints: [stable.url], version: "3.9" },
        canary: { endpoints: [canary.url], version: "4.0" },
        key: ["header:x-user-id"],
        health: { path: "/healthz", interval: "1s", timeout: "1s", unhealthyAfter: 3 },
        rollback: {
          onAny: [
            { metric: "error_rate", above: "1%", ...quick },
            { metric: "p95", above: "20s", ...quick },
            { metric: "health_failures", atLeast: 5 },
            { metric: "error_rate", above: "1%", test: "sequential" },
            { compare: "error_rate", worseBy: "0.5%" },
          ],
          // Final at once: a test has no twenty seconds for a second alarm.
          confirm: false,
          cooldown: "10m",
          verify: "1m",
        },
        plan: {
          promotion: "off",
          steps: [
            { setWeight: "0%", hold: "1s", gate: LEAD_SIGNS },
            { setWeight: "5%", hold },
            { setWeight: "25%", hold, gate: BOTH_SIGN, critical: true },
            { setWeight: "50%", hold },
            { setWeight: "100%", hold, critical: true },
            { bake: hold },
          ],
        },
        ...more,
      },
      {
        name: "api",
        match: { path: "/api" },
        stable: { endpoints: [stable.url], version: "1.7" },
        canary: { endpoints: [canary.url], version: "1.8" },
      },
    ],
    ...whole,
  });
  const running = await start({
    config,
    secretOf: (source) => new Secret("env" in source ? source.env : source.file, source),
    clock,
    dice,
    log: quietLog(),
  });
  const origin = `http://${running.addresses[0]}`;
  const traffic = startTraffic({ origin, users: 300, perSecond: 120, clock, dice });
  const status = (): RouteStatus => {
    const found = running.control.route("app");
    if (found === undefined) throw new Error("the stage has its route");
    return found;
  };
  const url = `http://${running.adminAddress}/`;
  return {
    running,
    url,
    canary,
    status,
    until: (fits) =>
      new Promise((resolve, reject) => {
        const begun = clock.mono();
        const stop = clock.every(LOOK_MS, () => {
          const route = status();
          const isLate = clock.mono() - begun > PATIENCE_MS;
          if (!fits(route) && !isLate) return;
          stop();
          if (isLate) reject(new Error(`it never came: ${JSON.stringify(route).slice(0, 600)}`));
          else resolve(route);
        });
      }),
    async begin() {
      const headers = { authorization: `Bearer ${running.token}`, "content-type": "application/json" };
      const body = JSON.stringify({ reason: "4.0 is ready" });
      const answer = await fetch(`${url}v1/rollouts/app/start`, { method: "POST", headers, body });
      if (!answer.ok) throw new Error(await answer.text());
    },
    async close() {
      await traffic.stop();
      await running.stop();
      await stable.close();
      await canary.close();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Starts the browser. */
export function openBrowser(): Promise<Browser> {
  if (BROWSER === undefined) throw new Error("there is no Chromium, and CI must have one");
  return chromium.launch({
    executablePath: BROWSER,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"],
  });
}

/** A window onto the console, with everything that went wrong in it. */
export async function openConsole(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<{ readonly page: Page; readonly wrong: readonly string[] }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const wrong: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") wrong.push(message.text());
  });
  page.on("pageerror", (error) => wrong.push(String(error.stack)));
  page.on("request", (request) => {
    if (!request.url().startsWith(url)) wrong.push(`asked ${request.url()}`);
  });
  await page.goto(url);
  return { page, wrong };
}

/** Signs in. */
export async function signIn(page: Page, token: string): Promise<void> {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign out" }).waitFor();
}

/** The same, at the page of the stage's route, as the owner of `token`. */
export async function openRoute(
  browser: Browser,
  url: string,
  token: string,
): Promise<{ readonly page: Page; readonly wrong: readonly string[] }> {
  const opened = await openConsole(browser, url);
  await signIn(opened.page, token);
  await opened.page.goto(`${url}#/app`);
  return opened;
}

/** A stage and the browser before it, closed with the test. */
export async function staged(
  t: Test,
  ...of: Parameters<typeof stage>
): Promise<{ readonly scene: Stage; readonly browser: Browser }> {
  const scene = await stage(...of);
  const browser = await openBrowser();
  t.teardown(async () => {
    await browser.close();
    await scene.close();
  });
  return { scene, browser };
}

const AXE = readFileSync(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");

interface Finding {
  readonly id: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary?: string }[];
}

/** What axe-core finds in the page as it is, in light and in dark. */
export async function accessible(t: Test, page: Page, state: string): Promise<void> {
  // By the debugger: the page itself may not run what is not its own.
  await page.evaluate(AXE);
  // In the dark nothing is different but the colours.
  const rules = { light: {}, dark: { runOnly: ["color-contrast"] } };
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const options = JSON.stringify({ resultTypes: ["violations"], ...rules[colorScheme] });
    const found = await page.evaluate(`axe.run(document, ${options}).then(({ violations }) => violations)`);
    // What axe-core documents that it answers.
    const findings = (found as readonly Finding[]).map(({ id, nodes }) => [
      id,
      nodes[0]?.html,
      nodes[0]?.failureSummary,
    ]);
    t.same(findings, [], `${state}, ${colorScheme}`);
  }
}

/** A button by its whole name. */
export const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });
/** The page's answer. */
export const heading = (page: Page, name: RegExp) => page.getByRole("heading", { level: 1, name });
