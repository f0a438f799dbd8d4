/** The certificates of `golden/tls`, and a client over TLS without an HTTP library. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { connect, type ConnectionOptions } from "node:tls";

const FOLDER = join(import.meta.dirname, "../golden/tls");

/** Path of a file of `golden/tls`. */
export function tlsFile(name: string): string {
  return join(FOLDER, name);
}

/** The files of a certificate and its key, as configured. "" is the one for localhost. */
export function pairOf(name: string): { readonly cert: string; readonly key: string } {
  const prefix = name === "" ? "" : `${name}.`;
  return { cert: tlsFile(`${prefix}cert.pem`), key: tlsFile(`${prefix}key.pem`) };
}

/** Their texts. */
export function textsOf(name: string): { readonly cert: string; readonly key: string } {
  const { cert, key } = pairOf(name);
  return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
}

/** What came of one connection. */
export interface Talk {
  /** All that was received after the handshake, latin1. */
  readonly text: string;
  /** Common name of the server's certificate; "" when the handshake failed. */
  readonly name: string;
  readonly protocol: string;
  readonly alpn: string;
  readonly cipher: string;
  readonly isReused: boolean;
  /** To resume by. */
  readonly session: Buffer | undefined;
  /** Code of an error, or "". */
  readonly error: string;
}

/** One connection over TLS that sends `text` and reads until it is closed. Takes any certificate; never rejects. */
export function talk(address: string, text: string, options: ConnectionOptions = {}): Promise<Talk> {
  const colon = address.lastIndexOf(":");
  const talked = {
    text: "",
    name: "",
    protocol: "",
    alpn: "",
    cipher: "",
    isReused: false,
    session: undefined as Buffer | undefined,
    error: "",
  };
  return new Promise((resolve) => {
    const socket = connect({
      host: address.slice(0, colon),
      port: Number(address.slice(colon + 1)),
      servername: "localhost",
      rejectUnauthorized: false,
      ...options,
    });
    socket.on("secureConnect", () => {
      const certificate = socket.getPeerX509Certificate();
      talked.name = /^CN=(.*)$/m.exec(certificate?.subject ?? "")?.[1] ?? "";
      talked.protocol = socket.getProtocol() ?? "";
      talked.alpn = socket.alpnProtocol === false ? "" : (socket.alpnProtocol ?? "");
      talked.cipher = socket.getCipher().standardName;
      talked.isReused = socket.isSessionReused();
      socket.write(text, "latin1");
    });
    socket.on("session", (session: Buffer) => (talked.session = session));
    socket.on("data", (chunk: Buffer) => (talked.text += chunk.toString("latin1")));
    socket.on("error", (error: NodeJS.ErrnoException) => (talked.error = error.code ?? error.message));
    socket.on("end", () => socket.end());
    socket.on("close", () => resolve(talked));
  });
}

/** A request whose answer ends the connection. */
export const LAST_GET = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
