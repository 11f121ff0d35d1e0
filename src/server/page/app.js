// The page: what is shown follows from the address and the state of its entry in the browser's history.
//
//   ?id=OBJECT_ID&view=map    the neighbours of an object
//   ?text=WORDS               what fits words best
//   ?duplicates=DISTANCE      the groups of duplicates; without a number, at the distance that is known for the model
//   (none)                    random objects, {random: [ids]}, or those of an upload, {upload: {name, preview, found}}

import { chosen, fillForm, filtersOf, showLimit, toParameters } from "./filters.js";
import { showGroups } from "./groups.js";
import { distanceText, element, grid, map, place, shape } from "./results.js";
import { health, MOST, picture, Problem, randomObjects, similarToFile, similarToObject, similarToWords, thumbnail } from "./server.js";

const $ = (selector) => document.querySelector(selector);
const results = $("#results");
const query = $("#query");
const preview = $("#preview");
/** Answers of before: going back shows them at once. */
const known = new Map();
const server = { objects: 0, uploads: true, words: false };
const NO_UPLOADS = "This server takes no pictures from outside.";
/** Of a picture that stands large in the page, in pixels. */
const LARGE = 1024;
/** Neighbours that are asked for at first; the grid asks for more when its end is near. */
const NEIGHBOURS = 100;
/** How near the end has to be, in pixels. */
const NEAR = 800;
/** The files that were sent, by the numbers that the history has: to ask for more like them. Gone when the page is loaded again. */
const uploads = [];
/** What is shown: `{found, complete, more, shape, middle}`; none where that is no search. */
let shown = null;
/** Ends what is being asked when something else is asked. */
let asking = new AbortController();

const parameters = () => new URLSearchParams(location.search);
const filters = () => filtersOf(location.search);
const view = () => (parameters().get("view") === "map" ? "map" : "grid");

/** What the address asks for: `{id}`, `{text}`, or nothing. */
const asked = () => ({ id: parameters().get("id"), text: parameters().get("text") });

function address({ id, text } = {}, as = view(), filtered = filters()) {
  const wanted = new URLSearchParams(toParameters(filtered));
  if (id) wanted.set("id", id);
  else if (text) wanted.set("text", text);
  if (as === "map") wanted.set("view", "map");
  return wanted.size ? `./?${wanted}` : "./";
}

const neighboursOf = (id) => address({ id });

/** Makes a new entry in the history and shows it. */
function go(to, state = null) {
  history.replaceState({ ...history.state, scroll: scrollY }, "");
  history.pushState(state, "", to);
  scrollTo(0, 0);
  show();
}

/** Shows what the address and the history say. */
async function show() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const { id, text } = asked();
  document.title = id || text ? `${id || text} - simsearch` : "simsearch";
  $("#words").elements.text.value = id ? "" : text;
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", button.dataset.view === view());
  }
  const isSearch = Boolean(id || text || history.state?.upload);
  const duplicates = parameters().get("duplicates");
  document.body.classList.toggle("random", !isSearch);
  document.body.classList.toggle("duplicates", duplicates !== null);
  $("#duplicates").setAttribute("aria-pressed", duplicates !== null);
  $("#filters").hidden = !isSearch;
  shown = null;
  point(null);
  results.classList.add("waiting");
  try {
    if (id) await showNeighbours(id, signal);
    else if (text) await showFitting(text, signal);
    else if (duplicates !== null) await showDuplicates(duplicates, signal);
    else if (history.state?.upload) await showUpload(history.state.upload, signal);
    else await showRandom(signal);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) console.error(error);
    showProblem(error);
  }
  results.classList.remove("waiting");
}

async function showNeighbours(id, signal) {
  const image = element("img", { src: picture(id), alt: `The query, ${id}` });
  image.dataset.instead = thumbnail(id, LARGE);
  showQuery(image, "Query", id, picture(id));
  const more = (limit, within) => similarToObject(id, limit, within, signal);
  await showFound({ key: `id ${id}`, more, middle: thumbnail(id, 256) }, signal);
}

