/**
 * An upstream that takes nothing on trust: every byte that reaches it goes through llhttp, strict, so what it heard is what a careful server
 * would have taken the bytes for. What is not HTTP is remembered as such and ends the connection.
 */

import { createServer, type AddressInfo, type Socket } from "node:net";
import type { Test } from "tap";
import { hearRequest, type Heard } from "../fuzz/llhttp.ts";
import { startPlane } from "./plane.ts";

/** A running upstream. */
export interface StrictUpstream {
  readonly url: string;
  /** Whole requests, oldest first. */
  readonly heard: Heard[];
  /** What was not HTTP, with the reason. */
  readonly broken: string[];
  /** Everything that came, of all connections, latin1. */
  readonly bytes: string;
  /** Connections accepted so far. */
  readonly accepted: number;
  close(): Promise<void>;
}

/** Answers every whole request with 200 and `ok`; a HEAD without a body. */
export async function strictUpstream(): Promise<StrictUpstream> {
  const heard: Heard[] = [];
  const broken: string[] = [];
  const sockets = new Set<Socket>();
  let all = "";
  let accepted = 0;
  const server = createServer((socket) => {
    accepted++;
    sockets.add(socket);
    let bytes = Buffer.alloc(0);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
    socket.on("data", (more: Buffer) => {
      all += more.toString("latin1");
      bytes = Buffer.concat([bytes, more]);
      while (bytes.length > 0) {
        const request = hearRequest(bytes);
        if (request.verdict === "more") return;
        if (request.verdict === "refused") {
          broken.push(`${request.why}: ${bytes.toString("latin1")}`);
          socket.destroy();
          return;
        }
        bytes = bytes.subarray(request.end);
        heard.push(request);
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${request.method === "HEAD" ? "" : "ok"}`);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A TCP server has an address of this form.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    heard,
    broken,
    get bytes() {
      return all;
    },
    get accepted() {
      return accepted;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** The values of a field, in order. */
export function valuesOf({ fields }: Heard, name: string): string[] {
  const values: string[] = [];
  for (let at = 0; at < fields.length; at += 2)
    if (fields[at]?.toLowerCase() === name) values.push(fields[at + 1] ?? "");
  return values;
}

/** A data plane in front of such an upstream, for one test. @param top keys of the configuration beside the route */
export async function strictPlane(t: Test, top: object = {}) {
  const server = await strictUpstream();
  const running = await startPlane({ stable: server.url, canary: server.url }, {}, top);
  t.teardown(async () => {
    await running.plane.close();
    await server.close();
  });
  return { server, address: running.address };
}
