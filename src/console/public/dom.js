/**
 * What is to be seen, as data, and the one function that makes the document so. A tree is described anew at each change, and only what differs from the
 * one before is touched: focus, selection, scroll and what somebody is typing stay as they are.
 *
 * No markup is ever made of text, so nothing that comes from elsewhere can become any.
 */

/**
 * @typedef {{
 *   key?: string,
 *   class?: string,
 *   style?: Record<string, string>,
 *   on?: Record<string, (event: Event) => void>,
 *   mount?: (element: HTMLElement) => (() => void) | void,
 *   isOpaque?: boolean,
 *   [attribute: string]: any,
 * }} Props
 * @typedef {{ tag: string, props: Props, children: VNode[], text: string, node?: Node | undefined, leave?: (() => void) | void }} VNode
 * @typedef {VNode | string | number | null | undefined | false | readonly (VNode | string | null)[]} Child
 */

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "circle", "rect", "line", "g"]);
const OWN = new Set(["key", "class", "style", "on", "mount", "isOpaque"]);
/** What a person may have changed since: said once, when the element is made. */
const ONCE = new Set(["value", "checked", "open"]);

/**
 * An element.
 *
 * @param {string} tag
 * @param {Props | null} [props]
 * @param {...Child} children
 * @returns {VNode}
 */
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, children: flat(children), text: "" };
}

/**
 * @param {readonly Child[]} children
 * @returns {VNode[]}
 */
function flat(children) {
  return children.flatMap((/** @type {Child} */ child) => {
    if (child === null || child === undefined || child === false) return [];
    if (typeof child === "object") return "tag" in child ? [child] : flat(child);
    return [{ tag: "", props: {}, children: [], text: String(child) }];
  });
}

/** What is to be done once all that is new stands in the document. @type {(() => void)[]} */
const mounts = [];

/** @type {WeakMap<Element, VNode[]>} */
const shown = new WeakMap();

/**
 * Makes the children of `element` what `children` say.
 *
 * @param {Element} element
 * @param {...Child} children
 */
export function render(element, ...children) {
  const next = flat(children);
  patchChildren(element, shown.get(element) ?? [], next);
  shown.set(element, next);
  for (const mount of mounts.splice(0)) mount();
}

/**
 * @param {Element} parent
 * @param {VNode[]} before
 * @param {VNode[]} after
 */
function patchChildren(parent, before, after) {
  const left = new Set(before);
  /** @type {Node | null} */
  let place = parent.firstChild;
  for (const next of after) {
    const old = [...left].find((each) => each.tag === next.tag && each.props.key === next.props.key);
    if (old === undefined) {
      const node = make(next);
      parent.insertBefore(node, place);
    } else {
      left.delete(old);
      update(old, next);
      if (next.node === place) place = place?.nextSibling ?? null;
      else if (next.node !== undefined) parent.insertBefore(next.node, place);
    }
  }
  for (const each of left) remove(each);
}

/**
 * @param {VNode} vnode
 * @returns {Node}
 */
function make(vnode) {
  const { tag, props, children, text } = vnode;
  if (tag === "") return (vnode.node = document.createTextNode(text));
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  vnode.node = element;
  setProps(element, {}, props);
  for (const name of ONCE) if (props[name] !== undefined) Reflect.set(element, name, props[name]);
  for (const child of children) element.append(make(child));
  // A value that names an option needs the option.
  if (tag === "select" && props["value"] !== undefined) Reflect.set(element, "value", props["value"]);
  const { mount } = props;
  if (mount !== undefined && element instanceof HTMLElement)
    mounts.push(() => (vnode.leave = mount(element)));
  return element;
}

/**
 * @param {VNode} old
 * @param {VNode} next
 */
function update(old, next) {
  const { node } = old;
  next.node = node;
  next.leave = old.leave;
  if (node instanceof Text) {
    if (old.text !== next.text) node.data = next.text;
  } else if (node instanceof Element) {
    setProps(node, old.props, next.props);
    // Somebody else looks after the inside.
    if (next.props.isOpaque !== true) patchChildren(node, old.children, next.children);
  }
}

/** @param {VNode} vnode */
function remove(vnode) {
  leaveAll(vnode);
  vnode.node?.parentNode?.removeChild(vnode.node);
}

/** @param {VNode} vnode */
function leaveAll(vnode) {
  vnode.leave?.();
  for (const child of vnode.children) leaveAll(child);
}

/**
 * @param {Element} element
 * @param {Props} old
 * @param {Props} next
 */
function setProps(element, old, next) {
  if (old.class !== next.class) element.setAttribute("class", next.class ?? "");
  for (const name of namesOf(old, next))
    if (!OWN.has(name) && !ONCE.has(name) && old[name] !== next[name])
      setAttribute(element, name, next[name]);
  for (const [name, value] of Object.entries(next.style ?? {}))
    if (old.style?.[name] !== value && element instanceof HTMLElement) element.style.setProperty(name, value);
  // Handlers close over what is shown, so the newest ones count.
  for (const name of namesOf(old.on, next.on)) Reflect.set(element, `on${name}`, next.on?.[name] ?? null);
}

/** @param {Element} element @param {string} name @param {any} value */
function setAttribute(element, name, value) {
  if (value === undefined || value === null || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** The names of either. @param {object} [old] @param {object} [next] @returns {Set<string>} */
function namesOf(old = {}, next = {}) {
  return new Set([...Object.keys(old), ...Object.keys(next)]);
}

/**
 * For what goes away once it has been used (as `mount`): whoever was on it goes on from the card that it stood in, which must be able to take the focus.
 *
 * @param {HTMLElement} element
 */
export function keepFocus(element) {
  const card = cardOf(element);
  return () => {
    if (document.activeElement === element) card?.focus();
  };
}

/** @param {Element | null} element @returns {HTMLElement | null} */
export function cardOf(element) {
  return element?.closest("section") ?? null;
}

/** Shapes of the icons, each in a square of 16. */
const ICONS = {
  good: "M3 8.5l3.2 3.2L13 5",
  bad: "M4 4l8 8M12 4l-8 8",
  wait: "M8 4v4.5l3 1.8M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13",
  hold: "M5.5 3.5v9M10.5 3.5v9",
  quiet: "M3.5 8h9",
  key: "M10.5 2a3.5 3.5 0 1 0 0 7a3.5 3.5 0 1 0 0-7M8 8l-5.5 5.5M4.5 11.5l2 2",
  back: "M6.5 3L2.5 7l4 4M2.5 7h7a4 4 0 0 1 0 7h-2",
};

/** @typedef {keyof typeof ICONS} Icon */

/**
 * A small picture that stands beside a word and is passed over by who listens.
 *
 * @param {Icon} name
 */
export function icon(name) {
  const path = h("path", { d: ICONS[name] });
  return h("svg", { class: `icon icon-${name}`, viewBox: "0 0 16 16", "aria-hidden": "true" }, path);
}
