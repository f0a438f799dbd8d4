/**
 * The oracle: llhttp, the parser of Node and of undici, told to stop at the end of a message and asked where that is.
 *
 * undici carries it as WebAssembly with its callbacks open, so it runs within this thread, tens of thousands of messages a second, and says
 * to the byte where it stopped; `node-http.ts` asks Node's own copy through `node:http`. Strict: none of its leniency flags is set.
 */

import { createRequire } from "node:module";

/** What a parser made of bytes. */
export interface Heard {
  /** `more`: the bytes end inside the message. */
  readonly verdict: "whole" | "more" | "refused";
  /** Of a request. */
  readonly method: string;
  readonly target: string;
  /** Of a response. */
  readonly status: number;
  /** Name, value, name, value, …, latin1, in order; of the head alone. */
  readonly fields: readonly string[];
  /** Without its framing, latin1. */
  readonly body: string;
  /** The next message begins there; −1 unless `whole`, or when the message ends with the connection. */
  readonly end: number;
  /** Why it was refused. */
  readonly why: string;
}

/** To be called once, before anything else. */
const START = "_initialize";

/** What is used of the WebAssembly module. */
interface Llhttp {
  readonly [START]: () => void;
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly malloc: (size: number) => number;
  readonly llhttp_alloc: (type: number) => number;
  readonly llhttp_free: (parser: number) => void;
  readonly llhttp_execute: (parser: number, at: number, length: number) => number;
  readonly llhttp_get_error_pos: (parser: number) => number;
  readonly llhttp_get_error_reason: (parser: number) => number;
  readonly llhttp_get_method: (parser: number) => number;
  readonly llhttp_method_name: (method: number) => number;
  readonly llhttp_message_needs_eof: (parser: number) => number;
}

/** The platform's WebAssembly, which the compiler's list of the platform lacks. */
interface Host {
  readonly WebAssembly: {
    readonly Module: new (bytes: Uint8Array) => object;
    readonly Instance: new (module: object, imports: object) => { readonly exports: Llhttp };
  };
}

const REQUEST = 1;
const RESPONSE = 2;
const OK = 0;
const SKIP_BODY = 1;
const PAUSED = 21;
/** No input is longer. */
const ROOM = 1024 * 1024;

/** What its callbacks told of the message under way; it is single-threaded, so one is enough. */
const told = {
  isHead: false,
  target: "",
  status: 0,
  names: [""],
  values: [""],
  /** How many fields the head had; trailer fields follow. −1: it is not complete. */
  fields: -1,
  body: "",
  untilClose: false,
  whole: false,
};

const llhttp = load();
const place = llhttp.malloc(ROOM);

function load(): Llhttp {
  const bytes: Uint8Array = createRequire(import.meta.url)("undici/lib/llhttp/llhttp-wasm.js");
  const { WebAssembly } = globalThis as unknown as Host;
  const env = {
    wasm_on_message_begin: () => OK,
    wasm_on_status: () => OK,
    wasm_on_url: (_: number, at: number, length: number) => {
      told.target += textAt(at, length);
      return OK;
    },
    // All bytes are given at once, so every name comes in one piece.
    wasm_on_header_field: (_: number, at: number, length: number) => {
      told.names.push(textAt(at, length));
      told.values.push("");
      return OK;
    },
    wasm_on_header_value: (_: number, at: number, length: number) => {
      told.values[told.values.length - 1] += textAt(at, length);
      return OK;
    },
    wasm_on_headers_complete: (parser: number, status: number) => {
      told.status = status;
      told.fields = told.names.length;
      told.untilClose = !told.isHead && llhttp.llhttp_message_needs_eof(parser) !== 0;
      return told.isHead ? SKIP_BODY : OK;
    },
    wasm_on_body: (_: number, at: number, length: number) => {
      told.body += textAt(at, length);
      return OK;
    },
    wasm_on_message_complete: () => {
      told.whole = true;
      return PAUSED;
    },
  };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env });
  exports[START]();
  return exports;
}

function textAt(at: number, length: number): string {
  return Buffer.from(llhttp.memory.buffer, at, length).toString("latin1");
}

/** A zero-terminated text. */
function wordAt(at: number): string {
  return textAt(at, new Uint8Array(llhttp.memory.buffer).indexOf(0, at) - at);
}

/** What llhttp makes of the bytes of a request and what follows it. */
export function hearRequest(bytes: Uint8Array): Heard {
  return hear(REQUEST, bytes, false);
}

/** What llhttp makes of the bytes of a response. @param isHead it answers a HEAD */
export function hearResponse(bytes: Uint8Array, isHead: boolean): Heard {
  return hear(RESPONSE, bytes, isHead);
}

function hear(type: number, bytes: Uint8Array, isHead: boolean): Heard {
  if (bytes.length > ROOM) throw new RangeError("no room for so many bytes");
  Object.assign(told, {
    isHead,
    target: "",
    status: 0,
    fields: -1,
    body: "",
    untilClose: false,
    whole: false,
  });
  told.names = [];
  told.values = [];
  const parser = llhttp.llhttp_alloc(type);
  new Uint8Array(llhttp.memory.buffer).set(bytes, place);
  const code = llhttp.llhttp_execute(parser, place, bytes.length);
  const stopped = code === OK ? bytes.length : llhttp.llhttp_get_error_pos(parser) - place;
  const isWhole = told.whole || (code === OK && told.fields >= 0 && told.untilClose);
  const heard: Heard = {
    verdict: isWhole ? "whole" : code === OK ? "more" : "refused",
    method: type === REQUEST ? wordAt(llhttp.llhttp_method_name(llhttp.llhttp_get_method(parser))) : "",
    target: told.target,
    status: told.status,
    fields: told.names
      .slice(0, Math.max(told.fields, 0))
      .flatMap((name, at) => [name, trimmed(told.values[at] ?? "")]),
    body: told.body,
    end: told.whole ? stopped : -1,
    why:
      isWhole || code === OK ? "" : `${code} ${wordAt(llhttp.llhttp_get_error_reason(parser))} at ${stopped}`,
  };
  llhttp.llhttp_free(parser);
  return heard;
}

/** It leaves the white space behind a value on, which is not part of it (RFC 9112 §5). */
function trimmed(value: string): string {
  return value.replace(/[\t ]+$/, "");
}
