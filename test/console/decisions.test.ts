/** What people decide in the console beside signing: they refuse a gate and say why, and promote; each with what the journal then says. */

import type { Browser } from "playwright-core";
import t, { type Test } from "tap";
import {
  LEAD,
  WITHOUT_BROWSER,
  accessible,
  button,
  heading,
  openRoute,
  staged,
  type Stage,
} from "../support/console.ts";

t.setTimeout(100_000);

t.test("people decide in Chromium", { skip: WITHOUT_BROWSER }, async (t) => {
  const { scene, browser } = await staged(t, "10m");
  await t.test(
    "a gate is refused with a reason, by the role that the token has, and the rollout pauses",
    (t) => refuses(t, scene, browser),
  );
  await t.test("promoting over a gate is refused with what to do, and forced with a reason", (t) =>
    promotes(t, scene, browser),
  );
});

async function refuses(t: Test, scene: Stage, browser: Browser): Promise<void> {
  const { page, wrong } = await openRoute(browser, scene.url, LEAD);
  await scene.begin();
  await heading(page, /Waiting for people to sign/).waitFor();
  await button(page, "Reject…").focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Refuse the gate" });
  await dialog.waitFor();
  const roles = await dialog.getByLabel("In which role").locator("option").allTextContents();
  t.same(roles, ["deployment-lead"], "no role that is not the token's");
  await accessible(t, page, "reject");
  await button(page, "Refuse").click();
  t.ok(await dialog.isVisible(), "nothing is refused without a reason");
  t.equal(scene.status().phase, "progressing");
  await dialog.getByLabel("What is to happen instead").selectOption("Pause here");
  await dialog.getByLabel("Reason").fill("the dashboards are empty");
  await page.keyboard.press("Enter");
  await dialog.waitFor({ state: "detached" });
  await heading(page, /^Paused at 0 %$/).waitFor();
  const hero = page.getByRole("region", { name: /^Paused/ });
  await hero.getByText("the dashboards are empty").waitFor();
  const line = page.getByRole("listitem").filter({ hasText: "Gate rejected" });
  await line.filter({ hasText: "by lea" }).filter({ hasText: "the dashboards are empty" }).first().waitFor();
  await accessible(t, page, "refused gate");
  t.same(wrong, [], "nothing to complain about");
  await page.context().close();
}

async function promotes(t: Test, scene: Stage, browser: Browser): Promise<void> {
  const { page, wrong } = await openRoute(browser, scene.url, scene.running.token);
  await button(page, "Promote…").click();
  const dialog = page.getByRole("dialog", { name: "To the next step" });
  await dialog.getByText("From 0 % to 5 %").waitFor();
  await accessible(t, page, "promote");
  await button(page, "Promote").click();
  await dialog.getByRole("alert").waitFor();
  t.match(await dialog.getByRole("alert").textContent(), /SPLIT_/, "a gate is in the way, and it says so");
  t.equal(scene.status().step, 0, "and nothing has moved");
  await dialog.getByLabel("Also over a gate").check();
  await dialog.getByLabel("Reason").fill("signed on paper");
  await button(page, "Promote").click();
  await dialog.waitFor({ state: "detached" });
  await page.locator(".rung.here", { hasText: "5 %" }).waitFor();
  t.equal(scene.status().weight, 5);
  await page.getByRole("listitem").filter({ hasText: "signed on paper" }).first().waitFor();

  // In the middle of a hold nothing is in the way: two clicks.
  await button(page, "Promote…").click();
  await button(page, "Promote").click();
  await page.locator(".rung.here", { hasText: "25 %" }).waitFor();
  t.equal(scene.status().weight, 25);
  t.match(wrong, [/status of 409/], "the browser says that it was refused");
  t.equal(wrong.length, 1, "and has nothing else to complain about");
  await page.context().close();
}
