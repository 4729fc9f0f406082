/** The page as its users have it: a real daemon, disks and a repository, `ibackup ui`, and a browser. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";
import { findDaemon } from "../../src/api/client.ts";
import { run, shell } from "./machine.ts";
import { startIbackup } from "./program.ts";
import { Site } from "./site.ts";

const CHROMIUM = "/usr/bin/chromium";

export interface Look {
  width?: number;
  height?: number;
  isDark?: boolean;
}

export class PageSite {
  readonly site = new Site();
  readonly source: string;
  readonly target: string;
  /** Where the file system of the source is mounted. */
  readonly folder: string;
  /** What the page has complained of: errors, violations of its policy, requests that failed. */
  readonly complaints: string[] = [];
  readonly #children: ChildProcess[] = [];
  #browser: Browser | undefined;
  #daemon: ChildProcess | undefined;

  constructor(diskBytes = 64 << 20) {
    const { machine } = this.site;
    this.site.init();
    this.source = machine.loopDisk("source", diskBytes);
    this.target = machine.loopDisk("target", diskBytes);
    // What mkfs leaves for later would be written while a test looks at the map.
    const whole = ["-E", "lazy_itable_init=0,lazy_journal_init=0"];
    run("mkfs.ext4", "-q", ...whole, "-L", "data", this.source);
    run("mkfs.ext4", "-q", "-L", "old", this.target);
    this.folder = machine.mount(this.source);
  }

  get config(): string {
    return this.site.machine.path("config.toml");
  }

  /** Starts the daemon, which tracks the source. */
  async startDaemon(): Promise<void> {
    const upload = '[store]\nupload-limit = "8MiB/s"\n';
    const trigger = '[trigger]\nany = [{ every = "6h" }, { blocks = 100000 }]\n';
    writeFileSync(this.config, `vm = "web-1"\ndisks = ["${this.source}"]\n${upload}${trigger}`, {
      mode: 0o600,
    });
    this.#daemon = this.#start("daemon", "--config", this.config);
    const { runtimeFolder } = this.site.machine;
    for (;;) {
      if (this.#daemon.exitCode !== null) throw new Error("the daemon has ended");
      if ((await findDaemon(runtimeFolder)) !== undefined) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async stopDaemon(): Promise<void> {
    if (this.#daemon !== undefined) await end(this.#daemon, "SIGTERM");
  }

  /** Starts `ibackup ui`. @returns The address that it prints, which can be opened once. */
  async startUi(): Promise<URL> {
    const ui = this.#start("ui");
    const [line] = await once(ui.stdout ?? ui, "data");
    return new URL(String(line).trim());
  }

  async browser(): Promise<Browser> {
    this.#browser ??= await chromium.launch({
      executablePath: CHROMIUM,
      args: ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP rebound.test 127.0.0.1"],
    });
    return this.#browser;
  }

  /** Opens the page by its token. Whatever it complains of is noted. */
  async open(url: URL, { width = 1280, height = 900, isDark = false }: Look = {}): Promise<Page> {
    const browser = await this.browser();
    const context = await browser.newContext({
      viewport: { width, height },
      colorScheme: isDark ? "dark" : "light",
      reducedMotion: "reduce",
    });
    const page = await context.newPage();
    page.on("console", (message) => {
      if (message.type() === "error") this.complaints.push(message.text());
    });
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    await page.goto(url.href);
    await page.locator(".connection.is-open").waitFor();
    return page;
  }

  /** Writes a file of random bytes, and has them on the disk. */
  write(name: string, mebibytes: number): void {
    const file = `${this.folder}/${name}`;
    shell(`dd if=/dev/urandom of='${file}' bs=1M count=${mebibytes} conv=fsync status=none`);
  }

  async close(): Promise<void> {
    await this.#browser?.close();
    for (const child of this.#children) await end(child, "SIGKILL");
    this.site.close();
  }

  #start(...args: string[]): ChildProcess {
    const child = startIbackup(this.site.machine, args, this.site.options);
    child.stderr?.resume();
    this.#children.push(child);
    return child;
  }
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill(signal);
  await once(child, "exit");
}
