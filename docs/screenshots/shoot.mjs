// Takes the screenshots of docs/reading-your-queues.md from a management UI; see README.md.
import { chromium } from "playwright-core";

const [url, directory] = process.argv.slice(2);
const WIDTH = 1240;
const flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run"
  + " --disable-background-networking --disable-component-update --disable-sync";
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: flags.split(" "),
});
const page = await browser.newPage({ viewport: { width: WIDTH, height: 1600 } });

/** Show a page, and wait until the statistics, which are five seconds old at most, are there. */
async function open(hash, { filter, sort } = {}) {
  await page.goto(`${url}/#/${hash}`);
  await page.waitForSelector("#main h1");
  if (filter) {
    const regex = page.locator('input[id$="filter-regex-mode"]');
    if (!(await regex.isChecked())) await regex.check();
    await page.waitForTimeout(1500); // a refresh redraws the page and discards typed text
    await page.locator(`#${hash}-name`).fill(filter);
    await page.keyboard.press("Enter");
  }
  for (let click = 0; sort && click < 2; click += 1) {
    await page.waitForTimeout(1500);
    await page.locator("table.list th a.sort", { hasText: sort }).first().click();
  }
  await page.waitForTimeout(7000);
}

async function unfold(title) {
  await page.locator("#main h2", { hasText: title }).first().click();
  await page.waitForTimeout(500);
}

/** Keep what is between the tops of two elements, or the end of the second one, or a height. */
async function shoot(name, first, last, { before = false, height } = {}) {
  const begin = await page.locator(first).first().boundingBox();
  const end = await page.locator(last).last().boundingBox();
  const y = begin.y - 2;
  const bottom = before ? end.y - 4 : end.y + end.height + 4;
  const right = Math.min(WIDTH, Math.max(begin.x + begin.width, end.x + end.width) + 6);
  const clip = { x: begin.x - 6, y, width: right - begin.x + 6, height: height ?? bottom - y };
  await page.screenshot({ path: `${directory}/${name}.png`, clip, fullPage: true });
  console.log(name);
}

await page.goto(url);
await page.fill('input[name="username"]', "guest");
await page.fill('input[name="password"]', "guest");
await page.click('input[type="submit"]');
await page.waitForSelector("select#show-vhost");
await page.selectOption("select#show-vhost", "shop");
await page.waitForTimeout(1000);

await open("queues", { filter: "^shop\\.(?!zz-|control)" });
await shoot("queues", "table.list", "table.list");
await open("exchanges", { filter: "^shop" });
await shoot("exchanges", "table.list", "table.list");
await open("connections");
await shoot("connections", "table.list", "table.list");
await page.locator('table.list tr:has-text("consuming") td a').first().click();
await page.waitForTimeout(3000);
await unfold("Client properties");
const properties = "div:has(> h2:has-text('Client properties')) table.facts";
await shoot("connection", properties, properties, { height: 320 });
await open("channels");
await shoot("channels", "table.list", "table.list");
await open("queues/shop/shop.orders");
await unfold("Consumers");
await shoot("queue", "#main h1", "h2:has-text('Bindings')", { before: true });
await open("queues/shop/shop.reports");
await shoot("native-retry", "h3:has-text('Details')", "h2:has-text('Consumers')", { before: true });
await open("queues/shop/shop.emails.dlq");
await unfold("Get messages");
await page.locator('input[type="submit"][value="Get Message(s)"]').click();
await page.waitForTimeout(2000);
await shoot("dead-letter", "#msg-wrapper h3", "#msg-wrapper");
await open("queues", { filter: "delay", sort: "Total" });
await shoot("delays", "table.list", "table.list", { height: 286 });
await browser.close();