async function showDuplicates(distance, signal) {
  document.title = "Duplicates - simsearch";
  const groupsAt = (wanted) => `./?${new URLSearchParams({ duplicates: wanted })}`;
  const neighbours = (id) => address({ id }, "grid", {});
  await showGroups(results, { maxDistance: distance || null, say, neighbours, groupsAt, go, signal });
}

async function showFitting(text, signal) {
  showQuery(element("p", { className: "words" }, text), "Words", "");
  const more = (limit, within) => similarToWords(text, limit, within, signal);
  await showFound({ key: `text ${text}`, more, middle: null }, signal);
}

async function showUpload({ name, preview: small, number, found }, signal) {
  const image = small ? element("img", { src: small, alt: `Your picture, ${name}` }) : element("p", {}, name);
  showQuery(image, "Your picture", name);
  const more = async (limit, within) => {
    if (uploads[number]) return similarToFile(uploads[number], limit, within, signal);
    if (within !== found.within) throw new Problem("Choose the picture once more to look for it in another folder.");
    return { ...found, complete: true };
  };
  const key = `upload ${number} ${name}`;
  if (uploads[number]) known.set(`${key} in ${found.within}`, found);
  await showFound({ key, more, middle: small }, signal);
}

async function showRandom(signal) {
  const ids = history.state?.random ?? (await someObjects(signal));
  signal.throwIfAborted();
  if (ids.length === 0) {
    showNothing();
    return;
  }
  history.replaceState({ ...history.state, random: ids }, "");
  const text = server.uploads
    ? "Drop a picture anywhere, paste one, or choose one. Or start with one of these."
    : `${NO_UPLOADS} Begin with one of those here.`;
  showQuery(element("p", {}, text), "", "");
  query.querySelector(".frame").classList.add("invites");
  say(`${ids.length} of ${server.objects} pictures, at random. Choose one to see what is like it.`);
  results.replaceChildren(grid(ids.map((objectId) => place({ objectId }, neighboursOf))));
}

/** Random objects, and how many there are by now. */
async function someObjects(signal) {
  const [ids] = await Promise.all([randomObjects(signal), askHealth()]);
  return ids;
}

/** There are no features. A server that found none when it began does not know their model, and takes no pictures. */
function showNothing() {
  showQuery(element("p", {}, server.uploads ? "There is nothing to compare a picture with" : NO_UPLOADS), "", "");
  say("");
  const then = server.uploads ? "" : " Start the server again then, to search with pictures from outside as well.";
  const again = element("button", { type: "button", onclick: show }, "Look again");
  const command = element("code", {}, "simsearch extract");
  message("There is nothing to show yet", element("span", {}, command, ` makes the features of pictures.${then}`), again);
}

/** Asks, unless it is known already, and shows what there is. */
async function showFound({ key, more, middle }, signal) {
  const { within, same } = filters();
  key += ` in ${within}`;
  fillForm(filters(), [], middle);
  if (!known.has(key)) known.set(key, await more(NEIGHBOURS, within));
  const wanted = same && middle ? await shape(element("img", { src: middle })) : null;
  signal.throwIfAborted();
  shown = { ...known.get(key), key, more, middle, shape: wanted };
  fillForm(filters(), shown.found, middle);
  if (shown.found.length === 0) {
    say("");
    message("Nothing is like it", "There are no other pictures to compare it with.");
    return;
  }
  if (view() === "map") await drawMap(signal);
  else await drawGrid(signal);
}

async function drawMap(signal) {
  const { maxDistance } = filters();
  let near = shown.found.filter(({ distance }) => distance <= maxDistance).slice(0, NEIGHBOURS);
  const shapes = shown.shape === null ? [] : await Promise.all(near.map(({ objectId }) => shape(element("img", { src: thumbnail(objectId, 256) }))));
  signal.throwIfAborted();
  near = near.filter((_, index) => shown.shape === null || shapes[index] === shown.shape);
  if (near.length === 0) {
    tell(near);
    return;
  }
  // Short, for where there is no room; the distances are in the map.
  const room = (count) => (count < near.length ? say(`${count} of the ${near.length} most similar have room here`) : tell(near));
  results.replaceChildren(map(near, neighboursOf, shown.middle, room));
}

