// Stories of the pages in a real browser: one a page, each screen checked with axe and kept as a picture.
//
//   node stories.mjs --binary target/debug/nurture --model MODEL.gguf [--runs DIR] [--adapter NAME=DIR] [--shots DIR] [--browser PATH] [story …]
//
// Every story runs in English and Chinese, light and dark, and at the width of a phone where its screen differs. A story
// fails at the first thing that is not as told; the exit code says how many did.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, existsSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const given = { stories: [], adapter: [] };
for (let i = 2; i < process.argv.length; i++) {
  const word = process.argv[i];
  if (!word.startsWith("--")) given.stories.push(word);
  else if (word === "--adapter") given.adapter.push(process.argv[++i]);
  else given[word.slice(2)] = process.argv[++i];
}
const shots = given.shots ?? join(tmpdir(), "nurture-shots");
mkdirSync(shots, { recursive: true });

// ---- the server

async function serve(args, env = {}) {
  const home = mkdtempSync(join(tmpdir(), "nurture-stories-"));
  const words = ["serve", "--model", given.model, "--name", "base", "--port", "0", ...args];
  const child = spawn(given.binary, words, { env: { ...process.env, NURTURE_HOME: home, ...env }, stdio: ["ignore", "ignore", "pipe"] });
  let told = "";
  const address = await new Promise((found, failed) => {
    child.on("exit", () => failed(new Error(`no server: ${told}`)));
    child.stderr.on("data", (bytes) => {
      told += bytes;
      const at = told.match(/at (http:\/\/[0-9.:]+)/);
      if (at) found(at[1]);
    });
  });
  return { address, told: () => told, async end() {
    child.removeAllListeners("exit");
    const gone = new Promise((ended) => child.on("exit", ended));
    child.kill("SIGTERM");
    await gone;
    rmSync(home, { recursive: true, force: true });
  } };
}

// ---- what stories say

const dresses = [
  { name: "en-light", lang: "en", dark: false, phone: false },
  { name: "zh-dark", lang: "zh", dark: true, phone: false },
  { name: "en-phone", lang: "en", dark: true, phone: true },
  { name: "zh-phone", lang: "zh", dark: false, phone: true },
];

function must(what, told) {
  if (!what) throw new Error(told);
}

