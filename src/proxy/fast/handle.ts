/**
 * **The semi-internal steps of this program, all of them.** What they do can also be done with documented means, at more CPU a request
 * (figures in bench/README.md); `probeHandles` tries them with real exchanges at start, and what does not work there is not used.
 *
 * 1. *Reading*: `net.connect` has a documented option `onread` that reads into a buffer of ours; accepted sockets have none. So an accepted
 *    socket's handle is put into a new `net.Socket` made with that option. Without it: the documented `data` event.
 * 2. *Writing*: a stream's `write` costs a request object, a queue entry and a tick, for bytes that the kernel nearly always takes at
 *    once. So the handle's own `writeBuffer` and `writeLatin1String` are called, with one request object for as long as nothing is left over.
 *    Whether something was is asked of the platform's own word for it: an empty queue does not say it, for the kernel may take at the
 *    second try what it did not at the first, and a request object that is used again before it was completed ends the process.
 *    Without it: `socket.write`.
 * 3. *TLS*: a server tells of a connection when its handshake is done, and not which of those that were handed to it this was. So the socket
 *    below is asked for, which the platform keeps for itself. Without it no connection over TLS would be served; tests would tell.
 *
 * Both have worked the same way on every Node since 12, but nobody promises them.
 */

import type { FastLaneSteps } from "../../engine/ports.ts";
import { connect, createServer, Socket, type AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";

/** The part of a handle that is used. */
interface Handle {
  /** Bytes that the kernel has not taken yet. */
  readonly writeQueueSize: number;
  writeBuffer(request: WriteRequest, bytes: Uint8Array): number;
  writeLatin1String(request: WriteRequest, text: string): number;
}

/** The platform's object for one write. */
interface WriteRequest {
  /** Called when a write that could not be done at once is done; `status` is negative when it failed. */
  oncomplete: ((status: number) => void) | undefined;
  /** Keeps the memory alive. */
  bytes?: Uint8Array;
}

/** What the platform's own streams use for their writes. */
export interface WriteMeans {
  readonly WriteWrap: new () => WriteRequest;
  /** Whether the last write of this thread is completed later, by `oncomplete`. */
  wasLeftOver(): boolean;
}

/** Which steps may be used. */
export type Handles = FastLaneSteps;

/** None of the steps: documented means alone. */
export const NO_HANDLES: Handles = { reads: false, writes: false };

let writeMeans: WriteMeans | undefined;

function handleOf(socket: Socket): Handle | undefined {
  const handle: unknown = Reflect.get(socket, "_handle");
  return typeof handle === "object" && handle !== null ? (handle as Handle) : undefined;
}

/** The handle of an accepted socket, which is an empty shell afterwards; undefined when it has none. */
export function takeHandle(accepted: Socket): object | undefined {
  const handle = handleOf(accepted);
  if (handle === undefined) return undefined;
  Reflect.set(accepted, "_handle", null);
  accepted.destroy();
  return handle;
}

/** The socket over which TLS is spoken. */
export function innerSocket(socket: TLSSocket): Socket | undefined {
  const inner: unknown = Reflect.get(socket, "_parent");
  return inner instanceof Socket ? inner : undefined;
}

/** A socket around a handle taken before. `callback` gets the number of bytes read; false stops reading. */
export function socketAround(
  handle: object,
  buffer: () => Buffer,
  callback: (count: number, bytes: Uint8Array) => boolean,
): Socket {
  const options = { handle, allowHalfOpen: true, onread: { buffer, callback } };
  // The option `handle` is not in the types in this form.
  return new Socket(options as ConstructorParameters<typeof Socket>[0]);
}

/** What a direct write came to. */
export type Written = "taken" | "pending" | "failed";

/** Direct writes on one open socket. Exported for its test alone; `directWriter` makes it. */
export class DirectWriter {
  readonly #handle: Handle;
  /** Kept here: a later try that fails must not take them from those who write already. */
  readonly #means: WriteMeans;
  readonly #flushed: () => void;
  readonly #failed: () => void;
  #request: WriteRequest | undefined = undefined;
  #pending = 0;
  #seen = 0;

  /** @param flushed called when all that was pending is taken @param failed called when a pending write has failed */
  constructor(handle: Handle, means: WriteMeans, flushed: () => void, failed: () => void) {
    this.#handle = handle;
    this.#means = means;
    this.#flushed = flushed;
    this.#failed = failed;
  }

  get isPending(): boolean {
    return this.#pending > 0;
  }

  /** Whether the kernel has taken anything since this was last asked. */
  hasMoved(): boolean {
    const before = this.#seen;
    this.#seen = this.#handle.writeQueueSize;
    return before !== this.#seen;
  }

  /** While "pending", `bytes` must not change. */
  write(bytes: Uint8Array): Written {
    const request = this.#take();
    const error = this.#handle.writeBuffer(request, bytes);
    return this.#wrote(request, error, bytes);
  }

  writeLatin1(text: string): Written {
    const request = this.#take();
    const error = this.#handle.writeLatin1String(request, text);
    return this.#wrote(request, error, undefined);
  }

  #take(): WriteRequest {
    return (this.#request ??= new this.#means.WriteWrap());
  }

  #wrote(request: WriteRequest, error: number, bytes: Uint8Array | undefined): Written {
    if (error !== 0) return "failed";
    if (!this.#means.wasLeftOver()) return "taken";
    this.#pending++;
    this.#request = undefined;
    this.#seen = this.#handle.writeQueueSize;
    if (bytes !== undefined) request.bytes = bytes;
    request.oncomplete = (status) => {
      this.#pending--;
      if (status < 0) this.#failed();
      else if (this.#pending === 0) this.#flushed();
    };
    return "pending";
  }
}

/** A writer for an open socket; undefined when the step is not there. */
export function directWriter(
  socket: Socket,
  flushed: () => void,
  failed: () => void,
): DirectWriter | undefined {
  const handle = handleOf(socket);
  if (writeMeans === undefined || typeof handle?.writeBuffer !== "function") return undefined;
  return new DirectWriter(handle, writeMeans, flushed, failed);
}

/** The platform's own means, where they are what they have been since Node 12. */
function meansOf(): WriteMeans | undefined {
  const binding: unknown = Reflect.get(process, "binding");
  if (typeof binding !== "function") return undefined;
  const { WriteWrap, streamBaseState, kLastWriteWasAsync } = (
    binding as (name: string) => Readonly<Record<string, unknown>>
  )("stream_wrap");
  if (typeof WriteWrap !== "function" || !(streamBaseState instanceof Int32Array)) return undefined;
  if (typeof kLastWriteWasAsync !== "number") return undefined;
  return {
    WriteWrap: WriteWrap as WriteMeans["WriteWrap"],
    wasLeftOver: () => streamBaseState[kLastWriteWasAsync] !== 0,
  };
}

/** More than the kernel takes at once. */
const PENDING_BYTES = 16 * 1024 * 1024;

/** Tries both steps with real exchanges on loopback: both directions, an incomplete write, the end. Never rejects. */
export async function probeHandles(patienceMs: number): Promise<Handles> {
  const reads = await tried(patienceMs, (accepted, settle) => {
    const handle = takeHandle(accepted);
    if (handle === undefined) {
      settle(false);
      return;
    }
    const place = Buffer.alloc(64);
    const socket = socketAround(
      handle,
      () => place,
      (count) => socket.write(Buffer.from(place.subarray(0, count))),
    );
    socket.on("error", () => settle(false));
    socket.on("end", () => socket.end());
    socket.resume();
  });
  const writes = await tried(patienceMs, (accepted, settle) => {
    writeMeans = meansOf();
    const bytes = Buffer.alloc(PENDING_BYTES);
    let isFlushed = false;
    const writer = directWriter(
      accepted,
      () => (isFlushed = true),
      () => settle(false),
    );
    const fine = writer?.writeLatin1("ab") === "taken" && writer.write(bytes) === "pending" && !isFlushed;
    if (!fine) settle(false);
    accepted.resume();
    accepted.on("end", () => (isFlushed ? accepted.end() : settle(false)));
  });
  if (!writes) writeMeans = undefined;
  return { reads, writes };
}

/** One try: what the server's side sends comes back as it should, or the other way round, within the time. */
async function tried(
  patienceMs: number,
  serve: (accepted: Socket, settle: (works: boolean) => void) => void,
): Promise<boolean> {
  if (patienceMs <= 0) return false;
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  const works = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(resolve, patienceMs, false);
    const settle = (result: boolean): void => {
      clearTimeout(timer);
      resolve(result);
    };
    server.on("error", () => settle(false));
    server.on("connection", (accepted) => {
      accepted.on("error", () => settle(false));
      try {
        serve(accepted, settle);
      } catch {
        settle(false);
      }
    });
    server.listen(0, "127.0.0.1", () => {
      let received = 0;
      // A listening TCP server has an address of this form.
      const client = connect((server.address() as AddressInfo).port, "127.0.0.1", () => client.write("ab"));
      client.on("error", () => settle(false));
      client.on("data", (bytes: Buffer) => {
        received += bytes.length;
        if (received === 2 || received === PENDING_BYTES + 2) client.end();
      });
      client.on("end", () => settle(received === 2 || received === PENDING_BYTES + 2));
    });
  });
  server.close();
  return works;
}