async function drawGrid(signal) {
  const list = grid([]);
  const end = element("div", { className: "end" });
  let asking = false;
  const more = async () => {
    const { complete, found, key } = shown;
    if (asking || complete || found.at(-1).distance > filters().maxDistance) return;
    asking = true;
    try {
      const next = await shown.more(Math.min(2 * found.length, MOST), filters().within);
      signal.throwIfAborted();
      known.set(key, next);
      const before = new Set(found.map(({ objectId }) => objectId));
      Object.assign(shown, next);
      fillForm(filters(), shown.found, shown.middle);
      await add(next.found.filter(({ objectId }) => !before.has(objectId)));
    } catch (error) {
      if (!signal.aborted) say(error.message);
      return;
    } finally {
      asking = false;
    }
    // It tells whether the end is still near.
    watcher.unobserve(end);
    watcher.observe(end);
  };
  const add = async (found) => {
    // Whether they are of the same shape is known once their pictures have come.
    const places = found.map((one) => place(one, neighboursOf, shown.shape === null));
    const shapes = shown.shape === null ? [] : await Promise.all(places.map((one) => shape(one.querySelector("img"))));
    signal.throwIfAborted();
    list.append(...places.filter((_, index) => shown.shape === null || shapes[index] === shown.shape));
    hideFar();
  };
  const watcher = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && more(), { rootMargin: `${NEAR}px` });
  shown.watch = () => {
    watcher.unobserve(end);
    watcher.observe(end);
  };
  signal.addEventListener("abort", () => watcher.disconnect());
  await add(shown.found);
  results.replaceChildren(list, end);
  hideFar();
  watcher.observe(end);
}

/** Hides those in the grid that are farther than the slider says. */
function hideFar() {
  const { maxDistance } = chosen();
  const links = [...results.querySelectorAll(".grid a[data-id]")];
  for (const link of links) link.parentElement.hidden = Number(link.dataset.distance) > maxDistance;
  tell(listed());
}

/** Those that are shown, `[{objectId, distance, path}]`. */
function listed() {
  const links = [...results.querySelectorAll("a[data-id]")].filter((link) => !link.parentElement.hidden);
  return links.map(({ dataset: { id, distance, path } }) => ({ objectId: id, distance: Number(distance), path }));
}

/** Says how many are shown, and how far they are. */
function tell(near) {
  for (const button of [$("#copy"), $("#download")]) button.disabled = near.length === 0;
  if (near.length === 0) {
    say("None of those found is shown: they are farther, or of another orientation");
    return;
  }
  const [nearest, farthest] = [near[0], near.at(-1)].map(({ distance }) => distanceText(distance));
  const distances = nearest === farthest ? `distance ${nearest}` : `distances ${nearest} to ${farthest}`;
  say(`${near.length} most similar, at ${distances}`);
}

function showProblem(error) {
  say("");
  const others = element("button", { type: "button", onclick: showOthers }, "Random pictures");
  if (error.status === 404) {
    message("There is no such picture", "It may have been removed, or its address is not quite right.", others);
    return;
  }
  const text = error instanceof Problem ? error.message : "Something went wrong in this page.";
  const again = element("button", { type: "button", onclick: show }, "Go back to what was shown");
  message("That did not work", text, again, " ", others);
}

function message(title, text, ...more) {
  results.replaceChildren(element("div", { className: "message" }, element("h2", {}, title), element("p", {}, text), ...more));
}

function say(text) {
  $("#status").textContent = text;
}

