/**
 * How many connections operators may have, and who makes room when there are too many (reliability.md 42, 45).
 *
 * A plain limit would let whoever opens connections first keep the operator out for as long as they hold them. So the newcomer is let in, and
 * the oldest connection on which nobody has shown a token yet has to go: idle ones, half a head, a page that nobody reads. Holders of a token
 * are never put out by strangers; only when they fill the limit by themselves is a newcomer dropped.
 */

import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";

/** The connections of one listener. */
export interface AdminConnections {
  /** Counts a connection in until it closes; may put another one, or this one, out. */
  add(socket: Socket): void;
  /** Somebody has shown a token on the connection of `request`: it is not put out any more. */
  setKnown(request: IncomingMessage): void;
  /** Ends every connection at once, those in a TLS handshake included. */
  destroy(): void;
}

/** At most `limit` connections. `onFull` is told of each one that is put out: the address at its other end. */
export function createConnections(limit: number, onFull: (address: string) => void): AdminConnections {
  const all = new Map<string, Socket>();
  /** Names of those without a token, the oldest first. */
  const strangers = new Set<string>();
  const names = new WeakMap<Socket, string>();
  let count = 0;

  function makeRoom(): void {
    const [oldest] = strangers;
    if (all.size <= limit || oldest === undefined) return;
    const socket = all.get(oldest);
    onFull(socket?.remoteAddress ?? "unix");
    leave(oldest);
    socket?.destroy();
  }

  function leave(name: string): void {
    all.delete(name);
    strangers.delete(name);
  }

  return {
    add(socket) {
      const name = addressesOf(socket) ?? `number ${++count}`;
      names.set(socket, name);
      all.set(name, socket);
      strangers.add(name);
      socket.once("close", () => {
        if (all.get(name) === socket) leave(name);
      });
      makeRoom();
    },
    setKnown({ socket }) {
      const name = names.get(socket) ?? addressesOf(socket);
      if (name !== undefined) strangers.delete(name);
    },
    destroy() {
      for (const socket of all.values()) socket.destroy();
    },
  };
}

/**
 * What a connection is called by: the same for a socket and for the TLS on top of it, which knows of it no other way. Undefined on a unix
 * socket, and where the other end has gone already.
 */
function addressesOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string | undefined {
  if (remoteAddress === undefined || remotePort === undefined) return undefined;
  return `${remoteAddress} ${remotePort} ${localAddress ?? ""} ${localPort ?? ""}`;
}
