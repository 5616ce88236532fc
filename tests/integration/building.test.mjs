// How the scripts in loadtest/ build what they measure: on a fresh machine without what only tests need.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const loadtest = fileURLToPath(new URL('../../loadtest', import.meta.url));

/** A tree whose packages.sh and cmake only note what they are asked for. */
function tree(t, { configured = false, packages = 'exit 0' } = {}) {
  const root = mkdtempSync(join(tmpdir(), 'building-test-')), notes = join(root, 'notes');
  t.after(() => rmSync(root, { recursive: true }));
  const program = (path, last) => {
    writeFileSync(path, `#!/bin/sh\necho "$(basename "$0") $*" >>${notes}\n${last}\n`);
    chmodSync(path, 0o755);
  };
  for (const folder of ['deploy', 'bin', 'build/release']) mkdirSync(join(root, folder), { recursive: true });
  program(join(root, 'deploy/packages.sh'), packages);
  program(join(root, 'bin/cmake'), 'exit 0');
  writeFileSync(join(root, 'deploy/build-packages.txt'), 'cmake\ngcc\n');
  if (configured) writeFileSync(join(root, 'build/release/build.ninja'), '');
  const { status, stderr } = spawnSync('python3', ['-B', '-c', `
import sys
sys.path.insert(0, ${JSON.stringify(loadtest)})
from benchlib import building
building.build(${JSON.stringify(root)}, "release", ["pushgate"], print)`],
  { env: { ...process.env, PATH: `${join(root, 'bin')}:${process.env.PATH}` }, encoding: 'utf8' });
  return { status, stderr, asked: existsSync(notes) ? readFileSync(notes, 'utf8').trim().split('\n') : [] };
}

test('a fresh tree: packages of the build, and a configuration without tests', t => {
  const { status, stderr, asked } = tree(t);
  assert.equal(status, 0, stderr);
  assert.deepEqual(asked, ['packages.sh cmake gcc', 'cmake --preset release -DBUILD_TESTING=OFF', 'cmake --build --preset release --target pushgate']);
});

test('a tree that is configured stays as it is', t => {
  const { status, stderr, asked } = tree(t, { configured: true });
  assert.equal(status, 0, stderr);
  assert.deepEqual(asked, ['cmake --build --preset release --target pushgate']);
});

test('packages that cannot be installed are named, and nothing is built', t => {
  const { status, stderr, asked } = tree(t, { packages: 'echo "These packages are missing: gcc." >&2; exit 1' });
  assert.notEqual(status, 0);
  assert.match(stderr, /CannotMeasure[^]*These packages are missing: gcc\./);
  assert.equal(asked.length, 1);
});
