/**
 * The console, driven in Chromium through a whole rollout as a person would: sign in, start, approve with a checklist, pause, a breach, the evidence, a rollback by
 * hand. Whatever the browser has to complain about, a request to anybody else and every finding of axe-core fails. Without Chromium it is skipped, but not
 * where CI runs.
 */

import type { Browser } from "playwright-core";
import t, { type Test } from "tap";
import {
  LEAD,
  READER,
  WITHOUT_BROWSER,
  accessible,
  button,
  heading,
  openConsole,
  openRoute,
  signIn,
  staged,
  type Stage,
} from "../support/console.ts";

t.setTimeout(100_000);

/** What the first view may take over the wire, compressed as it is. */
const FIRST_VIEW_BYTES = 150 * 1024;

t.test("Chromium and the console", { skip: WITHOUT_BROWSER }, async (t) => {
  const { scene, browser } = await staged(t, "2s");
  await t.test("a whole rollout, with nothing to complain about", (t) => wholeRollout(t, scene, browser));
  await t.test("a token that may only read gets no buttons, and a wrong one no page", (t) =>
    rights(t, scene, browser),
  );
  await t.test("a decision on its way to the disk is no trouble, one that stays unrecorded is", (t) =>
    unrecorded(t, scene, browser),
  );
  await t.test("the console says that the proxy is lost, and goes on when it is back", (t) =>
    lost(t, scene, browser),
  );
});

async function wholeRollout(t: Test, scene: Stage, browser: Browser): Promise<void> {
  const { page, wrong } = await openConsole(browser, scene.url);
  await page.addInitScript(
    "addEventListener('securitypolicyviolation', (event) => console.error('CSP: ' + event.violatedDirective))",
  );
  const network = await page.context().newCDPSession(page);
  await network.send("Network.enable");
  await network.send("Network.setCacheDisabled", { cacheDisabled: true });
  let bytes = 0;
  network.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  await page.reload();
  await heading(page, /Sluice/).waitFor();
  await accessible(t, page, "sign-in");

  await signIn(page, scene.running.token);
  await heading(page, /^Routes$/).waitFor();
  await accessible(t, page, "routes");
  await page.getByRole("main").getByRole("link", { name: /^app/ }).click();
  await heading(page, /No rollout is under way/).waitFor();
  await page.getByRole("img", { name: /Requests\/s over time/ }).waitFor();
  await page.locator(".connection.live").waitFor();
  t.ok(bytes > 40_000 && bytes < FIRST_VIEW_BYTES, `the first view takes ${bytes} bytes`);
  t.notMatch(page.url(), new RegExp(scene.running.token), "the token is in no address");
  await accessible(t, page, "idle");

  await page.keyboard.press("Tab");
  t.equal(await page.locator(":focus").textContent(), "Skip to the page", "the first thing that Tab finds");
  await page.keyboard.press("Enter");
  t.equal(await page.locator(":focus").getAttribute("id"), "main", "and it leads there");

  await button(page, "Start a rollout…").click();
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  t.equal(
    await page.locator(":focus").textContent(),
    "Start a rollout…",
    "the focus goes back to where it was",
  );
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  // Asked again in the very frame in which it was closed: what the browser has closed is not what is shown.
  await page.evaluate(`new Promise((resolve) => {
    const dialog = document.querySelector("dialog");
    const start = [...document.querySelectorAll("button")].find(({ textContent }) => textContent === "Start a rollout…");
    dialog.addEventListener("close", () => resolve(start.click()));
    dialog.close();
  })`);
  await page.getByLabel("Reason").fill("4.0 is ready");
  await button(page, "Start").click();

  await heading(page, /Waiting for people to sign/).waitFor();
  await accessible(t, page, "gate");
  const wide = page.viewportSize();
  await page.setViewportSize({ width: 390, height: 844 });
  const isCut = await page.evaluate(
    "[...document.querySelectorAll('.rung-weight')].map((each) => each.scrollWidth > each.clientWidth)",
  );
  t.same(isCut, new Array(6).fill(false), "on a phone, too, a step has its weight, its key and its mark");
  await page.setViewportSize(wide ?? { width: 1280, height: 900 });
  await button(page, "Approve…").click();
  for (const item of ["stakeholders notified", "on call assigned", "dashboards ready"])
    await page.getByLabel(item).check();
  await page.getByLabel("Comment").fill("go");
  await accessible(t, page, "approve");
  await button(page, "Sign").click();

  await scene.until((route) => route.weight === 5);
  await page.locator(".rung.here", { hasText: "5 %" }).waitFor();
  await button(page, "Pause…").click();
  await button(page, "Pause").click();
  await heading(page, /^Paused at 5 %$/).waitFor();
  await accessible(t, page, "paused");
  await button(page, "Resume…").click();
  await button(page, "Resume").click();
  await heading(page, /^Paused/).waitFor({ state: "detached" });

  // Somebody else promotes while a question about this step is open: it is not signed by a click that comes late.
  await scene.until((route) => route.weight === 25);
  await page.locator(".rung.here", { hasText: "25 %" }).waitFor();
  await button(page, "Approve…").click();
  const { name, step } = scene.status();
  await scene.running.control.command(
    name,
    { type: "promote", full: false, step, force: true, reason: "enough seen" },
    { name: "somebody else" },
  );
  await page.getByRole("alert").filter({ hasText: "has moved on" }).waitFor();
  t.ok(await button(page, "Sign").isDisabled(), "a late click signs nothing");
  await button(page, "Cancel").click();

  scene.canary.failFrom(1);
  await heading(page, /^Rolled back: 3\.9 serves everybody$/).waitFor();
  scene.canary.failFrom(0);
  const evidence = page.getByRole("region", { name: "Evidence" });
  await evidence.getByText("failed on the canary", { exact: true }).waitFor();
  const { lastRollback } = scene.status();
  t.ok((lastRollback?.requestsFailed ?? 0) > 0);
  t.match(await evidence.textContent(), /status 500/);
  await page.getByRole("listitem").filter({ hasText: "Rolled back" }).first().waitFor();
  await accessible(t, page, "rolled back");

  await button(page, "Set weight…").click();
  await page.getByLabel("The canary's share in percent").fill("10");
  await button(page, "Set weight").click();
  await page.getByRole("alert").getByText("SPLIT_COOLDOWN").waitFor();
  t.match(
    await page.getByRole("alert").textContent(),
    /Wait for the cooldown to pass/,
    "with what to do about it",
  );
  await accessible(t, page, "refused");
  await page.getByLabel("Also during a cooldown").check();
  await page.getByLabel("Reason").fill("one more look");
  t.match(wrong, [/status of 409/], "the browser says it, too");
  t.equal(wrong.length, 1, "and has nothing else to complain about");
  await button(page, "Set weight").click();
  await scene.until((route) => route.weight === 10);
  await button(page, "Roll back…").click();
  await button(page, "Roll back now").click();
  await scene.until((route) => route.weight === 0);
  await heading(page, /^Rolled back/).waitFor();

  await button(page, "Emergency…").click();
  await page.getByLabel("Reason").fill("the database is gone");
  await button(page, "Emergency, now").click();
  await heading(page, /^Emergency/).waitFor();
  await page.getByRole("alert").filter({ hasText: "the database is gone" }).waitFor();
  await accessible(t, page, "emergency");
  await button(page, "End emergency…").click();
  await button(page, "End it").click();
  await heading(page, /^Rolled back/).waitFor();
  t.equal(wrong.length, 1, "and nothing after it");
  await page.context().close();
}

