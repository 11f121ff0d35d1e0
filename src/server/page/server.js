// All that is asked of the server. Addresses are relative, since it may stand below a path.

/** Neighbours to show; the query itself, which comes first, is not one. */
const NEIGHBOURS = 100;
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

/** The neighbours of an object, nearest first, without itself: `[{objectId, distance}]`. */
export async function similarToObject(id, signal) {
  const answer = await ask(`similar/${encodeURIComponent(id)}?limit=${NEIGHBOURS + 1}`, { signal });
  return answer.similarImages.filter(({ objectId }) => objectId !== id);
}

/** The pictures that fit words best. */
export async function similarToWords(text, signal) {
  const answer = await ask(`similar?${new URLSearchParams({ text, limit: NEIGHBOURS })}`, { signal });
  return answer.similarImages;
}

/** The neighbours of a picture. */
export async function similarToFile(file, signal) {
  if (file.size > MAX_UPLOAD_BYTES) throw new Problem("This picture is larger than 32 MiB, the most that the server takes.");
  const answer = await ask(`similar?limit=${NEIGHBOURS}`, { method: "POST", body: file, signal });
  return answer.similarImages;
}

/** Some object ids to begin with. */
export async function randomObjects(signal) {
  return (await ask("random?limit=60", { signal })).objectIds;
}

/** `{objects, uploads, words}`: how many objects there are, and whether the server takes pictures, and words. */
export const health = () => ask("healthz");

export const picture = (id) => `object/${encodeURIComponent(id)}`;
export const thumbnail = (id, size) => `thumbnail/${encodeURIComponent(id)}?size=${size}`;
