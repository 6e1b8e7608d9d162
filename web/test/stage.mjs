// What the tests stand on: a running lagline, and a browser that notes everything that is wrong.

import { chromium } from "playwright-core";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PROGRAM = process.env.LAGLINE_PROGRAM ?? fileURLToPath(new URL("../../target/debug/lagline", import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** Far more than anything here takes on an idle machine. */
export const LIMIT_MS = 60_000;

/** A port nobody listens on. */
export async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** Asks until `check` gives something; a failure says what was seen last. */
export async function until(what, check) {
  const end = Date.now() + LIMIT_MS;
  let last;
  for (;;) {
    try {
      const found = await check();
      if (found) return found;
      last = found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`never seen: ${what} (last: ${last})`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** A lagline that is started with these arguments, and ends with the test. */
export class Lagline {
  constructor(args, port) {
    this.args = args;
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.output = "";
  }

  /** The demo, once its groups are judged. */
  static async demo() {
    const port = await freePort();
    const demo = new Lagline(["demo", "--listen", `127.0.0.1:${port}`], port);
    await demo.start();
    await until("a judged group in ERR", async () => (await demo.get("/api/v1/groups?status=ERR")).total >= 4);
    return demo;
  }

  /** `lagline run` with this configuration, once it listens. */
  static async run(config) {
    const port = await freePort();
    const folder = await mkdtemp(join(tmpdir(), "lagline-page-"));
    await writeFile(join(folder, "token"), "a secret\n");
    const path = join(folder, "lagline.toml");
    await writeFile(path, config.replaceAll("{folder}", folder).replaceAll("{listen}", `127.0.0.1:${port}`));
    const lagline = new Lagline(["run", "--config", path], port);
    lagline.folder = folder;
    await lagline.start();
    return lagline;
  }

  async start() {
    this.process = spawn(PROGRAM, this.args, { stdio: ["ignore", "pipe", "pipe"] });
    const keep = (chunk) => (this.output += chunk);
    this.process.stdout.on("data", keep);
    this.process.stderr.on("data", keep);
    this.process.on("error", (error) => (this.output += `${PROGRAM}: ${error.message}`));
    this.ended = new Promise((done) => this.process.once("close", done));
    await until(`${PROGRAM} ${this.args.join(" ")} listens`, async () => {
      if (this.process.exitCode !== null) throw new Error(this.output);
      return isOpen(this.port);
    });
  }

  async get(path) {
    const answer = await fetch(this.url + path);
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  /** Kills it; `start` starts it again at the same address. */
  async kill() {
    this.process.kill("SIGKILL");
    await this.ended;
  }

  async end() {
    await this.kill();
    if (this.folder) await rm(this.folder, { recursive: true, force: true });
  }
}

function isOpen(port) {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      done(true);
    });
    socket.once("error", () => done(false));
  });
}

/** One Chromium for a file of tests. */
export async function browser() {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/**
 * A tab of its own, with nothing remembered. `tab.wrong` collects what a page must never do: errors,
 * violations of the policy, questions to anybody else.
 */
export async function tab(of, lagline, options = {}) {
  const context = await of.newContext({ viewport: { width: 1300, height: 900 }, colorScheme: "dark", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT_MS);
  page.wrong = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") page.wrong.push(message.text());
  });
  page.on("pageerror", (error) => page.wrong.push(`not caught: ${error.message}`));
  page.on("dialog", (dialog) => {
    page.wrong.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${lagline.url}/`) && !url.startsWith("data:")) page.wrong.push(`asked elsewhere: ${url}`);
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  page.open = (hash = "") => page.goto(`${lagline.url}/${hash}`);
  return page;
}

/** Whether something is wider than the window. */
export const overflows = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);

/** Answers a path of the API with this instead of lagline: an object, or what a function of the address gives. */
export async function stub(page, path, answer) {
  await page.route(
    (url) => url.pathname === path,
    (route) => {
      const body = typeof answer === "function" ? answer(new URL(route.request().url())) : answer;
      return route.fulfill({ contentType: "application/json", body: JSON.stringify(body) });
    },
  );
}
