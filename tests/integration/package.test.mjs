// The Debian package: what is in it, and what installing, upgrading, removing and purging it does, in a scratch root. deploy/test-package does
// the same, and runs the service, on a Debian of its own.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { preset } from './lib/gateway.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url)), build = join(root, 'build', preset);
const run = (command, ...rest) => execFileSync(command, rest, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const has = command => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0;
const asRoot = process.getuid() === 0 ? false : 'dpkg wants root for it';
let folder, deb;

/** Packs what is built; SOURCE_DATE_EPOCH, so that the date is no difference. */
const pack = name => {
  const output = execFileSync('cpack', ['-G', 'DEB', '--config', join(build, 'CPackConfig.cmake'), '-B', join(folder, name)],
    { cwd: build, encoding: 'utf8', env: { ...process.env, SOURCE_DATE_EPOCH: '1700000000' } });
  return /package: (\S+\.deb) generated/.exec(output)[1];
};

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'pushgate-test-'));
  run('cmake', '--build', build, '--target', 'pushgate', 'pushgate-load', 'documents');
  deb = pack('first');
});
after(() => rmSync(folder, { recursive: true, force: true }));

test('it has the programs, their manual pages, the service and settings that only root and the group may read', () => {
  const listed = new Map(run('dpkg-deb', '-c', deb).trim().split('\n').map(line => line.split(/\s+/)).map(([mode, owner, , , , path]) => [path, `${mode} ${owner}`]));
  for (const path of ['./usr/bin/pushgate', './usr/bin/pushgate-load']) assert.equal(listed.get(path), '-rwxr-xr-x root/root', path);
  for (const path of ['./usr/lib/systemd/system/pushgate.service', './usr/lib/sysusers.d/pushgate.conf', './usr/share/man/man8/pushgate.8.gz',
    './usr/share/man/man5/pushgate.conf.5.gz', './usr/share/man/man1/pushgate-load.1.gz', './usr/share/bash-completion/completions/pushgate',
    './usr/share/doc/pushgate/copyright', './usr/share/doc/pushgate/changelog.gz', './usr/share/doc/pushgate/changelog.Debian.gz',
    './usr/share/doc/pushgate/examples/sysctl.d/pushgate.conf', './usr/share/doc/pushgate/examples/systemd/port-443.conf',
    './usr/share/doc/pushgate/README.md', './usr/share/doc/pushgate/deploy/OPERATIONS.md', './usr/share/doc/pushgate/deploy/prometheus/rules.yml'])
    assert.equal(listed.get(path), '-rw-r--r-- root/root', path);
  assert.equal(listed.get('./etc/pushgate/pushgate.conf'), '-rw-r----- root/root');
  assert.ok(![...listed.keys()].some(path => path.startsWith('./etc/sysctl.d')), 'the kernel of whoever installs it is left alone');
  const depends = run('dpkg-deb', '-f', deb, 'Depends');
  for (const name of ['systemd', 'libc6', 'libssl3', 'libcurl4', 'libcjose0', 'libseccomp2']) assert.match(depends, new RegExp(`(^|, )${name}( |,|$)`));
});

test('packed again it is the same, byte for byte', () => {
  const hash = path => createHash('sha256').update(readFileSync(path)).digest('hex');
  assert.equal(hash(pack('second')), hash(deb));
});

test('lintian finds no error and no warning', { skip: has('lintian') ? false : 'lintian is not installed; deploy/test-package installs it' }, () => {
  const { status, stdout, stderr } = spawnSync('lintian', ['--allow-root', '--fail-on', 'error,warning', deb], { encoding: 'utf8' });
  assert.equal(status, 0, stdout + stderr);
});

test('the settings that it brings are good, and listen on loopback only', () => {
  run('dpkg-deb', '-x', deb, join(folder, 'content'));
  const settings = join(folder, 'content/etc/pushgate/pushgate.conf');
  const { stdout } = spawnSync(join(build, 'pushgate'), ['--config', settings, '--check'], { encoding: 'utf8' });
  assert.match(stdout, /^settings: good\n/);
  for (const [, value] of readFileSync(settings, 'utf8').matchAll(/^(?:wss|ws|publish|admin) = (.*)$/gm)) assert.match(value, /^(127\.0\.0\.1:|unix:)/);
});

