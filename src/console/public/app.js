/**
 * The console: who looks, at what, and the one function that draws it. The address names the route after `#`; the token is in no address.
 */

import { forgetToken, hasToken, troubleOf, useToken } from "./api.js";
import { Actions } from "./actions.js";
import { refreshCharts } from "./charts.js";
import { h, render } from "./dom.js";
import { bar, overview, signIn } from "./frame.js";
import { Live } from "./live.js";
import { RoutePage } from "./route.js";
import { answerOf } from "./words.js";

const app = /** @type {HTMLElement} */ (document.getElementById("app"));
const told = /** @type {HTMLElement} */ (document.getElementById("told"));

const live = new Live(changed, () => leave("The token is not known any more."));
const actions = new Actions(live, changed, tell);
let page = new RoutePage(live, actions, changed);

/** @type {{ isBusy: boolean, trouble: ReturnType<typeof troubleOf> | undefined, said: string }} */
let entry = { isBusy: false, trouble: undefined, said: "" };
let isIn = false;
let isDrawing = false;
let said = "";

/** Draws with the next frame what has changed up to then. */
function changed() {
  if (isDrawing) return;
  isDrawing = true;
  // A window that is not shown gets no frames, and needs none.
  requestAnimationFrame(() => {
    isDrawing = false;
    draw();
  });
}

/** Says something to whoever listens instead of looking. @param {string} words */
function tell(words) {
  if (words !== said) told.textContent = words;
  said = words;
}

/** The route that the address names, or the only one. */
function routeOf() {
  const name = location.hash.replace(/^#\/?/, "");
  // Names of routes are the same in an address.
  if (name !== "") return name;
  return live.routes.size === 1 ? [...live.routes.keys()][0] : undefined;
}

function draw() {
  if (!isIn) {
    document.title = "Sign in · Sluice";
    render(
      app,
      signIn(entry, (token, isKept) => void enter(token, isKept)),
    );
    return;
  }
  const name = routeOf();
  const route = name === undefined ? undefined : live.routes.get(name);
  const answer = route === undefined ? undefined : answerOf(route);
  document.title =
    route === undefined || answer === undefined ? "Sluice" : `${answer.title} · ${route.name} · Sluice`;
  if (answer !== undefined) tell(answer.title);
  const body =
    name === undefined
      ? overview(live)
      : route === undefined
        ? h(
            "main",
            { key: "none", class: "page", id: "main" },
            h("h1", null, "There is no such route"),
            h("p", null, h("a", { href: "#/" }, "All routes")),
          )
        : page.view(route);
  render(
    app,
    h("a", { key: "skip", class: "skip", href: "#main", on: { click: skip } }, "Skip to the page"),
    bar(live, name, () => leave("")),
    body,
    actions.dialog(),
  );
  refreshCharts();
}

/** The part of the address after `#` names the route, so the link moves the focus by hand. @param {Event} event */
function skip(event) {
  event.preventDefault();
  const main = document.getElementById("main");
  main?.setAttribute("tabindex", "-1");
  main?.focus();
}

/** @param {string} token @param {boolean} isKept */
async function enter(token, isKept) {
  useToken(token, isKept);
  entry = { isBusy: true, trouble: undefined, said: "" };
  draw();
  try {
    await live.login();
    isIn = true;
    entry = { isBusy: false, trouble: undefined, said: "" };
    follow();
  } catch (error) {
    forgetToken();
    entry = { isBusy: false, trouble: troubleOf(error), said: "" };
  }
  draw();
}

/** @param {string} words why */
function leave(words) {
  forgetToken();
  live.stop();
  live.caller = undefined;
  isIn = false;
  entry = { isBusy: false, trouble: undefined, said: words };
  draw();
}

function follow() {
  page = new RoutePage(live, actions, changed);
  live.follow(routeOf());
}

addEventListener("hashchange", () => {
  if (!isIn) return;
  follow();
  draw();
});

if (hasToken()) void enter(sessionStorage.getItem("sluice-token") ?? "", true);
else draw();
