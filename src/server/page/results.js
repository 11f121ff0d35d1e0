// The pictures that were found, as a grid or as a map.

import { layOut, MIDDLE } from "./map.js";
import { thumbnail } from "./server.js";

/** Three digits that count, without an exponent. */
export function distanceText(distance) {
  if (distance === 0) return "0";
  const digits = Math.min(Math.max(2 - Math.floor(Math.log10(distance)), 0), 7);
  return distance.toFixed(digits);
}

/** An element with properties and children. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** A link to the neighbours of an object, with its thumbnail. */
function link({ objectId, distance, path }, side, more) {
  const far = distance === undefined ? "" : `, distance ${distanceText(distance)}`;
  const image = element("img", {
    width: side, height: side, loading: more.lazy ? "lazy" : "eager", decoding: "async", draggable: false,
    src: thumbnail(objectId, side), alt: `Picture ${path ?? objectId}${far}`,
  });
  const made = element("a", { href: more.address(objectId) }, image);
  made.dataset.id = objectId;
  if (distance !== undefined) made.dataset.distance = distance;
  if (path) made.dataset.path = path;
  return made;
}

/** A place in the grid for one of those found, `{objectId, distance?, path?}`; `address` gives the address of an object's neighbours. */
export function place(one, address, lazy = true) {
  const made = link(one, 256, { lazy, address });
  const name = one.path ?? one.objectId;
  // The picture's text says both.
  made.append(element("span", { className: "path", title: name, ariaHidden: "true" }, element("bdi", {}, name)));
  if (one.distance !== undefined) {
    made.append(element("span", { className: "distance", ariaHidden: "true" }, distanceText(one.distance)));
  }
  return element("li", {}, made);
}

/** A grid of places. */
export const grid = (places) => element("ol", { className: "grid" }, ...places);

/** Whether a picture is wide (1), high (-1) or about as wide as high (0), by its thumbnail; null where there is none. */
export async function shape(image) {
  try {
    await image.decode();
  } catch {
    return null;
  }
  const { naturalWidth: width, naturalHeight: height } = image;
  return Math.max(width, height) < 1.05 * Math.min(width, height) ? 0 : Math.sign(width - height);
}

/**
 * `middle` is the address of the query's picture, where there is one that can be shown; `tell` gets how many of those found
 * have room.
 */
export function map(found, address, middle, tell) {
  const whole = element("div", { className: "map" });
  // Once it stands in the page, and whenever its size changes.
  new ResizeObserver(() => drawMap(whole, found, address, middle, tell)).observe(whole);
  return whole;
}

function drawMap(whole, found, address, middle, tell) {
  const { clientWidth: width, clientHeight: height } = whole;
  const drawn = `${width}x${height}`;
  if (!width || whole.dataset.drawn === drawn) return;
  whole.dataset.drawn = drawn;
  const focused = whole.contains(document.activeElement) ? document.activeElement.dataset.id : undefined;
  const { side, rings, places } = layOut(found.map(({ distance }) => distance), width, height);
  tell(places.length);
  const at = (item, { x, y }, size) => {
    Object.assign(item.style, {
      left: `${width / 2 + x}px`, top: `${height / 2 + y}px`, width: `${size}px`, height: `${size}px`,
    });
    return item;
  };
  const query = element("div", { className: "middle" });
  query.append(middle ? element("img", { src: middle, alt: "The query" }) : "The query");
  const items = places.map((place, index) =>
    at(element("li", {}, link(found[index], side > 64 ? 256 : 128, { lazy: false, address })), place, side));
  const list = element("ol", {}, at(element("li", {}, query), { x: 0, y: 0 }, side * MIDDLE), ...items);
  whole.replaceChildren(drawRings(rings, width, height), list);
  [...list.querySelectorAll("a")].find((one) => one.dataset.id === focused)?.focus();
}

function drawRings(rings, width, height) {
  const shape = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const drawing = shape("svg", { "aria-hidden": "true" });
  for (const { radius, distance } of rings) {
    const label = shape("text", { x: width / 2, y: height / 2 - radius });
    label.textContent = distanceText(distance);
    drawing.append(shape("circle", { cx: width / 2, cy: height / 2, r: radius }), label);
  }
  return drawing;
}
