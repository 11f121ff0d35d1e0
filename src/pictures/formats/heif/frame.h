// A decoded frame: `Frame` in `planes.rs`.

#include <stddef.h>

struct frame {
  // For the function that releases it.
  void *owner;
  const void *planes[3];
  // Bytes from one row to the next: of the first plane, and of the others.
  ptrdiff_t strides[2];
  int width, height;
  // 8 or more. Above 8, a value has two bytes.
  int bits;
  // 0: gray, 1: 4:2:0, 2: 4:2:2, 3: 4:4:4.
  int layout;
  int primaries, matrix, is_full_range;
};
