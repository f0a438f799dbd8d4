/** What a connection of the fast lane needs of its listener. Types only. */

import type { Socket } from "node:net";
import type { Peer } from "../forwarding.ts";
import type { Reception } from "../listener.ts";
import type { FastClient } from "./client.ts";
import type { Handles } from "./handle.ts";
import type { Wheel } from "./wheel.ts";

/** What the lane needs beside the reception. */
export interface FastLane {
  readonly reception: Reception;
  readonly wheel: Wheel;
  readonly handles: Handles;
  /** Takes the connection over for the rest of its life; `first` is what its stream begins with, `served` the requests it had here. */
  handOver(socket: Socket, peer: Peer, first: Buffer, served: number): void;
  /** A connection has closed (true), or is about to be handed over. */
  left(client: FastClient, isClosed: boolean): void;
}
