/**
 * Lines with a fixed layout: fields between literal texts, as NGINX's `log_format` spells them. A layout is compiled once; a line is then walked
 * once, as bytes, and what comes out are offsets. Pure.
 */

/** Where the fields of a line lie: from and to by field, −1 where there is none. */
export type Offsets = Int32Array;

interface Part {
  /** Text before the field, and its first byte. */
  readonly before: Buffer;
  /** Index of the field among those wanted; −1: of no interest. */
  readonly field: number;
  /** Its value may be several, `a, b : c`, with spaces within. */
  readonly isList: boolean;
}

/** A compiled layout. */
export interface Template {
  readonly parts: readonly Part[];
  /** Text behind the last field. */
  readonly after: Buffer;
  /** From this part on the line may be at its end. */
  readonly optionalFrom: number;
  /** Which of the wanted fields it has. */
  readonly has: readonly boolean[];
}

const QUOTE = 34;
const BACKSLASH = 92;
const SPACE = 32;
const COMMA = 44;
const COLON = 58;

/**
 * Compiles a layout; undefined when it has no fields, or two that nothing separates.
 *
 * @param text         as in `log_format`: `$name` or `${name}` between other texts
 * @param wanted       names of the fields that are read, in the order of their offsets
 * @param optionalFrom name of the first field that may be missing with all behind it
 */
export function compile(text: string, wanted: readonly string[], optionalFrom = ""): Template | undefined {
  const pieces = text.split(/\$\{?(\w+)\}?/);
  const parts: Part[] = [];
  let optional = Infinity;
  for (let index = 1; index < pieces.length; index += 2) {
    const name = pieces[index]!;
    const before = Buffer.from(pieces[index - 1]!);
    if (index > 1 && before.length === 0) return undefined;
    if (name === optionalFrom) optional = parts.length;
    parts.push({ before, field: wanted.indexOf(name), isList: name.startsWith("upstream_") });
  }
  if (parts.length === 0) return undefined;
  const has = wanted.map((_, field) => parts.some((part) => part.field === field));
  return { parts, after: Buffer.from(pieces.at(-1)!), optionalFrom: optional, has };
}

/** Finds the fields of the line at `from`…`to`; false when it has another layout. */
export function locate(
  template: Template,
  bytes: Uint8Array,
  from: number,
  to: number,
  into: Offsets,
): boolean {
  const { parts, after, optionalFrom } = template;
  into.fill(-1);
  let at = from;
  for (let index = 0; index < parts.length; index++) {
    const part = parts[index]!;
    if (index >= optionalFrom && at === to) return true;
    if (!isAt(bytes, at, to, part.before)) return false;
    const start = at + part.before.length;
    const next = index + 1 < parts.length ? parts[index + 1]!.before : after;
    at = endOf(bytes, start, to, next, part.isList);
    const isLast = at < 0 && index + 1 >= optionalFrom;
    if (isLast) at = endOfLine(bytes, to, next);
    if (at < start) return false;
    if (part.field >= 0) {
      into[2 * part.field] = start;
      into[2 * part.field + 1] = at;
    }
    if (isLast) return true;
  }
  return isAt(bytes, at, to, after);
}

function isAt(bytes: Uint8Array, at: number, to: number, text: Uint8Array): boolean {
  if (at + text.length > to) return false;
  for (let index = 0; index < text.length; index++) if (bytes[at + index] !== text[index]) return false;
  return true;
}

/** Where a field ends that is followed by `text`; −1 when it does not. */
function endOf(bytes: Uint8Array, start: number, to: number, text: Uint8Array, isList: boolean): number {
  if (text.length === 0) return to;
  const first = text[0];
  for (let at = start; at < to; at++) {
    const byte = bytes[at];
    if (first === QUOTE && byte === BACKSLASH) {
      at++;
      continue;
    }
    if (byte !== first) continue;
    if (isList && byte === SPACE && goesOn(bytes, at)) continue;
    if (text.length === 1 || isAt(bytes, at, to, text)) return at;
  }
  return -1;
}

/** Where a field ends with which the line does too: before what of `text` is no space; −1 when that is not there. */
function endOfLine(bytes: Uint8Array, to: number, text: Uint8Array): number {
  let length = text.length;
  while (length > 0 && text[length - 1] === SPACE) length--;
  const at = to - length;
  return at >= 0 && isAt(bytes, at, to, text.subarray(0, length)) ? at : -1;
}

/** Whether a space stands within a list: behind a comma, or beside a lonely colon. */
function goesOn(bytes: Uint8Array, at: number): boolean {
  if (bytes[at - 1] === COMMA) return true;
  if (bytes[at + 1] === COLON && bytes[at + 2] === SPACE) return true;
  return bytes[at - 1] === COLON && bytes[at - 2] === SPACE;
}

/** A decimal number without sign or exponent; NaN for anything else. */
export function decimal(bytes: Uint8Array, from: number, to: number): number {
  let value = 0;
  let scale = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at]!;
    if (byte === 46 && scale === 0) scale = 1;
    else if (byte >= 48 && byte <= 57) {
      value = value * 10 + byte - 48;
      scale *= 10;
    } else return Number.NaN;
  }
  if (to <= from || to - from > 18) return Number.NaN;
  return scale > 1 ? value / scale : value;
}

/** Whether a field says that there is nothing: it is missing, empty, or a dash. */
export function isNothing(bytes: Uint8Array, from: number, to: number): boolean {
  return from < 0 || from >= to || (to - from === 1 && bytes[from] === 45);
}

/** Where the first value of a list ends: at its comma, or at ` : `. */
export function endOfFirst(bytes: Uint8Array, from: number, to: number): number {
  for (let at = from; at < to; at++) {
    if (bytes[at] === COMMA) return at;
    if (bytes[at] === SPACE) return at;
  }
  return to;
}
