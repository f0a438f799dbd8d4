/** A client without an HTTP library: bytes out, bytes in. What a test sends is what goes over the wire. */

import { connect, type Socket } from "node:net";

/** A request for a WebSocket. */
export const HANDSHAKE =
  "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/** A raw connection. */
export interface RawClient {
  readonly socket: Socket;
  /** Sends bytes (latin1). */
  send(text: string | Buffer): void;
  /** Everything received so far, latin1. */
  readonly received: string;
  /** Resolves with all received once it matches; rejects when the connection ends, or 5 s pass, before. */
  until(pattern: RegExp | ((received: string) => boolean)): Promise<string>;
  /** Resolves with all received once the connection has closed, however. */
  closed(): Promise<{ readonly text: string; readonly error: string }>;
  destroy(): void;
}

const PATIENCE_MS = 5000;

/** Connects to `host:port`; rejects when nobody listens there. */
export async function raw(address: string): Promise<RawClient> {
  const colon = address.lastIndexOf(":");
  const socket = connect(Number(address.slice(colon + 1)), address.slice(0, colon));
  let received = "";
  let error = "";
  let done = false;
  let notify: () => void = () => undefined;
  socket.on("data", (chunk: Buffer) => {
    received += chunk.toString("latin1");
    notify();
  });
  socket.on("error", (trouble: NodeJS.ErrnoException) => (error = trouble.code ?? trouble.message));
  socket.on("close", () => {
    done = true;
    notify();
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  const wait = async (ready: () => boolean, what: string): Promise<void> => {
    const late = AbortSignal.timeout(PATIENCE_MS);
    while (!ready()) {
      if (late.aborted) throw new Error(`${what} did not come; received ${JSON.stringify(received)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, PATIENCE_MS);
        notify = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  };
  return {
    socket,
    send: (text) => void socket.write(typeof text === "string" ? Buffer.from(text, "latin1") : text),
    get received() {
      return received;
    },
    async until(pattern) {
      const matches = (): boolean => (pattern instanceof RegExp ? pattern.test(received) : pattern(received));
      await wait(() => matches() || done, String(pattern));
      if (!matches())
        throw new Error(`closed before ${String(pattern)}: ${JSON.stringify(received)} ${error}`);
      return received;
    },
    async closed() {
      await wait(() => done, "close");
      return { text: received, error };
    },
    destroy: () => void socket.destroy(),
  };
}

/** Resets a connection. The platform cannot while its end is under way, and would lose the descriptor and spin when the process ends. */
export function resetConnection(socket: Socket): void {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

/** One request on a connection of its own, `Connection: close` added; resolves with all that came back. */
export async function once(address: string, head: string, body = ""): Promise<string> {
  const client = await raw(address);
  client.send(`${head.replaceAll("\n", "\r\n")}\r\nConnection: close\r\n\r\n${body}`);
  return (await client.closed()).text;
}

/** The status of a response text; 0 when there is none. */
export function statusOf(text: string): number {
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0);
}

/** The status behind informational ones. */
export function finalStatusOf(text: string): number {
  return statusOf(text.replace(/^(?:HTTP\/1\.1 1\d\d [^]*?\r\n\r\n)+/, ""));
}

/** The body of a response text with a length or until its end. */
export function bodyOf(text: string): string {
  const at = text.indexOf("\r\n\r\n");
  return at < 0 ? "" : text.slice(at + 4);
}
