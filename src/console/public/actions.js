/** What can be done from here, and the question that is asked before it is. */

/** @import { RouteStatus } from "../../engine/status.ts" */
/** @import { Live } from "./live.js" */
/** @import { Action, Right } from "./verbs.js" */
import { post, troubleOf } from "./api.js";
import { h } from "./dom.js";
import { dialog } from "./dialog.js";
import { ACTIONS, WHY, optional, textOf } from "./verbs.js";

/** @typedef {{ id: string, label: string, kind: string, open: () => void }} Button */

/** What can be done, and the question that is open. */
export class Actions {
  #live;
  #onChange;
  #tell;
  #asked = 0;
  /** @type {{ nth: number, action: Action, route: RouteStatus, isBusy: boolean, trouble: ReturnType<typeof troubleOf> | undefined } | undefined} */
  #open;

  /**
   * @param {Live} live
   * @param {() => void} onChange
   * @param {(words: string) => void} tell
   */
  constructor(live, onChange, tell) {
    this.#live = live;
    this.#onChange = onChange;
    this.#tell = tell;
  }

  /** @param {Right} right */
  may(right) {
    return this.#live.caller?.scopes.includes(right) === true;
  }

  /** What fits a route now and this token may do. @param {RouteStatus} route @returns {Button[]} */
  of(route) {
    const emergency = this.#emergency(route);
    return this.from(emergency === undefined ? ACTIONS : [...ACTIONS, emergency], route);
  }

  /** What of `asked` fits a route now and this token may do. @param {readonly Action[]} asked @param {RouteStatus} route @returns {Button[]} */
  from(asked, route) {
    return asked
      .filter((action) => this.may(action.right) && action.fits(route))
      .map((action) => ({
        id: action.id,
        label: action.label,
        kind: action.kind,
        open: () => this.#ask(action, route),
      }));
  }

  /** The switch for all that is on fire, where the program has one. @param {RouteStatus} route @returns {Action | undefined} */
  #emergency(route) {
    if (!this.#live.can("emergency")) return undefined;
    const isOn = route.safety.emergency !== undefined;
    return {
      id: "emergency",
      label: isOn ? "End emergency…" : "Emergency…",
      kind: "danger",
      right: "operate",
      title: isOn ? "End the emergency" : "Emergency",
      submit: isOn ? "End it" : "Emergency, now",
      fits: () => true,
      intro: () =>
        h(
          "p",
          null,
          isOn
            ? "Weights may rise again."
            : "Everything goes to stable, or to the configured answer, and nothing rises until it is ended.",
        ),
      fields: () => [
        {
          name: "scope",
          label: "For",
          kind: "select",
          value: "all",
          options: [
            { value: "all", label: "all routes" },
            { value: route.name, label: `the route ${route.name}` },
          ],
        },
        WHY,
      ],
      send: async (_, values) => {
        const scope = textOf(values, "scope");
        const only = scope === "all" ? {} : { route: scope };
        await post("/v1/safety/emergency", {
          on: !isOn,
          ...only,
          ...optional(values, "reason"),
        });
      },
      isBound: false,
      done: isOn ? "The emergency is over." : "The emergency is on.",
    };
  }

  /** @param {Action} action @param {RouteStatus} route */
  #ask(action, route) {
    this.#open = { nth: ++this.#asked, action, route, isBusy: false, trouble: undefined };
    this.#onChange();
  }

  #close() {
    this.#open = undefined;
    this.#onChange();
  }

  /** The open question; null when there is none. */
  dialog() {
    const open = this.#open;
    if (open === undefined) return null;
    const { nth, action, route, isBusy, trouble } = open;
    const now = this.#live.routes.get(route.name);
    const hasMoved = now !== undefined && (now.rollout !== route.rollout || now.step !== route.step);
    return dialog({
      nth,
      title: action.title,
      intro: action.intro(route),
      fields: action.fields(route, this.#live),
      submit: action.submit,
      kind: action.kind === "" ? "primary" : action.kind,
      isBusy,
      trouble,
      stale:
        action.isBound && hasMoved
          ? "The rollout has moved on since this was opened. Close it and look again."
          : "",
      onSubmit: (values) => void this.#send(values),
      onClose: () => this.#close(),
    });
  }

  /** @param {FormData} values */
  async #send(values) {
    const open = this.#open;
    if (open === undefined || open.isBusy) return;
    open.isBusy = true;
    open.trouble = undefined;
    this.#onChange();
    try {
      const status = await open.action.send(open.route, values);
      if (status !== undefined) this.#live.take(status);
      this.#tell(open.action.done);
      if (open.action.reads !== undefined) void this.#live.read(open.action.reads);
      if (this.#open === open) this.#close();
    } catch (error) {
      open.isBusy = false;
      open.trouble = troubleOf(error);
      this.#onChange();
    }
  }
}
