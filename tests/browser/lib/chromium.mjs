// Headless Chromium for a file of tests, and pages whose every complaint is kept.
import { chromium } from 'playwright-core';

/** A browser for all tests of a file: const browser = chromiumFor({ before, after }) → browser() inside tests. */
export function chromiumFor({ before, after }) {
  let browser;
  before(async () => {
    browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--ignore-certificate-errors', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync'],
    });
  });
  after(() => browser?.close());
  return () => browser;
}

/**
 * A page in a context of its own, closed when the test ends. Returns { page, complaints }: what it threw, and what it wrote to
 * the console beside connections that broke.
 */
export async function open(t, browser, url, { init = () => {}, ...options } = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  t.after(() => context.close());
  const page = await context.newPage(), complaints = [];
  page.on('pageerror', error => complaints.push(String(error)));
  page.on('console', message => {
    if (['error', 'warning'].includes(message.type()) && !/WebSocket connection|favicon|ERR_CONNECTION/.test(message.text())) complaints.push(message.text());
  });
  await init(page);
  await page.goto(url);
  return { page, complaints };
}
