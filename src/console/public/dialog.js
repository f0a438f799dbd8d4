/** A question in front of everything else: what would be done, what it needs to know, and what came of it. */

/** @import { VNode, Child } from "./dom.js" */
import { cardOf, h } from "./dom.js";

/**
 * @typedef {{
 *   name: string, label: string, kind: "text" | "number" | "select" | "check" | "checks" | "words",
 *   value?: string, options?: readonly { value: string, label: string, isDone?: boolean }[], hint?: string, isNeeded?: boolean,
 *   min?: number, max?: number, step?: string,
 * }} Field
 * @typedef {{
 *   nth: number, title: string, intro: Child, fields: readonly Field[], submit: string, kind: string, isBusy: boolean,
 *   trouble: { message: string, code: string, remedy: string } | undefined, stale: string,
 *   onSubmit: (values: FormData) => void, onClose: () => void,
 * }} Question
 */

/** @param {Question} question */
export function dialog({
  nth,
  title,
  intro,
  fields,
  submit,
  kind,
  isBusy,
  trouble,
  stale,
  onSubmit,
  onClose,
}) {
  return h(
    "dialog",
    {
      // Each is an element of its own: one that was closed does not open again.
      key: `dialog-${nth}`,
      class: "dialog",
      "aria-labelledby": "dialog-title",
      on: { close: onClose },
      mount: (element) => {
        if (!(element instanceof HTMLDialogElement)) return;
        const before = document.activeElement;
        const card = cardOf(before);
        element.showModal();
        return () => {
          if (element.open) element.close();
          // What was asked for may have taken away from where it was asked.
          if (before instanceof HTMLElement) (before.isConnected ? before : card)?.focus();
        };
      },
    },
    h(
      "form",
      {
        novalidate: false,
        on: {
          submit: (event) => {
            event.preventDefault();
            if (event.target instanceof HTMLFormElement) onSubmit(new FormData(event.target));
          },
        },
      },
      h("h2", { id: "dialog-title" }, title),
      h("div", { class: "intro" }, intro),
      ...fields.map(field),
      stale === "" ? null : h("p", { key: "stale", class: "note bad", role: "alert" }, stale),
      trouble === undefined
        ? null
        : h(
            "div",
            { key: "trouble", class: "note bad", role: "alert" },
            h("p", null, trouble.message),
            trouble.remedy === "" ? null : h("p", { class: "sub" }, trouble.remedy),
            trouble.code === "" ? null : h("p", null, h("code", null, trouble.code)),
          ),
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", class: "button", key: "no", on: { click: onClose } }, "Cancel"),
        h(
          "button",
          { type: "submit", class: `button ${kind}`, key: "yes", disabled: isBusy || stale !== "" },
          isBusy ? "…" : submit,
        ),
      ),
    ),
  );
}

/** @param {Field} each @returns {VNode} */
function field(each) {
  const { name, label, kind, value, hint, options = [], isNeeded = false } = each;
  const id = `field-${name}`;
  const described = hint === undefined ? undefined : `${id}-hint`;
  const told = hint === undefined ? null : h("span", { class: "sub", id: `${id}-hint` }, hint);
  if (kind === "checks")
    return h(
      "fieldset",
      { key: name },
      h("legend", null, label),
      ...options.map((option) =>
        h(
          "label",
          { key: option.value, class: "check" },
          h("input", {
            type: "checkbox",
            name,
            value: option.value,
            checked: option.isDone === true,
            disabled: option.isDone === true,
          }),
          h("span", null, option.label),
        ),
      ),
      told,
    );
  if (kind === "check")
    return h(
      "div",
      { key: name, class: "field" },
      h(
        "label",
        { class: "check" },
        h("input", { type: "checkbox", name, value: "yes", id, "aria-describedby": described }),
        h("span", null, label),
      ),
      told,
    );
  return h(
    "div",
    { key: name, class: "field" },
    h("label", { for: id }, label),
    kind === "select"
      ? h(
          "select",
          { id, name, value, "aria-describedby": described },
          ...options.map((option) => h("option", { value: option.value, key: option.value }, option.label)),
        )
      : h("input", {
          id,
          name,
          type: kind === "number" ? "number" : "text",
          value: value ?? "",
          required: isNeeded,
          "aria-describedby": described,
          autocomplete: "off",
          maxlength: kind === "number" ? undefined : 500,
          min: each.min,
          max: each.max,
          step: each.step,
        }),
    told,
  );
}
