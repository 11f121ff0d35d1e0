// All that is asked of the server. Addresses are relative, since it may stand below a path.

/** The most neighbours that the server gives. */
export const MOST = 10000;
/** The largest upload that the server takes. */
const MAX_UPLOAD_BYTES = 32 * 1024 * 1024;

/** Something that the reader is told, in a line. */
export class Problem extends Error {}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. Is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    const problem = new Problem(answer.error ?? `The server answers ${response.status}.`);
    problem.status = response.status;
    throw problem;
  }
  return answer;
}

/** What was found, nearest first, `[{objectId, distance, path}]`, and whether that is all there is. */
async function neighbours(address, limit, within, options, without) {
  const wanted = Math.min(without ? limit + 1 : limit, MOST);
  const parameters = new URLSearchParams({ limit: wanted });
  if (within) parameters.set("within", within);
  const { similarImages } = await ask(`${address}${address.includes("?") ? "&" : "?"}${parameters}`, options);
  return {
    found: similarImages.filter(({ objectId }) => objectId !== without),
    complete: similarImages.length < wanted || wanted === MOST,
  };
}

/** The neighbours of an object, without itself. */
export const similarToObject = (id, limit, within, signal) =>
  neighbours(`similar/${encodeURIComponent(id)}`, limit, within, { signal }, id);

/** The pictures that fit words best. */
export const similarToWords = (text, limit, within, signal) =>
  neighbours(`similar?${new URLSearchParams({ text })}`, limit, within, { signal });

/** The neighbours of a picture. */
export async function similarToFile(file, limit, within, signal) {
  if (file.size > MAX_UPLOAD_BYTES) throw new Problem("This picture is larger than 32 MiB, the most that the server takes.");
  return neighbours("similar", limit, within, { method: "POST", body: file, signal });
}

/** The groups of duplicates about which nothing is decided: `{maxDistance, undecided, groups, allowChanges}`. */
export function duplicates(maxDistance, limit, signal) {
  const wanted = new URLSearchParams({ limit });
  if (maxDistance !== null) wanted.set("maxDistance", maxDistance);
  return ask(`duplicates?${wanted}`, { signal });
}

/** Remembers `{objectIds, keep}`; `keep` is null where they are no duplicates of each other. */
export const decide = (decision) =>
  ask("duplicates", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(decision) });

/** Some object ids to begin with. */
export async function randomObjects(signal) {
  return (await ask("random?limit=60", { signal })).objectIds;
}

/** `{objects, uploads, words}`: how many objects there are, and whether the server takes pictures, and words. */
export const health = () => ask("healthz");

export const picture = (id) => `object/${encodeURIComponent(id)}`;
export const thumbnail = (id, size) => `thumbnail/${encodeURIComponent(id)}?size=${size}`;
