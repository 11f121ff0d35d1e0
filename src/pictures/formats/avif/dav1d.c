// One frame of AV1 through dav1d. This stands between it and Rust because numbers of a file come as enumerations, which may
// hold any value in C alone.

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <dav1d/dav1d.h>

#include "../heif/frame.h"

enum { OK = 0, FAILED = -1, OUT_OF_MEMORY = -2 };

// What pictures may take together, in bytes: all that a decoder has at a time, and there may be up to ten.
struct budget {
  size_t left;
  int exceeded;
};

// Planes are whole blocks of 128 pixels.
static int allocate(Dav1dPicture *picture, void *cookie) {
  struct budget *budget = cookie;
  const size_t bytes = picture->p.bpc > 8 ? 2 : 1;
  const size_t width = ((size_t)picture->p.w + 127) / 128 * 128, height = ((size_t)picture->p.h + 127) / 128 * 128;
  const int has_colour = picture->p.layout != DAV1D_PIXEL_LAYOUT_I400;
  const size_t across = picture->p.layout == DAV1D_PIXEL_LAYOUT_I444 ? width : width / 2;
  const size_t down = picture->p.layout == DAV1D_PIXEL_LAYOUT_I420 ? height / 2 : height;
  const size_t stride = width * bytes, colour_stride = across * bytes;
  const size_t len = stride * height, colour_len = has_colour ? colour_stride * down : 0;
  const size_t all = len + 2 * colour_len + DAV1D_PICTURE_ALIGNMENT;
  if (all > budget->left) {
    budget->exceeded = 1;
    return DAV1D_ERR(ENOMEM);
  }
  // From zeros, so that no decoder shows what was in memory before.
  unsigned char *memory = calloc(1, all + sizeof(size_t));
  if (memory == NULL)
    return DAV1D_ERR(ENOMEM);
  memcpy(memory, &all, sizeof all);
  budget->left -= all;
  uintptr_t first = (uintptr_t)(memory + sizeof all);
  first = (first + DAV1D_PICTURE_ALIGNMENT - 1) / DAV1D_PICTURE_ALIGNMENT * DAV1D_PICTURE_ALIGNMENT;
  picture->allocator_data = memory;
  picture->stride[0] = stride;
  picture->stride[1] = colour_stride;
  picture->data[0] = (void *)first;
  picture->data[1] = has_colour ? (void *)(first + len) : NULL;
  picture->data[2] = has_colour ? (void *)(first + len + colour_len) : NULL;
  return 0;
}

static void release(Dav1dPicture *picture, void *cookie) {
  struct budget *budget = cookie;
  size_t all;
  memcpy(&all, picture->allocator_data, sizeof all);
  budget->left += all;
  free(picture->allocator_data);
}

struct owner {
  Dav1dContext *context;
  Dav1dPicture picture;
  struct budget budget;
};

void simsearch_av1_release(void *owner_of_frame) {
  struct owner *owner = owner_of_frame;
  dav1d_picture_unref(&owner->picture);
  dav1d_close(&owner->context);
  free(owner);
}

// The bytes stay the caller's.
static void keep(const uint8_t *bytes, void *cookie) {
  (void)bytes;
  (void)cookie;
}

// Decodes the first picture that the bytes show. It has at most `max_pixels`, and all pictures of the decoder together take
// at most `max_bytes`. After success the frame is to be released, and its planes live until then.
int simsearch_av1_decode(const uint8_t *bytes, size_t len, int operating_point, unsigned max_pixels, size_t max_bytes,
                         struct frame *frame) {
  struct owner *owner = calloc(1, sizeof *owner);
  if (owner == NULL)
    return OUT_OF_MEMORY;
  owner->budget.left = max_bytes;
  Dav1dSettings settings;
  dav1d_default_settings(&settings);
  // The program has a thread for each picture.
  settings.n_threads = 1;
  settings.max_frame_delay = 1;
  settings.all_layers = 0;
  settings.operating_point = operating_point;
  settings.frame_size_limit = max_pixels;
  settings.allocator.cookie = &owner->budget;
  settings.allocator.alloc_picture_callback = allocate;
  settings.allocator.release_picture_callback = release;
  settings.logger.callback = NULL;
  int result = dav1d_open(&owner->context, &settings);
  if (result < 0) {
    free(owner);
    return OUT_OF_MEMORY;
  }
  Dav1dData data;
  memset(&data, 0, sizeof data);
  result = dav1d_data_wrap(&data, bytes, len, keep, NULL);
  while (result == 0) {
    const size_t left = data.sz;
    if (left > 0) {
      result = dav1d_send_data(owner->context, &data);
      if (result < 0 && result != DAV1D_ERR(EAGAIN))
        break;
    }
    result = dav1d_get_picture(owner->context, &owner->picture);
    if (result == 0 || result != DAV1D_ERR(EAGAIN))
      break;
    // No picture yet: on with the data, where some was taken.
    result = left > 0 && data.sz < left ? 0 : DAV1D_ERR(EINVAL);
  }
  dav1d_data_unref(&data);
  if (result < 0) {
    const int no_memory = result == DAV1D_ERR(ENOMEM) && !owner->budget.exceeded;
    dav1d_close(&owner->context);
    free(owner);
    return no_memory ? OUT_OF_MEMORY : FAILED;
  }
  const Dav1dPicture *picture = &owner->picture;
  frame->owner = owner;
  for (int plane = 0; plane < 3; plane++)
    frame->planes[plane] = picture->data[plane];
  frame->strides[0] = picture->stride[0];
  frame->strides[1] = picture->stride[1];
  frame->width = picture->p.w;
  frame->height = picture->p.h;
  frame->bits = picture->p.bpc;
  frame->layout = picture->p.layout;
  frame->primaries = picture->seq_hdr->pri;
  frame->matrix = picture->seq_hdr->mtrx;
  frame->is_full_range = picture->seq_hdr->color_range;
  return OK;
}
