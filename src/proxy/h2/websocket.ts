/**
 * A WebSocket over one stream of HTTP/2 (RFC 8441), as the upgrade's machinery knows it: a socket on which the answer's HTTP/1.1 head is written
 * first. That head becomes the stream's HEADERS; what follows goes through as it is.
 *
 * So there is one way to carry out an upgrade, whatever the client speaks. Extended CONNECT has no key (RFC 8441 §5): the upstream, which is spoken to
 * in HTTP/1.1, is given one of ours.
 */

import { constants, type ServerHttp2Stream } from "node:http2";
import { Duplex } from "node:stream";
import type { ErrorCode } from "../../domain/errors.ts";
import type { Dice } from "../../engine/ports.ts";
import { ownAnswer, type OwnAnswer } from "../answer.ts";
import type { Peer } from "../forwarding.ts";
import { HOP_BY_HOP, type RequestHead } from "../headers.ts";
import type { UpgradeSide } from "../listener.ts";
import type { Http2Head } from "./request.ts";

const { NGHTTP2_NO_ERROR } = constants;
const CUT = new Error("cut");
const END_OF_HEAD = "\r\n\r\n";
/** RFC 6455 §4.1: sixteen random bytes. */
const KEY_BYTES = 16;

/** One such stream. */
export class WebSocketStream extends Duplex implements UpgradeSide {
  readonly peer: Peer;
  readonly head: RequestHead;
  readonly fields: readonly string[];
  readonly proto: "http" | "https";
  readonly version = "2";
  readonly bytes = Buffer.alloc(0);
  readonly #stream: ServerHttp2Stream;
  /** What was written of the answer's head. */
  #begun = "";

  constructor(
    stream: ServerHttp2Stream,
    request: Http2Head,
    peer: Peer,
    proto: "http" | "https",
    dice: Dice,
  ) {
    super({ allowHalfOpen: true });
    this.#stream = stream;
    this.peer = peer;
    this.head = request.head;
    this.proto = proto;
    // It only proves that the answer is to this request: what the dice show as a text is enough.
    const key = Buffer.from(dice.token(KEY_BYTES), "latin1").toString("base64", 0, KEY_BYTES);
    const fields = withoutKey(request.fields);
    fields.push("sec-websocket-version", "13", "sec-websocket-key", key);
    this.fields = fields;
    stream.on("data", (chunk: Buffer) => {
      if (!this.push(chunk)) stream.pause();
    });
    stream.on("end", () => this.push(null));
    stream.on("drain", () => this.#written());
    // A client that still sends is told that nobody reads it (RFC 9113 §8.1).
    stream.once("finish", () => {
      if (!stream.readableEnded) this.destroy();
    });
    stream.once("aborted", () => this.destroy());
    stream.once("close", () => this.destroy());
    stream.pause();
  }

  get socket(): this {
    return this;
  }

  // What is asked of a TCP socket beside being a stream.
  setTimeout(ms: number, callback?: () => void): this {
    this.#stream.setTimeout(ms, callback);
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  destroySoon(): void {
    if (this.writableFinished) this.destroy();
    else this.end(() => this.destroy());
  }

  refuse(status: number, code: ErrorCode, detail: string): void {
    this.give(status, ownAnswer(status, code, detail, ""));
  }

  give(status: number, { fields, body }: OwnAnswer): void {
    const stream = this.#stream;
    if (stream.headersSent || stream.destroyed || stream.closed) return void this.destroy();
    stream.respond([":status", String(status), ...fields]);
    // Its client has not ended it, and need not.
    stream.once("finish", () => this.destroy());
    stream.end(body);
  }

  linger(): void {
    // One stream of many: nothing is lost by its end.
  }

  over(): void {
    // The connection goes on.
  }

  override _read(): void {
    this.#stream.resume();
  }

  override _write(
    chunk: Buffer | string,
    _encoding: BufferEncoding,
    done: (error?: Error | null) => void,
  ): void {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk, "latin1") : chunk;
    this.#done = done;
    if (this.#stream.destroyed || this.#stream.closed) return this.#written();
    const rest = this.#stream.headersSent ? bytes : this.#answer(bytes);
    if (rest.length === 0 || this.#stream.write(rest)) this.#written();
  }

  override _final(done: (error?: Error | null) => void): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.writableFinished) done();
    else stream.end(() => done());
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const stream = this.#stream;
    if (!stream.closed && !stream.destroyed) {
      // An end that was taken arrives; anything else is told as what it is.
      if (stream.writableFinished) stream.close(NGHTTP2_NO_ERROR);
      // `close` would say END_STREAM first, and what was cut would look whole.
      else stream.destroy(error ?? CUT);
    }
    done(error);
  }

  #done: ((error?: Error | null) => void) | undefined = undefined;

  #written(): void {
    const done = this.#done;
    this.#done = undefined;
    done?.();
  }

  /** Takes the answer's head, and answers the stream when it is whole. Returns what came behind it. */
  #answer(bytes: Buffer): Buffer {
    this.#begun += bytes.toString("latin1");
    const end = this.#begun.indexOf(END_OF_HEAD);
    if (end < 0) return Buffer.alloc(0);
    const [line = "", ...lines] = this.#begun.slice(0, end).split("\r\n");
    const status = Number(line.split(" ", 2)[1]);
    const list = [":status", String(status === 101 ? 200 : status)];
    for (const each of lines) {
      const colon = each.indexOf(":");
      const name = each.slice(0, colon).toLowerCase();
      if (!HOP_BY_HOP.has(name) && name !== "sec-websocket-accept")
        list.push(name, each.slice(colon + 1).trim());
    }
    try {
      this.#stream.respond(list);
    } catch {
      // A status that HTTP/2 has no way to say.
      this.destroy();
      return Buffer.alloc(0);
    }
    return Buffer.from(this.#begun.slice(end + END_OF_HEAD.length), "latin1");
  }
}

function withoutKey(fields: readonly string[]): string[] {
  const out: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? "";
    if (name !== "sec-websocket-key" && name !== "sec-websocket-version")
      out.push(name, fields[at + 1] ?? "");
  }
  return out;
}