/** Keeps a picture and asks axe; nothing may be wider than the screen. */
async function screen(page, name) {
  await page.screenshot({ path: join(shots, `${name}.png`) });
  // by the debugger's door: the page's own policy lets no foreign script in
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const wrong = found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).slice(0, 4).join(" | ")} ${v.nodes[0].failureSummary}`);
  must(wrong.length === 0, `${name}: ${wrong.join("\n    ")}`);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  must(wide <= 0, `${name}: ${wide} pixels wider than the screen`);
}

async function say(page, text) {
  await page.fill("#question", text);
  await page.press("#question", "Enter");
}
const quiet = (page) => page.waitForFunction(() => document.querySelector("#stop").hidden && !document.querySelector(".waits") && document.querySelector(".answer"), null, { timeout: 120_000 });

const stories = {
  async chat({ page, base, dress }) {
    await page.goto(`${base}/`);
    await screen(page, `chat-empty-${dress.name}`);
    await page.click("#settings-box summary");
    await page.fill('[data-setting="max_tokens"]', "60");
    await screen(page, `chat-settings-${dress.name}`);
    await page.click("#settings-box summary");
    await say(page, dress.lang === "zh" ? "用一句话介绍你自己。" : "Write a Python function that adds two numbers, in a code block.");
    await quiet(page);
    must(/\/c\/c-[0-9a-f]+$/.test(page.url()), `the address names the conversation: ${page.url()}`);
    must((await page.textContent(".answer .text")).trim().length > 0, "an answer stands there");
    await screen(page, `chat-answer-${dress.name}`);
    // another answer, an edited question, a good mark, a correction
    await page.click('.answer [data-do="again"]');
    await page.waitForSelector(".answer .pager");
    await quiet(page);
    must((await page.textContent(".answer .pager")).includes("2 / 2"), "two versions of the answer");
    await page.click('.answer [data-do="up"]');
    await page.waitForSelector('[data-do="up"][aria-pressed="true"]');
    await page.click('.answer [data-do="correct"]');
    await page.fill(".correct textarea", "def add(a, b):\n    return a + b");
    await screen(page, `chat-correct-${dress.name}`);
    await page.click(".correct .actions button:not(.second)");
    await page.waitForSelector('[data-do="correct"][aria-pressed="true"]');
    await page.click('.turn [data-do="edit"]');
    must((await page.inputValue("#question")).length > 0, "the question is there to be edited");
    await say(page, "Name two colours.");
    await page.waitForSelector(".own .pager");
    await quiet(page);
    await Promise.all([page.waitForNavigation(), page.click(".own .pager a")]);
    must(!(await page.textContent(".said")).includes("two colours"), "the older question is shown again");
    // what was said is there after a reload, with its mark
    await page.reload();
    must((await page.getAttribute('[data-do="correct"]', "aria-pressed")) === "true", "the correction is remembered");
    // renaming, searching, export, deletion
    await page.click("#to-rename");
    await page.fill("#new-title", "Lamp <b>& Co</b>");
    await page.click("#rename button");
    await page.waitForFunction(() => document.querySelector("#title").textContent.includes("<b>"));
    if (dress.phone) await page.click("#drawer");
    await page.fill("#q", "lamp <b>");
    await page.waitForFunction(() => document.querySelectorAll("#conversations a").length === 1);
    await screen(page, `chat-history-${dress.name}`);
    if (dress.phone) await page.keyboard.press("Escape");
    const md = await (await page.request.get(await page.getAttribute("#as-md", "href").then((h) => base + h))).text();
    must(md.startsWith("# Lamp <b>& Co</b>"), md.slice(0, 80));
    const json = await (await page.request.get(await page.getAttribute("#as-json", "href").then((h) => base + h))).json();
    must(json.messages[0].role === "user" && json.messages[1].role === "assistant", "both sides are exported");
    await page.click("#delete");
    await page.click("#delete");
    await page.waitForURL(`${base}/`);
  },

  async beside({ page, base, dress }) {
    await page.goto(`${base}/`);
    if (!(await page.$$eval("#second option", (o) => o.length > 2))) return "no second model";
    await page.click("#settings-box summary");
    await page.fill('[data-setting="max_tokens"]', "40");
    await page.click("#settings-box summary");
    await say(page, "My lamp flickers. What should I do?");
    await quiet(page);
    must((await page.$$(".answer")).length === 2, "two answers side by side");
    await screen(page, `beside-${dress.name}`);
    await Promise.all([page.waitForNavigation(), page.click('[data-do="choose"]')]);
    await say(page, "And then?");
    await page.waitForFunction(() => document.querySelectorAll(".turn").length === 2);
    await quiet(page);
    await screen(page, `beside-second-${dress.name}`);
  },

  async stop({ page, base }) {
    await page.goto(`${base}/`);
    await page.selectOption("#first", "base");
    await page.selectOption("#second", "");
    await page.click("#settings-box summary");
    await page.fill('[data-setting="max_tokens"]', "2000");
    await say(page, "Tell a very long story about a lighthouse.");
    await page.waitForFunction(() => (document.querySelector(".waits .text")?.textContent.length ?? 0) > 40, null, { timeout: 60_000 });
    await page.keyboard.press("Escape");
    await page.waitForSelector('[data-do="on"]', { timeout: 20_000 });
    const before = (await page.textContent(".answer .text")).length;
    await page.fill('[data-setting="max_tokens"]', "20");
    await page.click('[data-do="on"]');
    await quiet(page);
    must((await page.textContent(".answer .text")).length > before, "it went on where it was");
  },

  async keyboard({ page, base, dress }) {
    await page.goto(`${base}/`);
    const focus = () => page.evaluate(() => document.activeElement.id);
    must((await focus()) === "question", "the question has the focus");
    const seen = new Set();
    for (let i = 0; i < 60; i++) {
      await page.keyboard.press("Tab");
      seen.add(await page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.textContent.trim().slice(0, 20)));
    }
    // on a phone the history is a drawer: what is in it is out of the way until it is opened
    for (const id of ["skip", dress.phone ? "drawer" : "q", "turns", "first", "second", "question", "send"]) must(seen.has(id), `Tab reaches #${id}: ${[...seen]}`);
    if (!dress.phone) return;
    must(!seen.has("q"), "a closed drawer takes no focus");
    await page.focus("#drawer");
    await page.keyboard.press("Enter");
    must((await focus()) === "q", `opening it leads to the search: ${await focus()}`);
    await page.keyboard.press("Escape");
    must((await focus()) === "drawer" && (await page.getAttribute("#drawer", "aria-expanded")) === "false", `closing it leads back: ${await focus()}`);
  },

  async runs({ page, base, dress }) {
    await page.goto(`${base}/runs`);
    await screen(page, `runs-${dress.name}`);
    const first = await page.$("tbody a");
    if (!first) return "no run";
    await first.click();
    await page.waitForSelector(".state");
    await page.waitForTimeout(600);
    await screen(page, `run-${dress.name}`);
    await page.evaluate(() => document.querySelector("iframe.report")?.scrollIntoView());
    await page.waitForTimeout(300);
    await page.screenshot({ path: join(shots, `run-report-${dress.name}.png`) });
    await page.goto(`${base}/runs/new`);
    await screen(page, `recipe-${dress.name}`);
    await page.fill('[name="data.train"]', "nowhere.jsonl");
    await page.fill('[name="model.base"]', "no-such-model");
    await page.fill('[name="train.adapter.rank"]', "many");
    await page.click("#compose");
    await page.waitForSelector('[name="train.adapter.rank"][aria-invalid]');
    await page.fill('[name="train.adapter.rank"]', "4");
    await page.click("#compose");
    await page.waitForFunction(() => document.querySelector("#text").value.includes("rank = 4"));
    await screen(page, `recipe-text-${dress.name}`);
  },

  async data({ page, base, dress }) {
    await page.goto(`${base}/data`);
    await screen(page, `data-${dress.name}`);
    const first = await page.$("tbody a");
    if (!first) return "no run";
    await first.click();
    await page.waitForFunction(() => !document.querySelector("#examples .empty"), null, { timeout: 120_000 });
    await screen(page, `data-run-${dress.name}`);
    must(await page.$("#examples mark"), "trained tokens are marked");
  },

  async models({ page, base, dress }) {
    await page.goto(`${base}/models`);
    await screen(page, `models-${dress.name}`);
    await page.fill("#m-name", "x");
    await page.fill("#m-path", "/no/such/folder");
    await page.click('form[data-post="/page/models"] button');
    await page.waitForSelector("#trouble:not([hidden])");
    await screen(page, `models-trouble-${dress.name}`);
  },

  async missing({ page, base, dress }) {
    const response = await page.goto(`${base}/runs/%3Cscript%3Ealert(1)%3C%2Fscript%3E`);
    must(response.status() === 404, `${response.status()}`);
    await screen(page, `missing-${dress.name}`);
  },
};

