// Checks a value against the part of JSON Schema that our schemas use: type, required, properties, additionalProperties, items, enum, minimum, $ref; and nullable.

/** Sentences about what is wrong; none when the value is as the schema says. */
export function violations(schema, value, root = schema, path = '$') {
  if (schema.$ref) return violations(root.$defs[schema.$ref.replace('#/$defs/', '')], value, root, path);
  const type = value === null ? 'null' : Array.isArray(value) ? 'array' : Number.isInteger(value) ? 'integer' : typeof value;
  if (type === 'null' && schema.nullable) return [];
  if (schema.type && schema.type !== type && !(schema.type === 'number' && type === 'integer')) return [`${path} is ${type}, not ${schema.type}`];
  const found = [];
  if (schema.enum && !schema.enum.includes(value)) found.push(`${path} is ${JSON.stringify(value)}`);
  if (value < schema.minimum) found.push(`${path} is below ${schema.minimum}`);
  if (type === 'array' && schema.items) value.forEach((item, i) => found.push(...violations(schema.items, item, root, `${path}[${i}]`)));
  if (type !== 'object') return found;
  for (const name of schema.required ?? []) if (!(name in value)) found.push(`${path}.${name} is missing`);
  for (const [name, member] of Object.entries(value)) {
    const known = schema.properties?.[name] ?? schema.additionalProperties;
    if (known === false) found.push(`${path}.${name} is not in the schema`);
    else if (known) found.push(...violations(known, member, root, `${path}.${name}`));
  }
  return found;
}
