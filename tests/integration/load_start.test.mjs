// What pushgate-load finds out before it opens connections, and what it says of servers that it cannot load.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { flawed } from './lib/flawed.mjs';
import { makeCertificate, own, preset } from './lib/gateway.mjs';
import { run as runLoad } from './lib/load.mjs';

let folder, certificate;
before(() => { folder = mkdtempSync(join(tmpdir(), 'pushgate-load-')); certificate = makeCertificate(folder); });
after(() => rmSync(folder, { recursive: true }));

const run = (mode, options, more) => runLoad(mode, { connections: 20, ...(mode === 'fanout' && { messages: 10 }), ...options }, more);

describe('a run that could not end well does not begin', () => {
  async function refused(t, options, sentence) {
    const { seen, target, publish } = await flawed(t);
    const { code, text, out } = await run('fanout', { target, publish, ...options });
    assert.equal(code, 2, text);
    assert.match(text, sentence);
    assert.equal(out, '');
    assert.equal(seen().connections, 0);
  }
  test('--publish is no address', t => refused(t, { publish: 'localhost' }, /--publish=localhost: .*port/));
  test('nobody listens at --publish', t => refused(t, { publish: '127.0.0.1:1' }, /--publish=127\.0\.0\.1:1: Connection refused/));
  test('something else listens at --publish', async t => {
    const web = createServer((request, response) => response.end()).listen(0, '127.0.0.1');
    await once(web, 'listening');
    t.after(() => web.close());
    await refused(t, { publish: `127.0.0.1:${web.address().port}` }, /no Redis-protocol endpoint: PING was answered with HTTP\/1\.1 400/);
  });
  test('a report cannot be written', t => refused(t, { json: join(folder, 'none', 'report.json') }, /--json=.*No such file/));
  test('--ready-fd is not open', t => refused(t, { 'ready-fd': 99 }, /--ready-fd=99: Bad file descriptor/));
  test('reports of an earlier run stay, and no empty ones are left', async t => {
    const [json, report] = [join(folder, 'earlier.json'), join(folder, 'new.html')];
    writeFileSync(json, 'earlier');
    const { code } = await run('idle', { target: 'wss://127.0.0.1:1/', insecure: true, resume: true, json, report });
    assert.equal(code, 2);
    assert.equal(readFileSync(json, 'utf8'), 'earlier');
    assert.ok(!existsSync(report));
    const { target } = await flawed(t);
    assert.equal((await run('idle', { target, hold: 0, json, report })).code, 0);
    assert.ok(JSON.parse(readFileSync(json, 'utf8')).passed && existsSync(report));
  });
});

test('an endpoint that has hung up while connections were opened is connected to again', async t => {
  const { target, publish } = await flawed(t, { fault: 'impatient' });
  const { code, report, text } = await run('fanout', { target, publish, 'idle-hold': '300ms' });
  assert.equal(code, 0, text);
  assert.equal(report.messages.delivered, 200);
});

test('with --json=- standard output is JSON and nothing else; without, it says when the opening is over', async t => {
  const { target } = await flawed(t);
  const piped = await run('idle', { target, hold: 0 });
  assert.ok(piped.ready && JSON.parse(piped.out).passed);
  const filed = await run('idle', { target, hold: 0, json: join(folder, 'filed.json') });
  assert.match(filed.out, /^ready\n\npushgate-load idle /);
});

test('of the addresses of a name, one that takes connections is chosen and named', async t => {
  const { target } = await flawed(t);
  const { code, report, text } = await run('idle', { target: target.replace('127.0.0.1', 'localhost'), hold: 0 });
  assert.equal(code, 0, text);
  assert.equal(report.options.address, new URL(target).host);
  assert.ok(text.includes(new URL(target).host));
});

