// Makes one element like another with as few changes as possible, so that focus, selection, open details, scroll
// positions and logs survive. Elements with `data-keep` belong to the page and are left alone.

export function morph(from, to) {
  if (from.hasAttribute("data-keep") && to.hasAttribute("data-keep")) return;
  attributes(from, to);
  children(from, to);
}

function attributes(from, to) {
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !isOurs(from, name)) from.removeAttribute(name);
  }
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value && !isOurs(from, name)) from.setAttribute(name, value);
  }
}

function isOurs(element, name) {
  // Whether details are open is the visitor's choice as soon as there was one.
  return name === "data-touched" || name === "data-live" || (name === "open" && element.hasAttribute("data-touched"));
}

function children(from, to) {
  const known = new Map();
  for (const child of from.children) if (child.id) known.set(child.id, child);
  let current = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const named = wanted.id ? known.get(wanted.id) : undefined;
    if (named) {
      if (named !== current) from.insertBefore(named, current);
      else current = current.nextSibling;
      morph(named, wanted);
    } else if (current && isAlike(current, wanted)) {
      const next = current.nextSibling;
      if (current.nodeType === Node.ELEMENT_NODE) morph(current, wanted);
      else if (current.nodeValue !== wanted.nodeValue) current.nodeValue = wanted.nodeValue;
      current = next;
    } else {
      from.insertBefore(document.importNode(wanted, true), current);
    }
  }
  while (current) {
    const next = current.nextSibling;
    current.remove();
    current = next;
  }
}

function isAlike(current, wanted) {
  if (current.nodeType !== wanted.nodeType || current.nodeName !== wanted.nodeName) return false;
  return current.nodeType !== Node.ELEMENT_NODE || (!current.id && !wanted.id);
}
