// deploy/kubernetes: the objects are what the API takes, fit together, and hold what their comments promise; the gateway starts
// with the very configuration.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SignJWT } from 'jose';
import { binary, Gateway, makeCertificate, noUnshare } from './lib/gateway.mjs';
import { documents, faults } from './lib/manifests.mjs';
import { open } from './lib/wire.mjs';

const folder = fileURLToPath(new URL('../../deploy/kubernetes/', import.meta.url));
const text = name => readFileSync(join(folder, name), 'utf8');
const files = ['namespace', 'deployment', 'disruption', 'service', 'networkpolicy', 'secrets.example', 'monitoring/servicemonitor'].map(name => `${name}.yaml`);
const objects = Object.fromEntries(files.map(file => [file, documents(text(file))]));
const [deployment] = objects['deployment.yaml'];
const pod = deployment.spec.template.spec, [container] = pod.containers;
const services = Object.fromEntries(objects['service.yaml'].map(service => [service.metadata.name, service]));

/** The settings of pushgate.conf as { 'limits.connections': '100000', … }. */
function settings() {
  const read = {};
  let section;
  for (const line of text('pushgate.conf').split('\n')) {
    section = /^\[(.*)\]$/.exec(line)?.[1] ?? section;
    const [, key, value] = /^(\w+) = (.*)$/.exec(line) ?? [];
    if (key) read[`${section}.${key}`] = value;
  }
  return read;
}
/** 15s, 2m; 64MiB, 1280Mi: in seconds and bytes. */
function amount(words) {
  const [, number, unit] = /^(\d+)(s|m|MiB|Mi|GiB|Gi)$/.exec(words);
  return Number(number) * { s: 1, m: 60, MiB: 2 ** 20, Mi: 2 ** 20, GiB: 2 ** 30, Gi: 2 ** 30 }[unit];
}
/** Does this selector choose these labels? */
const chooses = (selector, labels) => Object.entries(selector).every(([key, value]) => labels[key] === value);

describe('schema', () => {
  for (const file of files) {
    test(`${file} is what the API takes`, () => {
      assert.ok(objects[file].length > 0);
      for (const object of objects[file]) assert.deepEqual(faults(object), []);
    });
  }
  test('every file is among those that are checked', () => {
    const there = readdirSync(folder, { recursive: true }).map(String).filter(name => name.endsWith('.yaml'));
    assert.deepEqual(there.sort(), [...files, 'kustomization.yaml'].sort());
  });

  test('the alerts are what a PrometheusRule takes', () => {
    const [spec] = documents(readFileSync(join(folder, '../prometheus/rules.yml'), 'utf8'));
    assert.deepEqual(faults({ apiVersion: 'monitoring.coreos.com/v1', kind: 'PrometheusRule', metadata: { name: 'pushgate' }, spec }), []);
  });

  const broken = (change) => {
    const copy = structuredClone(deployment);
    change(copy, copy.spec.template.spec, copy.spec.template.spec.containers[0]);
    return faults(copy);
  };
  for (const [name, expected, change] of [
    ['a key that is misspelt', /securityContext\/readOnlyRootFileSystem is unknown/, (_, pod, container) => { container.securityContext.readOnlyRootFileSystem = true; }],
    ['a key in the wrong place', /template\/spec\/minReadySeconds is unknown/, (_, pod) => { pod.minReadySeconds = 5; }],
    ['a key that nothing knows, deep in a list', /containers\/0\/ports\/1\/nmae is unknown/, (_, pod, container) => { container.ports[1].nmae = 'x'; }],
    ['a text for a number', /replicas must be integer/, object => { object.spec.replicas = '2'; }],
    ['a number for a text', /args\/0 must be string/, (_, pod, container) => { container.args = [5]; }],
    ['something that is missing', /required property selector/, object => { delete object.spec.selector; }],
    ['an action without its seconds', /required property seconds/, (_, pod, container) => { container.lifecycle.preStop.sleep = {}; }],
    ['a kind that does not exist', /no schema for apps\/v1 Deploymnt/, object => { object.kind = 'Deploymnt'; }],
    ['a version that has gone', /no schema for extensions\/v1beta1 Deployment/, object => { object.apiVersion = 'extensions/v1beta1'; }],
  ]) test(`the check finds ${name}`, () => assert.match(broken(change).join('\n'), expected));
  test('the reader finds a key that stands twice', () => assert.throws(() => documents('a: 1\na: 2\n'), /unique/));
});

