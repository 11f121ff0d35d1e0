// Where the pictures of the map stand.

/** Sides of the pictures to choose from: the largest with which all have room, else the smallest. */
const LARGEST = 120;
const SMALLEST = 40;
/** The query in the middle is larger than the others by this. */
export const MIDDLE = 1.5;
/** From picture to picture in a ring, and from ring to ring, in sides. */
const STEP = 1.08;
const RING_STEP = 1.14;
/** A gap in the distances of this part of their range begins a new ring. */
const GAP = 0.2;

/**
 * Rings around the middle, nearest first. The pictures are round, so that none covers another where their centres are a
 * side apart. In each ring the place at the top is left for the distance of its farthest picture.
 *
 * @param {number[]} distances in order
 * @returns {{side: number, rings: {radius: number, distance: number}[], places: {x: number, y: number}[]}} in pixels from
 * the middle; fewer places than distances where not all have room
 */
export function layOut(distances, width, height) {
  const room = Math.min(width, height) / 2;
  for (let side = LARGEST; ; side -= 4) {
    const laidOut = withSide(distances, side, room);
    if (laidOut.places.length === distances.length || side <= SMALLEST) return laidOut;
  }
}

function withSide(distances, side, room) {
  const rings = [];
  const places = [];
  const range = distances.at(-1) - distances[0];
  let radius = ((MIDDLE + 1) / 2 + 0.15) * side;
  while (places.length < distances.length && radius + side / 2 <= room) {
    // A chord of the ring from each centre to the next; one place is the label's.
    const capacity = Math.floor(Math.PI / Math.asin((STEP * side) / 2 / radius)) - 1;
    const first = places.length;
    let end = Math.min(first + capacity, distances.length);
    for (let index = first + 1; index < end; index++) {
      if (distances[index] - distances[index - 1] > GAP * range) end = index;
    }
    const angle = (2 * Math.PI) / (end - first + 1);
    for (let index = first; index < end; index++) {
      const turn = angle * (index - first + 1);
      places.push({ x: radius * Math.sin(turn), y: -radius * Math.cos(turn) });
    }
    rings.push({ radius, distance: distances[end - 1] });
    radius += RING_STEP * side;
  }
  return { side, rings, places };
}
