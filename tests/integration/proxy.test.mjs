// The thread that asks the backend: when there is one, how it starts, shows and ends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gateway, own } from './lib/gateway.mjs';
import { CLOSE, open } from './lib/wire.mjs';

test('a gateway with a proxy URL serves, shows its metrics, and drains', async t => {
  const gateway = await own(t, { 'proxy.rpc': 'http://127.0.0.1:1/rpc', 'proxy.headers': 'Cookie X-Request-Id' });
  const wire = await open(gateway, 'wss', '/ws?topic=a');
  assert.equal(await gateway.metric('pushgate_proxy_answers_total', 'kind="rpc"', 'outcome="ok"'), 0);
  assert.equal(await gateway.metric('pushgate_proxy_in_flight'), 0);
  gateway.process.kill('SIGTERM');
  assert.equal((await wire.frame()).opcode, CLOSE);
  wire.destroy();
});

test('without any URL there are no such metrics', async t => {
  const gateway = await own(t);
  const text = await (await gateway.get('/metrics')).text();
  assert.doesNotMatch(text, /pushgate_proxy_|thread="proxy"/);
});

test('a URL that cannot be asked ends the start with a sentence', async () => {
  const gateway = await Gateway.start({ 'proxy.connect': 'grpc://127.0.0.1:9000' }, { ready: false });
  const { code } = await gateway.ended;
  assert.notEqual(code, 0);
  assert.match(gateway.stderr, /proxy\.connect is neither an http: nor an https: URL/);
});
