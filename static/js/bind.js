/**
 * Binds behaviours to elements by a data attribute.
 *
 * bind("data-x", setUp) calls setUp(element) once for each element that carries data-x, those on the
 * page now and those added later (htmx swaps). What setUp returns, if it is a function, is called
 * when the element has left the page.
 */
const behaviours = new Map();
const bound = new Map();
let observer = null;

export function bind(attribute, setUp) {
  behaviours.set(attribute, setUp);
  for (const element of document.querySelectorAll(`[${attribute}]`)) start(element, attribute, setUp);
  if (observer) return;
  observer = new MutationObserver(sweep);
  observer.observe(document.documentElement, { childList: true, subtree: true });
}

function start(element, attribute, setUp) {
  const own = bound.get(element) ?? new Map();
  if (own.has(attribute)) return;
  bound.set(element, own);
  own.set(attribute, setUp(element));
}

function sweep(records) {
  for (const node of records.flatMap((record) => [...record.addedNodes])) {
    if (node.nodeType !== Node.ELEMENT_NODE) continue;
    for (const [attribute, setUp] of behaviours) {
      if (node.matches(`[${attribute}]`)) start(node, attribute, setUp);
      for (const element of node.querySelectorAll(`[${attribute}]`)) start(element, attribute, setUp);
    }
  }
  if (!records.some((record) => record.removedNodes.length)) return;
  for (const [element, own] of bound) {
    if (element.isConnected) continue;
    bound.delete(element);
    for (const stop of own.values()) if (typeof stop === "function") stop();
  }
}
