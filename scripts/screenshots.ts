/**
 * Takes the pictures of docs/PAGE.md: the states of the page, at three widths, on a real daemon.
 *
 *   npm run build && bun scripts/screenshots.ts [FOLDER]     (as root; default docs/page)
 *
 * Needs pngquant: without it they are three times as large.
 */
import { globSync, mkdirSync } from "node:fs";
import { argv } from "node:process";
import type { Page } from "playwright-core";
import { run } from "../test/support/machine.ts";
import { PageSite } from "../test/support/page_site.ts";

const FOLDER = argv[2] ?? "docs/page";
const SIZES = [
  { width: 400, height: 800 },
  { width: 1280, height: 800 },
  { width: 3840, height: 1600 },
];

const place = new PageSite(256 << 20);

async function shoot(page: Page, name: string): Promise<void> {
  for (const size of SIZES) {
    await page.setViewportSize(size);
    await page.screenshot({ path: `${FOLDER}/${name}-${size.width}.png` });
  }
  await page.setViewportSize({ width: 1280, height: 800 });
}

async function takeAll(page: Page): Promise<void> {
  await page.getByText("next in").first().waitFor();
  await shoot(page, "idle");
  place.write("first", 100);
  place.write("second", 3);
  await page.locator("svg.map:not([data-changed-cells='0'])").waitFor();
  await page.getByText("new blocks/s").waitFor();
  await shoot(page, "writing");
  await page.getByRole("button", { name: "Back up", exact: true }).click();
  await page.getByRole("radio", { name: /^Base/ }).check();
  await page.getByRole("button", { name: "Start backup" }).click();
  await page.getByText(/ left$/).waitFor();
  await shoot(page, "progress");
  await page.getByText(/Backup of .* taken/).waitFor();
  await page.getByText(/^[0-9.]+ (KiB|B) changed/).waitFor();
  await shoot(page, "history");

  await page.getByRole("button", { name: "Restore", exact: true }).click();
  await page.getByRole("button", { name: "Next: where to" }).click();
  await page.locator(`input[value="${place.target}"]`).check();
  await page.getByRole("button", { name: "Next: the plan" }).click();
  await page.getByText("What is lost").waitFor();
  await shoot(page, "plan");
  await page.getByLabel(/to confirm/).fill(place.target);
  await page.getByRole("button", { name: "Overwrite and restore" }).click();
  await page.getByText("Verified:").waitFor();
  await shoot(page, "restored");
  await page.getByRole("button", { name: "Done" }).click();
  await page.emulateMedia({ colorScheme: "dark" });
  place.write("third", 4);
  await page.getByText("new blocks/s").waitFor();
  await shoot(page, "dark");
}

mkdirSync(FOLDER, { recursive: true });
try {
  await place.startDaemon();
  for (let i = 0; i < 3; i++) {
    place.write(`earlier-${i}`, 2 + i * 2);
    place.site.must("flush", "--config", place.config);
  }
  await takeAll(await place.open(await place.startUi()));
  const pictures = globSync(`${FOLDER}/*.png`);
  run("pngquant", "--force", "--ext=.png", "--speed=1", "32", ...pictures);
  console.log(place.complaints.join("\n"));
} finally {
  await place.close();
}
