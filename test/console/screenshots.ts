/**
 * Pictures of the console in each of its states, for people to look at: `node test/console/screenshots.ts FOLDER`. The program, its traffic and the
 * browser are real; nothing is drawn for the occasion. Takes about two minutes.
 */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { LEAD, openBrowser, openConsole, signIn, stage, type Stage } from "../support/console.ts";

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("node test/console/screenshots.ts FOLDER");
await mkdir(folder, { recursive: true });

const browser = await openBrowser();
const only = process.argv[3];

/** The same state in light, in dark and on a phone. */
async function shoot(name: string, pages: readonly Page[]): Promise<void> {
  for (const [index, page] of pages.entries()) {
    const kind = ["light", "dark", "phone"][index] ?? "";
    // The page draws with frames, and charts with the next status.
    await page.bringToFront();
    await page.waitForTimeout(1600);
    await page.screenshot({ path: join(folder ?? "", `${name}-${kind}.png`), fullPage: true });
  }
  process.stdout.write(`${name}\n`);
}

async function windows(scene: Stage): Promise<readonly Page[]> {
  const views = [
    {},
    { colorScheme: "dark" as const },
    { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
  ];
  const opened: Page[] = [];
  for (const view of views) {
    const { page, wrong } = await openConsole(browser, scene.url, view);
    opened.push(page);
    process.on("exit", () =>
      process.stdout.write(
        wrong
          .filter((each) => !/CONNECTION_REFUSED/.test(each))
          .map((each) => `WRONG ${each}\n`)
          .join(""),
      ),
    );
  }
  return opened;
}

const call = async (scene: Stage, path: string, body: object, token = scene.running.token): Promise<void> => {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  await fetch(`${scene.url}v1/rollouts/app/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
};
const items = ["stakeholders-notified", "on-call-assigned", "dashboards-ready"];

async function wholeRollout(): Promise<void> {
  const scene = await stage("12s");
  const pages = await windows(scene);
  await shoot("1-login", pages);
  for (const page of pages) await signIn(page, scene.running.token);
  await shoot("1-routes", pages);
  for (const page of pages) await page.goto(`${scene.url}#/app`);
  await shoot("2-idle", pages);
  await scene.begin();
  await scene.until((route) => route.waiting?.for === "gate");
  await shoot("3-gate", pages);
  for (const page of pages) await page.getByRole("button", { name: "Approve…" }).click();
  await shoot("4-approve", pages);
  for (const page of pages) await page.keyboard.press("Escape");
  await call(scene, "approve", { step: 0, role: "deployment-lead", checklist: items });
  await scene.until((route) => route.weight === 25 && route.heldMs > 8000);
  await shoot("5-climbing", pages);
  await call(scene, "approve", { step: 2, role: "deployment-lead" }, LEAD);
  await call(scene, "approve", { step: 2, role: "on-call" });
  await scene.until((route) => route.weight === 50 && route.heldMs > 3000);
  for (const page of pages) await page.getByRole("button", { name: "Roll back…" }).click();
  await shoot("6-rollback", pages);
  for (const page of pages) await page.keyboard.press("Escape");
  scene.canary.failFrom(0.4);
  await scene.until((route) => route.phase === "rolled_back");
  for (const page of pages) await page.waitForTimeout(3000);
  await shoot("7-rolled-back", pages);
  for (const page of pages)
    await page
      .getByRole("button", { name: /^Silence/ })
      .first()
      .click();
  await shoot("7-silence", pages);
  for (const page of pages) await page.keyboard.press("Escape");
  const turn = { on: true, reason: "the database is gone" };
  await fetch(`${scene.url}v1/safety/emergency`, {
    method: "POST",
    headers: { authorization: `Bearer ${scene.running.token}`, "content-type": "application/json" },
    body: JSON.stringify(turn),
  });
  await shoot("7-emergency", pages);
  const [light] = pages;
  await scene.close();
  await light?.waitForTimeout(1500);
  await shoot("8-lost", pages);
}

async function succeeded(): Promise<void> {
  const scene = await stage("3s");
  const pages = await windows(scene);
  for (const page of pages) await signIn(page, LEAD);
  for (const page of pages) await page.goto(`${scene.url}#/app`);
  await scene.begin();
  await scene.until((route) => route.waiting?.for === "gate");
  await call(scene, "approve", { step: 0, role: "deployment-lead", checklist: items });
  await scene.until((route) => route.weight === 25);
  await call(scene, "pause", { reason: "lunch" });
  await shoot("9-paused", pages);
  await call(scene, "resume", {});
  await call(scene, "approve", { step: 2, role: "deployment-lead" }, LEAD);
  await call(scene, "approve", { step: 2, role: "on-call" });
  await scene.until((route) => route.phase === "succeeded");
  await shoot("10-succeeded", pages);
  await scene.close();
}

if (only !== "succeeded") await wholeRollout();
if (only !== "rollout") await succeeded();
await browser.close();
process.exit(0);
