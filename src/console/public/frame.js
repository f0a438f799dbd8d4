/** What is around every page: the bar at the top, the sign-in, and the list of routes. */

/** @import { RouteStatus } from "../../engine/status.ts" */
/** @import { Live } from "./live.js" */
import { h, icon } from "./dom.js";
import { duration, percent, share } from "./format.js";
import { answerOf } from "./words.js";

/** @param {Live} live @param {string | undefined} route @param {() => void} onLeave */
export function bar(live, route, onLeave) {
  const { caller, routes } = live;
  return h(
    "header",
    { key: "bar", class: "top" },
    h("a", { class: "brand", href: "#/" }, brand(), h("span", null, "Sluice")),
    caller === undefined ? null : h("span", { class: "tag environment" }, caller.environment),
    routes.size < 2
      ? null
      : h(
          "nav",
          { class: "routes", "aria-label": "Routes" },
          ...[...routes.keys()].map((name) =>
            h(
              "a",
              {
                key: name,
                href: `#/${encodeURIComponent(name)}`,
                "aria-current": name === route ? "page" : undefined,
              },
              name,
            ),
          ),
        ),
    h("span", { class: "space" }),
    connection(live),
    caller === undefined
      ? null
      : h(
          "button",
          {
            type: "button",
            class: "button quiet",
            title: `signed in as ${caller.name}`,
            on: { click: onLeave },
          },
          "Sign out",
        ),
  );
}

function brand() {
  return h(
    "svg",
    { class: "mark", viewBox: "0 0 32 32", "aria-hidden": "true" },
    h("path", { class: "mark-stable", d: "M2 20h11v-9h6v9h11v6H2z" }),
    h("path", { class: "mark-canary", d: "M20 13h10v4H20z" }),
  );
}

/** @param {Live} live */
function connection({ connection: state, retryAt }) {
  const left = Math.max(0, retryAt - Date.now());
  const words = {
    live: "live",
    connecting: "connecting…",
    lost: left > 900 ? `lost, again in ${duration(left)}` : "lost, trying again…",
  };
  return h(
    "span",
    { class: `connection ${state}` },
    h("span", { class: "dot", "aria-hidden": "true" }),
    h("span", { class: "unseen" }, "Connection: "),
    words[state],
  );
}

/**
 * @param {{ isBusy: boolean, trouble: { message: string, code: string, remedy: string } | undefined, said: string }} state
 * @param {(token: string, isKept: boolean) => void} onToken
 */
export function signIn({ isBusy, trouble, said }, onToken) {
  return h(
    "main",
    { key: "sign-in", class: "sign-in" },
    h(
      "form",
      {
        class: "card",
        on: {
          submit: (event) => {
            event.preventDefault();
            if (!(event.target instanceof HTMLFormElement)) return;
            const values = new FormData(event.target);
            const token = values.get("token");
            if (typeof token === "string") onToken(token.trim(), values.has("keep"));
          },
        },
      },
      h("div", { class: "brand large" }, brand(), h("h1", null, "Sluice")),
      said === "" ? null : h("p", { class: "note", role: "status" }, said),
      h("label", { for: "token" }, "Token"),
      h("input", {
        id: "token",
        name: "token",
        type: "password",
        required: true,
        autocomplete: "current-password",
        "aria-describedby": "token-hint",
        mount: (/** @type {HTMLElement} */ element) => element.focus(),
      }),
      h(
        "p",
        { class: "sub", id: "token-hint" },
        "One of ",
        h("code", null, "admin.tokens"),
        ", or the one in ",
        h("code", null, "admin.token"),
        " beside the proxy’s state.",
      ),
      h(
        "label",
        { class: "check" },
        h("input", { type: "checkbox", name: "keep", value: "yes", checked: true }),
        h("span", null, "Keep it until this tab is closed"),
      ),
      trouble === undefined
        ? null
        : h(
            "div",
            { class: "note bad", role: "alert" },
            h("p", null, `${trouble.message}. `, h("span", { class: "sub" }, trouble.remedy)),
            h("p", null, h("code", null, trouble.code)),
          ),
      h(
        "button",
        { type: "submit", class: "button primary", disabled: isBusy },
        isBusy ? "Signing in…" : "Sign in",
      ),
    ),
  );
}

/** @param {Live} live */
export function overview({ routes }) {
  return h(
    "main",
    { key: "overview", class: "overview", id: "main" },
    h("h1", null, "Routes"),
    routes.size === 0 ? h("p", { class: "empty" }, "No route is configured.") : null,
    h("ul", { class: "cards" }, ...[...routes.values()].map(card)),
  );
}

/** @param {RouteStatus} route */
function card(route) {
  const answer = answerOf(route);
  const { errorRate } = route.arms.canary;
  return h(
    "li",
    { key: route.name },
    h(
      "a",
      { class: `card link tone-${answer.tone}`, href: `#/${encodeURIComponent(route.name)}` },
      h("h2", null, route.name),
      h("p", { class: "short" }, icon(answer.icon), h("span", null, answer.title)),
      h(
        "div",
        { class: "split", style: { "--share": `${route.weight}%` }, "aria-hidden": "true" },
        h("span", { class: "canary" }),
      ),
      h(
        "p",
        { class: "sub" },
        `canary ${percent(route.weight)}${errorRate === null ? "" : `, errors ${share(errorRate)}`}`,
      ),
    ),
  );
}
