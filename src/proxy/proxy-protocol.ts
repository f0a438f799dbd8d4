/**
 * The PROXY protocol's header, by which a balancer says who the client is, versions 1 and 2 (HAProxy, "The PROXY protocol", 2020/03/05 §2).
 *
 * The parser is pure: its verdict depends on the bytes alone and not on the pieces they came in, and it never throws. It is strict: what is not
 * exactly a header is none, for a guess here would let a client say who it is.
 */

import { isIPv4, isIPv6, SocketAddress, type Socket } from "node:net";
import { plainAddress } from "./forwarding.ts";

const TEXT = Buffer.from("PROXY ", "latin1");
const TEXT_BYTES = 107;
const BINARY = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const BINARY_HEAD_BYTES = 16;
/** Addresses and extensions of a binary header; more than this nobody sends. */
const BINARY_BYTES = 4096;
/** Least length of the addresses, by the family. */
const IPV4_BYTES = 12;
const IPV6_BYTES = 36;
const UNIX_BYTES = 216;

/** Addresses of a text header, by the family that it names. */
const FAMILIES: ReadonlyMap<string, (text: string) => boolean> = new Map([
  ["TCP4", isIPv4],
  ["TCP6", isIPv6Text],
]);

/** `more`: too few bytes to tell. `invalid`: no header, whatever follows. */
export type ProxyVerdict = "more" | "invalid" | ProxyHeader;

/** A header that was read. */
export interface ProxyHeader {
  /** Its bytes; what follows is the client's. */
  readonly length: number;
  /** The client's address in plain form; undefined: the connection's own counts, as for the balancer's own checks. */
  readonly address: string | undefined;
}

/** What these first bytes of a connection are. */
export function parseProxyHeader(bytes: Buffer): ProxyVerdict {
  if (begins(bytes, TEXT)) return bytes.length < TEXT.length ? "more" : textHeader(bytes);
  if (begins(bytes, BINARY)) return bytes.length < BINARY_HEAD_BYTES ? "more" : binaryHeader(bytes);
  return "invalid";
}

/** Whether these are the first bytes of a mark, or begin with it. */
function begins(bytes: Buffer, mark: Buffer): boolean {
  const length = Math.min(bytes.length, mark.length);
  return bytes.compare(mark, 0, length, 0, length) === 0;
}

function textHeader(bytes: Buffer): ProxyVerdict {
  const end = bytes.subarray(0, TEXT_BYTES).indexOf("\r\n");
  if (end < 0) return bytes.length < TEXT_BYTES ? "more" : "invalid";
  const words = bytes.toString("latin1", TEXT.length, end).split(" ");
  const length = end + 2;
  if (words[0] === "UNKNOWN") return { length, address: undefined };
  const [family = "", source = "", target = "", sourcePort, targetPort] = words;
  const isAddress = FAMILIES.get(family);
  if (words.length !== 5 || isAddress === undefined || !isPort(sourcePort) || !isPort(targetPort))
    return "invalid";
  if (!isAddress(source) || !isAddress(target)) return "invalid";
  return { length, address: isIPv4(source) ? source : ipv6(source) };
}

function isPort(text: string | undefined): boolean {
  return text !== undefined && /^(?:0|[1-9][0-9]{0,4})$/.test(text) && Number(text) <= 65_535;
}

function isIPv6Text(text: string): boolean {
  return isIPv6(text) && !text.includes("%");
}

function binaryHeader(bytes: Buffer): ProxyVerdict {
  const command = bytes.readUInt8(12);
  if (command !== 0x20 && command !== 0x21) return "invalid";
  const family = bytes.readUInt8(13);
  if (family >> 4 > 3 || (family & 15) > 2) return "invalid";
  const size = bytes.readUInt16BE(14);
  if (size > BINARY_BYTES) return "invalid";
  const length = BINARY_HEAD_BYTES + size;
  const isLocal = command === 0x20;
  if (!isLocal && size < leastOf(family)) return "invalid";
  if (bytes.length < length) return "more";
  if (isLocal) return { length, address: undefined };
  const at = BINARY_HEAD_BYTES;
  // What is no TCP connection over IP has no address that could be told.
  if (family === 0x11) return { length, address: bytes.subarray(at, at + 4).join(".") };
  if (family !== 0x21) return { length, address: undefined };
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(at + 2 * index).toString(16));
  return { length, address: ipv6(groups.join(":")) };
}

function leastOf(family: number): number {
  if ((family & 15) === 0) return 0;
  return [0, IPV4_BYTES, IPV6_BYTES, UNIX_BYTES][family >> 4] ?? 0;
}

/** As the platform writes it, so that one client is one address however it was told. */
function ipv6(text: string): string {
  return plainAddress(new SocketAddress({ address: text, family: "ipv6" }).address);
}

/**
 * Reads the header from a paused connection and tells, once, with the socket paused and what followed put back; undefined: there is none. Of a
 * connection that closes before nothing is told; how long one may take is the caller's business.
 */
export function readProxyHeader(socket: Socket, tell: (header: ProxyHeader | undefined) => void): void {
  let read: Buffer = Buffer.alloc(0);
  const look = (chunk: Buffer): void => {
    read = read.length === 0 ? chunk : Buffer.concat([read, chunk]);
    const verdict = parseProxyHeader(read);
    if (verdict === "more") return;
    stop();
    socket.pause();
    if (verdict === "invalid") {
      tell(undefined);
      return;
    }
    if (read.length > verdict.length) socket.unshift(read.subarray(verdict.length));
    tell(verdict);
  };
  const ended = (): void => {
    stop();
    tell(undefined);
  };
  const stop = (): void => {
    socket.off("data", look);
    socket.off("end", ended);
    socket.off("close", stop);
  };
  socket.on("data", look);
  socket.on("end", ended);
  socket.on("close", stop);
  socket.resume();
}
