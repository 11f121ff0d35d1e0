// The groups of duplicates: one below the other, to be looked through with the keys j and k, and to be decided about where the
// server allows it.

import { distanceText, element } from "./results.js";
import { decide, duplicates, thumbnail } from "./server.js";

/** Groups that are asked for at first, and how many more each time. */
const STEP = 100;

/** Megabytes, or kilobytes, as people read them. */
const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/**
 * Shows the groups in `place`. `maxDistance` is text, or null for what is known for the model; `say` tells the reader a line, and
 * `address` gives the address of an object's neighbours, or of the groups at another distance.
 */
export async function showGroups(place, { maxDistance, say, neighbours, groupsAt, go, signal }) {
  let limit = STEP;
  let answer = null;
  place.replaceChildren(head(maxDistance, false, groupsAt, go));
  await look(0);

  /** Asks for the groups, and goes to the one at this place. */
  async function look(index) {
    say("Looking for duplicates …");
    try {
      answer = await duplicates(maxDistance, limit, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      say("");
      place.replaceChildren(head(maxDistance, false, groupsAt, go), element("p", { className: "problem", role: "alert" }, error.message));
      return;
    }
    const { groups, undecided, allowChanges } = answer;
    const list = element("ol", { className: "groups" }, ...groups.map(group));
    const more = element("button", { type: "button", onclick: () => { limit += STEP; look(groups.length); } }, "Show more");
    place.replaceChildren(head(answer.maxDistance, allowChanges, groupsAt, go), list, ...(undecided > groups.length ? [more] : []));
    say(undecided === 0 ? "No duplicates are left" : `${undecided} ${undecided === 1 ? "group" : "groups"} of duplicates`);
    if (index > 0 || document.activeElement === document.body) list.children[Math.min(index, groups.length - 1)]?.focus();
  }

  function group(members, index) {
    const made = element("li", { className: "group", tabIndex: -1 }, element("h2", {}, `Group ${index + 1}`));
    const pictures = members.map((member, number) => {
      const { objectId, path, distance, width, height, bytes } = member;
      const name = path ?? objectId;
      const facts = [width && `${width} × ${height}`, bytes !== null && size(bytes), number > 0 && `distance ${distanceText(distance)}`];
      const image = element("img", { src: thumbnail(objectId, 256), alt: `Picture ${name}`, width: 256, height: 256, loading: "lazy" });
      const buttons = [element("button", { type: "button", onclick: () => keep(index, number) }, "Keep")];
      if (number > 0) buttons.push(element("button", { type: "button", onclick: () => setApart(index, number) }, "Not a duplicate"));
      for (const button of buttons) button.setAttribute("aria-label", `${button.innerText || button.textContent}: ${name}`);
      return element("li", {},
        element("a", { href: neighbours(objectId) }, image),
        element("span", { className: "id", title: name }, name),
        element("span", { className: "facts" }, facts.filter(Boolean).join(", ")),
        ...(answer.allowChanges ? [element("span", { className: "decisions" }, ...buttons)] : []));
    });
    made.append(element("ul", {}, ...pictures));
    return made;
  }

  const ids = (index) => answer.groups[index].map(({ objectId }) => objectId);

  async function decided(index, decisions, text) {
    try {
      for (const decision of decisions) await decide(decision);
    } catch (error) {
      say(error.message);
      return;
    }
    await look(index);
    say(`${text}. ${document.querySelector("#status").textContent}`);
  }

  const keep = (index, number) =>
    decided(index, [{ objectIds: ids(index), keep: ids(index)[number] }], `${ids(index)[number]} is the one to keep`);

  /** One is no duplicate of any other. */
  const setApart = (index, number) => {
    const [all, one] = [ids(index), ids(index)[number]];
    const pairs = all.filter((id) => id !== one).map((id) => ({ objectIds: [one, id], keep: null }));
    return decided(index, pairs, `${one} is no duplicate`);
  };

  const setAllApart = (index) => decided(index, [{ objectIds: ids(index), keep: null }], "They are no duplicates");

  const onKey = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
    const all = [...place.querySelectorAll(".group")];
    const at = all.indexOf(document.activeElement.closest(".group"));
    if (event.key === "j" || event.key === "k") {
      const to = all[Math.min(Math.max(event.key === "j" ? at + 1 : at - 1, 0), all.length - 1)];
      to?.focus();
      to?.scrollIntoView({ block: "nearest" });
    } else if (at >= 0 && answer?.allowChanges) {
      const number = Number(event.key) - 1;
      if (event.key === "n") setAllApart(at);
      else if (number >= 0 && number < answer.groups[at].length) keep(at, number);
      else return;
    } else return;
    event.preventDefault();
  };
  document.addEventListener("keydown", onKey, { signal });
}

/** What stands above the groups. */
function head(maxDistance, allowChanges, groupsAt, go) {
  const field = element("input", { name: "distance", inputMode: "decimal", size: 8, value: maxDistance ?? "", required: true, placeholder: "such as 0.15" });
  const onsubmit = (event) => {
    event.preventDefault();
    go(groupsAt(field.value.trim()));
  };
  const keys = allowChanges
    ? "Keys: j and k go on and back, 1 to 9 keep that picture, n says that they are no duplicates. No picture is touched."
    : "Keys: j and k go on and back.";
  return element("form", { className: "distance-of-groups", onsubmit },
    element("label", {}, "Largest distance ", field), element("button", {}, "Look"), element("span", { className: "keys" }, keys));
}
