/** The page in Debian's Chromium, in front of a real daemon, real disks and `ibackup ui`. */
import { request } from "node:http";
import type { Page } from "playwright-core";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { firstDifference } from "../support/machine.ts";
import { PageSite } from "../support/page_site.ts";
import { canTrack } from "../support/site.ts";

const SOON = { timeout: 15_000, interval: 50 };
const WIDTHS = [400, 1280, 3840];
const INTERACTIVE = /^(button|link|textbox|searchbox|combobox|radio|checkbox|progressbar|dialog)$/;

describe.runIf(canTrack())("the page", () => {
  let place: PageSite;
  beforeEach(async () => {
    place = new PageSite();
    await place.startDaemon();
  });
  afterEach(async () => await place.close());

  const changedCells = async (page: Page): Promise<number> =>
    Number(await page.locator("svg.map").getAttribute("data-changed-cells"));

  const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });

  /** Neither the page nor its dialog is wider than the window, however wide that is. */
  async function expectToFit(page: Page): Promise<void> {
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      const excess = await page.evaluate(() =>
        [document.documentElement, ...document.querySelectorAll("dialog")].map(
          ({ scrollWidth, clientWidth }) => scrollWidth - clientWidth,
        ),
      );
      expect({ width, excess: Math.max(...excess) }).toEqual({ width, excess: 0 });
    }
    await page.setViewportSize({ width: 1280, height: 900 });
  }

  /** As a screen reader is told them: roles of what can be used, and of these the nameless. */
  async function namelessControls(page: Page): Promise<{ count: number; nameless: string[] }> {
    const session = await page.context().newCDPSession(page);
    const { nodes } = await session.send("Accessibility.getFullAXTree");
    const controls = nodes.filter(
      ({ ignored, role }) => !ignored && INTERACTIVE.test(String(role?.value)),
    );
    const nameless = controls.filter(({ name }) => !name?.value).map(({ role }) => role?.value);
    return { count: controls.length, nameless };
  }

  test("shows writes as they happen, takes a backup, and restores it to another disk", async () => {
    const page = await place.open(await place.startUi());
    await page
      .getByText("because no backup to continue")
      .or(page.getByText("because 6 h"))
      .waitFor();
    await button(page, "Back up").waitFor();
    await expect.poll(() => page.locator("tbody tr").count(), SOON).toBe(1);
    await expectToFit(page);

    await expect.poll(() => changedCells(page), SOON).toBeLessThan(20);
    place.write("data", 24);
    await expect.poll(() => changedCells(page), SOON).toBeGreaterThan(100);
    await page.getByText("new blocks/s").waitFor();
    await page.locator("[data-element^='disk:']").click();
    await page.getByRole("region", { name: place.source }).waitFor();
    await expectToFit(page);
    expect(await namelessControls(page)).toMatchObject({ nameless: [] });

    await button(page, "Back up").click();
    await expectToFit(page);
    await page.getByRole("combobox", { name: "Disk" }).selectOption(place.source);
    await button(page, "Start backup").click();
    const progress = page.getByRole("progressbar", { name: `Backup of ${place.source}` });
    await progress.and(page.locator("[aria-valuenow]")).waitFor();
    expect(await progress.getAttribute("aria-valuetext")).toMatch(/\d+ %, .* of .*/);
    await page.getByText(`Backup of ${place.source} taken`).waitFor();
    await expect.poll(() => page.locator("tbody tr").count(), SOON).toBe(2);
    expect(await page.locator("tbody tr").first().textContent()).toContain("incremental");
    await expect.poll(() => changedCells(page), SOON).toBeLessThan(20);

    await button(page, "Restore").click();
    await expectToFit(page);
    await button(page, "Next: where to").click();
    const own = page.getByRole("radio", { name: place.source });
    await own.waitFor();
    expect(await own.isDisabled()).toBe(true);
    await page.getByRole("radio", { name: place.target }).check();
    await expectToFit(page);
    await button(page, "Next: the plan").click();
    await page.getByText('ext4 "old"').waitFor();
    await expectToFit(page);
    const start = button(page, "Overwrite and restore");
    const confirmation = page.getByLabel(/to confirm/);
    for (const wrong of ["", `${place.target}0`, place.source, "yes"]) {
      await confirmation.fill(wrong);
      expect(await start.isDisabled()).toBe(true);
    }
    expect(await namelessControls(page)).toMatchObject({ nameless: [] });
    await confirmation.fill(place.target);
    await start.click();
    await page.getByText(`Verified: ${place.target} is identical to the backup.`).waitFor();
    await expectToFit(page);
    await button(page, "Done").click();

    // Without a write in between: what was mounted was still being written to.
    place.site.machine.unmount(place.folder);
    await button(page, "Back up").click();
    await button(page, "Start backup").click();
    await expect.poll(() => page.locator("tbody tr").count(), SOON).toBe(3);
    await page
      .getByRole("button", { name: /^Restore the backup of/ })
      .first()
      .click();
    await button(page, "Next: where to").click();
    await page.getByRole("radio", { name: place.target }).check();
    await button(page, "Next: the plan").click();
    await confirmation.fill(place.target);
    await start.click();
    await page.getByText("Verified:").waitFor();
    expect(firstDifference(place.source, place.target)).toBe("");
    expect(place.complaints).toEqual([]);
  }, 60_000);

  test("can be used by keyboard alone, and says when it is cut off", async () => {
    const page = await place.open(await place.startUi());
    await expect.poll(() => page.locator("tbody tr").count(), SOON).toBe(1);
    const focused = async (): Promise<string> =>
      await page.evaluate(() => document.activeElement?.textContent ?? "");
    const tabTo = async (name: string): Promise<void> => {
      for (let i = 0; i < 20; i++) {
        if ((await focused()) === name) return;
        await page.keyboard.press("Tab");
      }
      throw new Error(`Tab does not lead to ${name}`);
    };
    await tabTo("Back up");
    const outline = await page.evaluate(() =>
      document.activeElement ? getComputedStyle(document.activeElement).outlineStyle : "none",
    );
    expect(outline).toBe("solid");
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    // The focus stays within, and comes back where it was.
    for (let i = 0; i < 12; i++) {
      await page.keyboard.press("Tab");
      const isInside = await page.evaluate(() => {
        const active = document.activeElement;
        return active === document.body || active?.closest("dialog") !== null;
      });
      expect(isInside).toBe(true);
    }
    await page.keyboard.press("Escape");
    await expect.poll(() => page.getByRole("dialog").count(), SOON).toBe(0);
    await expect.poll(focused, SOON).toBe("Back up");
    await page.keyboard.press("Enter");
    await tabTo("Start backup");
    await page.keyboard.press("Enter");
    await page.getByText(`Backup of ${place.source} taken`).waitFor();
    await expect.poll(() => page.locator("tbody tr").count(), SOON).toBe(2);
    expect(place.complaints).toEqual([]);

    const stations = page.locator(".element");
    for (let i = 0; i < (await stations.count()); i++) {
      const station = stations.nth(i);
      await station.focus();
      await page.keyboard.press("Enter");
      await expect.poll(() => station.getAttribute("aria-expanded"), SOON).toBe("true");
      expect(await page.locator("#panel dt, #panel .options").count()).toBeGreaterThan(0);
    }
    const { count, nameless } = await namelessControls(page);
    expect({ nameless, isWhole: count >= 10 }).toEqual({ nameless: [], isWhole: true });

    // Hidden, it listens to nothing; seen again, it does.
    const setHidden = async (isHidden: boolean): Promise<void> =>
      await page.evaluate((value) => {
        Object.defineProperty(document, "hidden", { value, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }, isHidden);
    const isOfEvents = (asked: { url(): string }): boolean => asked.url().endsWith("/v1/events");
    const hungUp = page.waitForEvent("requestfailed", isOfEvents);
    await setHidden(true);
    await hungUp;
    place.write("unseen", 8);
    const listened = page.waitForRequest(isOfEvents);
    await setHidden(false);
    await listened;
    await expect.poll(() => changedCells(page), SOON).toBeGreaterThan(100);
    expect(place.complaints).toEqual([]);

    await place.stopDaemon();
    await page.getByRole("alert").getByText("Connection lost").waitFor();
    await place.startDaemon();
    await page.locator(".connection.is-open").waitFor();
  }, 60_000);

  test("refuses whoever has no token, another page, and another name", async () => {
    const url = await place.startUi();
    const { origin, port, pathname, search } = url;
    for (const path of ["/", "/page.js", "/v1/status", "/session.json", "/open?token=guess"]) {
      expect([401, 403]).toContain((await fetch(`${origin}${path}`)).status);
    }
    const asRebound = await answerTo({
      port,
      path: pathname + search,
      host: `rebound.test:${port}`,
    });
    expect(asRebound).toBe(403);
    const page = await place.open(url);
    const [cookie] = await page.context().cookies();
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Strict" });
    const headers = { cookie: `${cookie?.name}=${cookie?.value}` };
    expect((await fetch(`${origin}/v1/status`, { headers })).status).toBe(200);
    const foreign = { ...headers, origin: "http://evil.test" };
    expect((await fetch(`${origin}/v1/status`, { headers: foreign })).status).toBe(403);
    const post = { method: "POST", body: "{}" };
    const json = { ...headers, "content-type": "application/json" };
    expect((await fetch(`${origin}/v1/flushes`, { ...post, headers: json })).status).toBe(403);
    expect((await fetch(url, { redirect: "manual" })).status).toBe(403);

    // A name of the attacker's that leads to this machine, in the browser that has the session.
    const rebound = await page.context().newPage();
    const answer = await rebound.goto(`http://rebound.test:${port}/`);
    expect(answer?.status()).toBe(403);
    const isHeard = await rebound.evaluate(async (target) => {
      const sent = fetch(target, { method: "POST", credentials: "include", body: "{}" });
      return await sent.then(() => true).catch(() => false);
    }, `${origin}/v1/flushes`);
    expect(isHeard).toBe(false);
    expect(place.complaints).toEqual([]);
  }, 60_000);
});

async function answerTo(asked: { port: string; path: string; host: string }): Promise<number> {
  const { port, path, host } = asked;
  return await new Promise((resolve, reject) => {
    const call = request({ host: "127.0.0.1", port, path, headers: { host } }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    call.on("error", reject);
    call.end();
  });
}
