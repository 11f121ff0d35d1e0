// Which of those found are shown: the form above them, and what of it stands in the address.

import { distanceText, element } from "./results.js";

const form = document.querySelector("#filters");
const { within, distance, limit, same } = form.elements;
/** Where the slider ends. Its steps are parts of the distance that it ends at. */
const END = Number(distance.max);
let far = 0;

/** What an address says: `{within, maxDistance, same}`. */
export function filtersOf(search) {
  const wanted = new URLSearchParams(search);
  const most = Number(wanted.get("maxDistance") ?? Infinity);
  return {
    within: wanted.get("within") ?? "",
    maxDistance: most >= 0 ? most : Infinity,
    same: wanted.get("orientation") === "same",
  };
}

/** The same as parameters of an address. */
export function toParameters(filters) {
  const wanted = [];
  if (filters.within) wanted.push(["within", filters.within]);
  if (filters.maxDistance < Infinity) wanted.push(["maxDistance", filters.maxDistance]);
  if (filters.same) wanted.push(["orientation", "same"]);
  return wanted;
}

/** What the form says. */
export const chosen = () => ({
  within: within.value.trim(),
  maxDistance: Number(distance.value) === END ? Infinity : (far * Number(distance.value)) / END,
  same: same.checked,
});

/**
 * Shows in the form what is chosen. The end of the slider is the farthest of those found, and means any distance; the folders to
 * choose from are theirs.
 */
export function fillForm(filters, found, hasShape) {
  const { maxDistance } = filters;
  far = Math.max(found.at(-1)?.distance ?? 0, maxDistance < Infinity ? maxDistance : 0);
  within.value = filters.within;
  distance.value = maxDistance < Infinity ? Math.min(Math.round((END * maxDistance) / (far || 1)), END - 1) : END;
  distance.disabled = !far;
  same.checked = filters.same;
  same.disabled = !hasShape;
  document.querySelector("#folders").replaceChildren(...foldersOf(found).map((folder) => element("option", { value: folder })));
  showLimit();
}

/** Says how far the slider lets them be. */
export function showLimit() {
  const { maxDistance } = chosen();
  limit.value = maxDistance < Infinity ? `up to ${distanceText(maxDistance)}` : "any";
  distance.setAttribute("aria-valuetext", limit.value);
}

/** All folders that hold some of those found, and the folders above. */
function foldersOf(found) {
  const folders = new Set();
  for (const { path } of found) {
    for (let end = path?.lastIndexOf("/") ?? -1; end > 0; end = path.lastIndexOf("/", end - 1)) folders.add(path.slice(0, end));
  }
  return [...folders].sort();
}