async function rights(t: Test, scene: Stage, browser: Browser): Promise<void> {
  const { page, wrong } = await openConsole(browser, scene.url, {
    viewport: { width: 390, height: 844 },
    hasTouch: true,
  });
  await page.getByLabel("Token").fill("wrong-token-0123456789");
  await button(page, "Sign in").click();
  await page.getByRole("alert").getByText("SPLIT_UNAUTHORIZED").waitFor();
  await accessible(t, page, "wrong token");
  t.match(wrong, [/401/], "the browser says it, too");
  await signIn(page, READER);
  await page.goto(`${scene.url}#/app`);
  await page.getByText("This token may only read.").waitFor();
  t.equal(await button(page, "Roll back…").count(), 0, "nothing to press");
  const isTooWide = await page.evaluate("document.documentElement.scrollWidth > innerWidth");
  t.equal(isTooWide, false, "nothing sticks out on a phone");
  await accessible(t, page, "phone");
  await page.reload();
  await page.getByText("This token may only read.").waitFor();
  await button(page, "Sign out").click();
  await page.reload();
  await page.getByLabel("Token").waitFor();
  t.equal(wrong.length, 1, "and nothing else to complain about");
  await page.context().close();
}

async function unrecorded(t: Test, scene: Stage, browser: Browser): Promise<void> {
  const { page } = await openConsole(browser, scene.url);
  const shown = await page.evaluate(`import("/console/live.js").then(({ Live }) => {
    const live = new Live(() => {}, () => {});
    const [real, told] = [Date.now, [[0, true], [100, false], [200, true], [2200, false], [2210, false], [4200, false], [4210, true]]];
    const shown = told.map(([at, recorded]) => {
      Date.now = () => at;
      live.take({ name: "app", recorded });
      return live.routes.get("app").recorded;
    });
    Date.now = real;
    return shown;
  })`);
  t.same(
    shown,
    [true, true, true, true, true, false, true],
    "two words within milliseconds are not two seconds",
  );
  await page.context().close();
}

async function lost(t: Test, scene: Stage, browser: Browser): Promise<void> {
  const { page } = await openRoute(browser, scene.url, LEAD);
  await page.locator(".connection.live").waitFor();
  let isAway = true;
  await page.route("**/v1/events*", (route) => (isAway ? route.abort() : route.continue()));
  // What was open ends: another route is followed, and its stream does not come.
  await page.getByRole("navigation").getByRole("link", { name: "api" }).click();
  await page.locator(".connection.lost").waitFor();
  await accessible(t, page, "lost");
  isAway = false;
  await page.locator(".connection.live").waitFor();
  await page.context().close();
}
