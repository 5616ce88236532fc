// Checks Kubernetes objects against the API's own schema, as strictly as a server with fieldValidation=Strict.
import { parseAllDocuments } from 'yaml';

const core = await import('kubernetes-models/v1');
const operator = await import('@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1');
const models = {
  'v1 Namespace': core.Namespace, 'v1 ConfigMap': core.ConfigMap, 'v1 Secret': core.Secret, 'v1 Service': core.Service,
  'apps/v1 Deployment': (await import('kubernetes-models/apps/v1')).Deployment,
  'policy/v1 PodDisruptionBudget': (await import('kubernetes-models/policy/v1')).PodDisruptionBudget,
  'networking.k8s.io/v1 NetworkPolicy': (await import('kubernetes-models/networking.k8s.io/v1')).NetworkPolicy,
  'monitoring.coreos.com/v1 ServiceMonitor': operator.ServiceMonitor, 'monitoring.coreos.com/v1 PrometheusRule': operator.PrometheusRule,
};

/** All documents of a YAML text as objects; a key that stands twice, or a tag that says nothing, is an error. */
export function documents(text) {
  return parseAllDocuments(text, { version: '1.1', strict: true, uniqueKeys: true }).map(document => {
    const [problem] = [...document.errors, ...document.warnings];
    if (problem) throw problem;
    return document.toJS();
  }).filter(value => value !== null);
}

/** `value`, whose properties and those of its parts are ticked off in `seen` as they are looked at. */
function watched(value, path, seen) {
  if (typeof value !== 'object' || value === null) return value;
  return new Proxy(value, {
    get(target, key) {
      const part = Reflect.get(target, key);
      if (typeof key === 'symbol' || !Object.hasOwn(target, key)) return part;
      seen.add(`${path}/${key}`);
      return watched(part, `${path}/${key}`, seen);
    },
  });
}

function* paths(value, path) {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, part] of Object.entries(value)) {
    yield `${path}/${key}`;
    yield* paths(part, `${path}/${key}`);
  }
}

/** What is wrong with the object, as sentences that name the place. The schema's validator says what breaks a type, a format or
    a requirement; a property that it never looks at is one that the API does not know. */
export function faults(object) {
  const kind = `${object?.apiVersion} ${object?.kind}`;
  if (!Object.hasOwn(models, kind)) return [`no schema for ${kind}`];
  const seen = new Set();
  try {
    models[kind].prototype.validate.call(watched(object, '', seen));
  } catch (error) {
    return error.errors?.map(({ instancePath, message, params }) => `${instancePath} ${message ?? JSON.stringify(params)}`) ?? [String(error)];
  }
  return [...paths(object, '')].filter(path => !seen.has(path)).map(path => `${path} is unknown`);
}
