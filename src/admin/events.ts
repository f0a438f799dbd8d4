/**
 * Server-sent events: what the routes look like now, at each change and every second, for as long as somebody listens.
 *
 * One timer serves all listeners and runs only while there are any; a status is turned to text once, however many read it. A change is
 * seen by the version of the recorded state, which is looked at ten times a second; a rollback that could not be recorded is told with the next second.
 * A listener that does not read is cut off at a bound: it may come back, and the next event tells it everything.
 */

import type { ServerResponse } from "node:http";
import type { Control } from "../engine/control.ts";
import type { Clock, Log } from "../engine/ports.ts";
import { millis } from "../domain/units.ts";
import { GUARDS } from "./answer.ts";

/** Listeners at the most. */
export const LISTENERS = 32;
const LOOK_MS = millis(100);
const LOOKS_PER_STATUS = 10;
const STATUSES_PER_HEARTBEAT = 15;
/** Bytes that may wait for one listener. */
const MAX_WAITING = 1024 * 1024;

/** The stream of events. */
export interface Events {
  /** Begins a stream on `response`, whose head has not been sent; false when there are too many listeners already. */
  attach(response: ServerResponse, only: string | undefined): boolean;
  /** Something was done: tells the listeners at once. */
  changed(): void;
  /** Ends every stream. */
  close(): void;
}

interface Listener {
  readonly response: ServerResponse;
  readonly only: string | undefined;
}

/** A stream of `control`'s routes. */
export function createEvents(control: Control, clock: Clock, log: Log): Events {
  const listeners = new Set<Listener>();
  let stop: (() => void) | undefined;
  let looks = 0;
  let seen = -1;
  let sent = 0;

  function tell(to: Iterable<Listener>): void {
    seen = control.version;
    const texts = control.routes().map((route) => {
      const text = `id: ${++sent}\nevent: status\ndata: ${JSON.stringify(route)}\n\n`;
      return { name: route.name, text };
    });
    for (const listener of to) {
      const parts = texts.filter(({ name }) => listener.only === undefined || listener.only === name);
      write(listener, parts.map(({ text }) => text).join(""));
    }
  }

  function write({ response }: Listener, text: string): void {
    if (response.writableLength <= MAX_WAITING) response.write(text);
    else {
      log.warn("a listener of events does not read and is cut off");
      response.destroy();
    }
  }

  function look(): void {
    looks++;
    if (looks % (LOOKS_PER_STATUS * STATUSES_PER_HEARTBEAT) === 0) {
      for (const listener of listeners) write(listener, ": heartbeat\n\n");
    }
    if (looks % LOOKS_PER_STATUS === 0 || control.version !== seen) tell(listeners);
  }

  function leave(listener: Listener): void {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    stop?.();
    stop = undefined;
  }

  return {
    attach(response, only) {
      if (listeners.size >= LISTENERS) return false;
      const listener: Listener = { response, only };
      listeners.add(listener);
      response.on("close", () => leave(listener));
      // A proxy in between must not hold events back.
      response.writeHead(200, { ...GUARDS, "content-type": "text/event-stream", "x-accel-buffering": "no" });
      response.write("retry: 2000\n: open\n\n");
      tell([listener]);
      stop ??= clock.every(LOOK_MS, look);
      return true;
    },
    changed() {
      if (listeners.size > 0) tell(listeners);
    },
    close() {
      for (const { response } of listeners) response.end();
    },
  };
}