describe('what a server does is called what it is', () => {
  test('TLS 1.2 only', async t => {
    const { target } = await flawed(t, { certificate, tls: 'TLSv1.2' });
    const { code, report } = await run('idle', { target, insecure: true });
    assert.equal(code, 1);
    assert.match(report.connections.errors.tls, /does not speak TLS 1\.3/);
    const resumed = await run('idle', { target, insecure: true, resume: true });
    assert.equal(resumed.code, 2);
    assert.match(resumed.text, /--resume: TLS handshake failed: .*does not speak TLS 1\.3/);
  });

  test('a refusal in HTTP/1.0', async t => {
    const { target } = await flawed(t, { fault: 'old status' });
    const { report } = await run('idle', { target });
    assert.deepEqual(report.connections.http_status, { 503: 20 });
    assert.deepEqual(report.connections.failed_by_reason, { http_status: 20 });
  });

  test('a message that is too large for this program', async t => {
    const { target, publish } = await flawed(t, { fault: 'huge' });
    const { code, report } = await run('fanout', { target, publish });
    assert.equal(code, 1);
    assert.equal(report.connections.closed_by_reason.too_big, 2);
    assert.equal(report.connections.closed_by_reason.ws_error, undefined);
  });

  test('words of a server that a terminal would obey', async t => {
    const page = join(folder, 'rude.html');
    const closed = await flawed(t, { fault: 'rude' });
    const { text } = await run('fanout', { target: closed.target, publish: closed.publish, report: page });
    assert.match(text, /1013 \\x1b\[31m\\xe2\\x80\\xaered/);
    const refused = await flawed(t, { fault: 'refuse rudely' });
    const { text: said, report } = await run('fanout', { target: refused.target, publish: refused.publish });
    assert.match(said, /PUBLISH was refused: ERR \\x1b\]0;no\\x07/);
    assert.equal(report.messages.publish_error, 'PUBLISH was refused: ERR \\x1b]0;no\\x07');
    for (const shown of [text, said, readFileSync(page, 'utf8')]) assert.doesNotMatch(shown, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
  });
});

describe('a server without session tickets', () => {
  for (const [handshakes, code, storms, note] of [
    ['both', 0, ['full'], /gives no session tickets: no storm with resumed handshakes/],
    ['resumed', 1, ['full'], /gives no session tickets: the storm's handshakes were full ones/],
  ]) {
    test(`--handshakes=${handshakes}: goes on with full ones, and says so`, async t => {
      const gateway = await own(t, { 'tls.tickets': 0 });
      const { report, text, ...result } = await run('storm', { target: `wss://127.0.0.1:${gateway.wss}/ws?topic=load`, insecure: true, hold: 0, handshakes });
      assert.equal(result.code, code, text);
      assert.deepEqual(report.storms.map(storm => [storm.handshakes, storm.back, storm.resumed]), storms.map(name => [name, 20, 0]));
      assert.match(report.note, note);
      assert.doesNotMatch(report.note, /--resume/);
    });
  }
});

describe('rates', () => {
  test('what an endpoint does not take in time counts from when it was due', async t => {
    const { target, publish } = await flawed(t, { fault: 'stall' }); // for a second after twenty
    const { code, report, text } = await run('fanout', { target, publish, messages: 200, 'publish-rate': 150, 'publish-pipeline': 4, settle: '5s' });
    assert.equal(code, 0, text);
    // About 150 were due during that second, and only 4 of them could be sent.
    assert.ok(report.messages.latency_us.p50 > 150_000, JSON.stringify(report.messages.latency_us));
    assert.ok(report.messages.publish_reply_us.p50 > 150_000);
    assert.ok(report.messages.latency_us.max < 5_000_000);
  });

  test('an endpoint that is slower than the rate is named', async t => {
    const { target, publish } = await flawed(t, { fault: 'sluggish' });
    const { code, report, text } = await run('fanout', { target, publish, messages: 30, 'publish-rate': 1000, 'publish-pipeline': 1 });
    assert.equal(code, 0, text);
    const { wanted_per_second, published_per_second, published_late } = report.messages;
    assert.equal(wanted_per_second, 1000);
    assert.ok(published_late && published_per_second < 110, `${published_per_second}`);
    assert.match(text, /publishing fell behind: [\d.]+ of the 1000 messages per second/);
    const punctual = await run('fanout', { target, publish, messages: 3, 'publish-rate': 4 });
    assert.equal(punctual.report.messages.published_late, false);
    assert.ok(punctual.report.messages.published_per_second <= 4);
    assert.doesNotMatch(punctual.text, /fell behind/);
  });
});

const descriptors = Number(/^Max open files +\S+ +(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))[1]); // not a number: unlimited
test('one worker takes as many connections as its limit of descriptors allows', { skip: preset === 'tsan' || !(descriptors >= 18_700 && descriptors < 3_000_000) }, async () => {
  const most = { target: 'ws://127.0.0.1:1/', hold: 0, processes: 1 };
  const { code, report } = await run('idle', { ...most, connections: 18_600 });
  assert.equal(code, 1);
  assert.deepEqual(report.connections.failed_by_reason, { refused: 18_600 });
  const beyond = await run('idle', { ...most, connections: descriptors });
  assert.equal(beyond.code, 2);
  assert.match(beyond.text, new RegExp(`at least 2 \\(RLIMIT_NOFILE: ${descriptors - 64} each\\)`));
});

test('more workers than --in-progress open more at a time, and it says so', async t => {
  const { target } = await flawed(t);
  const { code, text } = await run('idle', { target, hold: 0, processes: 4, 'in-progress': 2 });
  assert.equal(code, 0);
  assert.match(text, /--in-progress=2: each of the 4 workers opens at least one at a time, so up to 4/);
});
