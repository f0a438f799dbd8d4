/**
 * One listener's side of TLS: which certificate is shown to whom, what is spoken, and who a client's certificate says it is. Contexts are made once per
 * set of texts and never per connection; other texts make other contexts, for new connections alone.
 *
 * Sessions are resumed in every thread and on every socket, for all seal their tickets by the same key. A ticket is bound to the listener's whole
 * TLS configuration and to the authorities of client certificates: without that, a session begun where nobody asks for a certificate would open
 * a listener that requires one.
 */

import { constants, createHash, type X509Certificate } from "node:crypto";
import {
  createSecureContext,
  type SecureContext,
  type SecureContextOptions,
  type Server,
  type TLSSocket,
  type TlsOptions,
} from "node:tls";
import type { Log } from "../engine/ports.ts";
import type { ListenTls, PemShelf } from "./pem.ts";

/** TLS 1.3, then of TLS 1.2 only what has forward secrecy and authenticated encryption (RFC 9325 §4.2). */
export const CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/** The certificates of one listener. */
export class Certificates {
  readonly #tls: ListenTls;
  readonly #pems: PemShelf;
  #names: ReadonlyMap<string, SecureContext> = new Map();

  constructor(tls: ListenTls, pems: PemShelf) {
    this.#tls = tls;
    this.#pems = pems;
  }

  /** What a TLS server is made with. Throws when the texts cannot be used. */
  serverOptions(): TlsOptions {
    const { clients } = this.#tls;
    return {
      ...this.#build(),
      // What is asked for must never be somebody else's trouble: an unknown name gets the default, as one without a name does.
      SNICallback: (name, done) => done(null, this.contextOf(name)),
      requestCert: clients !== "off",
      rejectUnauthorized: clients === "require",
    };
  }

  /** Follows the shelf: a server's new connections get the texts that lie there now. Returns what ends it. */
  follow(server: Server, log: Log): () => void {
    return this.#pems.onChange(() => {
      try {
        server.setSecureContext(this.#build());
      } catch (error) {
        // The main thread has tried them: this thread goes on with what it has.
        log.error("TLS files cannot be used", { error });
      }
    });
  }

  /** The context for a name: the exact one, else that of `*.` and all but its first label; undefined: the default. Never throws. */
  contextOf(name: string): SecureContext | undefined {
    const asked = name.toLowerCase();
    const exact = this.#names.get(asked);
    if (exact !== undefined) return exact;
    const dot = asked.indexOf(".");
    return dot <= 0 ? undefined : this.#names.get(`*${asked.slice(dot)}`);
  }

  /**
   * The subject of the certificate that a client has shown; empty when it has shown none, undefined when it has shown one that
   * was not verified.
   */
  subjectOf(socket: TLSSocket): string | undefined {
    if (this.#tls.clients === "off") return "";
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return "";
    return socket.authorized ? subjectText(certificate) : undefined;
  }

  #build(): SecureContextOptions {
    const { cert, key, sni, minVersion, clients, clientCa } = this.#tls;
    const ca = clients === "off" || clientCa === undefined ? undefined : this.#pems.pem(clientCa);
    const scope = createHash("sha256")
      .update(JSON.stringify(this.#tls))
      .update(ca ?? "");
    const shared: SecureContextOptions = {
      ...(ca === undefined ? {} : { ca }),
      ciphers: CIPHERS,
      honorCipherOrder: true,
      minVersion: `TLSv${minVersion}`,
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
      sessionIdContext: scope.digest("hex").slice(0, 32),
      ticketKeys: this.#pems.tickets,
    };
    const of = (pair: { readonly cert: string; readonly key: string }): SecureContextOptions => ({
      ...shared,
      cert: this.#pems.pem(pair.cert),
      key: this.#pems.pem(pair.key),
    });
    const names = new Map<string, SecureContext>();
    for (const entry of sni) {
      const context = createSecureContext(of(entry));
      // The first that names it has it.
      for (const each of entry.names) {
        const name = each.toLowerCase();
        if (!names.has(name)) names.set(name, context);
      }
    }
    const standard = of({ cert, key });
    this.#names = names;
    return standard;
  }
}

/**
 * A certificate's subject as one line, the most specific part first: `CN=app,O=Example` (RFC 4514; the platform has escaped the values). Where it
 * has none, as with SPIFFE, its alternative names. The same for every certificate of the same subject, so a renewed one stays the same client.
 */
export function subjectText({ subject, subjectAltName }: X509Certificate): string {
  // Some certificates have none, whatever the types say.
  const parts: string | undefined = subject;
  if (parts === undefined || parts === "") return subjectAltName ?? "";
  return parts.split("\n").reverse().join(",");
}
