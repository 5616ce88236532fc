// What operators read from the publish socket.
import assert from 'node:assert/strict';

/** Pairs in a row, as RESP2 has maps. */
export const object = pairs => Object.fromEntries(Array.from({ length: pairs.length / 2 }, (_, i) => [pairs[2 * i], pairs[2 * i + 1]]));

/** All pages of CONNECTION LIST; `between` runs behind each. */
export async function list(publisher, filter = [], { count = 100, between } = {}) {
  const found = [];
  let cursor = '0', pages = 0;
  do {
    const answer = await publisher.command('CONNECTION', 'LIST', ...filter, 'CURSOR', cursor, 'COUNT', count);
    assert.ok(Array.isArray(answer), String(answer));
    const [next, page] = answer;
    assert.ok(page.length <= count);
    if (next !== '0') assert.equal(page.length, count, 'a page that is not the last is full');
    found.push(...page.map(object));
    cursor = next;
    pages++;
    await between?.(found.length);
  } while (cursor !== '0');
  return { found, pages };
}
