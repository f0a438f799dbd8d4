/**
 * The request whose turn it is on a connection of the fast lane, as it was read: its head as one text, and what policy may know of it. One object per
 * connection, filled again for each request.
 */

import { bucketByText } from "../affinity.ts";
import { originOf, type Origin, type Peer } from "../forwarding.ts";
import type { Limits } from "../listener.ts";
import type { KeySource, RequestView } from "../request.ts";
import { fieldOfText, fieldsOfText } from "./head.ts";
import { bucketOfScan } from "./key.ts";
import { textAt } from "./names.ts";
import { RequestScan } from "./scan.ts";
import { Timed } from "./wheel.ts";

/** No bytes. */
export const EMPTY = Buffer.alloc(0);

/** The one scan of this thread: a head is scanned, routed and sent within one turn. */
export const SCAN = new RequestScan();

/** What was read of a request. */
export abstract class PlainRequest extends Timed implements RequestView {
  method: string = "GET";
  target = "";
  host = "";
  isHead = false;
  origin: Origin;
  protected readonly peer: Peer;
  protected head = "";
  /** Where it was read, and begins; only within the turn in which it was scanned. */
  protected bytes: Buffer = EMPTY;
  protected from = 0;

  constructor(peer: Peer) {
    super();
    this.peer = peer;
    this.origin = { peer: peer.address, trusted: false, client: peer.address };
  }

  get view(): RequestView {
    return this;
  }

  get client(): string {
    return this.origin.client;
  }

  get subject(): string {
    return this.peer.subject;
  }

  header(name: string): string | undefined {
    return fieldOfText(this.head, name);
  }

  bucketOf(sources: readonly KeySource[], salt: string): number {
    const quick = bucketOfScan(SCAN, this.bytes, sources, salt);
    return quick === undefined ? bucketByText(this, sources, salt) : quick;
  }

  /** Takes over what was just scanned. */
  protected scanned(bytes: Buffer, from: number, limits: Limits): void {
    this.bytes = bytes;
    this.from = from;
    this.head = bytes.toString("latin1", from, SCAN.end);
    this.method = SCAN.method;
    this.isHead = SCAN.method === "HEAD";
    this.target = this.head.slice(SCAN.targetFrom - from, SCAN.targetTo - from);
    this.host = textAt(bytes, SCAN.hostFrom, SCAN.hostTo, this.host);
    if (limits.anyTrusted)
      this.origin = originOf(this.peer.address, fieldsOfText(this.head), limits.trusted, true);
  }
}