describe('what kubectl makes of it', () => {
  const built = documents(execFileSync('kubectl', ['kustomize', folder], { encoding: 'utf8' }));
  const map = built.find(({ kind }) => kind === 'ConfigMap');

  test('objects that the API takes, all in the namespace', () => {
    for (const object of built) {
      assert.deepEqual(faults(object), []);
      if (object.kind !== 'Namespace') assert.equal(object.metadata.namespace, 'pushgate', object.kind);
    }
    assert.deepEqual(built.map(({ kind }) => kind).sort(),
      ['ConfigMap', 'Deployment', 'Namespace', 'NetworkPolicy', 'PodDisruptionBudget', 'Service', 'Service', 'Service']);
  });
  test('the pods take the configuration by the name of its content, and an image with a version', () => {
    const { volumes, containers } = built.find(({ kind }) => kind === 'Deployment').spec.template.spec;
    assert.match(map.metadata.name, /^pushgate-[a-z0-9]+$/);
    assert.equal(map.data['pushgate.conf'], text('pushgate.conf'));
    assert.equal(volumes[0].projected.sources[0].configMap.name, map.metadata.name);
    assert.match(containers[0].image, /^registry\.example\.org\/pushgate:\d+\.\d+\.\d+$/);
  });
});

describe('how the parts fit', () => {
  const labels = deployment.spec.template.metadata.labels;
  test('everything that selects pods selects these', () => {
    const [budget] = objects['disruption.yaml'], [policy] = objects['networkpolicy.yaml'];
    for (const selector of [deployment.spec.selector.matchLabels, budget.spec.selector.matchLabels, policy.spec.podSelector.matchLabels,
      ...Object.values(services).map(service => service.spec.selector), ...pod.topologySpreadConstraints.map(each => each.labelSelector.matchLabels)])
      assert.ok(chooses(selector, labels) && Object.keys(selector).length > 0);
  });
  test('the monitor selects one service only, or pods would be scraped twice', () => {
    const [monitor] = objects['monitoring/servicemonitor.yaml'];
    const chosen = Object.values(services).filter(service => chooses(monitor.spec.selector.matchLabels, service.metadata.labels));
    assert.deepEqual(chosen.map(service => service.metadata.name), ['pushgate-publish']);
    assert.ok(chosen[0].spec.ports.some(({ name }) => name === monitor.spec.endpoints[0].port));
    assert.equal(chosen[0].metadata.labels[monitor.spec.jobLabel], 'pushgate');
  });
  test('every port that is named is one of the container, and the gateway listens there', () => {
    const ports = Object.fromEntries(container.ports.map(({ name, containerPort }) => [name, containerPort]));
    const named = [...Object.values(services).flatMap(service => service.spec.ports.map(({ targetPort }) => targetPort)),
      ...objects['networkpolicy.yaml'][0].spec.ingress.flatMap(rule => rule.ports.map(({ port }) => port)),
      ...['startupProbe', 'readinessProbe', 'livenessProbe'].map(probe => container[probe].httpGet.port)];
    for (const name of named) assert.ok(name in ports, name);
    for (const [name, port] of Object.entries(ports)) assert.equal(settings()[`listen.${name}`], `*:${port}`);
  });
  test('every file that the configuration names is mounted, from a key that the secret has', () => {
    const secrets = Object.fromEntries(objects['secrets.example.yaml'].map(({ metadata, stringData, data }) => [metadata.name, { ...stringData, ...data }]));
    const mounted = new Set(['/etc/pushgate/pushgate.conf']);
    for (const { secret } of pod.volumes[0].projected.sources.filter(source => source.secret)) {
      for (const { key, path } of secret.items) {
        assert.ok(key in secrets[secret.name], `${secret.name} has ${key}`);
        mounted.add(`/etc/pushgate/${path}`);
      }
    }
    const named = Object.values(settings()).filter(value => value.startsWith('/'));
    assert.ok(named.length >= 6);
    for (const path of [...named, container.args[0].replace('--config=', '')]) assert.ok(mounted.has(path), path);
  });
  test('backends find draining pods, too: those have clients until the end', () => {
    assert.equal(services['pushgate-publish'].spec.clusterIP, 'None');
    assert.equal(services['pushgate-publish'].spec.publishNotReadyAddresses, true);
    for (const name of ['pushgate', 'pushgate-internal']) assert.ok(!services[name].spec.publishNotReadyAddresses);
  });
});