/** Fills a figure; the link leads to the picture itself. */
function fill(figure, content, title, text, link) {
  figure.querySelector(".frame").className = "frame";
  figure.querySelector(".frame").replaceChildren(content);
  const caption = [element("strong", {}, title)];
  if (link) {
    caption.push(" ", element("a", { href: link, target: "_blank", rel: "noopener" }, "open"));
    caption.push(" ", element("a", { href: link, download: text.split("/").at(-1) }, "download"));
  }
  figure.querySelector("figcaption").replaceChildren(...caption, element("span", { className: "id", title: text }, text));
}

function showQuery(content, title, text, link) {
  fill(query, content, title, text, link);
}

/** Shows a result large; nothing where none is pointed at. */
function point(link) {
  preview.classList.toggle("empty", !link);
  if (!link) {
    fill(preview, element("p", {}, "Point at a picture to see it large"), "", "");
    return;
  }
  const { id, distance, path } = link.dataset;
  // The thumbnail is there already; the picture itself takes its place when it has come.
  const image = element("img", { src: link.querySelector("img").src, alt: "" });
  const whole = element("img", { src: picture(id), alt: "" });
  const thumbnailInstead = () => Object.assign(whole, { src: thumbnail(id, LARGE) }).decode();
  whole.decode().catch(thumbnailInstead).then(() => image.replaceWith(whole), () => {});
  fill(preview, image, distance === undefined ? "" : `Distance ${distanceText(Number(distance))}`, id);
}

async function search(file) {
  if (!server.uploads) {
    say(NO_UPLOADS);
    return;
  }
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  say(`Looking for pictures like ${file.name || "yours"} …`);
  results.classList.add("waiting");
  try {
    const { within } = filters();
    const [answer, small] = await Promise.all([similarToFile(file, NEIGHBOURS, within, signal), smaller(file)]);
    const number = uploads.push(file) - 1;
    const found = { ...answer, within };
    go(address(), { upload: { name: file.name || "Pasted picture", preview: small, number, found } });
  } catch (error) {
    if (signal.aborted) return;
    showProblem(error);
    results.classList.remove("waiting");
  }
}

/** A picture of the size of the page's frame, as text that the history can keep; none where the browser cannot read it. */
async function smaller(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, 640 / Math.max(bitmap.width, bitmap.height));
    const canvas = element("canvas", { width: Math.ceil(bitmap.width * scale), height: Math.ceil(bitmap.height * scale) });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/jpeg", 0.85);
  } catch {
    return null;
  }
}

function showOthers() {
  go(address({}, view(), {}));
}

/** With a key held down the browser opens a link elsewhere. */
const elsewhere = (event) => event.ctrlKey || event.metaKey || event.shiftKey;

// A click makes a picture the next query.
results.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-id]");
  if (!link || elsewhere(event)) return;
  event.preventDefault();
  // Asked again: there may be more by now.
  for (const key of known.keys()) {
    if (key.startsWith(`id ${link.dataset.id} in `)) known.delete(key);
  }
  go(link.href);
});
results.addEventListener("pointerover", (event) => {
  if (event.pointerType === "mouse") point(event.target.closest("a[data-id]"));
});
results.addEventListener("pointerleave", () => point(null));
results.addEventListener("focusin", (event) => {
  if (event.target.matches("a[data-id]:focus-visible")) point(event.target);
});
results.addEventListener("focusout", () => point(null));

// A picture that cannot be shown. In a frame, what is named instead takes its place, since no browser shows TIFF, and then
// words; in the results, its text does.
document.addEventListener("error", ({ target }) => {
  if (!target.closest?.(".frame")) return;
  const { instead } = target.dataset;
  delete target.dataset.instead;
  if (instead) target.src = instead;
  else target.replaceWith(element("p", {}, "This picture cannot be shown here"));
}, true);

