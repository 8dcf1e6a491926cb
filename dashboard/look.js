// Opens the page that was built in headless Chromium and says what is on it:
//
//	node look.js [screenshot.png]
//
// A line of JSON: for each card its figure, what it draws (an svg, or that there
// is nothing yet), and how many bars, cells, dots and texts that has.  Ends with an
// error where the console has one, a request fails, or something overlaps.
import {createServer} from "node:http";
import {readFile, mkdtemp, rm} from "node:fs/promises";
import {tmpdir} from "node:os";
import {join, normalize, extname} from "node:path";
import {chromium} from "playwright-core";

const root = new URL("dist", import.meta.url).pathname;
const types = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json"};
const server = createServer(async (request, response) => {
  const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
  try {
    const body = await readFile(join(root, path === "/" ? "index.html" : path));
    response.writeHead(200, {"content-type": types[path === "/" ? ".html" : extname(path)] ?? "application/octet-stream"}).end(body);
  } catch {
    response.writeHead(404).end();
  }
}).listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));

const profile = await mkdtemp(join(tmpdir(), "loyalty-page-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  viewport: {width: 1460, height: 1000}, deviceScaleFactor: 0.8,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
});
const problems = [];
try {
  const page = await context.newPage();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && !/favicon/.test(message.location().url) && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("request", (request) => new URL(request.url()).hostname !== "127.0.0.1" && !/^(data|blob):/.test(request.url()) && problems.push(`asks for ${request.url()}`));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction(() => {
    const cards = [...document.querySelectorAll(".charts .card")];
    return cards.length > 0 && cards.every((card) => card.querySelector("svg, .empty"));
  }, null, {timeout: 60000});
  await page.waitForTimeout(1000);
  const cards = await page.evaluate(() => Object.fromEntries([...document.querySelectorAll(".card")].map((card) => {
    // the chart itself is the last svg: legends come before it
    const svg = [...card.querySelectorAll("svg")].pop();
    const boxes = (selector) => svg ? [...svg.querySelectorAll(selector)].map((e) => e.getBoundingClientRect()) : [];
    const labels = svg ? [...svg.querySelectorAll("text")].filter((e) => e.textContent.trim() && !e.closest("[aria-label=tip]")) : [];
    const overlapping = [];
    labels.forEach((a, i) => labels.slice(i + 1).forEach((b) => {
      const p = a.getBoundingClientRect(), q = b.getBoundingClientRect();
      if (p.left + 1 < q.right && q.left + 1 < p.right && p.top + 3 < q.bottom && q.top + 3 < p.bottom) overlapping.push(`${a.textContent} / ${b.textContent}`);
    }));
    const card_box = card.getBoundingClientRect();
    const outside = labels.filter((e) => e.getBoundingClientRect().right > card_box.right + 1 || e.getBoundingClientRect().left < card_box.left - 1).map((e) => e.textContent);
    return [card.id, {title: card.querySelector("h2").textContent, figure: card.querySelector("[data-figure]").textContent, chart: svg != null, empty: card.querySelector(".empty") != null,
      bars: boxes("[aria-label=bar] rect").length, cells: boxes("[aria-label=cell] rect").length, dots: boxes("[aria-label=dot] circle").length, lines: boxes("[aria-label=line] path").length,
      texts: svg ? [...svg.querySelectorAll("[aria-label=text] text")].map((e) => e.textContent) : [], overlapping, outside}];
  })));
  if (process.argv[2]) await page.screenshot({path: process.argv[2], fullPage: true});
  for (const [id, card] of Object.entries(cards)) {
    if (card.overlapping.length) problems.push(`${id}: overlapping texts: ${card.overlapping.slice(0, 3).join("; ")}`);
    if (card.outside.length) problems.push(`${id}: texts outside of the card: ${card.outside.slice(0, 3).join("; ")}`);
  }
  console.log(JSON.stringify(cards));
} finally {
  await context.close();
  server.close();
  await rm(profile, {recursive: true, force: true});
}
for (const problem of problems) console.error(problem);
process.exit(problems.length ? 1 : 0);
