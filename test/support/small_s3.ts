/** As much of S3 as ibackup uses, in memory; what servers differ in can be chosen. */
import { Buffer } from "node:buffer";
import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { env } from "node:process";

export interface SmallS3Options {
  /** What becomes of `If-None-Match: *`. */
  conditions: "honoured" | "ignored" | "unsupported";
  versions: boolean;
  /** Default true. */
  mayDelete?: boolean;
}

interface Version {
  id: string;
  /** Undefined: a marker. */
  body: Uint8Array | undefined;
  storedAtMs: number;
}

/** One request, before it is answered. */
export interface Asked {
  /** Which of the writers. */
  writer: number;
  method: string;
  /** Without the bucket. */
  key: string;
  query: URLSearchParams;
}

export class SmallS3 {
  /** Oldest first. */
  readonly objects = new Map<string, Version[]>();
  readonly #options: SmallS3Options;
  readonly #servers: Server[] = [];
  /** Resolves when the request may be answered. */
  gate: (asked: Asked) => Promise<void> = async () => undefined;
  now: () => number = Date.now;

  constructor(options: SmallS3Options) {
    this.#options = options;
  }

  /** @returns The URL by which one writer, and nobody else, reaches it. */
  async listen(): Promise<URL> {
    env["AWS_ACCESS_KEY_ID"] ??= "FAKEACCESSKEY";
    env["AWS_SECRET_ACCESS_KEY"] ??= "fakeSecretKey";
    const writer = this.#servers.length;
    const server = createServer((request, response) => {
      const parts: Uint8Array[] = [];
      request.on("data", (part) => parts.push(part));
      request.on("end", () => void this.#serve(writer, request, response, Buffer.concat(parts)));
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const port = address !== null && typeof address === "object" ? address.port : 0;
    return new URL(`s3://bucket?endpoint=http://127.0.0.1:${port}&attempts=2`);
  }

  async close(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  async #serve(
    writer: number,
    { method = "", url = "", headers }: IncomingMessage,
    response: ServerResponse,
    body: Buffer,
  ): Promise<void> {
    const { pathname, searchParams: query } = new URL(url, "http://host");
    const key = pathname.replace(/^\/bucket\/?/, "");
    await this.gate({ writer, method, key, query });
    const isConditional = headers["if-none-match"] !== undefined;
    if (method === "PUT") this.#put(response, { key, body, isConditional });
    else if (method === "DELETE") this.#remove(response, key, query.get("versionId"));
    else if (method === "POST") this.#removeMany(response, body.toString());
    else if (query.has("versioning")) this.#tellVersioning(response);
    else if (query.has("versions")) this.#listVersions(response, query.get("prefix") ?? "");
    else if (key === "") this.#list(response, query.get("prefix") ?? "");
    else this.#read(response, { method, key, id: query.get("versionId") });
  }

  #put(
    response: ServerResponse,
    { key, body, isConditional }: { key: string; body: Buffer; isConditional: boolean },
  ): void {
    const { conditions, versions } = this.#options;
    const there = this.objects.get(key) ?? [];
    if (isConditional && conditions === "unsupported") {
      fail(response, 501, "NotImplemented");
      return;
    }
    if (isConditional && conditions === "honoured" && there.at(-1)?.body !== undefined) {
      fail(response, 412, "PreconditionFailed");
      return;
    }
    const id = versions ? randomBytes(8).toString("hex") : "null";
    const version = { id, body: Uint8Array.from(body), storedAtMs: this.now() };
    this.objects.set(key, versions ? [...there, version] : [version]);
    response.writeHead(200, versions ? { "x-amz-version-id": id } : {}).end();
  }

  #remove(response: ServerResponse, key: string, id: string | null): void {
    if (this.#options.mayDelete === false) {
      fail(response, 403, "AccessDenied");
      return;
    }
    const there = this.objects.get(key) ?? [];
    if (id !== null) {
      this.objects.set(
        key,
        there.filter((version) => version.id !== id),
      );
    } else if (!this.#options.versions) this.objects.delete(key);
    else {
      const marker = { id: randomBytes(8).toString("hex"), body: undefined };
      this.objects.set(key, [...there, { ...marker, storedAtMs: this.now() }]);
    }
    response.writeHead(204).end();
  }

  #removeMany(response: ServerResponse, xml: string): void {
    for (const [, key = "", id] of xml.matchAll(
      /<Key>([^<]*)<\/Key>(?:<VersionId>([^<]*)<\/VersionId>)?/g,
    )) {
      const left = (this.objects.get(key) ?? []).filter((version) => version.id !== id);
      this.objects.set(key, left);
    }
    response.end("<DeleteResult></DeleteResult>");
  }

  #tellVersioning(response: ServerResponse): void {
    const status = this.#options.versions ? "<Status>Enabled</Status>" : "";
    response.end(`<VersioningConfiguration>${status}</VersioningConfiguration>`);
  }

  #list(response: ServerResponse, prefix: string): void {
    const rows = this.#keys(prefix).flatMap((key) => {
      const newest = this.objects.get(key)?.at(-1);
      if (newest?.body === undefined) return [];
      return [`<Contents>${facts(key, newest)}<Size>${newest.body.length}</Size></Contents>`];
    });
    response.end(`<ListBucketResult>${rows.join("")}</ListBucketResult>`);
  }

  #listVersions(response: ServerResponse, prefix: string): void {
    const rows = this.#keys(prefix).flatMap((key) =>
      (this.objects.get(key) ?? []).toReversed().map((version, index) => {
        const name = version.body === undefined ? "DeleteMarker" : "Version";
        const size = version.body === undefined ? "" : `<Size>${version.body.length}</Size>`;
        const id = `<VersionId>${version.id}</VersionId><IsLatest>${index === 0}</IsLatest>`;
        return `<${name}>${facts(key, version)}${id}${size}</${name}>`;
      }),
    );
    response.end(`<ListVersionsResult>${rows.join("")}</ListVersionsResult>`);
  }

  #keys(prefix: string): string[] {
    return [...this.objects.keys()].filter((key) => key.startsWith(prefix)).sort();
  }

  #read(
    response: ServerResponse,
    { method, key, id }: { method: string; key: string; id: string | null },
  ): void {
    const there = this.objects.get(key) ?? [];
    const version = id === null ? there.at(-1) : there.find((one) => one.id === id);
    if (version?.body === undefined) {
      if (method === "HEAD") response.writeHead(404).end();
      else fail(response, 404, "NoSuchKey");
      return;
    }
    const etag = createHash("md5").update(version.body).digest("hex");
    const length = String(version.body.length);
    response.writeHead(200, { "content-length": length, etag: `"${etag}"` });
    response.end(method === "HEAD" ? undefined : version.body);
  }
}

function facts(key: string, { storedAtMs }: Version): string {
  const time = new Date(storedAtMs).toISOString();
  return `<Key>${key}</Key><LastModified>${time}</LastModified>`;
}

function fail(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { "content-type": "application/xml" });
  response.end(`<Error><Code>${code}</Code><Message>so it is</Message></Error>`);
}