// Arrow keys go from picture to picture: to the nearest one in that direction.
results.addEventListener("keydown", (event) => {
  const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  const from = event.target.closest("a[data-id]");
  if (!direction || !from) return;
  const centre = (link) => {
    const { x, y, width, height } = link.getBoundingClientRect();
    return [x + width / 2, y + height / 2];
  };
  const [x, y] = centre(from);
  let best = { cost: Infinity };
  for (const link of results.querySelectorAll("a[data-id]")) {
    const [toX, toY] = centre(link);
    const along = (toX - x) * direction[0] + (toY - y) * direction[1];
    const aside = Math.abs((toX - x) * direction[1]) + Math.abs((toY - y) * direction[0]);
    const cost = along + 2 * aside;
    if (along > 1 && aside <= 2 * along && cost < best.cost) best = { cost, link };
  }
  if (!best.link) return;
  event.preventDefault();
  best.link.focus();
});

$("#choose").addEventListener("click", () => $("#file").click());
$("#file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) search(file);
});
$("#words").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = event.target.elements.text.value.trim();
  if (text) go(address({ text }));
});
$("#random").addEventListener("click", showOthers);
$("#duplicates").addEventListener("click", () => go("./?duplicates"));
// An upload has the same address, with which the browser would show it again.
$(".name").addEventListener("click", (event) => {
  if (elsewhere(event)) return;
  event.preventDefault();
  showOthers();
});
for (const button of document.querySelectorAll("[data-view]")) {
  button.addEventListener("click", () => {
    const { upload, random } = history.state ?? {};
    if (button.dataset.view !== view()) go(address(asked(), button.dataset.view), { upload, random });
  });
}

// The folder and the orientation are asked for anew; the slider shows at once what it does.
$("#filters").addEventListener("submit", (event) => {
  event.preventDefault();
  refilter();
});
for (const name of ["within", "same"]) $("#filters").elements[name].addEventListener("change", refilter);
$("#filters").elements.distance.addEventListener("input", () => {
  showLimit();
  hideFar();
});
$("#filters").elements.distance.addEventListener("change", () => {
  history.replaceState(history.state, "", address(asked(), view(), chosen()));
  if (view() === "map") show();
  else shown?.watch?.();
});

function refilter() {
  const to = address(asked(), view(), chosen());
  if (new URL(to, document.baseURI).search !== location.search) go(to, { upload: history.state?.upload });
}

/** A field of comma-separated values. */
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

$("#copy").addEventListener("click", async () => {
  const near = listed();
  try {
    await navigator.clipboard.writeText(near.map(({ objectId, path }) => `${path ?? objectId}\n`).join(""));
    say(`${near.length} copied, a line for each`);
  } catch {
    say("The browser does not let this page copy");
  }
});
// Only a page from this machine, or that came by TLS, may copy.
$("#copy").hidden = !navigator.clipboard;
$("#download").addEventListener("click", () => {
  const rows = listed().map(({ objectId, distance, path }) => [objectId, String(distance), path ?? ""]);
  const text = [["object_id", "distance", "path"], ...rows].map((row) => `${row.map(quoted).join(",")}\r\n`).join("");
  const href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  element("a", { href, download: "similar.csv" }).click();
  URL.revokeObjectURL(href);
});

document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) search(file);
});
// The browser leaves the page for a file that is dropped on it, unless it is told each time that it must not.
const holdsFile = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!holdsFile(event)) return;
  event.preventDefault();
  if (server.uploads) $("#drop").hidden = false;
  else event.dataTransfer.dropEffect = "none";
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("#drop").hidden = true;
});
document.addEventListener("drop", (event) => {
  $("#drop").hidden = true;
  if (!holdsFile(event)) return;
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file) search(file);
});

history.scrollRestoration = "manual";
addEventListener("popstate", async () => {
  const scroll = history.state?.scroll ?? 0;
  await show();
  scrollTo(0, scroll);
});

async function askHealth() {
  Object.assign(server, await health());
  $("#choose").hidden = !server.uploads;
  $("#words").hidden = !server.words;
}

// Where this fails, what is asked next says what is wrong.
await askHealth().catch(() => {});
show();
