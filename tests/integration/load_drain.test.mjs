// loadtest/drain with few connections: that it measures and reports; not how even the closes are on a machine with other work.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { measurable, preset } from './lib/gateway.mjs';

const tool = fileURLToPath(new URL('../../loadtest/drain', import.meta.url));

for (const transport of ['ws', 'wss']) {
  test(`loadtest/drain over ${transport}`, { skip: !measurable && 'is for the optimised build' }, t => {
    const folder = mkdtempSync(join(tmpdir(), 'drain-test-')), reports = mkdtempSync(join(tmpdir(), 'drain-report-'));
    t.after(() => { for (const path of [folder, reports]) rmSync(path, { recursive: true }); });
    const { status, stdout, stderr } = spawnSync(tool, ['300', '--drain=1.5', '--grace=0.25', '--no-build', `--preset=${preset}`, '--no-namespace',
      `--report=${join(reports, 'report')}`, ...(transport === 'wss' ? ['--wss'] : [])], { encoding: 'utf8', env: { ...process.env, TMPDIR: folder } });
    assert.ok(status === 0 || status === 1, stdout + stderr);
    assert.deepEqual(readdirSync(folder), [], 'no file is left');
    const [json, svg, text] = ['json', 'svg', 'txt'].map(suffix => readFileSync(join(reports, `report.${suffix}`), 'utf8'));
    assert.equal(text, stdout);
    const report = JSON.parse(json);
    assert.deepEqual([report.transport, report.opened, report.close_codes], [transport, 300, { 1001: 300 }]);
    assert.ok(report.faults.every(fault => fault.includes('straight line')), `${report.faults}`);
    assert.equal(report.passed, status === 0);
    assert.deepEqual(report.samples.at(-1)[1], 0);
    assert.ok(report.samples.length >= 6 && report.samples.every(([, left], i) => i === 0 || left <= report.samples[i - 1][1]));
    assert.ok(report.last_close_seconds >= 1.4 && report.last_close_seconds < 8, `${report.last_close_seconds}`);
    assert.match(svg, /^<svg /);
    assert.deepEqual(svg.match(/https?:[^"]*/g), ['http://www.w3.org/2000/svg'], 'nothing from outside');
  });
}