describe('what the comments promise', () => {
  const set = settings();
  test('the pod is given longer to end than it takes', () => {
    const takes = container.lifecycle.preStop.sleep.seconds + amount(set['drain.grace']) + amount(set['drain.timeout']) + 5 /* limits.close_timeout */;
    assert.ok(pod.terminationGracePeriodSeconds >= takes + 5 && pod.terminationGracePeriodSeconds <= takes + 60, `${takes} s`);
    assert.ok(deployment.spec.progressDeadlineSeconds > pod.terminationGracePeriodSeconds + 60 + deployment.spec.minReadySeconds);
  });
  test('readiness has turned false for the balancer before listeners close', () => {
    const { periodSeconds, failureThreshold, timeoutSeconds } = container.readinessProbe;
    assert.ok((periodSeconds + timeoutSeconds) * failureThreshold < amount(set['drain.grace']));
  });
  test('memory is what the formula says for these settings', () => {
    const connections = Number(set['limits.connections']);
    const needed = connections * (4400 + 4096) + amount(set['history.memory']) + amount(set['limits.inflight_bytes']) + amount(set['limits.outbox_memory']) + 128 * 2 ** 20;
    assert.match(text('deployment.yaml'), new RegExp(`= ${Math.round(needed / 2 ** 20).toLocaleString('en')} MiB\\.`));
    assert.ok(amount(container.resources.limits.memory) > needed);
    assert.equal(container.resources.requests.memory, container.resources.limits.memory);
  });
  test('as many reactors as cores are asked for', () => assert.equal(set['threads.reactors'], container.resources.requests.cpu));
  test('no pod less while new ones come, nothing that the restricted profile forbids', () => {
    assert.equal(deployment.spec.strategy.rollingUpdate.maxUnavailable, 0);
    assert.equal(pod.securityContext.runAsNonRoot, true);
    assert.ok(pod.securityContext.runAsUser > 0);
    assert.equal(pod.securityContext.seccompProfile.type, 'RuntimeDefault');
    assert.deepEqual(container.securityContext, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } });
    assert.equal(pod.automountServiceAccountToken, false);
    for (const key of ['hostNetwork', 'hostPID', 'hostIPC']) assert.ok(!(key in pod));
  });
  test('files of the secrets are for owner and group only', () => assert.equal(pod.volumes[0].projected.defaultMode, 0o440));
});

test('the gateway runs with this configuration, and is probed, scraped and used as the objects say', async t => {
  const where = mkdtempSync(join(tmpdir(), 'pushgate-kubernetes-'));
  t.after(() => rmSync(where, { recursive: true, force: true }));
  const made = makeCertificate(where), { certificate, key } = made;
  const secrets = { 'ticket-keys': randomBytes(80), 'token-secret': `${randomBytes(32).toString('hex')}\n`, 'publish-password': 'for backends only', 'admin-password': 'for Prometheus only' };
  mkdirSync(join(where, 'secrets'));
  for (const [name, value] of Object.entries(secrets)) {
    writeFileSync(join(where, 'secrets', name), value);
    chmodSync(join(where, 'secrets', name), 0o440);
  }
  const config = text('pushgate.conf').replace('/etc/pushgate/tls/tls.crt', certificate).replace('/etc/pushgate/tls/tls.key', key)
    .replaceAll('/etc/pushgate/secrets', join(where, 'secrets'));
  writeFileSync(join(where, 'pushgate.conf'), config);
  const { stdout } = spawnSync(binary, ['--config', join(where, 'pushgate.conf'), '--check'], { encoding: 'utf8' });
  assert.match(stdout, /^settings: good\n[^]*plan: 100,000 connections; 1 acceptor, 2 reactors /, 'with its own addresses, too');
  // Only what a test's machine has otherwise: addresses, and a short end. no_unshare.py stands for RuntimeDefault.
  const gateway = await Gateway.start({ config: join(where, 'pushgate.conf'), 'listen.ws': '', 'auth.anonymous': 'off', 'demo.enabled': 'off', 'tls.certificate': certificate, 'tls.private_key': key,
    'threads.acceptors': 1, 'drain.grace': '0s' }, { wrap: [noUnshare] });
  t.after(() => gateway.stop());
  for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe']) assert.equal((await gateway.get(container[probe].httpGet.path)).status, 200);
  const [monitor] = objects['monitoring/servicemonitor.yaml'];
  const scrape = authorization => gateway.get(monitor.spec.endpoints[0].path, { headers: authorization ? { authorization } : {} });
  assert.equal((await scrape()).status, 401);
  const { type } = monitor.spec.endpoints[0].authorization;
  assert.match(await (await scrape(`${type} ${secrets['admin-password']}`)).text(), /^pushgate_history_limit_bytes 134217728$/m);
  const token = await new SignJWT({ sub: '42' }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1m').sign(new TextEncoder().encode(secrets['token-secret'].trim()));
  const wire = await open({ wss: gateway.wss, certificate: made }, 'wss', `/ws?topic=news&token=${token}`);
  const backend = await gateway.publisher();
  assert.match(String(await backend.command('PUBLISH', 'news', 'x').catch(error => error.message)), /NOAUTH/);
  assert.equal(String(await backend.command('AUTH', secrets['publish-password'])), 'OK');
  assert.equal(await backend.command('PUBLISH', 'news', 'hello'), 1);
  assert.equal((await wire.frame()).text, 'hello');
  wire.destroy();
});
