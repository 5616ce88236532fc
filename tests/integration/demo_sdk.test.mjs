// deploy/demo-sdk.sh: how the demo page's SDK gets into the tree, with npm and without, from a registry of the test's own.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../../deploy/demo-sdk.sh', import.meta.url));
const tools = ['sh', 'dirname', 'cat', 'awk', 'sed', 'grep', 'tail', 'mktemp', 'mkdir', 'mv', 'rm', 'curl', 'openssl', 'tar', 'gzip'];

/** A tree with the script, a package, its lock file, a registry that has it, and a PATH without npm. */
async function scene(t) {
  const root = mkdtempSync(join(tmpdir(), 'demo-sdk-test-'));
  t.after(() => rmSync(root, { recursive: true }));
  const folder = (...parts) => { const path = join(root, ...parts); mkdirSync(path, { recursive: true }); return path; };
  copyFileSync(script, join(folder('tree', 'deploy'), 'demo-sdk.sh'));
  const contents = folder('contents', 'package', 'dist');
  writeFileSync(join(contents, 'centrifuge.js'), 'globalThis.Centrifuge = 1;\n//# sourceMappingURL=centrifuge.js.map\n');
  writeFileSync(join(contents, '..', 'LICENSE'), 'Anybody may.\n');
  writeFileSync(join(contents, '..', 'package.json'), '{"name":"centrifuge","version":"1.2.3"}');
  execFileSync('tar', ['-czf', join(root, 'package.tgz'), '-C', join(root, 'contents'), 'package']);
  const archive = readFileSync(join(root, 'package.tgz'));
  const integrity = `sha512-${createHash('sha512').update(archive).digest('base64')}`;
  const lock = (checksum, version = '1.2.3') => writeFileSync(join(folder('tree', 'tests'), 'package-lock.json'), JSON.stringify({ lockfileVersion: 3, packages: {
    'node_modules/@redis/centrifuge': { version: '9.9.9', integrity: 'sha512-other' },
    'node_modules/centrifuge': { version, integrity: checksum, dev: true },
    'node_modules/ws': { version: '8.0.0', integrity: 'sha512-another' },
  } }, null, 2));
  lock(integrity);
  const bin = folder('bin'), home = folder('home');
  for (const tool of tools) symlinkSync(execFileSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).trim(), join(bin, tool));

  const served = { archive, requests: [] };
  const server = createServer((request, response) => {
    served.requests.push(request.url);
    const url = `http://${request.headers.host}/sub/centrifuge/-/centrifuge-1.2.3.tgz`;
    if (request.url === '/sub/centrifuge') {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ name: 'centrifuge', 'dist-tags': { latest: '1.2.3' },
        versions: { '1.2.3': { name: 'centrifuge', version: '1.2.3', dist: { tarball: url, integrity: `sha512-${createHash('sha512').update(served.archive).digest('base64')}` } } } }));
    } else if (request.url === '/sub/centrifuge/-/centrifuge-1.2.3.tgz') {
      response.end(served.archive);
    } else {
      response.writeHead(404).end();
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close().closeAllConnections());
  const registry = `http://127.0.0.1:${server.address().port}/sub/`;
  const run = (env = {}, ...words) => new Promise(resolve => execFile(join(root, 'tree', 'deploy', 'demo-sdk.sh'), words,
    { env: { PATH: bin, HOME: home, ...env }, encoding: 'utf8' }, (error, stdout, stderr) => resolve({ status: error ? error.code : 0, stderr })));
  const sdk = join(root, 'tree', 'build', 'demo', 'centrifuge.js');
  return { bin, home, integrity, lock, registry, run, sdk, served, tree: join(root, 'tree'),
    withNpm: { PATH: `${bin}${delimiter}${process.env.PATH}`, npm_config_cache: folder('cache') } };
}

const expected = '/*! centrifuge 1.2.3\nAnybody may.\n*/\nglobalThis.Centrifuge = 1;\n';