const locked = {
  async login({ page, base, dress }) {
    await page.goto(`${base}/runs?x=1`);
    must(page.url().includes("/login?next="), page.url());
    await page.fill('[name="key"]', "wrong");
    await page.click("main button");
    await page.waitForSelector("#wrong");
    await screen(page, `login-${dress.name}`);
    await page.fill('[name="key"]', "story-key");
    await page.click("main button");
    await page.waitForURL(/\/runs/);
    must((await page.context().cookies()).some((c) => c.name === "nurture_session" && c.httpOnly && c.sameSite === "Strict"), "a closed cookie");
    must(!(await page.$('a[href="/runs/new"]')), "a client may not start runs");
    await page.click("header form button");
    await page.waitForURL(/login/);
    await page.goto(`${base}/`);
    must(page.url().includes("/login"), "signed out");
  },
};

// ---- the run of the stories

const browser = await chromium.launch({ executablePath: given.browser ?? ["/usr/bin/chromium", "/usr/bin/google-chrome"].find(existsSync), args: ["--no-sandbox"] });
let failed = 0;

async function tell(name, story, base) {
  for (const dress of dresses) {
    const context = await browser.newContext({
      locale: dress.lang === "zh" ? "zh-CN" : "en-GB",
      colorScheme: dress.dark ? "dark" : "light",
      viewport: dress.phone ? { width: 390, height: 844 } : { width: 1280, height: 860 },
      reducedMotion: "reduce",
    });
    const page = await context.newPage();
    const elsewhere = [], errors = [];
    page.on("request", (r) => r.url().startsWith(base) || r.url().startsWith("data:") || elsewhere.push(r.url()));
    page.on("pageerror", (e) => errors.push(e.message));
    page.on("console", (m) => m.type() === "error" && !/Failed to load resource/.test(m.text()) && errors.push(m.text()));
    const begin = Date.now();
    try {
      const skipped = await story({ page, base, dress });
      must(elsewhere.length === 0, `asked elsewhere: ${elsewhere}`);
      must(errors.length === 0, `errors: ${errors.join("; ")}`);
      console.log(`${skipped ? "skip" : "ok  "} ${name} ${dress.name} ${Date.now() - begin} ms ${skipped ?? ""}`);
    } catch (error) {
      failed++;
      console.log(`FAIL ${name} ${dress.name}: ${error.message}`);
      await page.screenshot({ path: join(shots, `FAILED-${name}-${dress.name}.png`) }).catch(() => {});
    }
    await context.close();
  }
}

const wanted = (name) => given.stories.length === 0 || given.stories.includes(name);
const common = given.runs ? ["--runs", given.runs] : [];
for (const adapter of given.adapter) common.push("--adapter", adapter);
if (Object.keys(stories).some(wanted)) {
  const server = await serve(common);
  for (const [name, story] of Object.entries(stories)) if (wanted(name)) await tell(name, story, server.address);
  await server.end();
}
if (Object.keys(locked).some(wanted)) {
  const server = await serve(common, { NURTURE_API_KEY: "story-key", NURTURE_ADMIN_KEY: "story-admin" });
  for (const [name, story] of Object.entries(locked)) if (wanted(name)) await tell(name, story, server.address);
  await server.end();
}
await browser.close();
console.log(failed ? `${failed} failed` : `all as told; pictures in ${shots}`);
process.exit(failed ? 1 : 0);