test('systemd finds no fault in the unit, and little that it is exposed to', { skip: has('systemd-analyze') ? false : 'there is no systemd-analyze' }, () => {
  const unit = join(folder, 'pushgate.service');
  // Verified against what is built here: there is no /usr/bin/pushgate.
  writeFileSync(unit, readFileSync(join(root, 'deploy/systemd/pushgate.service'), 'utf8').replaceAll('/usr/bin/pushgate', join(build, 'pushgate')));
  const { stdout, stderr, status } = spawnSync('systemd-analyze', ['verify', '--man=no', '--recursive-errors=no', unit], { encoding: 'utf8' });
  assert.deepEqual({ said: (stdout + stderr).trim(), status }, { said: '', status: 0 });
  const judged = spawnSync('systemd-analyze', ['security', '--offline=true', '--threshold=14', '--no-pager', unit], { encoding: 'utf8' });
  assert.equal(judged.status, 0, judged.stdout.split('\n').filter(line => line.startsWith('✗')).join('\n') + judged.stderr);
  assert.match(judged.stdout, /Overall exposure level for pushgate\.service: [01]\.\d OK/);
});

test('installed, upgraded, removed and purged: settings of the administrator stay until the purge, then nothing does', { skip: asRoot }, () => {
  const scratch = join(folder, 'root'), settings = join(scratch, 'etc/pushgate/pushgate.conf');
  for (const path of ['var/lib/dpkg/info', 'var/lib/dpkg/updates', 'var/lib/dpkg/triggers', 'var/log', 'etc', 'usr/bin']) mkdirSync(join(scratch, path), { recursive: true });
  for (const path of ['var/lib/dpkg/status', 'var/lib/dpkg/available', 'var/log/dpkg.log']) writeFileSync(join(scratch, path), '');
  // The machine's own commands, working on the scratch root (DPKG_ROOT).
  const dpkg = (...rest) => {
    const { status, stdout, stderr } = spawnSync('dpkg', [`--root=${scratch}`, '--force-script-chrootless', '--force-depends', '--force-confold', ...rest], { encoding: 'utf8' });
    assert.equal(status, 0, stdout + stderr);
  };
  const wanted = () => existsSync(join(scratch, 'etc/systemd/system/multi-user.target.wants/pushgate.service'))
    || readdirSync(join(scratch, 'etc/systemd/system/multi-user.target.wants')).includes('pushgate.service');
  const entry = (file, name) => readFileSync(join(scratch, 'etc', file), 'utf8').split('\n').find(line => line.startsWith(`${name}:`))?.split(':');

  dpkg('-i', deb);
  const group = Number(entry('group', 'pushgate')[2]);
  assert.equal(entry('passwd', 'pushgate').at(-1), '/usr/sbin/nologin');
  assert.deepEqual([statSync(settings).mode & 0o777, statSync(settings).uid, statSync(settings).gid], [0o640, 0, group]);
  assert.ok(wanted(), 'it is enabled');

  run('dpkg-deb', '-R', deb, join(folder, 'next'));
  const control = join(folder, 'next/DEBIAN/control');
  writeFileSync(control, readFileSync(control, 'utf8').replace(/^Version: .*/m, 'Version: 99.0-1'));
  appendFileSync(join(folder, 'next/etc/pushgate/pushgate.conf'), '# new\n');
  run('dpkg-deb', '-b', join(folder, 'next'), join(folder, 'next.deb'));
  appendFileSync(settings, '# mine\n');
  dpkg('-i', join(folder, 'next.deb'));
  assert.match(readFileSync(settings, 'utf8'), /# mine\n$/);
  assert.match(readFileSync(`${settings}.dpkg-dist`, 'utf8'), /# new\n$/);
  assert.deepEqual([statSync(settings).mode & 0o777, statSync(settings).gid], [0o640, group]);

  dpkg('-r', 'pushgate');
  assert.match(readFileSync(settings, 'utf8'), /# mine\n$/);
  assert.ok(!existsSync(join(scratch, 'usr/bin/pushgate')));
  dpkg('-P', 'pushgate');
  const left = run('find', scratch, '-name', '*pushgate*').trim();
  assert.equal(left, '', 'nothing but the user');
  assert.ok(entry('passwd', 'pushgate'));
});

test('the image: what it copies is in the tree, its user is that of the manifests, and nobody is let in whom no setting names', () => {
  const recipe = readFileSync(join(root, 'deploy/Containerfile'), 'utf8');
  for (const [, sources] of recipe.matchAll(/^COPY (?!--from)(.*) \S+$/gm))
    for (const source of sources.split(' ')) assert.ok(existsSync(join(root, source)), source);
  const [, user] = /^USER (\d+):\d+$/m.exec(recipe);
  assert.match(readFileSync(join(root, 'deploy/kubernetes/deployment.yaml'), 'utf8'), new RegExp(`runAsUser: ${user}\n`));
  const start = (...rest) => spawnSync(join(build, 'pushgate'), ['--config', join(root, 'deploy/container.conf'), '--check', ...rest], { encoding: 'utf8' });
  assert.match(start().stderr, /auth\.anonymous/);
  assert.equal(start().status, 1);
  assert.match(start('--auth.anonymous=on').stdout, /^settings: good\n/);
});