describe('the SDK of the demo page', () => {
  test('comes through npm from the registry that npm is configured for, with its licence, and is not fetched again', async t => {
    const { home, registry, run, sdk, served, tree, withNpm } = await scene(t);
    writeFileSync(join(home, '.npmrc'), `registry=${registry}\n`);
    assert.deepEqual(await run(withNpm), { status: 0, stderr: '' });
    assert.equal(readFileSync(sdk, 'utf8'), expected);
    assert.deepEqual(readdirSync(join(tree, 'build', 'demo')).sort(), ['centrifuge.js', 'state']);
    served.requests.length = 0;
    assert.equal((await run(withNpm)).status, 0);
    assert.deepEqual(served.requests, []);
  });

  for (const [how, prepare] of Object.entries({
    'NPM_CONFIG_REGISTRY': ({ registry }) => ({ NPM_CONFIG_REGISTRY: registry }),
    'npm_config_registry': ({ registry }) => ({ npm_config_registry: registry.replace(/\/$/, '') }),
    'the user\'s .npmrc': ({ home, registry }) => { writeFileSync(join(home, '.npmrc'), `; mine\n@other:registry=http://127.0.0.1:9/\nregistry = ${registry}\n`); },
    'the tree\'s .npmrc': ({ home, registry, tree }) => {
      writeFileSync(join(home, '.npmrc'), 'registry=http://127.0.0.1:9/\n');
      writeFileSync(join(tree, '.npmrc'), `registry="${registry}"\n`);
    },
  })) {
    test(`comes by curl where there is no npm, from the registry of ${how}`, async t => {
      const all = await scene(t);
      assert.deepEqual(await all.run(prepare(all) ?? {}), { status: 0, stderr: '' });
      assert.equal(readFileSync(all.sdk, 'utf8'), expected);
      assert.deepEqual(all.served.requests, ['/sub/centrifuge/-/centrifuge-1.2.3.tgz']);
    });
  }

  for (const way of ['npm', 'curl']) {
    test(`something else than the lock file names is not used (${way})`, async t => {
      const { integrity, lock, registry, run, sdk, withNpm } = await scene(t);
      lock(integrity.replace(/^sha512-..../, 'sha512-AAAA'));
      const { status, stderr } = await run({ ...(way === 'npm' ? withNpm : {}), npm_config_registry: registry });
      assert.equal(status, 1);
      assert.match(stderr, /centrifuge 1\.2\.3 from the registry is not what tests\/package-lock\.json names/);
      assert.ok(!existsSync(sdk));
    });

    test(`without a registry it says so, and --once does not ask again (${way})`, async t => {
      const { registry, run, sdk, served, withNpm } = await scene(t);
      const base = way === 'npm' ? withNpm : {};
      const { status, stderr } = await run({ ...base, npm_config_registry: 'http://127.0.0.1:9/' }, '--once');
      assert.equal(status, 1);
      assert.match(stderr, /could not get centrifuge 1\.2\.3.*127\.0\.0\.1[: ]/);
      assert.match(stderr, /The demo page comes without its chat/);
      assert.deepEqual(await run({ ...base, npm_config_registry: registry }, '--once'), { status: 0, stderr: '' });
      assert.deepEqual(served.requests, []);
      assert.equal((await run({ ...base, npm_config_registry: registry })).status, 0);
      assert.equal(readFileSync(sdk, 'utf8'), expected);
    });
  }

  test('another version in the lock file is fetched even with --once', async t => {
    const { integrity, lock, registry, run, sdk, served } = await scene(t);
    lock('sha512-AAAA');
    assert.equal((await run({ npm_config_registry: registry }, '--once')).status, 1);
    lock(integrity);
    served.requests.length = 0;
    assert.equal((await run({ npm_config_registry: registry }, '--once')).status, 0);
    assert.equal(served.requests.length, 1);
    assert.equal(readFileSync(sdk, 'utf8'), expected);
  });

  test('npm that is there but broken does not stop the start', async t => {
    const { bin, run } = await scene(t);
    writeFileSync(join(bin, 'npm'), '#!/bin/sh\nexit 1\n');
    chmodSync(join(bin, 'npm'), 0o755);
    const { status, stderr } = await run();
    assert.equal(status, 1);
    assert.match(stderr, /npm could not get centrifuge/);
  });
});
